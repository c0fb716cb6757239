package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// StartCycle notes that an organisation's cycle is to run. Doing it again
// changes nothing.
func (s *Store) StartCycle(ctx context.Context, orgID string, by billing.Actor) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := lockOrganization(ctx, tx, orgID); err != nil {
			return err
		}
		const statement = `UPDATE organizations SET cycle_started_at = now() WHERE id = $1 AND cycle_started_at IS NULL`
		tag, err := tx.Exec(ctx, statement, orgID)
		if err != nil || tag.RowsAffected() == 0 {
			return wrap("start the cycle of "+orgID, err)
		}
		_, err = audit(ctx, tx, orgID, by, "cycle.start", "", nil, nil)
		return err
	})
}

// ExpectedWorkflows lists what must be running for an organisation: its cycle,
// the invoicing of every period that is over and not yet published, and the
// collection of every invoice that is open, of which there is news, or that is to
// be corrected or followed up. Repair starts what of it is missing.
func (s *Store) ExpectedWorkflows(ctx context.Context, orgID string) (expected []billing.ExpectedWorkflow, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		expected, err = expectedWorkflows(ctx, tx, org)
		return err
	})
	return expected, err
}

// expectedOf lists what must be running for an organisation, or (”) for all.
const expectedOf = `
SELECT 'billing-cycle/' || o.id, 'cycle', o.id, p.id, 0, '', NULL::timestamptz
  FROM organizations o
  JOIN LATERAL (SELECT id FROM periods WHERE org_id = o.id AND draft_until IS NULL ORDER BY starts_at LIMIT 1) p ON true
 WHERE (@org = '' OR o.id = @org) AND o.cycle_started_at IS NOT NULL
 UNION ALL
SELECT 'invoice/' || ref.id, 'invoice', p.org_id, p.id, p.revision, ref.id, p.draft_until
  FROM periods p
  JOIN organizations o ON o.id = p.org_id AND o.cycle_started_at IS NOT NULL
 CROSS JOIN LATERAL (SELECT p.org_id || '/' || p.id || CASE WHEN p.revision > 1 THEN '/' || p.revision ELSE '' END AS id) ref
  LEFT JOIN invoices i ON i.id = ref.id
 WHERE (@org = '' OR p.org_id = @org)
   AND p.draft_until IS NOT NULL
   AND (i.id IS NULL OR i.status = 'open' AND i.stripe_finalized_at IS NULL)
 UNION ALL
SELECT 'collect/' || i.id, 'collect', i.org_id, i.period_id, i.revision, i.id, NULL
  FROM invoices i
 WHERE (@org = '' OR i.org_id = @org)
   AND (i.stripe_finalized_at IS NOT NULL OR i.status = 'open')
   AND (i.status = 'open' AND i.stripe_finalized_at IS NOT NULL
        OR EXISTS (SELECT FROM invoice_corrections x WHERE x.invoice_id = i.id AND x.status = 'requested')
        OR i.status = 'past_due' AND (i.retry_requested OR i.follow_up_at IS NOT NULL)
        OR EXISTS (SELECT FROM stripe_events e
                    WHERE e.invoice_id = i.id AND e.processed_at IS NULL
                      AND (i.status IN ('past_due', 'written_off') OR e.type ~ '` + returnTypes + `')))`

func expectedWorkflows(ctx context.Context, tx pgx.Tx, org billing.Organization) ([]billing.ExpectedWorkflow, error) {
	rows, err := tx.Query(ctx, expectedOf, pgx.NamedArgs{"org": org.ID})
	if err != nil {
		return nil, wrap("list the expected workflows of "+org.ID, err)
	}
	expected, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w billing.ExpectedWorkflow, err error) {
		var draft *time.Time
		err = row.Scan(&w.ID, &w.Kind, &w.Organization, &w.Period, &w.Revision, &w.Invoice, &draft)
		w.TestClock, w.DraftUntil = org.TestClock, instant(draft)
		return w, err
	})
	return expected, wrap("list the expected workflows of "+org.ID, err)
}

// ForgetWait drops what a workflow was waiting for, before it is started anew.
func (s *Store) ForgetWait(ctx context.Context, workflowID string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM waits WHERE workflow_id = $1`, workflowID)
	return wrap("forget the wait of "+workflowID, err)
}
