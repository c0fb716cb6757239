package fakestripe

import "strings"

// largestCharge is the most that one payment may move, in minor units.
const largestCharge = 99_999_999

// largestItem bounds a single invoice item, so that no sum overflows.
const largestItem = 999_999_999_999

// smallestCharges holds Stripe's minimum per currency of settlement, in minor
// units; a currency without an own minimum has 0 here.
var smallestCharges = map[string]int64{
	"usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
	"dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
	"myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
	"bhd": 0, "jod": 0, "kwd": 0, "omr": 0, "tnd": 0, "krw": 0, "vnd": 0, "clp": 0, "zar": 0,
	"ils": 0, "php": 0, "idr": 0, "twd": 0, "try": 0, "cop": 0, "ars": 0, "pen": 0, "sar": 0,
	"qar": 0, "ngn": 0, "kes": 0, "egp": 0, "mad": 0, "uah": 0, "isk": 0, "ugx": 0,
}

func checkCurrency(value string) (string, string) {
	if _, known := smallestCharges[strings.ToLower(value)]; !known {
		return "", "Invalid currency: " + value + ". Stripe currently supports these currencies: usd, eur, gbp, jpy, …"
	}
	return "", ""
}
