package fakestripe_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
)

func TestOnlyKeysOfTestModeAreTaken(t *testing.T) {
	t.Parallel()
	l := start(t)
	for key, want := range map[string]int{
		"sk_test_1": http.StatusOK, "rk_test_1": http.StatusOK, "sk_live_1": http.StatusUnauthorized,
		"pk_test_1": http.StatusUnauthorized, "nonsense": http.StatusUnauthorized,
	} {
		answer, body := l.post(t, "/v1/customers", "", "Authorization", "Bearer "+key)
		require.Equal(t, want, answer.StatusCode, key)
		require.NotContains(t, body, key)
	}
	_, err := clientOf(l.url, "rk_test_1").Accounts.Get()
	require.NoError(t, err)
}

func TestBadRequestsAreRefusedAsStripeDoes(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	long := fmt.Sprintf("customer=%s&metadata[k]=%0501d", c.ID, 1)
	many := "customer=" + c.ID
	for i := range 51 {
		many += fmt.Sprintf("&metadata[k%d]=v", i)
	}
	for name, bad := range map[string]struct {
		path, form, code string
		status           int
	}{
		"an unknown parameter":        {"/v1/invoices", "customer=" + c.ID + "&custmer=x", "parameter_unknown", 400},
		"a missing parameter":         {"/v1/invoices", "currency=usd", "parameter_missing", 400},
		"an empty parameter":          {"/v1/invoices", "customer=", "parameter_invalid_empty", 400},
		"no number":                   {"/v1/invoiceitems", "customer=" + c.ID + "&currency=usd&amount=1.5", "parameter_invalid_integer", 400},
		"an unknown value":            {"/v1/invoices", "collection_method=bogus&customer=" + c.ID, "", 400},
		"an unknown currency":         {"/v1/invoices", "currency=zzz&customer=" + c.ID, "", 400},
		"an unknown object":           {"/v1/invoices/in_none/pay", "", "resource_missing", 404},
		"an unknown customer":         {"/v1/invoices", "customer=cus_none", "resource_missing", 400},
		"half a period":               {"/v1/invoiceitems", "customer=" + c.ID + "&currency=usd&amount=1&period[start]=1", "parameter_missing", 400},
		"metadata that are too long":  {"/v1/invoices", long, "", 400},
		"metadata with too many keys": {"/v1/invoices", many, "", 400},
		"an unknown expansion":        {"/v1/invoices", "customer=" + c.ID + "&expand[]=nothing", "", 400},
		"an unknown path":             {"/v1/subscriptions", "", "", 404},
	} {
		answer, body := l.post(t, bad.path, bad.form)
		require.Equal(t, bad.status, answer.StatusCode, "%s: %s", name, body)
		require.Contains(t, body, `"type":"invalid_request_error"`, name)
		if bad.code != "" {
			require.Contains(t, body, `"code":"`+bad.code+`"`, name)
		}
	}
	_, body := l.post(t, "/v1/subscriptions", "")
	require.Contains(t, body, "Unrecognized request URL (POST: /v1/subscriptions)")
}

func TestListsArePagedBothWays(t *testing.T) {
	t.Parallel()
	l := start(t)
	var ids []string // newest first
	for range 25 {
		ids = append([]string{l.customer(t, "").ID}, ids...)
	}
	var all []string
	it := l.Customers.List(&stripe.CustomerListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(10)}})
	for it.Next() {
		all = append(all, it.Customer().ID)
	}
	require.NoError(t, it.Err())
	require.Equal(t, ids, all)

	page := func(p stripe.ListParams) ([]string, bool) {
		p.Single = true
		var got []string
		it := l.Customers.List(&stripe.CustomerListParams{ListParams: p})
		for it.Next() {
			got = append(got, it.Customer().ID)
		}
		require.NoError(t, it.Err())
		return got, it.Meta().HasMore
	}
	got, more := page(stripe.ListParams{})
	require.Equal(t, ids[:10], got)
	require.True(t, more)
	got, more = page(stripe.ListParams{StartingAfter: &ids[22]})
	require.Equal(t, ids[23:], got)
	require.False(t, more)
	// v76 turns the pages before a cursor round while it iterates.
	got, more = page(stripe.ListParams{EndingBefore: &ids[20], Limit: stripe.Int64(3)})
	require.ElementsMatch(t, ids[17:20], got)
	require.True(t, more)
	got, more = page(stripe.ListParams{EndingBefore: &ids[2], Limit: stripe.Int64(3)})
	require.ElementsMatch(t, ids[:2], got)
	require.False(t, more)
}

func TestInvoicesAreListedByWhatTheyAre(t *testing.T) {
	t.Parallel()
	l := start(t)
	a, b := l.customer(t, ""), l.customer(t, "")
	draft, open := l.draft(t, a.ID, 100), l.finalized(t, a.ID, 100)
	other := l.draft(t, b.ID, 100)
	ids := func(p *stripe.InvoiceListParams) (got []string) {
		it := l.Invoices.List(p)
		for it.Next() {
			got = append(got, it.Invoice().ID)
		}
		require.NoError(t, it.Err())
		return got
	}
	now := l.wall.now().Unix()
	require.Equal(t, []string{other.ID, open.ID, draft.ID}, ids(&stripe.InvoiceListParams{}))
	require.Equal(t, []string{open.ID, draft.ID}, ids(&stripe.InvoiceListParams{Customer: &a.ID}))
	require.Equal(t, []string{draft.ID}, ids(&stripe.InvoiceListParams{Customer: &a.ID, Status: str("draft")}))
	require.Len(t, ids(&stripe.InvoiceListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: now}}), 3)
	require.Empty(t, ids(&stripe.InvoiceListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThan: now}}))
}

func TestIDsAreExpandedIntoObjects(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	p := &stripe.InvoiceListParams{Customer: &c.ID}
	p.AddExpand("data.customer.invoice_settings.default_payment_method")
	p.AddExpand("data.payment_intent.latest_charge")
	it := l.Invoices.List(p)
	require.True(t, it.Next(), it.Err())
	got := it.Invoice()
	require.Equal(t, "Acme", got.Customer.Name)
	require.Equal(t, "4242", got.Customer.InvoiceSettings.DefaultPaymentMethod.Card.Last4)
	require.EqualValues(t, 1000, got.PaymentIntent.LatestCharge.Amount)
}

func TestADeletedCustomerIsAStub(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv, draft := l.finalized(t, c.ID, 1000), l.draft(t, c.ID, 500)
	_, err := l.Customers.Del(c.ID, nil)
	require.NoError(t, err)
	got, err := l.Customers.Get(c.ID, nil)
	require.NoError(t, err)
	require.True(t, got.Deleted)
	_, err = l.Invoices.Get(draft.ID, nil)
	require.Equal(t, stripe.ErrorCodeResourceMissing, code(err))
	_, err = l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, http.StatusBadRequest, status(err))
	_, err = l.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID})
	require.Equal(t, stripe.ErrorCodeResourceMissing, code(err))
}
