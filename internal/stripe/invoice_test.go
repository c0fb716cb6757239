package stripe_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

func TestAnInvoiceFromDraftToPaid(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer, clock, err := l.EnsureCustomer(ctx, installation, billing.Organization{
		ID: "acme", Email: "billing@acme.example", PaymentMethod: "pm_card_visa",
	})
	require.NoError(t, err)
	require.Empty(t, clock)
	have, err := l.api.Customers.Get(customer, nil)
	require.NoError(t, err)
	require.Equal(t, "billing@acme.example", have.Email)
	require.Equal(t, map[string]string{"arrears_installation": installation, "arrears_organization": "acme"}, have.Metadata)
	require.NotNil(t, have.InvoiceSettings.DefaultPaymentMethod)

	draft := draftOf(customer, "acme/2026-10-01")
	draft.StripeID, err = l.CreateInvoice(ctx, draft)
	require.NoError(t, err)
	item, err := l.AddItem(ctx, itemOf(draft, draft.StripeID, "usage/input", "90.01"))
	require.NoError(t, err)
	_, err = l.AddItem(ctx, itemOf(draft, draft.StripeID, "carried_forward", "-0.01"))
	require.NoError(t, err)
	_, err = l.AddItem(ctx, itemOf(draft, draft.StripeID, "seat/chat", "10.00"))
	require.NoError(t, err)
	line, err := l.api.InvoiceItems.Get(item, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"arrears_installation": installation, "arrears_organization": "acme",
		"arrears_invoice": "acme/2026-10-01", "arrears_line": "usage/input",
	}, line.Metadata)
	require.Equal(t, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix(), line.Period.End)

	state, err := l.Invoice(ctx, draft.StripeID)
	require.NoError(t, err)
	require.Equal(t, "draft", state.Status)
	requireMoney(t, "100.00 USD", state.Total)
	requireMoney(t, "100.00 USD", state.AmountDue)
	require.Equal(t, billing.PaymentStatus(""), state.PaymentStatus)

	state, err = l.FinalizeInvoice(ctx, draft)
	require.NoError(t, err)
	require.Equal(t, "open", state.Status)
	require.NotEmpty(t, state.Number)
	require.NotEmpty(t, state.HostedURL)
	final, err := l.api.Invoices.Get(draft.StripeID, nil)
	require.NoError(t, err)
	require.False(t, final.AutoAdvance, "Stripe must not collect by itself")
	require.Zero(t, final.NextPaymentAttempt)
	require.Zero(t, final.DueDate)

	result, err := l.Pay(ctx, attempt(draft, 1, 0))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentSucceeded, result.Status)
	require.NotEmpty(t, result.PaymentIntentID)
	require.NotEmpty(t, result.ChargeID)
	require.EqualValues(t, 1, result.AttemptCount)
	state, err = l.Invoice(ctx, draft.StripeID)
	require.NoError(t, err)
	require.Equal(t, "paid", state.Status)
	requireMoney(t, "100.00 USD", state.AmountPaid)
	require.Equal(t, 1, state.Charges)
	require.EqualValues(t, 1, state.AttemptCount)
	require.Equal(t, result.PaymentIntentID, state.PaymentIntentID)
	require.Equal(t, billing.PaymentSucceeded, state.PaymentStatus)
	require.False(t, state.PaidAt.IsZero())
}

func TestASentInvoiceIsDueDaysAfterItWasMade(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	at := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	org := billing.Organization{ID: "acme", Email: "billing@acme.example", TestClock: true, Now: at}
	customer, clock, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	require.NotEmpty(t, clock)
	draft := draftOf(customer, "acme/2026-10-01")
	draft.Collection, draft.NetDays = billing.SendInvoice, 30
	draft.StripeID, err = l.CreateInvoice(ctx, draft)
	require.NoError(t, err)
	_, err = l.AddItem(ctx, itemOf(draft, draft.StripeID, "usage", "100.00"))
	require.NoError(t, err)
	state, err := l.FinalizeInvoice(ctx, draft)
	require.NoError(t, err)
	require.Equal(t, "open", state.Status)
	final, err := l.api.Invoices.Get(draft.StripeID, nil)
	require.NoError(t, err)
	require.Equal(t, at.Add(30*24*time.Hour).Unix(), final.DueDate, "days of 24 hours; ours is a local date, and decides")
}

