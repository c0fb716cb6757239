package postgres

import (
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// reminders are those of an invoice that was sent; of others there are none.
func (c *collecting) reminders() *billing.Reminders {
	if !c.sent() || c.DueAt == nil {
		return &billing.Reminders{}
	}
	return &billing.Reminders{Calendar: c.Calendar, Days: c.Reminders, NetDays: c.NetDays, DueAt: *c.DueAt}
}

func (c *collecting) nextReminder() time.Time { return c.reminders().Next(c.Now) }

// suspension is when this invoice suspends its organisation, if it is to: so many
// local days after it became past due, at the same time of day.
func (c *collecting) suspension() (at time.Time, waits bool) {
	if c.SuspendAfter == nil || c.Suspended || c.PastDueAt == nil {
		return time.Time{}, false
	}
	return c.Calendar.AddDays(*c.PastDueAt, *c.SuspendAfter), true
}

// dueDate is the last local date on which an invoice can be paid in time. One that
// is charged is due at once: on the date of its issue.
func dueDate(i *billing.Invoice, timezone string) (*string, error) {
	calendar, err := billing.NewCalendar(timezone, 1)
	if err != nil {
		return nil, err
	}
	date := calendar.LocalDate(*i.DueAt)
	if i.Collection == billing.SendInvoice {
		date = calendar.DueDate(*i.DueAt)
	}
	return &date, nil
}

// dueDateIn is the due date of an invoice that is past due from an instant.
func dueDateIn(timezone string, dueAt time.Time) (string, error) {
	calendar, err := billing.NewCalendar(timezone, 1)
	if err != nil {
		return "", err
	}
	return calendar.DueDate(dueAt), nil
}
