package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

type commandTag = pgconn.CommandTag

// IssueInvoice closes a period and writes its invoice in one transaction, or
// says what holds it back: the draft window, a pause, or a reason for which it
// is parked. A parked invoice leaves its period open, so that released and late
// usage still lands in it. Issuing again returns what was issued.
func (s *Store) IssueInvoice(ctx context.Context, orgID, periodID string, revision int) (issued billing.Issued, err error) {
	book, err := s.bookOf(ctx, orgID)
	if err != nil {
		return issued, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		issued, err = issueInvoice(ctx, tx, book, orgID, periodID, revision)
		return err
	})
	return issued, wrap("issue invoice "+billing.InvoiceID(orgID, periodID, revision), err)
}

func issueInvoice(ctx context.Context, tx pgx.Tx, book, orgID, periodID string, revision int) (issued billing.Issued, err error) {
	id := billing.InvoiceID(orgID, periodID, revision)
	last, err := seen(ctx, tx, "invoice/"+id)
	if err != nil {
		return issued, err
	}
	defer func() { issued.Seen = last }() // of a failure, too
	org, p, err := closeIntake(ctx, tx, book, orgID, periodID)
	if err != nil {
		return issued, err
	}
	issued, found, err := issuedBefore(ctx, tx, id)
	issued.Seen = last
	if err != nil || found {
		return issued, err
	}
	if held := heldBack(org, p, revision); held != nil {
		held.Seen = last
		return *held, nil
	}
	if open, err := repricingOpen(ctx, tx, orgID); err != nil || open {
		return billing.Issued{Status: billing.StatusDraft, Reason: "a correction of prices is under way", Seen: last}, err
	}
	invoice, err := draftInvoice(ctx, tx, org, p)
	if err != nil {
		return issued, err
	}
	if invoice.Status == billing.StatusParked {
		const park = `UPDATE periods SET parked_reason = $3 WHERE org_id = $1 AND id = $2`
		_, err := tx.Exec(ctx, park, orgID, periodID, invoice.ParkedReason)
		return billing.Issued{Status: billing.StatusParked, Total: invoice.Total, Reason: invoice.ParkedReason, Seen: last}, err
	}
	items, err := writeInvoice(ctx, tx, org, p, &invoice)
	return billing.Issued{Invoice: id, Status: invoice.Status, Total: invoice.Total, Items: items, Seen: last}, err
}

// closeIntake takes the locks under which a period can close: prices and terms
// shared, the organisation's issuing and the period's usage alone. One invoice of
// an organisation is issued at a time, since each carries what those before it
// left. The period is read after the locks are held.
func closeIntake(ctx context.Context, tx pgx.Tx, book, orgID, periodID string) (org billing.Organization, p period, err error) {
	if err := lockShared(ctx, tx, bookLock(book)); err != nil {
		return org, p, err
	}
	if err := lockShared(ctx, tx, termsLock(orgID)); err != nil {
		return org, p, err
	}
	if err := lockExclusive(ctx, tx, issueLock(orgID)); err != nil {
		return org, p, err
	}
	if err := lockExclusive(ctx, tx, periodLock(orgID, periodID)); err != nil {
		return org, p, err
	}
	if org, err = readOrganization(ctx, tx, orgID); err != nil {
		return org, p, err
	}
	p, err = readPeriod(ctx, tx, orgID, periodID)
	return org, p, err
}

// issuedBefore returns an invoice that was issued already.
func issuedBefore(ctx context.Context, tx pgx.Tx, id string) (issued billing.Issued, found bool, err error) {
	const statement = `
SELECT status, total, currency, (SELECT count(*) FROM provider_items WHERE invoice_id = id)
  FROM invoices
 WHERE id = $1`
	err = tx.QueryRow(ctx, statement, id).Scan(&issued.Status, &issued.Total.Amount, &issued.Total.Currency, &issued.Items)
	if errors.Is(err, pgx.ErrNoRows) {
		return billing.Issued{}, false, nil
	}
	issued.Invoice = id
	return issued, true, wrap("read invoice "+id, err)
}

