package billing_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// What the tests of this package have in common: dates, decimals, and a drawn
// world of prices and usage for the property tests.

var april = billing.Period{Start: date("2026-04-01"), End: date("2026-05-01")}

// date is midnight UTC of a day.
func date(day string) time.Time { return instant(day + "T00:00:00Z") }

func instant(rfc3339 string) time.Time {
	at, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		panic(err)
	}
	return at.UTC()
}

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func nullDec(s string) decimal.NullDecimal { return decimal.NewNullDecimal(dec(s)) }

func usd(s string) billing.Money { return billing.Money{Amount: dec(s), Currency: "USD"} }

func calendar(t require.TestingT, zone string, anchor int) billing.Calendar {
	c, err := billing.NewCalendar(zone, anchor)
	require.NoError(t, err)
	return c
}

// prices are a row's five classes in the order of billing.Classes.
func prices(s ...string) (row [5]decimal.Decimal) {
	for i := range row {
		row[i] = dec(s[i])
	}
	return row
}

// aprilStatement bills April 2026 in UTC.
func aprilStatement(t require.TestingT, book *billing.PriceBook) *billing.Statement {
	return &billing.Statement{
		PeriodID: "2026-04-01", Period: april, Month: april, Calendar: calendar(t, "UTC", 1), Book: book,
	}
}

func mustLines(t require.TestingT, s *billing.Statement) []billing.Line {
	lines, err := s.Lines()
	require.NoError(t, err)
	return lines
}

// asJSON is what two results are compared by: what users get to see, where
// decimals that mean the same look the same.
func asJSON(t require.TestingT, v any) string {
	data, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(data)
}

func sum(amounts ...decimal.Decimal) decimal.Decimal {
	total := decimal.Zero
	for _, amount := range amounts {
		total = total.Add(amount)
	}
	return total
}

// drawPrice draws a price with up to four places, zero included.
func drawPrice(t *rapid.T, label string) decimal.Decimal {
	return decimal.New(rapid.Int64Range(0, 999_999).Draw(t, label), -rapid.Int32Range(0, 4).Draw(t, label+" places"))
}

// drawBook draws two models with versions, bands, speeds and modifiers, and a
// tool whose price changes.
func drawBook(t *rapid.T) *billing.PriceBook {
	book := &billing.PriceBook{
		Name: "drawn", Currency: rapid.SampledFrom([]billing.Currency{"USD", "JPY", "KWD"}).Draw(t, "currency"),
		Tools: []billing.ToolPrice{
			{Tool: "web_search", Per: 1000, Amount: drawPrice(t, "tool")},
			{Tool: "web_search", Per: rapid.SampledFrom([]int64{1, 100, 1000}).Draw(t, "per"), Amount: drawPrice(t, "tool"), EffectiveFrom: date("2026-04-20")},
			{Tool: "code_execution", Per: rapid.SampledFrom([]int64{1, 60, 3600}).Draw(t, "per"), Amount: drawPrice(t, "tool").Shift(-6)},
			{Tool: "code_execution", Per: 3600, Amount: drawPrice(t, "tool").Shift(-6), EffectiveFrom: date("2026-04-15")},
		},
	}
	for _, model := range []string{"small", "large"} {
		row := billing.ModelPrice{Model: model}
		if rapid.Bool().Draw(t, "batch") {
			row.Batch = nullDec("0.5")
		}
		if rapid.Bool().Draw(t, "us_only") {
			row.USOnly = nullDec("1.1")
		}
		for _, speed := range []string{billing.Standard, billing.Fast} {
			for _, from := range []string{"2026-01-01", "2026-04-10"} {
				for _, above := range []int64{0, 1000, 100_000} {
					row.Speed, row.EffectiveFrom, row.PromptTokensAbove = speed, date(from), above
					for c := range row.PerMillion {
						row.PerMillion[c] = drawPrice(t, "price")
					}
					book.Models = append(book.Models, row)
				}
			}
		}
	}
	require.NoError(t, book.Validate())
	return book
}

// drawEvents draws usage of March and April that the book can rate.
func drawEvents(t *rapid.T, rater *billing.Rater, label string) []billing.Event {
	count := rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64Range(0, 2000), rapid.Int64Range(0, billing.MaxCount))
	drawn := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) billing.Event {
		seconds := rapid.Int64Range(date("2026-03-01").Unix(), april.End.Unix()-1).Draw(t, "occurred_at")
		event := billing.Event{
			User:         rapid.SampledFrom([]string{"", "ana", "ben", "eva"}).Draw(t, "user"),
			Product:      rapid.SampledFrom([]string{"chat", "claude_code"}).Draw(t, "product"),
			Model:        rapid.SampledFrom([]string{"small", "large"}).Draw(t, "model"),
			ServiceTier:  rapid.SampledFrom([]string{billing.Standard, billing.Batch}).Draw(t, "service_tier"),
			Speed:        rapid.SampledFrom([]string{billing.Standard, billing.Fast}).Draw(t, "speed"),
			InferenceGeo: rapid.SampledFrom([]string{billing.GeoGlobal, billing.GeoUS}).Draw(t, "inference_geo"),
			OccurredAt:   time.Unix(seconds, 0).UTC(),
		}
		for c := range event.Quantities {
			event.Quantities[c] = count.Draw(t, "count")
		}
		return event
	}), 0, 12).Draw(t, label)
	return slices.DeleteFunc(drawn, func(e billing.Event) bool {
		rate, _ := rater.Rate(&e)
		return rate == nil
	})
}

// totalsOf gives each event a running total of its own; addUp merges them as
// storage does.
func totalsOf(t require.TestingT, rater *billing.Rater, events []billing.Event) []billing.UsageTotal {
	totals := make([]billing.UsageTotal, 0, len(events))
	for i := range events {
		rate, reason := rater.Rate(&events[i])
		require.NotNil(t, rate, reason)
		total := billing.UsageTotal{
			User: events[i].User, Product: events[i].Product, Model: events[i].Model, Rate: rate, Counts: events[i].Quantities.Totals(),
		}
		if events[i].OccurredAt.Before(april.Start) {
			total.Origin = "2026-03-01"
		}
		totals = append(totals, total)
	}
	return totals
}

func addUp(totals []billing.UsageTotal) []billing.UsageTotal {
	merged := map[string]*billing.UsageTotal{}
	var order []string
	for _, total := range totals {
		key := fmt.Sprint(total.Origin, total.User, total.Product, total.Model, total.Rate.Key)
		if merged[key] == nil {
			merged[key] = &billing.UsageTotal{Origin: total.Origin, User: total.User, Product: total.Product, Model: total.Model, Rate: total.Rate}
			order = append(order, key)
		}
		for c := range total.Counts {
			merged[key].Counts[c] = merged[key].Counts[c].Add(total.Counts[c])
		}
	}
	result := make([]billing.UsageTotal, 0, len(order))
	for _, key := range order {
		result = append(result, *merged[key])
	}
	return result
}

// requireClose allows for what is left of quotients that never end: half a unit
// of the 18th place for each of so many of them.
func requireClose(t require.TestingT, want, got decimal.Decimal, quotients int64, label string) {
	off := want.Sub(got).Abs()
	require.False(t, off.GreaterThan(decimal.New(quotients, -18)), "%s: %s, not %s", label, got, want)
}

// property runs check on drawn input, in parallel with the other tests.
func property(t *testing.T, check func(*rapid.T)) {
	t.Helper()
	t.Parallel()
	rapid.Check(t, check)
}
