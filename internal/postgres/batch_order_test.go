package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// storing is a batch on its way.
type storing struct {
	answers []billing.UsageAnswer
	err     error
}

// storeInOrder stores a batch while others are under way.
func (f *fixture) storeInOrder(ctx context.Context, ticket *postgres.Ticket, items ...billing.UsageItem) <-chan storing {
	done := make(chan storing, 1)
	go func() {
		answers, err := f.StoreUsageInOrder(ctx, "acme", items, ticket)
		done <- storing{answers, err}
	}()
	return done
}

// statuses waits for a batch's answers.
func (f *fixture) statuses(done <-chan storing) (statuses []billing.UsageStatus) {
	f.t.Helper()
	select {
	case s := <-done:
		require.NoError(f.t, s.err)
		for _, answer := range s.answers {
			statuses = append(statuses, answer.Status)
		}
	case <-time.After(30 * time.Second):
		require.FailNow(f.t, "a batch is not answered")
	}
	return statuses
}

// holdTotals keeps batches from counting until the returned function is called.
func (f *fixture) holdTotals() (release func()) {
	f.t.Helper()
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = hold.Rollback(context.Background()) })
	_, err = hold.Exec(f.ctx, `LOCK TABLE usage_totals IN SHARE MODE`)
	require.NoError(f.t, err)
	return func() { require.NoError(f.t, hold.Commit(f.ctx)) }
}

func TestABatchBeginsWhileTheOneBeforeItCountsAndOvertakesNothingOfIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := f.holdTotals()
	one := postgres.NextTicket(nil)
	first := f.storeInOrder(f.ctx, one, use("a", "u1", october, 1000), use("b", "u1", october, 1000))
	f.inLine(1) // its rows are in place
	second := f.storeInOrder(f.ctx, postgres.NextTicket(one), use("a", "u1", october, 1000), use("b", "u1", october, 7), use("c", "u1", october, 1000))
	f.inLine(2) // at the first id that both have
	release()
	require.Equal(t, []billing.UsageStatus{accepted, accepted}, f.statuses(first))
	require.Equal(t, []billing.UsageStatus{duplicate, conflict, accepted}, f.statuses(second))
	require.Equal(t, "0.015", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestABatchThatRetractsWaitsForTheAnswersOfTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := f.holdTotals()
	one := postgres.NextTicket(nil)
	first := f.storeInOrder(f.ctx, one, use("a", "u1", october, 1000), use("b", "u1", october, 1000))
	f.inLine(1)
	second := f.storeInOrder(f.ctx, postgres.NextTicket(one), retract("r", "a", october))
	select {
	case <-second:
		require.FailNow(t, "it has overtaken the event")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	require.Equal(t, []billing.UsageStatus{accepted, accepted}, f.statuses(first))
	require.Equal(t, []billing.UsageStatus{accepted}, f.statuses(second))
	require.Equal(t, "0.005", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestABatchThatFailsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := f.holdTotals()
	ctx, cancel := context.WithCancel(f.ctx)
	one := postgres.NextTicket(nil)
	two := postgres.NextTicket(one)
	first := f.storeInOrder(ctx, one, use("a", "u1", october, 1000))
	f.inLine(1)
	second := f.storeInOrder(f.ctx, two, use("a", "u1", october, 7))
	third := f.storeInOrder(f.ctx, postgres.NextTicket(two), use("b", "u1", october, 1000), retract("r", "a", october))
	cancel()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	release()
	require.Equal(t, []billing.UsageStatus{accepted}, f.statuses(second), "nothing of the first one is left")
	require.Equal(t, []billing.UsageStatus{accepted, accepted}, f.statuses(third))
	require.Equal(t, "0.005", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestBatchesOfASourceFullOfRepeatsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 1), use("a", "u1", october, 1)) // from here on the store looks first
	var before *postgres.Ticket
	var batches []<-chan storing
	for n := range 8 {
		before = postgres.NextTicket(before)
		// Each repeats the id of the one before it with other content.
		batches = append(batches, f.storeInOrder(f.ctx, before,
			use(string(rune('k'+n)), "u1", october, int64(n)), use(string(rune('k'+n+1)), "u1", october, 100+int64(n))))
	}
	require.Equal(t, []billing.UsageStatus{accepted, accepted}, f.statuses(batches[0]))
	for _, batch := range batches[1:] {
		require.Equal(t, []billing.UsageStatus{conflict, accepted}, f.statuses(batch))
	}
	require.NoError(t, before.Answered(f.ctx))
	require.True(t, before.Over())
	f.clean()
}
