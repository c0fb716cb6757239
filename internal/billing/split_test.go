package billing

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

func TestPartsAddUpAndCanEachBeCharged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		total    string
		currency Currency
		parts    int
	}{
		{"999999.99", "USD", 1},
		{"1000000.00", "USD", 2},
		{"1999999.98", "USD", 2},
		{"1999999.99", "USD", 3},
		{"123456789.01", "USD", 124},
		{"100000000", "JPY", 2},
		{"300000001", "JPY", 4},
		{"99999.990", "KWD", 1},
		{"100000.000", "KWD", 2},
		{"200000.01", "KWD", 3},
	} {
		total := Money{decimal.RequireFromString(c.total), c.currency}
		parts := Split(total)
		require.Len(t, parts, c.parts, c.total)
		sum := decimal.Zero
		for _, part := range parts {
			sum = sum.Add(part.Amount)
			require.True(t, part.Amount.LessThanOrEqual(c.currency.LargestCharge().Amount), "%s of %s", part, total)
			require.True(t, part.Amount.GreaterThanOrEqual(c.currency.SmallestCharge().Amount))
			require.True(t, part.Amount.Equal(part.Amount.Truncate(c.currency.ChargeDigits())))
		}
		require.True(t, sum.Equal(total.Amount), "%s and not %s", sum, total)
	}
}
