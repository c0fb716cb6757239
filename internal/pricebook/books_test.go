package pricebook_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// The prices as the vendor's tables list them, in columns:
// input, output, 5-minute write, read, 1-hour write. "fast" and ">band" mark
// rows of that speed and band, "@" the day of a change.
var tables = map[string]string{
	"anthropic-2026-01": `
		claude-opus-4-6               5     25     6.25   0.50  10
		claude-opus-4-6 >200000       10    37.50  12.50  1.00  20
		claude-opus-4-6 fast          30    150    37.50  3.00  60
		claude-opus-4-6 fast >200000  60    225    75     6.00  120
		claude-opus-4-5               5     25     6.25   0.50  10
		claude-opus-4-1               15    75     18.75  1.50  30
		claude-opus-4                 15    75     18.75  1.50  30
		claude-sonnet-4-6             3     15     3.75   0.30  6
		claude-sonnet-4-6 >200000     6     22.50  7.50   0.60  12
		claude-sonnet-4-5             3     15     3.75   0.30  6
		claude-sonnet-4-5 >200000     6     22.50  7.50   0.60  12
		claude-sonnet-4               3     15     3.75   0.30  6
		claude-sonnet-4 >200000       6     22.50  7.50   0.60  12
		claude-haiku-4-5              1     5      1.25   0.10  2
		claude-haiku-3-5              0.80  4      1.00   0.08  1.60
		claude-haiku-3                0.25  1.25   0.30   0.03  0.50`,
	"anthropic-2026-10": `
		claude-fable-5-2              8     40     10     0.20  16
		claude-fable-5-2 fast         16    80     20     0.40  32
		claude-mythos-5-2             8     40     10     0.20  16
		claude-mythos-5-2 fast        16    80     20     0.40  32
		claude-fable-5-1              10    50     12.50  0.25  20
		claude-mythos-5-1             10    50     12.50  0.25  20
		claude-fable-5                10    50     12.50  1.00  20
		claude-mythos-5               10    50     12.50  1.00  20
		claude-opus-5-5               4     20     5      0.20  8
		claude-opus-5-5 fast          8     40     10     0.40  16
		claude-opus-5                 5     25     6.25   0.50  10
		claude-opus-5 fast            10    50     12.50  1.00  20
		claude-opus-4-8               5     25     6.25   0.50  10
		claude-opus-4-8 fast          10    50     12.50  1.00  20
		claude-opus-4-7               5     25     6.25   0.50  10
		claude-opus-4-7 fast          30    150    37.50  3.00  60
		claude-opus-4-6               5     25     6.25   0.50  10
		claude-opus-4-5               5     25     6.25   0.50  10
		claude-opus-4-1               15    75     18.75  1.50  30
		claude-opus-4                 15    75     18.75  1.50  30
		claude-sonnet-5-5             2     10     2.50   0.20  4
		claude-sonnet-5-5 @2026-10-07 2     10     2.50   0.10  4
		claude-sonnet-5               2     10     2.50   0.20  4
		claude-sonnet-4-6             3     15     3.75   0.30  6
		claude-sonnet-4-5             3     15     3.75   0.30  6
		claude-sonnet-4               3     15     3.75   0.30  6
		claude-haiku-5-5              0.10  0.50   0.125  0.01  0.20
		claude-haiku-5-5 >100000      0.50  2.50   0.625  0.05  1.00
		claude-haiku-4-5              1     5      1.25   0.10  2
		claude-haiku-3-5              0.80  4      1      0.08  1.60`,
}

// usOnly are the models that carry the surcharge for US-only inference: those
// from 4.6 on.
var usOnly = []string{
	"claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5",
	"claude-sonnet-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5", "claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5", "claude-mythos-5-2",
	"claude-mythos-5-1",
}

func TestShippedBooksHoldTheirTables(t *testing.T) {
	t.Parallel()
	require.Len(t, pricebook.Shipped(), len(tables))
	for _, file := range pricebook.Shipped() {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			book, err := pricebook.Parse(file.YAML)
			require.NoError(t, err)
			require.Equal(t, file.Name, book.Name, "a shipped book is named as its file")
			require.Equal(t, billing.Currency("USD"), book.Currency)
			want := strings.Split(strings.TrimSpace(tables[file.Name]), "\n")
			require.Len(t, book.Models, len(want))
			for _, line := range want {
				requireRow(t, book, line)
			}
		})
	}
}

