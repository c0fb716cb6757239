package document_test

import (
	"bytes"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	due := calendar.DueAt(issued, 30)
	dueDate := calendar.DueDate(due)
	page := &document.Page{Seller: seller, Email: "finance@acme.example", Calendar: calendar, Members: true}
	page.Invoice = billing.Invoice{
		ID: "acme/2026-04-01", Number: "INV-000042", Organization: "acme", PeriodID: s.PeriodID, Revision: 1,
		PeriodStart: month.Start, PeriodEnd: month.End, FinalizedAt: &issued, DueAt: &due, DueDate: &dueDate, Currency: "USD", Lines: lines,
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

func htmlOf(t *testing.T, page *document.Page) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, page.WriteHTML(&out))
	return out.String()
}

func csvOf(t *testing.T, page *document.Page, members bool) string {
	t.Helper()
	var out bytes.Buffer
	c, err := document.NewCSV(&out, page.Invoice.ID, members)
	require.NoError(t, err)
	for i := range page.Invoice.Lines {
		require.NoError(t, c.Line(&page.Invoice.Lines[i]))
	}
	require.NoError(t, c.Close())
	return out.String()
}

// TestDocuments holds each document against its file in testdata.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for name, got := range map[string]string{
		"small.html": htmlOf(t, small(t)), "adjusted.html": htmlOf(t, adjusted(t)),
		"adjusted.csv": csvOf(t, adjusted(t), false), "adjusted-members.csv": csvOf(t, adjusted(t), true),
	} {
		file := filepath.Join("testdata", name)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), got, "go test ./internal/document -update takes it over; look at it in a browser first")
	}
}

// cell finds the amounts beside a label.
func cell(t *testing.T, html, label string) decimal.Decimal {
	t.Helper()
	found := regexp.MustCompile(`>` + regexp.QuoteMeta(label) + `</th><td class="n">([^<]*)</td>`).FindStringSubmatch(html)
	require.NotNil(t, found, label)
	return decimal.RequireFromString(strings.NewReplacer(",", "", "\u2212", "-").Replace(found[1]))
}

func TestTheSumsOfThePageReAdd(t *testing.T) {
	t.Parallel()
	page := adjusted(t)
	html := htmlOf(t, page)
	require.Equal(t, cell(t, html, "Subtotal").String(), decimal.Sum(cell(t, html, "Seats"), cell(t, html, "Usage"),
		cell(t, html, "Usage of the period from 1 March 2026"), cell(t, html, "Usage of the period from 1 February 2026")).String())
	net := decimal.Sum(cell(t, html, "Subtotal"), cell(t, html, "Discount of 12.5% on 1,240.00 USD"), cell(t, html, "Discount of 10% on \u221212.00 USD"))
	require.Equal(t, cell(t, html, "Net of discount").String(), net.String())
	require.Equal(t, cell(t, html, "Total (USD)").String(), net.Add(cell(t, html, "Carried forward")).String())
	require.Equal(t, cell(t, html, "Amount due (USD)").String(), cell(t, html, "Total (USD)").String())

	for _, members := range []bool{false, true} {
		rows, err := csv.NewReader(strings.NewReader(csvOf(t, page, members))).ReadAll()
		require.NoError(t, err)
		sum := decimal.Zero
		for _, row := range rows[1:] {
			sum = sum.Add(decimal.RequireFromString(row[len(row)-2]))
		}
		require.Equal(t, page.Invoice.Total.Amount.String(), sum.String(), "members %t", members)
	}
}

func TestMembersComeBySpendAndWhatNobodyUsedComesLast(t *testing.T) {
	t.Parallel()
	html := htmlOf(t, small(t))
	html = html[strings.Index(html, "<h2>Members</h2>"):]
	last := -1
	for _, user := range []string{">ben<", ">ana<", ">eva<", ">Not attributed to a member<"} {
		at := strings.Index(html, user)
		require.Greater(t, at, last, user)
		last = at
	}
	page := small(t)
	page.Members = false
	require.NotContains(t, htmlOf(t, page), "Members")
}

