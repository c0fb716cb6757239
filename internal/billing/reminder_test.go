package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestRemindersAreToldInTimeAndNotMadeUpFor(t *testing.T) {
	t.Parallel()
	utc := calendar(t, "UTC", 1)
	reminders := billing.Reminders{
		Calendar: utc, Days: []int{-7, -3, 1, 7, 14}, NetDays: 30, DueAt: utc.DueAt(instant("2026-11-02T15:00:00Z"), 30),
	}
	require.Equal(t, instant("2026-12-03T00:00:00Z"), reminders.DueAt)
	for name, c := range map[string]struct {
		now  string
		told int    // 0 = nothing
		next string // "" = never
	}{
		"long before":                        {"2026-11-12T00:00:00Z", 0, "2026-11-25T00:00:00Z"},
		"at the first instant of the first":  {"2026-11-25T00:00:00Z", -7, "2026-11-29T00:00:00Z"},
		"a second before the next":           {"2026-11-28T23:59:59Z", -7, "2026-11-29T00:00:00Z"},
		"the first was missed":               {"2026-11-30T00:00:00Z", -3, "2026-12-09T00:00:00Z"},
		"in the last second of the due date": {"2026-12-02T23:59:59Z", -3, "2026-12-09T00:00:00Z"},
		"past due, which has its own notice": {"2026-12-03T00:00:00Z", 0, "2026-12-09T00:00:00Z"},
		"seven days after the due date":      {"2026-12-09T00:00:00Z", 7, "2026-12-16T00:00:00Z"},
		"very late":                          {"2027-03-01T00:00:00Z", 14, ""},
	} {
		told, ok := reminders.Due(instant(c.now))
		require.Equal(t, c.told, told, name)
		require.Equal(t, c.told != 0, ok, name)
		next := time.Time{}
		if c.next != "" {
			next = instant(c.next)
		}
		require.Equal(t, next, reminders.Next(instant(c.now)), name)
	}
}

func TestNoReminderIsToldOnTheDayOfSendingOrBefore(t *testing.T) {
	t.Parallel()
	utc := calendar(t, "UTC", 1)
	sent := instant("2026-11-02T00:00:00Z")
	for table, told := range map[int]bool{-7: false, -5: false, -4: true} {
		reminders := billing.Reminders{Calendar: utc, Days: []int{table}, NetDays: 5, DueAt: utc.DueAt(sent, 5)}
		_, ok := reminders.Due(sent.Add(30 * time.Hour))
		require.Equal(t, told, ok, "%d days after the due date", table)
		require.Equal(t, told, !reminders.Next(sent).IsZero(), "%d days after the due date", table)
	}
}

func TestRemindersAreToldAtTheFirstInstantOfLocalDays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, sent string
		netDays    int
		day        int
		want       string
	}{
		"east of UTC":                         {"Asia/Tokyo", "2026-11-01T15:00:00Z", 30, -3, "2026-11-28T15:00:00Z"},
		"in summer, of a due date in winter":  {"America/New_York", "2026-10-20T12:00:00Z", 16, -7, "2026-10-29T04:00:00Z"},
		"in winter, of a due date in summer":  {"America/New_York", "2026-10-10T12:00:00Z", 20, 7, "2026-11-06T05:00:00Z"},
		"on a day without midnight":           {"America/Sao_Paulo", "2018-10-20T12:00:00Z", 16, -1, "2018-11-04T03:00:00Z"},
		"on a day without midnight in Cairo":  {"Africa/Cairo", "2026-04-10T12:00:00Z", 7, 7, "2026-04-23T22:00:00Z"},
		"on a day with two in Havana":         {"America/Havana", "2026-10-20T12:00:00Z", 5, 7, "2026-11-01T04:00:00Z"},
		"off by minutes":                      {"Asia/Kathmandu", "2026-11-01T18:14:00Z", 14, 14, "2026-11-28T18:15:00Z"},
		"the day after the one Apia left out": {"Pacific/Apia", "2011-12-15T20:00:00Z", 8, 7, "2011-12-30T10:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cal, sent := calendar(t, c.zone, 1), instant(c.sent)
			reminders := billing.Reminders{Calendar: cal, Days: []int{c.day}, NetDays: c.netDays, DueAt: cal.DueAt(sent, c.netDays)}
			at := reminders.Next(sent)
			require.Equal(t, instant(c.want), at)
			day, ok := reminders.Due(at)
			require.True(t, ok)
			require.Equal(t, c.day, day)
			_, ok = reminders.Due(at.Add(-time.Nanosecond))
			require.False(t, ok)
		})
	}
}

func TestAPayerHasAsLongAsTheTableAndThreeDaysAtLeast(t *testing.T) {
	t.Parallel()
	first := instant("2026-11-02T00:00:00Z")
	require.Equal(t, first.AddDate(0, 0, 14), billing.PayersDeadline(billing.DefaultDunning(), first, first))
	require.Equal(t, first.AddDate(0, 0, 3), billing.PayersDeadline([]int{0}, first, first))
	require.Equal(t, first.AddDate(0, 0, 16), billing.PayersDeadline(billing.DefaultDunning(), first, first.AddDate(0, 0, 13)))
}
