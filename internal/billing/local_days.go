package billing

import (
	"time"
)

// Moment is a point in time as people and files give it: an instant with its
// zone, or a date, which means an instant only in a calendar. The zero Moment is
// none.
type Moment struct {
	at     time.Time // of a date, its midnight in UTC
	isDate bool
}

// ParseMoment reads an RFC 3339 time with its zone, cut to microseconds, or a
// date like 2026-10-01.
func ParseMoment(text string) (Moment, error) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return Moment{at: at.UTC().Truncate(time.Microsecond)}, nil
	}
	if date, err := time.Parse(time.DateOnly, text); err == nil {
		return Moment{at: date, isDate: true}, nil
	}
	return Moment{}, Invalid("accepted: a time like 2026-10-01T00:00:00Z, or a date like 2026-10-01 for the first instant of that day")
}

// IsZero reports whether no point in time was given.
func (m Moment) IsZero() bool { return m == Moment{} }

// String returns what was given.
func (m Moment) String() string {
	switch {
	case m.IsZero():
		return ""
	case m.isDate:
		return m.at.Format(time.DateOnly)
	}
	return m.at.Format(time.RFC3339Nano)
}

// Instant returns the instant that a moment means to an organisation: a date is
// the first instant of that local day. Of the zero Moment it is the zero time.
func (c Calendar) Instant(m Moment) time.Time {
	if !m.isDate {
		return m.at
	}
	year, month, day := m.at.Date()
	return c.startOfDay(year, month, day)
}

// StartOfDay returns the first instant of the local day that lies so many days
// after the one of an instant.
func (c Calendar) StartOfDay(t time.Time, days int) time.Time {
	year, month, day := t.In(c.Location).Date()
	return c.startOfDay(year, month, day+days)
}

// AddDays returns the instant that lies so many local days after another: the same
// time of day on the date plus that number, or the first instant of that date
// where clocks skip the time. It is not so many times 24 hours.
func (c Calendar) AddDays(t time.Time, days int) time.Time {
	local := t.In(c.Location)
	start, moved := c.StartOfDay(t, days), local.AddDate(0, 0, days)
	if moved.Before(start) {
		return start
	}
	return moved.UTC()
}

// DueAt returns when an invoice that was sent at an instant is past due. It is
// payable through the local date of sending plus the net days; so it is past due
// from the first instant of the day after.
func (c Calendar) DueAt(sent time.Time, netDays int) time.Time { return c.StartOfDay(sent, netDays+1) }

// DueDate returns the last local date on which a sent invoice that is past due
// from an instant can be paid in time, as 2026-10-31.
func (c Calendar) DueDate(dueAt time.Time) string { return c.LocalDate(beforeDue(dueAt)) }

// beforeDue is the last instant at which a sent invoice can be paid in time.
func beforeDue(dueAt time.Time) time.Time { return dueAt.Add(-time.Nanosecond) }
