package fakestripe

import (
	"fmt"
	"strconv"
)

type creditNote struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Amount          int64             `json:"amount"`
	Created         instant           `json:"created"`
	Currency        string            `json:"currency"`
	Customer        string            `json:"customer"`
	Invoice         string            `json:"invoice"`
	Lines           list              `json:"lines"`
	Livemode        bool              `json:"livemode"`
	Memo            text              `json:"memo"`
	Metadata        map[string]string `json:"metadata"`
	Number          string            `json:"number"`
	OutOfBandAmount *int64            `json:"out_of_band_amount"`
	PDF             string            `json:"pdf"`
	Reason          text              `json:"reason"`
	Refund          text              `json:"refund"`
	Status          string            `json:"status"`
	Subtotal        int64             `json:"subtotal"`
	Total           int64             `json:"total"`
	Type            string            `json:"type"`
	VoidedAt        instant           `json:"voided_at"`
}

type creditNoteLine struct {
	ID                string `json:"id"`
	Object            string `json:"object"`
	Amount            int64  `json:"amount"`
	Description       text   `json:"description"`
	InvoiceLineItem   text   `json:"invoice_line_item,omitempty"`
	Livemode          bool   `json:"livemode"`
	Quantity          int64  `json:"quantity"`
	Type              string `json:"type"`
	UnitAmount        int64  `json:"unit_amount"`
	UnitAmountDecimal string `json:"unit_amount_decimal"`
}

func (c *creditNote) kind() string  { return "credit_note" }
func (c *creditNote) key() string   { return c.ID }
func (c *creditNote) owner() string { return c.Customer }

func creditNoteRoutes() []route {
	create := fields{
		"invoice": required(anyText()), "amount": amount(), "memo": clearable(anyText()),
		"reason":        oneOf("duplicate", "fraudulent", "order_change", "product_unsatisfactory"),
		"refund_amount": amount(), "credit_amount": amount(), "out_of_band_amount": amount(),
		"lines[][type]":              oneOf("invoice_line_item", "custom_line_item"),
		"lines[][invoice_line_item]": anyText(), "lines[][amount]": amount(), "lines[][quantity]": integer(),
		"lines[][description]": anyText(), "lines[][unit_amount]": amount(),
	}
	filter := fields{"invoice": anyText(), "customer": anyText()}.with(rangeFields("created")).with(pageFields())
	return []route{
		post("/v1/credit_notes", createNote, create.with(metadataFields())),
		get("/v1/credit_notes", listNotes, filter),
		get("/v1/credit_notes/{id}", retrieveNote, fields{}),
		post("/v1/credit_notes/{id}/void", voidNote, fields{}),
	}
}

// createNote reduces what an open invoice asks for, or gives back what a paid
// one has taken: to the card, to the customer's balance or elsewhere.
func createNote(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoiceByID(r.text("invoice"), "invoice", badReference)
	if err != nil {
		return nil, err
	}
	lines, total, err := t.noteLines(inv, r)
	if err != nil {
		return nil, err
	}
	metadata, err := mergeMetadata(nil, r.params)
	if err != nil {
		return nil, err
	}
	if err := t.mayCredit(inv, total); err != nil {
		return nil, err
	}
	note := t.newNote(inv, r, total)
	note.Metadata = metadata
	note.Lines = *envelope(t, "/v1/credit_notes/"+note.ID+"/lines", lines, false)
	if inv.Status == "paid" {
		err = t.giveBack(inv, note, r)
	} else {
		err = t.reduce(inv, note, r)
	}
	if err != nil {
		return nil, err
	}
	t.put(note)
	t.emit("credit_note.created", note)
	return note, nil
}

