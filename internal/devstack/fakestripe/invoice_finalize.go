package fakestripe

import "fmt"

func finalizeInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "id")
	if err != nil {
		return nil, err
	}
	if inv.Status != "draft" {
		return nil, refused("", "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
	}
	inv.AutoAdvance = r.flagOr("auto_advance", inv.AutoAdvance)
	t.finalize(inv, t.now(inv.Customer))
	return inv, nil
}

// finalize gives a draft its number and its last amounts, and its customer the
// balance that follows. What leaves nothing to charge is paid at once.
func (t *tx) finalize(inv *invoice, now instant) {
	t.total(inv)
	c, ok := t.customers.get(inv.Customer)
	if !ok {
		panic("invoice " + inv.ID + " has lost its customer")
	}
	t.balance(inv, c)
	if inv.Number == "" {
		inv.Number = text(fmt.Sprintf("%s-%04d", c.InvoicePrefix, c.NextInvoiceSequence))
		c.NextInvoiceSequence++
		t.put(c)
	}
	inv.Status = "open"
	inv.StatusTransitions.FinalizedAt, inv.EffectiveAt = now, now
	inv.HostedInvoiceURL = text("https://invoice.stripe.com/i/" + accountID + "/test_" + inv.ID)
	inv.InvoicePDF = "https://pay.stripe.com/invoice/" + accountID + "/test_" + text(inv.ID) + "/pdf"
	inv.schedule(now)
	if inv.AmountDue > 0 && inv.AmountDue <= largestCharge {
		t.intentFor(inv, now)
	}
	t.change(inv, "invoice.updated", "invoice.finalized")
	if inv.AmountDue == 0 {
		inv.Attempted = true
		t.settled(inv, now, "invoice.updated", "invoice.paid", "invoice.payment_succeeded")
	}
	if inv.Status == "open" && c.private.Cash[inv.Currency] > 0 {
		t.reconcile(c, inv.Currency, "")
	}
}

// balance applies the customer's balance to the invoice. A credit that is left,
// or an amount too small to charge, becomes the balance for the next one.
func (t *tx) balance(inv *invoice, c *customer) {
	due, ending := inv.Total+inv.StartingBalance, int64(0)
	ownCurrency := string(c.Currency) == inv.Currency
	switch {
	case due < 0:
		ending, due = due, 0
	case ownCurrency && due < smallestCharges[inv.Currency]:
		ending, due = due, 0
	}
	inv.EndingBalance = &ending
	inv.AmountDue, inv.AmountRemaining = due, due
	if ownCurrency && c.Balance != ending {
		c.Balance = ending
		t.put(c)
		t.emit("customer.updated", c)
	}
}

// settled marks an invoice paid and tells of it.
func (t *tx) settled(inv *invoice, now instant, eventTypes ...string) {
	inv.Status, inv.Paid = "paid", true
	inv.AmountPaid, inv.AmountRemaining = inv.AmountDue, 0
	inv.StatusTransitions.PaidAt = now
	inv.NextPaymentAttempt, inv.AutoAdvance = 0, false
	t.change(inv, eventTypes...)
}
