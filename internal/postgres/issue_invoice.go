package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
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
		issued, err = s.issueInvoice(ctx, tx, book, orgID, periodID, revision)
		return err
	})
	return issued, wrap("issue invoice "+billing.InvoiceID(orgID, periodID, revision), err)
}

func (s *Store) issueInvoice(ctx context.Context, tx pgx.Tx, book, orgID, periodID string, revision int) (issued billing.Issued, err error) {
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
	held, err := heldBack(ctx, tx, org, p, revision)
	if err != nil {
		return issued, err
	}
	if held != nil {
		held.Seen = last
		return *held, nil
	}
	invoice, statement, holds, err := computeInvoice(ctx, tx, org, p, false)
	if err != nil {
		return issued, err
	}
	if err := s.addBounds(ctx, tx, org, &invoice, &holds); err != nil {
		return issued, err
	}
	if err := meetRemoteInvoice(ctx, tx, &invoice, &holds); err != nil {
		return issued, err
	}
	if holds.Any() {
		released, err := s.release(ctx, tx, &invoice, holds)
		if err != nil {
			return issued, err
		}
		if !released.Done {
			return parkInvoice(ctx, tx, org, p, invoice.Total, released.Why, last)
		}
		invoice.Status, _ = billing.Outcome(invoice.Total)
		invoice.Status, invoice.ParkedReason = released.IssueAs(invoice.Status), ""
		if released.BankTransfer {
			org.Collection = billing.SendInvoice
		}
		if released.Split && org.Collection == billing.ChargeAutomatically {
			for i, amount := range billing.Split(invoice.Total) {
				invoice.Parts = append(invoice.Parts, billing.InvoicePart{Part: i + 1, Amount: amount})
			}
		}
	}
	items, err := writeInvoice(ctx, tx, org, p, &invoice, statement)
	if err != nil {
		return issued, err
	}
	if stop, err := billingStopped(ctx, tx); err != nil || stop != nil {
		return issued, cmp.Or(err, errLostRace) // to whoever stopped billing while this was written
	}
	return billing.Issued{Invoice: id, Status: invoice.Status, Total: invoice.Total, Items: items, MoreParts: len(invoice.Parts) > 1, Seen: last}, nil
}