// heldBack says why a period cannot close yet; nil = it can.
func heldBack(org billing.Organization, p period, revision int) *billing.Issued {
	held := &billing.Issued{Status: billing.StatusDraft}
	switch {
	case revision != p.Revision:
		return &billing.Issued{Status: billing.StatusVoid, Reason: fmt.Sprintf("revision %d was replaced by %d", revision, p.Revision)}
	case p.DraftUntil.IsZero():
		held.Reason, held.HeldUntil = "the period is not over", p.End
	case !org.PausedAt.IsZero():
		held.Reason = "the cycle is paused"
	case org.Now.Before(p.DraftUntil):
		held.Reason, held.HeldUntil = "the draft window runs", p.DraftUntil
	default:
		return nil
	}
	return held
}

// draftInvoice computes the invoice of a period as it stands now. Its status is
// what it would become if it were issued.
func draftInvoice(ctx context.Context, q querier, org billing.Organization, p period) (billing.Invoice, error) {
	invoice := billing.Invoice{
		ID: billing.InvoiceID(org.ID, p.ID, p.Revision), Organization: org.ID, PeriodID: p.ID, Revision: p.Revision,
		PeriodStart: p.Start, PeriodEnd: p.End, Currency: org.Currency,
	}
	statement, err := readStatement(ctx, q, org, p)
	if err != nil {
		return invoice, err
	}
	lines, err := statement.Lines()
	if err != nil {
		if !errors.Is(err, billing.ErrInvalid) {
			return invoice, err
		}
		invoice.Status, invoice.ParkedReason = billing.StatusParked, err.Error()
	}
	money := func(d decimal.Decimal) billing.Money { return billing.Money{Amount: d, Currency: org.Currency} }
	invoice.Lines = lines
	invoice.Subtotal = money(billing.Add(lines, billing.KindSeat, billing.KindSurcharge, billing.KindUsage))
	invoice.Total = money(billing.Add(lines))
	invoice.AmountPaid = money(decimal.Zero)
	if invoice.Status == "" {
		invoice.Status, invoice.ParkedReason = billing.Outcome(invoice.Total)
	}
	parked, err := countParked(ctx, q, org.ID, p)
	if err != nil {
		return invoice, err
	}
	if parked > 0 {
		invoice.Status = billing.StatusParked
		invoice.ParkedReason = fmt.Sprintf("%d events of the period have no price: load one and run starter usage release %s", parked, org.ID)
	}
	invoice.AmountDue = money(decimal.Zero)
	if invoice.Status == billing.StatusOpen {
		invoice.AmountDue = invoice.Total
	}
	return invoice, nil
}

func countParked(ctx context.Context, q querier, org string, p period) (count int64, err error) {
	const statement = `
SELECT count(*)
  FROM usage_events
 WHERE org_id = $1 AND rate_id IS NULL AND NOT void AND occurred_at >= $2 AND occurred_at < $3`
	err = q.QueryRow(ctx, statement, org, p.Start, p.End).Scan(&count)
	return count, wrap("count parked usage", err)
}

// readStatement reads everything that decides the bill of a period.
func readStatement(ctx context.Context, q querier, org billing.Organization, p period) (*billing.Statement, error) {
	calendar, err := org.Calendar()
	if err != nil {
		return nil, err
	}
	statement := &billing.Statement{PeriodID: p.ID, Period: p.span(), Month: calendar.Month(p.Start), Calendar: calendar}
	if statement.Book, err = readPriceBook(ctx, q, org.PriceBook); err != nil {
		return nil, err
	}
	if statement.Seats, err = readSeats(ctx, q, org.ID); err != nil {
		return nil, err
	}
	rates, err := readRates(ctx, q, org.PriceBook)
	if err != nil {
		return nil, err
	}
	if statement.Usage, err = readTotals(ctx, q, org.ID, p.ID, billing.NewRater(statement.Book, rates)); err != nil {
		return nil, err
	}
	statement.Carried, err = readCarried(ctx, q, org.ID, p.Start)
	return statement, err
}

func readTotals(ctx context.Context, q querier, org, periodID string, rater *billing.Rater) ([]billing.UsageTotal, error) {
	const statement = `
SELECT origin_id, user_id, product, model, rate_id,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search
  FROM usage_totals
 WHERE org_id = $1 AND period_id = $2
 ORDER BY user_id, product, model, rate_id, origin_id`
	rows, err := q.Query(ctx, statement, org, periodID)
	if err != nil {
		return nil, wrap("read the totals", err)
	}
	totals, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t billing.UsageTotal, err error) {
		var rate int64
		c := &t.Counts
		err = row.Scan(&t.Origin, &t.User, &t.Product, &t.Model, &rate,
			&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h], &c[billing.CacheRead], &c[billing.WebSearch])
		if t.Rate = rater.ByID(rate); t.Rate == nil && err == nil {
			err = fmt.Errorf("rate %d is not of the organization's price book", rate)
		}
		return t, err
	})
	return totals, wrap("read the totals", err)
}

