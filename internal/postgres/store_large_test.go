package postgres_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// many returns events of 7 users whose rows fill several blocks of a copy, one
// cent each, from a number on.
func many(from, n int) (items []billing.UsageItem) {
	for i := from; i < from+n; i++ {
		items = append(items, use(fmt.Sprintf("e-%06d", i), fmt.Sprintf("u%d", i%7), october.Add(time.Duration(i)*time.Millisecond), 2000))
	}
	return items
}

func tallied(statuses []billing.UsageStatus) map[billing.UsageStatus]int {
	counts := map[billing.UsageStatus]int{}
	for _, s := range statuses {
		counts[s]++
	}
	return counts
}

// recounted makes sure that totals, counters and notices follow from the events.
func (f *fixture) recounted(events int) {
	f.t.Helper()
	require.Equal(f.t, events, f.count("usage_events"))
	differences, err := f.Verify(f.ctx, "acme", "")
	require.NoError(f.t, err)
	require.Empty(f.t, differences)
}

func TestABatchWhoseLastEventIsKnownIsCountedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 3000
	require.Equal(t, []billing.UsageStatus{accepted}, f.store(many(n-1, 1)...))
	answers := f.store(many(0, n)...) // found out when all before it are copied and added up
	require.Equal(t, duplicate, answers[n-1])
	require.Equal(t, map[billing.UsageStatus]int{accepted: n - 1, duplicate: 1}, tallied(answers))
	require.Equal(t, "30", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, map[billing.UsageStatus]int{duplicate: n}, tallied(f.store(many(0, n)...)))
	require.Equal(t, map[billing.UsageStatus]int{accepted: n}, tallied(f.store(many(n, n)...)), "the look-up is no longer needed")
	f.recounted(2 * n)
}

func TestRepeatsAcrossALargeBatchAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	items := many(0, 2000)
	other := use("e-000000", "u9", october, 5)
	early := use("e-000001", "u1", october.Add(-time.Hour), 5) // refused by its time, though its id is known
	items = append(items, items[1999], other, early)
	answers := f.store(items...)
	require.Equal(t, []billing.UsageStatus{duplicate, conflict, rejected}, answers[2000:])
	require.Equal(t, "20", f.spent(billing.ScopeOrganization, ""))
	f.recounted(2000)
}

func TestOverlappingLargeBatchesOfSeveralWritersCountEachEventOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "20")
	const writers, step, n = 4, 500, 1000
	var wait sync.WaitGroup
	counts := make([]map[billing.UsageStatus]int, writers)
	for w := range writers {
		wait.Go(func() {
			items := many(w*step, n)
			if w%2 == 1 {
				slices.Reverse(items)
			}
			counts[w] = tallied(f.store(items...))
		})
	}
	wait.Wait()
	stored := 0
	for _, c := range counts {
		stored += c[accepted]
		require.Equal(t, n, c[accepted]+c[duplicate])
	}
	require.Equal(t, (writers-1)*step+n, stored)
	require.Equal(t, "25", f.spent(billing.ScopeOrganization, ""))
	require.Len(t, f.notices(), 3)
	f.recounted(stored)
}

func TestAUserWhoChangesTiersWithinABatchHasOneTotalAndTwoTiers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.clock(october.AddDate(0, 0, 2))
	_, err := f.AssignSeats(f.ctx, "acme", []postgres.SeatChange{{User: "u1", Tier: "chat_claude_code", From: october.AddDate(0, 0, 1)}}, tester)
	require.NoError(t, err)
	f.store(use("a", "u1", october, 200_000), use("b", "u1", october.AddDate(0, 0, 1), 400_000))
	require.Equal(t, 1, f.count("usage_totals"))
	require.Equal(t, []string{"3", "1", "2"}, []string{
		f.spent(billing.ScopeUser, "u1"), f.spent(billing.ScopeSeatTier, "chat"), f.spent(billing.ScopeSeatTier, "chat_claude_code"),
	})
	f.recounted(2)
}

func TestASessionThatDiesInTheMiddleOfACopyLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 3000
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	_, err = hold.Exec(f.ctx, `
INSERT INTO usage_events (org_id, event_id, user_id, occurred_at, product, model, input, output, cache_write_5m, cache_write_1h, cache_read,
                          web_search, flags, fingerprint, parked_reason)
VALUES ('acme', 'e-001500', '', now(), 'p', 'm', 0, 0, 0, 0, 0, 0, 0, '\x00', 'held')`)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		_, err := f.StoreUsage(f.ctx, "acme", many(0, n))
		failed <- err
	}()
	f.inLine(1) // half of the batch is copied, and waits for that id
	f.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`)
	require.Error(t, <-failed)
	require.NoError(t, hold.Rollback(f.ctx))
	f.recounted(0)
	require.Equal(t, map[billing.UsageStatus]int{accepted: n}, tallied(f.store(many(0, n)...)))
	f.recounted(n)
}

func TestTotalsAndCountersNameWhatExists(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 1))
	for name, statement := range map[string]string{
		"a total of no period":         `INSERT INTO usage_totals SELECT (jsonb_populate_record(t, '{"period_id":"2027-01-01"}')).* FROM usage_totals t`,
		"a total of no rate":           `INSERT INTO usage_totals SELECT (jsonb_populate_record(t, '{"rate_id":0}')).* FROM usage_totals t`,
		"a total moved to no rate":     `UPDATE usage_totals SET rate_id = 0`,
		"a total moved to no period":   `UPDATE usage_totals SET period_id = '2027-01-01'`,
		"a counter moved to nobody":    `UPDATE spend_counters SET org_id = 'nobody'`,
		"a rate renamed":               `UPDATE rates SET id = DEFAULT WHERE id = (SELECT rate_id FROM usage_totals)`,
		"a counter of no organisation": `INSERT INTO spend_counters VALUES ('nobody', now(), 'organization', '', 0)`,
		"a rate that is used":          `DELETE FROM rates WHERE id = (SELECT rate_id FROM usage_totals)`,
		"a period that is used":        `DELETE FROM periods`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.ErrorContains(t, err, "23503", name)
	}
	f.recounted(1)
}
