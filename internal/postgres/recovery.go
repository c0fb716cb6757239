package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// A database can go back in time, while the payment provider does not: restored
// from a backup or a snapshot, or failed over to a server that lacked the last
// commits. Whatever way that happens, a server has to start, or another copy of
// the tables takes their place. So each incarnation, which is the start of the
// server and the object ids of database and table, is taken for one that may have
// gone back, until what the provider has since is known: until then nothing is
// issued, published or collected. All of it can be read by every role, on managed
// servers too.

// epoch is the database's present one.
const epoch = `
(SELECT extract(epoch FROM pg_postmaster_start_time()) || '/' || oid || '/' || 'public.database_incarnation'::regclass::oid
   FROM pg_database WHERE datname = current_database())`

// recoveryPending tells of the row of database_incarnation that the provider may be
// ahead. Before the first worker ran, there was nothing to be behind of.
const recoveryPending = `coalesce(known <> ` + epoch + `, false)`

// presentEpoch is the present incarnation and the one that is known to be level: another
// server, another copy of the tables or somebody's word makes it another one.
const presentEpoch = `(` + epoch + ` || ' ' || coalesce(known, ''))`

// RecoveryPending returns the incarnation, as it is, that has to be made level with the
// provider; "" = it is.
func (s *Store) RecoveryPending(ctx context.Context) (present string, err error) {
	const statement = `SELECT CASE WHEN ` + recoveryPending + ` THEN ` + presentEpoch + ` ELSE '' END FROM database_incarnation`
	err = s.pool.QueryRow(ctx, statement).Scan(&present)
	return present, wrap("read the incarnation of the database", err)
}

// RecordFirstEpoch records the database's first incarnation, before anything is
// done at the provider. Where one is known, nothing changes. One that has
// organisations already may be a backup from before the first worker ran.
func (s *Store) RecordFirstEpoch(ctx context.Context) error {
	const statement = `
UPDATE database_incarnation
   SET known = CASE WHEN EXISTS (SELECT FROM organizations WHERE clock_at IS NULL) THEN '' ELSE ` + epoch + ` END
 WHERE known IS NULL`
	_, err := s.pool.Exec(ctx, statement)
	return wrap("record the incarnation of the database", err)
}

// DeclareRestored has the database taken for one that has gone back, for whoever
// put rows back in a way that leaves no trace. It reports whether that is new. A
// sweep that is under way knows nothing of those rows, and another follows it.
func (s *Store) DeclareRestored(ctx context.Context, by billing.Actor) (changed bool, err error) {
	const lock = `SELECT NOT ` + recoveryPending + ` FROM database_incarnation FOR UPDATE`
	const declare = `UPDATE database_incarnation SET known = 'declared restored ' || extract(epoch FROM clock_timestamp())`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, lock).Scan(&changed); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, declare); err != nil || !changed {
			return err
		}
		_, err = audit(ctx, tx, "", by, "billing.restored", "", nil, nil)
		return err
	})
	return changed, wrap("declare the database restored", err)
}

// RecoveryDone records that what the provider has is known again, if the incarnation
// is still that which began to read it, and lets billing go on. First of all every
// unsettled invoice is looked at, so that nothing is charged by what the database
// had forgotten.
func (s *Store) RecoveryDone(ctx context.Context, present string) error {
	const caughtUp = `UPDATE database_incarnation SET known = ` + epoch + `, caught_up_at = now() WHERE ` + presentEpoch + ` = $1 AND ` + recoveryPending
	const look = `
INSERT INTO stripe_events (id, type, object_id, customer_id, stripe_invoice_id, invoice_id, created_at, outcome)
SELECT 'look/' || i.id || '/behind/' || extract(epoch FROM now()), '` + typeRefresh + `', i.stripe_invoice_id, coalesce(o.stripe_customer_id, ''), i.stripe_invoice_id, i.id, now(), 'news'
  FROM invoices i
  JOIN organizations o ON o.id = i.org_id
 WHERE i.status IN ('open', 'past_due', 'written_off') AND i.stripe_finalized_at IS NOT NULL
    ON CONFLICT (id) DO NOTHING`
	const unknown = `SELECT count(*) FROM provider_orphans o WHERE ` + isOrphan
	by := itself("the database's server started anew or was replaced, and what the provider has is known again")
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := lockExclusive(ctx, tx, stopLock); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, caughtUp, present)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		tag, err = tx.Exec(ctx, look)
		if err != nil {
			return err
		}
		found := map[string]any{"invoices_looked_at": tag.RowsAffected()}
		var orphans int64
		if err := tx.QueryRow(ctx, unknown).Scan(&orphans); err != nil {
			return err
		}
		found["invoices_recorded_nowhere"] = orphans
		if _, err := audit(ctx, tx, "", by, "billing.caught_up", "", nil, found); err != nil {
			return err
		}
		return nudgeAll(ctx, tx)
	})
	return wrap("record that the database is level with the provider", err)
}

