package fakestripe_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
)

// available is what the account holds, in cents.
func (l *local) available(t *testing.T) int64 {
	t.Helper()
	b, err := l.Balance.Get(nil)
	require.NoError(t, err)
	return b.Available[0].Amount
}

func (l *local) paid(t *testing.T, method string, amount int64) *stripe.Charge {
	t.Helper()
	c := l.customer(t, method)
	inv := l.finalized(t, c.ID, amount)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	require.True(t, l.invoice(t, inv.ID).Paid)
	return l.charges(t, c.ID)[0]
}

func (l *local) disputeOf(t *testing.T, charge *stripe.Charge) *stripe.Dispute {
	t.Helper()
	it := l.Disputes.List(&stripe.DisputeListParams{Charge: &charge.ID})
	require.True(t, it.Next(), it.Err())
	return it.Dispute()
}

func TestADisputeTakesTheMoneyUntilItIsWon(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, evidence, opened, ended string
		atFirst, atLast                 int64
	}{
		"won":              {"pm_card_createDispute", "winning_evidence", "needs_response", "won", 0, 1000},
		"lost":             {"pm_card_createDispute", "losing_evidence", "needs_response", "lost", 0, 0},
		"looked into":      {"pm_card_createDisputeProductNotReceived", "something", "needs_response", "under_review", 0, 0},
		"given in":         {"pm_card_createDispute", "", "needs_response", "lost", 0, 0},
		"an inquiry":       {"pm_card_createDisputeInquiry", "winning_evidence", "warning_needs_response", "warning_closed", 1000, 1000},
		"an inquiry grows": {"pm_card_createDisputeInquiry", "escalate_inquiry_evidence", "warning_needs_response", "needs_response", 1000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			charge := l.paid(t, c.method, 1000)
			require.True(t, charge.Disputed)
			d := l.disputeOf(t, charge)
			require.EqualValues(t, c.opened, d.Status)
			require.EqualValues(t, 1000, d.Amount)
			require.Equal(t, c.atFirst, l.available(t))
			var err error
			if c.evidence == "" {
				_, err = l.Disputes.Close(d.ID, nil)
			} else {
				_, err = l.Disputes.Update(d.ID, &stripe.DisputeParams{Evidence: &stripe.DisputeEvidenceParams{UncategorizedText: &c.evidence}})
			}
			require.NoError(t, err)
			d, err = l.Disputes.Get(d.ID, nil)
			require.NoError(t, err)
			require.EqualValues(t, c.ended, d.Status)
			require.Equal(t, c.atLast, l.available(t))
			invoice, err := l.Charges.Get(charge.ID, nil)
			require.NoError(t, err)
			require.True(t, l.invoice(t, invoice.Invoice.ID).Paid, "a dispute leaves the invoice paid")
		})
	}
}

func TestAChargeThatWasTakenBackCannotBeRefunded(t *testing.T) {
	t.Parallel()
	l := start(t)
	charge := l.paid(t, "pm_card_createDispute", 1000)
	_, err := l.Refunds.New(&stripe.RefundParams{Charge: &charge.ID})
	require.EqualValues(t, "charge_disputed", code(err))
	require.Equal(t, []string{"charge.dispute.created", "charge.dispute.funds_withdrawn"}, l.events(t, "charge.dispute.*"))
	asked := l.paid(t, "pm_card_createDisputeInquiry", 1000)
	_, err = l.Refunds.New(&stripe.RefundParams{Charge: &asked.ID})
	require.NoError(t, err, "an inquiry is answered by a refund, too")
}

func TestADisputedBankDebitIsLost(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_usBankAccount_dispute")
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	l.wall.pass(4 * day)
	require.True(t, l.invoice(t, inv.ID).Paid)
	require.Equal(t, stripe.DisputeStatusLost, l.disputeOf(t, l.charges(t, c.ID)[0]).Status)
	require.Zero(t, l.available(t))
}

func TestADisputeSurvivesARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	first, stop := run(t, file)
	charge := first.paid(t, "pm_card_createDispute", 1000)
	stop()
	l, stop := run(t, file)
	defer stop()
	require.Zero(t, l.available(t))
	require.Equal(t, stripe.DisputeStatusNeedsResponse, l.disputeOf(t, charge).Status)
}

func TestARefundMayPendOrFailLater(t *testing.T) {
	t.Parallel()
	for method, want := range map[string][2]stripe.RefundStatus{
		"pm_card_visa":          {"succeeded", "succeeded"},
		"pm_card_pendingRefund": {"pending", "succeeded"},
		"pm_card_refundFail":    {"succeeded", "failed"},
	} {
		l := start(t)
		charge := l.paid(t, method, 1000)
		re, err := l.Refunds.New(&stripe.RefundParams{Charge: &charge.ID, Amount: stripe.Int64(400)})
		require.NoError(t, err)
		require.Equal(t, want[0], re.Status, method)
		require.EqualValues(t, 600, l.available(t))
		l.wall.pass(time.Hour)
		l.customer(t, "") // any request lets the time pass
		re, err = l.Refunds.Get(re.ID, nil)
		require.NoError(t, err)
		require.Equal(t, want[1], re.Status, method)
		left := int64(600)
		if re.Status == stripe.RefundStatusFailed {
			left = 1000
			require.Equal(t, stripe.RefundFailureReasonExpiredOrCanceledCard, re.FailureReason)
		}
		require.Equal(t, left, l.available(t), method)
	}
}

func TestMoreOfStripesTestMethods(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_radarBlock")
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, stripe.ErrorCodeCardDeclined, code(err))
	require.Equal(t, stripe.DeclineCodeFraudulent, problem(err).DeclineCode)
	require.Equal(t, "blocked", l.charges(t, c.ID)[0].Outcome.Type)

	c = l.customer(t, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
	inv = l.finalized(t, c.ID, 1000)
	_, err = l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, stripe.ErrorCodeAuthenticationRequired, code(err))
	answer, body := l.post(t, "/_local/payment_intents/"+inv.PaymentIntent.ID+"/authenticate", "outcome=success")
	require.Equal(t, 402, answer.StatusCode)
	require.Contains(t, body, "insufficient_funds")
	require.True(t, l.paid(t, "pm_card_threeDSecureOptional", 1000).Paid)
}
