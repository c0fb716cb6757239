package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// Two spellings of one name: with its accent as a character of its own, and not.
const (
	apart    = "rene\u0301e"
	together = "ren\u00e9e"
)

// gateway asks a test gateway as its operator.
type gateway struct {
	t   *testing.T
	url string
}

func (g gateway) ask(method, path, contentType, body string) (int, string) {
	g.t.Helper()
	return call(g.t, method, g.url+path, body, "Authorization", "Bearer "+gatewayKey, "Content-Type", contentType)
}

func (g gateway) decision(user string) (decision struct {
	Decision, Subject string
	Spent             billing.Money
},
) {
	g.t.Helper()
	status, answer := g.ask(http.MethodPost, "/v1/limits/check", "application/json", fmt.Sprintf(`{"organization":"acme","user":"%s","product":"chat"}`, user))
	require.Equal(g.t, http.StatusOK, status, answer)
	require.NoError(g.t, json.Unmarshal([]byte(answer), &decision))
	return decision
}

func TestReneeInTwoSpellingsIsOneSeatWithOneLimitAndOneCounter(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	g := gateway{t, newTestGateway(t, s).URL}
	spellings := []string{apart, together}

	// One seat.
	s.ok("seats", "import", "acme", s.file("apart.csv", "user,tier,from\n"+apart+",chat,2026-10-01\n"))
	again := into[postgres.SeatResult](s, "seats", "import", "acme", s.file("together.csv", "user,tier,from\n"+together+",chat,2026-10-01\n"))
	require.Equal(t, postgres.SeatResult{Unchanged: 1}, again)
	for _, user := range spellings {
		require.Contains(t, s.ok("seats", "assign", "acme", user, "--tier", "chat", "--at", "2026-10-01"), together+" of acme holds this seat already")
	}
	require.Equal(t, 1, strings.Count(s.ok("seats", "list", "acme"), "ren"))
	both := s.file("both.csv", "user,tier\n"+apart+",chat\n"+together+",chat\n")
	require.Contains(t, s.fails(exitFailed, "seats", "import", "acme", both), `line 3: user: "`+together+`" stands on line 2 already`)

	// One limit.
	s.ok("limits", "remove", "acme", "--org")
	require.True(t, into[setLimitView](s, "limits", "set", "acme", "--user", apart, "--amount", "2.00").Changed)
	require.False(t, into[setLimitView](s, "limits", "set", "acme", "--user", together, "--amount", "2.00").Changed)
	for _, user := range spellings {
		status, answer := g.ask(http.MethodPut, "/v1/organizations/acme/limits", "application/json", `{"scope":"user","subject":"`+user+`","amount":"2"}`)
		require.Equal(t, http.StatusOK, status, answer)
		require.Contains(t, answer, `"changed":false`)
	}

	// One counter: half of the spend by each spelling and each door.
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", apart, "claude-haiku-4-5", 999_500)))
	require.Equal(t, "allowed", g.decision(apart).Decision)
	status, answer := g.ask(http.MethodPost, "/v1/usage", "application/x-ndjson", usageLine("2", together, "claude-haiku-4-5", 999_500)+usageLine("1", together, "claude-haiku-4-5", 999_500))
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, `"id":"2","status":"accepted"`)
	require.Contains(t, answer, `"id":"1","status":"duplicate"`, "the same event in another spelling")
	for _, user := range spellings {
		decision := g.decision(user)
		require.Equal(t, "blocked", decision.Decision)
		require.Equal(t, together, decision.Subject)
		require.Equal(t, "2.00", decision.Spent.Amount.StringFixed(2))
		explained := into[explanationView](s, "limits", "explain", "acme", "--user", user)
		require.Equal(t, together, explained.User)
		require.Equal(t, "chat", *explained.Tier)
		status, answer := g.ask(http.MethodGet, "/v1/organizations/acme/spend?user="+url.QueryEscape(user), "", "")
		require.Equal(t, http.StatusOK, status, answer)
		require.JSONEq(t, s.ok("limits", "explain", "acme", "--user", together, "-o", "json"), answer)
	}
	rows := into[[]usageRowView](s, "usage", "summary", "acme", "--by", "user")
	require.Len(t, rows, 4, "as many as seats")
	rows = slices.DeleteFunc(rows, func(r usageRowView) bool { return r.Events == 0 })
	require.Len(t, rows, 1)
	require.EqualValues(t, 2, rows[0].Events)

	// One that is taken away by the other.
	status, answer = g.ask(http.MethodDelete, "/v1/organizations/acme/limits?scope=user&subject="+url.QueryEscape(apart), "", "")
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, `"removed":true`)
	require.Contains(t, s.ok("limits", "remove", "acme", "--user", together), "There was no limit of user "+together)
	require.Contains(t, s.ok("seats", "remove", "acme", apart), together+" of acme holds no seat")
	require.JSONEq(t, "[]", s.ok("verify", "acme", "-o", "json"))
}