func requireRow(t *testing.T, book *billing.PriceBook, line string) {
	t.Helper()
	columns := strings.Fields(line)
	marks, prices := columns[1:len(columns)-5], columns[len(columns)-5:]
	speed, band, from := billing.Standard, int64(0), ""
	for _, mark := range marks {
		switch {
		case mark == billing.Fast:
			speed = mark
		case strings.HasPrefix(mark, ">"):
			band = decimal.RequireFromString(mark[1:]).IntPart()
		default:
			from = mark[1:]
		}
	}
	i := slices.IndexFunc(book.Models, func(p billing.ModelPrice) bool {
		changed := from == "" || p.EffectiveFrom.Format(time.DateOnly) == from
		return p.Model == columns[0] && p.Speed == speed && p.PromptTokensAbove == band && changed
	})
	require.GreaterOrEqual(t, i, 0, line)
	row := book.Models[i]
	for c, class := range []billing.Class{billing.Input, billing.Output, billing.CacheWrite5m, billing.CacheRead, billing.CacheWrite1h} {
		require.Equal(t, decimal.RequireFromString(prices[c]).String(), row.PerMillion[class].String(), "%s: %s", line, class)
	}
	require.Equal(t, speed == billing.Standard, row.Batch.Valid, "%s: batch", line)
	require.True(t, !row.Batch.Valid || row.Batch.Decimal.Equal(decimal.RequireFromString("0.5")), "%s: batch", line)
	require.Equal(t, slices.Contains(usOnly, columns[0]), row.USOnly.Valid, "%s: us_only", line)
	require.True(t, !row.USOnly.Valid || row.USOnly.Decimal.Equal(decimal.RequireFromString("1.1")), "%s: us_only", line)
}

func TestShippedBooksPriceSeatsSurchargeAndTools(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, file := range pricebook.Shipped() {
		book, err := pricebook.Parse(file.YAML)
		require.NoError(t, err)
		require.Equal(t, []string{"chat", "chat_claude_code"}, book.Tiers())
		require.True(t, book.Includes("chat", "chat", at))
		require.False(t, book.Includes("chat", "claude_code", at))
		require.True(t, book.Includes("chat_claude_code", "claude_code", at))
		hipaa, ok := book.Surcharge(billing.HIPAA, "chat", at)
		require.True(t, ok)
		require.Equal(t, "5", hipaa.Amount.String())
		search, ok := book.Tool(billing.WebSearch.String(), at)
		require.True(t, ok)
		require.Equal(t, "10 per 1000", search.Amount.String()+" per "+decimal.NewFromInt(search.Per).String())
		code, ok := book.Tool(billing.CodeExecution.String(), at)
		require.True(t, ok)
		require.Equal(t, "0.05", code.Amount.String())
		require.Equal(t, billing.ToolPrice{Tool: code.Tool, Per: 3600, Amount: code.Amount, Minimum: 300, FreePerMonth: 1550 * 3600}, code)
	}
}

func TestShippedBooksSayWhatIsNotToBeTrusted(t *testing.T) {
	t.Parallel()
	for _, file := range pricebook.Shipped() {
		require.Contains(t, string(file.YAML), "# EXAMPLES: the vendor publishes no seat prices", file.Name)
	}
	later := pricebook.Shipped()[1]
	require.Equal(t, "anthropic-2026-10", later.Name)
	require.True(t, strings.HasPrefix(string(later.YAML), "# CHECK AGAINST THE VENDOR'S PAGE BEFORE USE"))
}

func TestDefaultIsTheBookOfJanuary2026AndEachCallersOwn(t *testing.T) {
	t.Parallel()
	book := pricebook.Default()
	require.Equal(t, "anthropic-2026-01", book.Name)
	book.Models[0].Model = "spoilt"
	require.NotEqual(t, "spoilt", pricebook.Default().Models[0].Model)
}

