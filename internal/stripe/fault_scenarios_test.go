package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/stripe"
	"github.com/arrears-dev/arrears/workflows"
)

// desk is as much of a store as one invoice needs from its draft to its payment.
type desk struct {
	ledger
	items map[int]*billing.ProviderItem
}

const deskItems = 3

func newDesk(customer string) *desk {
	d := &desk{items: map[int]*billing.ProviderItem{}}
	d.invoice, d.retries, d.status = draftOf(customer, "acme/2026-10-01"), 1, billing.StatusOpen
	d.invoice.Total = usd("30.00")
	for n := 1; n <= deskItems; n++ {
		item := itemOf(d.invoice, "", fmt.Sprintf("line/%d", n), "10.00")
		item.Number = n
		d.items[n] = &item
	}
	return d
}

func (d *desk) BeginProviderInvoice(context.Context, string) (billing.ProviderInvoice, error) {
	before := d.invoice
	if before.TriedAt.IsZero() {
		d.invoice.TriedAt = time.Now()
	}
	return before, nil
}

func (d *desk) RecordProviderInvoice(_ context.Context, _, id string) error {
	d.invoice.StripeID = id
	return nil
}

func (d *desk) AdoptProviderInvoice(ctx context.Context, invoice, id string) error {
	for _, item := range d.items {
		item.Tried = true
	}
	return d.RecordProviderInvoice(ctx, invoice, id)
}

func (d *desk) BeginProviderItem(_ context.Context, _ string, n int) (billing.ProviderItem, error) {
	d.items[n].StripeInvoice = d.invoice.StripeID
	before := *d.items[n]
	d.items[n].Tried = true
	return before, nil
}

func (d *desk) RecordProviderItem(_ context.Context, _ string, n int, id string) error {
	d.items[n].StripeID = id
	return nil
}

func (d *desk) BeginProviderFinalize(context.Context, string) (billing.ProviderInvoice, error) {
	return d.invoice, nil
}

func (d *desk) RecordProviderFinalized(context.Context, string, billing.ProviderInvoiceState) error {
	d.invoice.Finalized = true
	return nil
}

// next is the activity that a workflow would run now.
func (d *desk) next(ctx context.Context, a *activities.Activities) error {
	if d.invoice.StripeID == "" {
		return a.CreateProviderInvoice(ctx, d.invoice.Invoice)
	}
	for n := 1; n <= deskItems; n++ {
		if d.items[n].StripeID == "" {
			return a.AddProviderItem(ctx, workflows.ItemRef{Invoice: d.invoice.Invoice, Number: n})
		}
	}
	if !d.invoice.Finalized {
		mismatch, err := a.FinalizeProviderInvoice(ctx, d.invoice.Invoice)
		if mismatch != "" {
			return temporal.NewNonRetryableApplicationError(mismatch, "mismatch", nil)
		}
		return err
	}
	_, err := a.CollectInvoice(ctx, d.invoice.Invoice)
	return err
}

// work runs activities until the invoice is paid, again where they failed, and
// returns how many failed. between is called after each failure.
func (d *desk) work(t *testing.T, l *local, between func()) (failures int) {
	t.Helper()
	a := activities.New(d, l.Gateway, nil, quiet())
	for try := 0; d.status != billing.StatusPaid; try++ {
		require.Less(t, try, 300, "%+v %v", d.invoice, d.outcomes())
		if err := d.next(context.Background(), a); err != nil {
			var final *temporal.ApplicationError
			require.False(t, errors.As(err, &final) && final.NonRetryable(), "a fault of Stripe's is never final: %v", err)
			failures++
			between()
		}
	}
	return failures
}

// requireBilledOnce looks at Stripe: one invoice with our items, charged once.
func requireBilledOnce(t *testing.T, l *local, d *desk) {
	t.Helper()
	l.server.ClearFaults()
	all := l.invoices(t, d.invoice.Customer)
	require.Len(t, all, 1)
	require.Equal(t, sdk.InvoiceStatusPaid, all[0].Status)
	require.EqualValues(t, 3000, all[0].Total)
	require.Len(t, all[0].Lines.Data, deskItems)
	charges := l.charges(t, d.invoice.Customer)
	require.Len(t, charges, 1)
	require.EqualValues(t, 3000, charges[0].Amount)
	require.Equal(t, []string{"succeeded "}, d.outcomes(), "one attempt: no step of the dunning table is used up")
}

// Every write of an invoice meets every fault, and again at the next.
func TestEveryWriteOutlivesEveryFault(t *testing.T) {
	t.Parallel()
	for row, fault := range map[string]fakestripe.Fault{
		"rate limit for 60 requests": fakestripe.Fault{Kind: fakestripe.FaultRateLimit}.Repeat(60),
		"lock timeout":               fakestripe.Fault{Kind: fakestripe.FaultLockTimeout}.Repeat(20),
		"answer dropped":             fakestripe.Fault{Kind: fakestripe.FaultDrop}.Repeat(2),
		"stored 500":                 {Kind: fakestripe.FaultError500},
		"half an answer":             {Kind: fakestripe.FaultHalf},
		"reset in the answer":        {Kind: fakestripe.FaultReset},
	} {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			d := newDesk(l.customer(t, "pm_card_visa"))
			for _, path := range []string{"/v1/invoices", "/v1/invoiceitems", "/v1/invoices/*/finalize", "/v1/invoices/*/pay"} {
				l.server.Inject(fault.On(http.MethodPost, path))
			}
			require.GreaterOrEqual(t, d.work(t, l, func() {}), 4)
			require.Empty(t, l.server.Faults().Faults, "all have struck")
			for _, struck := range l.server.Faults().Strikes {
				if strings.HasSuffix(struck.Path, "/pay") {
					require.Equal(t, "pay/"+installation+"/acme/2026-10-01/1", struck.Key, "a payment is made under one key only")
				}
			}
			requireBilledOnce(t, l, d)
		})
	}
}

