package billing_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Whatever is used and whatever the discount, subtotal, discount and net re-add,
// and the discount is its percentage of the charges up to half a unit.
func TestTheDiscountIsRoundedOnceAndTheSumsReAdd(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		percent := func(label string) decimal.Decimal {
			return decimal.New(rapid.Int64Range(0, 999_999).Draw(t, label), -4)
		}
		statement.Discount = percent("discount")
		statement.EarlierDiscounts = map[string]decimal.Decimal{"2026-03-01": percent("discount of March")}
		statement.Carried = []billing.Carried{{InvoiceID: "acme/2026-02-01", Number: "A-1", Amount: decimal.New(30, -statement.Book.Currency.ChargeDigits())}}
		bill := billing.Invoice{Currency: statement.Book.Currency, Lines: linesOf(t, statement, totalsOf(t, rater, drawEvents(t, rater, "events")))}
		bill.AddUp()
		exact, lines := decimal.Zero, int64(0)
		for _, line := range bill.Lines {
			applies := statement.Discount
			if line.PeriodOfOrigin == "2026-03-01" {
				applies = statement.EarlierDiscounts["2026-03-01"]
			}
			switch line.Kind {
			case billing.KindUsage:
				exact = exact.Sub(line.Amount.Amount.Mul(applies).Shift(-2))
			case billing.KindDiscount:
				lines++
				require.True(t, line.Exact.Amount.Equal(line.Quantity.Mul(line.UnitPrice.Amount).Div(decimal.NewFromInt(line.Per))))
			default:
			}
		}
		require.LessOrEqual(t, lines, int64(2))
		half := decimal.New(5, -statement.Book.Currency.ChargeDigits()-1)
		require.True(t, bill.Discount.Amount.Sub(exact).Abs().LessThanOrEqual(half.Mul(decimal.NewFromInt(lines))))
		require.True(t, bill.Net.Amount.Equal(bill.Subtotal.Amount.Add(bill.Discount.Amount)))
		require.True(t, bill.Total.Amount.Equal(bill.Net.Amount.Add(statement.Carried[0].Amount)))
		_, err := bill.Discount.Minor()
		require.NoError(t, err)
	})
}

// What is taken back gives back what was paid for it, whatever was negotiated since.
func TestTakingBackDiscountedUsageGivesBackWhatWasPaid(t *testing.T) {
	t.Parallel()
	statement := aprilStatement(t, usageBook())
	rate := billing.NewRater(statement.Book, statement.Book.Rates())
	used := totalsOf(t, rate, []billing.Event{{
		User: "ana", Product: "chat", Model: "m", OccurredAt: date("2026-03-05"), ServiceTier: billing.Standard, Speed: billing.Standard,
		Quantities: billing.Quantities{billing.Output: 2_000_000},
	}})
	used[0].Counts[billing.Output] = used[0].Counts[billing.Output].Neg()
	statement.Discount, statement.EarlierDiscounts = dec("0"), map[string]decimal.Decimal{"2026-03-01": dec("20")}
	lines := linesOf(t, statement, used)
	require.Equal(t, []string{"usage/chat/m/output/5/2026-03-01", "discount/20"}, keysOf(lines))
	require.Equal(t, "chat m output, taken back from the period from 2026-03-01", lines[0].Description)
	require.Equal(t, "Discount of 20% on -10.00 USD", lines[1].Description)
	require.Equal(t, "-8", billing.Add(lines).String(), "10.00 less 20 %")
}

func TestDiscountsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for _, percent := range []string{"0", "12.5", "99.9999"} {
		require.NoError(t, billing.CheckDiscount(dec(percent)), percent)
	}
	for _, percent := range []string{"-1", "100", "12.34567"} {
		err := billing.CheckDiscount(dec(percent))
		require.ErrorIs(t, err, billing.ErrInvalid, percent)
		require.ErrorContains(t, err, "discount: "+percent+"; accepted: a percentage from 0 to below 100")
	}
}
