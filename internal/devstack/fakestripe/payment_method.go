package fakestripe

type paymentMethod struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	BillingDetails billingDetails    `json:"billing_details"`
	Card           *card             `json:"card,omitempty"`
	Created        instant           `json:"created"`
	Customer       text              `json:"customer"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Type           string            `json:"type"`
	USBankAccount  *bankAccount      `json:"us_bank_account,omitempty"`

	private struct {
		Test string // the test method that it was made from
		Gone bool   // detached: it can never be used again
	}
}

type billingDetails struct {
	Email text `json:"email"`
	Name  text `json:"name"`
	Phone text `json:"phone"`
}

type card struct {
	Brand       string `json:"brand"`
	Country     string `json:"country"`
	ExpMonth    int    `json:"exp_month"`
	ExpYear     int    `json:"exp_year"`
	Fingerprint string `json:"fingerprint"`
	Funding     string `json:"funding"`
	Last4       string `json:"last4"`
}

type bankAccount struct {
	AccountHolderType string `json:"account_holder_type"`
	AccountType       string `json:"account_type"`
	BankName          string `json:"bank_name"`
	Fingerprint       string `json:"fingerprint"`
	Last4             string `json:"last4"`
	RoutingNumber     string `json:"routing_number"`
}

func (m *paymentMethod) kind() string  { return "payment_method" }
func (m *paymentMethod) key() string   { return m.ID }
func (m *paymentMethod) owner() string { return string(m.Customer) }
func (m *paymentMethod) hidden() any   { return &m.private }

// behaviour is what the bank does when the method is charged.
func (m *paymentMethod) behaviour() testMethod {
	known, _ := testMethodFor(m.private.Test)
	return known
}

func paymentMethodRoutes() []route {
	filter := fields{"customer": anyText(), "type": anyText()}.with(pageFields())
	return []route{
		get("/v1/payment_methods", listMethods, filter),
		get("/v1/payment_methods/{id}", retrieveMethod, fields{}),
		post("/v1/payment_methods/{id}/attach", attachMethod, fields{"customer": required(anyText())}),
		post("/v1/payment_methods/{id}/detach", detachMethod, fields{}),
	}
}

// newMethod makes a payment method of a test method, as Stripe does wherever a
// test id is used.
func (t *tx) newMethod(test testMethod) *paymentMethod {
	m := &paymentMethod{
		ID: newID("pm"), Object: "payment_method", Created: instant(t.wall.Unix()),
		Metadata: map[string]string{}, Type: test.kind,
	}
	m.private.Test = test.id
	fingerprint := string(appendRandom(nil, idAlphabet, 16))
	if test.kind == "us_bank_account" {
		m.USBankAccount = &bankAccount{
			AccountHolderType: "company", AccountType: "checking", BankName: "STRIPE TEST BANK",
			Fingerprint: fingerprint, Last4: test.last4, RoutingNumber: "110000000",
		}
		return m
	}
	m.Card = &card{
		Brand: test.brand, Country: "US", ExpMonth: 8, ExpYear: t.wall.Year() + 3,
		Fingerprint: fingerprint, Funding: "credit", Last4: test.last4,
	}
	return m
}

func (t *tx) method(id string) (*paymentMethod, *apiError) {
	if m, ok := t.methods.get(id); ok {
		return m, nil
	}
	return nil, missing("PaymentMethod", id, "payment_method")
}

// attachable returns a method that may be given to a customer, or why the bank
// or Stripe refuses it.
func (t *tx) attachable(id, param string) (*paymentMethod, *apiError) {
	if test, ok := testMethodFor(id); ok {
		if test.atAttach != nil {
			return nil, test.atAttach.asError()
		}
		return t.newMethod(test), nil
	}
	m, ok := t.methods.get(id)
	switch {
	case !ok:
		return nil, badReference("PaymentMethod", id, param)
	case m.private.Gone:
		return nil, refused("", "This PaymentMethod was previously used without being attached to a Customer or "+
			"was detached from a Customer, and may not be used again.")
	case m.Customer != "":
		return nil, refused("payment_method_unexpected_state",
			"The payment method you provided has already been attached to a customer.")
	}
	return m, nil
}

func attachMethod(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.text("customer"), "customer", badReference)
	if err != nil {
		return nil, err
	}
	if m, ok := t.methods.get(r.id()); ok && m.Customer == text(c.ID) {
		return m, nil
	}
	m, err := t.attachable(r.id(), "payment_method")
	if err != nil {
		return nil, err
	}
	m.Customer = text(c.ID)
	m.Created = t.now(c.ID)
	t.put(m)
	t.emit("payment_method.attached", m)
	return m, nil
}

func detachMethod(t *tx, r *request) (any, *apiError) {
	m, err := t.method(r.id())
	if err != nil {
		return nil, err
	}
	if m.Customer == "" {
		return nil, refused("", "The payment method you provided is not attached to a customer so detachment is impossible.")
	}
	if c, ok := t.customers.get(string(m.Customer)); ok && c.InvoiceSettings.DefaultPaymentMethod == text(m.ID) {
		c.InvoiceSettings.DefaultPaymentMethod = ""
		t.put(c)
		t.emit("customer.updated", c)
	}
	m.Customer = ""
	m.private.Gone = true
	t.put(m)
	t.emit("payment_method.detached", m)
	return m, nil
}

// retrieveMethod makes a method when asked for a test id, as Stripe does.
func retrieveMethod(t *tx, r *request) (any, *apiError) {
	if test, ok := testMethodFor(r.id()); ok {
		m := t.newMethod(test)
		t.put(m)
		return m, nil
	}
	return t.method(r.id())
}

func listMethods(t *tx, r *request) (any, *apiError) {
	return t.methodsOf(r, r.text("customer"), "customer", badReference)
}

func listCustomerMethods(t *tx, r *request) (any, *apiError) {
	return t.methodsOf(r, r.id(), "id", missing)
}

func (t *tx) methodsOf(r *request, id, param string, status func(_, _, _ string) *apiError) (any, *apiError) {
	if id == "" {
		return nil, invalid("customer", "parameter_missing", "Missing required param: customer.")
	}
	if _, err := t.customerByID(id, param, status); err != nil {
		return nil, err
	}
	return where(t, r, t.methods, id, func(m *paymentMethod) bool {
		return !r.has("type") || m.Type == r.text("type")
	})
}

// mustOwn refuses a payment method that the customer cannot be charged with; an
// empty id is fine, it clears the setting.
func (t *tx) mustOwn(customerID, methodID, param string) *apiError {
	if m, ok := t.methods.get(methodID); methodID == "" || (ok && m.Customer == text(customerID)) {
		return nil
	}
	return notAttached(methodID, param)
}

func notAttached(id, param string) *apiError {
	return invalid(param, "resource_missing", "The customer does not have a payment method with the ID %s. "+
		"The payment method must be attached to the customer.", id)
}