func TestAnOutageMakesBillsLateAndNothingElse(t *testing.T) {
	t.Parallel()
	l := start(t)
	d := newDesk(l.customer(t, "pm_card_visa"))
	l.server.Inject(fakestripe.Outage(6 * time.Hour))
	failures := d.work(t, l, func() { l.pass(30 * time.Minute) })
	require.Equal(t, 12, failures)
	requireBilledOnce(t, l, d)
}

func TestScatteredFaultsBillOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			l := start(t)
			d := newDesk(l.customer(t, "pm_card_visa"))
			l.server.Inject(fakestripe.Scatter(seed, 40, 20, fakestripe.FaultRefuse, fakestripe.FaultRateLimit,
				fakestripe.FaultLockTimeout, fakestripe.FaultDrop, fakestripe.FaultHalf, fakestripe.FaultReset,
				fakestripe.FaultError500)...)
			d.work(t, l, func() {})
			requireBilledOnce(t, l, d)
		})
	}
}

// The worker was down for 25 hours, and Stripe has forgotten every key: what is
// there is found, and not made again.
func TestAKeyThatStripeHasForgottenIsNotReliedOn(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/invoices", "/v1/invoiceitems", "/v1/invoices/*/finalize"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			d := newDesk(l.customer(t, "pm_card_visa"))
			l.server.Inject(fakestripe.Fault{Kind: fakestripe.FaultReset}.On(http.MethodPost, path))
			require.Equal(t, 1, d.work(t, l, func() { l.pass(25 * time.Hour) }))
			requireBilledOnce(t, l, d)
		})
	}
}

// Two workers make the same call; the second waits and reads.
func TestTwoWorkersOneEffect(t *testing.T) {
	t.Parallel()
	l := start(t)
	d := newDesk(l.customer(t, "pm_card_visa"))
	l.server.Inject(fakestripe.Fault{Kind: fakestripe.FaultDelay, MS: 300}.On(http.MethodPost, "/v1/invoices"))
	ctx, first := context.Background(), make(chan error, 1)
	draft := d.invoice
	go func() {
		_, err := l.CreateInvoice(ctx, draft)
		first <- err
	}()
	require.Eventually(t, func() bool { return len(l.server.Faults().Strikes) == 1 }, 5*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, d.work(t, l, func() { time.Sleep(20 * time.Millisecond) }), 0)
	require.NoError(t, <-first)
	requireBilledOnce(t, l, d)
}

// A key that Stripe refuses stops every call for a while; a good one goes on where
// the bad one stopped, and no attempt is counted.
func TestARefusedKeyStopsAllCallsAndCountsNoAttempt(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			const pause = 100 * time.Millisecond
			l := start(t, func(o *stripe.Options) { o.KeyPause = pause })
			d := newDesk(l.customer(t, "pm_card_visa"))
			l.server.Inject(fakestripe.Fault{Kind: fakestripe.FaultOutage, Status: status})
			a := activities.New(d, l.Gateway, nil, quiet())
			ctx := context.Background()
			require.ErrorContains(t, d.next(ctx, a), fmt.Sprint("Stripe answered ", status))
			for range 50 {
				err := d.next(ctx, a)
				require.ErrorContains(t, err, "Stripe refuses STRIPE_SECRET_KEY")
				var later *temporal.ApplicationError
				require.ErrorAs(t, err, &later)
				require.False(t, later.NonRetryable())
				require.Positive(t, later.NextRetryDelay())
			}
			require.Len(t, l.server.Faults().Strikes, 1, "the others never left")
			time.Sleep(pause)
			require.Error(t, d.next(ctx, a))
			require.Len(t, l.server.Faults().Strikes, 2, "one tries whether a person has helped")
			l.server.ClearFaults()
			d.work(t, l, func() { time.Sleep(pause) })
			requireBilledOnce(t, l, d)
		})
	}
}

func TestNoTLSAndNoNameAreNoAnswers(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{
		"no such name":   "http://stripe.invalid",
		"nobody listens": "http://127.0.0.1:1",
		"no TLS there":   "https" + start(t).url[len("http"):],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := stripe.New(stripe.Options{Key: testKey, APIBase: base, Log: quiet(), Timeout: 5 * time.Second})
			require.NoError(t, err)
			_, err = g.Pay(context.Background(), attempt(draftOf("cus_1", "acme/2026-10-01"), 1, 0))
			require.ErrorContains(t, err, "no answer from Stripe")
			requireFinal(t, nil, err)
		})
	}
}
