package billing_test

import (
	"math/big"
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func drawWorld(t *rapid.T) (*billing.Statement, *billing.Rater) {
	book := drawBook(t)
	return aprilStatement(t, book), billing.NewRater(book, book.Rates())
}

// linesOf bills usage totals.
func linesOf(t require.TestingT, s *billing.Statement, usage []billing.UsageTotal) []billing.Line {
	s.Usage = usage
	return mustLines(t, s)
}

func TestOrderBatchingAndSplittingOfEventsChangeNoLine(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		events := drawEvents(t, rater, "events")
		want := asJSON(t, linesOf(t, statement, addUp(totalsOf(t, rater, events))))

		shuffled := rapid.Permutation(events).Draw(t, "order")
		require.Equal(t, want, asJSON(t, linesOf(t, statement, addUp(totalsOf(t, rater, shuffled)))), "order")

		cut := rapid.IntRange(0, len(shuffled)).Draw(t, "batch")
		batches := append(addUp(totalsOf(t, rater, shuffled[:cut])), addUp(totalsOf(t, rater, shuffled[cut:]))...)
		require.Equal(t, want, asJSON(t, linesOf(t, statement, batches)), "batches")

		require.Equal(t, want, asJSON(t, linesOf(t, statement, splitTotals(t, totalsOf(t, rater, events)))), "splitting")
	})
}

// splitTotals parts every total in two under its rate.
func splitTotals(t *rapid.T, totals []billing.UsageTotal) []billing.UsageTotal {
	var parts []billing.UsageTotal
	for _, total := range totals {
		first, second := total, total
		for c := range total.Counts {
			first.Counts[c] = decimal.NewFromInt(rapid.Int64Range(0, total.Counts[c].IntPart()).Draw(t, "part"))
			second.Counts[c] = total.Counts[c].Sub(first.Counts[c])
		}
		parts = append(parts, first, second)
	}
	return parts
}

func TestSplittingAnEventsTokensWithinABandChangesNothing(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		events := drawEvents(t, rater, "events")
		want := asJSON(t, linesOf(t, statement, totalsOf(t, rater, events)))
		var parts []billing.Event
		for _, event := range events {
			parts = append(parts, splitWithinBand(t, rater, event)...)
		}
		require.Equal(t, want, asJSON(t, linesOf(t, statement, totalsOf(t, rater, parts))))
	})
}

// splitWithinBand parts an event in two, if both parts stay in its band.
func splitWithinBand(t *rapid.T, rater *billing.Rater, event billing.Event) []billing.Event {
	first, second := event, event
	for c, n := range event.Quantities {
		first.Quantities[c] = rapid.Int64Range(0, n).Draw(t, "part")
		second.Quantities[c] = n - first.Quantities[c]
	}
	whole, _ := rater.Rate(&event)
	for _, part := range []*billing.Event{&first, &second} {
		if rate, _ := rater.Rate(part); rate != whole {
			return []billing.Event{event}
		}
	}
	return []billing.Event{first, second}
}

func TestTheCostOfTwoSetsOfEventsIsTheSumOfTheirCosts(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		a, b := drawEvents(t, rater, "a"), drawEvents(t, rater, "b")
		cost := func(events []billing.Event) decimal.Decimal {
			total := decimal.Zero
			for _, usage := range addUp(totalsOf(t, rater, events)) {
				total = total.Add(usage.Rate.Cost(&usage.Counts))
			}
			return total
		}
		both := slices.Concat(a, b)
		require.Equal(t, cost(a).Add(cost(b)).String(), cost(both).String(), "spend")

		exact, seconds := decimal.Zero, int64(0)
		for _, line := range linesOf(t, statement, totalsOf(t, rater, both)) {
			exact = exact.Add(line.Exact.Amount)
			if line.TokenClass == billing.CodeExecution.String() {
				seconds += line.Quantity.IntPart() + 1
			}
		}
		requireClose(t, exact, cost(both), seconds, "the exact amounts of the lines")
	})
}

