package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is what happens to one organisation's billing month: at a place of an
// activity the worker is killed, or panics, or is held up for so long that the
// activity's retry meets it still at work.
type fault struct {
	Name         string `json:"name"`
	Organization string `json:"organization"`
	Activity     string `json:"activity"`
	Place        string `json:"place"`
	Nth          int    `json:"nth"`
	How          string `json:"how"`
	Once         string `json:"once"` // a file beside the plan that there must be first
}

// declines tells that the organisation's card is declined all the way.
func (f fault) declines() bool { return strings.HasPrefix(f.Name, "k11") || f.voids() }

// voids tells that the organisation's invoice is withdrawn after its first
// decline, and written anew.
func (f fault) voids() bool { return f.Once == voiding }

// voiding is the file that lets the faults of withdrawing happen.
const voiding = "voiding"

// killMatrix has every activity between a threshold and the money fail at every
// point: before it works, around its effect, before and after it reports. So does
// the gateway that Stripe's webhooks come in by.
func killMatrix() (faults []fault) {
	database, provider := []string{"commit", "committed"}, []string{"call", "called"}
	for _, place := range []string{"enter", "commit", "committed", "leave"} {
		for _, how := range []string{"kill", "panic", "late"} {
			faults = append(faults, fault{Name: "k13-" + place + "-" + how, Activity: "POST /v1/webhooks/stripe", Place: place, How: how})
		}
	}
	rows := []struct {
		row, activity string
		effect        []string // the places around its effect
		nth           int
		apart         bool // the other places are another row's
	}{
		{"k04", "DeliverNotices", database, 1, false},
		{"k05", "IssueInvoice", database, 1, false},
		{"k07-invoice", "CreateProviderInvoice", provider, 1, false},
		{"k07-item", "AddProviderItem", provider, 1, false},
		{"k08", "FinalizeProviderInvoice", provider, 1, false},
		{"k09", "CollectInvoice", provider, 1, false},
		{"k10", "CollectInvoice", database, 2, true}, // the first is the record of its intent
		{"k11", "CollectInvoice", provider, 1, false},
		{"k12", "CollectInvoice", provider, 1, false},
	}
	for _, r := range rows {
		places := []string{"enter", r.effect[0], r.effect[1], "leave", "reported"}
		if r.apart {
			places = r.effect
		}
		for _, place := range places {
			for _, how := range []string{"kill", "panic", "late"} {
				if place == "reported" && how != "kill" {
					continue // there is nothing left that could panic or be late
				}
				name := r.row + "-" + place + "-" + how
				nth := 1
				if place == r.effect[0] || place == r.effect[1] {
					nth = r.nth
				}
				f := fault{Name: name, Organization: name, Activity: r.activity, Place: place, Nth: nth, How: how}
				if r.row == "k12" {
					f.Once = voiding
				}
				faults = append(faults, f)
			}
		}
	}
	return faults
}

