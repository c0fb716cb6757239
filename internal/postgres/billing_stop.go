package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// BillingStop says since when nothing is issued, published or collected, for any
// organisation, and who stopped it for what reason. Behind tells that the provider
// may be ahead of the database: then billing waits until that is made good, also
// where nobody has stopped it and StoppedAt is zero.
type BillingStop struct {
	StoppedAt time.Time // wall clock
	Actor     string
	Reason    string
	Behind    bool
}

// why is what workflows show: it names no person.
func (b BillingStop) why() string {
	if b.StoppedAt.IsZero() {
		return "the database's server started anew or was replaced: what the provider has is looked for first, and then billing goes on by itself"
	}
	return "billing is stopped since " + b.StoppedAt.UTC().Format("2006-01-02 15:04 MST") + "; it goes on with: starter billing resume"
}

// stopLock orders resuming after whoever has just found that billing is stopped:
// those are woken.
const stopLock = "billing-stop"

func readStop(ctx context.Context, q querier) (*BillingStop, error) {
	const statement = `
SELECT s.stopped_at, coalesce(s.actor, ''), coalesce(s.reason, ''), ` + recoveryPending + `
  FROM database_incarnation
  LEFT JOIN billing_stop s ON true`
	stop := &BillingStop{}
	var at *time.Time
	err := q.QueryRow(ctx, statement).Scan(&at, &stop.Actor, &stop.Reason, &stop.Behind)
	if err != nil {
		return nil, wrap("read whether billing is stopped", err)
	}
	if at == nil && !stop.Behind {
		return nil, nil
	}
	stop.StoppedAt = instant(at)
	return stop, nil
}

// billingStopped reports whether billing is stopped; nil = it is not. Where it is,
// it cannot be resumed before the transaction ends, so that whoever is told to
// wait is among those who are woken.
func billingStopped(ctx context.Context, tx pgx.Tx) (*BillingStop, error) {
	stop, err := readStop(ctx, tx)
	if stop == nil || err != nil {
		return nil, err
	}
	if err := lockShared(ctx, tx, stopLock); err != nil {
		return nil, err
	}
	return readStop(ctx, tx)
}

// BillingStop returns whether billing is stopped; nil = it is not.
func (s *Store) BillingStop(ctx context.Context) (*BillingStop, error) { return readStop(ctx, s.pool) }

// CheckBillingEnabled is asked right before each write to the payment provider. It refuses
// with billing.ErrStopped while billing is stopped.
func (s *Store) CheckBillingEnabled(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		stop, err := billingStopped(ctx, tx)
		if err != nil || stop == nil {
			return err
		}
		return billing.Stopped("%s", stop.why())
	})
}

// StopBilling keeps every invoice from being issued, published and collected,
// from now on, until ResumeBilling. Usage is stored and periods end all the
// while. It reports whether that is new.
func (s *Store) StopBilling(ctx context.Context, by billing.Actor) (changed bool, err error) {
	const stop = `INSERT INTO billing_stop (actor, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, stop, by.Name, by.Reason)
		if changed = tag.RowsAffected() > 0; err != nil || !changed {
			return err
		}
		if _, err := audit(ctx, tx, "", by, "billing.stop", "", nil, nil); err != nil {
			return err
		}
		return nudgeAll(ctx, tx) // so that each says why it waits
	})
	return changed, wrap("stop billing", err)
}

// ResumeBilling lets billing go on, with whatever waited for it. It reports whether
// billing was stopped.
func (s *Store) ResumeBilling(ctx context.Context, by billing.Actor) (changed bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := lockExclusive(ctx, tx, stopLock); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM billing_stop`)
		if changed = tag.RowsAffected() > 0; err != nil || !changed {
			return err
		}
		if _, err := audit(ctx, tx, "", by, "billing.resume", "", nil, nil); err != nil {
			return err
		}
		return nudgeAll(ctx, tx)
	})
	return changed, wrap("resume billing", err)
}

// nudgeAll has every workflow that should be running look again.
func nudgeAll(ctx context.Context, tx pgx.Tx) error {
	const statement = `
WITH expected (id, kind, org_id) AS (
    SELECT e.id, e.kind, e.org_id FROM (` + expectedOf + `) AS e (id, kind, org_id, period_id, revision, invoice, draft_until)
), added AS (
    INSERT INTO outbox (org_id, workflow_id) SELECT org_id, id FROM expected
), noted AS (
    INSERT INTO waits (workflow_id, org_id, nudged)
    SELECT e.id, e.org_id, 1
      FROM expected e
      JOIN organizations o ON o.id = e.org_id AND o.clock_at IS NOT NULL
        ON CONFLICT (workflow_id) DO UPDATE SET nudged = waits.nudged + 1
)
SELECT pg_notify('arrears_outbox', '')`
	_, err := tx.Exec(ctx, statement, pgx.NamedArgs{"org": ""})
	return wrap("nudge every workflow", err)
}
