package billing_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones of these tests, also where the machine has none

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// months lists n billing months in a row, each found by the instant at which
// the one before ended.
func months(c billing.Calendar, from time.Time, n int) []billing.Period {
	list := make([]billing.Period, 0, n)
	for range n {
		month := c.Month(from)
		list = append(list, month)
		from = month.End
	}
	return list
}

// lengths of the months of a leap year.
var lengths = [12]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// anchoredDates lists the dates of n boundaries from January 2026 on, each
// computed by itself with a table of month lengths.
func anchoredDates(anchor, n int) []string {
	dates := make([]string, 0, n)
	for i := range n {
		year, month := 2026+i/12, i%12
		last := lengths[month]
		if month == 1 && year%4 != 0 { // 2028 is the only leap year meant here
			last = 28
		}
		dates = append(dates, time.Date(year, time.Month(month+1), min(anchor, last), 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
	}
	return dates
}

func TestLateAnchorsAreClampedToShortMonthsAndComeBack(t *testing.T) {
	t.Parallel()
	for _, anchor := range []int{1, 15, 28, 29, 30, 31} {
		want := anchoredDates(anchor, 49)
		c := calendar(t, "UTC", anchor)
		for i, month := range months(c, date(want[0]), 48) {
			require.Equal(t, want[i], c.LocalDate(month.Start), "anchor %d", anchor)
			require.Equal(t, want[i+1], c.LocalDate(month.End), "anchor %d", anchor)
		}
	}
	require.Equal(t, "2028-02-29", anchoredDates(31, 48)[25])
	require.Equal(t, "2028-03-31", anchoredDates(31, 48)[26])
	require.Equal(t, "2029-02-28", anchoredDates(29, 48)[37])
}

func TestTheDatesOfC01RefuseChainedComputation(t *testing.T) {
	t.Parallel()
	want := anchoredDates(31, 48)
	for name, next := range map[string]func(time.Time) time.Time{
		"a month added to the last boundary": func(at time.Time) time.Time { return at.AddDate(0, 1, 0) },
		"the same, clamped": func(at time.Time) time.Time {
			first := time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			return first.AddDate(0, 0, min(at.Day(), first.AddDate(0, 1, -1).Day())-1)
		},
	} {
		chained, at := make([]string, 0, 48), date(want[0])
		for range 48 {
			chained = append(chained, at.Format(time.DateOnly))
			at = next(at)
		}
		require.NotEqual(t, want, chained, name)
	}
}

func TestMonthsBeginAtLocalMidnightInAnyZone(t *testing.T) {
	t.Parallel()
	for zone, want := range map[string]string{
		"Pacific/Kiritimati": "2026-02-28T10:00:00Z", // UTC+14
		"Asia/Kathmandu":     "2026-02-28T18:15:00Z", // UTC+05:45
		"UTC":                "2026-03-01T00:00:00Z",
		"Pacific/Pitcairn":   "2026-03-01T08:00:00Z", // UTC-08:00
	} {
		c := calendar(t, zone, 1)
		edge := instant(want)
		require.Equal(t, edge, c.Month(edge).Start, zone)
		require.Equal(t, edge, c.Month(edge.Add(-time.Nanosecond)).End, "%s: the instant before belongs to the month before", zone)
		require.Equal(t, "2026-03-01", c.LocalDate(edge))
		require.Equal(t, "2026-02-28", c.LocalDate(edge.Add(-time.Nanosecond)))
		require.Equal(t, time.UTC, c.Month(edge).Start.Location())
	}
}

// awkward zones: far from UTC, off by minutes, changing clocks at midnight, by
// half an hour, twice a year or no longer.
var awkward = []string{
	"UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/New_York", "Europe/Paris", "America/Santiago",
	"Asia/Beirut", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca", "America/Asuncion", "Atlantic/Azores", "America/Nuuk",
	"Africa/Cairo", "Asia/Tehran", "Pacific/Chatham", "America/Sao_Paulo", "Asia/Gaza", "America/St_Johns", "America/Scoresbysund",
}

func drawCalendar(t *rapid.T) (c billing.Calendar, at time.Time) {
	c = calendar(t, rapid.SampledFrom(awkward).Draw(t, "zone"), rapid.IntRange(1, 31).Draw(t, "anchor"))
	seconds := rapid.Int64Range(date("2012-01-01").Unix(), date("2037-01-01").Unix()).Draw(t, "at")
	return c, time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
}

func TestMonthsTileTimeWithoutGapOrOverlap(t *testing.T) {
	property(t, func(t *rapid.T) {
		c, at := drawCalendar(t)
		month := c.Month(at)
		require.True(t, month.Contains(at))
		require.Equal(t, month, c.Month(month.Start))
		require.Equal(t, month, c.Month(month.End.Add(-time.Nanosecond)))
		require.Equal(t, month.End, c.Month(month.End).Start, "the next month begins where this one ends")
		require.Equal(t, month.Start, c.Month(month.Start.Add(-time.Nanosecond)).End)
		require.Equal(t, month, c.Month(at.In(c.Location)), "the same instant in another zone")
	})
}

func TestDaysTileTheMonthFromItsFirstInstantOn(t *testing.T) {
	property(t, func(t *rapid.T) {
		c, at := drawCalendar(t)
		month := c.Month(at)
		days := c.Days(month)
		require.Equal(t, month.Start, days[0])
		want := month.Start.In(c.Location)
		year, number, day := want.Date()
		for i, start := range days {
			date := time.Date(year, number, day+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			require.Equal(t, date, c.LocalDate(start), "no day is missing or twice")
			require.Less(t, c.LocalDate(start.Add(-time.Nanosecond)), date, "nothing of the day lies before its start")
		}
		require.Equal(t, c.LocalDate(month.End), time.Date(year, number, day+len(days), 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
	})
}

func TestDaysOfAPieceAreThoseThatBeginWithinIt(t *testing.T) {
	t.Parallel()
	c := calendar(t, "UTC", 1)
	days := func(from, to string) int { return len(c.Days(billing.Period{Start: instant(from), End: instant(to)})) }
	require.Equal(t, 30, days("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"))
	require.Equal(t, 10, days("2026-04-01T00:00:00Z", "2026-04-10T15:30:00Z"))
	require.Equal(t, 20, days("2026-04-10T15:30:00Z", "2026-05-01T00:00:00Z"))
	require.Equal(t, 1, days("2026-04-10T00:00:00Z", "2026-04-10T00:00:00.000001Z"))
	require.Equal(t, 0, days("2026-04-10T00:00:00.000001Z", "2026-04-11T00:00:00Z"))
	require.Equal(t, 0, days("2026-04-10T00:00:00Z", "2026-04-10T00:00:00Z"))
}

func TestAMonthThatLosesAnHourHasAllItsDays(t *testing.T) {
	t.Parallel()
	c := calendar(t, "America/New_York", 1)
	march := c.Month(instant("2026-03-15T12:00:00Z"))
	require.Equal(t, 743*time.Hour, march.End.Sub(march.Start))
	require.Len(t, c.Days(march), 31)
	november := c.Month(instant("2026-11-15T12:00:00Z"))
	require.Equal(t, 721*time.Hour, november.End.Sub(november.Start))
	require.Len(t, c.Days(november), 30)

	kathmandu := calendar(t, "Asia/Kathmandu", 1)
	require.Equal(t, 744*time.Hour, kathmandu.Month(date("2026-03-15")).End.Sub(kathmandu.Month(date("2026-03-15")).Start))
}

func TestBothHalfPastOnesOfARepeatedHourAreEventsOfTheirOwn(t *testing.T) {
	t.Parallel()
	first, second := instant("2026-11-01T05:30:00Z"), instant("2026-11-01T06:30:00Z")
	c := calendar(t, "America/New_York", 1)
	require.Equal(t, first.In(c.Location).Format(time.TimeOnly), second.In(c.Location).Format(time.TimeOnly))
	a := billing.Event{User: "ana", OccurredAt: first}
	b := billing.Event{User: "ana", OccurredAt: second}
	require.NotEqual(t, a.Fingerprint(), b.Fingerprint())
	require.Equal(t, c.Month(first), c.Month(second))
	days := c.Days(c.Month(first))
	require.Equal(t, instant("2026-11-01T04:00:00Z"), days[0])
	require.Equal(t, instant("2026-11-02T05:00:00Z"), days[1], "the day of 25 hours is one day")
}

func TestADayWithoutOrWithTwoMidnightsBeginsAtItsFirstInstant(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone   string
		anchor int
		start  string
	}{
		"Santiago has no midnight in spring":        {"America/Santiago", 6, "2026-09-06T04:00:00Z"}, // 01:00 local
		"Santiago has 23:00 twice in autumn":        {"America/Santiago", 5, "2026-04-05T04:00:00Z"},
		"Beirut has no midnight in spring":          {"Asia/Beirut", 29, "2026-03-28T22:00:00Z"}, // 01:00 local
		"Beirut has 23:00 twice in autumn":          {"Asia/Beirut", 25, "2026-10-24T22:00:00Z"},
		"Havana has midnight twice":                 {"America/Havana", 1, "2026-11-01T04:00:00Z"},
		"Cairo has no midnight on a Friday":         {"Africa/Cairo", 24, "2026-04-23T22:00:00Z"},
		"the Azores have midnight twice":            {"Atlantic/Azores", 25, "2026-10-25T00:00:00Z"},
		"the Azores have no midnight":               {"Atlantic/Azores", 29, "2026-03-29T01:00:00Z"},
		"Kathmandu never changes":                   {"Asia/Kathmandu", 29, "2026-03-28T18:15:00Z"},
		"Lord Howe goes back by half an hour at 02": {"Australia/Lord_Howe", 5, "2026-04-04T13:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cal, start := calendar(t, c.zone, c.anchor), instant(c.start)
			require.Equal(t, start, cal.Month(start).Start)
			require.Equal(t, start, cal.Month(start.Add(-time.Nanosecond)).End)
			require.Equal(t, c.anchor, start.In(cal.Location).Day())
			require.NotEqual(t, c.anchor, start.Add(-time.Nanosecond).In(cal.Location).Day())
		})
	}
}

func TestPlainDatesWouldPutSantiagosBoundaryIntoTheDayBefore(t *testing.T) {
	t.Parallel()
	c := calendar(t, "America/Santiago", 6)
	plain := time.Date(2026, 9, 6, 0, 0, 0, 0, c.Location)
	require.Equal(t, "2026-09-05", c.LocalDate(plain), "what this test is for has gone")
	require.NotEqual(t, plain.UTC(), c.Month(instant("2026-09-10T00:00:00Z")).Start)
}

func TestLeapDaysAndYearEndsAreOrdinaryBoundaries(t *testing.T) {
	t.Parallel()
	c := calendar(t, "UTC", 29)
	leap := c.Month(date("2028-02-29"))
	require.Equal(t, billing.Period{Start: date("2028-02-29"), End: date("2028-03-29")}, leap)
	require.Equal(t, leap.Start, c.Month(date("2028-02-28")).End)
	require.Len(t, c.Days(calendar(t, "UTC", 1).Month(date("2028-02-10"))), 29)

	c = calendar(t, "UTC", 31)
	require.Equal(t, billing.Period{Start: date("2026-12-31"), End: date("2027-01-31")}, c.Month(date("2027-01-01")))
	require.Equal(t, billing.Period{Start: date("2027-01-31"), End: date("2027-02-28")}, c.Month(date("2027-02-01")))

	c = calendar(t, "UTC", 1) // 2027-01-01 lies in week 53 of 2026
	require.Equal(t, "2027-01-01", c.LocalDate(c.Month(date("2027-01-03")).Start))
	require.Equal(t, "2026-12-01", c.LocalDate(c.Month(date("2026-12-31")).Start))
}

func TestAShortFirstPeriodNeedsNoWholeDay(t *testing.T) {
	t.Parallel()
	book := usageBook()
	book.Seats = []billing.SeatPrice{{Tier: "chat", Amount: dec("20")}}
	for name, piece := range map[string]billing.Period{
		"created in the last second of the month": {Start: april.End.Add(-time.Second), End: april.End},
		"closed as soon as it was created":        {Start: april.Start.Add(time.Hour), End: april.Start.Add(time.Hour + time.Second)},
	} {
		statement := aprilStatement(t, book)
		statement.Period = piece
		statement.Seats = []billing.SeatAssignment{{User: "ana", Tier: "chat", From: piece.Start}}
		require.Empty(t, mustLines(t, statement), name)
	}
}

func TestTheSameInstantLiesInDifferentMonthsOfDifferentZones(t *testing.T) {
	t.Parallel()
	at := instant("2026-03-31T23:00:00Z")
	paris, newYork := calendar(t, "Europe/Paris", 1), calendar(t, "America/New_York", 1)
	require.Equal(t, "2026-04-01", paris.LocalDate(paris.Month(at).Start))
	require.Equal(t, "2026-03-01", newYork.LocalDate(newYork.Month(at).Start))
}

func TestAPeriodContainsItsStartAndNotItsEnd(t *testing.T) {
	t.Parallel()
	require.True(t, april.Contains(april.Start))
	require.True(t, april.Contains(april.End.Add(-time.Nanosecond)))
	require.False(t, april.Contains(april.End))
	require.False(t, april.Contains(april.Start.Add(-time.Nanosecond)))
}

func TestCalendarsNeedAZoneOfTheDatabaseAndADayOfTheMonth(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"", "Local", "Mars/Olympus", "../etc/passwd"} {
		_, err := billing.NewCalendar(zone, 1)
		require.ErrorIs(t, err, billing.ErrInvalid, zone)
		require.ErrorContains(t, err, "timezone: ")
	}
	for _, anchor := range []int{-1, 0, 32} {
		_, err := billing.NewCalendar("UTC", anchor)
		require.ErrorIs(t, err, billing.ErrInvalid)
		require.ErrorContains(t, err, "anchor_day: ")
	}
	organization := billing.Organization{Timezone: "Europe/Paris", AnchorDay: 31}
	c, err := organization.Calendar()
	require.NoError(t, err)
	require.Equal(t, "2026-01-31", c.LocalDate(c.Month(instant("2026-02-27T12:00:00Z")).Start))
}