// A price book and the usage that it prices may be typed on different machines.
func TestAModelInTwoSpellingsHasOnePrice(t *testing.T) {
	t.Parallel()
	const modelApart, modelTogether = "mode\u0300le", "mod\u00e8le"
	const row = "      - {effective_from: %s, input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5}\n"
	book := "name: accents\ncurrency: USD\nmodels:\n  - model: " + modelApart + "\n    prices:\n" +
		fmt.Sprintf(row, "2026-01-01T00:00:00Z") + fmt.Sprintf(row, "2027-01-01T00:00:00Z")
	s := newDatabaseShell(t)
	s.ok("prices", "load", s.file("accents.yaml", book))
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10T00:00:00Z", "--start", "2026-10-01", "--payment-method", "pm_card_visa")
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", "a", modelTogether, 1)+usageLine("2", "a", modelApart, 1)+
		usageLine("3", "a", "e\u0301t\u00e9", 1)+usageLine("4", "a", "\u00e9te\u0301", 1)))
	rows := into[[]usageRowView](s, "usage", "summary", "acme", "--by", "model")
	require.Len(t, rows, 1)
	require.Equal(t, modelTogether, *rows[0].Model)
	parked := into[[]postgres.ParkedRow](s, "usage", "parked", "acme")
	require.Len(t, parked, 1, "what has no price is one model, too")
	require.EqualValues(t, 2, parked[0].Events)
	require.Contains(t, s.ok("usage", "release", "acme", "--model", "e\u0301te\u0301"), "2 of those looked at have no price still")
	require.Contains(t, s.ok("usage", "discard", "acme", "--model", "e\u0301te\u0301", "--reason", "a test"), "Discarded 2 events")
	require.Contains(t, s.ok("prices", "withdraw", "accents", "--model", modelApart, "--from", "2027-01-01"), "Withdrawn: 1 row")
}

func TestEveryDoorRefusesWhatCannotBeSeenByName(t *testing.T) {
	t.Parallel()
	const hidden, says = "a\u202eb", "contains U+202E RIGHT-TO-LEFT OVERRIDE, which is invisible and changes the direction of text; accepted: 1 to "
	s := newAcme(t)
	for line, field := range map[string]string{
		"seats assign acme %s --tier chat":               "USER ",
		"seats assign acme bob --tier %s":                "--tier ",
		"seats remove acme %s":                           "USER ",
		"limits set acme --user %s --amount 1":           "--user ",
		"limits set acme --tier %s --amount 1":           "--tier ",
		"limits remove acme --user %s":                   "--user ",
		"limits remove acme --tier %s":                   "--tier ",
		"limits explain acme --user %s":                  "--user ",
		"usage release acme --model %s":                  "--model ",
		"usage discard acme --model %s --reason x":       "--model ",
		"prices withdraw b --model %s --from 2027-01-01": "--model ",
		"prices withdraw b --tier %s --from 2027-01-01":  "--tier ",
	} {
		require.Contains(t, s.fails(exitUsage, strings.Fields(fmt.Sprintf(line, hidden))...), field+says, line)
	}
	for name, c := range map[string]struct{ command, file, field string }{
		"a user of a members file": {"seats import acme", "user,tier\n" + hidden + ",chat\n", "line 2: user: "},
		"a tier of a members file": {"seats import acme", "user,tier\nbob," + hidden + "\n", "line 2: tier: "},
		"a model of a price book":  {"prices load", "name: b\ncurrency: USD\nmodels:\n  - model: " + hidden + "\n", "line 4: models[0].model: "},
		"a product of a price book": {
			"prices load", "name: b\ncurrency: USD\nseats:\n  - {tier: t, amount: 1, products: [" + hidden + "]}\n", "line 4: seats[0].products[0]: ",
		},
	} {
		said := s.fails(exitFailed, append(strings.Fields(c.command), s.file("file", c.file))...)
		require.Contains(t, said, c.field+says, name)
	}

	g := gateway{t, newTestGateway(t, s).URL}
	event := func(old, value string) string { return strings.Replace(usageLine("1", "u", "m", 1), old, value, 1) }
	for name, c := range map[string]struct{ method, path, contentType, body, field string }{
		"a user of an event":      {http.MethodPost, "/v1/usage", "application/x-ndjson", event(`"user":"u"`, `"user":"`+hidden+`"`), `"field":"user","reason":"`},
		"a product of an event":   {http.MethodPost, "/v1/usage", "application/x-ndjson", event(`"product":"chat"`, `"product":"`+hidden+`"`), `"field":"product","reason":"`},
		"a model of an event":     {http.MethodPost, "/v1/usage", "application/x-ndjson", event(`"model":"m"`, `"model":"`+hidden+`"`), `"field":"model","reason":"`},
		"a user of a check":       {http.MethodPost, "/v1/limits/check", "application/json", `{"organization":"acme","user":"` + hidden + `","product":"chat"}`, `"message":"user: `},
		"a product of a check":    {http.MethodPost, "/v1/limits/check", "application/json", `{"organization":"acme","product":"` + hidden + `"}`, `"message":"product: `},
		"a model of a check":      {http.MethodPost, "/v1/limits/check", "application/json", `{"organization":"acme","product":"chat","model":"` + hidden + `"}`, `"message":"model: `},
		"whose limit is set":      {http.MethodPut, "/v1/organizations/acme/limits", "application/json", `{"scope":"user","subject":"` + hidden + `","amount":"1"}`, `"message":"subject: the user or the seat tier `},
		"whose limit is removed":  {http.MethodDelete, "/v1/organizations/acme/limits?scope=user&subject=" + url.QueryEscape(hidden), "", "", `"message":"subject: the user or the seat tier `},
		"whose spend is asked of": {http.MethodGet, "/v1/organizations/acme/spend?user=" + url.QueryEscape(hidden), "", "", `"message":"user: `},
	} {
		_, answer := g.ask(c.method, c.path, c.contentType, c.body)
		require.Contains(t, answer, c.field+says, name)
	}
}

