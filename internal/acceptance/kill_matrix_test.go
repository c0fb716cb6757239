package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
}

// declines tells that the organisation's card is declined all the way.
func (f fault) declines() bool { return strings.HasPrefix(f.Name, "k11") }

// killMatrix has every activity between a threshold and the money fail at every
// point: before it works, around its effect, before and after it reports.
func killMatrix() (faults []fault) {
	database, provider := []string{"commit", "committed"}, []string{"call", "called"}
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
				faults = append(faults, fault{name, name, r.activity, place, nth, how})
			}
		}
	}
	return faults
}

// TestK04ToK11_EachMonthIsBilledOnceWhateverTheWorkerDiesOf runs a billing month
// of one organisation for each fault, all in one stack, so that each death also
// hits whatever the others are doing at that moment.
func TestK04ToK11_EachMonthIsBilledOnceWhateverTheWorkerDiesOf(t *testing.T) {
	t.Parallel()
	s := startStack(t, "--without", "worker")
	s.patience = 15 * time.Minute
	faults := killMatrix()
	plan := writeLines(t, "plan.ndjson", faults)
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
	deaths := s.keepWorkerAlive("ARREARS_FAULT_PLAN=" + plan)
	s.must("clock", "advance", "--all", "--to", "2026-11-10T00:00:00Z", "--timeout", "10m",
		"--usage", writeLines(t, "usage.ndjson", overLimit(faults)))

	for _, f := range faults {
		require.FileExists(t, filepath.Join(plan+".done", f.Name), "the fault has happened")
	}
	t.Logf("the worker died %d times", deaths.Load())
	s.must("verify")
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
	require.Equal(s.t, 1, issued, "%s: invoices at Stripe", f.Name)
	if f.declines() {
		require.Equal(s.t, "past_due", bill.Status, f.Name)
		require.Equal(s.t, []int{0, len(dunningTable)}, []int{succeeded, failed}, "%s: charges at Stripe", f.Name)
		return
	}
	require.Equal(s.t, "paid", bill.Status, f.Name)
	require.Equal(s.t, []int{1, 0}, []int{succeeded, failed}, "%s: charges at Stripe", f.Name)
	if f.Activity == "DeliverNotices" {
		var notices []struct{ Status string }
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

// keepWorkerAlive runs a worker with fault points, and the next one whenever it
// has died, until the test ends.
func (s *stack) keepWorkerAlive(env ...string) (deaths *atomic.Int64) {
	s.t.Helper()
	program := filepath.Join(s.t.TempDir(), "worker")
	out, err := exec.Command("go", "build", "-tags", "faultpoints", "-o", program, "../../worker").CombinedOutput()
	require.NoError(s.t, err, string(out))
	deaths = &atomic.Int64{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s.t.Context().Err() == nil {
			worker := exec.CommandContext(s.t.Context(), program)
			worker.Env = append(s.env, env...)
			_ = worker.Run()
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
