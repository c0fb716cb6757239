package pricebook_test

import (
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// named is a book with other names of its models, service tiers and a fallback.
const named = `name: b
currency: USD
models:
  - model: m
    aliases: [m-2025, vendor/m]
    prices: [{effective_from: 2026-02-01T00:00:00Z, input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5}]
  - model: n
    prices: [{effective_from: 2026-02-01T00:00:00Z, input: 1, output: 2, cache_write_5m: 3, cache_write_1h: 4, cache_read: 5}]
service_tiers:
  - {tier: priority, multiplier: "1.25"}
  - {tier: priority, multiplier: "1.5", effective_from: 2026-06-01T00:00:00Z}
fallback: {input: "5", output: "25", cache_write_5m: "6.25", cache_write_1h: "10", cache_read: "0.50"}
`

func TestParseReadsNamesServiceTiersAndTheFallback(t *testing.T) {
	t.Parallel()
	book, err := pricebook.Parse([]byte(named))
	require.NoError(t, err)
	require.Equal(t, []billing.ModelAlias{{Alias: "m-2025", Model: "m"}, {Alias: "vendor/m", Model: "m"}}, book.Aliases)
	require.Len(t, book.ServiceTiers, 2)
	require.Equal(t, "priority", book.ServiceTiers[1].Tier)
	require.True(t, book.ServiceTiers[0].EffectiveFrom.IsZero())
	require.Equal(t, "1.5", book.ServiceTiers[1].Multiplier.String())
	for class, price := range map[billing.Class]string{billing.Input: "5", billing.Output: "25", billing.CacheWrite1h: "10", billing.CacheRead: "0.5"} {
		require.Equal(t, price, book.Fallback.PerMillion[class].String())
	}
	event := billing.Event{Quantities: billing.Quantities{billing.Input: 1_000_000, billing.CacheRead: 2_000_000}}
	require.Equal(t, "6", billing.NewRater(book, nil).Provisional(&event).String())
	book.Fallback = nil
	require.Equal(t, decimal.Zero, billing.NewRater(book, nil).Provisional(&event), "nothing stands in where the book has nothing")
}

func TestParseSaysWhatIsWrongWithNamesServiceTiersAndTheFallback(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"aliases that are no list":    {"[m-2025, vendor/m]", "m-2025", `line 5: models[0].aliases: the value "m-2025"; accepted: a list, or no such key`},
		"an alias twice":              {"vendor/m]", "m-2025]", "line 5: models[0].aliases[1]: the same name as on line 5"},
		"an alias that is a model":    {"vendor/m]", "n]", "line 5: models[0].aliases[1]: the same name as on line 7"},
		"an alias that is its model":  {"vendor/m]", "m]", "line 5: models[0].aliases[1]: the same name as on line 4"},
		"an alias that no event has":  {"vendor/m]", strings.Repeat("m", 257) + "]", "has 257 bytes; accepted: 1 to 256 bytes"},
		"a tier without a multiplier": {`, multiplier: "1.25"`, "", `line 10: service_tiers[0].multiplier: missing; accepted: a multiplier of the standard price, like "1.25"`},
		"a multiplier of zero":        {`"1.25"`, `"0"`, `line 10: service_tiers[0].multiplier: "0" is not a multiplier above 0 and up to 10, like "1.25"`},
		"a multiplier without point":  {`"1.25"`, `"125"`, `"125" is not a multiplier above 0 and up to 10`},
		"the standard tier":           {"- {tier: priority, multiplier: \"1.25\"}", "- {tier: standard, multiplier: \"1.25\"}", `line 10: service_tiers[0].tier: "standard" has its price with each model`},
		"the batch tier":              {"- {tier: priority, multiplier: \"1.25\"}", "- {tier: batch, multiplier: \"1.25\"}", `"batch" has its price with each model`},
		"two multipliers at once":     {", effective_from: 2026-06-01T00:00:00Z}\nfall", "}\nfall", "line 11: service_tiers[1]: the same tier and effective_from as on line 10"},
		"a fallback without a class":  {`, cache_read: "0.50"}`, "}", "line 12: fallback.cache_read: missing; accepted: every token class with its own price"},
		"a fallback that is a number": {`fallback: {input: "5", output: "25", cache_write_5m: "6.25", cache_write_1h: "10", cache_read: "0.50"}`, "fallback: 5", `line 12: fallback: the value "5"; accepted: a mapping with the keys input, output`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, named, c.old)
			_, err := pricebook.Parse([]byte(strings.Replace(named, c.old, c.new, 1)))
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}
