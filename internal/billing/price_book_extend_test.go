package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// wholeBook is a book with rows of every kind.
func wholeBook() *billing.PriceBook {
	book := usageBook()
	book.Seats, book.Surcharges = seatBook().Seats, seatBook().Surcharges
	return book
}

func TestLoadingABookAgainAddsNothing(t *testing.T) {
	t.Parallel()
	stored, edition := wholeBook(), wholeBook()
	for i := range edition.Models { // as another edition of the file may write the same
		edition.Models[i].EffectiveFrom = edition.Models[i].EffectiveFrom.In(time.FixedZone("", 3600))
		edition.Models[i].PerMillion[billing.Output] = edition.Models[i].PerMillion[billing.Output].Add(dec("0.000"))
	}
	added, err := stored.Extend(edition, date("2026-05-01"))
	require.NoError(t, err)
	require.Zero(t, added.Rows())
	require.Equal(t, wholeBook().Rows(), stored.Rows())
}

func TestALaterEditionAddsPricesAndNeverChangesThePast(t *testing.T) {
	t.Parallel()
	settled := date("2026-05-01")
	later := func(b *billing.PriceBook, from string) {
		row := b.Models[1]
		row.EffectiveFrom = date(from)
		b.Models = append(b.Models, row)
	}
	for name, c := range map[string]struct {
		change func(*billing.PriceBook)
		added  int
		want   string // error
	}{
		"a model price from tomorrow": {func(b *billing.PriceBook) { later(b, "2026-05-02") }, 1, ""},
		"a price just after what is settled": {func(b *billing.PriceBook) {
			b.Tools = append(b.Tools, billing.ToolPrice{Tool: "web_search", Per: 1000, Amount: dec("9"), EffectiveFrom: settled.Add(time.Microsecond)})
		}, 1, ""},
		"a new model, also for the past, whose usage is parked": {func(b *billing.PriceBook) {
			row := b.Models[0]
			row.Model = "new"
			b.Models = append(b.Models, row)
		}, 1, ""},
		"a price before the first": {func(b *billing.PriceBook) { later(b, "2025-06-01") }, 1, ""},
		"a new tier": {func(b *billing.PriceBook) {
			b.Seats = append(b.Seats, billing.SeatPrice{Tier: "new", Amount: dec("1")})
		}, 1, ""},
		"rows left out": {func(b *billing.PriceBook) { b.Models, b.Tools = b.Models[:1], nil }, 0, ""},

		"a model price at the settled instant": {func(b *billing.PriceBook) { later(b, "2026-05-01") }, 0, "model m: a new price from 2026-05-01T00:00:00Z would change what was already priced"},
		"a band for the past": {func(b *billing.PriceBook) {
			row := b.Models[1]
			row.PromptTokensAbove = 200_000
			b.Models = append(b.Models, row)
		}, 0, "model m: a new price from 2026-04-10T00:00:00Z would change what was already priced"},
		"a changed token price": {func(b *billing.PriceBook) { b.Models[0].PerMillion[billing.CacheRead] = dec("0.01") }, 0, "model m: the price from 2026-01-01T00:00:00Z is stored with other amounts"},
		"a changed multiplier":  {func(b *billing.PriceBook) { b.Models[0].Batch = nullDec("0.5") }, 0, "model m: the price from 2026-01-01T00:00:00Z is stored with other amounts"},
		"a changed seat price":  {func(b *billing.PriceBook) { b.Seats[0].Amount = dec("21") }, 0, "seats: tier chat: the price from 0001-01-01T00:00:00Z is stored with other amounts"},
		"changed products":      {func(b *billing.PriceBook) { b.Seats[0].Products = []string{"chat"} }, 0, "seats: tier chat: the price from 0001-01-01T00:00:00Z is stored with other amounts"},
		"a changed surcharge":   {func(b *billing.PriceBook) { b.Surcharges[0].Amount = dec("6") }, 0, "surcharges: hipaa on chat: the price from 0001-01-01T00:00:00Z is stored with other amounts"},
		"a changed tool price":  {func(b *billing.PriceBook) { b.Tools[0].Per = 100 }, 0, "tools: web_search: the price from 2026-01-01T00:00:00Z is stored with other amounts"},
		"a past seat price": {func(b *billing.PriceBook) {
			b.Seats = append(b.Seats, billing.SeatPrice{Tier: "chat", Amount: dec("1"), EffectiveFrom: date("2026-04-20")})
		}, 0, "seats: tier chat: a new price from 2026-04-20T00:00:00Z would change what was already priced"},
		"another currency": {func(b *billing.PriceBook) { b.Currency = "EUR" }, 0, "price book usage is in USD; an edition in EUR needs a name of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored, edition := wholeBook(), wholeBook()
			c.change(edition)
			added, err := stored.Extend(edition, settled)
			if c.want != "" {
				require.ErrorIs(t, err, billing.ErrConflict)
				require.ErrorContains(t, err, c.want)
				require.Equal(t, wholeBook(), stored, "nothing is half done")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.added, added.Rows())
			require.Equal(t, wholeBook().Rows()+c.added, stored.Rows())
		})
	}
}
