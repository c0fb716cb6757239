package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// intents lists the provider's payments of an invoice.
func (c *collecting) intents(ctx context.Context) ([]string, error) {
	const statement = `
SELECT DISTINCT stripe_payment_intent_id
  FROM payments
 WHERE invoice_id = $1 AND stripe_payment_intent_id <> ''
 ORDER BY 1`
	rows, err := c.tx.Query(ctx, statement, c.ID)
	if err != nil {
		return nil, wrap("list the provider's payments", err)
	}
	intents, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return intents, wrap("list the provider's payments", err)
}

// adoptReturns takes up news of a refund or dispute that came before its payment
// was known as one of this invoice.
func (c *collecting) adoptReturns(ctx context.Context, intent string) error {
	const statement = `
UPDATE stripe_events
   SET invoice_id = @invoice, outcome = 'news', processed_at = NULL
 WHERE payment_intent_id = @intent AND payment_intent_id <> '' AND invoice_id IS NULL
   AND type ~ '` + returnTypes + `' AND outcome = 'ignored' AND customer_id IN ('', @customer)`
	tag, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{"invoice": c.ID, "intent": intent, "customer": c.Customer})
	c.ReturnNews = c.ReturnNews || tag.RowsAffected() > 0
	return wrap("take up news of a payment", err)
}

// RecordReversals records what the provider says went back of an invoice's
// payments, or is called into question, each state once, and returns how the
// collection stands. The invoice stays as it is: what was paid was paid.
func (s *Store) RecordReversals(ctx context.Context, invoice string, returns billing.Reversals) (stands billing.Collection, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openCollection(ctx, tx, invoice)
		if err != nil {
			return err
		}
		for _, refund := range returns.Refunds {
			if err := c.recordRefund(ctx, refund); err != nil {
				return err
			}
		}
		for _, dispute := range returns.Disputes {
			if err := c.recordDispute(ctx, dispute); err != nil {
				return err
			}
		}
		if err := c.returnNewsRead(ctx); err != nil {
			return err
		}
		stands, err = c.state(ctx)
		return err
	})
	return stands, wrap("record the refunds and disputes of "+invoice, err)
}

// recordRefund records a state of a refund that is not known yet. One that has
// ended stays so: a look that began before may be recorded after.
func (c *collecting) recordRefund(ctx context.Context, r billing.Refund) error {
	const statement = `
INSERT INTO refunds (stripe_refund_id, status, invoice_id, payment_intent_id, amount, reason, made_at)
SELECT @id, @status, @invoice, @intent, @amount, left(@reason, 200), @made_at
 WHERE @status IN ('failed', 'canceled')
    OR NOT EXISTS (SELECT FROM refunds WHERE stripe_refund_id = @id AND status IN ('failed', 'canceled'))
    ON CONFLICT (stripe_refund_id, status) DO NOTHING`
	tag, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{
		"id": r.ID, "status": r.Status, "invoice": c.ID, "intent": r.PaymentIntentID,
		"amount": r.Amount.Amount, "reason": r.Reason, "made_at": r.MadeAt,
	})
	if err != nil || tag.RowsAffected() == 0 {
		return wrap("record refund "+r.ID, err)
	}
	if err := c.bookReturn(ctx, refunds, bookedRefund, r.ID, r.Amount.Amount, r.Status == "pending" || r.Status == "succeeded"); err != nil {
		return err
	}
	after := map[string]any{"refund": r.ID, "status": r.Status, "amount": r.Amount.String()}
	_, err = audit(ctx, c.tx, c.Org, provider, "payments.refund", c.ID, nil, after)
	return err
}

// recordDispute records a state of a dispute that is not known yet. One that is
// decided is open no more.
func (c *collecting) recordDispute(ctx context.Context, d billing.Dispute) error {
	const statement = `
INSERT INTO disputes (stripe_dispute_id, status, invoice_id, payment_intent_id, amount, reason, respond_by, made_at)
SELECT @id, @status, @invoice, @intent, @amount, left(@reason, 200), @respond_by, @made_at
 WHERE @status IN ('won', 'lost')
    OR NOT EXISTS (SELECT FROM disputes WHERE stripe_dispute_id = @id AND status IN ('won', 'lost'))
    ON CONFLICT (stripe_dispute_id, status) DO NOTHING`
	tag, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{
		"id": d.ID, "status": d.Status, "invoice": c.ID, "intent": d.PaymentIntentID,
		"amount": d.Amount.Amount, "reason": d.Reason, "respond_by": d.RespondBy, "made_at": d.MadeAt,
	})
	if err != nil || tag.RowsAffected() == 0 {
		return wrap("record dispute "+d.ID, err)
	}
	taken := d.Status != "won" && !strings.HasPrefix(d.Status, "warning_") // a warning takes nothing yet
	if err := c.bookReturn(ctx, disputes, bookedDispute, d.ID, d.Amount.Amount, taken); err != nil {
		return err
	}
	after := map[string]any{"dispute": d.ID, "status": d.Status, "amount": d.Amount.String()}
	_, err = audit(ctx, c.tx, c.Org, provider, "payments.dispute", c.ID, nil, after)
	return err
}