// TestEachMonthIsBilledOnceWhateverDies runs a billing month
// of one organisation for each fault, all in one stack, so that each death also
// hits whatever the others are doing at that moment.
func TestEachMonthIsBilledOnceWhateverDies(t *testing.T) {
	t.Parallel()
	s := startStack(t, "--without", "worker,gateway")
	s.patience = 15 * time.Minute
	all := killMatrix()
	if only := os.Getenv("ARREARS_FAULTS"); only != "" { // to look into some of them
		all = slices.DeleteFunc(all, func(f fault) bool { return !strings.HasPrefix(f.Name, only) })
	}
	faults := slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return f.Organization == "" })
	plan := writeLines(t, "plan.ndjson", all)
	require.NoError(t, os.Mkdir(plan+".done", 0o700))

	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "import", writeLines(t, "orgs.ndjson", doomed(faults)))
	for _, f := range faults {
		s.must("seats", "assign", f.Organization, "ada", "--tier", "chat")
		if f.Activity == "DeliverNotices" {
			s.must("limits", "set", f.Organization, "--org", "--amount", "10.00")
		}
	}
	s.must("cycle", "start", "--all")
	workers := s.keepAlive("worker", nil, "ARREARS_FAULT_PLAN="+plan)
	gateway, err := url.Parse(s.getenv("ARREARS_GATEWAY_URL"))
	require.NoError(t, err)
	gateways := s.keepAlive("starter", []string{"serve", "--listen", gateway.Host}, "ARREARS_FAULT_PLAN="+plan)
	s.must("clock", "advance", "--all", "--to", "2026-11-02T12:00:00Z", "--timeout", "10m",
		"--usage", writeLines(t, "usage.ndjson", overLimit(faults)))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(plan), voiding), nil, 0o600))
	for _, f := range faults {
		if f.voids() {
			s.must("invoices", "void", f.Organization+"/2026-10-01", "--as", "ada", "--reason", "a mistake")
		}
	}
	s.must("clock", "advance", "--all", "--to", "2026-11-10T00:00:00Z", "--timeout", "10m")

	missed := 0
	for _, f := range all {
		if f.Place == "reported" || f.Place == "called" { // another fault may kill the worker in the moment before, and a retry finds what was made
			if _, err := os.Stat(filepath.Join(plan+".done", f.Name)); err != nil {
				missed++
			}
			continue
		}
		require.FileExists(t, filepath.Join(plan+".done", f.Name), "the fault has happened")
	}
	require.Less(t, missed, 4, "of the faults after a call or a report, most have happened")
	t.Logf("the worker died %d times, the gateway %d times", workers.Load(), gateways.Load())
	s.must("verify")
	if slices.ContainsFunc(all, func(f fault) bool { return f.Organization == "" }) {
		s.requireEventsProcessedOnce()
	}
	invoices, charges := s.stripeObjects("invoices"), s.stripeObjects("charges")
	for _, f := range faults {
		f.check(s, invoices, charges)
	}
}

// check finds one invoice and one charge, or each step of the dunning table once.
func (f fault) check(s *stack, invoices, charges []stripeObject) {
	s.t.Helper()
	var bills []invoice
	s.read(&bills, "invoices", "list", f.Organization)
	bill := bills[0]
	for _, b := range bills {
		if b.Status != "draft" {
			bill = b
		}
	}
	customer := ""
	for _, i := range invoices {
		if i.ID == bill.StripeInvoiceID {
			customer = i.Customer
		}
	}
	issued, succeeded, failed := 0, 0, 0
	for _, i := range invoices {
		if i.Customer == customer {
			issued++
		}
	}
	for _, c := range charges {
		switch {
		case c.Customer != customer:
		case c.Status == "succeeded":
			succeeded++
		default:
			failed++
		}
	}
	switch {
	case f.voids():
		require.Equal(s.t, 2, issued, "%s: invoices at Stripe", f.Name)
		require.Equal(s.t, []int{0, 1 + len(dunningTable)}, []int{succeeded, failed}, "%s: charges at Stripe", f.Name)
		statuses := map[string]string{}
		for _, b := range bills {
			statuses[b.ID] = b.Status
		}
		require.Equal(s.t, "void", statuses[f.Organization+"/2026-10-01"], f.Name)
		require.Equal(s.t, "past_due", statuses[f.Organization+"/2026-10-01/2"], f.Name)
		return
	case f.declines():
		require.Equal(s.t, 1, issued, "%s: invoices at Stripe", f.Name)
		require.Equal(s.t, "past_due", bill.Status, f.Name)
		require.Equal(s.t, []int{0, len(dunningTable)}, []int{succeeded, failed}, "%s: charges at Stripe", f.Name)
		return
	}
	require.Equal(s.t, 1, issued, "%s: invoices at Stripe", f.Name)
	require.Equal(s.t, "paid", bill.Status, f.Name)
	require.Equal(s.t, []int{1, 0}, []int{succeeded, failed}, "%s: charges at Stripe", f.Name)
	if f.Activity == "DeliverNotices" {
		var notices []struct{ Status, Failure, At string }
		s.read(&notices, "notices", "list", f.Organization, "--all")
		sent := 0
		for _, n := range notices {
			if n.Status == "sent" {
				sent++
			}
		}
		require.Equal(s.t, 1, sent, "%s: notices sent, of %v", f.Name, notices)
	}
}

// dunningTable is that of the organisations whose cards are declined.
var dunningTable = []int{0, 1, 3}