// parkInvoice notes why an invoice waits for a person.
func parkInvoice(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, total billing.Money, why string, last int64) (billing.Issued, error) {
	const park = `UPDATE periods SET parked_reason = $3 WHERE org_id = $1 AND id = $2`
	_, err := tx.Exec(ctx, park, org.ID, p.ID, why)
	return billing.Issued{Status: billing.StatusParked, Total: total, Reason: why, Seen: last}, wrap("park the invoice of "+p.ID, err)
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
SELECT status, total, currency,
       CASE WHEN parts > 1 THEN 1 ELSE (SELECT count(*) FROM provider_items WHERE invoice_id = id) END,
       part - 1, part < parts AND status IN ('open', 'past_due')
  FROM invoices
 WHERE id = $1`
	err = tx.QueryRow(ctx, statement, id).Scan(&issued.Status, &issued.Total.Amount, &issued.Total.Currency, &issued.Items,
		&issued.ItemsBefore, &issued.MoreParts)
	if errors.Is(err, pgx.ErrNoRows) {
		return billing.Issued{}, false, nil
	}
	issued.Invoice = id
	return issued, true, wrap("read invoice "+id, err)
}

// heldBack says why a period cannot close yet, whatever its invoice says; nil =
// it can.
func heldBack(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, revision int) (*billing.Issued, error) {
	if revision != p.Revision {
		return &billing.Issued{Status: billing.StatusVoid, Reason: fmt.Sprintf("revision %d was replaced by %d", revision, p.Revision)}, nil
	}
	stop, err := billingStopped(ctx, tx)
	if err != nil {
		return nil, err
	}
	held := &billing.Issued{Status: billing.StatusDraft}
	switch {
	case stop != nil:
		held.Reason, held.Stopped = stop.why(), true
	case p.DraftUntil.IsZero():
		held.Reason, held.HeldUntil = "the period is not over", p.End
	case !org.PausedAt.IsZero():
		held.Reason = "the cycle is paused"
	case org.Now.Before(p.DraftUntil):
		held.Reason, held.HeldUntil = "the draft window runs", p.DraftUntil
	default:
		open, err := repricingOpen(ctx, tx, org.ID)
		if err != nil || !open {
			return nil, err
		}
		held.Reason = "a correction of prices is under way"
	}
	return held, nil
}

// draftInvoice computes the invoice of a period as it stands now, with its member
// parts if asked for. Its status is what it would become if it were issued, were
// it not for bounds and approval.
func draftInvoice(ctx context.Context, q querier, org billing.Organization, p period, withMembers bool) (billing.Invoice, error) {
	invoice, _, _, err := computeInvoice(ctx, q, org, p, withMembers)
	return invoice, err
}

// computeInvoice is draftInvoice, with what the bill was made of and what keeps
// it from being issued.
func computeInvoice(
	ctx context.Context, q querier, org billing.Organization, p period, withMembers bool,
) (invoice billing.Invoice, statement *billing.Statement, holds billing.Holds, err error) {
	invoice = billing.Invoice{
		ID: billing.InvoiceID(org.ID, p.ID, p.Revision), Organization: org.ID, PeriodID: p.ID, Revision: p.Revision,
		PeriodStart: p.Start, PeriodEnd: p.End, Currency: org.Currency, Collection: org.Collection,
	}
	statement, err = readStatement(ctx, q, org, p, withMembers)
	var lines []billing.Line
	if err == nil {
		lines, err = statement.Lines()
	}
	if err != nil {
		if !errors.Is(err, billing.ErrInvalid) {
			return invoice, nil, holds, err
		}
		holds.Faults = append(holds.Faults, err.Error())
	}
	money := func(d decimal.Decimal) billing.Money { return billing.Money{Amount: d, Currency: org.Currency} }
	invoice.Lines = lines
	invoice.AddUp()
	invoice.AmountPaid, invoice.AmountDue = money(decimal.Zero), money(decimal.Zero)
	parked, err := countParked(ctx, q, org.ID, p)
	if err != nil {
		return invoice, nil, holds, err
	}
	if parked > 0 {
		holds.Faults = append(holds.Faults,
			fmt.Sprintf("%d events of the period have no price: load one and run starter usage release %s, or starter usage discard", parked, org.ID))
	}
	roundTotal(&invoice)
	invoice.Status, holds.Oversize = billing.Outcome(invoice.Total)
	if holds.Any() {
		invoice.Status, invoice.ParkedReason = billing.StatusParked, holds.String()
	}
	if invoice.Status == billing.StatusOpen {
		invoice.AmountDue = invoice.Total
	}
	return invoice, statement, holds, nil
}

// roundTotal brings the total of an invoice that will be collected to what can be.
func roundTotal(invoice *billing.Invoice) {
	if status, _ := billing.Outcome(invoice.Total); status != billing.StatusOpen && status != billing.StatusParked {
		return
	}
	if line, rounded := billing.RoundToCharge(invoice.Total, invoice.PeriodID); rounded {
		invoice.Lines = append(invoice.Lines, line)
		invoice.Total.Amount = invoice.Total.Amount.Add(line.Amount.Amount)
	}
}

func countParked(ctx context.Context, q querier, org string, p period) (count int64, err error) {
	const statement = `
SELECT count(*)
  FROM usage_events
 WHERE org_id = $1 AND rate_id IS NULL AND NOT void AND part = 0 AND occurred_at >= $2 AND occurred_at < $3`
	err = q.QueryRow(ctx, statement, org, p.Start, p.End).Scan(&count)
	return count, wrap("count parked usage", err)
}

// readStatement reads everything that decides the bill of a period. Without
// members, usage is summed up across them, so that memory does not grow with
// their number: the lines come out the same.
func readStatement(ctx context.Context, q querier, org billing.Organization, p period, withMembers bool) (*billing.Statement, error) {
	calendar, err := org.Calendar()
	if err != nil {
		return nil, err
	}
	statement := &billing.Statement{PeriodID: p.ID, Period: p.span(), Month: calendar.Month(p.Start), Calendar: calendar}
	if statement.Book, err = readPriceBook(ctx, q, org.PriceBook); err != nil {
		return nil, err
	}
	if statement.Seats, err = readSeatsWithin(ctx, q, org.ID, p.span()); err != nil {
		return nil, err
	}
	rates, err := readRates(ctx, q, org.PriceBook)
	if err != nil {
		return nil, err
	}
	read := sumTotals
	if withMembers {
		read = readTotals
	}
	if statement.Usage, err = read(ctx, q, org.ID, p.ID, billing.NewRater(statement.Book, rates)); err != nil {
		return nil, err
	}
	if statement.Free, err = readFreeUse(ctx, q, org, p, statement); err != nil {
		return nil, err
	}
	if statement.Carried, err = readCarried(ctx, q, org.ID, p.Start); err != nil {
		return nil, err
	}
	if statement.Credits, err = readCredits(ctx, q, org); err != nil {
		return nil, err
	}
	if statement.Discount, err = discountOf(ctx, q, org, p); err != nil {
		return nil, err
	}
	statement.EarlierDiscounts, err = readDiscounts(ctx, q, org.ID)
	return statement, err
}

func readTotals(ctx context.Context, q querier, org, periodID string, rater *billing.Rater) ([]billing.UsageTotal, error) {
	const statement = `
SELECT origin_id, user_id, product, model, rate_id,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution
  FROM usage_totals
 WHERE org_id = $1 AND period_id = $2
 ORDER BY user_id, product, model, rate_id, origin_id`
	return collectTotals(ctx, q, statement, org, periodID, rater)
}

// sumTotals adds up the totals of all users, what is above and what is below zero
// apart: where a retraction undoes another user's usage, nothing is left to pay
// and their line is there all the same. How long code ran stays by user, since
// what is free of it is shared by use.
func sumTotals(ctx context.Context, q querier, org, periodID string, rater *billing.Rater) ([]billing.UsageTotal, error) {
	const sums = `
SELECT t.origin_id, '', t.product, t.model, t.rate_id,
       sum(f(t.input)), sum(f(t.output)), sum(f(t.cache_write_5m)), sum(f(t.cache_write_1h)), sum(f(t.cache_read)), sum(f(t.web_search)), 0
  FROM usage_totals t
 WHERE t.org_id = $1 AND t.period_id = $2
 GROUP BY t.origin_id, t.product, t.model, t.rate_id
 UNION ALL`
	const code = `
SELECT t.origin_id, t.user_id, t.product, t.model, t.rate_id, 0, 0, 0, 0, 0, 0, t.code_execution
  FROM usage_totals t
 WHERE t.org_id = $1 AND t.period_id = $2 AND t.code_execution <> 0`
	above, below := strings.NewReplacer("f(", "greatest(0, "), strings.NewReplacer("f(", "least(0, ")
	return collectTotals(ctx, q, above.Replace(sums)+below.Replace(sums)+code, org, periodID, rater)
}

func collectTotals(ctx context.Context, q querier, statement, org, periodID string, rater *billing.Rater) ([]billing.UsageTotal, error) {
	rows, err := q.Query(ctx, statement, org, periodID)
	if err != nil {
		return nil, wrap("read the totals", err)
	}
	totals, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t billing.UsageTotal, err error) {
		var rate int64
		c := &t.Counts
		err = row.Scan(&t.Origin, &t.User, &t.Product, &t.Model, &rate,
			&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h], &c[billing.CacheRead], &c[billing.WebSearch], &c[billing.CodeExecution])
		if t.Rate = rater.ByID(rate); t.Rate == nil && err == nil {
			err = billing.Invalid("rate %d is not of the organization's price book", rate)
		}
		return t, err
	})
	var unreadable pgx.ScanArgError
	if errors.As(err, &unreadable) { // trying again reads the same
		err = billing.Invalid("column %d: %v", unreadable.ColumnIndex+1, unreadable.Err)
	}
	return totals, wrap("the usage of the period cannot be read", err)
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

// readCredits lists what is left of the organisation's credits, the oldest first.
func readCredits(ctx context.Context, q querier, org billing.Organization) ([]billing.Credit, error) {
	const statement = `
SELECT number, invoice, remaining
  FROM (SELECT n.id, n.number, i.number AS invoice,
               n.amount + (SELECT coalesce(sum(l.amount), 0)
                             FROM invoice_lines l
                             JOIN invoices u ON u.id = l.invoice_id AND u.status <> 'void'
                            WHERE u.org_id = n.org_id AND l.kind = 'credit' AND l.key = 'credit/' || n.number) AS remaining
          FROM invoice_corrections n
          JOIN invoices i ON i.id = n.invoice_id
         WHERE n.org_id = $1 AND n.to_credit) c
 WHERE remaining > 0
 ORDER BY id`
	rows, err := q.Query(ctx, statement, org.ID)
	if err != nil {
		return nil, wrap("read credits", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c billing.Credit, err error) {
		c.Amount.Currency = org.Currency
		err = row.Scan(&c.Number, &c.Invoice, &c.Amount.Amount)
		return c, err
	})
	return list, wrap("read credits", err)
}

// FinalizeInvoice ends the draft window of a period early. Doing it again, or
// once the invoice is issued, changes nothing.
func (s *Store) FinalizeInvoice(ctx context.Context, invoiceID string, by billing.Actor) error {
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

// PreviewInvoice computes the invoice of the running period as it stands now, with
// its member parts if asked for, without any side effect.
func (s *Store) PreviewInvoice(ctx context.Context, orgID string, withMembers bool) (invoice billing.Invoice, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		periods, err := readPeriods(ctx, tx, orgID)
		if err != nil {
			return err
		}
		calendar, err := org.Calendar()
		if err != nil {
			return err
		}
		if org.ClosedAt.IsZero() { // a period that nobody has needed yet is no row
			periods = append(periods, missingPeriods(calendar, org, periods, org.Now)...)
		}
		p, ok := find(periods, org.Now)
		if !ok {
			return billing.NotFound("organization %q has no running period", orgID)
		}
		if invoice, err = draftInvoice(ctx, tx, org, p, withMembers); err != nil {
			return err
		}
		if invoice.Status != billing.StatusParked {
			invoice.Status = billing.StatusDraft
		}
		withoutParts(&invoice, withMembers)
		return nil
	})
	return invoice, wrap("preview the invoice of "+orgID, err)
}

// DraftInvoices computes the invoices of the periods that are over and not yet
// closed, drafts and parked ones, with their member parts if asked for.
func (s *Store) DraftInvoices(ctx context.Context, orgID string, withMembers bool) (drafts []billing.Invoice, err error) {
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
			draft, err := draftInvoice(ctx, tx, org, p, withMembers)
			if err != nil {
				return err
			}
			draft.Status, draft.ParkedReason = billing.StatusDraft, p.ParkedReason
			if p.ParkedReason != "" {
				draft.Status = billing.StatusParked
			}
			withoutParts(&draft, withMembers)
			drafts = append(drafts, draft)
		}
		return nil
	})
	return drafts, wrap("compute the drafts of "+orgID, err)
}

// withoutParts drops the member parts that nobody asked for.
func withoutParts(invoice *billing.Invoice, withMembers bool) {
	for i := range invoice.Lines {
		if !withMembers {
			invoice.Lines[i].Members = nil
		}
	}
}

// readOnly runs f in a snapshot of the database that nothing changes.
func (s *Store) readOnly(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
}
