package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// outcomes returns what became of each event, by its id.
func (f *fixture) outcomes() map[string]string {
	f.t.Helper()
	events, err := f.StripeEvents(f.ctx, 100)
	require.NoError(f.t, err)
	outcomes := map[string]string{}
	for _, e := range events {
		outcomes[e.ID] = e.Outcome
		require.Equal(f.t, e.Outcome == "news" || e.Outcome == "looking", e.ProcessedAt == nil)
	}
	return outcomes
}

func TestAnEventIsStoredOnceAndNudgesOnce(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	event := postgres.StripeEvent{ID: "evt_1", Type: "invoice.paid", ObjectID: "in_1", CustomerID: "cus_1", StripeInvoiceID: "in_1", Created: october}
	var wait sync.WaitGroup
	var fresh atomic.Int64
	for range 5 {
		wait.Go(func() {
			isNew, err := f.RecordStripeEvent(f.ctx, event)
			if err != nil {
				t.Error(err)
			}
			if isNew {
				fresh.Add(1)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, fresh.Load())
	require.Equal(t, 1, f.count("stripe_events"))
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, "news", f.outcomes()["evt_1"])
	f.begin()
	require.Equal(t, "looking", f.outcomes()["evt_1"])
	f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1})
	require.Equal(t, "looked", f.outcomes()["evt_1"])
}

func TestOnlyEventsOfOurInvoicesNudge(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	for _, event := range []postgres.StripeEvent{
		{ID: "evt_unknown_invoice", Type: "invoice.paid", ObjectID: "in_9", CustomerID: "cus_1", StripeInvoiceID: "in_9"},
		{ID: "evt_no_invoice", Type: "customer.updated", ObjectID: "cus_1", CustomerID: "cus_1"},
		{ID: "evt_unknown_type", Type: "teapot.boiled", ObjectID: "tp_1"},
		{ID: "evt_other_customer", Type: "invoice.paid", ObjectID: "in_1", CustomerID: "cus_2", StripeInvoiceID: "in_1"},
		{ID: "evt_echo", Type: "invoice.finalized", ObjectID: "in_1", CustomerID: "cus_1", StripeInvoiceID: "in_1"},
		{ID: "evt_charge", Type: "charge.failed", ObjectID: "ch_1", CustomerID: "cus_1", StripeInvoiceID: "in_1"},
	} {
		event.Created = october
		isNew, err := f.RecordStripeEvent(f.ctx, event)
		require.NoError(t, err)
		require.True(t, isNew)
	}
	require.Equal(t, map[string]string{
		"evt_unknown_invoice": "ignored", "evt_no_invoice": "ignored", "evt_unknown_type": "ignored",
		"evt_other_customer": "quarantined", "evt_echo": "noted", "evt_charge": "noted",
	}, f.outcomes())
	require.Zero(t, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, billing.StepCharge, f.begin().Do, "and the provider is not asked because of them")
}

func TestNewsOfBeforeTheInvoiceWasKnownIsTakenUp(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	f.event("evt_paid", "invoice.paid")
	f.event("evt_created", "invoice.created")
	require.Equal(t, map[string]string{"evt_paid": "ignored", "evt_created": "ignored"}, f.outcomes())
	f.publish(octoberInvoice, "in_1")
	require.Equal(t, map[string]string{"evt_paid": "news", "evt_created": "noted"}, f.outcomes())
	require.Equal(t, billing.StepRefresh, f.begin().Do)
}

func TestNewsOfASettledInvoiceIsNoted(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.event("evt_1", "invoice.payment_succeeded") // overtakes the answer to the charge
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	f.provider(billing.ProviderInvoiceState{Status: "open"})
	step := f.begin()
	f.event("evt_2", "invoice.paid")
	f.answer(step.Attempt, succeeded)
	f.event("evt_3", "invoice.paid")
	require.Equal(t, 2, f.nudges("collect/"+octoberInvoice), "not for what comes after the end")
	require.True(t, f.begin().State.Over())
	require.Equal(t, map[string]string{"evt_1": "looked", "evt_2": "noted", "evt_3": "noted"}, f.outcomes())
}

// An event that arrives at the very moment in which its invoice is settled finds
// nobody who would read it: it waits, and is no news then.
func TestAnEventAtTheMomentOfPaymentIsNoted(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	step := f.begin()
	paying, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	defer func() { _ = paying.Rollback(f.ctx) }()
	_, err = paying.Exec(f.ctx, `SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE`, octoberInvoice) // as openCollection does
	require.NoError(t, err)
	arrived := make(chan struct{})
	go func() {
		defer close(arrived)
		f.event("evt_1", "invoice.paid")
	}()
	select {
	case <-arrived:
		t.Fatal("the event did not wait for what is being decided about its invoice")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, paying.Rollback(f.ctx))
	<-arrived
	f.answer(step.Attempt, succeeded)
	require.Equal(t, map[string]string{"evt_1": "noted"}, f.outcomes())
}

func TestNewsOfAnInvoiceThatIsBeingWithdrawnIsNoted(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(voided())
	step := f.begin()
	require.Equal(t, billing.StepCorrect, step.Do)
	f.event("evt_1", "invoice.voided") // by our own call, whose answer is on its way
	require.Equal(t, billing.StatusVoid, f.corrected(step, billing.CorrectionResult{Done: true}).Status)
	require.Equal(t, map[string]string{"evt_1": "noted"}, f.outcomes())
}

// Events only make us look, so their order decides nothing.
func TestEventsInAnyOrderEndTheSame(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	types := []string{
		"invoice.payment_failed", "invoice.payment_failed", "invoice.payment_action_required",
		"invoice.paid", "invoice.payment_succeeded", "invoice.updated", "invoice.finalized",
	}
	f.charge(insufficient)
	rand.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
	for n, eventType := range types {
		f.event(fmt.Sprintf("evt_%d", n), eventType)
		if f.begin().Do == billing.StepRefresh {
			f.provider(billing.ProviderInvoiceState{Status: "paid", PaymentStatus: billing.PaymentSucceeded, Charges: 1})
		}
		require.NotEqual(t, billing.StepCharge, f.begin().Do)
	}
	require.Equal(t, billing.StatusPaid, f.invoice().Status)
	f.clean()
}

func TestEventsAndCollectionAtOnceDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	var wait sync.WaitGroup
	for n := range 40 {
		wait.Go(func() {
			_, err := f.RecordStripeEvent(f.ctx, postgres.StripeEvent{
				ID: fmt.Sprintf("evt_%d", n), Type: "invoice.payment_failed", ObjectID: "in_1",
				CustomerID: "cus_1", StripeInvoiceID: "in_1", Created: october,
			})
			if err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			if _, err := f.BeginCollection(f.ctx, octoberInvoice); err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			if _, err := f.SetPaymentMethod(f.ctx, "acme", fmt.Sprintf("pm_%d", n), tester); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	require.Equal(t, 40, f.count("stripe_events"))
}