// bookReturn brings the ledger to where a refund or dispute stands: what it took
// has left cash, and what came back has not. What goes back of an invoice is first
// what belongs to nothing, whichever of its payments it is taken from.
func (c *collecting) bookReturn(ctx context.Context, to account, kind bookingKind, id string, amount decimal.Decimal, taken bool) error {
	const booked = `
SELECT coalesce(sum(e.amount) FILTER (WHERE e.account = @to), 0), coalesce(sum(e.amount) FILTER (WHERE e.account = 'unapplied'), 0),
       count(DISTINCT t.id),
       (SELECT coalesce(-sum(amount), 0) FROM ledger_entries WHERE invoice_id = @invoice AND account = 'unapplied')
  FROM ledger_transactions t
  JOIN ledger_entries e ON e.transaction_id = t.id
 WHERE t.kind = @kind AND t.org_id = @org AND starts_with(t.reference, @reference)`
	var before, beforeUnapplied, unowned decimal.Decimal
	var times int
	reference := id + "/"
	args := pgx.NamedArgs{"kind": kind, "to": to, "org": c.Org, "reference": reference, "invoice": c.ID}
	if err := c.tx.QueryRow(ctx, booked, args).Scan(&before, &beforeUnapplied, &times, &unowned); err != nil {
		return wrap("read what is booked of "+id, err)
	}
	b := c.booking(kind, fmt.Sprintf("%s%d", reference, times+1))
	move := func(into account, amount decimal.Decimal) {
		b.debit(into, c.ID, amount)
		b.credit(cash, c.ID, amount)
	}
	if !taken {
		move(to, before.Neg())
		move(unapplied, beforeUnapplied.Neg())
		return b.post(ctx, c.tx)
	}
	rest := amount.Sub(before).Sub(beforeUnapplied)
	first := decimal.Max(decimal.Zero, decimal.Min(rest, unowned))
	move(unapplied, first)
	move(to, rest.Sub(first))
	return b.post(ctx, c.tx)
}

// Reversals lists the refunds and disputes of an organisation, or of one of its
// invoices ("" = all), by invoice, each as it stands: in the state found last.
func (s *Store) Reversals(ctx context.Context, org, invoice string) (map[string]billing.Reversals, error) {
	const refunds = `
SELECT DISTINCT ON (r.made_at, r.stripe_refund_id)
       r.invoice_id, r.stripe_refund_id, r.status, r.amount, i.currency, r.reason, r.payment_intent_id, r.made_at
  FROM refunds r
  JOIN invoices i ON i.id = r.invoice_id
 WHERE i.org_id = $1 AND ($2 = '' OR i.id = $2)
 ORDER BY r.made_at, r.stripe_refund_id, r.id DESC`
	const disputes = `
SELECT DISTINCT ON (d.made_at, d.stripe_dispute_id)
       d.invoice_id, d.stripe_dispute_id, d.status, d.amount, i.currency, d.reason, d.payment_intent_id, d.respond_by, d.made_at
  FROM disputes d
  JOIN invoices i ON i.id = d.invoice_id
 WHERE i.org_id = $1 AND ($2 = '' OR i.id = $2)
 ORDER BY d.made_at, d.stripe_dispute_id, d.id DESC`
	all := map[string]billing.Reversals{}
	var id string
	rows, err := s.pool.Query(ctx, refunds, org, invoice)
	if err != nil {
		return nil, wrap("list refunds", err)
	}
	var r billing.Refund
	_, err = pgx.ForEachRow(rows, []any{&id, &r.ID, &r.Status, &r.Amount.Amount, &r.Amount.Currency, &r.Reason, &r.PaymentIntentID, &r.MadeAt}, func() error {
		r.MadeAt = r.MadeAt.UTC()
		returns := all[id]
		returns.Refunds = append(returns.Refunds, r)
		all[id] = returns
		return nil
	})
	if err != nil {
		return nil, wrap("list refunds", err)
	}
	if rows, err = s.pool.Query(ctx, disputes, org, invoice); err != nil {
		return nil, wrap("list disputes", err)
	}
	var d billing.Dispute
	var respondBy *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &d.ID, &d.Status, &d.Amount.Amount, &d.Amount.Currency, &d.Reason, &d.PaymentIntentID, &respondBy, &d.MadeAt}, func() error {
		d.MadeAt, d.RespondBy = d.MadeAt.UTC(), nil
		if respondBy != nil {
			at := respondBy.UTC()
			d.RespondBy = &at
		}
		returns := all[id]
		returns.Disputes = append(returns.Disputes, d)
		all[id] = returns
		return nil
	})
	return all, wrap("list disputes", err)
}
