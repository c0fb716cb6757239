package billing

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// InvoiceStatus is where an invoice stands.
type InvoiceStatus string

// The states of an invoice. Draft and parked ones are computed and not yet
// stored; every other is final in its lines.
const (
	StatusDraft      InvoiceStatus = "draft"       // the period is over, the draft window runs
	StatusParked     InvoiceStatus = "parked"      // held back for a person, with a reason
	StatusOpen       InvoiceStatus = "open"        // to be paid, dunning included
	StatusPastDue    InvoiceStatus = "past_due"    // the last attempt or the due date passed; waits for a person
	StatusPaid       InvoiceStatus = "paid"        // settled in money
	StatusCarried    InvoiceStatus = "carried"     // too small or negative: on the next invoice instead
	StatusSettled    InvoiceStatus = "settled"     // nothing to pay
	StatusVoid       InvoiceStatus = "void"        // withdrawn
	StatusWrittenOff InvoiceStatus = "written_off" // given up by a person
)

// LineKind is what a charge line charges for.
type LineKind string

// The kinds of charge lines, in invoice order.
const (
	KindSeat           LineKind = "seat"
	KindSurcharge      LineKind = "surcharge"
	KindUsage          LineKind = "usage"
	KindDiscount       LineKind = "discount"
	KindCarriedForward LineKind = "carried_forward"
	KindCredit         LineKind = "credit"     // a credit of the organisation that is used up here
	KindAdjustment     LineKind = "adjustment" // rounding to what can be charged
)

// Invoice is the bill of one period, in arrears.
type Invoice struct {
	ID              string        `json:"id"` // ORG/PERIOD, and /REVISION from the second on
	Number          string        `json:"number"`
	Organization    string        `json:"organization"`
	PeriodID        string        `json:"period"`
	Revision        int           `json:"revision"`
	PeriodStart     time.Time     `json:"period_start"`
	PeriodEnd       time.Time     `json:"period_end"`
	Status          InvoiceStatus `json:"status"`
	ParkedReason    string        `json:"parked_reason"`
	Currency        Currency      `json:"currency"`
	Subtotal        Money         `json:"subtotal"` // seats, surcharges and usage, at list price
	Discount        Money         `json:"discount"` // the negotiated one, below zero
	Net             Money         `json:"net"`      // subtotal and discount
	Total           Money         `json:"total"`    // with what was carried forward
	AmountDue       Money         `json:"amount_due"`
	AmountPaid      Money         `json:"amount_paid"`
	DueAt           *time.Time    `json:"due_at"`   // a sent one is past due from then on: the end of its due date
	DueDate         *string       `json:"due_date"` // the last local date on which it can be paid in time, as 2026-10-31
	FinalizedAt     *time.Time    `json:"finalized_at"`
	PastDueAt       *time.Time    `json:"past_due_at"` // when it first was
	StripeInvoiceID string        `json:"stripe_invoice_id"`
	HostedURL       string        `json:"hosted_invoice_url"` // where it can be paid; "" = nowhere
	ContentHash     string        `json:"content_hash"`       // of an issued one, see ContentHash
	CreditNotes     []CreditNote  `json:"credit_notes,omitempty"`

	Collection       string    `json:"collection,omitempty"`        // ChargeAutomatically or SendInvoice; "" = not issued
	CollectionReason string    `json:"collection_reason,omitempty"` // why it is not collected as the contract says
	Refunds          []Refund  `json:"refunds,omitempty"`           // at the provider; the invoice stays paid
	Disputes         []Dispute `json:"disputes,omitempty"`

	ToRefund *Money `json:"to_refund,omitempty"` // came in and belongs to nothing; it is refunded at the provider

	Parts []InvoicePart `json:"parts,omitempty"` // by which it is charged, if it is split

	Lines []Line `json:"lines"`
}

// InvoiceID returns the id of a period's invoice: ORG/PERIOD, and /REVISION from
// the second on.
func InvoiceID(organization, period string, revision int) string {
	id := organization + "/" + period
	if revision > 1 {
		id += "/" + strconv.Itoa(revision)
	}
	return id
}

// ParseInvoiceID takes an invoice's id apart.
func ParseInvoiceID(id string) (organization, period string, revision int, err error) {
	parts := strings.Split(id, "/")
	revision = 1
	if len(parts) == 3 {
		if revision, err = strconv.Atoi(parts[2]); err != nil || revision < 2 {
			return "", "", 0, NotFound("invoice %q does not exist; an id is ORG/PERIOD, like acme/2026-10-01", id)
		}
	}
	if len(parts) < 2 || len(parts) > 3 {
		return "", "", 0, NotFound("invoice %q does not exist; an id is ORG/PERIOD, like acme/2026-10-01", id)
	}
	return parts[0], parts[1], revision, nil
}

// AddUp sets the sums of an invoice from its lines.
func (i *Invoice) AddUp() {
	sum := func(kinds ...LineKind) Money { return Money{Add(i.Lines, kinds...), i.Currency} }
	i.Subtotal, i.Discount, i.Total = sum(Charges()...), sum(KindDiscount), sum()
	i.Net = Money{i.Subtotal.Amount.Add(i.Discount.Amount), i.Currency}
}

// Line is one charge line. Its amount is its exact amount rounded once, half
// away from zero, to the currency's smallest unit; nothing else is rounded.
type Line struct {
	Key            string          `json:"key"` // stable: computing again replaces, never adds
	Kind           LineKind        `json:"kind"`
	Description    string          `json:"description"`
	Product        string          `json:"product,omitempty"`
	Model          string          `json:"model,omitempty"`
	TokenClass     string          `json:"token_class,omitempty"`
	Quantity       decimal.Decimal `json:"-"` // seat-days, tokens or requests
	UnitPrice      Money           `json:"unit_price"`
	Per            int64           `json:"per"` // quantity × unit_price ÷ per = exact_amount
	Exact          Money           `json:"exact_amount"`
	Amount         Money           `json:"amount"`
	PeriodOfOrigin string          `json:"period_of_origin"`
	Members        []Allocation    `json:"members,omitempty"`
}

// Allocation is one user's part of a charge line; the parts' amounts add up to
// the line's. User is "" for what no member used.
type Allocation struct {
	User     string          `json:"user"`
	Quantity decimal.Decimal `json:"-"`
	Exact    Money           `json:"exact_amount"`
	Amount   Money           `json:"amount"`
}

// Carried is an earlier invoice that was not collected and goes onto this one.
type Carried struct {
	InvoiceID string
	Number    string
	Amount    decimal.Decimal
}

// Add returns the sum of the lines' amounts of the given kinds; of all where
// none is given.
func Add(lines []Line, kinds ...LineKind) decimal.Decimal {
	sum := decimal.Zero
	for i := range lines {
		if len(kinds) == 0 || slices.Contains(kinds, lines[i].Kind) {
			sum = sum.Add(lines[i].Amount.Amount)
		}
	}
	return sum
}

// Outcome decides what becomes of an invoice by its total: nothing to pay is
// settled here; a credit, or less than the provider can charge, is carried to
// the next invoice; more than it can charge at once is parked for a person,
// with the reason; everything else is open.
func Outcome(total Money) (status InvoiceStatus, parkedReason string) {
	switch {
	case total.Amount.IsZero():
		return StatusSettled, ""
	case total.Amount.LessThan(total.Currency.SmallestCharge().Amount):
		return StatusCarried, ""
	case total.Amount.GreaterThan(total.Currency.LargestCharge().Amount):
		return StatusParked, "total " + total.String() + " is above the largest charge of " + total.Currency.LargestCharge().String()
	default:
		return StatusOpen, ""
	}
}
