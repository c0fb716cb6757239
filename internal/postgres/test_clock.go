package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// RegisterWait notes what a workflow of an organisation on a test clock waits
// for, and returns the clock's time.
func (s *Store) RegisterWait(ctx context.Context, wait billing.Wait) (now time.Time, err error) {
	const statement = `
WITH registered AS (
    INSERT INTO waits (workflow_id, org_id, what, wake_at, seen, registered_at)
    VALUES (@workflow, @org, @what, @until, @seen, now())
        ON CONFLICT (workflow_id) DO UPDATE
       SET what = excluded.what, wake_at = excluded.wake_at, seen = excluded.seen, registered_at = now()
)
SELECT coalesce(clock_at, now()) FROM organizations WHERE id = @org`
	err = s.pool.QueryRow(ctx, statement, pgx.NamedArgs{
		"workflow": wait.WorkflowID, "org": wait.Organization, "what": wait.What,
		"until": nullable(wait.Until), "seen": wait.Seen,
	}).Scan(&now)
	return now.UTC(), wrap("register the wait of "+wait.WorkflowID, err)
}

// ClockStatus is how an organisation on a test clock stands.
type ClockStatus struct {
	Now      time.Time
	NextWake time.Time // the smallest time that a workflow waits for; zero = none waits for a time
	NextWhat string
	Busy     []string // workflows that are not at rest, and undelivered news
}

// AtRest reports whether everything that could happen by now has happened.
func (c ClockStatus) AtRest() bool { return len(c.Busy) == 0 }

// ClockStatus says what the organisation's workflows wait for. One is at rest
// once it has registered a wait after its last nudge, for a time that lies
// ahead; the organisation is once all that should run are, and no news waits to
// be delivered.
func (s *Store) ClockStatus(ctx context.Context, orgID string) (status ClockStatus, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		status = ClockStatus{}
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		if !org.TestClock {
			return billing.Conflict("organization %q is not on a test clock", orgID)
		}
		status.Now = org.Now
		expected, err := expectedWorkflows(ctx, tx, org)
		if err != nil {
			return err
		}
		waits, err := readWaits(ctx, tx, orgID)
		if err != nil {
			return err
		}
		for _, workflow := range expected {
			status.add(workflow.ID, waits[workflow.ID])
		}
		return status.addNews(ctx, tx, orgID)
	})
	return status, wrap("read the clock of "+orgID, err)
}

type storedWait struct {
	WorkflowID   string
	What         string
	WakeAt       *time.Time
	Seen, Nudged int64
	Registered   bool
}

func readWaits(ctx context.Context, tx pgx.Tx, org string) (map[string]storedWait, error) {
	const statement = `
SELECT workflow_id, what, wake_at, seen, nudged, registered_at IS NOT NULL
  FROM waits
 WHERE org_id = $1`
	rows, err := tx.Query(ctx, statement, org)
	if err != nil {
		return nil, wrap("read the waits of "+org, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[storedWait])
	waits := make(map[string]storedWait, len(all))
	for _, w := range all {
		waits[w.WorkflowID] = w
	}
	return waits, wrap("read the waits of "+org, err)
}

func (c *ClockStatus) add(workflowID string, w storedWait) {
	switch {
	case !w.Registered:
		c.Busy = append(c.Busy, workflowID+" has not come to a rest yet")
	case w.Seen < w.Nudged:
		c.Busy = append(c.Busy, workflowID+" has news to read")
	case w.WakeAt != nil && !w.WakeAt.After(c.Now):
		c.Busy = append(c.Busy, workflowID+" is due: "+w.What)
	case w.WakeAt != nil && (c.NextWake.IsZero() || w.WakeAt.Before(c.NextWake)):
		c.NextWake, c.NextWhat = w.WakeAt.UTC(), w.What
	}
}

func (c *ClockStatus) addNews(ctx context.Context, tx pgx.Tx, org string) error {
	const statement = `
SELECT (SELECT count(*) FROM outbox WHERE org_id = @org),
       (SELECT count(*) FROM payment_notices WHERE org_id = @org AND status = 'pending' AND retry_at IS NULL)`
	var nudges, notices int
	if err := tx.QueryRow(ctx, statement, pgx.NamedArgs{"org": org}).Scan(&nudges, &notices); err != nil {
		return wrap("count the news of "+org, err)
	}
	if nudges > 0 {
		c.Busy = append(c.Busy, "news waits to be delivered")
	}
	if notices > 0 {
		c.Busy = append(c.Busy, "payment notices wait to be delivered")
	}
	return nil
}

// SetClock moves an organisation's test clock forward and nudges every workflow
// whose time has come.
func (s *Store) SetClock(ctx context.Context, orgID string, to time.Time) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		org, err := lockOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		if !org.TestClock {
			return billing.Conflict("organization %q is not on a test clock", orgID)
		}
		to = to.UTC().Truncate(time.Microsecond)
		if to.Before(org.Now) {
			return billing.Invalid("to: %s is before the clock's time %s; a clock only moves forward",
				to.Format(time.RFC3339), org.Now.Format(time.RFC3339))
		}
		if _, err := tx.Exec(ctx, `UPDATE organizations SET clock_at = $2 WHERE id = $1`, orgID, to); err != nil {
			return wrap("set the clock of "+orgID, err)
		}
		waits, err := readWaits(ctx, tx, orgID)
		if err != nil {
			return err
		}
		return wakeDue(ctx, tx, orgID, waits, to)
	})
}

// wakeDue nudges every workflow whose time has come, those among them that only
// wait to deliver a last notice. A wait is dropped with it: whoever is still
// there registers again.
func wakeDue(ctx context.Context, tx pgx.Tx, org string, waits map[string]storedWait, to time.Time) error {
	const drop = `UPDATE waits SET wake_at = NULL, registered_at = NULL WHERE workflow_id = $1`
	for id, w := range waits {
		if !w.Registered || w.WakeAt == nil || w.WakeAt.After(to) {
			continue
		}
		if err := nudge(ctx, tx, org, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, drop, id); err != nil {
			return wrap("drop the wait of "+id, err)
		}
	}
	return nil
}
