package workflows

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// run is one run of any workflow here: what it tells about itself, and how it
// waits.
//
// Every workflow is a loop of three steps: look (read the facts), act, and wait
// until something can have changed. News comes as a signal that carries nothing:
// whoever changes facts commits them first and signals afterwards. No news is
// lost, because of one order:
//
//  1. look drains the signals, and then reads the facts. A drained signal was
//     sent before the reading began, so its facts are in what is read.
//  2. A signal that comes later stays where it is, whatever the workflow does
//     meanwhile: nothing but look drains. Perhaps its facts were read, perhaps
//     not; until finds it, returns at once, and the next look tells.
//
// Draining after the facts were read, for one at the start of the waiting, would
// throw away exactly the signals whose facts were missed. At worst a signal costs
// one look too many; many signals cost no more than one.
type run struct {
	status    Status
	details   string // in Markdown, without what is waited for
	signals   workflow.ReceiveChannel
	requests  workflow.Channel // an update handler changed the facts
	testClock bool
	seen      int64 // on a test clock: the last nudge whose facts were read
	early     int   // waits in a row that were over before they began
	lastTries int   // see lastNoticesSent
	held      int   // times in a row that the run was held, see hold
}

// never is a time to wait for news only.
var never time.Time

// newRun prepares a run, which answers StatusQuery from now on. The first thing
// it tells is what it is: a static summary does not outlive continue-as-new.
func newRun(ctx workflow.Context, organization, period, what string) (*run, error) {
	r := &run{
		status:   Status{Organization: organization, Period: period},
		details:  "**" + what + "**",
		signals:  workflow.GetSignalChannel(ctx, Nudge),
		requests: workflow.NewBufferedChannel(ctx, 1),
	}
	stage, _ := workflow.GetTypedSearchAttributes(ctx).GetKeyword(StageAttribute)
	r.status.Stage = Stage(stage)
	workflow.SetCurrentDetails(ctx, r.details)
	return r, workflow.SetQueryHandlerWithOptions(ctx, StatusQuery, func() (Status, error) { return r.status, nil },
		workflow.QueryHandlerOptions{Description: "How the workflow stands, and when it acts next."})
}

// look reads facts by an activity. See run for why it drains first.
func look[In, Out any](
	ctx workflow.Context, r *run,
	activity func(Activities, context.Context, In) (Out, error),
	in In,
) (Out, error) {
	r.drain()
	out, err := do(ctx, activity, in)
	r.heldBy(err)
	return out, err
}

// read notes what the facts say about waiting.
func (r *run) read(testClock bool, seen int64) {
	r.testClock, r.seen = testClock, seen
}

// wake makes the run look again, without a signal.
func (r *run) wake() { r.requests.SendAsync(true) }

func (r *run) drain() {
	for r.signals.ReceiveAsync(nil) || r.requests.ReceiveAsync(nil) {
	}
}

// waitUntil waits until news comes, or until a time if it is not never. What is
// waited for is told to people: it completes "Until …".
//
// On a test clock no timer is ever set. The workflow registers its wait, with
// the last nudge whose facts it has read, so that whoever advances the clock
// knows when all are at rest; the answer is the clock's time, and if the waiting
// is not over by that, only a nudge ends it.
func (r *run) waitUntil(ctx workflow.Context, at time.Time, what string) {
	if !at.Equal(never) {
		what += " " + clock(at)
		r.status.NextWakeAt = &at
	}
	workflow.SetCurrentDetails(ctx, r.details+"\n\nWaiting until "+what+".")
	defer func() {
		r.status.NextWakeAt = nil
		workflow.SetCurrentDetails(ctx, r.details)
	}()

	woken := workflow.NewSelector(ctx)
	woken.AddReceive(r.signals, func(workflow.ReceiveChannel, bool) {})
	woken.AddReceive(r.requests, func(workflow.ReceiveChannel, bool) {})
	woken.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {})
	if r.testClock {
		if now, err := r.registerWait(ctx, at, what); err == nil && !at.Equal(never) && !at.After(now) {
			return
		}
	} else if !at.Equal(never) {
		timer, stop := workflow.WithCancel(ctx)
		defer stop()
		woken.AddFuture(workflow.NewTimerWithOptions(timer, r.pause(ctx, at),
			workflow.TimerOptions{Summary: summary("Until %s", what)}), func(workflow.Future) {})
	}
	woken.Select(ctx)
}

