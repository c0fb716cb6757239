package billing

import (
	"fmt"

	"github.com/shopspring/decimal"
)

// InvoicePart is one of the charges by which an invoice above the provider's
// largest is collected. To the provider each is an invoice of its own.
type InvoicePart struct {
	Part            int    `json:"part"` // from 1
	Amount          Money  `json:"amount"`
	Status          string `json:"status"` // paid; collected = it is being; waits = for the parts before it
	StripeInvoiceID string `json:"stripe_invoice_id"`
}

// Split deals a total out to as few parts as can each be charged. They differ by
// one step of the provider's at most, so that none is below its smallest charge,
// and add up to the total, which must be in the provider's steps.
func Split(total Money) []Money {
	step := total.Currency.ChargeDigits()
	units := total.Amount.Shift(step).IntPart()
	largest := total.Currency.LargestCharge().Amount.Shift(step).IntPart()
	n := (units + largest - 1) / largest
	parts := make([]Money, n)
	for i := range parts {
		amount := units / n
		if int64(i) < units%n {
			amount++
		}
		parts[i] = Money{decimal.New(amount, -step), total.Currency}
	}
	return parts
}

// PartItems returns the one item of each part of an invoice: what it is made of
// stands on the invoice itself.
func PartItems(invoice *Invoice) []ProviderItem {
	parts := Split(invoice.Total)
	items := make([]ProviderItem, len(parts))
	for i, amount := range parts {
		items[i] = ProviderItem{
			Number: i + 1, Key: fmt.Sprintf("part/%d", i+1), Amount: amount,
			Description: fmt.Sprintf("Part %d of %d of the charges of %s", i+1, len(parts), invoice.PeriodID),
		}
	}
	return items
}
