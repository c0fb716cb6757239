package billing_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

var update = flag.Bool("update", false, "write the expected files of testdata/golden anew")

// TestGolden bills each folder of testdata/golden; its README.md describes
// their files. Every amount that is expected must also stand in the folder's
// own README.md, where it is derived by hand: after -update, a changed amount
// wants its derivation changed too.
func TestGolden(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/golden/*/prices.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, folders)
	for _, prices := range folders {
		folder := filepath.Dir(prices)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			if hasFile(folder, "terms.yaml") {
				requireGolden(t, filepath.Join(folder, "invoice.json"), goldenInvoice(t, folder))
				return
			}
			requireGolden(t, filepath.Join(folder, "rating.json"), goldenRating(t, folder))
		})
	}
}

func requireGolden(t *testing.T, file string, got any) {
	t.Helper()
	data, err := json.MarshalIndent(got, "", "  ")
	require.NoError(t, err)
	data = append(data, '\n')
	if *update {
		require.NoError(t, os.WriteFile(file, data, 0o644))
	}
	require.Equal(t, string(readFile(t, file)), string(data))

	derivation := string(readFile(t, filepath.Join(filepath.Dir(file), "README.md")))
	for _, amount := range amountsIn(t, data) {
		whole := regexp.MustCompile(`(^|[^0-9.])` + regexp.QuoteMeta(amount) + `([^0-9]|$)`)
		require.True(t, whole.MatchString(derivation), "the README does not derive the amount %s", amount)
	}
}

// amountsIn lists the amounts, subtotal and total, without exact amounts and
// unit prices.
func amountsIn(t *testing.T, data []byte) []string {
	t.Helper()
	var root any
	require.NoError(t, json.Unmarshal(data, &root))
	var amounts []string
	var visit func(key string, node any)
	visit = func(key string, node any) {
		switch node := node.(type) {
		case map[string]any:
			for name, child := range node {
				if name != "exact_amount" && name != "unit_price" {
					visit(name, child)
				}
			}
		case []any:
			for _, child := range node {
				visit(key, child)
			}
		case string:
			if slices.Contains([]string{"amount", "total"}, key) {
				amounts = append(amounts, node)
			}
		}
	}
	visit("", root)
	require.NotEmpty(t, amounts)
	return amounts
}

// rating is how events were priced, each by itself.
type rating struct {
	Events []ratedEvent `json:"events"`
	Total  string       `json:"total"`
}

type ratedEvent struct {
	Event   string   `json:"event"`
	Rate    string   `json:"rate"`
	Charges []charge `json:"charges"`
	Amount  string   `json:"amount"`
}

type charge struct {
	Class     billing.Class `json:"class"`
	Quantity  int64         `json:"quantity"`
	UnitPrice string        `json:"unit_price"`
	Per       int64         `json:"per"`
	Amount    string        `json:"amount"`
}

func goldenRating(t *testing.T, folder string) rating {
	t.Helper()
	book := readBook(t, filepath.Join(folder, "prices.yaml"))
	rater := billing.NewRater(book, book.Rates())
	result, total := rating{}, decimal.Zero
	for _, event := range readEvents(t, filepath.Join(folder, "events.yaml")) {
		rate := mustRate(t, rater, &event)
		totals := event.Quantities.Totals()
		cost := rate.Cost(&totals)
		total = total.Add(cost)
		result.Events = append(result.Events, ratedEvent{event.ID, describeRate(rate), chargesOf(rate, event.Quantities), cost.String()})
	}
	result.Total = total.String()
	return result
}

func chargesOf(rate *billing.Rate, quantities billing.Quantities) []charge {
	var charges []charge
	for _, class := range billing.Classes() {
		if quantities[class] == 0 {
			continue
		}
		unit := rate.Unit[class]
		amount := unit.Times(decimal.NewFromInt(quantities[class]))
		charges = append(charges, charge{class, quantities[class], unit.Amount.String(), unit.Per, amount.String()})
	}
	return charges
}

func describeRate(rate *billing.Rate) string {
	words := []string{rate.Key.Model, "from " + rate.Key.EffectiveFrom.Format(time.RFC3339)}
	if rate.Key.PromptTokensAbove > 0 {
		words = append(words, "prompt above "+decimal.NewFromInt(rate.Key.PromptTokensAbove).String())
	}
	if rate.Key.Speed == billing.Fast {
		words = append(words, "fast")
	}
	if rate.Key.ServiceTier == billing.Batch {
		words = append(words, "batch")
	}
	if rate.Key.USOnly {
		words = append(words, "US only")
	}
	return strings.Join(words, ", ")
}

// terms are what terms.yaml says about the organisation and its period.
type terms struct {
	Organization string            `yaml:"organization"`
	Timezone     string            `yaml:"timezone"`
	AnchorDay    int               `yaml:"anchor_day"`
	Within       time.Time         `yaml:"within"` // any instant of the billed month
	Discount     string            `yaml:"discount"`
	Discounts    map[string]string `yaml:"discounts"` // by which earlier periods were billed
	Carried      []struct {
		Invoice string `yaml:"invoice"`
		Amount  string `yaml:"amount"`
	} `yaml:"carried"`
}

// invoice is the part of billing.Invoice that the rules decide.
type invoice struct {
	Organization string                `json:"organization"`
	Period       string                `json:"period"`
	PeriodStart  time.Time             `json:"period_start"`
	PeriodEnd    time.Time             `json:"period_end"`
	Status       billing.InvoiceStatus `json:"status"`
	Subtotal     billing.Money         `json:"subtotal"`
	Discount     *billing.Money        `json:"discount,omitempty"`
	Net          *billing.Money        `json:"net,omitempty"`
	Total        billing.Money         `json:"total"`
	Lines        []billing.Line        `json:"lines"`
}

func goldenInvoice(t *testing.T, folder string) invoice {
	t.Helper()
	var terms terms
	readYAML(t, filepath.Join(folder, "terms.yaml"), &terms)
	calendar, err := billing.NewCalendar(terms.Timezone, terms.AnchorDay)
	require.NoError(t, err)
	month := calendar.Month(terms.Within)
	statement := billing.Statement{
		PeriodID: calendar.LocalDate(month.Start), Period: month, Month: month, Calendar: calendar,
		Book: readBook(t, filepath.Join(folder, "prices.yaml")), Seats: readSeats(t, filepath.Join(folder, "seats.csv")),
	}
	for _, carried := range terms.Carried {
		statement.Carried = append(statement.Carried, billing.Carried{
			InvoiceID: carried.Invoice, Number: carried.Invoice, Amount: decimal.RequireFromString(carried.Amount),
		})
	}
	if terms.Discount != "" {
		statement.Discount, statement.EarlierDiscounts = decimal.RequireFromString(terms.Discount), map[string]decimal.Decimal{}
	}
	for period, percent := range terms.Discounts {
		statement.EarlierDiscounts[period] = decimal.RequireFromString(percent)
	}
	if hasFile(folder, "events.yaml") {
		statement.Usage = usageOf(t, &statement, readEvents(t, filepath.Join(folder, "events.yaml")))
		statement.Free = []billing.FreeUse{wholeMonthFree(&statement)}
	}
	lines, err := statement.Lines()
	require.NoError(t, err)
	bill := billing.Invoice{Currency: statement.Book.Currency, Lines: lines}
	bill.AddUp()
	status, _ := billing.Outcome(bill.Total)
	result := invoice{
		Organization: terms.Organization, Period: statement.PeriodID, PeriodStart: month.Start, PeriodEnd: month.End,
		Status: status, Subtotal: bill.Subtotal, Total: bill.Total, Lines: lines,
	}
	if terms.Discount != "" {
		result.Discount, result.Net = &bill.Discount, &bill.Net
	}
	return result
}

// wholeMonthFree is what the month leaves free if this is its only bill.
func wholeMonthFree(s *billing.Statement) billing.FreeUse {
	periods, perMonth := []string{s.PeriodID}, s.Book.FreeSeconds(s.Month)
	now := billing.SecondsRun(s.Usage, periods, s.PeriodID)
	return billing.FreeUse{Periods: periods, PerMonth: perMonth, Seconds: billing.FreeSeconds(perMonth, decimal.Zero, decimal.Zero, now)}
}

// usageOf rates events one by one, as they arrive: those from before the period
// are late ones of the billing month in which they happened.
func usageOf(t *testing.T, s *billing.Statement, events []billing.Event) []billing.UsageTotal {
	t.Helper()
	rater := billing.NewRater(s.Book, s.Book.Rates())
	usage := make([]billing.UsageTotal, 0, len(events))
	for _, event := range events {
		rate := mustRate(t, rater, &event)
		total := billing.UsageTotal{
			User: event.User, Product: event.Product, Model: event.Model,
			Rate: rate, Counts: rate.Metered(&event).Quantities.Totals(),
		}
		if !s.Period.Contains(event.OccurredAt) {
			require.True(t, event.OccurredAt.Before(s.Period.Start), "event %s lies behind the period", event.ID)
			total.Origin = s.Calendar.LocalDate(s.Calendar.Month(event.OccurredAt).Start)
		}
		usage = append(usage, total)
	}
	return usage
}

func mustRate(t *testing.T, rater *billing.Rater, event *billing.Event) *billing.Rate {
	t.Helper()
	rate, reason := rater.Rate(event)
	require.NotNil(t, rate, "event %s: %s", event.ID, reason)
	return rate
}

func hasFile(folder, name string) bool {
	_, err := os.Stat(filepath.Join(folder, name))
	return err == nil
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(readFile(t, file)), yaml.Strict())
	require.NoError(t, decoder.Decode(into), file)
}

func readBook(t *testing.T, file string) *billing.PriceBook {
	t.Helper()
	book, err := pricebook.Parse(readFile(t, file))
	require.NoError(t, err, file)
	return book
}

func readEvents(t *testing.T, file string) []billing.Event {
	t.Helper()
	var written []struct {
		ID           string           `yaml:"id"`
		User         string           `yaml:"user"`
		OccurredAt   time.Time        `yaml:"occurred_at"`
		Product      string           `yaml:"product"`
		Model        string           `yaml:"model"`
		ServiceTier  string           `yaml:"service_tier"`
		Speed        string           `yaml:"speed"`
		InferenceGeo string           `yaml:"inference_geo"`
		Counts       map[string]int64 `yaml:"counts"`
	}
	readYAML(t, file, &written)
	events := make([]billing.Event, 0, len(written))
	for _, w := range written {
		event := billing.Event{
			ID: w.ID, User: w.User, OccurredAt: w.OccurredAt, Product: w.Product, Model: w.Model,
			ServiceTier: orElse(w.ServiceTier, billing.Standard), Speed: orElse(w.Speed, billing.Standard),
			InferenceGeo: orElse(w.InferenceGeo, billing.GeoGlobal),
		}
		for name, count := range w.Counts {
			var class billing.Class
			require.NoError(t, class.UnmarshalText([]byte(name)), file)
			event.Quantities[class] = count
		}
		events = append(events, event)
	}
	return events
}

func orElse(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}

// readSeats reads user,tier,hipaa,from; a user's next row ends the one before.
func readSeats(t *testing.T, file string) []billing.SeatAssignment {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(readFile(t, file))).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"user", "tier", "hipaa", "from"}, rows[0])
	var seats []billing.SeatAssignment
	last := map[string]int{}
	for _, row := range rows[1:] {
		from, err := time.Parse(time.RFC3339, row[3])
		require.NoError(t, err)
		if i, held := last[row[0]]; held {
			seats[i].To = from
		}
		last[row[0]] = len(seats)
		seats = append(seats, billing.SeatAssignment{User: row[0], Tier: row[1], HIPAA: row[2] == "yes", From: from})
	}
	return seats
}