func TestWhatASpreadsheetWroteIsRefusedAsThat(t *testing.T) {
	t.Parallel()
	const accepted = "; accepted: the id as it was, with the column formatted as text"
	now := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	org := billing.Organization{ID: "acme", StartsAt: now, Now: now}
	read := func(user, tier string) error {
		_, err := readMembers([]byte("tier,user\nchat,alice\n\""+tier+"\",\""+user+"\"\n"), org, pricebook.Default())
		return err
	}
	for cell, as := range map[string]string{
		"9.9E+15":      "a number in scientific notation",
		"9,9E+15":      "a number in scientific notation",
		"1.23457E+17":  "a number in scientific notation",
		"1.23457E+017": "a number in scientific notation",
		"1E+20":        "a number in scientific notation",
		"-4.5E-07":     "a number in scientific notation",
		"#NAME?":       "the error of a formula",
		"#VALUE!":      "the error of a formula",
		"#DIV/0!":      "the error of a formula",
		"#N/A":         "the error of a formula",
		"Err:508":      "the error of a formula",
		"########":     "what does not fit into its column",
		"=alice":       "a formula",
		"=1+1":         "a formula",
	} {
		require.EqualError(t, read(cell, "chat"), fmt.Sprintf("line 3: user: %q looks rewritten by a spreadsheet as %s%s", cell, as, accepted))
		require.EqualError(t, read("bob", cell), fmt.Sprintf("line 3: tier: %q looks rewritten by a spreadsheet as %s%s", cell, as, accepted))
	}
	for _, id := range []string{
		"1e5", "1E5", "12E+4", "9.9e+15", "9990000000000000", "E+15", "x9.9E+15", "9.9E+15@acme.example", "9.9.9E+15",
		"#1", "#general", "#", "N/A", "alice=", "a=b", "1-Mar", "-7", "+49 30 901820", "@alice",
	} {
		require.NoError(t, read(id, "chat"), id)
	}
}

// A file that another program made may hold what no door takes.
func TestWhatIsPrintedSteersNoTerminal(t *testing.T) {
	t.Parallel()
	const hostile, shown = "a\x1b[31m\u009b2J\u202eb\U000e0041", "a\ufffd[31m\ufffd2J\ufffdb\ufffd"
	const fine = "ren\u00e9e \u0639\u0644\u06cc\u200c\u0631\u0636\u0627 \u2764\ufe0f a\u00a0b"
	a, out, errs := newShell(t).app()
	type row struct {
		Who string `json:"who"`
	}
	show := func(text string) string {
		out.Reset()
		require.NoError(t, printList(a, []row{{text}}, "", left("WHO", func(r row) string { return r.Who })))
		return out.String()
	}
	require.Equal(t, "WHO\n"+shown+"\n", show(hostile))
	require.Equal(t, "WHO\n"+fine+"\n", show(fine))
	require.NoError(t, a.print(nil, func(w io.Writer) { writeFacts(w, fact{"who", hostile}) }))
	require.Contains(t, out.String(), "who  "+shown+"\n")
	out.Reset()
	a.say("%s", hostile)
	require.Equal(t, shown+"\n", out.String())
	a.complain(withHint(fmt.Errorf("no %s", hostile), "look at %s", hostile))
	require.Equal(t, "Error: no "+shown+"\nlook at "+shown+"\n", errs.String())

	a.format = formatJSON
	for _, text := range []string{hostile, fine} {
		printed := show(text)
		var rows []row
		require.NoError(t, json.Unmarshal([]byte(printed), &rows))
		require.Equal(t, []row{{text}}, rows, "the value is the same")
		require.False(t, strings.ContainsFunc(printed, func(r rune) bool { return r != '\n' && !isShown(r) }), "%q", printed)
	}
	require.Contains(t, show(fine), fine)
	require.Contains(t, show(hostile), `"a\u001b[31m\u009b2J\u202eb\udb40\udc41"`)
}
