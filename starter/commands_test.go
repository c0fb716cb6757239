package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// newAcme has an organisation on a test clock, with three members and a limit.
func newAcme(t *testing.T) *shell {
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10T00:00:00Z", "--start", "2026-10-01", "--payment-method", "pm_card_visa")
	s.ok("seats", "import", "acme", s.file("members.csv", "user,tier,hipaa,from\nalice,chat_claude_code,,2026-10-01\nbob,chat,true,2026-10-01\ncarol,chat,,2026-10-01\n"))
	s.ok("limits", "set", "acme", "--org", "--amount", "10.00", "--thresholds", "50,100")
	return s
}

// usageLine is one line of a usage file.
func usageLine(id, user, model string, input int) string {
	event := map[string]any{
		"id": id, "organization": "acme", "user": user, "occurred_at": "2026-10-09T12:00:00Z", "product": "chat", "model": model,
		"usage": map[string]any{"input_tokens": input, "output_tokens": 100},
	}
	line, _ := json.Marshal(event)
	return string(line) + "\n"
}

func TestOrganizations(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	require.Contains(t, s.ok("org", "list"), "starter org create")
	require.Contains(t, s.fails(exitFailed, "org", "create", "acme"), "starter prices load FILE")
	require.JSONEq(t, `{"name":"anthropic-2026-01","revision":1,"added":35,"changed":true,"releasable":0}`,
		s.ok("prices", "load", "anthropic-2026-01", "-o", "json"))
	require.Contains(t, s.ok("prices", "load", "anthropic-2026-01"), "nothing changed")
	s.golden("prices-list", "prices", "list")
	s.golden("prices-show", "prices", "show", "anthropic-2026-01")

	create := []string{"org", "create", "acme", "--test-clock", "2026-10-10", "--timezone", "Europe/Berlin", "--anchor-day", "31", "--draft-window", "1h"}
	s.golden("org-create", create...)
	s.golden("org-create-again", create...)
	require.Contains(t, s.fails(exitFailed, append(create[:5:5], "--anchor-day", "1")...), `organization "acme" already exists with another`)
	s.golden("org-show", "org", "show", "acme")
	s.golden("org-list", "org", "list")
	require.Contains(t, s.fails(exitFailed, "org", "show", "nobody"), `organization "nobody" does not exist`)
	require.NotEmpty(t, into[organizationView](s, "org", "show", "acme").StripeCustomerID, "made when the organisation is")
}

func TestOrganizationsAreImportedAllOrNone(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	complaint := s.fails(exitFailed, "org", "import", s.file("orgs.ndjson", `{"id":"one"}`+"\n"+`{"id":"two","anchor_day":40}`))
	require.Contains(t, complaint, "nothing was imported")
	require.Contains(t, complaint, "line 2: anchor_day: 40")
	require.Empty(t, into[[]organizationView](s, "org", "list"))

	s.stdin = `{"id":"one"}` + "\n" + `{"id":"two","anchor_day":4}`
	require.JSONEq(t, `{"created":2,"unchanged":0}`, s.ok("org", "import", "-", "-o", "json"))
	require.JSONEq(t, `{"created":0,"unchanged":2}`, s.ok("org", "import", "-", "-o", "json"), "twice is once")
	require.Contains(t, s.fails(exitFailed, "org", "import", "/no/such/file"), "no such file")
}

func TestACustomerWaitsWhereStripeIsAway(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	s.environ = append(s.environ, "STRIPE_API_BASE=http://127.0.0.1:1")
	code, _, stderr := s.run("org", "create", "acme")
	require.Equal(t, exitDone, code)
	require.Contains(t, stderr, "acme has no customer at Stripe yet")
	require.Contains(t, stderr, "its first invoice will make one")
}

