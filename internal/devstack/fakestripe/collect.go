package fakestripe

// debitDays is how long a bank debit is under way.
const debitDays = 4

// collect makes one attempt to have an invoice paid by a method. A decline is an
// outcome like success: it is kept, told of, and answered as an error.
func (t *tx) collect(inv *invoice, m *paymentMethod, offSession bool, now instant) *apiError {
	p := t.intentFor(inv, now)
	p.Amount = inv.AmountRemaining
	p.PaymentMethod, p.private.Method = text(m.ID), m.ID
	p.LastPaymentError, p.NextAction = nil, nil
	inv.Attempted = true
	inv.AttemptCount = 1 // only Stripe's own retries, not modelled, count further
	inv.NextPaymentAttempt = 0

	bank := m.behaviour()
	switch {
	case t.fault != nil && t.fault.Kind == FaultDecline:
		return t.decline(inv, p, newCharge(p, m, now), *declined(firstOf(t.fault.Code, "generic_decline")))
	case bank.authenticate && offSession:
		err := t.decline(inv, p, newCharge(p, m, now), *authenticationWanted())
		t.emit("invoice.payment_action_required", inv)
		return err
	case bank.authenticate:
		return t.askCustomer(inv, p)
	case bank.debit:
		t.debit(inv, p, newCharge(p, m, now), bank)
		return nil
	case bank.atCharge != nil:
		return t.decline(inv, p, newCharge(p, m, now), *bank.atCharge)
	}
	t.succeed(inv, p, newCharge(p, m, now), now)
	return nil
}

func (t *tx) succeed(inv *invoice, p *paymentIntent, c *charge, now instant) {
	c.succeed()
	p.Status, p.AmountReceived, p.LatestCharge = "succeeded", p.Amount, text(c.ID)
	p.LastPaymentError, p.NextAction = nil, nil
	inv.Charge = text(c.ID)
	t.put(c)
	t.put(p)
	t.emit("charge.succeeded", c)
	t.emit("payment_intent.succeeded", p)
	t.settled(inv, now, "invoice.updated", "invoice.paid", "invoice.payment_succeeded")
	t.disputeAfter(c, now)
}

// disputeAfter has the bank take a charge back where its test method says so.
func (t *tx) disputeAfter(c *charge, now instant) {
	if m, ok := t.methods.get(c.PaymentMethod); ok {
		if disputed := m.behaviour().disputed; disputed != nil {
			t.dispute(c, disputed.reason, disputed.status, now)
		}
	}
}

func (t *tx) decline(inv *invoice, p *paymentIntent, c *charge, d decline) *apiError {
	c.fail(d)
	p.Status, p.LatestCharge, p.PaymentMethod, p.NextAction = "requires_payment_method", text(c.ID), "", nil
	p.LastPaymentError = &lastError{
		Charge: c.ID, Code: d.code, DeclineCode: d.declineCode, Message: d.message, Type: "card_error",
	}
	if m, ok := t.methods.get(c.PaymentMethod); ok {
		p.LastPaymentError.PaymentMethod = t.render(m)
	}
	inv.Charge = text(c.ID)
	t.put(c)
	t.put(p)
	t.emit("charge.failed", c)
	t.emit("payment_intent.payment_failed", p)
	t.change(inv, "invoice.updated", "invoice.payment_failed")
	err := d.asError()
	err.Charge, err.PaymentIntent = c.ID, t.render(p)
	return err
}

// askCustomer is a charge that waits for the customer's 3-D Secure.
func (t *tx) askCustomer(inv *invoice, p *paymentIntent) *apiError {
	p.Status, p.NextAction = "requires_action", &nextAction{Type: "use_stripe_sdk", UseStripeSDK: &struct{}{}}
	t.put(p)
	t.emit("payment_intent.requires_action", p)
	t.change(inv, "invoice.updated", "invoice.payment_action_required")
	err := decline{
		code: "invoice_payment_intent_requires_action",
		message: "This payment requires additional user action before it can be completed successfully. " +
			"Payment can be completed using the PaymentIntent associated with the invoice.",
	}.asError()
	err.PaymentIntent = t.render(p)
	return err
}

// debit is a charge that the bank settles, or returns, days later.
func (t *tx) debit(inv *invoice, p *paymentIntent, c *charge, bank testMethod) {
	p.Status, p.LatestCharge = "processing", text(c.ID)
	p.private.SettleAt, p.private.Fails = c.Created+debitDays*day, nil
	if bank.forever {
		p.private.SettleAt = 0
	}
	if d := bank.atCharge; d != nil {
		p.private.Fails = &lastEnd{d.code, d.declineCode, d.message}
	}
	inv.Charge = text(c.ID)
	t.put(c)
	t.put(p)
	t.emit("charge.pending", c)
	t.emit("payment_intent.processing", p)
	t.change(inv, "invoice.updated")
}

// endDebit is the bank's last word on a debit.
func (t *tx) endDebit(p *paymentIntent) {
	inv, hasInvoice := t.invoices.get(p.Invoice)
	c, hasCharge := t.charges.get(string(p.LatestCharge))
	if !hasInvoice || !hasCharge {
		panic("payment intent " + p.ID + " has lost its invoice or its charge")
	}
	at, fails := p.private.SettleAt, p.private.Fails
	p.private.SettleAt, p.private.Fails = 0, nil
	if fails != nil {
		t.decline(inv, p, c, decline{fails.Code, fails.DeclineCode, fails.Message})
		return
	}
	t.succeed(inv, p, c, at)
}

// authenticate is the customer's answer to 3-D Secure. It is no part of
// Stripe's API: there, the customer gives it in a browser.
func authenticate(t *tx, r *request) (any, *apiError) {
	p, ok := t.intents.get(r.id())
	if !ok {
		return nil, missing("payment_intent", r.id(), "intent")
	}
	inv, hasInvoice := t.invoices.get(p.Invoice)
	m, hasMethod := t.methods.get(p.private.Method)
	asked := p.Status == "requires_action" ||
		(p.LastPaymentError != nil && p.LastPaymentError.Code == authenticationWanted().code)
	if !asked || !hasInvoice || !hasMethod {
		return nil, refused("payment_intent_unexpected_state", "This PaymentIntent does not wait for its customer.")
	}
	now := t.now(p.Customer)
	p.PaymentMethod = text(m.ID)
	if r.text("outcome") == "failure" {
		return nil, t.decline(inv, p, newCharge(p, m, now), decline{
			code:    "payment_intent_authentication_failure",
			message: "The provided PaymentMethod has failed authentication.",
		})
	}
	if late := m.behaviour().atCharge; late != nil {
		return nil, t.decline(inv, p, newCharge(p, m, now), *late)
	}
	t.succeed(inv, p, newCharge(p, m, now), now)
	return p, nil
}