func TestOnlyOurItemsAreOnOurInvoice(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "")
	_, err := l.api.InvoiceItems.New(&sdk.InvoiceItemParams{
		Customer: &customer, Amount: sdk.Int64(7777), Currency: sdk.String("usd"),
	})
	require.NoError(t, err)
	state, err := l.Invoice(ctx, l.open(t, customer).StripeID)
	require.NoError(t, err)
	requireMoney(t, "100.00 USD", state.Total)
}

func TestCurrenciesWithoutOrWithThreeDecimalPlaces(t *testing.T) {
	t.Parallel()
	for c, amount := range map[billing.Currency]string{"JPY": "12345", "KWD": "12.340"} {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			l, ctx := start(t), context.Background()
			draft := draftOf(l.customer(t, ""), "acme/2026-10-01")
			draft.Total = money(amount, c)
			id, err := l.CreateInvoice(ctx, draft)
			require.NoError(t, err)
			_, err = l.AddItem(ctx, itemOf(draft, id, "usage", amount))
			require.NoError(t, err)
			state, err := l.Invoice(ctx, id)
			require.NoError(t, err)
			requireMoney(t, amount+" "+string(c), state.Total)
		})
	}
}

func TestWhatAnEarlierCallMadeIsFound(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "")
	ours := draftOf(customer, "acme/2026-10-01")
	_, found, err := l.FindInvoice(ctx, ours)
	require.NoError(t, err)
	require.False(t, found)
	id, err := l.CreateInvoice(ctx, ours)
	require.NoError(t, err)
	for n := range 105 { // more than a page, later than ours
		_, err := l.CreateInvoice(ctx, draftOf(customer, fmt.Sprintf("acme/later-%d", n)))
		require.NoError(t, err)
	}
	got, found, err := l.FindInvoice(ctx, ours)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, id, got)
	other := ours
	other.Installation = "another database"
	_, found, err = l.FindInvoice(ctx, other)
	require.NoError(t, err)
	require.False(t, found, "two databases may share an account")

	first := itemOf(ours, id, "line/0", "1.00")
	_, found, err = l.FindItem(ctx, first)
	require.NoError(t, err)
	require.False(t, found)
	item, err := l.AddItem(ctx, first)
	require.NoError(t, err)
	for n := range 105 {
		_, err := l.AddItem(ctx, itemOf(ours, id, fmt.Sprintf("line/%d", n+1), "1.00"))
		require.NoError(t, err)
	}
	got, found, err = l.FindItem(ctx, first)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, item, got)
}

// TestS03 drops the answer of each write, and makes the call again.
func TestACallRepeatedUnderItsKeyIsDoneOnce(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "pm_card_visa")
	draft := draftOf(customer, "acme/2026-10-01")

	twice(t, l, "/v1/invoices", func() (err error) {
		draft.StripeID, err = l.CreateInvoice(ctx, draft)
		return err
	})
	require.Len(t, l.invoices(t, customer), 1)
	twice(t, l, "/v1/invoiceitems", func() error {
		_, err := l.AddItem(ctx, itemOf(draft, draft.StripeID, "usage", "100.00"))
		return err
	})
	twice(t, l, "/v1/invoices/*/finalize", func() error {
		state, err := l.FinalizeInvoice(ctx, draft)
		requireMoneyUnless(t, err, "100.00 USD", state.Total)
		return err
	})
	twice(t, l, "/v1/invoices/*/pay", func() error {
		result, err := l.Pay(ctx, attempt(draft, 1, 0))
		if err == nil {
			require.Equal(t, billing.PaymentSucceeded, result.Status)
		}
		return err
	})
	require.Len(t, l.charges(t, customer), 1)
}

