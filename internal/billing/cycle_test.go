package billing_test

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestTheProvidersItemsAddUpToTheLinesAndAreNeverTooMany(t *testing.T) {
	property(t, func(t *rapid.T) {
		products := rapid.SampledFrom([]int{1, 3, 300}).Draw(t, "products")
		var lines []billing.Line
		for i := range rapid.OneOf(rapid.IntRange(0, 10), rapid.IntRange(245, 255), rapid.IntRange(0, 400)).Draw(t, "lines") {
			lines = append(lines, billing.Line{
				Key: fmt.Sprint("usage/", i), Kind: billing.KindUsage, Description: fmt.Sprint("line ", i), Product: fmt.Sprint("product_", i%products),
				Amount: billing.Money{Amount: decimal.New(rapid.Int64Range(-1000, 100_000).Draw(t, "cents"), -2), Currency: "USD"},
			})
		}
		items := billing.ProviderItems(lines)
		require.LessOrEqual(t, len(items), 250)
		total, keys := decimal.Zero, map[string]bool{}
		for i, item := range items {
			require.Equal(t, i+1, item.Number)
			require.False(t, keys[item.Key])
			keys[item.Key] = true
			require.Equal(t, billing.Currency("USD"), item.Amount.Currency)
			total = total.Add(item.Amount.Amount)
		}
		require.Equal(t, billing.Add(lines).String(), total.String())
		if len(lines) <= 250 {
			require.Len(t, items, len(lines), "one item for each line while there is room")
		}
	})
}

func TestInvoiceIDsReadBack(t *testing.T) {
	t.Parallel()
	for id, c := range map[string]struct {
		period   string
		revision int
	}{
		"acme/2026-10-01":     {"2026-10-01", 1},
		"acme/2026-10-01.2":   {"2026-10-01.2", 1},
		"acme/2026-10-01/2":   {"2026-10-01", 2},
		"acme/2026-10-01/137": {"2026-10-01", 137},
	} {
		require.Equal(t, id, billing.InvoiceID("acme", c.period, c.revision))
		organization, period, revision, err := billing.ParseInvoiceID(id)
		require.NoError(t, err)
		require.Equal(t, "acme", organization)
		require.Equal(t, c.period, period)
		require.Equal(t, c.revision, revision)
	}
	for _, wrong := range []string{"", "acme", "acme/2026-10-01/1", "acme/2026-10-01/0", "acme/2026-10-01/-2", "acme/2026-10-01/x", "a/b/2/c"} {
		_, _, _, err := billing.ParseInvoiceID(wrong)
		require.ErrorIs(t, err, billing.ErrNotFound, wrong)
	}
}
