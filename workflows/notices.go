package workflows

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// undelivered is what is left of notices after an attempt to deliver them.
type undelivered struct {
	retryAt time.Time // never = nothing is left, or not before news
	why     string    // for people; "" = nothing is left
}

// deliver has recorded notices sent, round by round, until none is pending or
// the rest has to wait. That delivery fails is no reason to stop anything else,
// so it is told and not returned as an error.
func (r *run) deliver(
	ctx workflow.Context, pending int,
	round func(Activities, context.Context, string) (billing.Delivery, error), of string,
) undelivered {
	for pending > 0 {
		delivery, err := do(withDelivery(ctx, summary("Deliver the notices of %s", of)), round, of)
		switch {
		case err != nil:
			return undelivered{r.soon(ctx), count(pending, "notice") + " could not be delivered: " + reason(err)}
		case delivery.Pending > 0 && !delivery.RetryAt.Equal(never):
			return undelivered{delivery.RetryAt, count(delivery.Pending, "notice") + " could not be delivered, next try " +
				clock(delivery.RetryAt) + ": " + delivery.Reason}
		case delivery.Pending > 0 && delivery.Sent == 0:
			return undelivered{r.soon(ctx), count(delivery.Pending, "notice") + " could not be delivered: " + delivery.Reason}
		}
		pending = delivery.Pending
	}
	return undelivered{}
}

// lastNoticesSent reports whether a run that has nothing else to do may end: its
// notices are delivered. If not, it waits for the next try, a few times, since
// nobody comes after it who would send them.
func (r *run) lastNoticesSent(ctx workflow.Context, left undelivered) bool {
	if left.retryAt.Equal(never) || r.lastTries == lastDeliveries {
		return true
	}
	r.lastTries++
	r.waitUntil(ctx, left.retryAt, "the notices are tried again")
	return false
}
