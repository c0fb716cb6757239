package fakestripe

import "slices"

// cashTransaction is money that came by bank transfer, or what became of it.
type cashTransaction struct {
	ID               string      `json:"id"`
	Object           string      `json:"object"`
	AppliedToPayment *appliedTo  `json:"applied_to_payment,omitempty"`
	Created          instant     `json:"created"`
	Currency         string      `json:"currency"`
	Customer         string      `json:"customer"`
	EndingBalance    int64       `json:"ending_balance"`
	Funded           *cashFunded `json:"funded,omitempty"`
	Livemode         bool        `json:"livemode"`
	NetAmount        int64       `json:"net_amount"`
	Type             string      `json:"type"`
}

type appliedTo struct {
	PaymentIntent string `json:"payment_intent"`
}

type cashFunded struct {
	BankTransfer struct {
		Reference text   `json:"reference"`
		Type      string `json:"type"`
	} `json:"bank_transfer"`
}

func (c *cashTransaction) kind() string  { return "customer_cash_balance_transaction" }
func (c *cashTransaction) key() string   { return c.ID }
func (c *cashTransaction) owner() string { return c.Customer }

func cashBalanceRoutes() []route {
	const of = "/v1/customers/{id}/"
	fund := fields{"amount": required(amount()), "currency": required(currency()), "reference": limited(350)}
	return []route{
		get(of+"cash_balance", showCash, fields{}),
		get(of+"cash_balance_transactions", listCash, pageFields()),
		post("/v1/test_helpers/customers/{id}/fund_cash_balance", fundCash, fund),
	}
}

func showCash(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.id(), "customer", missing)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"object": "cash_balance", "customer": c.ID, "available": c.private.Cash, "livemode": false,
		"settings": map[string]any{"reconciliation_mode": "automatic", "using_merchant_default": true},
	}, nil
}

func listCash(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.id(), "customer", missing)
	if err != nil {
		return nil, err
	}
	return where(t, r, t.cash, c.ID, func(*cashTransaction) bool { return true })
}

// fundCash is a bank transfer that arrives. It pays the invoices that were sent to
// the customer and are open: first the one whose number is the reference, then one
// that asks for exactly as much, then from the oldest on. What is left stays.
func fundCash(t *tx, r *request) (any, *apiError) {
	c, err := t.customerByID(r.id(), "customer", missing)
	if err != nil {
		return nil, err
	}
	came := r.integer("amount")
	if came < 1 {
		return nil, invalid("amount", "parameter_invalid_integer", "Invalid positive integer")
	}
	funded := t.moveCash(c, lower(r.text("currency")), "funded", came)
	funded.Funded = &cashFunded{}
	funded.Funded.BankTransfer.Reference, funded.Funded.BankTransfer.Type = text(r.text("reference")), "us_bank_transfer"
	t.emit("customer_cash_balance_transaction.created", funded)
	t.reconcile(c, funded.Currency, r.text("reference"))
	return funded, nil
}

// moveCash changes the balance; the caller tells of it.
func (t *tx) moveCash(c *customer, currency, why string, by int64) *cashTransaction {
	if c.private.Cash == nil {
		c.private.Cash = map[string]int64{}
	}
	c.private.Cash[currency] += by
	moved := &cashTransaction{
		ID: newID("ccsbtxn"), Object: "customer_cash_balance_transaction", Created: t.now(c.ID), Currency: currency,
		Customer: c.ID, EndingBalance: c.private.Cash[currency], NetAmount: by, Type: why,
	}
	t.put(c)
	t.put(moved)
	return moved
}

// reconcile applies what the customer's cash balance holds.
func (t *tx) reconcile(c *customer, currency, reference string) {
	for _, inv := range t.awaitingFunds(c, currency, reference) {
		part := min(c.private.Cash[currency], inv.AmountRemaining)
		if part == 0 {
			return
		}
		t.fund(c, inv, part)
	}
}

func (t *tx) awaitingFunds(c *customer, currency, reference string) []*invoice {
	var open []*invoice // oldest first
	for _, inv := range t.invoices.newest(c.ID) {
		if inv.Status == "open" && inv.CollectionMethod == "send_invoice" && inv.Currency == currency &&
			inv.AmountRemaining > 0 && inv.AmountDue <= largestCharge && !t.processing(inv) {
			open = append([]*invoice{inv}, open...)
		}
	}
	rank := func(inv *invoice) int {
		switch {
		case reference != "" && reference == string(inv.Number):
			return 0
		case inv.AmountRemaining == c.private.Cash[currency]:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(open, func(a, b *invoice) int { return rank(a) - rank(b) })
	return open
}

// fund pays a part of an invoice, which stays open, or the last of it.
func (t *tx) fund(c *customer, inv *invoice, part int64) {
	now := t.now(c.ID)
	p := t.intentFor(inv, now)
	applied := t.moveCash(c, inv.Currency, "applied_to_payment", -part)
	applied.AppliedToPayment = &appliedTo{p.ID}
	t.emit("customer_cash_balance_transaction.created", applied)
	inv.AmountPaid += part
	inv.AmountRemaining -= part
	if inv.AmountRemaining == 0 {
		t.fundedWhole(inv, p, now)
		return
	}
	p.Status, p.LastPaymentError = "requires_action", nil
	p.NextAction = &nextAction{
		Type:         "display_bank_transfer_instructions",
		Instructions: &instructions{inv.AmountRemaining, inv.Currency, "us_bank_transfer"},
	}
	t.put(p)
	t.emit("payment_intent.partially_funded", p)
	t.change(inv, "invoice.updated")
}

// fundedWhole ends a payment by bank transfer: one charge of all that came.
func (t *tx) fundedWhole(inv *invoice, p *paymentIntent, now instant) {
	p.Amount = inv.AmountPaid
	t.succeed(inv, p, newCharge(p, &paymentMethod{Type: "customer_balance"}, now), now)
}

// partlyFunded reports whether a part came by bank transfer.
func (i *invoice) partlyFunded() bool { return i.Status == "open" && i.AmountPaid > 0 }
