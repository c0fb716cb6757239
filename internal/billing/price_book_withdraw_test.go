package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestAFuturePriceIsWithdrawnAndNoOther(t *testing.T) {
	t.Parallel()
	future, settled := date("2026-07-01"), date("2026-06-30")
	withFuture := func() *billing.PriceBook {
		book := wholeBook()
		row := book.Models[0]
		row.EffectiveFrom = future
		band := row
		band.PromptTokensAbove = 1000
		book.Models = append(book.Models, row, band)
		for _, tier := range []string{"chat", "code"} {
			book.Seats = append(book.Seats, billing.SeatPrice{Tier: tier, EffectiveFrom: future, Amount: dec("99")})
			book.Surcharges = append(book.Surcharges, billing.SurchargePrice{Name: billing.HIPAA, Tier: tier, EffectiveFrom: future, Amount: dec("9")})
		}
		book.Tools = append(book.Tools, billing.ToolPrice{Tool: "web_search", Per: 1000, Amount: dec("9"), EffectiveFrom: future})
		return book
	}
	for name, c := range map[string]struct {
		which billing.PriceSelection
		want  int
	}{
		"a model with its bands":  {billing.PriceSelection{Model: "m"}, 2},
		"a tier":                  {billing.PriceSelection{Tier: "chat"}, 1},
		"a surcharge on one tier": {billing.PriceSelection{Surcharge: billing.HIPAA, Tier: "code"}, 1},
		"a surcharge on all":      {billing.PriceSelection{Surcharge: billing.HIPAA}, 2},
		"a tool":                  {billing.PriceSelection{Tool: "web_search"}, 1},
		"a model not there":       {billing.PriceSelection{Model: "other"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			book := withFuture()
			c.which.From = future.In(time.FixedZone("", 3600))
			_, err := book.Withdraw(c.which, future)
			if c.want > 0 {
				require.ErrorIs(t, err, billing.ErrConflict)
				require.ErrorContains(t, err, "is, or may already be, in force; accepted: one that starts after 2026-07-01T00:00:00Z")
			}
			require.Equal(t, withFuture(), book, "nothing is half done")
			withdrawn, err := book.Withdraw(c.which, settled)
			require.NoError(t, err)
			require.Equal(t, c.want, withdrawn.Rows())
			require.Equal(t, withFuture().Rows()-c.want, book.Rows())
			require.NoError(t, book.Validate())
			again, err := book.Withdraw(c.which, settled)
			require.NoError(t, err)
			require.Zero(t, again.Rows())
		})
	}
}
