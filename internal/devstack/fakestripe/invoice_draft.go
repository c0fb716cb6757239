package fakestripe

import (
	"slices"
	"strings"
)

func invoiceRoutes() []route {
	const one = "/v1/invoices/{id}"
	pay := fields{
		"off_session": flag(), "payment_method": anyText(), "paid_out_of_band": flag(), "forgive": flag(),
	}
	filter := fields{
		"customer": anyText(), "collection_method": collectionMethods(),
		"status": oneOf("draft", "open", "void", "paid", "uncollectible"),
	}.with(rangeFields("created")).with(rangeFields("due_date")).with(pageFields())
	search := fields{"query": required(anyText()), "limit": integer(), "page": anyText()}
	found := get("/v1/invoices/search", searchInvoices, search)
	found.search = true
	return []route{
		post("/v1/invoices", createInvoice, draftFields().with(fields{
			"customer": required(anyText()), "currency": currency(),
			"pending_invoice_items_behavior": oneOf("include", "exclude"),
		})),
		get("/v1/invoices", listInvoices, filter),
		found,
		get(one, retrieveInvoice, fields{}),
		post(one, updateInvoice, draftFields()),
		del(one, deleteInvoice),
		get(one+"/lines", listLines, pageFields()),
		post(one+"/finalize", finalizeInvoice, fields{"auto_advance": flag()}),
		post(one+"/pay", payInvoice, pay),
		post(one+"/void", voidInvoice, fields{}),
		post(one+"/mark_uncollectible", markUncollectible, fields{}),
		post(one+"/send", sendInvoice, fields{}),
	}
}

func collectionMethods() field { return oneOf("charge_automatically", "send_invoice") }

func draftFields() fields {
	return fields{
		"auto_advance": flag(), "collection_method": collectionMethods(), "days_until_due": integer(),
		"due_date": integer(), "default_payment_method": clearable(anyText()), "description": clearable(anyText()),
		"footer": clearable(anyText()), "number": limited(26), "statement_descriptor": clearable(limited(22)),
	}.with(metadataFields())
}

func lower(s string) string { return strings.ToLower(s) }

func createInvoice(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.text("customer"), "customer", badReference)
	if err != nil {
		return nil, err
	}
	now := t.now(c.ID)
	inv := &invoice{
		ID: newID("in"), Object: "invoice", AccountCountry: "US", AccountName: "Local Stripe",
		BillingReason: "manual", CollectionMethod: "charge_automatically", Created: now, Customer: c.ID,
		CustomerEmail: c.Email, CustomerName: c.Name, PeriodStart: now, PeriodEnd: now, Status: "draft",
		StartingBalance: c.Balance, TestClock: c.TestClock, WebhooksDeliveredAt: now,
		Footer: c.InvoiceSettings.Footer,
	}
	if err := t.setDraft(inv, r.params); err != nil {
		return nil, err
	}
	var pending []*invoiceItem
	if r.text("pending_invoice_items_behavior") == "include" {
		pending = t.pendingItems(c)
	}
	inv.Currency = firstOf(lower(r.text("currency")), currencyOf(pending), string(c.Currency), "usd")
	pending = slices.DeleteFunc(pending, func(item *invoiceItem) bool { return item.Currency != inv.Currency })
	for _, item := range pending[:min(len(pending), invoiceItems)] {
		t.addLine(inv, item)
		t.put(item)
	}
	t.adopt(c, inv.Currency)
	t.change(inv, "invoice.created")
	return inv, nil
}

// pendingItems are the customer's items that are on no invoice, newest first.
func (t *tx) pendingItems(c *customer) []*invoiceItem {
	var pending []*invoiceItem
	for _, item := range t.items.newest(c.ID) {
		if item.Invoice == "" {
			pending = append(pending, item)
		}
	}
	return pending
}

func currencyOf(items []*invoiceItem) string {
	if len(items) == 0 {
		return ""
	}
	return items[0].Currency
}

func firstOf(candidates ...string) string {
	for _, one := range candidates {
		if one != "" {
			return one
		}
	}
	return ""
}

// adopt gives the customer the currency of the first thing that is billed.
func (t *tx) adopt(c *customer, currency string) {
	if c.Currency == "" {
		c.Currency = text(currency)
		t.put(c)
	}
}

