package fakestripe

// voidInvoice takes a finalised invoice back; the customer's balance gets back
// what the invoice had used of it.
func voidInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "id")
	if err != nil {
		return nil, err
	}
	switch {
	case inv.Status == "paid" || inv.partlyFunded():
		return nil, refused("", "Invoices with `paid` payments cannot be voided.")
	case inv.Status != "open" && inv.Status != "uncollectible":
		return nil, notOpen()
	case t.processing(inv):
		return nil, underWay()
	}
	now := t.now(inv.Customer)
	if c, ok := t.customers.get(inv.Customer); ok && *inv.EndingBalance != inv.StartingBalance {
		c.Balance += inv.StartingBalance - *inv.EndingBalance
		t.put(c)
		t.emit("customer.updated", c)
	}
	t.cancelIntent(inv, now, "void_invoice")
	inv.Status, inv.StatusTransitions.VoidedAt = "void", now
	inv.AutoAdvance, inv.NextPaymentAttempt = false, 0
	t.change(inv, "invoice.updated", "invoice.voided")
	return inv, nil
}

func markUncollectible(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "id")
	if err != nil {
		return nil, err
	}
	switch inv.Status {
	case "open":
	case "uncollectible":
		return nil, refused("", "This invoice has already been marked uncollectible.")
	default:
		return nil, notOpen()
	}
	inv.Status, inv.StatusTransitions.MarkedUncollectibleAt = "uncollectible", t.now(inv.Customer)
	inv.AutoAdvance, inv.NextPaymentAttempt = false, 0
	t.change(inv, "invoice.updated", "invoice.marked_uncollectible")
	return inv, nil
}

// sendInvoice would mail the customer. A draft is finalised on the way.
func sendInvoice(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "invoice")
	if err != nil {
		return nil, err
	}
	if inv.Status == "draft" && inv.CollectionMethod == "send_invoice" {
		t.finalize(inv, t.now(inv.Customer))
		t.emit("invoice.sent", inv)
		return inv, nil
	}
	if inv.Status != "open" || inv.CollectionMethod != "send_invoice" {
		return nil, refused("", "This invoice cannot be sent right now. Please contact us via "+
			"https://support.stripe.com/contact with details, so we can help.")
	}
	t.emit("invoice.sent", inv)
	return inv, nil
}
