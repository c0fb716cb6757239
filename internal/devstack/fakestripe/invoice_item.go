package fakestripe

import "strconv"

const invoiceItems = 250 // the most that Stripe takes on one invoice

type invoiceItem struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	Amount            int64             `json:"amount"`
	Currency          string            `json:"currency"`
	Customer          string            `json:"customer"`
	Date              instant           `json:"date"`
	Description       text              `json:"description"`
	Discountable      bool              `json:"discountable"`
	Invoice           text              `json:"invoice"`
	Livemode          bool              `json:"livemode"`
	Metadata          map[string]string `json:"metadata"`
	Period            period            `json:"period"`
	Proration         bool              `json:"proration"`
	Quantity          int64             `json:"quantity"`
	TestClock         text              `json:"test_clock"`
	UnitAmount        int64             `json:"unit_amount"`
	UnitAmountDecimal string            `json:"unit_amount_decimal"`

	private struct {
		Line  string // the id of its line
		Place int    // the place of its line
	}
}

func (i *invoiceItem) kind() string  { return "invoiceitem" }
func (i *invoiceItem) key() string   { return i.ID }
func (i *invoiceItem) owner() string { return i.Customer }
func (i *invoiceItem) hidden() any   { return &i.private }

func invoiceItemRoutes() []route {
	common := fields{
		"amount": amount(), "description": clearable(anyText()), "discountable": flag(), "quantity": integer(),
		"unit_amount": amount(), "period": clearable(field{}), "period[start]": integer(), "period[end]": integer(),
	}.with(metadataFields())
	create := common.with(fields{
		"customer": required(anyText()), "currency": currency(), "invoice": anyText(),
	})
	filter := fields{"customer": anyText(), "invoice": anyText(), "pending": flag()}
	return []route{
		post("/v1/invoiceitems", createItem, create),
		get("/v1/invoiceitems", listItems, filter.with(rangeFields("created")).with(pageFields())),
		get("/v1/invoiceitems/{id}", retrieveItem, fields{}),
		post("/v1/invoiceitems/{id}", updateItem, common),
		del("/v1/invoiceitems/{id}", deleteItem),
	}
}

func createItem(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.text("customer"), "customer", badReference)
	if err != nil {
		return nil, err
	}
	now := t.now(c.ID)
	item := &invoiceItem{
		ID: newID("ii"), Object: "invoiceitem", Currency: lower(r.text("currency")), Customer: c.ID, Date: now,
		Discountable: true, Period: period{Start: now, End: now}, Quantity: 1, TestClock: c.TestClock,
	}
	if !r.has("amount") && !r.has("unit_amount") {
		return nil, invalid("amount", "parameter_missing", "You must supply either `price`, `price_data`, `unit_amount`, or `amount`.")
	}
	if err := item.set(r.params); err != nil {
		return nil, err
	}
	var inv *invoice
	if r.has("invoice") {
		if inv, err = t.invoiceFor(r.text("invoice"), item); err != nil {
			return nil, err
		}
	}
	if item.Currency == "" {
		return nil, invalid("currency", "parameter_missing", "Missing required param: currency.")
	}
	if inv != nil {
		t.addLine(inv, item)
	}
	t.adopt(c, item.Currency)
	t.put(item)
	return item, nil
}

// invoiceFor returns the draft that takes the item, which takes its currency if
// it has none of its own.
func (t *tx) invoiceFor(id string, item *invoiceItem) (*invoice, *apiError) {
	inv, err := t.invoiceByID(id, "invoice", badReference)
	if err != nil {
		return nil, err
	}
	if item.Currency == "" {
		item.Currency = inv.Currency
	}
	switch {
	case inv.Customer != item.Customer:
		return nil, invalid("invoice", "", "The invoice %s does not belong to the customer %s.", id, item.Customer)
	case inv.Status != "draft":
		return nil, notEditable()
	case inv.Currency != item.Currency:
		return nil, invalid("currency", "", "The currency of the invoice item (%s) must be the currency of its invoice (%s).",
			item.Currency, inv.Currency)
	case len(t.lines[id]) >= invoiceItems:
		return nil, invalid("invoice", "", "An invoice can have at most %d invoice items.", invoiceItems)
	}
	return inv, nil
}

