package stripe_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

var sweepPage = billing.SweepPage{
	Since: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC),
}

// answering answers by the beginning of the path.
func answering(bodies map[string]string) answer {
	return func(w http.ResponseWriter, r *http.Request, _ int) {
		for path, body := range bodies {
			if strings.HasPrefix(r.URL.Path, path) {
				_, _ = io.WriteString(w, body)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestEventsAreListedPageByPage(t *testing.T) {
	t.Parallel()
	event := `{"id":%q,"object":"event","type":"charge.refunded","created":1790812800,"livemode":false,
		"data":{"object":{"id":"ch_1","object":"charge","customer":"cus_1","invoice":"in_1","payment_intent":"pi_1"}}}`
	s := scripted(t, answering(map[string]string{
		"/v1/events": fmt.Sprintf(`{"object":"list","has_more":true,"data":[`+event+`,`+event+`]}`, "evt_2", "evt_1"),
	}))
	events, page, err := s.Events(t.Context(), sweepPage)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, billing.ProviderEvent{
		ID: "evt_2", Type: "charge.refunded", ObjectID: "ch_1", CustomerID: "cus_1", StripeInvoiceID: "in_1", PaymentIntentID: "pi_1",
		Created: time.Unix(1790812800, 0).UTC(),
	}, events[0])
	require.Equal(t, "evt_1", page.After)
	require.Equal(t, 2, page.Read)
	require.False(t, page.Done)
	require.Len(t, s.requests, 1, "one call, one page")
	query := s.requests[0].URL.Query()
	require.Equal(t, "1790812800", query.Get("created[gte]"))
	require.Equal(t, "1790899201", query.Get("created[lt]"))
	require.Equal(t, "invoice.paid", query.Get("types[0]"))

	_, _, err = s.Events(t.Context(), page)
	require.NoError(t, err)
	require.Equal(t, "evt_1", s.requests[1].URL.Query().Get("starting_after"))
}

func TestOnlyInvoicesWithOurMarkAreFound(t *testing.T) {
	t.Parallel()
	s := scripted(t, answering(map[string]string{"/v1/invoices": `{"object":"list","has_more":false,"data":[
		{"id":"in_3","object":"invoice","status":"open","created":1790812800,"currency":"usd","total":4000,"description":"Invoice INV-000042, part 2 of 3",
			"metadata":{"arrears_installation":"` + installation + `","arrears_organization":"acme","arrears_invoice":"acme/2026-10-01","arrears_part":"2"}},
		{"id":"in_2","object":"invoice","status":"open","created":1790812800,"metadata":{"arrears_installation":"another"}},
		{"id":"in_1","object":"invoice","status":"open","created":1790812800,"metadata":{}}]}`}))
	marks, page, err := s.Marked(t.Context(), installation, sweepPage)
	require.NoError(t, err)
	require.Equal(t, []billing.ProviderMark{{
		StripeID: "in_3", Installation: installation, Organization: "acme", Invoice: "acme/2026-10-01", Status: "open",
		Part: 2, Number: "INV-000042", Total: billing.FromMinor(4000, "USD"), Created: time.Unix(1790812800, 0).UTC(),
	}}, marks)
	require.Equal(t, 3, page.Read)
	require.True(t, page.Done)
}

func TestRefundsAndDisputesOfAPayment(t *testing.T) {
	t.Parallel()
	s := scripted(t, answering(map[string]string{
		"/v1/refunds": `{"object":"list","has_more":false,"data":[
			{"id":"re_1","object":"refund","amount":500,"currency":"usd","status":"succeeded","reason":"requested_by_customer","created":1790812800,"payment_intent":"pi_1"},
			{"id":"re_2","object":"refund","amount":100,"currency":"usd","status":"failed","failure_reason":"expired_or_canceled_card","created":1790812800,"payment_intent":"pi_1"}]}`,
		"/v1/disputes": `{"object":"list","has_more":false,"data":[
			{"id":"dp_1","object":"dispute","amount":1500,"currency":"usd","status":"needs_response","reason":"fraudulent","created":1790812800,
			 "payment_intent":"pi_1","evidence_details":{"due_by":1790899200}}]}`,
	}))
	returns, err := s.Reversals(t.Context(), []string{"pi_1", ""})
	require.NoError(t, err)
	require.Len(t, s.requests, 2, "nothing is asked of no payment")
	require.Len(t, returns.Refunds, 2)
	requireMoney(t, "5.00 USD", returns.Refunds[0].Amount)
	require.Equal(t, "requested_by_customer", returns.Refunds[0].Reason)
	require.Equal(t, "expired_or_canceled_card", returns.Refunds[1].Reason)
	require.Len(t, returns.Disputes, 1)
	requireMoney(t, "15.00 USD", returns.Disputes[0].Amount)
	require.Equal(t, "needs_response", returns.Disputes[0].Status)
	require.Equal(t, time.Unix(1790899200, 0).UTC(), *returns.Disputes[0].RespondBy)
	require.Equal(t, "pi_1", s.requests[1].URL.Query().Get("payment_intent"))

	broken := scripted(t, reply(http.StatusInternalServerError, `{"error":{"type":"api_error"}}`))
	_, err = broken.Reversals(t.Context(), []string{"pi_1"})
	require.ErrorContains(t, err, "list the refunds of pi_1")
}

func TestWhatACustomerIsChargedBy(t *testing.T) {
	t.Parallel()
	l := start(t)
	for method, kind := range map[string]string{"pm_card_visa": "card", "pm_usBankAccount_success": "us_bank_account", "": ""} {
		org := billing.Organization{ID: "acme" + strings.ToLower(strings.ReplaceAll(kind, "_", "")), Currency: "USD", PaymentMethod: method, Email: "billing@acme.example"}
		customer, _, err := l.EnsureCustomer(t.Context(), installation, org)
		require.NoError(t, err)
		got, err := l.MethodKind(t.Context(), customer)
		require.NoError(t, err)
		require.Equal(t, kind, got)
		require.NoError(t, l.SetEmail(t.Context(), customer, "new@acme.example", "cus/email/"+org.ID))
		stored, err := l.api.Customers.Get(customer, nil)
		require.NoError(t, err)
		require.Equal(t, "new@acme.example", stored.Email)
	}
}

func TestTheLocalStripeListsWhatHappened(t *testing.T) {
	t.Parallel()
	l := start(t)
	page := billing.SweepPage{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
	_, page, err := l.Events(t.Context(), page)
	require.NoError(t, err)
	require.True(t, page.Done)
	_, page, err = l.Marked(t.Context(), installation, billing.SweepPage{Since: page.Since, Until: page.Until})
	require.NoError(t, err)
	require.True(t, page.Done)
}