// doomed are the organisations of the matrix, as lines of org import.
func doomed(faults []fault) (lines []map[string]any) {
	for _, f := range faults {
		card := "pm_card_visa"
		if f.declines() {
			card = "pm_card_chargeCustomerFail"
		}
		lines = append(lines, map[string]any{
			"id": f.Organization, "start": "2026-10-01T00:00:00Z", "test_clock": "2026-10-01T00:00:00Z",
			"payment_method": card, "dunning": dunningTable,
		})
	}
	return lines
}

// overLimit is usage that crosses every threshold of a limit at once.
func overLimit(faults []fault) (lines []map[string]any) {
	for _, f := range faults {
		if f.Activity == "DeliverNotices" {
			lines = append(lines, map[string]any{
				"id": "evt", "organization": f.Organization, "user": "ada", "occurred_at": "2026-10-05T12:00:00Z",
				"product": "chat", "model": "claude-opus-4-1", "usage": map[string]int{"input_tokens": 1_000_000, "output_tokens": 0},
			})
		}
	}
	return lines
}

// requireEventsProcessedOnce finds every event that Stripe told of recorded once,
// and nothing left to be done about any.
func (s *stack) requireEventsProcessedOnce() {
	s.t.Helper()
	told := map[string]bool{}
	for _, event := range s.stripeObjects("events") {
		told[event.ID] = true
	}
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		var recorded []struct {
			ID, Type, Outcome string
			Invoice           string `json:"invoice"`
		}
		s.read(&recorded, "webhooks", "list", "--limit", "10000")
		require.NotEmpty(s.t, recorded)
		seen := map[string]bool{}
		left = nil
		for _, event := range recorded {
			require.True(s.t, told[event.ID], "%s is not Stripe's", event.ID)
			require.False(s.t, seen[event.ID], "%s is there twice", event.ID)
			seen[event.ID] = true
			if event.Outcome == "news" || event.Outcome == "looking" {
				left = append(left, strings.Join([]string{event.Outcome, event.Type, event.Invoice}, " "))
			}
		}
		if len(left) == 0 {
			return
		}
	}
	require.Empty(s.t, left, "nothing is left to be looked into")
}

// keepAlive runs a program with fault points, and the next one whenever it has
// died, until the test ends.
func (s *stack) keepAlive(name string, args []string, env ...string) (deaths *atomic.Int64) {
	s.t.Helper()
	program := filepath.Join(s.t.TempDir(), name)
	out, err := exec.Command("go", "build", "-tags", "faultpoints", "-o", program, "../../"+name).CombinedOutput()
	require.NoError(s.t, err, string(out))
	deaths = &atomic.Int64{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s.t.Context().Err() == nil {
			one := exec.CommandContext(s.t.Context(), program, args...)
			one.Env = append(slices.Clone(s.env), env...)
			_ = one.Run()
			deaths.Add(1)
		}
	}()
	s.t.Cleanup(func() { <-ended })
	return deaths
}

// stripeObject is what the tests look at of an object at Stripe.
type stripeObject struct{ ID, Customer, Status string }

// stripeObjects lists all objects of a kind.
func (s *stack) stripeObjects(kind string) (all []stripeObject) {
	s.t.Helper()
	for after := ""; ; {
		var page struct {
			Data    []stripeObject
			HasMore bool `json:"has_more"`
		}
		path := fmt.Sprintf("/v1/%s?limit=100%s", kind, after)
		require.NoError(s.t, json.Unmarshal(s.stripe(http.MethodGet, path, ""), &page))
		all = append(all, page.Data...)
		if !page.HasMore {
			return all
		}
		after = "&starting_after=" + all[len(all)-1].ID
	}
}

// What people run cannot be made to fail.
func TestProgramsAreBuiltWithoutFaultPoints(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"starter", "worker"} {
		symbols, err := exec.Command("go", "tool", "nm", filepath.Join(programs, program)).Output()
		require.NoError(t, err)
		require.Contains(t, string(symbols), "main.main")
		require.NotContains(t, string(symbols), "faultpoint.at", program)
		require.NotContains(t, string(symbols), "faultpoint.plan", program)
	}
}
