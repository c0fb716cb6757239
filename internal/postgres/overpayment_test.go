package postgres_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// paidTwice is a fixture whose invoice of October was paid on the provider's page
// while an attempt that had seemed to fail brought money, too.
func paidTwice(t *testing.T) *fixture {
	t.Helper()
	f := newPublished(t)
	f.charge(insufficient)
	f.provider(billing.ProviderInvoiceState{
		Status: "paid", PaymentStatus: billing.PaymentSucceeded, PaymentIntentID: "pi_page", Charges: 1, Charged: usd("20.00"),
	})
	f.clean()
	state := f.answer(1, succeeded)
	require.Equal(t, billing.StatusPaid, state.Status)
	return f
}

func (f *fixture) toRefund() string {
	if amount := f.invoice().ToRefund; amount != nil {
		return amount.String()
	}
	return ""
}

func (f *fixture) refund(id, status, intent, amount string) {
	f.t.Helper()
	_, err := f.RecordReversals(f.ctx, octoberInvoice, billing.Reversals{Refunds: []billing.Refund{{
		ID: id, Status: status, Amount: usd(amount), PaymentIntentID: intent, MadeAt: f.now(),
	}}})
	require.NoError(f.t, err)
}

func (f *fixture) found() []string {
	f.t.Helper()
	found, err := f.Verify(f.ctx, "", "")
	require.NoError(f.t, err)
	var checks []string
	for _, d := range found {
		checks = append(checks, d.Check+" "+d.Subject)
	}
	return checks
}

func TestWhatIsPaidTwiceIsKeptToBeRefunded(t *testing.T) {
	t.Parallel()
	f := paidTwice(t)
	f.answer(1, succeeded) // told again, it changes nothing
	require.Equal(t, []string{"1 succeeded", "2 succeeded"}, f.payments())
	rows, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.True(t, rows[0].Surplus)
	require.False(t, rows[1].Surplus)
	require.Equal(t, "-20", f.balance("unapplied"))
	require.Equal(t, "40", f.balance("cash"))
	require.Equal(t, "20.00 USD", f.invoice().AmountPaid.String())
	require.Equal(t, "20.00 USD", f.toRefund())
	require.Equal(t, []string{"payments_to_refund " + octoberInvoice}, f.found(), "and nothing else")
	require.Equal(t, []string{"arrears payments.surplus " + octoberInvoice}, f.trail(1))
}

func TestARefundClearsWhicheverPaymentItIsOf(t *testing.T) {
	t.Parallel()
	for _, intent := range []string{"pi_1", "pi_page"} {
		t.Run(intent, func(t *testing.T) {
			t.Parallel()
			f := paidTwice(t)
			f.refund("re_1", "pending", intent, "20.00")
			f.refund("re_1", "succeeded", intent, "20.00")
			require.Equal(t, "0", f.balance("unapplied"))
			require.Equal(t, "0", f.balance("refunds"))
			require.Equal(t, "20", f.balance("cash"))
			require.Empty(t, f.toRefund())
			f.clean()

			f.refund("re_2", "succeeded", "pi_page", "5.00") // and more goes back of what was owed
			require.Equal(t, "5", f.balance("refunds"))
			f.clean()
		})
	}
}

func TestARefundInPartOrThatComesBackLeavesTheRest(t *testing.T) {
	t.Parallel()
	f := paidTwice(t)
	f.refund("re_1", "pending", "pi_1", "15.00")
	require.Equal(t, "5.00 USD", f.toRefund())
	require.Equal(t, []string{"payments_to_refund " + octoberInvoice}, f.found())
	f.refund("re_1", "failed", "pi_1", "15.00")
	require.Equal(t, "20.00 USD", f.toRefund())
	f.refund("re_2", "succeeded", "pi_1", "25.00")
	require.Equal(t, "0", f.balance("unapplied"))
	require.Equal(t, "5", f.balance("refunds"))
	f.clean()
}

func TestAnAttemptThatFindsTheInvoicePaidByAnotherIsNoSecondPayment(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.clock(issuedAt.Add(2 * day))
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, ann))
	f.charge(succeeded)
	f.answer(1, succeeded) // the provider's payment is the same one
	require.Equal(t, []string{"1 failed insufficient_funds", "2 succeeded"}, f.payments())
	f.clean()
}

func TestAChargeOfAVoidInvoiceIsKeptToBeRefunded(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	step := f.begin()
	f.provider(billing.ProviderInvoiceState{Status: "void"})
	f.answer(step.Attempt, succeeded)
	require.Equal(t, billing.StatusVoid, f.invoice().Status)
	require.Equal(t, "20.00 USD", f.toRefund())
	withdrawn := "period_invoiced 2026-10-01" // until somebody has its period billed anew
	require.Equal(t, []string{withdrawn, "payments_to_refund " + octoberInvoice}, f.found())
	f.refund("re_1", "succeeded", "pi_1", "20.00")
	require.Equal(t, []string{withdrawn}, f.found())
}

func TestAPartThatIsPaidTwiceIsRefundedAndTheNextCollected(t *testing.T) {
	t.Parallel()
	f := newSplit(t)
	f.charge(insufficient)
	_, err := f.RecordProviderState(f.ctx, octoberInvoice, billing.ProviderInvoiceState{
		StripeID: "in_1", Status: "paid", PaymentStatus: billing.PaymentSucceeded, PaymentIntentID: "pi_page", Charges: 1, Charged: usd("833335.00"),
	})
	require.NoError(t, err)
	f.publishPart(2)
	f.answer(1, succeeded)
	require.Equal(t, "833335.00 USD", f.toRefund())
	require.Equal(t, "833335.00 USD", f.invoice().AmountPaid.String())
	require.Equal(t, billing.StepCharge, f.begin().Do)
	require.Equal(t, []string{"payments_to_refund " + octoberInvoice}, f.found())
}

func TestTheProvidersInvoiceKnowsOneOfTheTwoPayments(t *testing.T) {
	t.Parallel()
	f := paidTwice(t)
	for intent, also := range map[string][]string{"pi_page": nil, "pi_other": nil, "pi_1": {"provider_charges", "provider_cash"}} {
		found, err := f.VerifyProvider(f.ctx, "", func(context.Context, string) (billing.ProviderInvoiceState, error) {
			return billing.ProviderInvoiceState{
				Status: "paid", Total: usd("20.00"), Charges: 1, Charged: usd("20.00"), PaymentIntentID: intent,
			}, nil
		})
		require.NoError(t, err)
		var checks []string
		for _, d := range found {
			checks = append(checks, d.Check)
		}
		require.Equal(t, also, checks, intent)
	}
}
