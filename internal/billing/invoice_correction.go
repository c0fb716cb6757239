package billing

import "time"

// CorrectionKind is how an issued invoice is corrected.
type CorrectionKind string

// The corrections of an issued invoice, which itself never changes.
const (
	CorrectionVoid       CorrectionKind = "void"        // withdrawn; its period is billed anew
	CorrectionWriteOff   CorrectionKind = "write_off"   // given up
	CorrectionSettlement CorrectionKind = "settlement"  // paid otherwise than through the provider
	CorrectionCreditNote CorrectionKind = "credit_note" // less is owed, or something is owed back
)

// InvoiceCorrection is a correction as it is carried out at the provider. Tried tells
// that an earlier call may have got through without an answer.
type InvoiceCorrection struct {
	ID             int64
	Kind           CorrectionKind
	Amount         Money // of a settlement or a credit note
	Full           bool  // nothing is left to be paid after it
	Tried          bool
	Installation   string
	IdempotencyKey string
}

// ByCreditNote tells that the correction is a credit note at the provider: what
// remains to be paid falls, and the invoice stays open unless nothing remains.
// The provider knows no other way to lower it, so a partial payment made
// elsewhere is one, too.
func (c InvoiceCorrection) ByCreditNote() bool {
	return c.Kind == CorrectionCreditNote || c.Kind == CorrectionSettlement && !c.Full
}

// CorrectionResult is what came of carrying out a correction. Neither done nor
// refused is an invoice that turned out to be paid or ended otherwise before.
type CorrectionResult struct {
	Done     bool
	Refused  string // why the provider would not
	StripeID string // of the provider's credit note
	State    ProviderInvoiceState
}

// CreditNote is a credit note of an invoice.
type CreditNote struct {
	Number   string    `json:"number"`
	Amount   Money     `json:"amount"`
	Line     string    `json:"line"`      // the key of the charge line that it is about; "" = the invoice
	ToCredit bool      `json:"to_credit"` // the invoice was paid: the amount goes onto the next ones
	Reason   string    `json:"reason"`
	IssuedAt time.Time `json:"issued_at"`
}

// Credit is what is left of a credit note that is owed to the organisation.
type Credit struct {
	Number  string // of the credit note
	Invoice string // the number of the invoice that it credits
	Amount  Money
}
