package fakestripe_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
)

func (l *local) clock(t *testing.T, at time.Time) *stripe.TestHelpersTestClock {
	t.Helper()
	c, err := l.TestHelpersTestClocks.New(&stripe.TestHelpersTestClockParams{FrozenTime: stripe.Int64(at.Unix())})
	require.NoError(t, err)
	return c
}

func (l *local) advance(t *testing.T, clock string, to time.Time) {
	t.Helper()
	c, err := l.TestHelpersTestClocks.Advance(clock, &stripe.TestHelpersTestClockAdvanceParams{
		FrozenTime: stripe.Int64(to.Unix()),
	})
	require.NoError(t, err)
	require.Equal(t, stripe.TestHelpersTestClockStatusAdvancing, c.Status)
	c, err = l.TestHelpersTestClocks.Get(clock, nil)
	require.NoError(t, err)
	require.Equal(t, stripe.TestHelpersTestClockStatusReady, c.Status)
	require.Equal(t, to.Unix(), c.FrozenTime)
}

func TestACustomerOnAClockLivesAtItsTime(t *testing.T) {
	t.Parallel()
	l := start(t)
	then := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	clock := l.clock(t, then)
	c := l.customerOn(t, "pm_card_visa", clock.ID)
	require.Equal(t, then.Unix(), c.Created)
	inv := l.draft(t, c.ID, 1000)
	require.Equal(t, then.Unix(), inv.Created)

	later := then.Add(2 * time.Hour)
	l.advance(t, clock.ID, later)
	inv, err := l.Invoices.FinalizeInvoice(inv.ID, nil)
	require.NoError(t, err)
	require.Equal(t, later.Unix(), inv.StatusTransitions.FinalizedAt)
	inv, err = l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	require.Equal(t, later.Unix(), inv.StatusTransitions.PaidAt)
	require.Equal(t, later.Unix(), l.charges(t, c.ID)[0].Created)
	require.Equal(t, clock.ID, inv.TestClock.ID)
	require.Len(t, l.events(t, "test_helpers.test_clock.ready"), 1)
}

func TestADebitSettlesByTheClockOfItsCustomer(t *testing.T) {
	t.Parallel()
	l := start(t)
	then := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	clock := l.clock(t, then)
	c := l.customerOn(t, "pm_usBankAccount_success", clock.ID)
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	l.wall.pass(30 * day)
	l.advance(t, clock.ID, then.Add(3*day))
	require.False(t, l.invoice(t, inv.ID).Paid)
	l.advance(t, clock.ID, then.Add(10*day))
	got := l.invoice(t, inv.ID)
	require.True(t, got.Paid)
	require.Equal(t, then.Add(4*day).Unix(), got.StatusTransitions.PaidAt)
}

func TestAClockGoesForwardAndTakesThreeCustomers(t *testing.T) {
	t.Parallel()
	l := start(t)
	then := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	clock := l.clock(t, then)
	for _, to := range []time.Time{then, then.Add(-day), then.Add(3 * 366 * day)} {
		_, err := l.TestHelpersTestClocks.Advance(clock.ID, &stripe.TestHelpersTestClockAdvanceParams{
			FrozenTime: stripe.Int64(to.Unix()),
		})
		require.Equal(t, http.StatusBadRequest, status(err), to)
	}
	var on []string
	for range 3 {
		on = append(on, l.customerOn(t, "", clock.ID).ID)
	}
	_, err := l.Customers.New(&stripe.CustomerParams{TestClock: &clock.ID})
	require.Equal(t, http.StatusBadRequest, status(err))
	require.False(t, l.Customers.List(&stripe.CustomerListParams{}).Next(), "those on a clock are listed by it only")
	it := l.Customers.List(&stripe.CustomerListParams{TestClock: &clock.ID})
	require.True(t, it.Next())
	require.Equal(t, on[2], it.Customer().ID)

	_, err = l.TestHelpersTestClocks.Del(clock.ID, nil)
	require.NoError(t, err)
	gone, err := l.Customers.Get(on[0], nil)
	require.NoError(t, err)
	require.True(t, gone.Deleted)
}
