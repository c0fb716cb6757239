package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// totals lists the totals of invoices, the newest period first.
func totals(invoices []billing.Invoice) []string {
	list := []string{}
	for _, i := range invoices {
		list = append(list, i.PeriodID+" "+i.Total.String()+" "+string(i.Status))
	}
	return list
}

func TestADateIsTheOrganizationsOwnDayOnEveryCommand(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	relayToNobody(t, s)
	s.ok("prices", "load", "anthropic-2026-01")

	org := into[organizationView](s, "org", "create", "ny", "--timezone", "America/New_York", "--start", "2026-10-01", "--test-clock", "2026-10-01")
	require.Equal(t, "2026-10-01T04:00:00Z", org.Start.Format(time.RFC3339))
	require.Equal(t, "2026-10-01T04:00:00Z", org.TestClock.Format(time.RFC3339))
	require.False(t, into[createdView](s, "org", "create", "ny", "--timezone", "America/New_York", "--start", "2026-10-01T04:00:00Z",
		"--test-clock", "2026-10-01").Created, "the same terms")

	file := s.file("orgs.ndjson", `{"id":"tokyo","timezone":"Asia/Tokyo","start":"2026-10-01","test_clock":"2026-10-01"}
{"id":"utc","start":"2026-10-01T00:00:00Z","test_clock":"2026-10-01"}
`)
	s.ok("org", "import", file)
	org = into[organizationView](s, "org", "show", "tokyo")
	require.Equal(t, "2026-09-30T15:00:00Z", org.Start.Format(time.RFC3339))
	require.Equal(t, "2026-09-30T15:00:00Z", org.Now.Format(time.RFC3339))

	s.ok("seats", "assign", "tokyo", "a", "--tier", "chat")
	seat := into[assignedSeat](s, "seats", "assign", "tokyo", "b", "--tier", "chat", "--at", "2026-10-11")
	require.Equal(t, "2026-10-10T15:00:00Z", seat.From.Format(time.RFC3339))
	s.ok("seats", "import", "tokyo", s.file("seats.csv", "user,tier,from\nc,chat,2026-10-21\n"))
	removed := into[removedSeat](s, "seats", "remove", "tokyo", "b", "--at", "2026-10-21")
	require.Equal(t, "2026-10-20T15:00:00Z", removed.At.Format(time.RFC3339))
	for date, users := range map[string]string{"2026-10-10": "a", "2026-10-11": "ab", "2026-10-20": "ab", "2026-10-21": "ac"} {
		var held strings.Builder
		for _, s := range into[[]seatView](s, "seats", "list", "tokyo", "--at", date) {
			held.WriteString(s.User)
		}
		require.Equal(t, users, held.String(), date)
	}
	preview := into[billing.Invoice](s, "invoices", "preview", "tokyo")
	require.Equal(t, "2026-10-01", preview.PeriodID)
	require.Equal(t, "33.55 USD", preview.Total.String(), "31, 10 and 11 of 31 days at 20.00")

	moved := into[advancedView](s, "clock", "advance", "--all", "--to", "2026-10-12")
	for _, org := range moved.Organizations {
		require.Equal(t, map[string]string{
			"ny": "2026-10-12T04:00:00Z", "tokyo": "2026-10-11T15:00:00Z", "utc": "2026-10-12T00:00:00Z",
		}[org.Organization], org.To.Format(time.RFC3339), "each its own midnight")
	}
	require.Equal(t, "2026-10-12T04:00:00Z", moved.To.Format(time.RFC3339), "where the last stands")
	require.Contains(t, s.fails(exitFailed, "clock", "advance", "tokyo", "--to", "2026-10-11"),
		"--to 2026-10-10T15:00:00Z is before the time of tokyo, 2026-10-11T15:00:00Z")
	require.Contains(t, s.fails(exitUsage, "org", "create", "mars", "--timezone", "Mars/Olympus", "--start", "2026-10-01"), "timezone: ")
}

// countsLocalDays bills a month to organisations east and west of UTC: what begins
// with a date is a whole month of theirs, and a sent bill is payable through a day.
func (s *shell) countsLocalDays(t *testing.T) {
	for id, zone := range map[string]string{"ny": "America/New_York", "tokyo": "Asia/Tokyo"} {
		s.ok("org", "create", id, "--start", "2026-10-01", "--test-clock", "2026-10-01", "--timezone", zone, "--payment-method", "pm_card_visa")
		s.ok("cycle", "start", id)
		s.ok("seats", "assign", id, "a", "--tier", "chat")
	}
	s.ok("seats", "import", "tokyo", s.file("tokyo.csv", "user,tier,from\nb,chat,2026-11-01\n"))
	s.ok("clock", "advance", "ny", "--to", "2026-11-05T00:00:00Z")
	require.Equal(t, []string{"2026-10-01 20.00 USD paid"}, totals(into[[]billing.Invoice](s, "invoices", "list", "ny")),
		"no period of the evening of 30 September, which a first month would be measured by")
	s.ok("clock", "advance", "tokyo", "--to", "2026-12-03T00:00:00Z")
	require.Equal(t, []string{"2026-11-01 40.00 USD paid", "2026-10-01 20.00 USD paid"},
		totals(into[[]billing.Invoice](s, "invoices", "list", "tokyo")), "31 of 31 days, and 60 of 30")

	s.ok("org", "create", "kyoto", "--start", "2026-10-01", "--test-clock", "2026-10-01", "--timezone", "Asia/Tokyo",
		"--collection", "send_invoice", "--net-days", "3", "--reminders", "none", "--email", "billing@kyoto.example")
	s.ok("cycle", "start", "kyoto")
	s.ok("seats", "assign", "kyoto", "a", "--tier", "chat")
	s.ok("clock", "advance", "kyoto", "--to", "2026-11-02T03:00:00Z") // sent at local midnight, as the draft window ends
	invoice := into[billing.Invoice](s, "invoices", "show", "kyoto/2026-10-01")
	require.Equal(t, "2026-11-05", *invoice.DueDate)
	require.Equal(t, "2026-11-05T15:00:00Z", invoice.DueAt.Format(time.RFC3339), "the end of that day")
	require.Contains(t, s.ok("invoices", "show", "kyoto/2026-10-01", "--format", "html"), "Please pay by 5 November 2026.")
	s.ok("clock", "advance", "kyoto", "--to", "2026-11-05T14:59:59Z")
	require.Equal(t, billing.StatusOpen, into[billing.Invoice](s, "invoices", "show", "kyoto/2026-10-01").Status)
	s.ok("clock", "advance", "kyoto", "--to", "2026-11-06")
	require.Equal(t, billing.StatusPastDue, into[billing.Invoice](s, "invoices", "show", "kyoto/2026-10-01").Status)
}
