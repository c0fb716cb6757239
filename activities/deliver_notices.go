package activities

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Notifier tells people. It returns once the channel has taken the message.
type Notifier interface {
	Spend(ctx context.Context, notice billing.Notice) error
	Payment(ctx context.Context, notice billing.PaymentNotice) error
}

const (
	noticesPerRound = 100
	// noticeTimeout bounds one try to send; roundMargin is what a round leaves of
	// its own time to say how it went.
	noticeTimeout = 15 * time.Second
	roundMargin   = 5 * time.Second
)

// DeliverNotices sends an organisation's undelivered spend notices. A worker that
// dies between sending a notice and recording that sends it twice: better twice
// than never.
func (a *Activities) DeliverNotices(ctx context.Context, organization string) (billing.Delivery, error) {
	pending, err := a.store.PendingNotices(ctx, organization, noticesPerRound)
	if err != nil {
		return billing.Delivery{}, final(fmt.Errorf("read the notices of %s: %w", organization, err))
	}
	r := round{delivered: a.store.NoticeDelivered, failed: a.store.NoticeFailed}
	for _, notice := range pending {
		more, err := r.try(ctx, notice.ID, func(ctx context.Context) error { return a.notifier.Spend(ctx, notice) })
		if err != nil {
			return billing.Delivery{}, final(fmt.Errorf("deliver notice %d: %w", notice.ID, err))
		}
		if !more {
			break
		}
	}
	r.Pending, r.RetryAt, err = a.store.PendingNoticeCount(ctx, organization)
	return r.Delivery, final(err)
}

// DeliverPaymentNotices sends an invoice's undelivered payment notices.
func (a *Activities) DeliverPaymentNotices(ctx context.Context, invoice string) (billing.Delivery, error) {
	pending, err := a.store.PendingPaymentNotices(ctx, invoice)
	if err != nil {
		return billing.Delivery{}, final(fmt.Errorf("read the payment notices of %s: %w", invoice, err))
	}
	r := round{delivered: a.store.PaymentNoticeDelivered, failed: a.store.PaymentNoticeFailed}
	for _, notice := range pending {
		more, err := r.try(ctx, notice.ID, func(ctx context.Context) error { return a.notifier.Payment(ctx, notice) })
		if err != nil {
			return billing.Delivery{}, final(fmt.Errorf("deliver payment notice %d: %w", notice.ID, err))
		}
		if !more {
			break
		}
	}
	r.Pending, r.RetryAt, err = a.store.PendingPaymentNoticeCount(ctx, invoice)
	return r.Delivery, final(err)
}

// round is one round of sending notices.
type round struct {
	billing.Delivery
	tried     int
	delivered func(ctx context.Context, id int64) error
	failed    func(ctx context.Context, id int64, reason string) error
}

// try sends one notice and records how that went. More is false when the round
// has no time for it: the rest is left to the next round.
func (r *round) try(ctx context.Context, id int64, send func(context.Context) error) (more bool, err error) {
	deadline, set := ctx.Deadline()
	if r.tried > 0 && set && time.Until(deadline) < noticeTimeout+roundMargin {
		return false, nil
	}
	r.tried++
	if activity.IsActivity(ctx) {
		activity.RecordHeartbeat(ctx, id)
	}
	sending, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	switch err := send(sending); {
	case err == nil:
		r.Sent++
		return true, r.delivered(ctx, id)
	case ctx.Err() != nil: // the activity was stopped, the channel may be well
		return false, ctx.Err()
	default:
		r.Reason = reason(err)
		return true, r.failed(ctx, id, err.Error())
	}
}
