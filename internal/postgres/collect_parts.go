package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// nextPart has a split invoice go on with its next part once the one in hand is
// paid: the invoicing of its period makes that known to the provider, and the
// collection begins with it as with an invoice. One that was given up is not asked
// for any more.
func (c *collecting) nextPart(ctx context.Context) error {
	const keep = `INSERT INTO provider_parts (invoice_id, part, stripe_invoice_id, paid_at) VALUES ($1, $2, $3, $4)`
	const next = `
UPDATE invoices
   SET part = part + 1, stripe_invoice_id = NULL, stripe_tried_at = NULL, stripe_finalize_tried_at = NULL,
       stripe_finalized_at = NULL, stripe_hosted_url = ''
 WHERE id = $1`
	if err := c.endAttempt(ctx); err != nil { // an earlier one brought the money
		return err
	}
	if _, err := c.tx.Exec(ctx, keep, c.ID, c.Part, c.StripeInvoiceID, c.Now); err != nil {
		return wrap(fmt.Sprintf("keep part %d of %s", c.Part, c.ID), err)
	}
	if _, err := c.tx.Exec(ctx, next, c.ID); err != nil {
		return wrap("go on to the next part of "+c.ID, err)
	}
	was := map[string]any{"amount_paid": c.AmountPaid.String()}
	c.AmountPaid = c.AmountPaid.Add(c.amountRequested())
	is := map[string]any{"amount_paid": c.AmountPaid.String(), "part": c.Part, "parts": c.Parts}
	if _, err := audit(ctx, c.tx, c.Org, itself("a part of the invoice is paid"), "invoices.part_paid", c.ID, was, is); err != nil {
		return err
	}
	if err := c.dismissEvents(ctx); err != nil { // it was of the part that is paid
		return err
	}
	if c.correction != nil {
		if err := c.refuseCorrection(ctx, fmt.Sprintf("part %d of %d was paid meanwhile", c.Part, c.Parts)); err != nil {
			return err
		}
	}
	if c.Status == billing.StatusPastDue {
		c.Status = billing.StatusOpen
	}
	c.Part, c.StripeInvoiceID, c.Published, c.StripeAttempts = c.Part+1, "", false, 0
	c.FirstAttemptAt, c.NextAttemptAt, c.ScheduledAttempts, c.RetryRequested = nil, nil, 0, false
	const later = `SELECT coalesce(sum(amount), 0) FROM provider_items WHERE invoice_id = $1 AND n > $2`
	if err := c.tx.QueryRow(ctx, later, c.ID, c.Part).Scan(&c.Later); err != nil {
		return wrap("read the later parts of "+c.ID, err)
	}
	return nudge(ctx, c.tx, c.Org, "invoice/"+c.ID)
}

// checkParts says why an invoice of which parts are still to come cannot be
// corrected so, and what can be done instead: the provider knows of no more of it
// than the part in hand.
func (c *collecting) checkParts(asked *correction) error {
	if !c.Later.IsPositive() || !c.unsettled() {
		return nil
	}
	switch asked.Kind {
	case billing.CorrectionCreditNote:
		return billing.Conflict("invoice %q is collected in parts and cannot be credited before the last of %d is asked for; this is part %d; "+
			"credit it then, or once it is paid: the credit goes onto the next invoices", c.ID, c.Parts, c.Part)
	case billing.CorrectionSettlement:
		if asked.Amount.Valid && asked.Amount.Decimal.LessThan(c.remaining()) {
			return billing.Conflict("invoice %q is collected in parts: before the last of %d is asked for, only all of what remains, %s, can be marked paid; "+
				"this is part %d", c.ID, c.Parts, c.money(c.remaining()), c.Part)
		}
	case billing.CorrectionVoid, billing.CorrectionWriteOff: // of the part in hand; the others were never asked for
	}
	return nil
}

// unknownPart reports whether the provider was never told of the part in hand: what
// is settled then, it need not know.
func (c *collecting) unknownPart(ctx context.Context) (bool, error) {
	if c.Part == 1 {
		return false, nil
	}
	var tried bool
	err := c.tx.QueryRow(ctx, `SELECT stripe_tried_at IS NOT NULL FROM invoices WHERE id = $1`, c.ID).Scan(&tried)
	return !tried, wrap("read "+c.ID, err)
}

// readParts reads how the parts of an invoice stand; none = it is not split.
func readParts(ctx context.Context, q querier, invoice *billing.Invoice) ([]billing.InvoicePart, error) {
	const statement = `
SELECT p.n, p.amount,
       CASE WHEN p.n < i.part OR p.n = i.part AND i.status = 'paid' THEN 'paid'
            WHEN i.status IN ('open', 'past_due') AND p.n > i.part  THEN 'waits'
            WHEN i.status IN ('open', 'past_due')                   THEN 'collected'
            ELSE i.status END,
       coalesce(v.stripe_invoice_id, '')
  FROM invoices i
  JOIN provider_items p ON p.invoice_id = i.id
  LEFT JOIN provider_invoices v ON v.invoice_id = i.id AND v.part = p.n
 WHERE i.id = $1 AND i.parts > 1
 ORDER BY p.n`
	rows, err := q.Query(ctx, statement, invoice.ID)
	if err != nil {
		return nil, wrap("read the parts of "+invoice.ID, err)
	}
	parts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.InvoicePart, err error) {
		p.Amount.Currency = invoice.Currency
		err = row.Scan(&p.Part, &p.Amount.Amount, &p.Status, &p.StripeInvoiceID)
		return p, err
	})
	return parts, wrap("read the parts of "+invoice.ID, err)
}
