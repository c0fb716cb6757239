package billing_test

import (
	"cmp"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// sonnet is a rate of 3 and 15 USD per million, with both kinds of cache writes.
func sonnet() *billing.Rate {
	r := &billing.Rate{}
	for class, price := range prices("3", "15", "3.75", "6", "0.30") {
		r.Unit[class] = billing.UnitPrice{Amount: price, Per: billing.TokensPer}
	}
	return r
}

func TestCacheWritesAreDividedByTheStatedCost(t *testing.T) {
	t.Parallel()
	writes := func(short, long int64) billing.Quantities {
		return billing.Quantities{billing.Input: 4, billing.Output: 43, billing.CacheWrite5m: short, billing.CacheWrite1h: long}
	}
	flat := sonnet()
	flat.Unit[billing.CacheWrite1h] = flat.Unit[billing.CacheWrite5m]
	unpriced := sonnet()
	unpriced.Unit[billing.CacheWrite1h] = billing.UnitPrice{}
	cheaper := sonnet()
	cheaper.Unit[billing.CacheWrite1h].Amount = dec("1.75")
	for name, c := range map[string]struct {
		rate    *billing.Rate
		given   billing.Quantities
		cost    string // "" = not stated
		divided bool   // the source says how
		want    billing.Quantities
	}{
		"all for 5 minutes":                        {sonnet(), writes(18_452, 0), "0.069852", false, writes(18_452, 0)},
		"all for an hour":                          {sonnet(), writes(18_452, 0), "0.111369", false, writes(0, 18_452)},
		"half and half":                            {sonnet(), writes(18_452, 0), "0.0906105", false, writes(9226, 9226)},
		"one of them":                              {sonnet(), writes(18_452, 0), "0.06985425", false, writes(18_451, 1)},
		"added up in floating point":               {sonnet(), writes(18_452, 0), "0.11136900000000001", false, writes(0, 18_452)},
		"a billionth too much":                     {sonnet(), writes(18_452, 0), "0.111369001", false, writes(0, 18_452)},
		"more than a billionth too much":           {sonnet(), writes(18_452, 0), "0.1113690011", false, writes(18_452, 0)},
		"more than the dearest":                    {sonnet(), writes(18_452, 0), "0.11137125", false, writes(18_452, 0)},
		"less than the cheapest":                   {sonnet(), writes(18_452, 0), "0.06984975", false, writes(18_452, 0)},
		"between two numbers":                      {sonnet(), writes(18_452, 0), "0.0906116", false, writes(18_452, 0)},
		"nothing, as where the price is not known": {sonnet(), writes(18_452, 0), "0", false, writes(18_452, 0)},
		"not stated":                               {sonnet(), writes(18_452, 0), "", false, writes(18_452, 0)},
		"divided by the source":                    {sonnet(), writes(18_452, 0), "0.111369", true, writes(18_452, 0)},
		"no writes":                                {sonnet(), writes(0, 0), "0.000657", false, writes(0, 0)},
		"a part that the source divides":           {sonnet(), writes(100, 50), "0.0014445", false, writes(50, 100)},
		"what the source divides is not taken back": {
			sonnet(), writes(100, 50), "0.0012195", false, writes(100, 50),
		},
		"one price for both":               {flat, writes(18_452, 0), "0.069852", false, writes(18_452, 0)},
		"no price for an hour":             {unpriced, writes(18_452, 0), "0.111369", false, writes(18_452, 0)},
		"an hour is cheaper":               {cheaper, writes(1000, 0), "0.002407", false, writes(0, 1000)},
		"an hour is cheaper, half of them": {cheaper, writes(1000, 0), "0.003407", false, writes(500, 500)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event := billing.Event{Quantities: c.given, CacheSplitAssumed: !c.divided}
			if c.cost != "" {
				event.StatedCost = decimal.NewNullDecimal(dec(c.cost))
			}
			require.Equal(t, c.want, c.rate.SplitWrites(&event))
			require.Equal(t, c.given, event.Quantities, "what was sent stays")
		})
	}
}

func TestAnyDivisionIsFoundByItsCost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		long := rapid.Int64Range(0, 1_000_000).Draw(t, "long")
		short := rapid.Int64Range(0, 1_000_000).Draw(t, "short")
		sent := billing.Quantities{
			billing.Input: rapid.Int64Range(0, 1_000_000).Draw(t, "input"), billing.CacheWrite5m: short, billing.CacheWrite1h: long,
			billing.CacheRead: rapid.Int64Range(0, 1_000_000).Draw(t, "read"),
		}
		totals := sent.Totals()
		event := billing.Event{Quantities: sent, CacheSplitAssumed: true, StatedCost: decimal.NewNullDecimal(sonnet().Cost(&totals))}
		event.Quantities[billing.CacheWrite5m], event.Quantities[billing.CacheWrite1h] = short+long, 0
		require.Equal(t, sent, sonnet().SplitWrites(&event))
	})
}

func TestAStatedCostIsContent(t *testing.T) {
	t.Parallel()
	plain := billing.Event{ID: "1", Product: "claude_code", Model: "m"}
	stated, same, other := plain, plain, plain
	stated.StatedCost = decimal.NewNullDecimal(dec("0.10"))
	same.StatedCost = decimal.NewNullDecimal(dec("0.1"))
	other.StatedCost = decimal.NewNullDecimal(dec("0.2"))
	require.Equal(t, stated.Fingerprint(), same.Fingerprint(), "however it is written")
	require.NotEqual(t, stated.Fingerprint(), other.Fingerprint())
	require.NotEqual(t, stated.Fingerprint(), plain.Fingerprint())
}

func TestProductsAreBoundToSources(t *testing.T) {
	t.Parallel()
	org := billing.Organization{UsageSources: map[string]billing.UsageSource{"claude_code": billing.SourceOTLP}}
	require.Empty(t, org.RefuseSource("claude_code", billing.SourceOTLP))
	require.Empty(t, org.RefuseSource("chat", billing.SourceAPI), "not bound")
	for _, source := range []billing.UsageSource{billing.SourceAPI, billing.SourceCloudEvents, billing.SourceImport, ""} {
		require.Contains(t, org.RefuseSource("claude_code", source), "bound to the source otlp, and this came by "+cmp.Or(string(source), "an unnamed path"))
	}
	for product, source := range map[string]billing.UsageSource{
		"chat": "mail", "a\u200bb": billing.SourceAPI, "e\u0301": billing.SourceAPI, "": billing.SourceAPI, " chat": billing.SourceAPI, "a=b": billing.SourceAPI, "any": billing.AnySource,
	} {
		require.ErrorIs(t, billing.CheckUsageSource(product, source), billing.ErrInvalid, product)
	}
	for _, source := range billing.UsageSources() {
		require.NoError(t, billing.CheckUsageSource("claude_code", source))
	}
}
