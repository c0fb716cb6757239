package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// A contract's zone stays what it is: another one is refused, and the running
// period keeps its end.
func TestAContractsZoneDoesNotChangeInMidPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.list(`SELECT ends_at::text FROM periods`)
	_, err := f.CreateOrganizations(f.ctx, []billing.Organization{{
		ID: "acme", StartsAt: october, TestClock: true, Now: october, Timezone: "Asia/Tokyo",
		DraftWindow: billing.DefaultDraftWindow, LateWindow: billing.DefaultLateWindow,
	}}, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "timezone")
	require.Equal(t, before, f.list(`SELECT ends_at::text FROM periods`))
}

// A boundary is computed once. Where the rules of a zone change afterwards, the
// stored period ends as it was announced, the next one begins there, and verify
// says that today's rules would have it otherwise.
func TestAStoredPeriodEndsWhereItWasAnnounced(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	end := october.AddDate(0, 1, 0).Add(time.Hour) // by the rules of the time when it was stored
	f.exec(`UPDATE periods SET ends_at = '2026-11-01T01:00:00Z'`)
	f.clock(end.Add(-time.Microsecond))
	accrual, err := f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.Nil(t, accrual.Ended, "not yet")
	f.use(use("last", "u1", f.now(), 200_000))
	f.clock(end)
	accrual, err = f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.NotNil(t, accrual.Ended)
	f.use(use("first", "u1", end, 400_000))
	require.Equal(t, []string{"first 2026-11-01", "last 2026-10-01"}, f.list(`SELECT event_id || ' ' || period_id FROM usage_events ORDER BY 1`))
	require.Equal(t, []string{"2026-11-01 01:00:00+00"}, f.list(`SELECT (starts_at AT TIME ZONE 'UTC')::text || '+00' FROM periods WHERE id = '2026-11-01'`))
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for _, d := range found {
		require.Contains(t, []string{"period_calendar", "spend_recount"}, d.Check, "the last hour lies in another month today")
	}
}

// February is shorter than the draft window of January: both months are billed
// right, and February's window ends behind January's.
func TestADraftWindowThatCrossesTheNextBoundary(t *testing.T) {
	t.Parallel()
	january := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	february, march := january.AddDate(0, 1, 0), january.AddDate(0, 2, 0)
	f := newFixture(t, func(o *billing.Organization) { o.StartsAt, o.Now = january, january })
	f.exec(`UPDATE organizations SET draft_window = interval '720 hours'`)
	f.endPeriod("2027-01-01", february)
	f.clock(march)
	f.use(use("january", "u1", february.Add(-time.Second), 200_000), use("february", "u1", march.Add(-time.Second), 400_000), use("march", "u1", march, 600_000))
	f.endPeriod("2027-02-01", march)
	require.Equal(t, billing.StatusDraft, f.issueNow("2027-01-01").Status, "its window runs to 3 March")
	f.clock(february.Add(720 * time.Hour))
	require.Equal(t, "1.00 USD", f.issueNow("2027-01-01").Total.String())
	require.Equal(t, billing.StatusDraft, f.issueNow("2027-02-01").Status)
	require.Equal(t, []billing.UsageStatus{rejected}, f.store(use("older", "u1", february.Add(-time.Second), 1)), "older than the late window")
	f.clock(march.Add(720 * time.Hour))
	require.Equal(t, "2.00 USD", f.issueNow("2027-02-01").Total.String())
	f.clean()
}

func TestAnInvoiceThatIsIssuedDaysLateHasTheSameAmounts(t *testing.T) {
	t.Parallel()
	var want []string
	for _, late := range []int{1, 6} {
		f := newContract(t, contractBook())
		f.seat("u1", "chat", true)
		f.clock(october.AddDate(0, 0, 20))
		f.use(f.octoberUsage(october.AddDate(0, 0, 13), "old prices")...)
		f.use(f.octoberUsage(october.AddDate(0, 0, 14), "new prices")...)
		f.endOctober()
		f.clock(october.AddDate(0, 1, late))
		f.use(use("november", "u1", f.now(), 1_000_000))
		f.issueNow("2026-10-01")
		got := bill(f.issued(octoberInvoice))
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
		f.clean()
	}
}
