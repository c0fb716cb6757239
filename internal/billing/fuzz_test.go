package billing_test

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
	"github.com/arrears-dev/arrears/internal/usage"
)

// FuzzRate rates any event that decodes by any valid book: one that the first
// bytes are, or else one that they are the seed of. Rating never panics, parks
// exactly what has no price, never comes out below zero, is the sum of its parts,
// and agrees with a computation in fractions from the published rows.
func FuzzRate(f *testing.F) {
	line := func(model, at, rest string) []byte {
		return []byte(`{"id":"e","organization":"acme","user":"u","occurred_at":"` + at + `","product":"chat","model":"` + model + `",` + rest + `}`)
	}
	for _, book := range pricebook.Shipped() {
		for _, event := range [][]byte{
			line("claude-sonnet-4-5", "2026-10-01T00:00:40Z", `"usage":{"input_tokens":200001,"cache_read_input_tokens":120,"output_tokens":8}`),
			line("claude-opus-4-6", "2026-10-01T00:00:40Z", `"inference_geo":"us","usage":{"input_tokens":1,"output_tokens":8,"service_tier":"batch"}`),
			line("claude-sonnet-4-5", "2026-10-01T00:00:40Z", `"usage":{"input_tokens":200000,"output_tokens":8}`), // the band's very end
			line("claude-haiku-5-5", "2026-10-07T00:00:00Z", `"usage":{"input_tokens":99999,"output_tokens":0,"cache_read_input_tokens":1}`),
			line("claude-opus-4-6", "2026-02-01T00:00:00Z", `"speed":"fast","usage":{"input_tokens":1,"output_tokens":8}`),
			line("claude-haiku-5-5", "2026-10-07T00:00:00Z", `"usage":{"input_tokens":100000,"output_tokens":0,"cache_creation":{"ephemeral_1h_input_tokens":1}}`),
			line("claude-never", "2026-10-01T00:00:40Z", `"usage":{"input_tokens":1,"output_tokens":8}`),
			line("claude-haiku-4-5", "2026-10-01T00:00:40Z", `"usage":{"input_tokens":1,"output_tokens":8,"thinking_tokens":9}`),
			line("claude-haiku-4-5", "2026-10-01T00:00:40Z", `"usage":{"input_tokens":0,"output_tokens":0,"server_tool_use":{"code_execution_seconds":7}}`),
			line("claude-haiku-4-5", "2020-10-01T00:00:40Z", `"usage":{"input_tokens":0,"output_tokens":0,"server_tool_use":{"web_search_requests":7}}`),
		} {
			f.Add(book.YAML, event, uint16(7))
		}
	}
	for seed := range 8 {
		f.Add([]byte{byte(seed)}, line("m1", "2026-04-10T00:00:00Z", `"speed":"fast","usage":{"input_tokens":1001,"output_tokens":8,"server_tool_use":{"code_execution_seconds":61}}`), uint16(seed*9000))
		f.Add([]byte{byte(seed)}, line("m0", "2026-04-20T00:00:00Z", `"usage":{"input_tokens":1000000000000,"output_tokens":8,"service_tier":"batch","server_tool_use":{"web_search_requests":3}}`), uint16(seed))
	}
	f.Fuzz(func(t *testing.T, file, line []byte, cut uint16) {
		event, rejection := usage.Decode(line)
		if rejection != nil {
			return
		}
		book, err := pricebook.Parse(file)
		if err != nil {
			book = seededBook(t, file)
		}
		rater := billing.NewRater(book, book.Rates())
		for _, part := range event.Parts() {
			rate, reason := rater.Rate(&part)
			part.Model = rater.Model(part.Model) // a test of its own says what names mean
			units := fractions(book, &part)
			require.Equal(t, units == nil, rate == nil, reason)
			require.Equal(t, rate == nil, reason != "", "what is parked has a reason")
			require.False(t, rater.Provisional(&part).IsNegative())
			if rate == nil {
				continue
			}
			metered := rate.Metered(&part)
			requireCost(t, rate, units, metered.Quantities)
			requireParts(t, rate, metered.Quantities, cut)
		}
	})
}

