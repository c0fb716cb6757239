package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"github.com/arrears-dev/arrears/internal/billing"
)

func notices(n int) (list []billing.Notice) {
	for i := range n {
		list = append(list, billing.Notice{ID: int64(i + 1), Organization: organization})
	}
	return list
}

func TestDeliverNotices_SendsEachAndGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices, r.store.pending, r.store.retryAt = notices(3), 3, wall.Add(time.Minute)
	r.channel.fails[2] = errors.New("550 <bob@example.com> unknown")
	got, err := r.DeliverNotices(context.Background(), organization)
	require.NoError(t, err)
	require.Equal(t, billing.Delivery{Sent: 2, Pending: 1, RetryAt: wall.Add(time.Minute), Reason: "550 <(address)> unknown"}, got)
	require.Equal(t, []string{"550 <bob@example.com> unknown"}, r.store.reasons, "the database may know the address")
	r.requireDid(t, "PendingNotices", "Spend", "NoticeDelivered", "Spend", "NoticeFailed", "Spend", "NoticeDelivered", "PendingNoticeCount")
}

func TestDeliverNotices_TakesAHundredAtMost(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices, r.store.pending = notices(130), 130
	got, err := r.DeliverNotices(context.Background(), organization)
	require.NoError(t, err)
	require.Equal(t, billing.Delivery{Sent: noticesPerRound, Pending: 30}, got)
}

func TestDeliverNotices_LeavesTheRestWhenTimeRunsOut(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices, r.store.pending = notices(3), 3
	ctx, cancel := context.WithTimeout(context.Background(), noticeTimeout)
	defer cancel()
	got, err := r.DeliverNotices(ctx, organization)
	require.NoError(t, err)
	require.Equal(t, billing.Delivery{Sent: 1, Pending: 2}, got, "one is always tried")
}

func TestDeliverNotices_AStoppedActivityIsNoFailureOfTheChannel(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices, r.channel.hangs = notices(1), true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := r.DeliverNotices(ctx, organization)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	r.requireDid(t, "PendingNotices", "Spend")
}

// TestK04: a notice that was sent and not recorded is sent again by the next round.
func TestADeliveryThatWasNotRecordedIsAnError(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices = notices(2)
	r.store.fails["NoticeDelivered"] = errNoAnswer
	_, err := r.DeliverNotices(context.Background(), organization)
	requireErr(t, err, "deliver notice 1: no answer", false)
	r.requireDid(t, "PendingNotices", "Spend", "NoticeDelivered")
}

func TestDeliverPaymentNotices(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.paymentNotices = []billing.PaymentNotice{{ID: 1}, {ID: 2}}
	r.store.pending, r.store.retryAt = 2, wall
	r.channel.fails[1] = errors.New("mail server is down")
	got, err := r.DeliverPaymentNotices(context.Background(), invoice)
	require.NoError(t, err)
	require.Equal(t, billing.Delivery{Sent: 1, Pending: 1, RetryAt: wall, Reason: "mail server is down"}, got)
	r.requireDid(t, "PendingPaymentNotices", "Payment", "PaymentNoticeFailed", "Payment", "PaymentNoticeDelivered", "PendingPaymentNoticeCount")
}

func TestDeliverNotices_HeartbeatsAsAnActivity(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.notices = notices(3)
	suite := testsuite.WorkflowTestSuite{}
	env := suite.NewTestActivityEnvironment()
	var beats int
	env.SetOnActivityHeartbeatListener(func(*activity.Info, converter.EncodedValues) { beats++ })
	env.RegisterActivity(r.Activities)
	_, err := env.ExecuteActivity(r.DeliverNotices, organization)
	require.NoError(t, err)
	require.Positive(t, beats)
}