// readCarried lists earlier invoices that go onto the next one.
func readCarried(ctx context.Context, q querier, org string, before time.Time) ([]billing.Carried, error) {
	const statement = `
SELECT id, number, total
  FROM invoices
 WHERE org_id = $1 AND status = 'carried' AND carried_into IS NULL AND period_start < $2
 ORDER BY id`
	rows, err := q.Query(ctx, statement, org, before)
	if err != nil {
		return nil, wrap("read carried invoices", err)
	}
	carried, err := pgx.CollectRows(rows, pgx.RowToStructByPos[billing.Carried])
	return carried, wrap("read carried invoices", err)
}

// FinalizeInvoice ends the draft window of a period early. Doing it again, or
// once the invoice is issued, changes nothing.
func (s *Store) FinalizeInvoice(ctx context.Context, invoiceID string, by By) error {
	orgID, periodID, revision, err := billing.ParseInvoiceID(invoiceID)
	if err != nil {
		return err
	}
	return s.inTx(ctx, func(tx pgx.Tx) error {
		const statement = `
SELECT p.draft_until, p.closed_at IS NOT NULL, coalesce(o.clock_at, now())
  FROM periods p
  JOIN organizations o ON o.id = p.org_id
 WHERE p.org_id = $1 AND p.id = $2 AND p.revision = $3
   FOR NO KEY UPDATE OF p`
		var draftUntil *time.Time
		var closed bool
		var now time.Time
		err := tx.QueryRow(ctx, statement, orgID, periodID, revision).Scan(&draftUntil, &closed, &now)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return billing.NotFound("invoice %q does not exist", invoiceID)
		case err != nil:
			return wrap("finalize invoice "+invoiceID, err)
		case draftUntil == nil:
			return billing.Conflict("invoice %q has no draft yet: its period runs; end it with starter cycle close %s", invoiceID, orgID)
		case closed:
			return nil
		case !draftUntil.After(now): // held or parked: let it look again
			return nudge(ctx, tx, orgID, "invoice/"+invoiceID)
		}
		const shorten = `UPDATE periods SET draft_until = $3 WHERE org_id = $1 AND id = $2`
		if _, err := tx.Exec(ctx, shorten, orgID, periodID, now); err != nil {
			return wrap("finalize invoice "+invoiceID, err)
		}
		if _, err := audit(ctx, tx, orgID, by, "invoices.finalize", invoiceID, nil, nil); err != nil {
			return err
		}
		return nudge(ctx, tx, orgID, "invoice/"+invoiceID)
	})
}

// PreviewInvoice computes the invoice of the running period as it stands now,
// without any side effect.
func (s *Store) PreviewInvoice(ctx context.Context, orgID string) (invoice billing.Invoice, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		periods, err := readPeriods(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, ok := find(periods, org.Now)
		if !ok {
			return billing.NotFound("organization %q has no running period", orgID)
		}
		if invoice, err = draftInvoice(ctx, tx, org, p); err != nil {
			return err
		}
		if invoice.Status != billing.StatusParked {
			invoice.Status = billing.StatusDraft
		}
		return nil
	})
	return invoice, wrap("preview the invoice of "+orgID, err)
}

// DraftInvoices computes the invoices of the periods that are over and not yet
// closed: drafts and parked ones.
func (s *Store) DraftInvoices(ctx context.Context, orgID string) (drafts []billing.Invoice, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		drafts = nil
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		periods, err := readPeriods(ctx, tx, orgID)
		if err != nil {
			return err
		}
		for _, p := range periods {
			if p.DraftUntil.IsZero() || !p.ClosedAt.IsZero() {
				continue
			}
			draft, err := draftInvoice(ctx, tx, org, p)
			if err != nil {
				return err
			}
			if p.ParkedReason == "" {
				draft.Status, draft.ParkedReason = billing.StatusDraft, ""
			}
			drafts = append(drafts, draft)
		}
		return nil
	})
	return drafts, wrap("compute the drafts of "+orgID, err)
}

// readOnly runs f in a snapshot of the database that nothing changes.
func (s *Store) readOnly(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
}
