package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// SweptTo is up to when a list of the provider's was read, and which incarnation
// of the database knows that.
func (s *Store) SweptTo(ctx context.Context, list string) (swept billing.Swept, err error) {
	const statement = `
SELECT (SELECT max(swept_to) FROM provider_sweeps WHERE list = $1), ` + presentEpoch + `, ` + recoveryPending + `
  FROM database_incarnation`
	var to *time.Time
	err = s.pool.QueryRow(ctx, statement, list).Scan(&to, &swept.Incarnation, &swept.Behind)
	swept.To = instant(to)
	return swept, wrap("read how far the provider's "+list+" were swept", err)
}

// RecordSweep records up to when a list was read by an incarnation of the
// database. It never goes back. Another one that took its place meanwhile may have
// forgotten what was read, and has to read it by itself.
func (s *Store) RecordSweep(ctx context.Context, list string, to time.Time, incarnation string) error {
	const statement = `
INSERT INTO provider_sweeps AS p (list, swept_to)
SELECT $1, $2::timestamptz FROM database_incarnation WHERE ` + presentEpoch + ` = $3
    ON CONFLICT (list) DO UPDATE SET swept_to = greatest(p.swept_to, excluded.swept_to)`
	_, err := s.pool.Exec(ctx, statement, list, to, incarnation)
	return wrap("record a sweep of the provider's "+list, err)
}

// typeRefresh is the type of an event that the provider did not send: nobody told of
// the invoice for a day, so it is looked at.
const typeRefresh = "invoice.look"

// RequestRefresh has unsettled invoices looked at whose provider has not been asked
// by itself for a day, those first that waited longest. Organisations on test
// clocks are left alone: what happens to them happens when their clock is moved.
func (s *Store) RequestRefresh(ctx context.Context, limit int) (asked int, err error) {
	const due = `
SELECT i.id, i.org_id, coalesce(o.stripe_customer_id, ''), i.stripe_invoice_id, now()
  FROM invoices i
  JOIN organizations o ON o.id = i.org_id
 WHERE i.status IN ('open', 'past_due', 'written_off')
   AND i.stripe_finalized_at < now() - interval '1 day'
   AND coalesce(i.swept_at < now() - interval '1 day', true)
   AND o.clock_at IS NULL
 ORDER BY i.swept_at NULLS FIRST
 LIMIT $1
   FOR NO KEY UPDATE OF i SKIP LOCKED`
	const insert = `
INSERT INTO stripe_events (id, type, object_id, customer_id, stripe_invoice_id, invoice_id, created_at, outcome)
VALUES (@id, '` + typeRefresh + `', @stripe_invoice, @customer, @stripe_invoice, @invoice, @now, 'news')
    ON CONFLICT (id) DO NOTHING`
	const swept = `UPDATE invoices SET swept_at = now() WHERE id = $1`
	type row struct {
		ID, Org, Customer, StripeInvoice string
		Now                              time.Time
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, due, limit)
		if err != nil {
			return err
		}
		rows, err := pgx.CollectRows(found, pgx.RowToStructByPos[row])
		if err != nil {
			return err
		}
		for _, r := range rows {
			_, err := tx.Exec(ctx, insert, pgx.NamedArgs{
				"id": fmt.Sprintf("look/%s/%d", r.ID, r.Now.Unix()), "invoice": r.ID, "customer": r.Customer,
				"stripe_invoice": r.StripeInvoice, "now": r.Now,
			})
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, swept, r.ID); err != nil {
				return err
			}
			if err := nudge(ctx, tx, r.Org, "collect/"+r.ID); err != nil {
				return err
			}
		}
		asked = len(rows)
		return nil
	})
	return asked, wrap("request looks at unsettled invoices", err)
}

// isUnknown tells of a row o of provider_orphans that nothing here names its
// invoice. Each is looked up by index, one by one: as an anti-join the planner
// would rather read all invoices.
const isUnknown = `
       (SELECT v.invoice_id FROM provider_invoices v WHERE v.stripe_invoice_id = o.stripe_invoice_id LIMIT 1) IS NULL`

// isOrphan tells of such a row that it is still one: not known here since, and
// there when the list was last read.
const isOrphan = isUnknown + `
   AND o.status <> 'void'
   AND o.seen_at >= coalesce((SELECT swept_to FROM provider_sweeps WHERE list = 'invoices'), '-infinity')`

// RecordMarks holds invoices found at the provider under our mark against ours.
// One that is recorded nowhere, and not withdrawn, is kept for verify to name; it
// is no orphan any more once it is known or gone. It returns how many are new.
func (s *Store) RecordMarks(ctx context.Context, marks []billing.ProviderMark) (orphans int, err error) {
	const gone = `UPDATE provider_orphans SET status = 'void' WHERE stripe_invoice_id = $1`
	const keep = `
INSERT INTO provider_orphans (stripe_invoice_id, org_id, invoice_id, part, number, status, total, currency, made_at)
SELECT @id, left(@org, 200), left(@invoice, 300), @part, left(@number, 40), @status, @total, @currency, @made_at
 WHERE NOT EXISTS (SELECT FROM provider_invoices WHERE stripe_invoice_id = @id)
    ON CONFLICT (stripe_invoice_id) DO UPDATE
       SET status = excluded.status, total = excluded.total, currency = excluded.currency, seen_at = now()
RETURNING found_at = seen_at`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		orphans = 0
		for _, mark := range marks {
			if mark.Status == providerVoid {
				if _, err := tx.Exec(ctx, gone, mark.StripeID); err != nil {
					return err
				}
				continue
			}
			total := decimal.NullDecimal{Decimal: mark.Total.Amount, Valid: mark.Status != providerDraft}
			rows, err := tx.Query(ctx, keep, pgx.NamedArgs{
				"id": mark.StripeID, "org": mark.Organization, "invoice": mark.Invoice, "part": mark.Part, "number": mark.Number,
				"status": mark.Status, "total": total, "currency": mark.Total.Currency, "made_at": mark.Created,
			})
			if err != nil {
				return err
			}
			isNew, err := pgx.CollectRows(rows, pgx.RowTo[bool])
			if err != nil {
				return err
			}
			if len(isNew) > 0 && isNew[0] {
				orphans++
			}
		}
		return nil
	})
	return orphans, wrap("record invoices found at the provider", err)
}

// OldestOrphan is when the oldest invoice at the provider was made that is
// recorded nowhere here; zero = there is none.
func (s *Store) OldestOrphan(ctx context.Context) (time.Time, error) {
	const statement = `
SELECT min(o.made_at) FROM provider_orphans o WHERE ` + isOrphan
	var oldest *time.Time
	err := s.pool.QueryRow(ctx, statement).Scan(&oldest)
	return instant(oldest), wrap("find the oldest orphan", err)
}

// OrganizationsAfter lists organisations that live in real time by id, some at a
// time.
func (s *Store) OrganizationsAfter(ctx context.Context, after string, limit int) ([]string, error) {
	const statement = `SELECT id FROM organizations WHERE id > $1 AND clock_at IS NULL ORDER BY id LIMIT $2`
	rows, err := s.pool.Query(ctx, statement, after, limit)
	if err != nil {
		return nil, wrap("list organizations", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap("list organizations", err)
}
