package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// CloseOrganization ends a contract at the organisation's now: the running period
// ends, no further one follows, and later usage is refused. Usage that is stored
// already is billed, so the end lies after the last of it. The last invoice goes
// its way. Doing it again changes nothing; it reports whether that is new.
func (s *Store) CloseOrganization(ctx context.Context, orgID string, by billing.Actor) (changed bool, err error) {
	book, err := s.bookOf(ctx, orgID)
	if err != nil {
		return false, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		changed = false
		if err := lockShared(ctx, tx, bookLock(book)); err != nil {
			return err
		}
		if err := lockExclusive(ctx, tx, termsLock(orgID)); err != nil {
			return err // no usage is stored meanwhile
		}
		org, err := lockOrganization(ctx, tx, orgID)
		if err != nil || !org.ClosedAt.IsZero() {
			return err
		}
		if !org.Now.After(org.StartsAt) {
			return billing.Conflict("the contract of organization %q starts at %s and cannot end before",
				orgID, org.StartsAt.Format(time.RFC3339))
		}
		end, err := contractEnd(ctx, tx, org)
		if err != nil {
			return err
		}
		if err := cutPeriods(ctx, tx, org, end); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE organizations SET closed_at = $2 WHERE id = $1`, orgID, end); err != nil {
			return err
		}
		changed = true
		if _, err := audit(ctx, tx, orgID, by, "organization.close", orgID, nil, map[string]any{"end": end}); err != nil {
			return err
		}
		var started bool
		err = tx.QueryRow(ctx, `SELECT cycle_started_at IS NOT NULL FROM organizations WHERE id = $1`, orgID).Scan(&started)
		if err != nil || !started {
			return err // nobody is there to look
		}
		return nudge(ctx, tx, orgID, "billing-cycle/"+orgID)
	})
	return changed, wrap("close organization "+orgID, err)
}

// contractEnd is now, or right after the last usage where a sender's clock ran
// ahead.
func contractEnd(ctx context.Context, tx pgx.Tx, org billing.Organization) (end time.Time, err error) {
	const last = `
SELECT greatest($2, max(occurred_at) + interval '1 microsecond')
  FROM usage_events
 WHERE org_id = $1 AND occurred_at >= $2`
	err = tx.QueryRow(ctx, last, org.ID, org.Now).Scan(&end)
	return end.UTC(), wrap("find the last usage", err)
}

// cutPeriods ends the period in which the contract ends, and drops those that
// were opened behind it.
func cutPeriods(ctx context.Context, tx pgx.Tx, org billing.Organization, end time.Time) error {
	periods, err := ensurePeriod(ctx, tx, org, end.Add(-time.Microsecond))
	if err != nil {
		return err
	}
	for _, p := range periods {
		switch {
		case !p.Start.Before(end):
			const drop = `DELETE FROM periods WHERE org_id = $1 AND id = $2`
			if _, err := tx.Exec(ctx, drop, org.ID, p.ID); err != nil {
				return wrap("drop period "+p.ID, err)
			}
		case p.End.After(end):
			if err := lockExclusive(ctx, tx, periodLock(org.ID, p.ID)); err != nil {
				return err
			}
			const shorten = `UPDATE periods SET ends_at = $3 WHERE org_id = $1 AND id = $2`
			if _, err := tx.Exec(ctx, shorten, org.ID, p.ID, end); err != nil {
				return wrap("end period "+p.ID, err)
			}
		}
	}
	return nil
}
