package billing_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestATotalIsRoundedToWhatCanBeCollectedAndTheRestIsALine(t *testing.T) {
	t.Parallel()
	for total, want := range map[string]string{
		"12.344 KWD": "-0.004", "12.345 KWD": "0.005", "12.340 KWD": "", "-1.235 KWD": "-0.005", "12.34 USD": "", "7 JPY": "",
	} {
		amount, currency := dec(total[:len(total)-4]), billing.Currency(total[len(total)-3:])
		line, rounded := billing.RoundToCharge(billing.Money{Amount: amount, Currency: currency}, "2026-10-01")
		require.Equal(t, want != "", rounded, total)
		if rounded {
			require.Equal(t, want, line.Amount.Amount.String(), total)
			require.Equal(t, billing.KindAdjustment, line.Kind)
			require.True(t, line.Exact.Amount.Equal(line.Quantity.Mul(line.UnitPrice.Amount)))
		}
	}
}

// Whatever the lines, the provider's items add up to the total, and each is one
// that it takes.
func TestTheProvidersItemsAddUpInStepsThatItTakes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]billing.Currency{"USD", "JPY", "KWD"}).Draw(t, "currency")
		var lines []billing.Line
		for i, units := range rapid.SliceOfN(rapid.Int64Range(-2000, 90_000), 1, 300).Draw(t, "lines") {
			lines = append(lines, billing.Line{
				Key: string(rune('a'+i%26)) + decimal.NewFromInt(int64(i)).String(), Kind: billing.KindUsage, Product: "chat",
				Amount: billing.FromMinor(units, currency),
			})
		}
		total := billing.Money{Amount: billing.Add(lines), Currency: currency}
		if line, rounded := billing.RoundToCharge(total, "p"); rounded {
			lines = append(lines, line)
		}
		total.Amount = billing.Add(lines)
		sum := decimal.Zero
		for i, item := range billing.ProviderItems(lines) {
			require.Equal(t, i+1, item.Number)
			require.True(t, item.Amount.Amount.Equal(item.Amount.Amount.Round(currency.ChargeDigits())), item.Amount)
			sum = sum.Add(item.Amount.Amount)
		}
		require.True(t, sum.Equal(total.Amount), "%s is not %s", sum, total)
		require.True(t, total.Amount.Equal(total.Amount.Round(currency.ChargeDigits())))
	})
}
