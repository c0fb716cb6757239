package billing_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// rateBook has a model with all there is, and one with a single plain price.
func rateBook() *billing.PriceBook {
	full := billing.ModelPrice{
		Model: "full", Speed: billing.Standard, EffectiveFrom: date("2026-02-01"), PerMillion: prices("5", "25", "6.25", "10", "0.50"),
		Batch: nullDec("0.5"), USOnly: nullDec("1.1"),
	}
	band, fast, flat := full, full, full
	band.PromptTokensAbove, band.PerMillion = 200_000, prices("10", "37.50", "12.50", "20", "1")
	fast.Speed, fast.Batch, fast.PerMillion = billing.Fast, decimal.NullDecimal{}, prices("30", "150", "37.50", "60", "3")
	flat.EffectiveFrom = date("2026-06-01") // from June on there is no band
	return &billing.PriceBook{
		Name: "rates", Currency: "USD",
		Models: []billing.ModelPrice{full, band, fast, flat, {
			Model: "plain", Speed: billing.Standard, EffectiveFrom: date("2026-02-01"), PerMillion: prices("1", "1", "1", "1", "1"),
		}},
		Aliases: []billing.ModelAlias{{Alias: "our-best", Model: "full"}},
		Tools:   []billing.ToolPrice{{Tool: "web_search", Per: 1000, Amount: dec("10"), EffectiveFrom: date("2026-03-01")}},
		ServiceTiers: []billing.ServiceTierPrice{
			{Tier: "priority", Multiplier: dec("1.5")},
			{Tier: "priority", Multiplier: dec("2"), EffectiveFrom: date("2026-06-01")},
		},
	}
}

func TestAnEventIsPricedByWhatItIsAndWhenItHappened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*billing.Event)
		output string // price per million; "" = parked
		reason string
	}{
		"standard":                    {func(*billing.Event) {}, "25", ""},
		"batch":                       {func(e *billing.Event) { e.ServiceTier = billing.Batch }, "12.5", ""},
		"US only":                     {func(e *billing.Event) { e.InferenceGeo = billing.GeoUS }, "27.5", ""},
		"batch, US only":              {func(e *billing.Event) { e.ServiceTier, e.InferenceGeo = billing.Batch, billing.GeoUS }, "13.75", ""},
		"fast":                        {func(e *billing.Event) { e.Speed = billing.Fast }, "150", ""},
		"fast, US only":               {func(e *billing.Event) { e.Speed, e.InferenceGeo = billing.Fast, billing.GeoUS }, "165", ""},
		"a prompt at the band":        {func(e *billing.Event) { e.Quantities[billing.Input] = 200_000 }, "25", ""},
		"a prompt above the band":     {func(e *billing.Event) { e.Quantities[billing.Input] = 200_001 }, "37.5", ""},
		"reads and writes count, too": {func(e *billing.Event) { e.Quantities = billing.Quantities{1, 9, 100_000, 50_000, 50_000, 0} }, "37.5", ""},
		"output does not":             {func(e *billing.Event) { e.Quantities[billing.Output] = 900_000 }, "25", ""},
		"above the band, batch, US only": {func(e *billing.Event) {
			e.Quantities[billing.Input], e.ServiceTier, e.InferenceGeo = 200_001, billing.Batch, billing.GeoUS
		}, "20.625", ""},
		"the later version has no band": {func(e *billing.Event) { e.Quantities[billing.Input], e.OccurredAt = 200_001, date("2026-06-01") }, "25", ""},
		"the band until the instant before": {func(e *billing.Event) {
			e.Quantities[billing.Input], e.OccurredAt = 200_001, date("2026-06-01").Add(-1)
		}, "37.5", ""},
		"the first instant":                    {func(e *billing.Event) { e.OccurredAt = date("2026-02-01") }, "25", ""},
		"US only where it costs nothing extra": {func(e *billing.Event) { e.Model, e.InferenceGeo = "plain", billing.GeoUS }, "1", ""},
		"web searches":                         {func(e *billing.Event) { e.Quantities[billing.WebSearch] = 1 }, "25", ""},

		"another service tier":          {func(e *billing.Event) { e.ServiceTier = "priority" }, "37.5", ""},
		"another service tier, later":   {func(e *billing.Event) { e.ServiceTier, e.OccurredAt = "priority", date("2026-06-01") }, "50", ""},
		"another service tier, US only": {func(e *billing.Event) { e.ServiceTier, e.InferenceGeo = "priority", billing.GeoUS }, "41.25", ""},
		"an alias":                      {func(e *billing.Event) { e.Model = "our-best" }, "25", ""},
		"another spelling of an alias":  {func(e *billing.Event) { e.Model = "vendor/Our-Best-20260101" }, "25", ""},

		"another service tier, fast": {func(e *billing.Event) { e.ServiceTier, e.Speed = "priority", billing.Fast }, "", "service tier priority has no price for speed fast"},
		"another geography":          {func(e *billing.Event) { e.InferenceGeo = "eu" }, "", "inference geography eu has no price"},
		"an unknown model":           {func(e *billing.Event) { e.Model = "new" }, "", "model new is not in price book rates"},
		"before the first price":     {func(e *billing.Event) { e.OccurredAt = date("2026-02-01").Add(-time.Second) }, "", "model full had no price yet at 2026-01-31T23:59:59Z"},
		"no batch":                   {func(e *billing.Event) { e.Model, e.ServiceTier = "plain", billing.Batch }, "", "model plain has no batch price for speed standard"},
		"batch and fast":             {func(e *billing.Event) { e.Speed, e.ServiceTier = billing.Fast, billing.Batch }, "", "model full has no batch price for speed fast"},
		"no fast price":              {func(e *billing.Event) { e.Model, e.Speed = "plain", billing.Fast }, "", "model plain has no price for speed fast"},
		"an unknown speed":           {func(e *billing.Event) { e.Speed = "turbo" }, "", "model full has no price for speed turbo"},
		"an unknown service tier":    {func(e *billing.Event) { e.ServiceTier = "flex" }, "", "service tier flex has no price"},
		"an unknown token count":     {func(e *billing.Event) { e.Unpriceable = "usage.audio_tokens is a token count without a price" }, "", "usage.audio_tokens is a token count without a price"},
		"a tool without a price":     {func(e *billing.Event) { e.Quantities[billing.WebSearch], e.OccurredAt = 1, date("2026-02-28") }, "", "web_search has no price"},
		"no tool use, no tool price": {func(e *billing.Event) { e.OccurredAt = date("2026-02-28") }, "25", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := rateBook()
			rater := billing.NewRater(book, book.Rates())
			event := billing.Event{
				Model: "full", OccurredAt: date("2026-05-01"), ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
				Quantities: billing.Quantities{billing.Input: 1, billing.Output: 1},
			}
			c.change(&event)
			rate, reason := rater.Rate(&event)
			require.Equal(t, c.reason, reason)
			if c.output == "" {
				require.Nil(t, rate)
				return
			}
			require.Equal(t, c.output, rate.Unit[billing.Output].Amount.String())
		})
	}
}

