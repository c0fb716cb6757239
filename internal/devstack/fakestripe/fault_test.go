package fakestripe_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

func (l *local) order(t *testing.T, plan string) {
	t.Helper()
	answer, err := http.Post(l.url+"/_local/faults", "application/json", strings.NewReader(plan))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusNoContent, answer.StatusCode)
}

func TestARefusedRequestDidNothing(t *testing.T) {
	t.Parallel()
	l := start(t)
	l.order(t, `[{"method":"POST","path":"/v1/customers","nth":2,"kind":"refuse"}]`)
	_, err := l.Customers.New(nil)
	require.NoError(t, err)
	_, err = l.Customers.New(nil)
	require.Equal(t, http.StatusServiceUnavailable, status(err))
	_, err = l.Customers.New(nil)
	require.NoError(t, err)
	require.Len(t, l.events(t, "customer.created"), 2)
}

func TestADroppedAnswerIsFoundAgainByItsKey(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 1000)
	// Go's client repeats a request that has a key by itself, once.
	l.order(t, `[{"path":"/v1/invoices/*/pay","kind":"drop","times":2}]`)
	_, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
	require.ErrorAs(t, err, new(*url.Error))
	require.True(t, l.invoice(t, inv.ID).Paid)
	paid, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
	require.NoError(t, err)
	require.True(t, paid.Paid)
	require.Len(t, l.charges(t, c.ID), 1)
}

func TestAnAnswerIsHeldUntilTheClientGoesOrItIsReleased(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.finalized(t, l.customer(t, "pm_card_visa").ID, 1000)
	l.server.Inject(fakestripe.Fault{Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultHold, Times: 2})
	pay := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() {
			p := &stripe.InvoicePayParams{Params: keyed("pay/1")}
			p.Context = ctx
			_, err := l.Invoices.Pay(inv.ID, p)
			done <- err
		}()
		return done
	}
	held := func(n int) {
		require.Eventually(t, func() bool { return l.server.Held() == n }, 5*time.Second, time.Millisecond)
	}

	ctx, kill := context.WithCancel(context.Background())
	gone := pay(ctx)
	held(1)
	require.True(t, l.invoice(t, inv.ID).Paid, "the work is done while the answer is held")
	kill()
	require.ErrorIs(t, <-gone, context.Canceled)
	held(0)

	kept := pay(context.Background())
	held(1)
	l.server.Release()
	require.NoError(t, <-kept)
	require.Len(t, l.events(t, "charge.succeeded"), 1)
}