// mayBeThere tells of an invoice i of an organisation o that it may be at the
// provider though nothing here says so: its period was over, within the time of a
// call under way, when the database was last found to have gone back, or it was
// seen there: its period may have been ended early. A test clock's time is no
// measure.
const mayBeThere = `
(SELECT b.caught_up_at IS NOT NULL AND (o.clock_at IS NOT NULL OR i.period_end <= b.caught_up_at + interval '1 hour')
     OR EXISTS (SELECT FROM provider_orphans x WHERE x.invoice_id = i.id)
   FROM database_incarnation b)`

// remoteInvoice is an invoice at the provider that bears the mark of one that is not
// written here any more, or not yet again.
type remoteInvoice struct {
	StripeID string
	Status   string
	Number   string
	Final    bool          // and of the whole invoice: the total is to be ours
	Total    billing.Money // so far, or of a part
}

// readRemoteInvoice returns the remote invoice of an invoice, one that says its total if there is
// one; nil = there is none.
func readRemoteInvoice(ctx context.Context, q querier, invoice string) (*remoteInvoice, error) {
	const statement = `
SELECT o.stripe_invoice_id, o.status, o.number, o.part = 0 AND o.total IS NOT NULL AS final, coalesce(o.total, 0), o.currency
  FROM provider_orphans o
 WHERE o.invoice_id = $1 AND ` + isOrphan + `
 ORDER BY final DESC, o.made_at
 LIMIT 1`
	rows, err := q.Query(ctx, statement, invoice)
	if err != nil {
		return nil, wrap("look for the remote invoice of "+invoice, err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t remoteInvoice, err error) {
		err = row.Scan(&t.StripeID, &t.Status, &t.Number, &t.Final, &t.Total.Amount, &t.Total.Currency)
		return t, err
	})
	if err != nil || len(found) == 0 {
		return nil, wrap("look for the remote invoice of "+invoice, err)
	}
	return &found[0], nil
}

// meetRemoteInvoice holds a bill that is about to be issued against what the provider has
// of it already. The same total is the same invoice, which keeps its number; any
// other would be collected beside it, or instead of it.
func meetRemoteInvoice(ctx context.Context, tx pgx.Tx, invoice *billing.Invoice, holds *billing.Holds) error {
	t, err := readRemoteInvoice(ctx, tx, invoice.ID)
	if err != nil || t == nil {
		return err
	}
	invoice.Number = t.Number
	if t.Final && (t.Total.Currency != invoice.Total.Currency || !t.Total.Amount.Equal(invoice.Total.Amount)) {
		undo := "void it there"
		if t.Status == providerPaid {
			undo = "refund it there and clear its metadata"
		}
		holds.Faults = append(holds.Faults, fmt.Sprintf(
			"the provider has this invoice already, %s (%s), over %s, and what is recorded here comes to %s: import again what the database lost, "+
				"or %s; an hour later at most, starter invoices finalize %s", t.StripeID, t.Status, t.Total, invoice.Total, undo, invoice.ID))
	}
	return nil
}

// RecordCustomerMarks keeps customers found at the provider under our mark for
// organisations that name none, which may have to be created again.
func (s *Store) RecordCustomerMarks(ctx context.Context, marks []billing.CustomerMark) error {
	const statement = `
INSERT INTO provider_customers (stripe_customer_id, org_id, stripe_clock_id, made_at)
SELECT @id, left(@org, 200), @clock, @made_at
 WHERE NOT EXISTS (SELECT FROM organizations WHERE stripe_customer_id = @id)
    ON CONFLICT DO NOTHING`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		for _, mark := range marks {
			_, err := tx.Exec(ctx, statement, pgx.NamedArgs{
				"id": mark.StripeID, "org": mark.Organization, "clock": mark.ClockID, "made_at": mark.Created,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return wrap("record customers found at the provider", err)
}