// seededBook is a valid book of any prices, drawn by the bytes.
func seededBook(t *testing.T, seed []byte) *billing.PriceBook {
	var chacha [32]byte
	copy(chacha[:], seed)
	random := rand.New(rand.NewChaCha8(chacha))
	amount := func() decimal.Decimal { return decimal.New(random.Int64N(1_000_000), -random.Int32N(13)) }
	maybe := func(d decimal.Decimal) decimal.NullDecimal {
		return decimal.NullDecimal{Decimal: d, Valid: random.IntN(2) == 0}
	}
	from := func(n int) time.Time { return april.Start.AddDate(0, 0, n*random.IntN(15)) }
	book := &billing.PriceBook{Name: "seeded", Currency: []billing.Currency{"USD", "JPY", "KWD"}[random.IntN(3)]}
	for _, model := range []string{"m0", "m1"} {
		row := billing.ModelPrice{Model: model, Batch: maybe(decimal.New(random.Int64N(1000)+1, -3)), USOnly: maybe(decimal.New(random.Int64N(9999)+1, -3))}
		for _, row.Speed = range []string{billing.Standard, billing.Fast}[:1+random.IntN(2)] {
			for n := range 1 + random.IntN(3) {
				row.EffectiveFrom = from(n).AddDate(0, n, 0)
				for _, row.PromptTokensAbove = range []int64{0, 1000, 200_000}[:1+random.IntN(3)] {
					for c := range row.PerMillion {
						row.PerMillion[c] = amount()
					}
					book.Models = append(book.Models, row)
				}
			}
		}
	}
	for n := range random.IntN(3) {
		book.Tools = append(book.Tools, billing.ToolPrice{Tool: "web_search", Per: []int64{1, 100, 1000}[random.IntN(3)], Amount: amount(), EffectiveFrom: from(n).AddDate(0, n, 0)})
	}
	for n := range random.IntN(3) {
		book.Tools = append(book.Tools, billing.ToolPrice{
			Tool: "code_execution", Per: []int64{1, 60, 3600}[random.IntN(3)], Amount: amount(), EffectiveFrom: from(n).AddDate(0, n, 0),
			Minimum: random.Int64N(600), FreePerMonth: random.Int64N(10_000),
		})
	}
	for n := range random.IntN(3) {
		book.ServiceTiers = append(book.ServiceTiers, billing.ServiceTierPrice{
			Tier: "priority", Multiplier: decimal.New(random.Int64N(3000)+1, -3), EffectiveFrom: from(n).AddDate(0, n, 0),
		})
	}
	random.Shuffle(len(book.Models), func(i, j int) { book.Models[i], book.Models[j] = book.Models[j], book.Models[i] })
	require.NoError(t, book.Validate())
	return book
}

// publishedTier is the multiplier of the event's service tier; nil = it has none.
func publishedTier(book *billing.PriceBook, e *billing.Event) (held *billing.ServiceTierPrice) {
	for i := range book.ServiceTiers {
		tier := &book.ServiceTiers[i]
		if tier.Tier == e.ServiceTier && !tier.EffectiveFrom.After(e.OccurredAt) && (held == nil || tier.EffectiveFrom.After(held.EffectiveFrom)) {
			held = tier
		}
	}
	return held
}

