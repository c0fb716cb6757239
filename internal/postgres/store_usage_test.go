package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	accepted  = billing.UsageAccepted
	duplicate = billing.UsageDuplicate
	conflict  = billing.UsageConflict
	rejected  = billing.UsageRejected
	parked    = billing.UsageParked
)

func TestAnEventIsStoredOnceHoweverOftenItArrives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, []billing.UsageStatus{accepted, accepted}, f.store(use("a", "u1", october, 100), use("b", "u1", october, 200)))
	require.Equal(t, []billing.UsageStatus{duplicate, accepted, duplicate},
		f.store(use("a", "u1", october, 100), use("c", "u1", october, 1000), use("b", "u1", october, 200)))
	require.Equal(t, []billing.UsageStatus{duplicate, duplicate}, f.store(use("c", "u1", october, 1000), use("c", "u1", october, 1000)))
	require.Equal(t, 3, f.count("usage_events"))
	require.Equal(t, "0.0065", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, "0.0065", f.spent(billing.ScopeUser, "u1"))
}

func TestAnotherContentUnderAnIDIsReportedAndTheFirstStays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 100))
	require.Equal(t, []billing.UsageStatus{conflict}, f.store(use("a", "u1", october, 101)))
	require.Equal(t, "0.0005", f.spent(billing.ScopeOrganization, ""))
}

func TestAnIDTwiceInOneBatchIsStoredOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, []billing.UsageStatus{accepted, duplicate, conflict},
		f.store(use("a", "u1", october, 100), use("a", "u1", october, 100), use("a", "u2", october, 100)))
}

func TestLateUsageIsBilledOnceInTheRightPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	last := october.AddDate(0, 1, 0).Add(-time.Microsecond)
	f.endOctober()
	require.Equal(t, []billing.UsageStatus{accepted}, f.store(use("in-draft-window", "u1", last, 200_000)))
	issued := f.issueOctober()
	require.Equal(t, "1.00 USD", issued.Total.String())
	require.Equal(t, []billing.UsageStatus{accepted}, f.store(use("late", "u1", last, 400_000)))

	november, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Len(t, november.Lines, 1)
	require.Equal(t, "2026-10-01", november.Lines[0].PeriodOfOrigin)
	require.Equal(t, "2.00 USD", november.Total.String())
	require.Equal(t, "3", f.spent(billing.ScopeOrganization, ""), "counters move by the time of use")
}

func TestUsageOlderThanTheLateWindowIsRefusedUnlessItsPeriodIsOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	f.issueOctober()
	f.clock(october.AddDate(0, 1, 29))
	require.Equal(t, []billing.UsageStatus{accepted}, f.store(use("a", "u1", october.AddDate(0, 0, 30), 1)))
	require.Equal(t, []billing.UsageStatus{rejected}, f.store(use("b", "u1", october.AddDate(0, 0, 29).Add(-time.Second), 1)))
	require.Equal(t, 1, f.count("usage_events"))
}

func TestUsageSentAgainLongAfterItsPeriodClosedIsADuplicate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 1))
	f.endOctober()
	f.issueOctober()
	f.clock(october.AddDate(0, 4, 0))
	require.Equal(t, []billing.UsageStatus{duplicate, conflict, rejected},
		f.store(use("a", "u1", october, 1), use("a", "u1", october, 2), use("b", "u1", october, 1)))
}

func TestUsageOfTheFutureIsRefusedBeyondFiveMinutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, []billing.UsageStatus{accepted, rejected, rejected, rejected}, f.store(
		use("a", "u1", october.Add(4*time.Minute), 1), use("b", "u1", october.Add(6*time.Minute), 1),
		use("c", "u1", october.AddDate(73, 0, 0), 1), use("d", "u1", october.Add(-time.Microsecond), 1)))
}

