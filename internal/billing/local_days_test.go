package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func moment(t require.TestingT, text string) billing.Moment {
	m, err := billing.ParseMoment(text)
	require.NoError(t, err)
	return m
}

func TestADateMeansTheFirstInstantOfThatDayInTheOrganisationsZone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ zone, text, want string }{
		"in UTC":                                   {"UTC", "2026-10-01", "2026-10-01T00:00:00Z"},
		"west of UTC":                              {"America/New_York", "2026-10-01", "2026-10-01T04:00:00Z"},
		"west of UTC in winter":                    {"America/New_York", "2026-12-01", "2026-12-01T05:00:00Z"},
		"east of UTC":                              {"Asia/Tokyo", "2026-10-01", "2026-09-30T15:00:00Z"},
		"off by minutes":                           {"Asia/Kathmandu", "2026-10-01", "2026-09-30T18:15:00Z"},
		"without midnight, on Sao Paulo's last":    {"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},
		"without midnight, in Santiago":            {"America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z"},
		"without midnight, in Beirut":              {"Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00Z"},
		"without midnight, in Cairo":               {"Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z"},
		"with two midnights, in Havana":            {"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"},
		"left out by Apia, is the day after":       {"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},
		"after the one that Apia left out":         {"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},
		"before the one that Apia left out":        {"Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z"},
		"an instant is one everywhere":             {"Asia/Tokyo", "2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z"},
		"an instant in a zone of its own":          {"Asia/Tokyo", "2026-10-01T00:00:00-04:00", "2026-10-01T04:00:00Z"},
		"an instant is cut to microseconds":        {"UTC", "2026-10-01T00:00:00.1234567Z", "2026-10-01T00:00:00.123456Z"},
		"the last of a leap year's February":       {"Asia/Tokyo", "2028-02-29", "2028-02-28T15:00:00Z"},
		"an instant that the zone's clocks repeat": {"America/New_York", "2026-11-01T01:30:00-05:00", "2026-11-01T06:30:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := moment(t, c.text)
			require.False(t, m.IsZero())
			require.Equal(t, instant(c.want), calendar(t, c.zone, 1).Instant(m))
		})
	}
}

func TestAMomentIsAnInstantWithAZoneOrADate(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "soon", "2026-10", "2026-13-01", "2026-02-30", "2026-10-01 00:00", "2026-10-01T00:00:00", "20261001", "2026-10-1", "1790812800", " 2026-10-01",
	} {
		_, err := billing.ParseMoment(text)
		require.ErrorIs(t, err, billing.ErrInvalid, text)
		require.EqualError(t, err, "accepted: a time like 2026-10-01T00:00:00Z, or a date like 2026-10-01 for the first instant of that day")
	}
	require.Equal(t, "2026-10-01", moment(t, "2026-10-01").String())
	require.Equal(t, "2026-10-01T04:00:00.5Z", moment(t, "2026-10-01T00:00:00.5-04:00").String())
	require.Empty(t, billing.Moment{}.String())
	require.True(t, billing.Moment{}.IsZero())
	require.True(t, calendar(t, "Asia/Tokyo", 1).Instant(billing.Moment{}).IsZero(), "nothing given is nothing in every zone")
}

func TestDaysAfterAnInstantAreDatesAndNot24Hours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, from string
		days       int
		want       string
	}{
		"in UTC":                                {"UTC", "2026-10-01T10:30:00Z", 90, "2026-12-30T10:30:00Z"},
		"over a day of 25 hours":                {"America/New_York", "2026-10-31T16:00:00Z", 1, "2026-11-01T17:00:00Z"},
		"over a day of 23 hours":                {"America/New_York", "2026-03-07T17:00:00Z", 1, "2026-03-08T16:00:00Z"},
		"onto a time that clocks skip":          {"America/Santiago", "2026-09-05T04:30:00Z", 1, "2026-09-06T04:00:00Z"},
		"onto a midnight that clocks skip":      {"America/Sao_Paulo", "2018-11-03T03:00:00Z", 1, "2018-11-04T03:00:00Z"},
		"onto a midnight that clocks repeat":    {"America/Havana", "2026-10-31T04:00:00Z", 1, "2026-11-01T04:00:00Z"},
		"back":                                  {"Asia/Tokyo", "2026-10-01T00:00:00Z", -1, "2026-09-30T00:00:00Z"},
		"onto the day that Apia left out":       {"Pacific/Apia", "2011-12-29T10:00:00Z", 1, "2011-12-30T10:00:00Z"},
		"over the day that Apia left out":       {"Pacific/Apia", "2011-12-29T10:00:00Z", 2, "2011-12-30T10:00:00Z"},
		"none":                                  {"Asia/Kathmandu", "2026-10-01T18:15:00Z", 0, "2026-10-01T18:15:00Z"},
		"over the end of a leap year's shorter": {"Asia/Kathmandu", "2028-02-28T18:15:00Z", 1, "2028-02-29T18:15:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, instant(c.want), calendar(t, c.zone, 1).AddDays(instant(c.from), c.days))
		})
	}
}