func requireMoneyUnless(t *testing.T, err error, want string, got billing.Money) {
	t.Helper()
	if err == nil {
		requireMoney(t, want, got)
	}
}

// twice makes a call whose answer is lost, and then again. Go's own client sends
// a request that bears an idempotency key once more when its connection breaks,
// so that the answer is lost three times to be lost for certain.
func twice(t *testing.T, l *local, path string, call func() error) {
	t.Helper()
	l.server.Inject(fakestripe.Fault{Method: "POST", Path: path, Kind: fakestripe.FaultDrop, Times: -1})
	err := call()
	require.ErrorContains(t, err, "no answer from Stripe")
	requireFinal(t, nil, err)
	clearFaults(t, l)
	require.NoError(t, call())
}

func TestWhatIsFinalAlreadyIsASuccess(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	inv := l.open(t, l.customer(t, "pm_card_visa"))
	inv.IdempotencyKey = "another key"
	state, err := l.FinalizeInvoice(ctx, inv)
	require.NoError(t, err)
	require.Equal(t, "open", state.Status)

	_, err = l.Pay(ctx, attempt(inv, 1, 0))
	require.NoError(t, err)
	inv.IdempotencyKey = "a third key"
	state, err = l.FinalizeInvoice(ctx, inv)
	require.NoError(t, err)
	require.Equal(t, "paid", state.Status)

	inv.StripeID, inv.IdempotencyKey = "in_missing", "a fourth key"
	_, err = l.FinalizeInvoice(ctx, inv)
	requireFinal(t, billing.ErrNotFound, err)
}

func TestARefusalThatLostItsReasonIsNotRepeated(t *testing.T) {
	t.Parallel()
	ctx, draft := context.Background(), draftOf("cus_1", "acme/2026-11-01")
	s := scripted(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			reply(400, `{"error":{"type":"invalid_request_error","message":"not now"}}`, "Idempotent-Replayed", "true")(w, r, n)
			return
		}
		reply(200, `{"id":"in_1","status":"open"}`)(w, r, n)
	})
	state, err := s.FinalizeInvoice(ctx, draft)
	require.NoError(t, err)
	require.Equal(t, "open", state.Status)
	require.Equal(t, []string{draft.IdempotencyKey + "/finalize", draft.IdempotencyKey + "/finalize/2"}, s.keys())
}

func TestAKeyForAnotherAmountIsFinal(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	draft := draftOf(l.customer(t, ""), "acme/2026-10-01")
	id, err := l.CreateInvoice(ctx, draft)
	require.NoError(t, err)
	item := itemOf(draft, id, "usage", "1.00")
	_, err = l.AddItem(ctx, item)
	require.NoError(t, err)
	item.Amount = usd("2.00")
	_, err = l.AddItem(ctx, item)
	requireFinal(t, billing.ErrConflict, err)
}

func TestAnItemForAFinalInvoiceIsRefused(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.open(t, l.customer(t, ""))
	_, err := l.AddItem(context.Background(), itemOf(inv, inv.StripeID, "late", "1.00"))
	requireFinal(t, billing.ErrInvalid, err)
	require.ErrorContains(t, err, "invoice_not_editable")
}

func TestACustomersBalanceShowsBeforeFinalising(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "")
	_, err := l.api.Customers.Update(customer, &sdk.CustomerParams{Balance: sdk.Int64(-1000)})
	require.NoError(t, err)
	draft := draftOf(customer, "acme/2026-10-01")
	id, err := l.CreateInvoice(ctx, draft)
	require.NoError(t, err)
	_, err = l.AddItem(ctx, itemOf(draft, id, "usage", "100.00"))
	require.NoError(t, err)
	state, err := l.Invoice(ctx, id)
	require.NoError(t, err)
	requireMoney(t, "100.00 USD", state.Total)
	requireMoney(t, "90.00 USD", state.AmountDue)
}
