package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Every activity is tried again until it succeeds or says that no retry can
// help (which errors do is told in package activities), unless said otherwise
// here. The summary is what people read on the timeline.

// withDatabase suits one transaction: seconds at most, so half a minute without
// an answer means a lost worker, and a minute between tries does not load a
// database that is coming back.
func withDatabase(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
	})
}

// withClosing suits the one transaction that reads and writes a whole period,
// and first waits for the events that are just being stored in it.
func withClosing(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 2 * time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
	})
}

// withProvider suits one call to the payment provider, on the task queue whose
// rate the server limits. 45 s must exceed what the gateway itself waits for an
// answer; the tries go on for ever, because an outage of the provider makes bills
// late and never makes them fail.
func withProvider(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		TaskQueue:           queue,
		StartToCloseTimeout: 45 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 10 * time.Minute},
	})
}

// withSweeping suits a batch of the sweep that asks the Temporal server about
// many workflows.
func withSweeping(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 5 * time.Minute,
		HeartbeatTimeout:    time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute, MaximumAttempts: 5},
	})
}

// withDelivery suits one round of sending notices, of which each may take its
// time. It gives up after a few tries: a mail server that hangs must hold up
// neither a period's end nor a payment, and the notices stay recorded. Each try
// to send one is a heartbeat, and takes at most 15 s: a worker that is silent for
// twice that is lost, and another goes on.
func withDelivery(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 2 * time.Minute,
		HeartbeatTimeout:    30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute, MaximumAttempts: 3},
	})
}

const (
	// deliveryPause is how long undelivered notices rest when the round that
	// should have sent them broke off without saying when to try again.
	deliveryPause = time.Hour
	// lastDeliveries is how many more rounds the notices of a finished collection
	// get before the run ends without them; with the pauses between, about a week.
	lastDeliveries = 20
	// heldPause and heldPauseLimit bound how soon a run that is held looks again by
	// itself; each time it waits twice as long.
	heldPause      = time.Hour
	heldPauseLimit = 24 * time.Hour
	// earlyPause and earlyPauseLimit bound how often facts are read again when the
	// database's clock is behind the server's, see until.
	earlyPause      = time.Second
	earlyPauseLimit = time.Minute
)
