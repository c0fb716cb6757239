package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// endPeriod moves the clock and ends a period.
func (f *fixture) endPeriod(id string, at time.Time) {
	f.t.Helper()
	f.clock(at)
	_, err := f.Accrue(f.ctx, "acme", id)
	require.NoError(f.t, err)
}

// inLine waits until so many transactions wait for a lock.
func (f *fixture) inLine(n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		var waiting int
		err := f.pool.QueryRow(f.ctx, `
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`).Scan(&waiting)
		return err == nil && waiting >= n
	}, 10*time.Second, 5*time.Millisecond)
}

// issueAtOnce issues periods in the given order while none of them can commit
// before all have begun.
func (f *fixture) issueAtOnce(periods ...string) {
	f.t.Helper()
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(f.t, err)
	_, err = hold.Exec(f.ctx, `SELECT 1 FROM installation FOR UPDATE`)
	require.NoError(f.t, err)
	done := make(chan error, len(periods))
	for n, period := range periods {
		go func() {
			_, err := f.IssueInvoice(f.ctx, "acme", period, 1)
			done <- err
		}()
		f.inLine(n + 1)
	}
	require.NoError(f.t, hold.Commit(f.ctx))
	for range periods {
		require.NoError(f.t, <-done)
	}
}

func (f *fixture) exec(statement string) {
	f.t.Helper()
	_, err := f.pool.Exec(f.ctx, statement)
	require.NoError(f.t, err)
}

func TestWhatIsCarriedIsBilledOnceWhenSeveralInvoicesAreIssuedAtOnce(t *testing.T) {
	t.Parallel()
	november, december := october.AddDate(0, 1, 0), october.AddDate(0, 2, 0)
	for name, periods := range map[string][]string{
		"by two later ones":           {"2026-11-01", "2026-12-01"},
		"as it is just being carried": {"2026-10-01", "2026-11-01", "2026-12-01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.store(use("a", "u1", october, 60_000)) // 0.30 USD
			f.endOctober()
			if len(periods) == 2 {
				f.issueOctober()
			}
			f.store(use("b", "u1", november, 200_000))
			f.endPeriod("2026-11-01", december)
			f.store(use("c", "u1", december, 200_000))
			f.endPeriod("2026-12-01", october.AddDate(0, 3, 0))
			f.clock(october.AddDate(0, 3, 1))
			f.issueAtOnce(periods...)
			differences, err := f.Verify(f.ctx, "acme", "")
			require.NoError(t, err)
			require.Empty(t, differences)
		})
	}
}

func TestARequestToEndThePeriodThatIsCarriedOutAgainEndsNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock(october.AddDate(0, 0, 10))
	require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 7))
	f.clock(october.AddDate(0, 0, 10).Add(3 * time.Second))
	require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 7))
	require.Equal(t, 2, f.count("periods"))
}

func TestANoticeThatWaitsForItsNextTryIsNotForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1.00")
	f.store(use("a", "u1", october, 200_000))
	pending, err := f.PendingNotices(f.ctx, "acme", 10)
	require.NoError(t, err)
	require.NoError(t, f.NoticeFailed(f.ctx, pending[0].ID, "mail server down"))
	a, err := f.Accrue(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, 1, a.Notices)
}

func TestARemovedSeatIsNotAssignedForLaterEither(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.AssignSeats(f.ctx, "acme", []postgres.SeatChange{{User: "u1", Tier: "chat", From: october.AddDate(0, 1, 0)}}, tester)
	require.NoError(t, err)
	require.NoError(t, f.RemoveSeat(f.ctx, "acme", "u1", time.Time{}, tester))
	require.Zero(t, f.count("seat_assignments"))
}

func TestAReleaseThatDiedBeforeItsEndIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unpriced := use("a", "u1", october, 1_000_000)
	unpriced.Event.Model = "claude-next"
	f.store(unpriced)
	f.endOctober()
	require.Equal(t, billing.StatusParked, f.issueOctober().Status)
	_, err := f.LoadPriceBook(f.ctx, f.bookWith("claude-next"), tester)
	require.NoError(t, err)
	f.exec(`ALTER TABLE audit_log ADD CONSTRAINT down CHECK (action <> 'usage.release')`)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.Error(t, err)
	f.exec(`DELETE FROM outbox`)
	f.exec(`ALTER TABLE audit_log DROP CONSTRAINT down`)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, 1, f.count("outbox"))
}

func TestUsageOfTheMonthsLastSecondStillAlarms(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1")
	f.endOctober()
	f.clock(october.AddDate(0, 1, 0).Add(30 * time.Second))
	f.store(use("a", "u1", october.AddDate(0, 1, 0).Add(-time.Second), 400_000))
	require.Contains(t, f.notices(), "organization  100% v1 pending")
}