// setDraft takes over what can be said about a draft, all of it or nothing.
func (t *tx) setDraft(inv *invoice, p params) *apiError {
	next := *inv
	metadata, err := mergeMetadata(inv.Metadata, p)
	if err != nil {
		return err
	}
	next.Metadata = metadata
	for name, to := range map[string]*text{
		"default_payment_method": &next.DefaultPaymentMethod, "description": &next.Description,
		"footer": &next.Footer, "number": &next.Number, "statement_descriptor": &next.StatementDescriptor,
	} {
		if p.has(name) {
			*to = text(p.text(name))
		}
	}
	if err := t.mustOwn(inv.Customer, p.text("default_payment_method"), "default_payment_method"); err != nil {
		return err
	}
	if p.has("collection_method") {
		next.CollectionMethod = p.text("collection_method")
	}
	if err := t.setDue(&next, p); err != nil {
		return err
	}
	next.AutoAdvance = p.flagOr("auto_advance", inv.AutoAdvance)
	next.schedule(next.Created)
	*inv = next
	return nil
}

// setDue works out the due date, which only sent invoices have.
func (t *tx) setDue(inv *invoice, p params) *apiError {
	if p.has("days_until_due") && p.has("due_date") {
		return invalid("due_date", "parameters_exclusive",
			"You may only specify one of these parameters: days_until_due, due_date.")
	}
	if p.has("days_until_due") && p.integer("days_until_due") < 0 {
		return invalid("days_until_due", "parameter_invalid_integer", "Invalid non-negative integer")
	}
	now := t.now(inv.Customer)
	if c, ok := t.state.customers.get(inv.Customer); ok && c.Email == "" && inv.CollectionMethod == "send_invoice" {
		return invalid("", "", "Missing email. In order to create invoices that are sent to the customer, the customer must have a valid email.")
	}
	switch {
	case inv.CollectionMethod == "charge_automatically":
		if p.has("days_until_due") || p.has("due_date") {
			return invalid("", "", "You can only specify 'due_date' or 'days_until_due' if invoice collection method is 'send_invoice'.")
		}
		inv.DueDate = 0
	case p.has("days_until_due"):
		inv.DueDate = inv.Created + instant(p.integer("days_until_due"))*day
	case p.has("due_date"):
		if inv.DueDate = instant(p.integer("due_date")); inv.DueDate < now {
			return invalid("due_date", "", "The due date must be in the future.")
		}
	case inv.DueDate == 0:
		return invalid("", "", "If invoice collection method is 'send_invoice', you must specify 'due_date' or 'days_until_due'.")
	}
	return nil
}

func retrieveInvoice(t *tx, r *request) (any, *apiError) { return t.invoice(r, "invoice") }

// updateInvoice changes a draft; of a finalised invoice only the metadata.
func updateInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "id")
	if err != nil {
		return nil, err
	}
	if inv.Status == "draft" {
		err = t.setDraft(inv, r.params)
	} else {
		err = inv.annotate(r.params)
	}
	if err != nil {
		return nil, err
	}
	t.change(inv, "invoice.updated")
	return inv, nil
}

func (i *invoice) annotate(p params) *apiError {
	for name := range p.values {
		if _, isMetadata := metadataName(name); !isMetadata && name != "metadata" && !isExpand(name) {
			e := refused("", "Finalized invoices can't be updated in this way")
			e.Param = name
			return e
		}
	}
	metadata, err := mergeMetadata(i.Metadata, p)
	if err != nil {
		return err
	}
	i.Metadata = metadata
	return nil
}

func deleteInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "invoice")
	if err != nil {
		return nil, err
	}
	if inv.Status != "draft" {
		return nil, refused("", "You can only delete draft invoices.")
	}
	t.discard(inv)
	return deleted{ID: inv.ID, Object: inv.Object, Deleted: true}, nil
}

// discard deletes a draft. Its items go with it; they do not become pending.
func (t *tx) discard(inv *invoice) {
	t.emit("invoice.deleted", inv)
	for _, item := range t.lines[inv.ID] {
		t.drop(item)
	}
	delete(t.lines, inv.ID)
	t.drop(inv)
}

func listInvoices(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.invoices, r.text("customer"), func(inv *invoice) bool {
		return (!r.has("status") || inv.Status == r.text("status")) &&
			(!r.has("collection_method") || inv.CollectionMethod == r.text("collection_method")) &&
			r.inRange("created", inv.Created) && r.inRange("due_date", inv.DueDate)
	})
}