// first is until where no facts have been read yet. On a test clock it leaves
// the waiting to the facts, since they say what was seen.
func (r *run) first(ctx workflow.Context, at time.Time, what string) {
	if !r.testClock && at.After(workflow.Now(ctx)) {
		r.waitUntil(ctx, at, what)
	}
}

func (r *run) registerWait(ctx workflow.Context, at time.Time, what string) (time.Time, error) {
	return do(withDatabase(ctx, summary("On the test clock, wait until %s", what)), Activities.RegisterWait, billing.Wait{
		Organization: r.status.Organization,
		WorkflowID:   workflow.GetInfo(ctx).WorkflowExecution.ID,
		What:         what,
		Until:        at,
		Seen:         r.seen,
	})
}

// soon is when to try again what nobody gave a time for. On a test clock that is
// when anything else happens, since it has no "soon".
func (r *run) soon(ctx workflow.Context) time.Time {
	if r.testClock {
		return never
	}
	return workflow.Now(ctx).Add(deliveryPause)
}

// pause is how long a timer runs. When the facts say that the time has not come
// and this clock says that it has, the database's clock is behind: it is asked
// again soon, and then less and less often.
func (r *run) pause(ctx workflow.Context, at time.Time) time.Duration {
	if ahead := at.Sub(workflow.Now(ctx)); ahead > 0 {
		r.early = 0
		return ahead
	}
	r.early++
	return min(earlyPause<<min(r.early-1, 10), earlyPauseLimit)
}

// heldBy notes up to which nudge the facts had been read when an error came of
// them: on a test clock, whoever waits for this run to rest must know.
func (r *run) heldBy(err error) {
	var seen int64
	if app := (*temporal.ApplicationError)(nil); errors.As(err, &app) && app.HasDetails() && app.Details(&seen) == nil {
		r.seen = max(r.seen, seen)
	}
}

// block stops where no retry can help at once, says why, and returns when there is
// news: somebody removes the cause and nudges, and the run looks again. Causes can
// also go away without anybody telling, so it looks by itself, too, first after
// heldPause and then more and more seldom; on a test clock, which has no "soon",
// it waits for news.
func (r *run) block(ctx workflow.Context, why string) {
	if ctx.Err() != nil {
		return
	}
	workflow.GetLogger(ctx).Error("held", "organization", r.status.Organization, "period", r.status.Period, "reason", why)
	r.tell(ctx, StageHeld, heldDetails(r.status, why))
	at := never
	if !r.testClock {
		at = workflow.Now(ctx).Add(min(heldPause<<min(r.held, 10), heldPauseLimit))
		r.held++
	}
	r.waitUntil(ctx, at, "somebody removes the cause")
}

// shouldContinue reports whether the run may go round its loop once more: not when it is
// cancelled, and not when its history has become so long that the server asks
// for a new run.
func (r *run) shouldContinue(ctx workflow.Context) bool {
	return ctx.Err() == nil && !workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// continueAsNew ends the run and begins the next, unless it was cancelled.
func (r *run) continueAsNew(ctx workflow.Context, wf, in any) error {
	if err := r.finish(ctx); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, wf, in)
}

// finish makes a run ready to end whatever news there may be: whoever asked for
// something has got the answer, and no signal is left. Nothing is lost where a
// next run follows, since that starts by looking.
func (r *run) finish(ctx workflow.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	r.drain()
	return err
}

// atRest reports whether a run may end for good: nobody waits for an answer, and
// nothing has come since it looked. The server refuses to end a run that has a
// signal which it has not seen, so none slips in between.
func (r *run) atRest(ctx workflow.Context) bool {
	err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	return err == nil && r.signals.Len() == 0 && r.requests.Len() == 0
}

// earliest returns the first of some times, leaving out never.
func earliest(times ...time.Time) time.Time {
	first := never
	for _, t := range times {
		if !t.Equal(never) && (first.Equal(never) || t.Before(first)) {
			first = t
		}
	}
	return first
}
