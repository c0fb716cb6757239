package billing_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// codeBook prices code by the hour.
func codeBook(tools ...billing.ToolPrice) *billing.PriceBook {
	book := &billing.PriceBook{
		Name: "code", Currency: "USD", Tools: tools,
		Models: []billing.ModelPrice{{Model: "m", Speed: billing.Standard, PerMillion: prices("1", "5", "1", "1", "1")}},
	}
	for i := range book.Tools {
		book.Tools[i].Tool, book.Tools[i].Per, book.Tools[i].Amount = "code_execution", 3600, dec("0.05")
	}
	return book
}

func TestCodeIsBilledForItsMinimumAtLeast(t *testing.T) {
	t.Parallel()
	book := codeBook(billing.ToolPrice{Minimum: 300}, billing.ToolPrice{Minimum: 60, EffectiveFrom: date("2026-04-10")})
	rater := billing.NewRater(book, book.Rates())
	for _, c := range []struct {
		at        string
		ran, want int64
	}{
		{"2026-04-09", 0, 0}, {"2026-04-09", 1, 300}, {"2026-04-09", 300, 300}, {"2026-04-09", 301, 301}, {"2026-04-10", 1, 60},
	} {
		e := event("ana", "chat", "m", date(c.at), billing.Quantities{billing.CodeExecution: c.ran})
		e.Speed, e.ServiceTier = billing.Standard, billing.Standard
		rate := mustRate(t, rater, &e)
		metered := rate.Metered(&e)
		require.Equal(t, c.want, metered.Quantities[billing.CodeExecution])
		require.Equal(t, c.ran, e.Quantities[billing.CodeExecution], "the event stays as it was sent")
		require.Equal(t, metered, rate.Metered(metered), "metering again changes nothing")
	}
	e := event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.CodeExecution: 1})
	e.Speed, e.ServiceTier = billing.Standard, billing.Standard
	none := codeBook()
	rate, reason := billing.NewRater(none, none.Rates()).Rate(&e)
	require.Nil(t, rate)
	require.Equal(t, "code_execution has no price", reason)
}

// Spend counts seconds at a price that never ends, and yet the parts add up to
// the whole: 0.05 by the hour is 0.0000138888…, rounded up to 18 places.
func TestSpendOfSecondsDoesNotDependOnHowTheyAreCounted(t *testing.T) {
	t.Parallel()
	hourly := billing.UnitPrice{Amount: dec("0.05"), Per: 3600}
	require.Equal(t, "0.000013888888888889", hourly.Times(dec("1")).String())
	property := func(t *rapid.T) {
		a := decimal.NewFromInt(rapid.Int64Range(0, billing.MaxCount).Draw(t, "a"))
		b := decimal.NewFromInt(rapid.Int64Range(0, billing.MaxCount).Draw(t, "b"))
		require.True(t, hourly.Times(a).Add(hourly.Times(b)).Equal(hourly.Times(a.Add(b))))
		exact := a.Mul(hourly.Amount).DivRound(decimal.NewFromInt(3600), 30)
		require.False(t, hourly.Times(a).LessThan(exact), "never less than the charge")
		require.True(t, hourly.Times(a).Sub(exact).LessThanOrEqual(a.Shift(-18)))
	}
	rapid.Check(t, property)
}

func TestTheAllowanceIsThatOfTheMonthsBeginning(t *testing.T) {
	t.Parallel()
	change := billing.ToolPrice{FreePerMonth: 20, EffectiveFrom: date("2026-04-10")}
	for name, c := range map[string]struct {
		book *billing.PriceBook
		want string
	}{
		"no price":                        {codeBook(), "0"},
		"one price":                       {codeBook(billing.ToolPrice{FreePerMonth: 10}), "10"},
		"a change within":                 {codeBook(billing.ToolPrice{FreePerMonth: 10}, change), "10"},
		"a change at the beginning":       {codeBook(billing.ToolPrice{FreePerMonth: 10}, billing.ToolPrice{FreePerMonth: 30, EffectiveFrom: april.Start}), "30"},
		"the first price comes within":    {codeBook(billing.ToolPrice{FreePerMonth: 40, EffectiveFrom: date("2026-04-20")}, change), "20"},
		"the first price comes behind it": {codeBook(billing.ToolPrice{FreePerMonth: 40, EffectiveFrom: april.End}), "0"},
	} {
		require.Equal(t, c.want, c.book.FreeSeconds(april).String(), name)
	}
}

// However a month's use is parted into bills, in whatever order they are written,
// retractions included, they leave free together what one bill would have.
func TestTheBillsOfAMonthShareOneAllowance(t *testing.T) {
	property(t, func(t *rapid.T) {
		perMonth := decimal.NewFromInt(rapid.Int64Range(0, 1000).Draw(t, "free"))
		used, given := decimal.Zero, decimal.Zero
		for _, now := range rapid.SliceOfN(rapid.Int64Range(-500, 1000), 1, 6).Draw(t, "bills") {
			given = given.Add(billing.FreeSeconds(perMonth, used, given, decimal.NewFromInt(now)))
			used = used.Add(decimal.NewFromInt(now))
		}
		require.Equal(t, billing.FreeSeconds(perMonth, decimal.Zero, decimal.Zero, used).String(), given.String())
	})
}

