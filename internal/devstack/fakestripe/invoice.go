package fakestripe

const (
	hour = 60 * 60
	day  = 24 * hour
)

type invoice struct {
	ID                           string            `json:"id"`
	Object                       string            `json:"object"`
	AccountCountry               string            `json:"account_country"`
	AccountName                  string            `json:"account_name"`
	AmountDue                    int64             `json:"amount_due"`
	AmountPaid                   int64             `json:"amount_paid"`
	AmountRemaining              int64             `json:"amount_remaining"`
	AmountShipping               int64             `json:"amount_shipping"`
	AttemptCount                 int64             `json:"attempt_count"`
	Attempted                    bool              `json:"attempted"`
	AutoAdvance                  bool              `json:"auto_advance"`
	BillingReason                string            `json:"billing_reason"`
	Charge                       text              `json:"charge"`
	CollectionMethod             string            `json:"collection_method"`
	Created                      instant           `json:"created"`
	Currency                     string            `json:"currency"`
	Customer                     string            `json:"customer"`
	CustomerEmail                text              `json:"customer_email"`
	CustomerName                 text              `json:"customer_name"`
	DefaultPaymentMethod         text              `json:"default_payment_method"`
	Description                  text              `json:"description"`
	DueDate                      instant           `json:"due_date"`
	EffectiveAt                  instant           `json:"effective_at"`
	EndingBalance                *int64            `json:"ending_balance"`
	Footer                       text              `json:"footer"`
	HostedInvoiceURL             text              `json:"hosted_invoice_url"`
	InvoicePDF                   text              `json:"invoice_pdf"`
	Lines                        *lineList         `json:"lines,omitempty"`
	Livemode                     bool              `json:"livemode"`
	Metadata                     map[string]string `json:"metadata"`
	NextPaymentAttempt           instant           `json:"next_payment_attempt"`
	Number                       text              `json:"number"`
	Paid                         bool              `json:"paid"`
	PaidOutOfBand                bool              `json:"paid_out_of_band"`
	PaymentIntent                text              `json:"payment_intent"`
	PeriodEnd                    instant           `json:"period_end"`
	PeriodStart                  instant           `json:"period_start"`
	PostPaymentCreditNotesAmount int64             `json:"post_payment_credit_notes_amount"`
	PrePaymentCreditNotesAmount  int64             `json:"pre_payment_credit_notes_amount"`
	ReceiptNumber                text              `json:"receipt_number"`
	StartingBalance              int64             `json:"starting_balance"`
	StatementDescriptor          text              `json:"statement_descriptor"`
	Status                       string            `json:"status"`
	StatusTransitions            transitions       `json:"status_transitions"`
	Subtotal                     int64             `json:"subtotal"`
	SubtotalExcludingTax         int64             `json:"subtotal_excluding_tax"`
	Tax                          *int64            `json:"tax"`
	TestClock                    text              `json:"test_clock"`
	Total                        int64             `json:"total"`
	TotalExcludingTax            int64             `json:"total_excluding_tax"`
	WebhooksDeliveredAt          instant           `json:"webhooks_delivered_at"`
}

type transitions struct {
	FinalizedAt           instant `json:"finalized_at"`
	MarkedUncollectibleAt instant `json:"marked_uncollectible_at"`
	PaidAt                instant `json:"paid_at"`
	VoidedAt              instant `json:"voided_at"`
}

// lineList is the page of lines inside an invoice.
type lineList struct {
	list
	TotalCount int `json:"total_count"`
}

func (i *invoice) kind() string  { return "invoice" }
func (i *invoice) key() string   { return i.ID }
func (i *invoice) owner() string { return i.Customer }

// advancing reports whether Stripe moves the invoice on by itself.
func (i *invoice) advancing() bool {
	return i.AutoAdvance && (i.Status == "draft" || (i.Status == "open" && i.NextPaymentAttempt != 0))
}

// schedule sets when Stripe by itself would charge, an hour after from.
func (i *invoice) schedule(from instant) {
	i.NextPaymentAttempt = 0
	if i.AutoAdvance && i.CollectionMethod == "charge_automatically" {
		i.NextPaymentAttempt = from + hour
	}
}

// total adds the lines up and, while the invoice is a draft, works out what
// would be due with the customer's balance as it is.
func (t *tx) total(inv *invoice) {
	inv.Subtotal = 0
	for _, item := range t.lines[inv.ID] {
		inv.Subtotal += item.Amount
	}
	inv.Total, inv.SubtotalExcludingTax, inv.TotalExcludingTax = inv.Subtotal, inv.Subtotal, inv.Subtotal
	inv.StartingBalance = t.balanceFor(inv)
	inv.AmountDue = max(0, inv.Total+inv.StartingBalance)
	inv.AmountRemaining = inv.AmountDue
}

// balanceFor is the customer's balance, which counts in its own currency only.
func (t *tx) balanceFor(inv *invoice) int64 {
	if c, ok := t.customers.get(inv.Customer); ok && string(c.Currency) == inv.Currency {
		return c.Balance
	}
	return 0
}

// showInvoice is the invoice with the first page of its lines.
func (t *tx) showInvoice(inv *invoice) *invoice {
	if inv.Status == "draft" {
		t.total(inv)
	}
	lines := t.lines[inv.ID]
	shown := *inv
	url := "/v1/invoices/" + inv.ID + "/lines"
	first := lines[:min(len(lines), pageDefault)]
	shown.Lines = &lineList{*envelope(t, url, asLines(first), len(lines) > len(first)), len(lines)}
	return &shown
}

func (t *tx) invoice(r *request, param string) (*invoice, *apiError) {
	return t.invoiceByID(r.id(), param, missing)
}

func (t *tx) invoiceByID(id, param string, status func(_, _, _ string) *apiError) (*invoice, *apiError) {
	if inv, ok := t.invoices.get(id); ok {
		return inv, nil
	}
	return nil, status("invoice", id, param)
}

// change keeps the invoice and tells what happened to it.
func (t *tx) change(inv *invoice, eventTypes ...string) {
	t.put(inv)
	for _, eventType := range eventTypes {
		t.emit(eventType, inv)
	}
}
