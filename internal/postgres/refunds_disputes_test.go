package postgres_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func refundOf(id, status, amount string) billing.Refund {
	return billing.Refund{ID: id, Status: status, Amount: usd(amount), PaymentIntentID: "pi_1", MadeAt: issuedAt}
}

func disputeOf(id, status string) billing.Dispute {
	return billing.Dispute{ID: id, Status: status, Amount: usd("20.00"), Reason: "fraudulent", PaymentIntentID: "pi_1", RespondBy: ptr(issuedAt.Add(7 * day)), MadeAt: issuedAt}
}

// hears has the provider tell of something that names the payment only.
func (f *fixture) hears(id, eventType, customer, intent string) string {
	f.t.Helper()
	_, err := f.RecordStripeEvent(f.ctx, postgres.StripeEvent{
		ID: id, Type: eventType, ObjectID: "obj_" + id, CustomerID: customer, PaymentIntentID: intent, Created: issuedAt,
	})
	require.NoError(f.t, err)
	return f.outcome(id)
}

func (f *fixture) outcome(id string) (outcome string) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT outcome FROM stripe_events WHERE id = $1`, id).Scan(&outcome))
	return outcome
}

func (f *fixture) returns(returns billing.Reversals) billing.Collection {
	f.t.Helper()
	state, err := f.RecordReversals(f.ctx, octoberInvoice, returns)
	require.NoError(f.t, err)
	return state
}

func TestARefundAtTheProviderIsRecordedAndTheInvoiceStaysPaid(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	require.Equal(t, "news", f.hears("evt_1", "charge.refunded", "cus_1", "pi_1"))
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected(), "a collection that has ended is started again")
	step := f.begin()
	require.Equal(t, billing.StepReturns, step.Do)
	require.Equal(t, []string{"pi_1"}, step.Intents)
	require.False(t, step.State.Over())
	state := f.returns(billing.Reversals{Refunds: []billing.Refund{refundOf("re_1", "pending", "5.00")}})
	require.Equal(t, billing.StatusPaid, state.Status)
	require.True(t, state.Over())
	require.Empty(t, f.expected())
	require.Equal(t, "looked", f.outcome("evt_1"))
	require.Equal(t, []string{"provider payments.refund " + octoberInvoice}, f.trail(1))

	again := billing.Reversals{Refunds: []billing.Refund{refundOf("re_1", "pending", "5.00"), refundOf("re_2", "succeeded", "1.00")}}
	f.returns(again)
	f.returns(again)
	f.returns(billing.Reversals{Refunds: []billing.Refund{refundOf("re_1", "succeeded", "5.00")}})
	require.Equal(t, 3, f.count("refunds"), "each state once")
	payments, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, payments[0].Refunds, 2)
	require.Equal(t, "succeeded", payments[0].Refunds[0].Status, "as it stands")
	invoice := f.invoice()
	require.Equal(t, billing.StatusPaid, invoice.Status)
	require.Equal(t, "20.00 USD", invoice.AmountPaid.String())
	require.Equal(t, "0.00 USD", invoice.AmountDue.String())
	require.Len(t, invoice.Refunds, 2)
	f.clean()

	f.returns(billing.Reversals{Refunds: []billing.Refund{refundOf("re_3", "succeeded", "19.00")}})
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Len(t, found, 1, "more than came in")
	require.Equal(t, "refunds_sum", found[0].Check)
	_, err = f.pool.Exec(f.ctx, `UPDATE refunds SET amount = 1`)
	require.ErrorContains(t, err, "only grows")
}

func TestADisputeIsRecordedInEachOfItsStates(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	for i, status := range []string{"needs_response", "under_review", "lost"} {
		require.Equal(t, "news", f.hears("evt_"+status, "charge.dispute.updated", "", "pi_1"), "a dispute names no customer")
		require.Equal(t, billing.StepReturns, f.begin().Do)
		f.returns(billing.Reversals{Disputes: []billing.Dispute{disputeOf("dp_1", status)}})
		require.Equal(t, i+1, f.count("disputes"))
	}
	payments, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, payments[0].Disputes, 1)
	dispute := payments[0].Disputes[0]
	require.Equal(t, []string{"dp_1", "lost", "20.00 USD"}, []string{dispute.ID, dispute.Status, dispute.Amount.String()})
	require.Equal(t, issuedAt.Add(7*day), *dispute.RespondBy)
	require.Equal(t, billing.StatusPaid, f.invoice().Status)
	f.clean()
}

func TestARefundOfAnotherTenantsPaymentIsNotOurs(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	require.Equal(t, "ignored", f.hears("evt_1", "charge.refunded", "cus_1", "pi_of_others"))
	require.Equal(t, "ignored", f.hears("evt_2", "charge.refunded", "cus_1", ""))
	require.Equal(t, "quarantined", f.hears("evt_3", "charge.refunded", "cus_of_others", "pi_1"))
	require.Equal(t, billing.StepNone, f.begin().Do)
}

func TestNewsOfAPaymentThatIsNotKnownYetIsTakenUp(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	step := f.begin()
	require.Equal(t, "ignored", f.hears("evt_1", "charge.dispute.created", "", "pi_1"), "the answer is still on its way")
	require.Equal(t, "ignored", f.hears("evt_2", "charge.refunded", "cus_of_others", "pi_1"))
	state := f.answer(step.Attempt, succeeded)
	require.Equal(t, billing.StatusPaid, state.Status)
	require.False(t, state.Over(), "what was paid is called into question")
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected())
	require.Equal(t, billing.StepReturns, f.begin().Do)
	require.True(t, f.returns(billing.Reversals{Disputes: []billing.Dispute{disputeOf("dp_1", "needs_response")}}).Over())
	require.Equal(t, "looked", f.outcome("evt_1"))
	require.Equal(t, "ignored", f.outcome("evt_2"))
	f.clean()
}

func TestNewsOfADisputeOutlastsTheLookAtTheInvoice(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(processing)
	require.Equal(t, "news", f.hears("evt_1", "charge.dispute.created", "", "pi_1"))
	require.Equal(t, billing.StepResolve, f.begin().Do)
	state := f.answer(1, succeeded)
	require.False(t, state.Over())
	require.Equal(t, billing.StepReturns, f.begin().Do)
	require.Equal(t, "news", f.hears("evt_2", "charge.dispute.updated", "", "pi_1"), "while the provider is asked")
	require.False(t, f.returns(billing.Reversals{}).Over(), "what came after the question is not answered")
	require.Equal(t, "looked", f.outcome("evt_1"))
	f.begin()
	require.True(t, f.returns(billing.Reversals{}).Over())
}

func TestAnEventDeliveredFiveTimesAtOnceIsOne(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	var delivering sync.WaitGroup
	isNew := make(chan bool, 5)
	for range 5 {
		delivering.Go(func() {
			one, err := f.RecordStripeEvent(f.ctx, postgres.StripeEvent{
				ID: "evt_1", Type: "invoice.paid", ObjectID: "in_1", CustomerID: "cus_1", StripeInvoiceID: "in_1", Created: issuedAt,
			})
			if err == nil {
				isNew <- one
			}
		})
	}
	delivering.Wait()
	close(isNew)
	news := 0
	for one := range isNew {
		if one {
			news++
		}
	}
	require.Equal(t, 1, news)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
}

// Whatever the order of events, the state is what the provider says when it
// is asked.
func TestTheOrderOfEventsDecidesNothing(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	types := []string{"invoice.payment_failed", "invoice.paid", "invoice.payment_action_required", "invoice.voided", "payment_intent.processing"}
	rand.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
	for i, eventType := range types {
		f.event("evt_"+string(rune('a'+i)), eventType)
		require.Equal(t, billing.StepRefresh, f.begin().Do)
		require.Equal(t, billing.StatusOpen, f.provider(billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentFailed, AttemptCount: 1}).Status, "%s of %q", eventType, types)
	}
	f.event("evt_last", "invoice.payment_failed")
	f.begin()
	require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1}).Status)
	f.clean()
}

func TestARefundOfAnInvoicePaidByALateAnswerIsAskedFor(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.clock(issuedAt.Add(day))
	require.Equal(t, billing.StepCharge, f.begin().Do) // has no answer yet
	require.Equal(t, billing.StatusPaid, f.answer(1, succeeded).Status)
	require.Equal(t, "news", f.hears("evt_1", "charge.refunded", "cus_1", "pi_1"))
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected())
	step := f.begin()
	require.Equal(t, billing.StepReturns, step.Do)
	require.True(t, f.returns(billing.Reversals{Refunds: []billing.Refund{refundOf("re_1", "succeeded", "5.00")}}).Over())
	require.Empty(t, f.expected())
}
