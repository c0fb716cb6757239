package fakestripe

import "encoding/json"

type paymentIntent struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CanceledAt         instant           `json:"canceled_at"`
	CancellationReason text              `json:"cancellation_reason"`
	CaptureMethod      string            `json:"capture_method"`
	ClientSecret       string            `json:"client_secret"`
	ConfirmationMethod string            `json:"confirmation_method"`
	Created            instant           `json:"created"`
	Currency           string            `json:"currency"`
	Customer           string            `json:"customer"`
	Description        text              `json:"description"`
	Invoice            string            `json:"invoice"`
	LastPaymentError   *lastError        `json:"last_payment_error"`
	LatestCharge       text              `json:"latest_charge"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextAction         *nextAction       `json:"next_action"`
	PaymentMethod      text              `json:"payment_method"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	Status             string            `json:"status"`

	private struct {
		Method   string   // the method of the last attempt
		SettleAt instant  // when a debit under way ends
		Fails    *lastEnd // how it ends, nil if well
	}
}

// lastEnd is a decline to come, as the journal keeps it.
type lastEnd struct{ Code, DeclineCode, Message string }

type nextAction struct {
	Type         string        `json:"type"`
	UseStripeSDK *struct{}     `json:"use_stripe_sdk,omitempty"`
	Instructions *instructions `json:"display_bank_transfer_instructions,omitempty"`
}

// instructions tell the customer what is still to be transferred.
type instructions struct {
	AmountRemaining int64  `json:"amount_remaining"`
	Currency        string `json:"currency"`
	Type            string `json:"type"`
}

type lastError struct {
	Charge        string          `json:"charge,omitempty"`
	Code          string          `json:"code"`
	DeclineCode   string          `json:"decline_code,omitempty"`
	Message       string          `json:"message"`
	PaymentMethod json.RawMessage `json:"payment_method,omitempty"`
	Type          string          `json:"type"`
}

func (p *paymentIntent) kind() string  { return "payment_intent" }
func (p *paymentIntent) key() string   { return p.ID }
func (p *paymentIntent) owner() string { return p.Customer }
func (p *paymentIntent) hidden() any   { return &p.private }

func paymentIntentRoutes() []route {
	filter := fields{"customer": anyText()}.with(rangeFields("created")).with(pageFields())
	return []route{
		get("/v1/payment_intents", listIntents, filter),
		get("/v1/payment_intents/{id}", retrieveIntent, fields{"client_secret": anyText()}),
	}
}

func listIntents(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.intents, r.text("customer"), func(p *paymentIntent) bool {
		return r.inRange("created", p.Created)
	})
}

func retrieveIntent(t *tx, r *request) (any, *apiError) {
	if p, ok := t.intents.get(r.id()); ok {
		return p, nil
	}
	return nil, missing("payment_intent", r.id(), "intent")
}

// intentFor is the one PaymentIntent of an invoice, made when it is first needed.
func (t *tx) intentFor(inv *invoice, now instant) *paymentIntent {
	if p, ok := t.intents.get(string(inv.PaymentIntent)); ok {
		return p
	}
	id := newID("pi")
	p := &paymentIntent{
		ID: id, Object: "payment_intent", Amount: inv.AmountRemaining, CaptureMethod: "automatic",
		ClientSecret: newID(id + "_secret"), ConfirmationMethod: "automatic", Created: now,
		Currency: inv.Currency, Customer: inv.Customer, Description: "Payment for Invoice",
		Invoice: inv.ID, Metadata: map[string]string{}, PaymentMethodTypes: []string{"card", "us_bank_account"},
		Status: "requires_payment_method",
	}
	inv.PaymentIntent = text(p.ID)
	t.put(p)
	t.emit("payment_intent.created", p)
	return p
}

// cancelIntent ends what an invoice no longer wants paid.
func (t *tx) cancelIntent(inv *invoice, now instant, reason string) {
	p, ok := t.intents.get(string(inv.PaymentIntent))
	if !ok || p.Status == "succeeded" || p.Status == "canceled" {
		return
	}
	p.Status, p.CanceledAt, p.CancellationReason, p.NextAction = "canceled", now, text(reason), nil
	t.put(p)
	t.emit("payment_intent.canceled", p)
}

// processing reports whether a debit for the invoice is under way.
func (t *tx) processing(inv *invoice) bool {
	p, ok := t.intents.get(string(inv.PaymentIntent))
	return ok && p.Status == "processing"
}