func TestUsageOfAnUnknownModelIsParkedAndBilledOnceItHasAPrice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown := use("a", "u1", october, 1_000_000)
	unknown.Event.Model = "claude-next"
	require.Equal(t, []billing.UsageStatus{parked}, f.store(unknown))
	require.Equal(t, []billing.UsageStatus{duplicate}, f.store(unknown))
	require.Equal(t, "0", f.spent(billing.ScopeOrganization, ""))

	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "1 events of the period have no price")

	book := f.bookWith("claude-next")
	load, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, load.Releasable)
	for range 2 {
		_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
		require.NoError(t, err)
	}
	require.Equal(t, "5", f.spent(billing.ScopeOrganization, ""))
	issued = f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "5.00 USD", issued.Total.String())
}

func TestUsageOfAnUnknownOrganizationIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.StoreUsage(f.ctx, "nobody", []billing.UsageItem{use("a", "u1", october, 1)})
	require.ErrorIs(t, err, billing.ErrNotFound)
	require.Zero(t, f.count("usage_events"))
}

func TestUsageOutsideASeatIsBilledAndFlagged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	coding := use("a", "u1", october, 200_000)
	coding.Event.Product = "claude_code"
	f.store(coding, use("b", "u1", october, 1), use("c", "u2", october, 1), use("d", "", october, 1))
	flags := map[string]int16{}
	rows, err := f.pool.Query(f.ctx, `SELECT event_id, flags FROM usage_events`)
	require.NoError(t, err)
	for rows.Next() {
		var id string
		var flag int16
		require.NoError(t, rows.Scan(&id, &flag))
		flags[id] = flag
	}
	require.Equal(t, map[string]int16{"a": 2, "b": 0, "c": 4, "d": 0}, flags)
	require.Equal(t, "1.000015", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, "1.000005", f.spent(billing.ScopeSeatTier, "chat"))
}

func TestAPeriodTakesItsStartAndNotItsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	end := october.AddDate(0, 1, 0)
	f.clock(end)
	f.store(use("start", "u1", october, 1), use("last", "u1", end.Add(-time.Microsecond), 1), use("end", "u1", end, 1))
	for id, period := range map[string]string{"start": "2026-10-01", "last": "2026-10-01", "end": "2026-11-01"} {
		var got string
		require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT period_id FROM usage_events WHERE event_id = $1`, id).Scan(&got))
		require.Equal(t, period, got, id)
	}
}

func TestAnEventStoredWhileThePeriodClosesIsInOneInvoiceExactly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	f.clock(october.AddDate(0, 1, 1))
	const writers, each = 8, 25
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				f.store(use(fmt.Sprintf("%d-%d", w, i), "u1", october.AddDate(0, 0, 30), 20_000))
			}
		})
	}
	issued := f.issueOctober()
	wait.Wait()
	november, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "20.00", issued.Total.Amount.Add(november.Subtotal.Amount).StringFixed(2), "%d events of 0.10", writers*each)
}

func TestManyWritersOfOneOrganizationLoseNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	const writers, batches, each = 6, 6, 10
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for b := range batches {
				var items []billing.UsageItem
				for i := range each { // half of the ids are another writer's too
					items = append(items, use(fmt.Sprintf("%d-%d-%d", w/2, b, i), "u1", october, 10_000))
				}
				f.store(items...)
			}
		})
	}
	wait.Wait()
	require.Equal(t, writers/2*batches*each, f.count("usage_events"))
	require.Equal(t, "9", f.spent(billing.ScopeOrganization, ""))
	require.ElementsMatch(t, []string{"organization  75% v1", "organization  90% v1"}, trimStatus(f.notices()))
}

func trimStatus(notices []string) []string {
	for i, n := range notices {
		notices[i] = n[:len("organization  75% v1")]
	}
	return notices
}

func TestWhatIsStoredDecidesWhatARepetitionIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("a", "u1", october, 100))
	require.Equal(t, []billing.UsageStatus{conflict, duplicate, conflict}, f.store(
		use("a", "u1", october, 7), use("a", "u1", october, 100), use("a", "u1", october, 7)), "not what the batch says first")
	require.Equal(t, []billing.UsageStatus{accepted, conflict, duplicate}, f.store(
		use("b", "u1", october, 7), use("b", "u1", october, 100), use("b", "u1", october, 7)))
	f.clean()
}
