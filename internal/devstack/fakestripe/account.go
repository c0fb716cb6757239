package fakestripe

import "encoding/json"

const accountID = "acct_local"

func accountRoutes() []route {
	return []route{
		get("/v1/account", func(*tx, *request) (any, *apiError) { return account(), nil }, fields{}),
		get("/v1/balance", balance, fields{}),
	}
}

func account() json.RawMessage {
	return json.RawMessage(`{"id":"` + accountID + `","object":"account","business_type":"company",` +
		`"charges_enabled":true,"country":"US","default_currency":"usd","details_submitted":true,` +
		`"email":"local@stripe.invalid","metadata":{},"payouts_enabled":true,"type":"standard"}`)
}

type amountOf struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// balance is what was collected, not refunded and not charged back, per currency; there are no
// fees and no payouts here.
func balance(t *tx, _ *request) (any, *apiError) {
	available, pending := map[string]int64{"usd": 0}, map[string]int64{"usd": 0}
	for _, c := range t.charges.newest("") {
		switch c.Status {
		case "succeeded":
			available[c.Currency] += c.Amount - c.AmountRefunded
		case "pending":
			pending[c.Currency] += c.Amount
		}
	}
	for _, d := range t.disputes.newest("") {
		if d.private.Withdrawn {
			available[d.Currency] -= d.Amount
		}
	}
	return map[string]any{
		"object": "balance", "livemode": false, "available": amounts(available), "pending": amounts(pending),
	}, nil
}

func amounts(by map[string]int64) []amountOf {
	all := []amountOf{}
	for code := range smallestCharges {
		if n, ok := by[code]; ok {
			all = append(all, amountOf{Amount: n, Currency: code})
		}
	}
	return all
}
