package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// byDay lists the sums of a span of days.
func (f *fixture) byDay(spans ...billing.Period) []string {
	f.t.Helper()
	var list []string
	err := f.UsageByDay(f.ctx, "acme", spans, func(u *billing.StoredUsage) {
		price := "parked: " + u.Reason
		if u.Rate != nil {
			require.Empty(f.t, u.Reason)
			price = u.Rate.Cost(&u.Counts).String()
		}
		list = append(list, fmt.Sprintf("%s %s/%s/%s %d events %s+%s %s", u.Day.Format(time.RFC3339), u.User, u.Product, u.Model,
			u.Events, u.Counts[billing.Input], u.Counts[billing.Output], price))
	})
	require.NoError(f.t, err)
	slices.Sort(list)
	return list
}

func TestUsageIsAddedUpByUTCDay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Timezone = "America/Los_Angeles" })
	f.create(billing.Organization{ID: "globex", StartsAt: october, TestClock: true, Now: october})
	f.clock(october.AddDate(0, 0, 9))
	day := func(n int, at time.Duration) time.Time { return october.AddDate(0, 0, n).Add(at) }
	batch := use("5", "ana", day(1, time.Hour), 1_000_000)
	batch.Event.ServiceTier = billing.Batch
	nobody := use("6", "", day(1, time.Hour), 1_000_000)
	unknown := use("7", "ana", day(1, time.Hour), 700)
	unknown.Event.Model = "claude-unreleased-1"
	given := use("8", "ana", day(1, time.Hour), 800)
	given.Event.Model = "claude-internal-1"
	f.store(
		use("1", "ana", day(1, 0), 1_000_000), use("2", "ana", day(2, -time.Microsecond), 1_000_000), // one day
		use("3", "ana", day(2, 0), 1_000_000),                                 // the next
		use("4", "ana", day(4, 0), 1_000_000),                                 // taken back
		use("9", "ana", day(1, -time.Microsecond), 1_000_000),                 // before
		use("10", "ana", day(5, 0), 1_000_000), batch, nobody, unknown, given, // 10 is after
	)
	elsewhere := use("1", "ana", day(1, 0), 1_000_000)
	elsewhere.Event.Organization = "globex"
	require.NoError(t, f.SetClock(f.ctx, "globex", october.AddDate(0, 0, 9)))
	answers, err := f.StoreUsage(f.ctx, "globex", []billing.UsageItem{elsewhere})
	require.NoError(t, err)
	require.Equal(t, billing.UsageAccepted, answers[0].Status)
	_, err = f.DiscardUsage(f.ctx, "acme", postgres.DiscardChoice{Model: "claude-internal-1"}, tester)
	require.NoError(t, err)
	f.store(retract("r", "4", day(6, 0)))

	require.Equal(t, []string{
		"2026-10-02T00:00:00Z /chat/claude-haiku-4-5 1 events 0+1000000 5",
		"2026-10-02T00:00:00Z ana/chat/claude-haiku-4-5 1 events 0+1000000 2.5",
		"2026-10-02T00:00:00Z ana/chat/claude-haiku-4-5 2 events 0+2000000 10",
		"2026-10-02T00:00:00Z ana/chat/claude-unreleased-1 1 events 0+700 parked: model claude-unreleased-1 is not in price book anthropic-2026-01",
		"2026-10-03T00:00:00Z ana/chat/claude-haiku-4-5 1 events 0+1000000 5",
		"2026-10-05T00:00:00Z ana/chat/claude-haiku-4-5 0 events 0+0 0",
	}, f.byDay(billing.Period{Start: day(1, 0), End: day(5, 0)}))
	require.Equal(t, []string{
		"2026-10-02T00:00:00Z ana/chat/claude-haiku-4-5 1 events 0+1000000 5",
		"2026-10-06T00:00:00Z ana/chat/claude-haiku-4-5 1 events 0+1000000 5",
	}, f.byDay(billing.Period{Start: day(1, 23*time.Hour), End: day(2, 0)}, billing.Period{Start: day(5, 0), End: day(5, time.Hour)}), "hours of two days")
	require.Empty(t, f.byDay())

	err = f.UsageByDay(f.ctx, "nobody", nil, func(*billing.StoredUsage) { t.Error("there is none") })
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestUsageByDayIsWhatTheBooksHave(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock(october.AddDate(0, 0, 3))
	for i := range 30 {
		f.store(use(fmt.Sprint("e", i), fmt.Sprint("u", i%3), october.Add(time.Duration(i)*time.Hour), int64(1_000+i)))
	}
	f.endOctober()
	f.issueOctober()
	f.clock(october.AddDate(0, 1, 2))
	f.store(use("late", "u1", october.AddDate(0, 0, 5), 77), retract("r", "e3", october.AddDate(0, 1, 1))) // both billed in November
	total := 0
	for _, row := range f.byDay(billing.Period{Start: october, End: october.AddDate(0, 1, 0)}) {
		var events, output int
		_, err := fmt.Sscanf(row[len("2026-10-01T00:00:00Z u1/chat/claude-haiku-4-5 "):], "%d events 0+%d", &events, &output)
		require.NoError(t, err, row)
		total += output
	}
	require.Equal(t, 30*1_000+29*15-1_003+77, total, "late usage and what was taken back count on the day of use")
}
