package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// lockForReopening takes the locks under which an invoice is withdrawn: no price is
// corrected, which would not know of the period, nothing of the organisation is
// issued, and no usage stored in the period, meanwhile.
func lockForReopening(ctx context.Context, tx pgx.Tx, invoice string) error {
	org, period, _, err := billing.ParseInvoiceID(invoice)
	if err != nil {
		return err
	}
	var book string
	err = tx.QueryRow(ctx, `SELECT price_book FROM organizations WHERE id = $1`, org).Scan(&book)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // there is no such invoice either
	}
	if err != nil {
		return wrap("read "+org, err)
	}
	if err := lockShared(ctx, tx, bookLock(book)); err != nil {
		return err
	}
	if err := lockExclusive(ctx, tx, issueLock(org)); err != nil {
		return err
	}
	return lockExclusive(ctx, tx, periodLock(org, period))
}

// checkReopening says why the period of the invoice cannot be billed anew, or nil.
func (c *collecting) checkReopening(ctx context.Context) error {
	const statement = `
SELECT p.closed_at IS NOT NULL, p.revision,
       EXISTS (SELECT
                 FROM price_changes x
                 JOIN usage_totals t ON t.org_id = p.org_id AND t.period_id = p.id
                 JOIN rates r ON r.id = t.rate_id
                WHERE x.book = o.price_book
                  AND x.revision > p.price_revision
                  AND (EXISTS (SELECT FROM unnest(x.models, x.speeds) AS m (model, speed) WHERE (m.model, m.speed) = (r.model, r.speed))
                       OR x.tools AND (t.web_search <> 0 OR t.code_execution <> 0)))
  FROM periods p
  JOIN organizations o ON o.id = p.org_id
 WHERE p.org_id = $1 AND p.id = $2`
	org, period, revision, err := billing.ParseInvoiceID(c.ID)
	if err != nil {
		return err
	}
	var closed, repriced bool
	var current int
	err = c.tx.QueryRow(ctx, statement, org, period).Scan(&closed, &current, &repriced)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return billing.NotFound("organization %q has no period %q", org, period)
	case err != nil:
		return wrap("read period "+period, err)
	case !closed || current != revision:
		return billing.Conflict("invoice %q is void, and its period is billed by revision %d", c.ID, current)
	case repriced:
		return billing.Conflict("invoice %q cannot be voided: prices of its usage were corrected after it was issued, "+
			"and its period would be billed by the old ones; credit what was wrong instead, which is taken off what is due, "+
			"or goes onto the next invoices once it is paid: starter invoices credit %s --amount AMOUNT --reason WHY", c.ID, c.ID)
	}
	return nil
}

// reopenPeriod has the period of a withdrawn invoice billed anew, as the next
// revision, after a draft window of its own. Usage stays where it was billed, and
// late usage lands in the period again until it closes. A period that cannot be
// reopened any more stays closed: verify names it.
func (c *collecting) reopenPeriod(ctx context.Context) error {
	const reopen = `
UPDATE periods p
   SET revision = p.revision + 1, closed_at = NULL, price_revision = NULL, parked_reason = '', draft_until = @now::timestamptz + o.draft_window
  FROM organizations o
 WHERE o.id = p.org_id AND p.org_id = @org AND p.id = @period AND p.revision = @revision AND p.closed_at IS NOT NULL`
	if err := c.checkReopening(ctx); errors.Is(err, billing.ErrConflict) {
		return nil
	} else if err != nil {
		return err
	}
	org, period, revision, err := billing.ParseInvoiceID(c.ID)
	if err != nil {
		return err
	}
	args := pgx.NamedArgs{"org": org, "period": period, "revision": revision, "now": c.Now}
	if _, err := c.tx.Exec(ctx, reopen, args); err != nil {
		return wrap("reopen period "+period, err)
	}
	return nudge(ctx, c.tx, org, "invoice/"+billing.InvoiceID(org, period, revision+1))
}