// TestARecountWithFractionsGivesTheSameLines rates each event alone, with
// big.Rat, straight from the published rows, and knows nothing of rates.
func TestARecountWithFractionsGivesTheSameLines(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		events := drawEvents(t, rater, "events")
		want := map[recountKey]*big.Rat{}
		for i := range events {
			recount(statement.Book, &events[i], want)
		}
		lines := linesOf(t, statement, addUp(totalsOf(t, rater, events)))
		require.Len(t, lines, len(want))
		for _, line := range lines {
			unit := new(big.Rat).Quo(line.UnitPrice.Amount.Rat(), big.NewRat(line.Per, 1))
			key := recountKey{line.PeriodOfOrigin, line.Product, line.Model, line.TokenClass, line.Per, unit.String()}
			exact := want[key]
			require.NotNil(t, exact, line.Key)
			if line.Per == 60 || line.Per == 3600 {
				requireClose(t, decimal.NewFromBigRat(exact, 20), line.Exact.Amount, 1, line.Key)
			} else {
				require.Zero(t, exact.Cmp(line.Exact.Amount.Rat()), line.Key)
			}
			require.Equal(t, halfAwayFromZero(exact, line.Amount.Currency.Digits()), line.Amount.Amount.StringFixed(line.Amount.Currency.Digits()))
		}
	})
}

type recountKey struct {
	origin, product, model, class string
	per                           int64
	unit                          string // the price of one
}

func recount(book *billing.PriceBook, event *billing.Event, sums map[recountKey]*big.Rat) {
	origin := "2026-04-01"
	if event.OccurredAt.Before(april.Start) {
		origin = "2026-03-01"
	}
	for c, quantity := range event.Quantities {
		if quantity == 0 {
			continue
		}
		class := billing.Class(c)
		unit, per := recountUnit(book, event, class)
		key := recountKey{origin, event.Product, event.Model, class.String(), per, unit.String()}
		if sums[key] == nil {
			sums[key] = new(big.Rat)
		}
		sums[key].Add(sums[key], new(big.Rat).Mul(unit, big.NewRat(quantity, 1)))
	}
}

// recountUnit is the price of one token or request, and for how many it is
// quoted.
func recountUnit(book *billing.PriceBook, event *billing.Event, class billing.Class) (unit *big.Rat, per int64) {
	unit = new(big.Rat)
	if !class.IsToken() {
		for _, tool := range book.Tools { // oldest first
			if tool.Tool == class.String() && !tool.EffectiveFrom.After(event.OccurredAt) {
				per = tool.Per
				unit.Quo(tool.Amount.Rat(), big.NewRat(per, 1))
			}
		}
		return unit, per
	}
	q := event.Quantities
	prompt := q[billing.Input] + q[billing.CacheWrite5m] + q[billing.CacheWrite1h] + q[billing.CacheRead]
	for _, row := range book.Models { // oldest first, lowest band first
		inBand := prompt > row.PromptTokensAbove || row.PromptTokensAbove == 0
		if row.Model != event.Model || row.Speed != event.Speed || row.EffectiveFrom.After(event.OccurredAt) || !inBand {
			continue
		}
		unit = new(big.Rat).Quo(row.PerMillion[class].Rat(), big.NewRat(1_000_000, 1))
		if event.ServiceTier == billing.Batch {
			unit.Mul(unit, big.NewRat(1, 2))
		}
		if event.InferenceGeo == billing.GeoUS && row.USOnly.Valid {
			unit.Mul(unit, big.NewRat(11, 10))
		}
	}
	return unit, 1_000_000
}

// halfAwayFromZero rounds a fraction with integers only.
func halfAwayFromZero(exact *big.Rat, digits int32) string {
	scaled := new(big.Rat).Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)))
	doubled := new(big.Int).Mul(new(big.Int).Abs(scaled.Num()), big.NewInt(2))
	doubled.Add(doubled, scaled.Denom())
	units := new(big.Int).Quo(doubled, new(big.Int).Mul(scaled.Denom(), big.NewInt(2)))
	if scaled.Sign() < 0 {
		units.Neg(units)
	}
	return decimal.NewFromBigInt(units, -digits).StringFixed(digits)
}