func TestDefaultPricesEveryModelThroughout2026(t *testing.T) {
	t.Parallel()
	book := pricebook.Default()
	rater := billing.NewRater(book, book.Rates())
	for _, row := range book.Models {
		for _, at := range []time.Time{row.EffectiveFrom, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)} {
			event := billing.Event{
				Model: row.Model, Speed: row.Speed, ServiceTier: billing.Standard, InferenceGeo: billing.GeoUS, OccurredAt: at,
				Quantities: billing.Quantities{billing.Input: row.PromptTokensAbove + 1, billing.WebSearch: 1},
			}
			rate, reason := rater.Rate(&event)
			require.Empty(t, reason)
			require.Equal(t, row.PromptTokensAbove, rate.Key.PromptTokensAbove)
		}
	}
}

func TestE1ToE8_TheShippedBooksGiveTheGoldenAmounts(t *testing.T) {
	t.Parallel()
	january, october := "2026-01-15T10:00:00Z", "2026-10-15T10:00:00Z"
	long := billing.Quantities{billing.Input: 12_345, billing.CacheWrite5m: 6_789, billing.CacheWrite1h: 1_000, billing.CacheRead: 200_000, billing.Output: 2_345}
	short := long
	short[billing.CacheRead] = 100_000
	for name, c := range map[string]struct {
		book, at, model, tier, speed, geo string
		quantities                        billing.Quantities
		want                              string
	}{
		"E1":     {"anthropic-2026-01", january, "claude-sonnet-4-5", "", "", "", short, "0.13366875"},
		"banded": {"anthropic-2026-01", january, "claude-sonnet-4-5", "", "", "", long, "0.30975"},
		"flat":   {"anthropic-2026-10", october, "claude-sonnet-4-5", "", "", "", long, "0.16366875"},
		"E3":     {"anthropic-2026-10", october, "claude-opus-4-6", billing.Batch, "", billing.GeoUS, billing.Quantities{1_000_000, 200_000}, "5.5"},
		"below":  {"anthropic-2026-10", october, "claude-haiku-5-5", "", "", "", billing.Quantities{100_000, 1_000}, "0.0105"},
		"above":  {"anthropic-2026-10", october, "claude-haiku-5-5", "", "", "", billing.Quantities{100_001, 1_000}, "0.0525005"},
		"before": {"anthropic-2026-10", "2026-10-06T23:59:59Z", "claude-sonnet-5-5", "", "", "", billing.Quantities{billing.CacheRead: 10_000_000}, "2"},
		"after":  {"anthropic-2026-10", "2026-10-07T00:00:00Z", "claude-sonnet-5-5", "", "", "", billing.Quantities{billing.CacheRead: 10_000_000}, "1"},
		"E6":     {"anthropic-2026-10", october, "claude-opus-5-5", "", billing.Fast, billing.GeoUS, billing.Quantities{100_000, 10_000}, "1.32"},
		"E7":     {"anthropic-2026-01", january, "claude-haiku-3", "", "", "", billing.Quantities{billing.CacheWrite5m: 1_000_000}, "0.3"},
		"E8":     {"anthropic-2026-10", october, "claude-haiku-5-5", billing.Batch, "", billing.GeoUS, billing.Quantities{billing.CacheRead: 1}, "0.0000000055"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(pricebook.Shipped(), func(f pricebook.File) bool { return f.Name == c.book })
			book, err := pricebook.Parse(pricebook.Shipped()[i].YAML)
			require.NoError(t, err)
			at, err := time.Parse(time.RFC3339, c.at)
			require.NoError(t, err)
			rate, reason := billing.NewRater(book, book.Rates()).Rate(&billing.Event{
				Model: c.model, OccurredAt: at, Quantities: c.quantities, InferenceGeo: c.geo,
				ServiceTier: cmp.Or(c.tier, billing.Standard), Speed: cmp.Or(c.speed, billing.Standard),
			})
			require.Empty(t, reason)
			totals := c.quantities.Totals()
			require.Equal(t, c.want, rate.Cost(&totals).String())
		})
	}
}
