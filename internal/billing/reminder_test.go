package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestRemindersAreToldInTimeAndNotMadeUpFor(t *testing.T) {
	t.Parallel()
	issued := instant("2026-11-02T00:00:00Z")
	due := issued.AddDate(0, 0, 30)
	day := func(n int) time.Time { return due.Add(time.Duration(n) * 24 * time.Hour) }
	table := []int{-7, -3, 7, 14}
	for name, c := range map[string]struct {
		now  time.Time
		told int // 0 = nothing
		next time.Time
	}{
		"long before":                      {day(-20), 0, day(-7)},
		"on the first day":                 {day(-7), -7, day(-3)},
		"a second before the next":         {day(-3).Add(-time.Second), -7, day(-3)},
		"the first was missed":             {day(-2), -3, day(7)},
		"on the due date, of nothing past": {day(0), 0, day(7)},
		"a week late":                      {day(7), 7, day(14)},
		"very late":                        {day(99), 14, time.Time{}},
	} {
		told, ok := billing.DueReminder(table, issued, due, c.now)
		require.Equal(t, c.told, told, name)
		require.Equal(t, c.told != 0, ok, name)
		require.Equal(t, c.next, billing.NextReminder(table, issued, due, c.now), name)
	}
	_, ok := billing.DueReminder([]int{-7}, issued, issued.AddDate(0, 0, 5), issued.Add(time.Hour))
	require.False(t, ok, "none of a day before the invoice was")
}

func TestAPayerHasAsLongAsTheTableAndThreeDaysAtLeast(t *testing.T) {
	t.Parallel()
	first := instant("2026-11-02T00:00:00Z")
	require.Equal(t, first.AddDate(0, 0, 14), billing.PayersDeadline(billing.DefaultDunning(), first, first))
	require.Equal(t, first.AddDate(0, 0, 3), billing.PayersDeadline([]int{0}, first, first))
	require.Equal(t, first.AddDate(0, 0, 16), billing.PayersDeadline(billing.DefaultDunning(), first, first.AddDate(0, 0, 13)))
}
