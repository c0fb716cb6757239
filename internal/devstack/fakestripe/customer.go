package fakestripe

import (
	"strings"
)

type customer struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Balance             int64             `json:"balance"`
	Created             instant           `json:"created"`
	Currency            text              `json:"currency"`
	Delinquent          bool              `json:"delinquent"`
	Deleted             bool              `json:"deleted,omitempty"`
	Description         text              `json:"description"`
	Email               text              `json:"email"`
	InvoicePrefix       string            `json:"invoice_prefix"`
	InvoiceSettings     invoiceSettings   `json:"invoice_settings"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	Name                text              `json:"name"`
	NextInvoiceSequence int64             `json:"next_invoice_sequence"`
	Phone               text              `json:"phone"`
	TestClock           text              `json:"test_clock"`

	private struct {
		Cash map[string]int64 // what came by bank transfer and is not applied, by currency
	}
}

type invoiceSettings struct {
	DefaultPaymentMethod text `json:"default_payment_method"`
	Footer               text `json:"footer"`
}

func (c *customer) kind() string { return "customer" }
func (c *customer) key() string  { return c.ID }
func (c *customer) hidden() any  { return &c.private }

// owner is the clock, so that a clock's customers are found without a search.
func (c *customer) owner() string { return string(c.TestClock) }

func customerRoutes() []route {
	common := fields{
		"name": clearable(limited(256)), "email": clearable(limited(512)), "description": clearable(limited(5000)),
		"phone": clearable(limited(20)), "balance": amount(), "invoice_prefix": limited(12),
		"next_invoice_sequence":                    integer(),
		"invoice_settings[default_payment_method]": clearable(anyText()),
		"invoice_settings[footer]":                 clearable(anyText()),
	}.with(metadataFields())
	create := common.with(fields{"payment_method": anyText(), "test_clock": anyText()})
	filter := fields{"email": anyText(), "test_clock": anyText()}.with(rangeFields("created")).with(pageFields())
	return []route{
		post("/v1/customers", createCustomer, create),
		get("/v1/customers", listCustomers, filter),
		get("/v1/customers/{id}", retrieveCustomer, fields{}),
		post("/v1/customers/{id}", updateCustomer, common),
		del("/v1/customers/{id}", deleteCustomer),
		get("/v1/customers/{id}/payment_methods", listCustomerMethods, fields{"type": anyText()}.with(pageFields())),
	}
}

func createCustomer(t *tx, r *request) (any, *apiError) {
	c := &customer{
		ID: newID("cus"), Object: "customer", NextInvoiceSequence: 1,
		InvoicePrefix: string(appendRandom(nil, "0123456789ABCDEF", 8)),
	}
	if r.has("test_clock") {
		if err := t.joinClock(c, r.text("test_clock")); err != nil {
			return nil, err
		}
	}
	if err := c.set(r.params); err != nil {
		return nil, err
	}
	method, err := t.methodForNew(c, r)
	if err != nil {
		return nil, err
	}
	c.Created = instant(t.wall.Unix())
	if clock, ok := t.clocks.get(string(c.TestClock)); ok {
		c.Created = clock.FrozenTime
	}
	t.put(c)
	t.emit("customer.created", c)
	if method != nil {
		method.Customer = text(c.ID)
		t.put(method)
		t.emit("payment_method.attached", method)
	}
	return c, nil
}

// methodForNew reads payment_method, which is attached at creation, and
// invoice_settings[default_payment_method], which must then be the same.
func (t *tx) methodForNew(c *customer, r *request) (*paymentMethod, *apiError) {
	const setting = "invoice_settings[default_payment_method]"
	var method *paymentMethod
	if r.has("payment_method") {
		found, err := t.attachable(r.text("payment_method"), "payment_method")
		if err != nil {
			return nil, err
		}
		method = found
	}
	if wanted := r.text(setting); wanted != "" {
		if method == nil || (wanted != r.text("payment_method") && wanted != method.ID) {
			return nil, notAttached(wanted, setting)
		}
		c.InvoiceSettings.DefaultPaymentMethod = text(method.ID)
	}
	return method, nil
}

// set takes over what creation and update have in common.
func (c *customer) set(p params) *apiError {
	metadata, err := mergeMetadata(c.Metadata, p)
	if err != nil {
		return err
	}
	c.Metadata = metadata
	for name, to := range map[string]*text{
		"name": &c.Name, "email": &c.Email, "description": &c.Description, "phone": &c.Phone,
		"invoice_settings[footer]": &c.InvoiceSettings.Footer,
	} {
		if p.has(name) {
			*to = text(p.text(name))
		}
	}
	if p.has("balance") {
		c.Balance = p.integer("balance")
	}
	if p.has("invoice_prefix") {
		c.InvoicePrefix = strings.ToUpper(p.text("invoice_prefix"))
	}
	if p.has("next_invoice_sequence") {
		c.NextInvoiceSequence = p.integer("next_invoice_sequence")
	}
	return nil
}

// customerByID returns a customer that was not deleted.
func (t *tx) customerByID(id, param string, status func(what, id, param string) *apiError) (*customer, *apiError) {
	c, ok := t.customers.get(id)
	if !ok || c.Deleted {
		return nil, status("customer", id, param)
	}
	return c, nil
}

func retrieveCustomer(t *tx, r *request) (any, *apiError) {
	c, ok := t.customers.get(r.id())
	if !ok {
		return nil, missing("customer", r.id(), "id")
	}
	if c.Deleted {
		return deleted{ID: c.ID, Object: c.Object, Deleted: true}, nil
	}
	return c, nil
}

func updateCustomer(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.id(), "id", missing)
	if err != nil {
		return nil, err
	}
	const setting = "invoice_settings[default_payment_method]"
	method := c.InvoiceSettings.DefaultPaymentMethod
	if r.has(setting) {
		method = text(r.text(setting))
		if err := t.mustOwn(c.ID, string(method), setting); err != nil {
			return nil, err
		}
	}
	if err := c.set(r.params); err != nil {
		return nil, err
	}
	c.InvoiceSettings.DefaultPaymentMethod = method
	t.put(c)
	t.emit("customer.updated", c)
	return c, nil
}

func listCustomers(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.customers, r.text("test_clock"), func(c *customer) bool {
		return !c.Deleted && c.TestClock == text(r.text("test_clock")) && r.inRange("created", c.Created) &&
			(!r.has("email") || c.Email == text(r.text("email")))
	})
}

func deleteCustomer(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.id(), "id", missing)
	if err != nil {
		return nil, err
	}
	t.remove(c)
	return deleted{ID: c.ID, Object: c.Object, Deleted: true}, nil
}

// remove deletes a customer. Its methods go with it, its drafts too; what was
// finalised stays.
func (t *tx) remove(c *customer) {
	c.Deleted = true
	t.put(c)
	t.emit("customer.deleted", c)
	for _, m := range t.methods.newest(c.ID) {
		m.Customer = ""
		m.private.Gone = true
		t.put(m)
	}
	for _, inv := range t.invoices.newest(c.ID) {
		if inv.Status == "draft" {
			t.discard(inv)
		}
	}
}