func TestSeats(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.golden("seats-list", "seats", "list", "acme")
	s.golden("seats-assign", "seats", "assign", "acme", "carol", "--tier", "chat_claude_code", "--at", "2026-10-15")
	s.golden("seats-assign-again", "seats", "assign", "acme", "carol", "--tier", "chat_claude_code", "--at", "2026-10-15")
	s.golden("seats-list-begins", "seats", "list", "acme")
	require.Contains(t, s.ok("seats", "list", "acme"), "begins 2026-10-15")
	s.golden("seats-remove", "seats", "remove", "acme", "bob", "--at", "2026-10-20")
	s.golden("seats-list-later", "seats", "list", "acme", "--at", "2026-10-25")
	require.JSONEq(t, `{"assigned":0,"changed":0,"unchanged":1}`, s.ok("seats", "import", "acme", s.file("again.csv", "user,tier\nalice,chat_claude_code\n"), "-o", "json"))

	complaint := s.fails(exitFailed, "seats", "import", "acme", s.file("bad.csv", "user,tier\ndave,chat\nerin,gold\n"))
	require.Contains(t, complaint, "nothing was imported")
	require.Contains(t, complaint, `line 3: tier: "gold"`)
	require.NotContains(t, s.ok("seats", "list", "acme"), "dave", "nothing is half done")
	require.Contains(t, s.ok("seats", "assign", "acme", "dora", "--tier", "chat", "--at", "2026-10-16"), "dora of acme has a seat chat from 2026-10-16")
	require.NotContains(t, s.ok("seats", "list", "acme", "--at", "2026-10-12"), "dora", "not yet")
	require.Contains(t, s.ok("seats", "assign", "acme", "erin", "--tier", "chat"), "erin of acme has a seat chat now.")
	require.Contains(t, s.ok("seats", "assign", "acme", "erin", "--tier", "chat_claude_code", "--at", "2026-10-16"), "from 2026-10-16 00:00:00 on, in place of the former one")
	require.Contains(t, s.ok("seats", "remove", "acme", "erin", "--at", "2026-10-17"), "erin of acme holds no seat from 2026-10-17")
	require.Contains(t, s.ok("seats", "remove", "acme", "alice"), "alice of acme holds no seat any more")
	require.Contains(t, s.fails(exitFailed, "seats", "remove", "acme", "nobody"), `user "nobody" holds no seat`)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.golden("limits-set", "limits", "set", "acme", "--tier", "chat", "--amount", "4.00")
	s.golden("limits-set-again", "limits", "set", "acme", "--tier", "chat", "--amount", "4.00")
	s.golden("limits-set-none", "limits", "set", "acme", "--user", "bob", "--amount", "none")
	s.golden("limits-list", "limits", "list", "acme")
	s.golden("limits-explain", "limits", "explain", "acme", "--user", "bob")
	s.golden("limits-remove", "limits", "remove", "acme", "--user", "bob")
	s.golden("limits-remove-again", "limits", "remove", "acme", "--user", "bob")
	require.Contains(t, s.fails(exitFailed, "limits", "set", "acme", "--org", "--amount", "1.005"), "more than 2 decimal places")
	require.Contains(t, s.ok("limits", "explain", "acme", "--user", "bob"), "binds")

	s.ok("org", "create", "loose", "--limit-rule", "override")
	require.Equal(t, billing.RuleOverride, into[organizationView](s, "org", "show", "loose").LimitRule)
	require.Contains(t, s.fails(exitUsage, "org", "create", "lax", "--limit-rule", "lax"), "accepted: strict_min, override")
	s.ok("seats", "assign", "loose", "ann", "--tier", "chat")
	s.ok("limits", "set", "loose", "--tier", "chat", "--amount", "500")
	s.ok("limits", "set", "loose", "--user", "ann", "--amount", "750")
	require.Equal(t, "750", into[explanationView](s, "limits", "explain", "loose", "--user", "ann").Binding.Amount.Amount.String())
	require.Contains(t, s.ok("limits", "explain", "loose", "--user", "ann"), "replaced by the user's own")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	file := s.file("usage.ndjson", usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000)+
		usageLine("2", "bob", "claude-haiku-4-5", 1000)+
		`{"id":"torn","organization":"acme"`+"\n\n"+
		usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000)+ // the same again
		usageLine("2", "bob", "claude-haiku-4-5", 1001)+ // the same id, other content
		usageLine("3", "carol", "claude-unreleased-1", 10)+
		strings.Replace(usageLine("4", "carol", "claude-haiku-4-5", 10), "acme", "nobody", 1)+
		strings.Replace(usageLine("5", "carol", "claude-haiku-4-5", 10), "2026-10-09", "2026-10-11", 1)+
		usageLine("6", "carol", "claude-haiku-4-5", 10))
	s.golden("usage-import", "usage", "import", file)
	again := into[importTotals](s, "usage", "import", file)
	require.Equal(t, [5]int64{0, 5, 1, 3, 0}, [5]int64{again.Accepted, again.Duplicates, again.Conflicts, again.Rejected, again.Parked})
	complaint := s.fails(exitFailed, "usage", "import", file, "--strict")
	require.Contains(t, complaint, "3 rejected and 1 in conflict")

	s.golden("usage-summary-by-user", "usage", "summary", "acme", "--by", "user")
	s.golden("usage-summary", "usage", "summary", "acme", "--period", "2026-10-01", "--by", "product,model")
	s.golden("notices-list", "notices", "list", "acme")
	s.golden("invoices-preview", "invoices", "preview", "acme", "--members")
	require.Contains(t, s.ok("invoices", "preview", "acme"), "Seats chat_claude_code")
	s.golden("usage-parked", "usage", "parked", "acme")

	priced := s.file("prices.yaml", strings.ReplaceAll(unpricedYAML, unpricedModel, "claude-unreleased-1"))
	require.Contains(t, s.ok("prices", "load", priced), "1 parked event waited for a price")
	require.JSONEq(t, `{"released":1,"still_parked":0}`, s.ok("usage", "release", "acme", "-o", "json"))
	require.Contains(t, s.ok("usage", "parked", "acme"), "Nothing is parked")

	s.ok("usage", "import", s.file("never.ndjson", usageLine("never", "carol", "claude-never", 10)+usageLine("never 2", "carol", "claude-never", 10)))
	require.Contains(t, s.fails(exitUsage, "usage", "discard", "acme", "--reason", "x"), "exactly one of --model, --event")
	require.Contains(t, s.fails(exitUsage, "usage", "discard", "acme", "--model", "claude-never"), "--reason is missing")
	require.NotContains(t, s.fails(exitFailed, "usage", "discard", "acme", "--event", "none", "--reason", "x"), "starter org list", "the organization is there")
	require.Contains(t, s.fails(exitFailed, "usage", "discard", "acme", "--model", "claude-never", "--reason", " "), "reason: accepted")
	require.JSONEq(t, `{"discarded":1}`, s.ok("usage", "discard", "acme", "--event", "never", "--reason", "a test of our own", "-o", "json"))
	require.Contains(t, s.ok("usage", "discard", "acme", "--event", "never", "--reason", "again"), "nothing changed")
	require.Contains(t, s.ok("usage", "discard", "acme", "--model", "claude-never", "--reason", "the model is gone"), "Discarded 1 event, never to be billed.")
	require.Contains(t, s.ok("usage", "parked", "acme"), "Nothing is parked")
	s.golden("usage-parked-all", "usage", "parked", "acme", "--all")
	require.Contains(t, s.ok("usage", "parked", "acme", "--all"), "discarded: a test of our own")

	s.stdin = usageLine("7", "carol", "claude-haiku-4-5", 10)
	require.EqualValues(t, 1, into[importTotals](s, "usage", "import", "-").Accepted)
	require.Contains(t, s.fails(exitFailed, "usage", "import", s.dir), "is a folder")
	require.Contains(t, s.fails(exitFailed, "usage", "summary", "acme", "--period", "2020-01-01"), "no period")

	s.ok("verify", "acme", "--local")
	require.JSONEq(t, "[]", s.ok("verify", "-o", "json"))
}