// fractions is the price of one unit of each class, from the published rows
// alone; nil where the event has no price. A class that is not used may have none.
func fractions(book *billing.PriceBook, e *billing.Event) []*big.Rat {
	row := publishedRow(book, e)
	batch := e.ServiceTier == billing.Batch
	if row == nil || e.Unpriceable != "" || (batch && !row.Batch.Valid) || (e.InferenceGeo != billing.GeoGlobal && e.InferenceGeo != billing.GeoUS) {
		return nil
	}
	tier := publishedTier(book, e)
	if !batch && e.ServiceTier != billing.Standard && (tier == nil || e.Speed != billing.Standard) {
		return nil
	}
	units := make([]*big.Rat, billing.NumClasses)
	for c, price := range row.PerMillion {
		unit := new(big.Rat).Quo(price.Rat(), big.NewRat(1_000_000, 1))
		if batch {
			unit.Mul(unit, row.Batch.Decimal.Rat())
		} else if tier != nil {
			unit.Mul(unit, tier.Multiplier.Rat())
		}
		if e.InferenceGeo == billing.GeoUS && row.USOnly.Valid {
			unit.Mul(unit, row.USOnly.Decimal.Rat())
		}
		units[c] = unit
	}
	for _, class := range []billing.Class{billing.WebSearch, billing.CodeExecution} {
		var held *billing.ToolPrice
		for i := range book.Tools {
			tool := &book.Tools[i]
			if tool.Tool == class.String() && !tool.EffectiveFrom.After(e.OccurredAt) && (held == nil || tool.EffectiveFrom.After(held.EffectiveFrom)) {
				held = tool
			}
		}
		switch {
		case held != nil:
			units[class] = new(big.Rat).Quo(held.Amount.Rat(), big.NewRat(held.Per, 1))
		case e.Quantities[class] > 0:
			return nil
		}
	}
	return units
}

// publishedRow is the row of the last version before the event, in the highest
// band below its prompt.
func publishedRow(book *billing.PriceBook, e *billing.Event) (held *billing.ModelPrice) {
	q := e.Quantities
	prompt := q[billing.Input] + q[billing.CacheWrite5m] + q[billing.CacheWrite1h] + q[billing.CacheRead]
	rows := slices.Clone(book.Models)
	slices.SortFunc(rows, func(a, z billing.ModelPrice) int {
		if c := a.EffectiveFrom.Compare(z.EffectiveFrom); c != 0 {
			return c
		}
		return int(a.PromptTokensAbove - z.PromptTokensAbove)
	})
	for i := range rows {
		row := &rows[i]
		if row.Model == e.Model && row.Speed == e.Speed && !row.EffectiveFrom.After(e.OccurredAt) &&
			(row.PromptTokensAbove == 0 || prompt > row.PromptTokensAbove) {
			held = row
		}
	}
	return held
}

func requireCost(t *testing.T, rate *billing.Rate, units []*big.Rat, quantities billing.Quantities) {
	totals := quantities.Totals()
	cost := rate.Cost(&totals)
	require.False(t, cost.IsNegative())
	exact, priced := new(big.Rat), false
	for c, n := range quantities {
		if n > 0 {
			exact.Add(exact, new(big.Rat).Mul(units[c], big.NewRat(n, 1)))
			priced = priced || units[c].Sign() > 0
		}
	}
	over := new(big.Rat).Sub(cost.Rat(), exact) // of seconds by the hour, each rounded up to 18 places
	require.GreaterOrEqual(t, over.Sign(), 0, "never less than it costs")
	require.LessOrEqual(t, over.Cmp(new(big.Rat).SetFrac(big.NewInt(quantities[billing.CodeExecution]), big.NewInt(1e18))), 0, "%s, not %s", cost, exact.FloatString(20))
	require.Equal(t, priced, cost.IsPositive(), "nothing that has a price is free")
}

// requireParts cuts the quantities in two under their rate.
func requireParts(t *testing.T, rate *billing.Rate, quantities billing.Quantities, cut uint16) {
	whole := quantities.Totals()
	var first, second billing.Totals
	for c, total := range whole {
		first[c] = total.Mul(decimal.NewFromInt(int64(cut))).Shift(-5).Truncate(0)
		second[c] = total.Sub(first[c])
	}
	sum := rate.Cost(&first).Add(rate.Cost(&second))
	require.True(t, sum.Equal(rate.Cost(&whole)), "%s, not %s", sum, rate.Cost(&whole))
}