func TestMoreUsageNeverLowersTheBill(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		events := drawEvents(t, rater, "events")
		before := decimal.Zero
		for n := range events {
			after := billing.Add(linesOf(t, statement, totalsOf(t, rater, events[:n+1])))
			require.False(t, after.LessThan(before))
			before = after
		}
	})
}

func TestMembersPartsAddUpToTheirLine(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		for _, line := range linesOf(t, statement, totalsOf(t, rater, drawEvents(t, rater, "events"))) {
			amount, exact, quantity := decimal.Zero, decimal.Zero, decimal.Zero
			for _, member := range line.Members {
				amount, exact = amount.Add(member.Amount.Amount), exact.Add(member.Exact.Amount)
				quantity = quantity.Add(member.Quantity)
				require.Equal(t, line.Amount.Currency, member.Amount.Currency)
			}
			require.Equal(t, line.Amount.Amount.String(), amount.String())
			requireClose(t, line.Exact.Amount, exact, int64(len(line.Members)+1), line.Key)
			if line.TokenClass != billing.CodeExecution.String() {
				require.Equal(t, line.Exact.Amount.String(), exact.String())
			}
			require.Equal(t, line.Quantity.String(), quantity.String())
		}
	})
}

func TestLinesAddUpToTheSubtotalAndTheTotal(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		statement.Carried = []billing.Carried{
			{InvoiceID: "acme/2026-02-01", Number: "A-1", Amount: decimal.New(rapid.Int64Range(-500, 49).Draw(t, "carried"), -statement.Book.Currency.Digits())},
		}
		lines := linesOf(t, statement, totalsOf(t, rater, drawEvents(t, rater, "events")))
		byHand, usage := decimal.Zero, decimal.Zero
		keys := map[string]bool{}
		for _, line := range lines {
			byHand = byHand.Add(line.Amount.Amount)
			if line.Kind == billing.KindUsage {
				usage = usage.Add(line.Amount.Amount)
			}
			require.False(t, keys[line.Key], "key %s names two lines", line.Key)
			keys[line.Key] = true
			_, err := line.Amount.Minor()
			require.NoError(t, err, "a line's amount falls on the currency's smallest unit")
		}
		require.Equal(t, usage.String(), billing.Add(lines, billing.KindUsage).String())
		require.Equal(t, byHand.String(), billing.Add(lines).String())
		require.Equal(t, byHand.String(), usage.Add(statement.Carried[0].Amount).String())
	})
}

// An event beside its retraction bills nothing, whatever else is billed; and a
// retraction alone takes off what its event would have cost, cent by cent.
func TestAnEventAndItsRetractionAreNothing(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		kept, undone := totalsOf(t, rater, drawEvents(t, rater, "kept")), totalsOf(t, rater, drawEvents(t, rater, "undone"))
		var below []billing.UsageTotal
		for _, total := range undone {
			for c := range total.Counts {
				total.Counts[c] = total.Counts[c].Neg()
			}
			below = append(below, total)
		}
		want := asJSON(t, linesOf(t, statement, addUp(kept)))
		require.Equal(t, want, asJSON(t, linesOf(t, statement, addUp(slices.Concat(kept, undone, below)))))

		lines, credits := linesOf(t, statement, addUp(undone)), linesOf(t, statement, addUp(below))
		require.Len(t, credits, len(lines))
		for i, credit := range credits {
			if credit.Kind != billing.KindUsage {
				continue
			}
			require.Equal(t, lines[i].Key, credit.Key)
			require.True(t, credit.Amount.Amount.Equal(lines[i].Amount.Amount.Neg()))
			sum := decimal.Zero
			for _, part := range credit.Members {
				sum = sum.Add(part.Amount.Amount)
			}
			require.True(t, sum.Equal(credit.Amount.Amount), "the parts add up")
		}
	})
}
