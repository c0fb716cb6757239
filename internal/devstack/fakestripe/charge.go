package fakestripe

type charge struct {
	ID                   string            `json:"id"`
	Object               string            `json:"object"`
	Amount               int64             `json:"amount"`
	AmountCaptured       int64             `json:"amount_captured"`
	AmountRefunded       int64             `json:"amount_refunded"`
	BillingDetails       billingDetails    `json:"billing_details"`
	Captured             bool              `json:"captured"`
	Created              instant           `json:"created"`
	Currency             string            `json:"currency"`
	Customer             string            `json:"customer"`
	Description          text              `json:"description"`
	Disputed             bool              `json:"disputed"`
	FailureCode          text              `json:"failure_code"`
	FailureMessage       text              `json:"failure_message"`
	Invoice              string            `json:"invoice"`
	Livemode             bool              `json:"livemode"`
	Metadata             map[string]string `json:"metadata"`
	Outcome              *chargeOutcome    `json:"outcome"`
	Paid                 bool              `json:"paid"`
	PaymentIntent        string            `json:"payment_intent"`
	PaymentMethod        string            `json:"payment_method"`
	PaymentMethodDetails methodDetails     `json:"payment_method_details"`
	Refunded             bool              `json:"refunded"`
	Status               string            `json:"status"`
}

type chargeOutcome struct {
	NetworkStatus string `json:"network_status"`
	Reason        text   `json:"reason"`
	RiskLevel     text   `json:"risk_level"`
	SellerMessage string `json:"seller_message"`
	Type          string `json:"type"`
}

type methodDetails struct {
	Card          *card        `json:"card,omitempty"`
	Type          string       `json:"type"`
	USBankAccount *bankAccount `json:"us_bank_account,omitempty"`
}

func (c *charge) kind() string  { return "charge" }
func (c *charge) key() string   { return c.ID }
func (c *charge) owner() string { return c.Customer }

func chargeRoutes() []route {
	filter := fields{"customer": anyText(), "payment_intent": anyText()}.
		with(rangeFields("created")).with(pageFields())
	return []route{
		get("/v1/charges", listCharges, filter),
		get("/v1/charges/{id}", retrieveCharge, fields{}),
	}
}

func listCharges(t *tx, r *request) (any, *apiError) {
	customer := r.text("customer")
	if p, ok := t.intents.get(r.text("payment_intent")); ok && customer == "" {
		customer = p.Customer // spares the search through everybody's
	}
	return where(t, r, t.charges, customer, func(c *charge) bool {
		return (!r.has("payment_intent") || c.PaymentIntent == r.text("payment_intent")) &&
			r.inRange("created", c.Created)
	})
}

func retrieveCharge(t *tx, r *request) (any, *apiError) {
	if c, ok := t.charges.get(r.id()); ok {
		return c, nil
	}
	return nil, missing("charge", r.id(), "charge")
}

// newCharge is one attempt on an invoice's intent, not yet ended.
func newCharge(p *paymentIntent, m *paymentMethod, now instant) *charge {
	return &charge{
		ID: newID("ch"), Object: "charge", Amount: p.Amount, BillingDetails: m.BillingDetails, Created: now,
		Currency: p.Currency, Customer: p.Customer, Description: p.Description, Invoice: p.Invoice,
		Metadata: map[string]string{}, PaymentIntent: p.ID, PaymentMethod: m.ID,
		PaymentMethodDetails: methodDetails{Card: m.Card, Type: m.Type, USBankAccount: m.USBankAccount},
		Status:               "pending",
	}
}

func (c *charge) succeed() {
	c.Status, c.Paid, c.Captured, c.AmountCaptured = "succeeded", true, true, c.Amount
	c.Outcome = &chargeOutcome{
		NetworkStatus: "approved_by_network", RiskLevel: "normal", SellerMessage: "Payment complete.", Type: "authorized",
	}
}

func (c *charge) fail(d decline) {
	c.Status, c.FailureCode, c.FailureMessage = "failed", text(d.code), text(d.message)
	c.Outcome = &chargeOutcome{
		NetworkStatus: "declined_by_network", Reason: text(d.declineCode), RiskLevel: "normal",
		SellerMessage: "The bank did not return any further details with this decline.", Type: "issuer_declined",
	}
	if d.declineCode == "fraudulent" {
		c.Outcome = &chargeOutcome{
			NetworkStatus: "not_sent_to_network", Reason: "highest_risk_level", RiskLevel: "highest",
			SellerMessage: "Stripe blocked this payment as too risky.", Type: "blocked",
		}
	}
}
