package billing_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// usageBook prices one model from 1 January and again from 10 April 2026, and
// web searches from 1 January and again, per another number, from 10 April.
func usageBook() *billing.PriceBook {
	return &billing.PriceBook{
		Name: "usage", Currency: "USD",
		Models: []billing.ModelPrice{
			{Model: "m", Speed: billing.Standard, EffectiveFrom: date("2026-01-01"), PerMillion: prices("1", "5", "1.25", "2", "0")},
			{Model: "m", Speed: billing.Standard, EffectiveFrom: date("2026-04-10"), PerMillion: prices("1", "4", "1.25", "2", "0")},
		},
		Tools: []billing.ToolPrice{
			{Tool: "web_search", Per: 1000, Amount: dec("10"), EffectiveFrom: date("2026-01-01")},
			{Tool: "web_search", Per: 100, Amount: dec("10"), EffectiveFrom: date("2026-04-10")},
		},
	}
}

// billUsage bills events of April 2026 at the prices of usageBook.
func billUsage(t *testing.T, events ...billing.Event) []billing.Line {
	t.Helper()
	statement := aprilStatement(t, usageBook())
	rater := billing.NewRater(statement.Book, statement.Book.Rates())
	for i := range events {
		events[i].Speed, events[i].ServiceTier = billing.Standard, billing.Standard
	}
	return linesOf(t, statement, addUp(totalsOf(t, rater, events)))
}

func event(user, product, model string, at time.Time, quantities billing.Quantities) billing.Event {
	return billing.Event{User: user, Product: product, Model: model, OccurredAt: at, Quantities: quantities}
}

func keysOf(lines []billing.Line) []string {
	keys := make([]string, len(lines))
	for i, line := range lines {
		keys[i] = line.Key
	}
	return keys
}

func TestAPriceChangeInMidPeriodMakesTwoLinesAndALateEventTakesItsOldPrice(t *testing.T) {
	t.Parallel()
	change := date("2026-04-10")
	lines := billUsage(t,
		event("ana", "chat", "m", change.Add(-time.Microsecond), billing.Quantities{billing.Output: 1_000_000}),
		event("ana", "chat", "m", change, billing.Quantities{billing.Output: 1_000_000}),
		event("ben", "chat", "m", date("2026-03-31").Add(23*time.Hour), billing.Quantities{billing.Output: 1_000_000}),
	)
	require.Equal(t, []string{"usage/chat/m/output/5/2026-03-01", "usage/chat/m/output/4", "usage/chat/m/output/5"}, keysOf(lines))
	require.Equal(t, "5.00 USD", lines[0].Amount.String())
	require.Equal(t, "2026-03-01", lines[0].PeriodOfOrigin)
	require.Equal(t, "chat m output, used in the period from 2026-03-01", lines[0].Description)
	require.Equal(t, "4.00 USD", lines[1].Amount.String())
	require.Equal(t, "5.00 USD", lines[2].Amount.String())
}

func TestOneVersionsUnchangedPriceStaysOneLineAcrossTheChange(t *testing.T) {
	t.Parallel()
	lines := billUsage(t,
		event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.Input: 1_000_000}),
		event("ana", "chat", "m", date("2026-04-11"), billing.Quantities{billing.Input: 2_000_000}),
	)
	require.Equal(t, []string{"usage/chat/m/input/1"}, keysOf(lines))
	require.Equal(t, "3.00 USD", lines[0].Amount.String())
}

func TestAPriceOfZeroIsAllowedAndItsLineIsShown(t *testing.T) {
	t.Parallel()
	lines := billUsage(t, event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.CacheRead: 12}))
	require.Len(t, lines, 1)
	require.Equal(t, "0.00 USD", lines[0].Amount.String())
	require.Equal(t, "12", lines[0].Quantity.String())
	require.Equal(t, "0.00 USD", lines[0].Members[0].Amount.String())
}

func TestAToolPriceQuotedForAnotherNumberIsALineOfItsOwn(t *testing.T) {
	t.Parallel()
	lines := billUsage(t,
		event("ana", "chat", "m", date("2026-04-10").Add(-time.Microsecond), billing.Quantities{billing.WebSearch: 3}),
		event("ana", "chat", "m", date("2026-04-10"), billing.Quantities{billing.WebSearch: 5}),
	)
	require.Equal(t, []string{"usage/chat/m/web_search/10/100", "usage/chat/m/web_search/10/1000"}, keysOf(lines))
	require.Equal(t, "0.50 USD", lines[0].Amount.String(), "five at the new price, which begins at its instant")
	require.Equal(t, "0.03 USD", lines[1].Amount.String(), "three at the old one")
}

