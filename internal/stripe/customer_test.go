package stripe_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

func (l *local) customers(t *testing.T, clock string) (all []*sdk.Customer) {
	t.Helper()
	p := &sdk.CustomerListParams{}
	if clock != "" {
		p.TestClock = &clock
	}
	list := l.api.Customers.List(p)
	for list.Next() {
		all = append(all, list.Customer())
	}
	require.NoError(t, list.Err())
	return all
}

func TestEnsureCustomer_AnyNumberOfTimesMakesOne(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	org := billing.Organization{ID: "acme", Email: "a@acme.example", PaymentMethod: "pm_card_visa"}
	first, _, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	org.Email = "b@acme.example" // the contact changed before the id was recorded
	again, _, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	require.Equal(t, first, again)
	all := l.customers(t, "")
	require.Len(t, all, 1)
	require.Equal(t, "b@acme.example", all[0].Email)

	org.StripeCustomerID, org.StripeClockID = "cus_recorded", "clock_recorded"
	customer, clock, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	require.Equal(t, []string{"cus_recorded", "clock_recorded"}, []string{customer, clock})

	other, _, err := l.EnsureCustomer(ctx, "another database", billing.Organization{ID: "acme"})
	require.NoError(t, err)
	require.NotEqual(t, first, other, "two databases may share an account")
}

