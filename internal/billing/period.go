package billing

import (
	"sort"
	"time"
)

// Period is a half-open span [Start, End) of UTC instants.
type Period struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Contains reports whether an instant lies in the period; its end does not.
func (p Period) Contains(t time.Time) bool { return !t.Before(p.Start) && t.Before(p.End) }

// Calendar divides time into an organisation's billing months: from its anchor
// day, or the last day of a shorter month, at the first instant of that day in
// its time zone. Boundaries are computed from the anchor and never chained, so
// an anchor of the 31st comes back to the 31st after February.
type Calendar struct {
	Location  *time.Location
	AnchorDay int // 1 to 31
}

// NewCalendar returns the calendar of a time zone and anchor day.
func NewCalendar(timezone string, anchorDay int) (Calendar, error) {
	if timezone == "" || timezone == "Local" {
		return Calendar{}, Invalid("timezone: %q is not a name of the IANA time zone database, like UTC or America/New_York", timezone)
	}
	location, err := time.LoadLocation(timezone)
	if err != nil {
		return Calendar{}, Invalid("timezone: %q is not a name of the IANA time zone database, like UTC or America/New_York", timezone)
	}
	if anchorDay < 1 || anchorDay > 31 {
		return Calendar{}, Invalid("anchor_day: %d is not a day of the month from 1 to 31", anchorDay)
	}
	return Calendar{location, anchorDay}, nil
}

// Month returns the whole billing month that contains t. Spend limits reset
// with it, whatever pieces the month is billed in.
func (c Calendar) Month(t time.Time) Period {
	year, month, _ := t.In(c.Location).Date()
	start := c.boundary(year, month)
	if t.Before(start) {
		return Period{c.boundary(year, month-1), start}
	}
	return Period{start, c.boundary(year, month+1)}
}

// LocalDate is the date of an instant in the calendar's zone, as 2026-04-01; a
// period is named by that of its start.
func (c Calendar) LocalDate(t time.Time) string { return t.In(c.Location).Format(time.DateOnly) }

// Days lists the starts of the local days that begin within p, in order. A date
// that a zone left out is no day.
func (c Calendar) Days(p Period) []time.Time {
	var days []time.Time
	year, month, day := p.Start.In(c.Location).Date()
	for n := 0; ; n++ {
		start := c.startOfDay(year, month, day+n)
		if !start.Before(p.End) {
			return days
		}
		if n := len(days); !start.Before(p.Start) && (n == 0 || start.After(days[n-1])) {
			days = append(days, start)
		}
	}
}

// boundary is the instant at which the billing month of a calendar month begins.
func (c Calendar) boundary(year int, month time.Month) time.Time {
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return c.startOfDay(year, month, min(c.AnchorDay, last))
}

// startOfDay is the first instant of a local day. Midnight may not exist or
// exist twice where clocks change at 00:00, and time.Date then picks a side by
// itself, for Santiago the day before; so the day's first minute is looked for.
// Of a date that a zone left out, as Apia's 30 December 2011, it is that of the
// day after.
func (c Calendar) startOfDay(year int, month time.Month, day int) time.Time {
	date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	year, month, day = date.Date()
	noon := time.Date(year, month, day, 12, 0, 0, 0, c.Location)
	const before = 24 * 60
	minute := sort.Search(before, func(i int) bool {
		y, m, d := noon.Add(time.Duration(i-before) * time.Minute).Date()
		return !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(date)
	})
	return noon.Add(time.Duration(minute-before) * time.Minute).UTC()
}