func (t *tx) newNote(inv *invoice, r *request, total int64) *creditNote {
	count := 1
	for _, other := range t.notes.newest(inv.Customer) {
		if other.Invoice == inv.ID {
			count++
		}
	}
	id := newID("cn")
	return &creditNote{
		ID: id, Object: "credit_note", Amount: total, Created: t.now(inv.Customer), Currency: inv.Currency,
		Customer: inv.Customer, Invoice: inv.ID, Memo: text(r.text("memo")),
		Number: fmt.Sprintf("%s-CN-%02d", inv.Number, count), Reason: text(r.text("reason")), Status: "issued",
		PDF: "https://pay.stripe.com/credit_notes/" + accountID + "/test_" + id + "/pdf", Subtotal: total, Total: total,
	}
}

// noteLines reads amount or lines, of which exactly one must be sent.
func (t *tx) noteLines(inv *invoice, r *request) (lines []*creditNoteLine, total int64, err *apiError) {
	if r.has("amount") == r.under("lines") {
		return nil, 0, invalid("amount", "parameter_missing", "You must pass either amount or lines.")
	}
	total = r.integer("amount")
	err = r.each("lines", func(p params, at string) *apiError {
		line, err := t.noteLine(inv, p, at)
		if err != nil {
			return err
		}
		lines = append(lines, line)
		total += line.Amount
		return nil
	})
	if err == nil && total < 1 {
		err = invalid("amount", "parameter_invalid_integer", "Invalid positive integer")
	}
	return lines, total, err
}

func (t *tx) noteLine(inv *invoice, p params, at string) (*creditNoteLine, *apiError) {
	line := &creditNoteLine{
		ID: newID("cnli"), Object: "credit_note_line_item", Type: p.text("type"), Quantity: max(1, p.integer("quantity")),
		Description: text(p.text("description")), UnitAmount: p.integer("unit_amount"),
	}
	if line.Type == "invoice_line_item" {
		item := t.lineOf(inv, p.text("invoice_line_item"))
		if item == nil {
			return nil, badReference("invoice line item", p.text("invoice_line_item"), at+"[invoice_line_item]")
		}
		line.InvoiceLineItem, line.Description = text(item.private.Line), item.Description
		line.UnitAmount = item.UnitAmount
		if !p.has("quantity") && !p.has("amount") {
			line.Quantity = item.Quantity
		}
	}
	line.Amount = line.UnitAmount * line.Quantity
	if p.has("amount") {
		line.Amount, line.UnitAmount, line.Quantity = p.integer("amount"), p.integer("amount"), 1
	}
	line.UnitAmountDecimal = strconv.FormatInt(line.UnitAmount, 10)
	return line, nil
}

func (t *tx) lineOf(inv *invoice, id string) *invoiceItem {
	for _, item := range t.lines[inv.ID] {
		if item.private.Line == id {
			return item
		}
	}
	return nil
}

func (t *tx) mayCredit(inv *invoice, total int64) *apiError {
	if inv.Status != "open" && inv.Status != "paid" {
		return refused("", "You can only create a credit note for an open or a paid invoice; %s is %s.", inv.ID, inv.Status)
	}
	left := inv.Total - inv.PrePaymentCreditNotesAmount - inv.PostPaymentCreditNotesAmount
	if inv.Status == "open" {
		left = inv.AmountRemaining
	}
	if total > left {
		return refused("", "The sum of credit notes (%d) is greater than what is left to credit on the invoice (%d).", total, left)
	}
	if t.processing(inv) {
		return underWay()
	}
	return nil
}

// reduce credits an open invoice before it is paid.
func (t *tx) reduce(inv *invoice, note *creditNote, r *request) *apiError {
	for _, name := range []string{"refund_amount", "credit_amount", "out_of_band_amount"} {
		if r.integer(name) != 0 {
			return invalid(name, "", "%s cannot be given for an invoice that is not paid.", name)
		}
	}
	note.Type = "pre_payment"
	inv.PrePaymentCreditNotesAmount += note.Total
	inv.AmountDue -= note.Total
	inv.AmountRemaining -= note.Total
	if p, ok := t.intents.get(string(inv.PaymentIntent)); ok && inv.AmountRemaining == 0 && inv.partlyFunded() {
		t.fundedWhole(inv, p, note.Created)
		return nil
	}
	if inv.AmountRemaining == 0 {
		t.cancelIntent(inv, note.Created, "automatic")
		t.settled(inv, note.Created, "invoice.updated", "invoice.paid")
		return nil
	}
	if p, ok := t.intents.get(string(inv.PaymentIntent)); ok {
		p.Amount = inv.AmountDue
		t.put(p)
	}
	t.change(inv, "invoice.updated")
	return nil
}

