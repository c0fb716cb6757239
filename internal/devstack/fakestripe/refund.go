package fakestripe

type refund struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Amount        int64             `json:"amount"`
	Charge        string            `json:"charge"`
	Created       instant           `json:"created"`
	Currency      string            `json:"currency"`
	Metadata      map[string]string `json:"metadata"`
	PaymentIntent string            `json:"payment_intent"`
	FailureReason text              `json:"failure_reason,omitempty"`
	Reason        text              `json:"reason"`
	Status        string            `json:"status"`

	private struct {
		SettleAt instant // when it goes on, 0 if it is at its end
		Fails    bool
		Customer string
	}
}

func (r *refund) kind() string  { return "refund" }
func (r *refund) key() string   { return r.ID }
func (r *refund) owner() string { return "" }
func (r *refund) hidden() any   { return &r.private }

// How a refund goes on after it was made. A pending one succeeds; one that fails
// looked like a success until then.
const (
	refundPending = "pending"
	refundFails   = "fails"
	refundHours   = 1 // until then
)

var laterRefunds = map[string]string{"pm_card_pendingRefund": refundPending, "pm_card_refundFail": refundFails}

func refundRoutes() []route {
	create := fields{
		"charge": anyText(), "payment_intent": anyText(), "amount": amount(),
		"reason": oneOf("duplicate", "fraudulent", "requested_by_customer"),
	}
	filter := fields{"charge": anyText(), "payment_intent": anyText()}.with(rangeFields("created")).with(pageFields())
	return []route{
		post("/v1/refunds", createRefund, create.with(metadataFields())),
		get("/v1/refunds", listRefunds, filter),
		get("/v1/refunds/{id}", retrieveRefund, fields{}),
	}
}

func createRefund(t *tx, r *request) (any, *apiError) {
	c, err := t.chargeToRefund(r)
	if err != nil {
		return nil, err
	}
	left := c.Amount - c.AmountRefunded
	wanted := left
	if r.has("amount") {
		wanted = r.integer("amount")
	}
	metadata, err := mergeMetadata(nil, r.params)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Disputed && t.chargedBack(c):
		return nil, refused("charge_disputed", "Charge %s has been charged back; cannot issue a refund.", c.ID)
	case c.Status != "succeeded":
		return nil, refused("charge_not_refundable", "Charge %s has not succeeded and cannot be refunded.", c.ID)
	case left == 0:
		return nil, refused("charge_already_refunded", "Charge %s has already been refunded.", c.ID)
	case wanted < 1:
		return nil, invalid("amount", "parameter_invalid_integer", "Invalid positive integer")
	case wanted > left:
		return nil, refused("", "Refund amount (%d) is greater than unrefunded amount on charge (%d)", wanted, left)
	}
	re := t.refund(c, wanted, r.text("reason"))
	re.Metadata = metadata
	return re, nil
}

func (t *tx) chargeToRefund(r *request) (*charge, *apiError) {
	id := r.text("charge")
	if r.has("payment_intent") {
		p, ok := t.intents.get(r.text("payment_intent"))
		if !ok {
			return nil, badReference("payment_intent", r.text("payment_intent"), "payment_intent")
		}
		id = string(p.LatestCharge)
	}
	if id == "" {
		return nil, invalid("charge", "parameter_missing", "One of the following params should be provided: payment_intent or charge.")
	}
	if c, ok := t.charges.get(id); ok {
		return c, nil
	}
	return nil, badReference("charge", id, "charge")
}

// refund gives money back; the caller has checked that there is as much.
func (t *tx) refund(c *charge, amount int64, reason string) *refund {
	re := &refund{
		ID: newID("re"), Object: "refund", Amount: amount, Charge: c.ID, Created: t.now(c.Customer),
		Currency: c.Currency, Metadata: map[string]string{}, PaymentIntent: c.PaymentIntent, Reason: text(reason),
		Status: "succeeded",
	}
	if m, ok := t.methods.get(c.PaymentMethod); ok {
		re.goesOn(m.behaviour().refunds)
	}
	re.private.Customer = c.Customer
	c.AmountRefunded += amount
	c.Refunded = c.AmountRefunded == c.Amount
	t.put(c)
	t.put(re)
	t.emit("charge.refunded", c)
	return re
}

func (r *refund) goesOn(how string) {
	if how == "" {
		return
	}
	r.private.SettleAt, r.private.Fails = r.Created+refundHours*hour, how == refundFails
	if how == refundPending {
		r.Status = "pending"
	}
}

// endRefund is the bank's last word on a refund. What failed is back with us.
func (t *tx) endRefund(re *refund) {
	re.Status = "succeeded"
	if re.private.Fails {
		re.Status, re.FailureReason = "failed", "expired_or_canceled_card"
		if c, ok := t.charges.get(re.Charge); ok {
			c.AmountRefunded -= re.Amount
			c.Refunded = false
			t.put(c)
		}
	}
	re.private.SettleAt = 0
	t.put(re)
	t.emit("charge.refund.updated", re)
}

// chargedBack reports whether the bank has taken the money, so that it cannot be
// given back once more.
func (t *tx) chargedBack(c *charge) bool {
	for _, d := range t.disputes.newest("") {
		if d.Charge == c.ID && d.private.Withdrawn {
			return true
		}
	}
	return false
}

func listRefunds(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.refunds, "", func(re *refund) bool {
		return (!r.has("charge") || re.Charge == r.text("charge")) && r.inRange("created", re.Created) &&
			(!r.has("payment_intent") || re.PaymentIntent == r.text("payment_intent"))
	})
}

func retrieveRefund(t *tx, r *request) (any, *apiError) {
	if re, ok := t.refunds.get(r.id()); ok {
		return re, nil
	}
	return nil, missing("refund", r.id(), "refund")
}
