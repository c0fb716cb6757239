package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
)

// use posts events of one organisation and counts what became of them.
func (s *stack) use(organization string, at time.Time, ids []string) map[string]int {
	s.t.Helper()
	var body strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&body, `{"id":%q,"organization":%q,"user":"ada","occurred_at":%q,"product":"chat","model":"claude-haiku-4-5",`+
			`"usage":{"input_tokens":0,"output_tokens":1000}}`+"\n", id, organization, at.Format(time.RFC3339))
	}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.getenv("ARREARS_GATEWAY_URL")+"/v1/usage", strings.NewReader(body.String()))
	require.NoError(s.t, err)
	request.Header.Set("Authorization", "Bearer "+s.getenv("ARREARS_API_KEY"))
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	var answer struct{ Results []struct{ Status string } }
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&answer))
	counts := map[string]int{}
	for _, result := range answer.Results {
		counts[result.Status]++
	}
	return counts
}

// paidInvoices waits until an organisation has paid so many, and returns them by id.
func (s *stack) paidInvoices(organization string, want int) map[string]invoice {
	s.t.Helper()
	var list []invoice
	paid := map[string]invoice{}
	for deadline := time.Now().Add(60 * time.Second); len(paid) < want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		stdout, _, code := s.run("invoices", "list", organization, "-o", "json")
		if code != 0 { // in the moment of the failover
			continue
		}
		list = nil
		require.NoError(s.t, json.Unmarshal([]byte(stdout), &list))
		for _, i := range list {
			if i.Status == "paid" {
				paid[i.ID] = i
			}
		}
	}
	require.Len(s.t, paid, want, "%v", list)
	return paid
}

// The primary is lost, and with it what the standby had not received: two months
// that were billed and paid, and usage that was acknowledged. Nobody does anything
// but promote the standby and send the usage again.
func TestAfterAFailoverThatLostCommitsNothingIsBilledTwice(t *testing.T) {
	t.Parallel()
	servers := pgtest.StartPair(t, "arrears")
	s := startStackIn(t, []string{"DATABASE_URL=" + servers.URL("arrears")}, "--without", "worker")
	month := time.Date(time.Now().UTC().Year(), time.Now().UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", month.AddDate(0, -2, 0).Format(time.DateOnly), "--payment-method", "pm_card_visa")
	s.must("seats", "assign", "acme", "ada", "--tier", "chat", "--at", month.AddDate(0, -2, 0).Format(time.DateOnly))
	s.must("cycle", "start", "acme")
	kept, lost := []string{"kept-1", "kept-2"}, []string{"lost-1", "lost-2", "lost-3", "lost-4", "lost-5"}
	now := time.Now().UTC()
	require.Equal(t, map[string]int{"accepted": 2}, s.use("acme", now, kept))
	servers.Detach()

	s.startWorker()
	before := s.paidInvoices("acme", 2)
	require.Equal(t, 2, s.charges())
	require.Equal(t, map[string]int{"accepted": 5}, s.use("acme", now, lost))

	start := time.Now()
	servers.FailOver()
	after := s.paidInvoices("acme", 2)
	t.Logf("level with Stripe, and billed as before, after %s", time.Since(start).Round(time.Millisecond))
	for id, was := range before {
		require.Equal(t, was.StripeInvoiceID, after[id].StripeInvoiceID)
		require.Equal(t, was.Number, after[id].Number)
		require.Equal(t, was.Total, after[id].Total)
	}
	require.Equal(t, 2, s.charges(), "nobody was charged again")
	require.Len(t, s.stripeObjects("invoices"), 2)
	require.Len(t, s.stripeObjects("customers"), 1)
	require.Equal(t, map[string]int{"accepted": 5, "duplicate": 2}, s.use("acme", now, append(kept, lost...)), "exactly those were lost")
	require.Equal(t, map[string]int{"duplicate": 7}, s.use("acme", now, append(kept, lost...)))
	require.Contains(t, s.must("billing", "status"), "goes on")
	s.must("verify")
}