// giveBack credits a paid invoice.
func (t *tx) giveBack(inv *invoice, note *creditNote, r *request) *apiError {
	toCard, toBalance, elsewhere := r.integer("refund_amount"), r.integer("credit_amount"), r.integer("out_of_band_amount")
	if toCard+toBalance+elsewhere != note.Total || min(toCard, toBalance, elsewhere) < 0 {
		return invalid("", "", "The sum of refund_amount, credit_amount and out_of_band_amount must equal the "+
			"credit note amount of %d for a paid invoice.", note.Total)
	}
	c, charged := t.charges.get(string(inv.Charge))
	if toCard > 0 && (!charged || c.Status != "succeeded" || toCard > c.Amount-c.AmountRefunded) {
		return refused("", "The refund_amount is greater than what was charged and not yet refunded.")
	}
	if toCard > 0 && t.chargedBack(c) {
		return refused("charge_disputed", "Charge %s has been charged back; cannot issue a refund.", c.ID)
	}
	if toCard > 0 {
		note.Refund = text(t.refund(c, toCard, "").ID)
	}
	if owner, ok := t.customers.get(inv.Customer); ok && toBalance > 0 {
		owner.Balance -= toBalance
		t.put(owner)
		t.emit("customer.updated", owner)
	}
	if elsewhere > 0 {
		note.OutOfBandAmount = &elsewhere
	}
	note.Type = "post_payment"
	inv.PostPaymentCreditNotesAmount += note.Total
	t.change(inv, "invoice.updated")
	return nil
}

// voidNote takes back a note that lowered an invoice which is still open.
func voidNote(t *tx, r *request) (any, *apiError) {
	note, ok := t.notes.get(r.id())
	if !ok {
		return nil, missing("credit note", r.id(), "id")
	}
	inv, ok := t.invoices.get(note.Invoice)
	if !ok || note.Status == "void" || note.Type != "pre_payment" || inv.Status != "open" || t.processing(inv) {
		return nil, refused("", "You can only void credit notes that were issued for invoices that are still open.")
	}
	note.Status, note.VoidedAt = "void", t.now(inv.Customer)
	t.put(note)
	inv.PrePaymentCreditNotesAmount -= note.Total
	inv.AmountDue += note.Total
	inv.AmountRemaining += note.Total
	if p, ok := t.intents.get(string(inv.PaymentIntent)); ok {
		p.Amount = inv.AmountDue
		t.put(p)
	}
	t.emit("credit_note.voided", note)
	t.change(inv, "invoice.updated")
	return note, nil
}

func listNotes(t *tx, r *request) (any, *apiError) {
	customer := r.text("customer")
	if inv, ok := t.invoices.get(r.text("invoice")); ok && customer == "" {
		customer = inv.Customer // spares the search through everybody's
	}
	return where(t, r, t.notes, customer, func(note *creditNote) bool {
		return (!r.has("invoice") || note.Invoice == r.text("invoice")) && r.inRange("created", note.Created)
	})
}

func retrieveNote(t *tx, r *request) (any, *apiError) {
	if note, ok := t.notes.get(r.id()); ok {
		return note, nil
	}
	return nil, missing("credit note", r.id(), "id")
}

func (l *creditNoteLine) kind() string  { return "credit_note_line_item" }
func (l *creditNoteLine) key() string   { return l.ID }
func (l *creditNoteLine) owner() string { return "" }
