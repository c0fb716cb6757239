package postgres

import (
	"context"
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

// retryNudge is when a nudge that could not be delivered is tried again.
const retryNudge = 5 * time.Second

// RelayNudges takes nudges that are due, has each workflow signalled once by
// deliver, and removes those delivered; the others stay for a later try. Several
// relays may run at once. It returns how many it took.
func (s *Store) RelayNudges(ctx context.Context, limit int, deliver func(ctx context.Context, workflowID string) error) (int, error) {
	const due = `
SELECT id, workflow_id
  FROM outbox
 WHERE due_at <= now()
 ORDER BY id
 LIMIT $1
   FOR UPDATE SKIP LOCKED`
	const postpone = `UPDATE outbox SET due_at = now() + $2, attempts = attempts + 1 WHERE id = ANY($1)`
	const remove = `DELETE FROM outbox WHERE id = ANY($1)`
	type row struct {
		ID         int64
		WorkflowID string
	}
	taken := 0
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, due, limit)
		if err != nil {
			return err
		}
		rows, err := pgx.CollectRows(found, pgx.RowToStructByPos[row])
		if err != nil {
			return err
		}
		taken = len(rows)
		var delivered, failed []int64
		outcome := map[string]error{}
		for _, r := range rows {
			if _, done := outcome[r.WorkflowID]; !done {
				outcome[r.WorkflowID] = deliver(ctx, r.WorkflowID)
			}
			if outcome[r.WorkflowID] == nil {
				delivered = append(delivered, r.ID)
			} else {
				failed = append(failed, r.ID)
			}
		}
		if _, err := tx.Exec(ctx, remove, delivered); err != nil {
			return err
		}
		if len(failed) == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, postpone, failed, retryNudge)
		return err
	})
	return taken, wrap("relay nudges", err)
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
