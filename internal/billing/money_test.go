package billing_test

import (
	"encoding/json"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestMoneyIsWrittenWithItsCurrencysPlacesAndMoreWhereItIsFiner(t *testing.T) {
	t.Parallel()
	for want, money := range map[string]billing.Money{
		"184.66 USD":       usd("184.66"),
		"5.00 USD":         usd("5"),
		"5.10 USD":         usd("5.1000"),
		"0.0000000055 USD": usd("0.0000000055"),
		"0.125 USD":        usd("0.1250"),
		"-0.005 USD":       usd("-0.005"),
		"1200000.00 USD":   {Amount: decimal.New(12, 5), Currency: "USD"},
		"500 JPY":          {Amount: dec("500"), Currency: "JPY"},
		"0.5 JPY":          {Amount: dec("0.5"), Currency: "JPY"},
		"1.500 KWD":        {Amount: dec("1.5"), Currency: "KWD"},
	} {
		require.Equal(t, want, money.String())
	}
}

func TestMoneySurvivesJSONExactly(t *testing.T) {
	property(t, func(t *rapid.T) {
		money := billing.Money{
			Amount:   decimal.New(rapid.Int64().Draw(t, "amount"), rapid.Int32Range(-18, 3).Draw(t, "exponent")),
			Currency: rapid.SampledFrom([]billing.Currency{"USD", "JPY", "KWD"}).Draw(t, "currency"),
		}
		data, err := json.Marshal(money)
		require.NoError(t, err)
		require.Regexp(t, `^\{"amount":"-?[0-9]+(\.[0-9]+)?","currency":"[A-Z]{3}"\}$`, string(data))
		var read billing.Money
		require.NoError(t, json.Unmarshal(data, &read))
		require.True(t, money.Amount.Equal(read.Amount), "%s became %s", money, read)
		require.Equal(t, money.Currency, read.Currency)
		again, err := json.Marshal(read)
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
	})
}

func TestMoneyIsReadFromTextAndNothingElse(t *testing.T) {
	t.Parallel()
	var money billing.Money
	require.NoError(t, json.Unmarshal([]byte(`{"amount":"0.1","currency":"USD"}`), &money))
	require.Equal(t, "0.10 USD", money.String())
	for _, wrong := range []string{`{"amount":"a","currency":"USD"}`, `{"amount":{},"currency":"USD"}`, `"5"`} {
		require.Error(t, json.Unmarshal([]byte(wrong), &money), wrong)
	}
}

func TestMinorUnitsAreExactOrAnError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		money billing.Money
		want  int64
		err   string
	}{
		"cents":               {usd("184.66"), 18466, ""},
		"negative cents":      {usd("-0.01"), -1, ""},
		"trailing zeros":      {usd("1.2300"), 123, ""},
		"yen":                 {billing.Money{Amount: dec("500"), Currency: "JPY"}, 500, ""},
		"fils":                {billing.Money{Amount: dec("1.234"), Currency: "KWD"}, 1234, ""},
		"half a cent":         {usd("0.005"), 0, "0.005 USD has more than 2 decimal places"},
		"half a yen":          {billing.Money{Amount: dec("0.5"), Currency: "JPY"}, 0, "0.5 JPY has more than 0 decimal places"},
		"the largest integer": {usd("92233720368547758.07"), 9223372036854775807, ""},
		"one cent more":       {usd("92233720368547758.08"), 0, "92233720368547758.08 USD is out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			units, err := c.money.Minor()
			if c.err != "" {
				require.EqualError(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, units)
			require.Equal(t, c.money.String(), billing.FromMinor(units, c.money.Currency).String())
		})
	}
}

func TestRoundingIsHalfAwayFromZero(t *testing.T) {
	t.Parallel()
	for exact, want := range map[string]string{
		"0.005": "0.01", "0.0049999999999999999": "0", "0.015": "0.02", "0.025": "0.03", "2.675": "2.68",
		"-0.005": "-0.01", "-0.015": "-0.02", "-0.025": "-0.03", "-0.0049": "0", "0": "0", "1.994999": "1.99",
	} {
		require.Equal(t, dec(want).String(), billing.Round(dec(exact), "USD").String(), exact)
	}
	require.Equal(t, "3", billing.Round(dec("2.5"), "JPY").String())
	require.Equal(t, "-3", billing.Round(dec("-2.5"), "JPY").String())
	require.Equal(t, "0.001", billing.Round(dec("0.0005"), "KWD").String())
}

func TestRoundingAgreesWithIntegersForAnyAmount(t *testing.T) {
	property(t, func(t *rapid.T) {
		exact := decimal.New(rapid.Int64().Draw(t, "amount"), -rapid.Int32Range(0, 18).Draw(t, "places"))
		currency := rapid.SampledFrom([]billing.Currency{"USD", "JPY", "KWD"}).Draw(t, "currency")
		rounded := billing.Round(exact, currency)
		require.Equal(t, halfAwayFromZero(exact.Rat(), currency.Digits()), rounded.StringFixed(currency.Digits()))
		require.Equal(t, billing.Round(exact.Neg(), currency).String(), rounded.Neg().String(), "a credit is rounded as its charge")
	})
}

func TestCurrenciesHaveTheDigitsAndLimitsOfTheProvider(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		digits            int32
		smallest, largest string
	}{
		"usd": {2, "0.50 USD", "999999.99 USD"},
		"EUR": {2, "0.50 EUR", "999999.99 EUR"},
		"GBP": {2, "0.30 GBP", "999999.99 GBP"},
		"JPY": {0, "50 JPY", "99999999 JPY"},
		"KRW": {0, "500 KRW", "99999999 KRW"},
		"KWD": {3, "0.150 KWD", "99999.999 KWD"},
		"TND": {3, "1.550 TND", "99999.999 TND"},
	} {
		currency, err := billing.ParseCurrency(code)
		require.NoError(t, err)
		require.Equal(t, want.digits, currency.Digits(), code)
		require.Equal(t, want.smallest, currency.SmallestCharge().String())
		require.Equal(t, want.largest, currency.LargestCharge().String())
	}
	_, err := billing.ParseCurrency("XAU")
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.ErrorContains(t, err, `currency "XAU" is not one of AED, AUD, `)
}