func TestModifiersChangeTokenPricesAndNeverToolPrices(t *testing.T) {
	t.Parallel()
	book := rateBook()
	for _, rate := range book.Rates() {
		if rate.Key.ToolsFrom.IsZero() {
			require.Zero(t, rate.Unit[billing.WebSearch].Per, "no price yet")
			continue
		}
		require.Equal(t, billing.UnitPrice{Amount: dec("10"), Per: 1000}, rate.Unit[billing.WebSearch])
	}
}

func TestEveryRateHasAKeyOfItsOwnAndIsFoundByItsID(t *testing.T) {
	property(t, func(t *rapid.T) {
		book := drawBook(t)
		rates := book.Rates()
		keys := map[billing.RateKey]bool{}
		for i := range rates {
			rates[i].ID = int64(i + 1)
			require.False(t, keys[rates[i].Key])
			keys[rates[i].Key] = true
		}
		rater := billing.NewRater(book, rates)
		for _, event := range drawEvents(t, rater, "events") {
			rate, _ := rater.Rate(&event)
			require.Same(t, rate, rater.ByID(rate.ID))
		}
		require.Nil(t, rater.ByID(0))
	})
}

func TestARateIsFoundThoughItsTimesComeBackInAnotherZone(t *testing.T) {
	t.Parallel()
	book := rateBook()
	rates := book.Rates()
	for i := range rates { // as a database driver may hand them over
		rates[i].Key.EffectiveFrom = rates[i].Key.EffectiveFrom.In(time.FixedZone("", 3600))
		rates[i].Key.ToolsFrom = rates[i].Key.ToolsFrom.In(time.FixedZone("", 3600))
	}
	event := billing.Event{Model: "plain", OccurredAt: date("2026-05-01"), ServiceTier: billing.Standard, Speed: billing.Standard}
	rate, reason := billing.NewRater(book, rates).Rate(&event)
	require.Empty(t, reason)
	require.NotNil(t, rate)
}

func TestABookWithoutTheRatesOfARowParksItsEvents(t *testing.T) {
	t.Parallel()
	event := billing.Event{Model: "plain", OccurredAt: date("2026-05-01"), ServiceTier: billing.Standard, Speed: billing.Standard}
	rate, reason := billing.NewRater(rateBook(), nil).Rate(&event)
	require.Nil(t, rate)
	require.Equal(t, "model plain has no rate in price book rates", reason)
}

func TestTheSmallestAmountIsExact(t *testing.T) {
	t.Parallel()
	rate := billing.Rate{}
	rate.Unit[billing.CacheRead] = billing.UnitPrice{Amount: dec("0.0055"), Per: 1_000_000}
	totals := billing.Totals{billing.CacheRead: decimal.NewFromInt(1)}
	require.Equal(t, "0.0000000055", rate.Cost(&totals).String())
	totals[billing.CacheRead] = dec("123456789012345678901234567890")
	require.Equal(t, "679012339567901233956.790123395", rate.Cost(&totals).String())
}

func TestAPriceTimesAQuantityIsExact(t *testing.T) {
	property(t, func(t *rapid.T) {
		unit := billing.UnitPrice{Amount: drawPrice(t, "price"), Per: rapid.SampledFrom([]int64{1, 10, 1000, 1_000_000, 1_000_000_000}).Draw(t, "per")}
		quantity := decimal.NewFromInt(rapid.Int64().Draw(t, "quantity"))
		require.Equal(t, unit.Amount.Mul(quantity).String(), unit.Times(quantity).Mul(decimal.NewFromInt(unit.Per)).String())
	})
}