func notEditable() *apiError {
	return refused("invoice_not_editable", "Invalid invoice: This invoice is no longer editable")
}

// set takes over what creation and update have in common.
func (i *invoiceItem) set(p params) *apiError {
	metadata, err := mergeMetadata(i.Metadata, p)
	if err != nil {
		return err
	}
	next := *i
	if err := next.setAmount(p); err != nil {
		return err
	}
	if p.under("period") && p.text("period") == "" {
		if !p.has("period[start]") || !p.has("period[end]") {
			return invalid("period", "parameter_missing", "Missing required param: period[start] and period[end].")
		}
		next.Period = period{Start: instant(p.integer("period[start]")), End: instant(p.integer("period[end]"))}
		if next.Period.End < next.Period.Start {
			return invalid("period[end]", "", "The period's end must not be before its start.")
		}
	}
	next.Metadata = metadata
	if p.has("description") {
		next.Description = text(p.text("description"))
	}
	next.Discountable = p.flagOr("discountable", i.Discountable)
	*i = next
	return nil
}

func (i *invoiceItem) setAmount(p params) *apiError {
	if p.has("amount") && (p.has("unit_amount") || p.has("quantity")) {
		return invalid("amount", "parameters_exclusive",
			"You may only specify one of these parameters: amount, or unit_amount with quantity.")
	}
	switch {
	case p.has("amount"):
		i.Amount, i.UnitAmount, i.Quantity = p.integer("amount"), p.integer("amount"), 1
	case p.has("unit_amount") || p.has("quantity"):
		if p.has("unit_amount") {
			i.UnitAmount = p.integer("unit_amount")
		}
		if p.has("quantity") {
			i.Quantity = p.integer("quantity")
		}
		if i.Quantity < 0 || (i.Quantity > 0 && max(i.UnitAmount, -i.UnitAmount) > largestItem/i.Quantity) {
			return invalid("quantity", "parameter_invalid_integer", "Invalid integer: the amount has more than 12 digits")
		}
		i.Amount = i.UnitAmount * i.Quantity
	}
	i.UnitAmountDecimal = strconv.FormatInt(i.UnitAmount, 10)
	return nil
}

func (t *tx) item(r *request) (*invoiceItem, *apiError) {
	if item, ok := t.items.get(r.id()); ok {
		return item, nil
	}
	return nil, missing("invoiceitem", r.id(), "id")
}

func retrieveItem(t *tx, r *request) (any, *apiError) { return t.item(r) }

// editable returns the item unless it is on an invoice that cannot change.
func (t *tx) editable(r *request) (*invoiceItem, *apiError) {
	item, err := t.item(r)
	if err != nil {
		return nil, err
	}
	if item.Invoice != "" {
		if inv, ok := t.invoices.get(string(item.Invoice)); !ok || inv.Status != "draft" {
			return nil, refused("invoice_not_editable",
				"Can't change an invoice item that is attached to an invoice that is no longer editable")
		}
	}
	return item, nil
}

func updateItem(t *tx, r *request) (any, *apiError) {
	item, err := t.editable(r)
	if err != nil {
		return nil, err
	}
	if err := item.set(r.params); err != nil {
		return nil, err
	}
	t.put(item)
	return item, nil
}

func deleteItem(t *tx, r *request) (any, *apiError) {
	item, err := t.editable(r)
	if err != nil {
		return nil, err
	}
	t.removeLine(item)
	t.drop(item)
	return deleted{ID: item.ID, Object: item.Object, Deleted: true}, nil
}

func listItems(t *tx, r *request) (any, *apiError) {
	customer := r.text("customer")
	if inv, ok := t.invoices.get(r.text("invoice")); ok && customer == "" {
		customer = inv.Customer // spares the search through everybody's
	}
	return where(t, r, t.items, customer, func(item *invoiceItem) bool {
		return (!r.has("invoice") || item.Invoice == text(r.text("invoice"))) &&
			(!r.has("pending") || r.flag("pending") == (item.Invoice == "")) && r.inRange("created", item.Date)
	})
}
