package billing

import "github.com/shopspring/decimal"

// RoundToCharge returns the line that brings an invoice's total to what the
// provider can collect, and false where it is that already: of a currency with
// three decimal places it takes only amounts whose last digit is 0. Rounded half
// away from zero, so every mille is explained by a line.
func RoundToCharge(total Money, period string) (Line, bool) {
	difference := Money{total.Amount.Round(total.Currency.ChargeDigits()).Sub(total.Amount), total.Currency}
	if difference.Amount.IsZero() {
		return Line{}, false
	}
	return Line{
		Key: "rounding", Kind: KindAdjustment, Description: "Rounding to the smallest amount that can be collected",
		Quantity: decimal.NewFromInt(1), UnitPrice: difference, Per: 1, Exact: difference, Amount: difference, PeriodOfOrigin: period,
	}, true
}

// roundItems brings each item to what the provider takes, so that they still add
// up to the total. The rounding of the total goes into them.
func roundItems(items []ProviderItem) []ProviderItem {
	if len(items) == 0 || items[0].Amount.Currency.Digits() == items[0].Amount.Currency.ChargeDigits() {
		return items
	}
	total := decimal.Zero
	var rounded []ProviderItem
	var exact []decimal.Decimal
	for _, item := range items {
		total = total.Add(item.Amount.Amount)
		if item.Key != "rounding" && item.Key != string(KindAdjustment) {
			item.Number = len(rounded) + 1
			rounded, exact = append(rounded, item), append(exact, item.Amount.Amount)
		}
	}
	for i, amount := range share(total, exact, items[0].Amount.Currency.ChargeDigits()) {
		rounded[i].Amount.Amount = amount
	}
	return rounded
}
