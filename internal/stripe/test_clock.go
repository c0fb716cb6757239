package stripe

import (
	"context"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// ensureClock makes the test clock of Stripe's on which the organisation's
// customer lives.
func (g *Gateway) ensureClock(ctx context.Context, installation string, org billing.Organization) (string, error) {
	name := installation + "/" + org.ID
	clock, err := write(ctx, "clock/"+name, func(params sdk.Params) (*sdk.TestHelpersTestClock, error) {
		return g.api.TestHelpersTestClocks.New(&sdk.TestHelpersTestClockParams{
			Params: params, FrozenTime: sdk.Int64(org.Now.Unix()), Name: sdk.String(name),
		})
	})
	if sameKeyOtherInput(err) {
		// An earlier call made it, and our clock has been moved since.
		return g.findClock(ctx, name)
	}
	if err != nil {
		return "", failure(err, "create the test clock of %s", org.ID)
	}
	return clock.ID, nil
}

func (g *Gateway) findClock(ctx context.Context, name string) (string, error) {
	clocks := g.api.TestHelpersTestClocks.List(&sdk.TestHelpersTestClockListParams{ListParams: listParams(ctx)})
	for clocks.Next() {
		if clock := clocks.TestHelpersTestClock(); clock.Name == name {
			return clock.ID, nil
		}
	}
	if err := clocks.Err(); err != nil {
		return "", failure(err, "list the test clocks")
	}
	return "", billing.Conflict("the test clock %s was made at Stripe and is no longer there", name)
}

const (
	// farthestAdvance is less than the two years that Stripe moves a clock at once.
	farthestAdvance = 700 * 24 * time.Hour
	firstClockPoll  = 100 * time.Millisecond
	lastClockPoll   = 2 * time.Second
)

// AdvanceClock moves a test clock of Stripe's to the given time and returns once
// everything that happens there by then has happened. A clock that is there
// already is left alone.
func (g *Gateway) AdvanceClock(ctx context.Context, clock string, to time.Time) error {
	for {
		at, err := g.readyClock(ctx, clock)
		if err != nil || at >= to.Unix() {
			return err
		}
		next := min(to.Unix(), at+int64(farthestAdvance/time.Second))
		key := "clock/" + clock + "/" + time.Unix(next, 0).UTC().Format(time.RFC3339)
		_, err = write(ctx, key, func(params sdk.Params) (*sdk.TestHelpersTestClock, error) {
			return g.api.TestHelpersTestClocks.Advance(clock,
				&sdk.TestHelpersTestClockAdvanceParams{Params: params, FrozenTime: sdk.Int64(next)})
		})
		if err != nil {
			return failure(err, "advance test clock %s", clock)
		}
	}
}

// readyClock waits until the clock stands still and returns its time.
func (g *Gateway) readyClock(ctx context.Context, clock string) (int64, error) {
	for pause := firstClockPoll; ; pause = min(2*pause, lastClockPoll) {
		have, err := g.api.TestHelpersTestClocks.Get(clock, &sdk.TestHelpersTestClockParams{Params: sdk.Params{Context: ctx}})
		if err != nil {
			return 0, failure(err, "look at test clock %s", clock)
		}
		switch have.Status {
		case sdk.TestHelpersTestClockStatusReady:
			return have.FrozenTime, nil
		case sdk.TestHelpersTestClockStatusAdvancing:
		case sdk.TestHelpersTestClockStatusInternalFailure:
			return 0, billing.Conflict("test clock %s: Stripe failed to advance it; it cannot be used any more", clock)
		}
		select {
		case <-ctx.Done():
			return 0, noAnswer(ctx.Err(), "wait for test clock "+clock)
		case <-time.After(pause):
		}
	}
}