func TestASentInvoiceIsPayableThroughTheWholeOfItsDueDate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, sent string
		netDays    int
		due        string // the date
		pastDue    string
	}{
		"sent at midnight":                           {"UTC", "2026-11-02T00:00:00Z", 30, "2026-12-02", "2026-12-03T00:00:00Z"},
		"sent in the last second of a day":           {"UTC", "2026-11-02T23:59:59Z", 30, "2026-12-02", "2026-12-03T00:00:00Z"},
		"the day is the organisation's":              {"Asia/Tokyo", "2026-11-01T15:00:00Z", 30, "2026-12-02", "2026-12-02T15:00:00Z"},
		"over the end of summer time":                {"America/New_York", "2026-10-20T12:00:00Z", 16, "2026-11-05", "2026-11-06T05:00:00Z"},
		"over its begin":                             {"America/New_York", "2026-03-01T12:00:00Z", 14, "2026-03-15", "2026-03-16T04:00:00Z"},
		"due before a day without midnight":          {"America/Sao_Paulo", "2018-10-20T12:00:00Z", 14, "2018-11-03", "2018-11-04T03:00:00Z"},
		"due on a day without midnight":              {"Africa/Cairo", "2026-04-17T12:00:00Z", 7, "2026-04-24", "2026-04-24T21:00:00Z"},
		"due on the day of 25 hours in Beirut":       {"Asia/Beirut", "2026-10-20T12:00:00Z", 4, "2026-10-24", "2026-10-24T22:00:00Z"},
		"due on the day that Apia left out":          {"Pacific/Apia", "2011-12-22T20:00:00Z", 8, "2011-12-29", "2011-12-30T10:00:00Z"},
		"due after it":                               {"Pacific/Apia", "2011-12-22T20:00:00Z", 9, "2011-12-31", "2011-12-31T10:00:00Z"},
		"a quarter off the hour":                     {"Asia/Kathmandu", "2026-11-01T18:14:00Z", 1, "2026-11-02", "2026-11-02T18:15:00Z"},
		"a minute later it was sent on the next day": {"Asia/Kathmandu", "2026-11-01T18:15:00Z", 1, "2026-11-03", "2026-11-03T18:15:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cal := calendar(t, c.zone, 1)
			at := cal.DueAt(instant(c.sent), c.netDays)
			require.Equal(t, instant(c.pastDue), at)
			require.Equal(t, c.due, cal.DueDate(at))
		})
	}
}

func TestLocalDaysFollowEachOtherWithoutGapOrOverlap(t *testing.T) {
	property(t, func(t *rapid.T) {
		c, at := drawCalendar(t)
		days := rapid.IntRange(-400, 400).Draw(t, "days")
		year, month, day := at.In(c.Location).Date()
		want := time.Date(year, month, day+days, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		start := c.StartOfDay(at, days)
		require.Equal(t, want, c.LocalDate(start))
		require.Less(t, c.LocalDate(start.Add(-time.Nanosecond)), want, "nothing of the day lies before its start")
		require.Equal(t, want, c.LocalDate(c.AddDays(at, days)))
		require.Equal(t, start, c.Instant(moment(t, want)))
		if days > 0 {
			due := c.DueAt(at, days)
			require.Equal(t, want, c.DueDate(due))
			require.Equal(t, c.StartOfDay(at, days+1), due)
		}
	})
}

func TestADateThatAZoneLeftOutIsNoDay(t *testing.T) {
	t.Parallel()
	c := calendar(t, "Pacific/Apia", 1)
	days := c.Days(c.Month(instant("2011-12-15T00:00:00Z")))
	require.Len(t, days, 30)
	require.Equal(t, "2011-12-29", c.LocalDate(days[28]))
	require.Equal(t, "2011-12-31", c.LocalDate(days[29]))
}
