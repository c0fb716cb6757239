package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// increased is the default book with everything of Haiku 4.5, the chat seat and
// web search at ten times the price from an instant on.
func increased(from time.Time) *billing.PriceBook {
	book := pricebook.Default()
	ten := decimal.NewFromInt(10)
	for _, p := range book.Models {
		if p.Model == "claude-haiku-4-5" {
			p.EffectiveFrom = from
			for c := range p.PerMillion {
				p.PerMillion[c] = p.PerMillion[c].Mul(ten)
			}
			book.Models = append(book.Models, p)
		}
	}
	seat, _ := book.Seat("chat", from)
	seat.EffectiveFrom, seat.Amount = from, seat.Amount.Mul(ten)
	book.Seats = append(book.Seats, seat)
	tool, _ := book.Tool("web_search", from)
	tool.EffectiveFrom, tool.Amount = from, tool.Amount.Mul(ten)
	book.Tools = append(book.Tools, tool)
	return book
}

func TestAFuturePriceIsWithdrawnBeforeItStarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// Ahead of the wall clock too: whatever is later than either may be in force.
	announced := time.Now().AddDate(2, 0, 0).UTC().Truncate(24 * time.Hour)
	rates := f.count("rates")
	edition := increased(announced)
	load, err := f.LoadPriceBook(f.ctx, edition, tester)
	require.NoError(t, err)
	require.Equal(t, 3, load.Added)
	f.store(use("before", "u1", october, 200_000)) // the gateway has the price in its cache

	for _, which := range []billing.PriceSelection{{Model: "claude-haiku-4-5"}, {Tier: "chat"}, {Tool: "web_search"}} {
		which.From = announced
		done, err := f.WithdrawPrices(f.ctx, edition.Name, which, tester)
		require.NoError(t, err)
		require.Len(t, done.Withdrawn, 1)
		load.Revision++
		require.Equal(t, load.Revision, done.Revision)
		again, err := f.WithdrawPrices(f.ctx, edition.Name, which, tester)
		require.NoError(t, err)
		require.Equal(t, postgres.PriceWithdrawal{Name: edition.Name, Revision: load.Revision, Withdrawn: []postgres.PriceRow{}}, again)
	}
	require.Equal(t, rates, f.count("rates"), "no rate is left that nothing can have")
	var before string
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT before #>> '{rows,0,terms,output}' FROM audit_log WHERE action = 'prices.withdraw' ORDER BY id LIMIT 1`).Scan(&before))
	require.Equal(t, "50", before)

	f.clock(announced.AddDate(0, 1, 0))
	f.store(use("after", "u1", f.now(), 200_000))
	require.Equal(t, "1.00 USD", f.preview().Total.String(), "the price before it holds on")
	f.clean()
}

func TestAWithdrawnPriceIsAddedAgainByLoadingItAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	announced := time.Now().AddDate(2, 0, 0).UTC().Truncate(24 * time.Hour)
	_, err := f.LoadPriceBook(f.ctx, increased(announced), tester)
	require.NoError(t, err)
	_, err = f.WithdrawPrices(f.ctx, increased(announced).Name, billing.PriceSelection{Model: "claude-haiku-4-5", From: announced}, tester)
	require.NoError(t, err)
	load, err := f.LoadPriceBook(f.ctx, increased(announced), tester)
	require.NoError(t, err)
	require.Equal(t, 1, load.Added)
	f.clock(announced.AddDate(0, 1, 0))
	f.store(use("after", "u1", f.now(), 200_000))
	require.Equal(t, "10.00 USD", f.preview().Total.String())
	f.clean()
}

func TestAPriceThatMayBeInForceIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	announced := time.Now().AddDate(2, 0, 0).UTC().Truncate(24 * time.Hour)
	book := increased(announced).Name
	_, err := f.LoadPriceBook(f.ctx, increased(announced), tester)
	require.NoError(t, err)
	withdraw := func() error {
		_, err := f.WithdrawPrices(f.ctx, book, billing.PriceSelection{Model: "claude-haiku-4-5", From: announced}, tester)
		return err
	}
	f.clock(announced.Add(-billing.FutureTolerance))
	f.store(use("ahead", "u1", announced, 200_000))
	require.ErrorIs(t, withdraw(), billing.ErrConflict)
	require.ErrorContains(t, withdraw(), "prices reprice")
	_, err = f.WithdrawPrices(f.ctx, "nobody", billing.PriceSelection{Tool: "web_search", From: announced}, tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	f.clean()
}

func TestASeatKeepsItsOnlyPrice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	announced := time.Now().AddDate(2, 0, 0).UTC().Truncate(24 * time.Hour)
	book := pricebook.Default()
	book.Seats = append(book.Seats, billing.SeatPrice{Tier: "gold", EffectiveFrom: announced, Amount: decimal.NewFromInt(99)})
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	_, err = f.AssignSeats(f.ctx, "acme", []postgres.SeatChange{{User: "u1", Tier: "gold", From: announced}}, tester)
	require.NoError(t, err)
	_, err = f.WithdrawPrices(f.ctx, book.Name, billing.PriceSelection{Tier: "gold", From: announced}, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "user u1 of organization acme holds a seat by this price")
}

func (f *fixture) preview() billing.Invoice {
	f.t.Helper()
	invoice, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(f.t, err)
	return invoice
}
