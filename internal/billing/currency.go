package billing

import (
	"slices"
	"strings"
)

// Currency is an ISO 4217 code in upper case.
type Currency string

// currencyFacts are what the payment provider publishes for each currency: how
// many decimal places its smallest unit has, and the smallest amount that can
// be charged, in that unit.
type currencyFacts struct {
	digits         int32
	smallestCharge int64
}

// chargeDigits is how fine amounts may be that are collected: of a currency with
// three decimal places the provider takes only amounts whose last digit is 0.
const chargeDigits = 2

var currencies = map[Currency]currencyFacts{
	"USD": {2, 50}, "EUR": {2, 50}, "GBP": {2, 30}, "CAD": {2, 50}, "AUD": {2, 50},
	"CHF": {2, 50}, "DKK": {2, 250}, "NOK": {2, 300}, "SEK": {2, 300}, "NZD": {2, 50},
	"SGD": {2, 50}, "HKD": {2, 400}, "BRL": {2, 50}, "INR": {2, 50}, "MXN": {2, 1000},
	"PLN": {2, 200}, "CZK": {2, 1500}, "AED": {2, 200}, "RON": {2, 200}, "JPY": {0, 50},
	"KRW": {0, 500}, "KWD": {3, 150}, "BHD": {3, 190}, "JOD": {3, 360}, "TND": {3, 1550},
}

// LargestCharge is the most that the provider takes in one payment, in the
// currency's smallest unit.
const LargestCharge = 99_999_999

// ParseCurrency returns the currency named by s in any case.
func ParseCurrency(s string) (Currency, error) {
	c := Currency(strings.ToUpper(s))
	if _, known := currencies[c]; !known {
		return "", Invalid("currency %q is not one of %s", s, knownCurrencies())
	}
	return c, nil
}

// Digits is the number of decimal places of the currency's smallest unit; two
// for a currency that is not known.
func (c Currency) Digits() int32 {
	if facts, known := currencies[c]; known {
		return facts.digits
	}
	return 2
}

// ChargeDigits is the number of decimal places of what can be collected: those of
// the smallest unit, as far as the provider takes them. Charge lines are as fine as
// the currency; where that is finer, the total is rounded, see RoundToCharge.
func (c Currency) ChargeDigits() int32 { return min(c.Digits(), chargeDigits) }

// SmallestCharge is the least that the provider charges in this currency.
func (c Currency) SmallestCharge() Money { return FromMinor(currencies[c].smallestCharge, c) }

// LargestCharge is the most that the provider charges at once in this currency.
func (c Currency) LargestCharge() Money { return FromMinor(LargestCharge, c) }

func knownCurrencies() string {
	names := make([]string, 0, len(currencies))
	for c := range currencies {
		names = append(names, string(c))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
