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
// one reminds nobody. The due date itself is told by the notice that the invoice
// is past due.
func CheckReminders(days []int) error {
	wrong := len(days) > 10 || slices.Contains(days, 0) ||
		slices.ContainsFunc(days, func(day int) bool { return day < -maxReminderDays || day > maxReminderDays })
	if wrong || !slices.IsSorted(days) || len(slices.Compact(slices.Clone(days))) != len(days) {
		return Invalid("reminders: accepted: up to 10 ascending days after the due date, below 0 for before it, from -%d to %d and not 0",
			maxReminderDays, maxReminderDays)
	}
	return nil
}

// DueReminder returns the reminder of an invoice that is to be told at now: the
// last of those before the due date while that lies ahead, of those after it
// once it has passed. What was missed is not made up for. Days are of 24 hours.
func DueReminder(days []int, issued, due, now time.Time) (day int, ok bool) {
	for _, candidate := range days {
		at := reminderAt(due, candidate)
		if (candidate < 0) == now.Before(due) && !at.After(now) && at.After(issued) {
			day, ok = candidate, true
		}
	}
	return day, ok
}

// NextReminder returns when the next reminder after now is due; the zero time is
// never.
func NextReminder(days []int, issued, due, now time.Time) time.Time {
	for _, day := range days {
		if at := reminderAt(due, day); at.After(now) && at.After(issued) {
			return at
		}
	}
	return time.Time{}
}

func reminderAt(due time.Time, day int) time.Time {
	return due.Add(time.Duration(day) * 24 * time.Hour)
}
