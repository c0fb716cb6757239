package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// OutboxChannel is the NOTIFY channel on which the relay hears of news.
const OutboxChannel = "arrears_outbox"

// nudge writes down, in the transaction that makes the news, that a workflow is
// to look at the database. The relay signals it after commit.
func nudge(ctx context.Context, tx querier, org, workflowID string) error {
	const statement = `
WITH added AS (
    INSERT INTO outbox (org_id, workflow_id) VALUES (@org, @workflow) RETURNING id
), noted AS (
    INSERT INTO waits (workflow_id, org_id, nudged)
    SELECT @workflow, @org, 1
      FROM added JOIN organizations ON organizations.id = @org AND clock_at IS NOT NULL
        ON CONFLICT (workflow_id) DO UPDATE SET nudged = waits.nudged + 1
)
SELECT pg_notify('arrears_outbox', '')`
	_, err := tx.Exec(ctx, statement, pgx.NamedArgs{"org": org, "workflow": workflowID})
	return wrap("nudge "+workflowID, err)
}

// seen counts the nudges of a workflow, so that a wait which is registered later
// can say which news had been read. It is read before the news. The row's lock
// orders the count by commit, which no sequence would.
func seen(ctx context.Context, q querier, workflowID string) (last int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce((SELECT nudged FROM waits WHERE workflow_id = $1), 0)`, workflowID).Scan(&last)
	return last, wrap("read the nudges of "+workflowID, err)
}

// Nudge has a workflow of an organisation look at the facts again.
func (s *Store) Nudge(ctx context.Context, org, workflowID string) error {
	return nudge(ctx, s.pool, org, workflowID)
}

const (
	// nudgeClaim is how long nudges belong to the relay that took them. One that dies
	// meanwhile delays them by as much; one that is slower has them signalled twice,
	// which costs a reading.
	nudgeClaim = 10 * time.Second
	// settleNudges bounds the removal of what was delivered.
	settleNudges = 5 * time.Second
	// retryNudge is when a nudge that could not be delivered is tried again.
	retryNudge = 5 * time.Second
)

// RelayNudges takes nudges that are due, has each workflow signalled once by
// deliver, and removes those delivered; the others stay for a later try. Several
// relays may run at once. No transaction is open while deliver runs. It returns how
// many it took.
func (s *Store) RelayNudges(ctx context.Context, limit int, deliver func(ctx context.Context, workflowID string) error) (int, error) {
	const claim = `
UPDATE outbox
   SET due_at = now() + @claim
 WHERE id IN (SELECT id FROM outbox WHERE due_at <= now() ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED)
RETURNING id, workflow_id`
	const settle = `
WITH delivered AS (
    DELETE FROM outbox WHERE id = ANY(@delivered)
)
UPDATE outbox SET due_at = now() + @retry, attempts = attempts + 1 WHERE id = ANY(@failed)`
	found, err := s.pool.Query(ctx, claim, pgx.NamedArgs{"claim": nudgeClaim, "limit": limit})
	if err != nil {
		return 0, wrap("take nudges", err)
	}
	nudges := map[string][]int64{} // by workflow
	taken := 0
	var id int64
	var workflowID string
	if _, err = pgx.ForEachRow(found, []any{&id, &workflowID}, func() error {
		taken++
		nudges[workflowID] = append(nudges[workflowID], id)
		return nil
	}); err != nil || taken == 0 {
		return taken, wrap("take nudges", err)
	}
	delivered, failed := []int64{}, []int64{}
	for _, workflowID := range slices.Sorted(maps.Keys(nudges)) {
		if deliver(ctx, workflowID) == nil {
			delivered = append(delivered, nudges[workflowID]...)
		} else {
			failed = append(failed, nudges[workflowID]...)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleNudges) // what was signalled is, whoever stops
	defer cancel()
	_, err = s.pool.Exec(ctx, settle, pgx.NamedArgs{"delivered": delivered, "failed": failed, "retry": retryNudge})
	return taken, wrap("settle nudges", err)
}

// Listen waits for news in the outbox, at most as long as ctx lasts.
func (s *Store) Listen(ctx context.Context, heard func()) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap("listen", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `LISTEN `+OutboxChannel); err != nil {
		return wrap("listen", err)
	}
	heard() // what came before we listened
	for {
		if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
			// The connection goes back to the pool in an unknown state: end it.
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
			return wrap("listen", err)
		}
		heard()
	}
}