func TestWhatPeopleChoseAsNamesIsTextOnThePageAndInTheTable(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>`
	page := billed(t, func(s *billing.Statement) {
		s.Seats = []billing.SeatAssignment{seat("=HYPERLINK(1)", "chat", false), seat(evil, "chat", false)}
	}, use{evil, `"><img src=x onerror=alert(1)>`, "", map[billing.Class]int64{billing.Input: 1}})
	page.Seller = document.Seller{Name: evil, Address: evil, TaxID: evil, Email: evil}
	page.Email, page.Invoice.Number, page.Invoice.HostedURL = evil, `");}</style>`+evil, "javascript:alert(1)"
	html := htmlOf(t, page)
	for _, raw := range []string{"<script", "<img", "javascript:alert"} {
		require.NotContains(t, html, raw)
	}
	require.Equal(t, 1, strings.Count(html, "</style>"))
	require.NotRegexp(t, `(src|href)="?https?:`, strings.ReplaceAll(html, `href="https://invoice.stripe.com`, ""))
	require.Contains(t, csvOf(t, page, true), ",'=HYPERLINK(1),")
}

func TestEachStatusSaysWhatIsToBePaid(t *testing.T) {
	t.Parallel()
	for status, c := range map[billing.InvoiceStatus]struct {
		paid, due decimal.Decimal
		says      []string
	}{
		billing.StatusOpen:       {decimal.Zero, decimal.NewFromInt(40), []string{"Please pay by 1 June 2026", "Quote INV-000042", `href="https://invoice.stripe.com`}},
		billing.StatusPastDue:    {decimal.NewFromInt(15), decimal.NewFromInt(25), []string{"past due", ">\u221215.00<", ">25.00 USD<"}},
		billing.StatusPaid:       {decimal.NewFromInt(40), decimal.Zero, []string{"Paid in full", ">40.00 USD<", ">\u221240.00<"}},
		billing.StatusCarried:    {decimal.Zero, decimal.Zero, []string{"too small to be collected", `scope="row">Carried to the next invoice</th><td class="n">` + "\u221240.00<"}},
		billing.StatusVoid:       {decimal.Zero, decimal.Zero, []string{"Withdrawn, do not pay", "Nothing is to be paid."}},
		billing.StatusWrittenOff: {decimal.NewFromInt(10), decimal.Zero, []string{"No longer claimed", ">\u221230.00<"}},
		billing.StatusSettled:    {decimal.NewFromInt(40), decimal.Zero, []string{"Nothing is to be paid."}},
	} {
		page := billed(t, func(s *billing.Statement) { s.Seats = []billing.SeatAssignment{seat("ana", "chat_claude_code", false)} })
		page.Invoice.Status, page.Invoice.AmountPaid.Amount, page.Invoice.AmountDue.Amount = status, c.paid, c.due
		html := htmlOf(t, page)
		for _, says := range c.says {
			require.Contains(t, html, says, status)
		}
		require.Equal(t, status == billing.StatusOpen || status == billing.StatusPastDue, strings.Contains(html, "Pay online"), status)
	}
	page := billed(t, func(s *billing.Statement) { s.Seats = []billing.SeatAssignment{seat("ana", "chat", false)} })
	page.Invoice.Collection = billing.ChargeAutomatically
	require.Contains(t, htmlOf(t, page), "charged to the payment method on file")
	page.Invoice.Status, page.Invoice.FinalizedAt, page.Invoice.Number, page.Invoice.ContentHash = billing.StatusDraft, nil, "", ""
	html := htmlOf(t, page)
	require.Contains(t, html, "<h1>Draft invoice</h1>")
	require.Contains(t, html, "this is not an invoice")
	require.NotContains(t, html, "Amount due")
}

func TestAPeriodThatEndsWithinADayIsNamedByTheMinute(t *testing.T) {
	t.Parallel()
	page := small(t)
	page.Invoice.PeriodEnd = page.Invoice.PeriodStart.Add(36*time.Hour + 30*time.Minute)
	require.Contains(t, htmlOf(t, page), "1 April 2026, 00:00 – 2 April 2026, 12:30")
}

func TestAMonthOfManyMembersIsWhole(t *testing.T) {
	t.Parallel()
	html := htmlOf(t, many(t))
	require.Equal(t, 2*200, strings.Count(html, "user_")+strings.Count(html, "maximiliane"), "each member once in the list and once in detail")
	require.Equal(t, cell(t, html, "Total (USD)").String(), cell(t, html, "Subtotal").String())
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"1234567.8901": "1,234,567.8901", "-1000": "-1,000", "999": "999", "0.5": "0.5"} {
		require.Equal(t, want, billing.Thousands(given))
	}
}

func TestTheRunOfCodeIsPricedByTheHour(t *testing.T) {
	t.Parallel()
	page := billed(t, nil, use{"ana", "chat", "", map[billing.Class]int64{billing.CodeExecution: 7200}})
	html := htmlOf(t, page)
	require.Contains(t, html, "per hour")
	require.NotContains(t, html, "3,600")
}