func TestLineKeysStayApartWhateverProductsAreCalled(t *testing.T) {
	t.Parallel()
	book := usageBook()
	book.Models[1].Model, book.Models[1].EffectiveFrom = "b/m", date("2026-01-01")
	book.Models[1].PerMillion = book.Models[0].PerMillion
	statement := aprilStatement(t, book)
	rater := billing.NewRater(book, book.Rates())
	var events []billing.Event
	for product, model := range map[string]string{"a/b": "m", "a": "b/m", "a%2Fb": "m"} {
		e := event("ana", product, model, date("2026-04-02"), billing.Quantities{billing.Input: 1})
		e.Speed, e.ServiceTier = billing.Standard, billing.Standard
		events = append(events, e)
	}
	keys := map[string]bool{}
	for _, line := range linesOf(t, statement, totalsOf(t, rater, events)) {
		keys[line.Key] = true
	}
	require.Len(t, keys, 3)
}

func TestUsageWithoutAMemberIsAPartOfItsOwnAndNullInJSON(t *testing.T) {
	t.Parallel()
	lines := billUsage(t,
		event("", "chat", "m", date("2026-04-09"), billing.Quantities{billing.Input: 1_000_000}),
		event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.Input: 1_000_000}),
	)
	require.Len(t, lines, 1)
	data, err := json.Marshal(lines[0].Members)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"user":null,"quantity":1000000,"exact_amount":{"amount":"1.00","currency":"USD"},"amount":{"amount":"1.00","currency":"USD"}},
		{"user":"ana","quantity":1000000,"exact_amount":{"amount":"1.00","currency":"USD"},"amount":{"amount":"1.00","currency":"USD"}}
	]`, string(data))
}

func TestCentsAreDecidedOnTheLineAndNotOnTheEvent(t *testing.T) {
	t.Parallel()
	events := make([]billing.Event, 1000)
	for i := range events { // each costs 0.000004 dollars, all of them 0.004 and a half cent together
		events[i] = event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.Input: 5})
	}
	lines := billUsage(t, events...)
	require.Equal(t, "0.005 USD", lines[0].Exact.String())
	require.Equal(t, "0.01 USD", lines[0].Amount.String(), "half a cent is rounded away from zero")
}

func TestLinesStandInTheOrderOfTheInvoice(t *testing.T) {
	t.Parallel()
	book := usageBook()
	book.Seats = []billing.SeatPrice{{Tier: "chat", Amount: dec("20")}}
	book.Surcharges = []billing.SurchargePrice{{Name: billing.HIPAA, Tier: "chat", Amount: dec("5")}}
	statement := aprilStatement(t, book)
	statement.Seats = []billing.SeatAssignment{{User: "ana", Tier: "chat", HIPAA: true, From: date("2026-01-01")}}
	statement.Carried = []billing.Carried{{InvoiceID: "acme/2026-03-01", Number: "A-1", Amount: dec("-1.50")}}
	rater := billing.NewRater(book, book.Rates())
	e := event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{1, 1, 1, 1, 1, 1})
	e.Speed, e.ServiceTier = billing.Standard, billing.Standard
	late := e
	late.OccurredAt = date("2026-03-09")

	lines := linesOf(t, statement, totalsOf(t, rater, []billing.Event{e, late}))
	require.Equal(t, []string{
		"seat/chat/20",
		"surcharge/hipaa/chat/5",
		"usage/chat/m/input/1/2026-03-01", "usage/chat/m/output/5/2026-03-01", "usage/chat/m/cache_write_5m/1.25/2026-03-01",
		"usage/chat/m/cache_write_1h/2/2026-03-01", "usage/chat/m/cache_read/0/2026-03-01", "usage/chat/m/web_search/10/1000/2026-03-01",
		"usage/chat/m/input/1", "usage/chat/m/output/5", "usage/chat/m/cache_write_5m/1.25",
		"usage/chat/m/cache_write_1h/2", "usage/chat/m/cache_read/0", "usage/chat/m/web_search/10/1000",
		"carried_forward/acme/2026-03-01",
	}, keysOf(lines))
	last := lines[len(lines)-1]
	require.Equal(t, "-1.50 USD", last.Amount.String())
	require.Equal(t, "Carried forward from invoice A-1", last.Description)
	require.Equal(t, "2026-04-01", last.PeriodOfOrigin)
	require.Equal(t, "25.00", billing.Add(lines, billing.KindSeat, billing.KindSurcharge).StringFixed(2))
}

func TestAMonthWithoutSeatsAndUsageHasNoLines(t *testing.T) {
	t.Parallel()
	require.Empty(t, billUsage(t))
}

func TestALineShowsItsQuantityAsANumberOfAnySize(t *testing.T) {
	t.Parallel()
	line := billing.Line{
		Key: "k", Kind: billing.KindUsage, Quantity: dec("123456789012345678901234567890"), UnitPrice: usd("0.3"), Per: 1_000_000,
		Exact: usd("0.125"), Amount: usd("0.13"), PeriodOfOrigin: "2026-04-01",
	}
	data, err := json.Marshal(line)
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"k","kind":"usage","description":"","quantity":123456789012345678901234567890,
		"unit_price":{"amount":"0.30","currency":"USD"},"per":1000000,"exact_amount":{"amount":"0.125","currency":"USD"},
		"amount":{"amount":"0.13","currency":"USD"},"period_of_origin":"2026-04-01"}`, string(data))
}
