package postgres_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestPaymentsAreListedAsTheCommandLinePrintsThem(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	rows, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	text, err := json.Marshal(rows[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"id": 1, "invoice": "acme/2026-10-01", "attempt": 1, "status": "failed",
		"amount": {"amount": "20.00", "currency": "USD"}, "failure_code": "insufficient_funds",
		"payment_method": "pm_first", "stripe_payment_intent_id": "pi_1", "created_at": "2026-11-02T00:00:00Z",
		"part": 1, "surplus": false, "refunds": [], "disputes": []}`, string(text))
	_, err = f.Payments(f.ctx, "nobody")
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestRequestingARetryTwiceIsOneRequest(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	trail := f.count("audit_log")
	for range 2 {
		require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	}
	require.Equal(t, trail+1, f.count("audit_log"))
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	f.charge(succeeded)
	err := f.RequestRetry(f.ctx, octoberInvoice, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "is paid")
	require.ErrorIs(t, f.RequestRetry(f.ctx, "acme/2020-01-01", tester), billing.ErrNotFound)
}

func TestSettingAPaymentMethod(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	trail := f.count("audit_log")
	set := func(method string) []string {
		retried, err := f.SetPaymentMethod(f.ctx, "acme", method, tester)
		require.NoError(t, err)
		return retried
	}
	f.charge(insufficient)
	require.Equal(t, []string{octoberInvoice}, set("pm_second"))
	require.Equal(t, []string{octoberInvoice}, set("pm_second"), "the same again still asks for an attempt at what is unpaid")
	require.Equal(t, trail+2, f.count("audit_log"))
	f.charge(succeeded)
	require.Empty(t, set("pm_second"), "nothing is unpaid")
	require.Equal(t, trail+2, f.count("audit_log"), "nothing changed")
	require.Empty(t, set("pm_third"))
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "pm_third", org.PaymentMethod)
	for _, bad := range []string{"", "pm 1", string(make([]byte, 256))} {
		_, err := f.SetPaymentMethod(f.ctx, "acme", bad, tester)
		require.ErrorIs(t, err, billing.ErrInvalid)
	}
	_, err = f.SetPaymentMethod(f.ctx, "nobody", "pm_1", tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestAPaymentMethodDoesNotConcernSentInvoices(t *testing.T) {
	t.Parallel()
	f := newPublished(t, bySend(30))
	retried, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	require.Empty(t, retried)
}

func TestPaymentNoticesAreDeliveredOrTriedAgainForThreeDays(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(stolen) // payment_failed and past_due
	pending, err := f.PendingPaymentNotices(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Len(t, pending, 2)
	first := pending[0]
	require.Equal(t, billing.NoticePaymentFailed, first.Kind)
	require.Equal(t, "INV-000001", first.Number)
	require.Equal(t, "20.00 USD", first.Amount.String())
	require.Equal(t, "stolen_card", first.FailureCode)
	require.Equal(t, "billing@acme.example", first.Email)
	require.True(t, first.NextAt.IsZero())

	require.NoError(t, f.PaymentNoticeDelivered(f.ctx, first.ID))
	require.NoError(t, f.PaymentNoticeDelivered(f.ctx, first.ID))
	require.NoError(t, f.PaymentNoticeFailed(f.ctx, first.ID, "too late to fail"))
	second := pending[1].ID
	start := f.now()
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
		require.NoError(t, f.PaymentNoticeFailed(f.ctx, second, "mail server down"))
		pending, err = f.PendingPaymentNotices(f.ctx, octoberInvoice)
		require.NoError(t, err)
		require.Empty(t, pending, "not due for a try")
		count, retryAt, err := f.PendingPaymentNoticeCount(f.ctx, octoberInvoice)
		require.NoError(t, err)
		require.Equal(t, 1, count)
		require.Equal(t, f.now().Add(pause), retryAt)
		f.clock(retryAt)
		pending, err = f.PendingPaymentNotices(f.ctx, octoberInvoice)
		require.NoError(t, err)
		require.Len(t, pending, 1)
	}
	f.clock(start.Add(3 * 24 * time.Hour))
	require.NoError(t, f.PaymentNoticeFailed(f.ctx, second, "mail server down"))
	rows, err := f.PaymentNotices(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"sent", "failed"}, []string{rows[0].Status, rows[1].Status})
	require.Equal(t, "mail server down", rows[1].Failure)
	count, _, err := f.PendingPaymentNoticeCount(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Zero(t, count)
	require.NoError(t, f.PaymentNoticeDelivered(f.ctx, second), "it went out after all")
	require.Zero(t, f.begin().State.Notices)
}
