package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Payment is one attempt to collect an invoice, as it is listed.
type Payment struct {
	ID              int64                 `json:"id"`
	Invoice         string                `json:"invoice"`
	Attempt         int                   `json:"attempt"`
	Status          billing.PaymentStatus `json:"status"`
	Amount          billing.Money         `json:"amount"`
	FailureCode     string                `json:"failure_code"`
	PaymentMethod   string                `json:"payment_method"`
	PaymentIntentID string                `json:"stripe_payment_intent_id"`
	CreatedAt       time.Time             `json:"created_at"`
	Part            int                   `json:"part"`    // that it is of, of an invoice that is split
	Surplus         bool                  `json:"surplus"` // what it was for was paid already: to be refunded

	Refunds  []billing.Refund  `json:"refunds"`  // of it, at the provider
	Disputes []billing.Dispute `json:"disputes"` // likewise
}

// Payments lists an organisation's payments in the order in which they were made.
func (s *Store) Payments(ctx context.Context, org string) ([]Payment, error) {
	const statement = `
SELECT p.id, p.invoice_id, p.attempt, p.status, p.amount, i.currency, p.failure_code, p.payment_method,
       p.stripe_payment_intent_id, p.created_at, p.part, p.surplus
  FROM payments p
  JOIN invoices i ON i.id = p.invoice_id
 WHERE i.org_id = $1
 ORDER BY p.id`
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, statement, org)
	if err != nil {
		return nil, wrap("list the payments of "+org, err)
	}
	payments, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Payment, err error) {
		err = row.Scan(&p.ID, &p.Invoice, &p.Attempt, &p.Status, &p.Amount.Amount, &p.Amount.Currency, &p.FailureCode,
			&p.PaymentMethod, &p.PaymentIntentID, &p.CreatedAt, &p.Part, &p.Surplus)
		p.CreatedAt = p.CreatedAt.UTC()
		return p, err
	})
	if err != nil {
		return nil, wrap("list the payments of "+org, err)
	}
	returns, err := s.Reversals(ctx, org, "")
	for i := range payments {
		payments[i].addReversals(returns[payments[i].Invoice])
	}
	return payments, err
}

// addReversals adds what went back of a payment that succeeded.
func (p *Payment) addReversals(returns billing.Reversals) {
	p.Refunds, p.Disputes = []billing.Refund{}, []billing.Dispute{}
	if p.Status != billing.PaymentSucceeded {
		return
	}
	for _, refund := range returns.Refunds {
		if refund.PaymentIntentID == p.PaymentIntentID {
			p.Refunds = append(p.Refunds, refund)
		}
	}
	for _, dispute := range returns.Disputes {
		if dispute.PaymentIntentID == p.PaymentIntentID {
			p.Disputes = append(p.Disputes, dispute)
		}
	}
}

// RequestRetry has an invoice charged again now, whatever the dunning table says;
// one that was sent is looked up at the provider. Asking again changes nothing
// until the attempt is made.
func (s *Store) RequestRetry(ctx context.Context, invoice string, by billing.Actor) error {
	const request = `UPDATE invoices SET retry_requested = true WHERE id = $1`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openCollection(ctx, tx, invoice)
		if err != nil {
			return err
		}
		switch {
		case c.Status != billing.StatusOpen && c.Status != billing.StatusPastDue:
			return billing.Conflict("invoice %q is %s; only one that is open or past due can be collected", invoice, c.Status)
		case c.Collection == billing.ChargeAutomatically && c.PaymentMethod == "":
			return billing.Conflict("organization %q has no payment method; set one with starter payments set-method %s PM", c.Org, c.Org)
		case !c.chargeable():
			return billing.Conflict("invoice %q: %s remains, less than can be charged; write it off, credit it or mark it paid", c.ID, c.money(c.remaining()))
		case c.RetryRequested:
			return nil
		}
		if _, err := tx.Exec(ctx, request, invoice); err != nil {
			return err
		}
		if _, err := audit(ctx, tx, c.Org, by, "payments.retry", invoice, nil, nil); err != nil {
			return err
		}
		return nudge(ctx, tx, c.Org, "collect/"+invoice)
	})
	return wrap("retry the payment of "+invoice, err)
}

// SetPaymentMethod stores the payment method by which an organisation is charged
// from now on, and has every unpaid invoice charged by it at once; it returns
// which those are. The provider's customer must have the method already.
func (s *Store) SetPaymentMethod(ctx context.Context, org, method string, by billing.Actor) (retried []string, err error) {
	const stored = `SELECT payment_method FROM organizations WHERE id = $1 FOR NO KEY UPDATE`
	const store = `UPDATE organizations SET payment_method = $2 WHERE id = $1`
	if method == "" || len(method) > 255 || strings.ContainsAny(method, " \t\r\n") {
		return nil, billing.Invalid("payment_method: %q; accepted: the provider's id of a payment method, like pm_1N…", method)
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		var before string
		err := tx.QueryRow(ctx, stored, org).Scan(&before)
		if errors.Is(err, pgx.ErrNoRows) {
			return billing.NotFound("organization %q does not exist", org)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, store, org, method); err != nil {
			return err
		}
		if retried, err = retryUnpaid(ctx, tx, org); err != nil {
			return err
		}
		if before == method && len(retried) == 0 {
			return nil
		}
		_, err = audit(ctx, tx, org, by, "payments.set_method", org,
			map[string]any{"payment_method": before}, map[string]any{"payment_method": method, "retried": retried})
		return err
	})
	return retried, wrap("set the payment method of "+org, err)
}

// retryUnpaid asks for another attempt at each unpaid invoice that is charged
// automatically. They are locked in order of their ids.
func retryUnpaid(ctx context.Context, tx pgx.Tx, org string) ([]string, error) {
	const unpaid = `
SELECT id
  FROM invoices
 WHERE org_id = $1 AND status IN ('open', 'past_due') AND collection = 'charge_automatically'
 ORDER BY id
   FOR NO KEY UPDATE`
	const request = `UPDATE invoices SET retry_requested = true WHERE id = ANY($1)`
	rows, err := tx.Query(ctx, unpaid, org)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(ids) == 0 {
		return ids, err
	}
	if _, err := tx.Exec(ctx, request, ids); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := nudge(ctx, tx, org, "collect/"+id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
