package billing_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestShareDealsOutTheLargestRemainders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line        string
		parts, want []string
	}{
		"nothing to three members":               {"0", []string{"0", "0", "0"}, []string{"0", "0", "0"}},
		"one member takes the line":              {"0.01", []string{"0.005"}, []string{"0.01"}},
		"a cent goes to whom lost most":          {"1.00", []string{"0.331", "0.333", "0.336"}, []string{"0.33", "0.33", "0.34"}},
		"the earlier one where two lost as much": {"0.01", []string{"0.005", "0.005"}, []string{"0.01", "0"}},
		"whole cents stay":                       {"0.31", []string{"0.1", "0.204"}, []string{"0.1", "0.21"}},
		"nothing is left where halves fall":      {"0.01", []string{"0.002", "0.004"}, []string{"0", "0.01"}},
		"credits":                                {"-1.00", []string{"-0.331", "-0.333", "-0.336"}, []string{"-0.33", "-0.33", "-0.34"}},
		"a credit of half a cent":                {"-0.01", []string{"-0.005"}, []string{"-0.01"}},
		"a charge and a credit":                  {"0.00", []string{"0.006", "-0.004"}, []string{"0.01", "-0.01"}},
		"more than a credit takes":               {"0.01", []string{"-0.005", "0.01"}, []string{"0", "0.01"}},
		"no members":                             {"0", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shares := billing.AllocateAmount(dec(c.line), decimals(c.parts), "USD")
			require.Equal(t, texts(decimals(c.want)), texts(shares))
		})
	}
}

func decimals(s []string) []decimal.Decimal {
	result := make([]decimal.Decimal, len(s))
	for i := range s {
		result[i] = dec(s[i])
	}
	return result
}

func texts(amounts []decimal.Decimal) []string {
	result := make([]string, len(amounts))
	for i := range amounts {
		result[i] = amounts[i].String()
	}
	return result
}

// drawParts draws exact amounts: charges, credits, or both.
func drawParts(t *rapid.T) []decimal.Decimal {
	low, high := int64(-1_000_000), int64(1_000_000)
	switch rapid.SampledFrom([]string{"charges", "credits", "both"}).Draw(t, "signs") {
	case "charges":
		low = 0
	case "credits":
		high = 0
	}
	places := rapid.Int32Range(0, 9)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) decimal.Decimal {
		return decimal.New(rapid.Int64Range(low, high).Draw(t, "part"), -places.Draw(t, "places"))
	}), 1, 20).Draw(t, "parts")
}

func TestSharesAddUpAndNoneIsAUnitOffItsExactPart(t *testing.T) {
	property(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]billing.Currency{"USD", "JPY", "KWD"}).Draw(t, "currency")
		unit := decimal.New(1, -currency.Digits())
		parts := drawParts(t)
		line := billing.Round(sum(parts...), currency)
		shares := billing.AllocateAmount(line, parts, currency)
		require.Equal(t, line.String(), sum(shares...).String(), "the shares add up to the line")
		for i, share := range shares {
			require.True(t, share.Sub(parts[i]).Abs().LessThan(unit), "%s for %s", share, parts[i])
			require.True(t, share.Equal(billing.Round(share, currency)), "%s is finer than %s", share, unit)
			for j := range parts {
				require.False(t, parts[i].LessThan(parts[j]) && share.Sub(shares[j]).GreaterThan(unit), "%s got more than a unit above %s", parts[i], parts[j])
			}
		}
		require.Equal(t, texts(shares), texts(billing.AllocateAmount(line, parts, currency)), "the same every time")
	})
}
