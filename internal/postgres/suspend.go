package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Since when, and why, an organisation is suspended; null = it is not. What
// money lifts comes first: paying helps, whatever else is the matter.
const (
	suspendedSince = `(SELECT min(s.at) FROM suspensions s WHERE s.org_id = organizations.id AND s.lifted_at IS NULL)`
	suspendedWhy   = `(SELECT min(CASE WHEN s.invoice_id IS NULL THEN 'suspended' ELSE 'payment_overdue' END)
          FROM suspensions s WHERE s.org_id = organizations.id AND s.lifted_at IS NULL)`
)

// itself is who changes what nobody asked for: the product, by its rules.
func itself(reason string) billing.Actor { return billing.Actor{Name: "arrears", Reason: reason} }

// suspend blocks the organisation's requests because of this invoice, once ever:
// whoever lifts that by hand has decided for good.
func (c *collecting) suspend(ctx context.Context) error {
	const statement = `
INSERT INTO suspensions (org_id, invoice_id, at)
VALUES (@org, @invoice, @now)
    ON CONFLICT (invoice_id) DO NOTHING`
	tag, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{"org": c.Org, "invoice": c.ID, "now": c.Now})
	if err != nil || tag.RowsAffected() == 0 {
		return wrap("suspend the organization", err)
	}
	c.Suspended = true
	by := itself("invoice " + c.ID + " has been past due for too long")
	if _, err := audit(ctx, c.tx, c.Org, by, "organization.suspend", c.ID, nil, map[string]any{"suspended": billing.SuspendedOverdue}); err != nil {
		return err
	}
	if err := c.notice(ctx, paymentNews{kind: billing.NoticeSuspended, amount: c.amountDue()}); err != nil {
		return err
	}
	return nudge(ctx, c.tx, c.Org, "billing-cycle/"+c.Org)
}

// liftSuspension ends what this invoice has blocked, once it is paid or no longer
// asked for.
func (c *collecting) liftSuspension(ctx context.Context) error {
	const statement = `UPDATE suspensions SET lifted_at = $2 WHERE invoice_id = $1 AND lifted_at IS NULL`
	tag, err := c.tx.Exec(ctx, statement, c.ID, c.Now)
	if err != nil || tag.RowsAffected() == 0 {
		return wrap("lift the suspension", err)
	}
	by := itself("invoice " + c.ID + " is " + string(c.Status))
	if _, err := audit(ctx, c.tx, c.Org, by, "organization.resume", c.ID, map[string]any{"suspended": billing.SuspendedOverdue}, nil); err != nil {
		return err
	}
	return nudge(ctx, c.tx, c.Org, "billing-cycle/"+c.Org)
}

// SuspendOrganization blocks an organisation's requests until somebody resumes
// it. It reports whether that is new.
func (s *Store) SuspendOrganization(ctx context.Context, org string, by billing.Actor) (isNew bool, err error) {
	const statement = `
INSERT INTO suspensions (org_id, at)
SELECT id, coalesce(clock_at, now()) FROM organizations WHERE id = $1
    ON CONFLICT (org_id) WHERE lifted_at IS NULL AND invoice_id IS NULL DO NOTHING`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := lockOrganization(ctx, tx, org); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, statement, org)
		if isNew = err == nil && tag.RowsAffected() > 0; !isNew {
			return err
		}
		if _, err := audit(ctx, tx, org, by, "organization.suspend", org, nil, map[string]any{"suspended": billing.SuspendedByHand}); err != nil {
			return err
		}
		return nudge(ctx, tx, org, "billing-cycle/"+org)
	})
	return isNew, wrap("suspend "+org, err)
}

// ResumeOrganization lets an organisation's requests run again, whatever
// suspended it; an invoice that is still overdue does not suspend it again. It
// reports whether it was suspended.
func (s *Store) ResumeOrganization(ctx context.Context, org string, by billing.Actor) (was bool, err error) {
	const statement = `
UPDATE suspensions
   SET lifted_at = (SELECT coalesce(clock_at, now()) FROM organizations WHERE id = $1)
 WHERE org_id = $1 AND lifted_at IS NULL`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		before, err := lockOrganization(ctx, tx, org)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, statement, org)
		if was = err == nil && tag.RowsAffected() > 0; !was {
			return err
		}
		if _, err := audit(ctx, tx, org, by, "organization.resume", org, map[string]any{"suspended": before.Suspended}, nil); err != nil {
			return err
		}
		return nudge(ctx, tx, org, "billing-cycle/"+org)
	})
	return was, wrap("resume "+org, err)
}
