package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// strange returns an event of a model without a price.
func strange(id string, at time.Time) billing.UsageItem {
	return with(use(id, "u1", at, 5), func(e *billing.Event) { e.Model = "claude-never" })
}

func (f *fixture) discard(which postgres.DiscardChoice) int64 {
	f.t.Helper()
	result, err := f.DiscardUsage(f.ctx, "acme", which, tester)
	require.NoError(f.t, err)
	return result.Discarded
}

func TestUsageThatWillNeverHaveAPriceIsDiscardedAndHoldsNoMonth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("counted", "u1", october, 1_000_000))
	require.Equal(t, []billing.UsageStatus{billing.UsageParked, billing.UsageParked, billing.UsageParked},
		f.store(strange("a", october), strange("b", october), strange("c", october)))
	f.endOctober()
	require.Equal(t, billing.StatusParked, f.issueOctober().Status)
	require.EqualValues(t, 1, f.discard(postgres.DiscardChoice{Event: "a"}))
	require.Zero(t, f.discard(postgres.DiscardChoice{Event: "a"}), "twice is once")
	f.use(retract("undo", "b", f.now()))
	require.Equal(t, billing.StatusParked, f.issueOctober().Status, "one is left")
	nudged := f.nudges("invoice/" + octoberInvoice)
	require.EqualValues(t, 1, f.discard(postgres.DiscardChoice{Model: "claude-never"}))
	require.Zero(t, f.discard(postgres.DiscardChoice{Model: "claude-never"}))
	require.Equal(t, nudged+1, f.nudges("invoice/"+octoberInvoice), "the parked invoice looks again, once")
	f.clean()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status, "nothing holds the month any more")
	require.Equal(t, "5.00 USD", issued.Total.String(), "the others are billed")

	_, err := f.LoadPriceBook(f.ctx, f.bookWith("claude-never"), tester)
	require.NoError(t, err)
	released, err := f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, postgres.ReleaseResult{}, released, "a price that comes later changes nothing")
	require.Equal(t, []billing.UsageStatus{billing.UsageDuplicate}, f.store(strange("c", october)), "nor does sending it again")
	waiting, err := f.ParkedUsage(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Empty(t, waiting)
	all, err := f.ParkedUsage(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []any{"discarded", int64(2), "test"}, []any{all[0].Status, all[0].Events, *all[0].Discarded})
	require.Equal(t, []any{"retracted", int64(1)}, []any{all[1].Status, all[1].Events})
	require.Equal(t, []string{"event/a 1", "model/claude-never 1"},
		f.list(`SELECT subject || ' ' || (after ->> 'discarded') FROM audit_log WHERE action = 'usage.discard' AND actor = 'tester' AND reason = 'test' ORDER BY id`))
	f.clean()
}

func TestWhatCannotBeDiscarded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("counted", "u1", october, 1))
	f.store(strange("a", october))
	for name, c := range map[string]struct {
		which postgres.DiscardChoice
		by    billing.Actor
		err   error
		says  string
	}{
		"a counted event":  {postgres.DiscardChoice{Event: "counted"}, tester, billing.ErrConflict, "taken back by an event that retracts it"},
		"an unknown event": {postgres.DiscardChoice{Event: "x"}, tester, billing.ErrNotFound, `event "x" of organization "acme" does not exist`},
		"nothing named":    {postgres.DiscardChoice{}, tester, billing.ErrInvalid, "a model or an event"},
		"both":             {postgres.DiscardChoice{Model: "claude-never", Event: "a"}, tester, billing.ErrInvalid, "a model or an event"},
		"without a reason": {postgres.DiscardChoice{Event: "a"}, billing.Actor{Name: "tester"}, billing.ErrInvalid, "reason: accepted"},
	} {
		_, err := f.DiscardUsage(f.ctx, "acme", c.which, c.by)
		require.ErrorIs(t, err, c.err, name)
		require.ErrorContains(t, err, c.says, name)
	}
	_, err := f.DiscardUsage(f.ctx, "nobody", postgres.DiscardChoice{Event: "a"}, tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	waiting, err := f.ParkedUsage(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
}

func TestADiscardedEventMayStillBeRetracted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(strange("a", october))
	f.discard(postgres.DiscardChoice{Event: "a"})
	f.use(retract("undo", "a", f.now()))
	f.clean()
	f.exec(`UPDATE usage_events SET discarded = NULL WHERE event_id = 'a'`)
	f.clean() // its retraction explains it
	f.exec(`DELETE FROM usage_events WHERE event_id = 'undo'`)
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, "retraction", found[0].Check)
}

// A release and a discard of the same events at once: each event goes one way.
func TestReleasingAndDiscardingAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for round := range 10 {
		model := fmt.Sprint("claude-never-", round)
		var items []billing.UsageItem
		for i := range 40 {
			items = append(items, with(strange(fmt.Sprint(round, " ", i), october), func(e *billing.Event) { e.Model = model }))
		}
		require.NotContains(t, f.store(items...), billing.UsageAccepted)
		_, err := f.LoadPriceBook(f.ctx, f.bookWith(model), tester)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			_, err := f.ReleaseUsage(f.ctx, "acme", "", tester)
			done <- err
		}()
		f.discard(postgres.DiscardChoice{Model: model})
		require.NoError(t, <-done)
	}
	f.clean()
	require.Equal(t, []string{"0"}, f.list(`SELECT count(*)::text FROM usage_events WHERE rate_id IS NULL AND NOT void`))
}
