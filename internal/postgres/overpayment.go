package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// paidBefore tells of an attempt that has succeeded whether its money is known
// already, as that of another attempt, and else whether it is surplus: what it was
// for is paid, or not to be paid any more. The provider's payment succeeds once,
// so two attempts that name the same one brought the same money.
func (c *collecting) paidBefore(ctx context.Context, p payment, result billing.ChargeResult) (known, surplus bool, err error) {
	const statement = `
SELECT coalesce(bool_or(stripe_payment_intent_id = @intent AND @intent <> ''), false),
       coalesce(bool_or(part = @part AND NOT surplus), false)
  FROM payments
 WHERE invoice_id = @invoice AND status = 'succeeded' AND attempt <> @attempt`
	intent := result.PaymentIntentID
	if intent == "" {
		intent = p.PaymentIntentID
	}
	var paid bool
	err = c.tx.QueryRow(ctx, statement, pgx.NamedArgs{"intent": intent, "part": p.Part, "invoice": c.ID, "attempt": p.Attempt}).Scan(&known, &paid)
	surplus = paid || p.Part < c.Part || !c.unsettled()
	if surplus && !known && intent == "" && err == nil {
		err = billing.Conflict("invoice %q was paid already when attempt %d collected it again, and the provider names no payment that could be refunded", c.ID, p.Attempt)
	}
	return known, surplus, wrap("look for another payment of "+c.ID, err)
}

// keepSurplus books a payment that nobody owed, and tells of it: a person is to
// refund it at the provider, or what was paid before.
func (c *collecting) keepSurplus(ctx context.Context, p payment) error {
	b := c.booking(bookedPayment, paymentReference(c.ID, p.Attempt))
	b.debit(cash, c.ID, p.Amount)
	b.credit(unapplied, c.ID, p.Amount)
	if err := b.post(ctx, c.tx); err != nil {
		return err
	}
	after := map[string]any{"attempt": p.Attempt, "amount": c.money(p.Amount).String(), "payment": p.PaymentIntentID}
	_, err := audit(ctx, c.tx, c.Org, itself("what it was for is paid already: to be refunded"), "payments.surplus", c.ID, nil, after)
	return err
}

// readToRefund reads what came in for an invoice and belongs to nothing.
func readToRefund(ctx context.Context, q querier, invoice *billing.Invoice) (*billing.Money, error) {
	const statement = `SELECT coalesce(-sum(amount), 0) FROM ledger_entries WHERE invoice_id = $1 AND account = 'unapplied'`
	var amount decimal.Decimal
	if err := q.QueryRow(ctx, statement, invoice.ID).Scan(&amount); err != nil || amount.IsZero() {
		return nil, wrap("read what is to be refunded of "+invoice.ID, err)
	}
	return &billing.Money{Amount: amount, Currency: invoice.Currency}, nil
}