func TestEnsureCustomer_GoesOnWhereACallBrokeOff(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/v1/test_helpers/test_clocks", "/v1/customers", "/v1/payment_methods/*/attach", "/v1/customers/*",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			l, ctx := start(t), context.Background()
			org := billing.Organization{ID: "acme", PaymentMethod: "pm_card_visa", TestClock: true, Now: time.Unix(1790000000, 0)}
			var clock string
			twice(t, l, path, func() (err error) {
				_, clock, err = l.EnsureCustomer(ctx, installation, org)
				return err
			})
			require.NotEmpty(t, clock)
			all := l.customers(t, clock)
			require.Len(t, all, 1)
			require.NotNil(t, all[0].InvoiceSettings.DefaultPaymentMethod)
		})
	}
}

func TestEnsureCustomer_ACardThatIsRefusedComesWithTheIDs(t *testing.T) {
	t.Parallel()
	l := start(t)
	customer, _, err := l.EnsureCustomer(context.Background(), installation, billing.Organization{
		ID: "acme", Email: "a@acme.example", PaymentMethod: "pm_card_chargeDeclinedInsufficientFunds",
	})
	requireFinal(t, billing.ErrInvalid, err)
	require.EqualError(t, err, "payment method pm_card_chargeDeclinedInsufficientFunds was declined: "+
		"Your card has insufficient funds. (insufficient_funds)")
	require.NotEmpty(t, customer)
	have, err := l.api.Customers.Get(customer, nil)
	require.NoError(t, err)
	require.Equal(t, "a@acme.example", have.Email)
}

// TestEnsureCustomer_FindsOneByItsPaymentMethod: the customer was made and never recorded, and its
// key has been forgotten since.
func TestEnsureCustomer_FindsOneByItsPaymentMethod(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "pm_card_visa")
	have, err := l.api.Customers.Get(customer, nil)
	require.NoError(t, err)
	method := have.InvoiceSettings.DefaultPaymentMethod.ID
	l.pass(25 * time.Hour)
	again, _, err := l.EnsureCustomer(ctx, installation, billing.Organization{ID: "acme", PaymentMethod: method})
	require.NoError(t, err)
	require.Equal(t, customer, again)

	_, _, err = l.EnsureCustomer(ctx, installation, billing.Organization{ID: "other", PaymentMethod: method})
	requireFinal(t, billing.ErrInvalid, err)
	require.EqualError(t, err, "payment method "+method+" belongs to another customer")
}

func TestEnsureCustomer_OnATestClock(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	org := billing.Organization{ID: "acme", TestClock: true, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	customer, clock, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	have, err := l.api.TestHelpersTestClocks.Get(clock, nil)
	require.NoError(t, err)
	require.Equal(t, org.Now.Unix(), have.FrozenTime)
	require.Equal(t, installation+"/acme", have.Name)

	org.Now = org.Now.AddDate(0, 1, 0) // moved on before the ids were recorded
	customerAgain, clockAgain, err := l.EnsureCustomer(ctx, installation, org)
	require.NoError(t, err)
	require.Equal(t, []string{customer, clock}, []string{customerAgain, clockAgain})

	_, err = l.api.TestHelpersTestClocks.Del(clock, nil)
	require.NoError(t, err)
	_, _, err = l.EnsureCustomer(ctx, installation, org)
	requireFinal(t, billing.ErrConflict, err)
	require.ErrorContains(t, err, "is no longer there")
}

func TestSetPaymentMethod(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "")
	visa, err := l.SetPaymentMethod(ctx, customer, "pm_card_visa", "method/1")
	require.NoError(t, err)
	require.NotEqual(t, "pm_card_visa", visa)
	requireDefault(t, l, customer, visa)

	master, err := l.SetPaymentMethod(ctx, customer, "pm_card_mastercard", "method/2")
	require.NoError(t, err)
	requireDefault(t, l, customer, master)
	back, err := l.SetPaymentMethod(ctx, customer, visa, "method/3")
	require.NoError(t, err)
	require.Equal(t, visa, back)
	requireDefault(t, l, customer, visa)

	for method, want := range map[string]string{
		"pm_card_chargeDeclined": "payment method pm_card_chargeDeclined was declined: Your card was declined. (generic_decline)",
		"pm_nobody_knows":        "payment method pm_nobody_knows is not known to Stripe",
	} {
		_, err = l.SetPaymentMethod(ctx, customer, method, "method/"+method)
		requireFinal(t, billing.ErrInvalid, err)
		require.EqualError(t, err, want)
	}
	requireDefault(t, l, customer, visa)

	_, err = l.api.PaymentMethods.Detach(master, nil)
	require.NoError(t, err)
	_, err = l.SetPaymentMethod(ctx, customer, master, "method/4")
	requireFinal(t, billing.ErrInvalid, err)
	require.ErrorContains(t, err, "may not be used again")

	_, err = l.SetPaymentMethod(ctx, "cus_nobody", "pm_card_visa", "method/5")
	requireFinal(t, billing.ErrNotFound, err)
}

func requireDefault(t *testing.T, l *local, customer, method string) {
	t.Helper()
	have, err := l.api.Customers.Get(customer, nil)
	require.NoError(t, err)
	require.Equal(t, method, have.InvoiceSettings.DefaultPaymentMethod.ID)
}

func TestSetPaymentMethod_AnAnswerThatIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/payment_methods/*/attach", "/v1/customers/*"} {
		l := start(t)
		customer := l.customer(t, "")
		var method string
		twice(t, l, path, func() (err error) {
			method, err = l.SetPaymentMethod(context.Background(), customer, "pm_card_visa", "method/1")
			return err
		})
		requireDefault(t, l, customer, method)
	}
}

func TestAdvanceClock(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, clock, err := l.EnsureCustomer(ctx, installation, billing.Organization{ID: "acme", TestClock: true, Now: at})
	require.NoError(t, err)
	for _, to := range []time.Time{
		at.Add(time.Hour),
		at.AddDate(5, 0, 0), // farther than Stripe goes at once
		at.AddDate(5, 0, 0), // there already
		at.AddDate(4, 0, 0), // never back
	} {
		require.NoError(t, l.AdvanceClock(ctx, clock, to))
	}
	have, err := l.api.TestHelpersTestClocks.Get(clock, nil)
	require.NoError(t, err)
	require.Equal(t, at.AddDate(5, 0, 0).Unix(), have.FrozenTime)
	require.EqualValues(t, "ready", have.Status)
	requireFinal(t, billing.ErrNotFound, l.AdvanceClock(ctx, "clock_nobody", at))
}

func TestAdvanceClock_WaitsUntilStripeIsDone(t *testing.T) {
	t.Parallel()
	answers := []string{
		`{"id":"clock_1","status":"ready","frozen_time":100}`,
		`{"id":"clock_1","status":"advancing","frozen_time":200}`,
		`{"id":"clock_1","status":"advancing","frozen_time":200}`,
		`{"id":"clock_1","status":"ready","frozen_time":200}`,
	}
	s := scripted(t, func(w http.ResponseWriter, r *http.Request, n int) { reply(200, answers[n-1])(w, r, n) })
	require.NoError(t, s.AdvanceClock(context.Background(), "clock_1", time.Unix(200, 0)))
	require.Len(t, s.keys(), len(answers))
	require.True(t, strings.HasPrefix(s.keys()[1], "clock/clock_1/"))

	s = scripted(t, reply(200, `{"id":"clock_1","status":"internal_failure"}`))
	requireFinal(t, billing.ErrConflict, s.AdvanceClock(context.Background(), "clock_1", time.Unix(200, 0)))

	s = scripted(t, reply(200, `{"id":"clock_1","status":"advancing"}`))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.AdvanceClock(ctx, "clock_1", time.Unix(200, 0)), context.DeadlineExceeded)
}