func TestWhatIsFreeIsSharedByUseAndWhatIsWhollyFreeCostsNobodyACent(t *testing.T) {
	property(t, func(t *rapid.T) {
		book := codeBook(billing.ToolPrice{}, billing.ToolPrice{EffectiveFrom: date("2026-04-10")})
		book.Tools[1].Amount = drawPrice(t, "later")
		statement := aprilStatement(t, book)
		rater := billing.NewRater(book, book.Rates())
		var events []billing.Event
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			e := event(rapid.SampledFrom([]string{"", "ana", "ben", "eva"}).Draw(t, "user"), rapid.SampledFrom([]string{"chat", "code"}).Draw(t, "product"),
				"m", date(rapid.SampledFrom([]string{"2026-04-09", "2026-04-10"}).Draw(t, "at")),
				billing.Quantities{billing.CodeExecution: rapid.Int64Range(1, 100_000).Draw(t, "seconds")})
			e.Speed, e.ServiceTier = billing.Standard, billing.Standard
			events = append(events, e)
		}
		usage := addUp(totalsOf(t, rater, events))
		all := billing.SecondsRun(usage, []string{statement.PeriodID}, statement.PeriodID)
		free := decimal.NewFromInt(rapid.Int64Range(0, all.IntPart()).Draw(t, "free"))
		statement.Free = []billing.FreeUse{{Periods: []string{statement.PeriodID}, PerMonth: free, Seconds: free}}
		requireShared(t, linesOf(t, statement, usage), all, free)

		statement.Free[0].Seconds = all
		owed := map[string]decimal.Decimal{}
		for _, line := range linesOf(t, statement, usage) {
			owed["all"] = owed["all"].Add(line.Amount.Amount)
			for _, part := range line.Members {
				owed[part.User] = owed[part.User].Add(part.Amount.Amount)
			}
		}
		for user, amount := range owed {
			require.True(t, amount.IsZero(), "%s owes %s", user, amount)
		}
	})
}

// requireShared checks that the free seconds are dealt out whole, and off each
// line and member by no more than a second from their part.
func requireShared(t *rapid.T, lines []billing.Line, all, free decimal.Decimal) {
	second := decimal.NewFromInt(1)
	near := func(part, used, of, total decimal.Decimal) {
		require.True(t, part.Mul(total).Sub(of.Mul(used)).Abs().LessThan(total.Mul(second)), "%s of %s, used %s of %s", part, of, used, total)
	}
	given := decimal.Zero
	for i, line := range lines {
		if !line.IsFreeUse() {
			continue
		}
		charged := lines[slices.IndexFunc(lines, func(l billing.Line) bool { return l.Key == strings.TrimSuffix(line.Key, "/free") })]
		require.Equal(t, charged.Key, lines[i-1].Key, "it follows the line that it takes off")
		require.Equal(t, charged.UnitPrice, line.UnitPrice)
		given = given.Sub(line.Quantity)
		near(line.Quantity.Neg(), charged.Quantity, free, all)
		parts, amounts := decimal.Zero, decimal.Zero
		for _, part := range line.Members {
			at := slices.IndexFunc(charged.Members, func(m billing.Allocation) bool { return m.User == part.User })
			near(part.Quantity.Neg(), charged.Members[at].Quantity, line.Quantity.Neg(), charged.Quantity)
			parts, amounts = parts.Add(part.Quantity), amounts.Add(part.Amount.Amount)
		}
		require.True(t, parts.Equal(line.Quantity))
		require.True(t, amounts.Equal(line.Amount.Amount))
	}
	require.True(t, given.Equal(free))
}

// A price of the past may be added where nothing was priced before it; but not one
// that gives a month, part of which is billed, another allowance.
func TestAPriceOfThePastKeepsTheTermsOfMetering(t *testing.T) {
	t.Parallel()
	settled := date("2026-05-01")
	for name, c := range map[string]struct {
		minimum, free int64
		from          string
		refused       bool
	}{
		"before the first, on its terms":      {300, 40, "2026-04-01", false},
		"before the first, another allowance": {300, 50, "2026-04-01", true},
		"before the first, another minimum":   {60, 40, "2026-04-01", true},
		"to come, other terms":                {60, 50, "2026-05-02", false},
	} {
		stored := codeBook(billing.ToolPrice{Minimum: 300, FreePerMonth: 40, EffectiveFrom: date("2026-04-20")})
		edition := codeBook(billing.ToolPrice{Minimum: c.minimum, FreePerMonth: c.free, EffectiveFrom: date(c.from)})
		corrected := *stored
		_, extending := stored.Extend(edition, settled)
		_, correcting := corrected.Correct(edition, settled)
		for _, err := range []error{extending, correcting} {
			if c.refused {
				require.ErrorIs(t, err, billing.ErrConflict, name)
			} else {
				require.NoError(t, err, name)
			}
		}
	}
}
