package fakestripe

import "fmt"

// payInvoice collects an invoice now. A draft is finalised on the way.
func payInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "id")
	if err != nil {
		return nil, err
	}
	now := t.now(inv.Customer)
	switch {
	case inv.Status == "paid":
		return nil, refused("", "Invoice is already paid")
	case inv.Status == "void":
		return nil, notOpen()
	case t.processing(inv):
		return nil, underWay()
	case inv.partlyFunded() && !r.flag("paid_out_of_band"):
		return nil, refused("", "This invoice is partially paid by bank transfer, which the local Stripe does not mix with charges.")
	}
	m, err := t.payer(inv, r)
	if err != nil && !r.flag("paid_out_of_band") {
		return nil, err
	}
	if inv.Status == "draft" {
		if t.finalize(inv, now); inv.Status == "paid" {
			return inv, nil
		}
	}
	if r.flag("paid_out_of_band") {
		t.payOutOfBand(inv, now)
		return inv, nil
	}
	if err := chargeAmount(inv); err != nil {
		return nil, err
	}
	if err := t.collect(inv, m, r.flagOr("off_session", true), now); err != nil {
		return nil, err
	}
	return inv, nil
}

func notOpen() *apiError {
	return refused("", "You can only pass in open invoices. This invoice isn't open.")
}

func underWay() *apiError {
	return refused("payment_intent_unexpected_state", "A payment of this invoice is already processing.")
}

// payer is the method to charge: the one asked for, or the default of the
// invoice, or that of its customer.
func (t *tx) payer(inv *invoice, r *request) (*paymentMethod, *apiError) {
	if wanted := r.text("payment_method"); wanted != "" {
		if err := t.mustOwn(inv.Customer, wanted, "payment_method"); err != nil {
			return nil, err
		}
		m, _ := t.methods.get(wanted)
		return m, nil
	}
	if m, ok := t.defaultMethod(inv); ok {
		return m, nil
	}
	return nil, refused("", "There is no `default_payment_method` set on this Customer or Invoice.")
}

func (t *tx) defaultMethod(inv *invoice) (*paymentMethod, bool) {
	candidates := []text{inv.DefaultPaymentMethod}
	if c, ok := t.customers.get(inv.Customer); ok {
		candidates = append(candidates, c.InvoiceSettings.DefaultPaymentMethod)
	}
	for _, id := range candidates {
		if m, ok := t.methods.get(string(id)); ok && m.Customer == text(inv.Customer) {
			return m, true
		}
	}
	return nil, false
}

// chargeAmount refuses amounts that no payment can have.
func chargeAmount(inv *invoice) *apiError {
	if inv.AmountRemaining > largestCharge {
		return refused("amount_too_large", "Amount must be no more than $999,999.99")
	}
	if least := smallestCharges[inv.Currency]; inv.AmountRemaining < least {
		return refused("amount_too_small", "Amount must be at least %s %s", minor(least), inv.Currency)
	}
	return nil
}

func minor(n int64) string { return fmt.Sprintf("%d minor units of", n) }

// payOutOfBand notes money that did not come through Stripe: no attempt.
func (t *tx) payOutOfBand(inv *invoice, now instant) {
	if p, ok := t.intents.get(string(inv.PaymentIntent)); ok && inv.partlyFunded() {
		inv.PaidOutOfBand = true
		t.fundedWhole(inv, p, now) // what did come through Stripe
		return
	}
	t.cancelIntent(inv, now, "automatic")
	inv.PaidOutOfBand = true
	t.settled(inv, now, "invoice.updated", "invoice.paid")
}
