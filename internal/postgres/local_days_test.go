package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

// newSentIn is a fixture in a zone whose invoice of October, a seat, was issued
// at a local date and time and sent, with 14 days to pay it.
func newSentIn(t *testing.T, zone, start, issued string, change ...func(*billing.Organization)) *fixture {
	t.Helper()
	f := newFixture(t, append([]func(*billing.Organization){bySend(14), func(o *billing.Organization) {
		o.Timezone, o.StartsAt, o.Now = zone, at(start), at(start)
		o.Email = "billing@acme.example"
	}}, change...)...)
	f.seat("u1", "chat", false)
	f.clock(at(issued).AddDate(0, 0, -1))
	_, err := f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	f.clock(at(issued))
	result, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusOpen, result.Status)
	f.publish(octoberInvoice, "in_1")
	return f
}

func TestASentInvoiceIsRemindedOfPastDueAndSuspendsByLocalDays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, start, issued string
		dueDate             string
		reminded, pastDue   string
		late, suspended     string
	}{
		"east of UTC": {
			"Asia/Tokyo", "2026-09-30T15:00:00Z", "2026-11-02T02:30:00Z", "2026-11-16",
			"2026-11-12T15:00:00Z", "2026-11-16T15:00:00Z", "2026-11-22T15:00:00Z", "2026-11-24T15:00:00Z",
		},
		"west of UTC, late on a day of 25 hours": {
			"America/New_York", "2026-10-01T04:00:00Z", "2026-11-02T04:30:00Z", "2026-11-15",
			"2026-11-12T05:00:00Z", "2026-11-16T05:00:00Z", "2026-11-22T05:00:00Z", "2026-11-24T05:00:00Z",
		},
		"off by a quarter of an hour": {
			"Asia/Kathmandu", "2026-09-30T18:15:00Z", "2026-11-01T18:15:00Z", "2026-11-16",
			"2026-11-12T18:15:00Z", "2026-11-16T18:15:00Z", "2026-11-22T18:15:00Z", "2026-11-24T18:15:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issued := at(c.issued)
			f := newSentIn(t, c.zone, c.start, c.issued, suspendAfter(8))
			require.Equal(t, at(c.pastDue), *f.invoice().DueAt)
			require.Equal(t, c.dueDate, *f.invoice().DueDate)
			notices, err := f.PendingPaymentNotices(f.ctx, octoberInvoice)
			require.NoError(t, err)
			require.Equal(t, c.dueDate, notices[0].DueDate)

			state := f.lookAt(issued, stillOpen)
			require.Equal(t, at(c.reminded), state.NextAt)
			state = f.lookAt(at(c.reminded), stillOpen)
			require.Equal(t, at(c.pastDue), state.NextAt)
			require.Equal(t, billing.StatusOpen, f.lookAt(at(c.pastDue).Add(-time.Microsecond), stillOpen).Status)
			state = f.lookAt(at(c.pastDue), stillOpen)
			require.Equal(t, billing.StatusPastDue, state.Status)
			require.Equal(t, at(c.late), state.NextAt)
			state = f.lookAt(at(c.late), stillOpen)
			require.Equal(t, at(c.suspended), state.NextAt)
			require.Empty(t, f.suspension())
			f.lookAt(at(c.suspended), stillOpen)
			require.Equal(t, billing.SuspendedOverdue, f.suspension())
			f.clean()
		})
	}
}

func TestACardsInvoiceSuspendsAtTheSameTimeOfDayLocalDaysLater(t *testing.T) {
	t.Parallel()
	newYork := func(o *billing.Organization) {
		o.Timezone, o.StartsAt, o.Now = "America/New_York", at("2026-02-01T05:00:00Z"), at("2026-02-01T05:00:00Z")
		o.PaymentMethod, o.Email = "pm_first", "billing@acme.example"
	}
	f := newFixture(t, newYork, suspendAfter(3))
	f.seat("u1", "chat", false)
	f.clock(at("2026-03-01T05:00:00Z"))
	_, err := f.Accrue(f.ctx, "acme", "2026-02-01")
	require.NoError(t, err)
	f.clock(at("2026-03-06T17:00:00Z")) // noon
	_, err = f.IssueInvoice(f.ctx, "acme", "2026-02-01", 1)
	require.NoError(t, err)
	const invoice = "acme/2026-02-01"
	issued, err := f.Invoice(f.ctx, invoice, false)
	require.NoError(t, err)
	require.Equal(t, at("2026-03-06T17:00:00Z"), *issued.DueAt, "it is charged at once")
	require.Equal(t, "2026-03-06", *issued.DueDate)
	f.publish(invoice, "in_1")
	step, err := f.BeginCollection(f.ctx, invoice)
	require.NoError(t, err)
	state, err := f.RecordCharge(f.ctx, invoice, step.Attempt, stolen)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.Equal(t, at("2026-03-09T16:00:00Z"), state.NextAt, "noon of 9 March, 71 hours later")
}

func TestSpendByDatesIsOfLocalDaysWhereClocksSkipMidnight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone, start string
		day, next   string // local dates, the first without midnight
		first, end  string
	}{
		"in Santiago": {"America/Santiago", "2026-09-01T04:00:00Z", "2026-09-06", "2026-09-07", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		"in Cairo":    {"Africa/Cairo", "2026-03-31T22:00:00Z", "2026-04-24", "2026-04-25", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		"in Beirut":   {"Asia/Beirut", "2026-02-28T22:00:00Z", "2026-03-29", "2026-03-30", "2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(o *billing.Organization) {
				o.Timezone, o.StartsAt, o.Now = c.zone, at(c.start), at(c.end).AddDate(0, 0, 1)
			})
			f.store(use("before", "u1", at(c.first).Add(-time.Microsecond), 1), use("first", "u1", at(c.first), 20),
				use("last", "u1", at(c.end).Add(-time.Microsecond), 300), use("after", "u1", at(c.end), 4000))
			rows, err := f.ExportSpend(f.ctx, "acme", billing.SpendSpan{From: c.day, To: c.next})
			require.NoError(t, err)
			require.Len(t, rows, 1)
			require.Equal(t, "320", rows[0].Counts[billing.Output].String())
		})
	}
}

func TestSpendByDatesCoversAtMost90LocalDays(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Timezone, o.StartsAt = "America/New_York", at("2026-10-01T04:00:00Z") })
	for to, accepted := range map[string]bool{
		"2026-12-30": true, "2026-12-30T05:00:00Z": true, // 90 days and one hour
		"2026-12-30T05:00:01Z": false, "2026-12-31": false, "2026-10-01": false, "2026-09-30": false,
	} {
		_, err := f.ExportSpend(f.ctx, "acme", billing.SpendSpan{From: "2026-10-01", To: to})
		if accepted {
			require.NoError(t, err, to)
			continue
		}
		require.ErrorIs(t, err, billing.ErrInvalid, to)
		require.ErrorContains(t, err, "to: accepted: after from, and at most 90 days later")
	}
	_, err := f.ExportSpend(f.ctx, "acme", billing.SpendSpan{From: "October", To: "2026-12-01"})
	require.ErrorContains(t, err, `from: "October"; accepted: a time like 2026-10-01T00:00:00Z, or a date like 2026-10-01`)
}
