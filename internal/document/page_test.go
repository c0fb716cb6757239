package document_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/document"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

var update = flag.Bool("update", false, "write the expected pages of testdata anew")

var seller = document.Seller{
	Name: "Arrears & Söhne GmbH", Address: "Lange Straße 1 | 10115 Berlin | Germany", TaxID: "DE123456789", Email: "billing@arrears.example",
}

// use is usage of Sonnet 4.5, by class.
type use struct {
	user, product string
	origin        string
	counts        map[billing.Class]int64
}

// billed is April 2026 of an organisation in Paris, at the prices of the default
// book, issued a day after its end and open.
func billed(t *testing.T, change func(*billing.Statement), uses ...use) *document.Page {
	t.Helper()
	calendar, err := billing.NewCalendar("Europe/Paris", 1)
	require.NoError(t, err)
	month := calendar.Month(time.Date(2026, 4, 15, 0, 0, 0, 0, time.UTC))
	s := &billing.Statement{PeriodID: "2026-04-01", Period: month, Month: month, Calendar: calendar, Book: pricebook.Default()}
	rater := billing.NewRater(s.Book, s.Book.Rates())
	for i, u := range uses {
		event := billing.Event{
			Model: []string{"claude-sonnet-4-5", "claude-haiku-4-5"}[i%2], OccurredAt: month.Start,
			ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
		}
		rate, reason := rater.Rate(&event)
		require.NotNil(t, rate, reason)
		total := billing.UsageTotal{User: u.user, Product: u.product, Model: event.Model, Rate: rate, Origin: u.origin}
		for class, count := range u.counts {
			total.Counts[class] = decimal.NewFromInt(count)
		}
		s.Usage = append(s.Usage, total)
	}
	if change != nil {
		change(s)
	}
	lines, err := s.Lines()
	require.NoError(t, err)
	issued := month.End.AddDate(0, 0, 1)
	due := issued.AddDate(0, 0, 30)
	page := &document.Page{Seller: seller, Email: "finance@acme.example", Calendar: calendar, Members: true}
	page.Invoice = billing.Invoice{
		ID: "acme/2026-04-01", Number: "INV-000042", Organization: "acme", PeriodID: s.PeriodID, Revision: 1,
		PeriodStart: month.Start, PeriodEnd: month.End, FinalizedAt: &issued, DueAt: &due, Currency: "USD", Lines: lines,
		Collection: billing.SendInvoice, HostedURL: "https://invoice.stripe.com/i/acct_1/test_abc?s=ap",
	}
	page.Invoice.AddUp()
	status, _ := billing.Outcome(page.Invoice.Total)
	page.Invoice.Status, page.Invoice.AmountDue = status, page.Invoice.Total
	page.Invoice.AmountPaid.Currency = "USD"
	page.Invoice.ContentHash = billing.HashOf(&page.Invoice)
	return page
}

func seat(user, tier string, hipaa bool) billing.SeatAssignment {
	return billing.SeatAssignment{User: user, Tier: tier, HIPAA: hipaa, From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// small is a month of three members and a service.
func small(t *testing.T) *document.Page {
	return billed(t, func(s *billing.Statement) {
		s.Seats = []billing.SeatAssignment{seat("ana", "chat", true), seat("ben", "chat_claude_code", false), seat("eva", "chat", false)}
	},
		use{"ana", "chat", "", map[billing.Class]int64{billing.Input: 12_345_678, billing.Output: 1_234_567, billing.CacheRead: 90_000_001}},
		use{"ben", "claude_code", "", map[billing.Class]int64{billing.Input: 1, billing.Output: 400_000_000, billing.WebSearch: 7}},
		use{"", "api", "", map[billing.Class]int64{billing.Input: 500_000, billing.Output: 31}},
	)
}

// adjusted has everything that is not a plain charge: a discount, that of an
// earlier period, late usage, usage taken back, a carried credit.
func adjusted(t *testing.T) *document.Page {
	return billed(t, func(s *billing.Statement) {
		s.Seats = []billing.SeatAssignment{seat("ana", "chat", false), seat("<b>ben</b>", "chat", false)}
		s.Discount = decimal.RequireFromString("12.5")
		s.EarlierDiscounts = map[string]decimal.Decimal{"2026-03-01": decimal.NewFromInt(10)}
		s.Carried = []billing.Carried{{InvoiceID: "acme/2026-02-01", Number: "INV-000040", Amount: decimal.RequireFromString("-7.25")}}
	},
		use{"ana", "chat", "", map[billing.Class]int64{billing.Output: 80_000_000}},
		use{"<b>ben</b>", "chat", "2026-03-01", map[billing.Class]int64{billing.Input: 3_000_000}},
		use{"ana", "chat", "2026-03-01", map[billing.Class]int64{billing.Output: -1_000_000}},
		use{"ana", "chat", "2026-02-01", map[billing.Class]int64{billing.Output: 44_000}},
	)
}

// many is a month of 200 members, some with long names.
func many(t *testing.T) *document.Page {
	var uses []use
	var seats []billing.SeatAssignment
	for n := range 200 {
		user := fmt.Sprintf("user_%05d", n*7919%99991)
		if n%9 == 0 {
			user = fmt.Sprintf("maximiliane-theodora.von-und-zu-%s-%d@engineering.emea.a-long-company-name.example", strings.Repeat("hohen", 3), n)
		}
		seats = append(seats, seat(user, []string{"chat", "chat_claude_code"}[n%2], n%10 == 0))
		uses = append(uses,
			use{user, "chat", "", map[billing.Class]int64{billing.Input: int64(n+1) * 77_777, billing.Output: int64(n) * 12_345, billing.CacheRead: 4_000_000}},
			use{user, "claude_code", "", map[billing.Class]int64{billing.Input: int64(n*n) * 99, billing.Output: 5}})
	}
	return billed(t, func(s *billing.Statement) { s.Seats = seats }, uses...)
}
