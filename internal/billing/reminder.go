package billing

import (
	"slices"
	"time"
)

// DefaultReminders is on which days after the due date a sent invoice's contact
// is reminded; below zero is before it.
func DefaultReminders() []int { return []int{-3, 7, 14} }

// maxReminderDays bounds how far from the due date a reminder may lie.
const maxReminderDays = 365

// CheckReminders says what is wrong with a table of reminders, or nil. An empty
// one reminds nobody.
func CheckReminders(days []int) error {
	wrong := len(days) > 10 || slices.Contains(days, 0) ||
		slices.ContainsFunc(days, func(day int) bool { return day < -maxReminderDays || day > maxReminderDays })
	if wrong || !slices.IsSorted(days) || len(slices.Compact(slices.Clone(days))) != len(days) {
		return Invalid("reminders: accepted: up to 10 ascending days after the due date, below 0 for before it, from -%d to %d and not 0",
			maxReminderDays, maxReminderDays)
	}
	return nil
}

// Reminders are the reminders of one sent invoice. Each is told at the first
// instant of a local day: that of the due date plus the table's days. None is told
// on the day on which the invoice was sent or before, and none at the instant from
// which it is past due, which has a notice of its own.
type Reminders struct {
	Calendar Calendar
	Days     []int // the table: ascending days after the due date
	NetDays  int   // between the date of sending and the due date
	DueAt    time.Time
}

// Due returns the reminder that is to be told at now: the last of those before the
// due date while the invoice can be paid in time, of those after it then. What was
// missed is not made up for.
func (r *Reminders) Due(now time.Time) (day int, ok bool) {
	for _, candidate := range r.Days {
		at, told := r.at(candidate)
		if told && (candidate < 0) == now.Before(r.DueAt) && !at.After(now) {
			day, ok = candidate, true
		}
	}
	return day, ok
}

// Next returns when the next reminder after now is due; the zero time is never.
func (r *Reminders) Next(now time.Time) time.Time {
	for _, day := range r.Days {
		if at, told := r.at(day); told && at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// at returns when the reminder of a day of the table is told, if it is.
func (r *Reminders) at(day int) (at time.Time, told bool) {
	at = r.Calendar.StartOfDay(beforeDue(r.DueAt), day)
	return at, day > -r.NetDays && !at.Equal(r.DueAt)
}
