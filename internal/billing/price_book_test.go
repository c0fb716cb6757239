package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestThePriceInForceIsTheLastThatTookEffect(t *testing.T) {
	t.Parallel()
	book := seatBook()
	change := date("2026-04-11")
	for at, want := range map[time.Time]string{
		date("1999-01-01"):                "20",
		change.Add(-time.Nanosecond):      "20",
		change:                            "26",
		change.In(time.FixedZone("", 60)): "26",
		date("2099-01-01"):                "26",
	} {
		price, ok := book.Seat("chat", at)
		require.True(t, ok)
		require.Equal(t, want, price.Amount.String(), at)
	}
	_, ok := book.Seat("gold", change)
	require.False(t, ok)
	surcharge, ok := book.Surcharge(billing.HIPAA, "chat", date("2026-04-21"))
	require.True(t, ok)
	require.Equal(t, "7.25", surcharge.Amount.String())
	_, ok = book.Surcharge(billing.HIPAA, "code", change)
	require.False(t, ok)
	_, ok = usageBook().Tool("web_search", date("2025-12-31"))
	require.False(t, ok)
}

func TestATierIncludesItsProducts(t *testing.T) {
	t.Parallel()
	book := &billing.PriceBook{Seats: []billing.SeatPrice{
		{Tier: "chat", Products: []string{"chat"}},
		{Tier: "chat", Products: []string{"chat", "cowork"}, EffectiveFrom: date("2026-04-01")},
		{Tier: "all"},
	}}
	require.True(t, book.Includes("chat", "chat", date("2026-03-01")))
	require.False(t, book.Includes("chat", "cowork", date("2026-03-01")))
	require.True(t, book.Includes("chat", "cowork", date("2026-04-01")))
	require.True(t, book.Includes("all", "anything", date("2026-04-01")))
	require.False(t, book.Includes("none", "chat", date("2026-04-01")))
	require.Equal(t, []string{"all", "chat"}, book.Tiers())
}

func TestABookWithOverlappingOrMissingOrImpossiblePricesIsRefused(t *testing.T) {
	t.Parallel()
	both := func() *billing.PriceBook {
		book := usageBook()
		book.Seats, book.Surcharges = seatBook().Seats, seatBook().Surcharges
		return book
	}
	require.NoError(t, both().Validate())
	for name, c := range map[string]struct {
		spoil func(*billing.PriceBook)
		want  string
	}{
		"no name":              {func(b *billing.PriceBook) { b.Name = "" }, "name: "},
		"no currency":          {func(b *billing.PriceBook) { b.Currency = "" }, "currency "},
		"a model priced twice": {func(b *billing.PriceBook) { b.Models[1].EffectiveFrom = b.Models[0].EffectiveFrom }, "model m: two prices"},
		"the same instant in two zones": {func(b *billing.PriceBook) {
			b.Models[1].EffectiveFrom = date("2026-01-01").In(time.FixedZone("", 3600))
		}, "model m: two prices"},
		"only a band":                   {func(b *billing.PriceBook) { b.Models[1].PromptTokensAbove = 5 }, "model m: the prices from 2026-04-10T00:00:00Z have no row for every prompt"},
		"a negative token price":        {func(b *billing.PriceBook) { b.Models[1].PerMillion[billing.CacheRead] = dec("-0.01") }, "model m: cache_read: a price cannot be negative"},
		"a seat priced twice":           {func(b *billing.PriceBook) { b.Seats[1].EffectiveFrom = time.Time{} }, "seats: tier chat from 0001-01-01T00:00:00Z: two prices"},
		"a seat priced twice, by zones": {func(b *billing.PriceBook) { b.Seats[0].EffectiveFrom = date("2026-04-11").In(time.FixedZone("", 3600)) }, "seats: tier chat from 2026-04-11T00:00:00Z: two prices"},
		"a negative seat price":         {func(b *billing.PriceBook) { b.Seats[0].Amount = dec("-1") }, "seats: tier chat: amount cannot be negative"},
		"a surcharge priced twice":      {func(b *billing.PriceBook) { b.Surcharges[1].EffectiveFrom = time.Time{} }, "surcharges: hipaa on chat from 0001-01-01T00:00:00Z: two prices"},
		"a negative surcharge":          {func(b *billing.PriceBook) { b.Surcharges[0].Amount = dec("-1") }, "surcharges: hipaa: amount cannot be negative"},
		"a tool priced twice":           {func(b *billing.PriceBook) { b.Tools[1].EffectiveFrom = b.Tools[0].EffectiveFrom }, "tools: web_search: two prices"},
		"an unknown tool":               {func(b *billing.PriceBook) { b.Tools[1].Tool = "web_fetch" }, `tools: "web_fetch" is not a tool`},
		"a negative tool price":         {func(b *billing.PriceBook) { b.Tools[1].Amount = dec("-1") }, "tools: web_search: amount cannot be negative"},
		"a tool per seven":              {func(b *billing.PriceBook) { b.Tools[1].Per = 7 }, "tools: web_search: per is 7"},
		"a tool per nothing":            {func(b *billing.PriceBook) { b.Tools[1].Per = 0 }, "tools: web_search: per is 0"},
		"a tool per less than nothing":  {func(b *billing.PriceBook) { b.Tools[1].Per = -1000 }, "tools: web_search: per is -1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := both()
			c.spoil(book)
			err := book.Validate()
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}