func TestListsOfAnOrganizationWithoutAHistory(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	for _, line := range []string{
		"invoices list acme", "payments list acme", "notices list acme", "webhooks list", "usage summary acme", "usage parked acme",
	} {
		require.JSONEq(t, "[]", s.ok(append(strings.Fields(line), "-o", "json")...), line)
		require.NotContains(t, s.ok(strings.Fields(line)...), "null", line)
		if strings.Contains(line, "acme") {
			require.Contains(t, s.fails(exitFailed, strings.Fields(strings.Replace(line, "acme", "nobody", 1))...), "nobody", line)
		}
	}
	require.Contains(t, s.fails(exitFailed, "invoices", "show", "acme/2026-10-01"), "starter invoices preview acme")
	require.Contains(t, s.fails(exitFailed, "invoices", "finalize", "acme/2026-10-01"), "its period runs")
	require.Contains(t, s.fails(exitFailed, "payments", "retry", "acme/2026-10-01"), "does not exist")
}

func TestWhoAskedAndWhyIsKept(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.ok("seats", "assign", "acme", "dave", "--tier", "chat", "--as", "ops", "--reason", "new colleague")
	entries := into[[]map[string]any](s, "audit", "acme", "--limit", "1")
	require.Len(t, entries, 1)
	require.Equal(t, "ops", entries[0]["actor"])
	require.Equal(t, "new colleague", entries[0]["reason"])
	require.Equal(t, "seats.assign", entries[0]["action"])
	require.Equal(t, "user/dave", entries[0]["subject"])
	require.Contains(t, fmt.Sprint(entries[0]["after"]), "tier:chat")
}

func TestSetMethod(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	var view methodView
	require.NoError(t, json.Unmarshal([]byte(s.ok("payments", "set-method", "acme", "pm_card_visa", "-o", "json")), &view))
	require.Empty(t, view.Retried)
	require.NotEqual(t, "pm_card_visa", view.PaymentMethod, "Stripe's test methods become methods of their own")
	require.Equal(t, view.PaymentMethod, into[organizationView](s, "org", "show", "acme").PaymentMethod)
	require.Contains(t, s.fails(exitFailed, "payments", "set-method", "acme", "pm_nothing"), "pm_nothing is not known to Stripe")
	require.Equal(t, view.PaymentMethod, into[organizationView](s, "org", "show", "acme").PaymentMethod, "it stays")
}

func TestPriceBooksThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	complaint := s.fails(exitFailed, "prices", "load", s.file("prices.yaml", "name: x\ncurrency: USD\nseats:\n  - {tier: chat, amount: cheap}\n"))
	require.Contains(t, complaint, "nothing was loaded")
	require.Contains(t, complaint, "line 4")
	require.JSONEq(t, "[]", s.ok("prices", "list", "-o", "json"))
	require.Contains(t, s.fails(exitFailed, "prices", "load", "no-such-book"), "no-such-book")
}

func TestInvoiceForPeople(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000)))
	got := s.ok("invoices", "preview", "acme", "--members")
	path := filepath.Join("testdata", "invoice.txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)

	var invoice billing.Invoice
	require.NoError(t, json.Unmarshal([]byte(s.ok("invoices", "preview", "acme", "-o", "json")), &invoice))
	require.Equal(t, billing.StatusDraft, invoice.Status)
}
