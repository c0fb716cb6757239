package billing_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestOutcomeIsDecidedByTheTotal(t *testing.T) {
	t.Parallel()
	money := func(amount string, currency billing.Currency) billing.Money {
		return billing.Money{Amount: dec(amount), Currency: currency}
	}
	const tooLarge = "total 1000000.00 USD is above the largest charge of 999999.99 USD"
	for name, c := range map[string]struct {
		total  billing.Money
		status billing.InvoiceStatus
		reason string
	}{
		"nothing is settled":                       {usd("0"), billing.StatusSettled, ""},
		"a credit is carried":                      {usd("-1"), billing.StatusCarried, ""},
		"a credit of a cent is carried":            {usd("-0.01"), billing.StatusCarried, ""},
		"a cent is carried":                        {usd("0.01"), billing.StatusCarried, ""},
		"a cent below the smallest charge":         {usd("0.49"), billing.StatusCarried, ""},
		"the smallest charge is charged":           {usd("0.50"), billing.StatusOpen, ""},
		"the largest charge is charged":            {usd("999999.99"), billing.StatusOpen, ""},
		"a cent above the largest charge":          {usd("1000000.00"), billing.StatusParked, tooLarge},
		"a yen below the smallest charge":          {money("49", "JPY"), billing.StatusCarried, ""},
		"the smallest charge in yen":               {money("50", "JPY"), billing.StatusOpen, ""},
		"the largest charge in yen":                {money("99999999", "JPY"), billing.StatusOpen, ""},
		"the largest charge in dinars":             {money("99999.999", "KWD"), billing.StatusOpen, ""},
		"above the largest charge in dinars":       {money("100000", "KWD"), billing.StatusParked, "total 100000.000 KWD is above the largest charge of 99999.999 KWD"},
		"a fils below the smallest charge, dinars": {money("0.149", "KWD"), billing.StatusCarried, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, reason := billing.Outcome(c.total)
			require.Equal(t, c.status, status)
			require.Equal(t, c.reason, reason)
		})
	}
}

func TestOnlyAmountsThatTheProviderTakesAreOpen(t *testing.T) {
	property(t, func(t *rapid.T) {
		total := billing.Money{Amount: decimal.New(rapid.Int64Range(-1_000, 200_000_000).Draw(t, "cents"), -2), Currency: "USD"}
		status, reason := billing.Outcome(total)
		cents, err := total.Minor()
		require.NoError(t, err)
		require.Equal(t, cents >= 50 && cents <= billing.LargestCharge, status == billing.StatusOpen)
		require.Equal(t, status == billing.StatusParked, reason != "")
	})
}

func TestAddSumsTheKindsAskedFor(t *testing.T) {
	t.Parallel()
	lines := []billing.Line{
		{Kind: billing.KindSeat, Amount: usd("20")},
		{Kind: billing.KindSurcharge, Amount: usd("5")},
		{Kind: billing.KindUsage, Amount: usd("0.10")},
		{Kind: billing.KindUsage, Amount: usd("0.20")},
		{Kind: billing.KindCarriedForward, Amount: usd("-1")},
	}
	require.Equal(t, "24.3", billing.Add(lines).String())
	require.Equal(t, "0.3", billing.Add(lines, billing.KindUsage).String())
	require.Equal(t, "25", billing.Add(lines, billing.KindSeat, billing.KindSurcharge).String())
	require.Equal(t, "0", billing.Add(nil).String())
}
