package postgres

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

const invoiceColumns = `
       id, number, org_id, period_id, revision, period_start, period_end, status, currency, subtotal, discount, total,
       CASE WHEN status IN ('open', 'past_due') THEN total - amount_paid - amount_credited ELSE 0 END, amount_paid,
       due_at, finalized_at, coalesce(stripe_invoice_id, ''), stripe_hosted_url, collection, content_hash, collection_reason, past_due_at,
       (SELECT timezone FROM organizations o WHERE o.id = org_id)`

func scanInvoice(row pgx.CollectableRow) (i billing.Invoice, err error) {
	var timezone string
	err = row.Scan(&i.ID, &i.Number, &i.Organization, &i.PeriodID, &i.Revision, &i.PeriodStart, &i.PeriodEnd, &i.Status, &i.Currency,
		&i.Subtotal.Amount, &i.Discount.Amount, &i.Total.Amount, &i.AmountDue.Amount, &i.AmountPaid.Amount,
		&i.DueAt, &i.FinalizedAt, &i.StripeInvoiceID, &i.HostedURL, &i.Collection, &i.ContentHash,
		&i.CollectionReason, &i.PastDueAt, &timezone)
	i.Net.Amount = i.Subtotal.Amount.Add(i.Discount.Amount)
	i.PeriodStart, i.PeriodEnd = i.PeriodStart.UTC(), i.PeriodEnd.UTC()
	for _, money := range []*billing.Money{&i.Subtotal, &i.Discount, &i.Net, &i.Total, &i.AmountDue, &i.AmountPaid} {
		money.Currency = i.Currency
	}
	for _, at := range []*time.Time{i.DueAt, i.FinalizedAt, i.PastDueAt} {
		if at != nil {
			*at = at.UTC()
		}
	}
	if err != nil || i.DueAt == nil {
		return i, err
	}
	i.DueDate, err = dueDate(&i, timezone)
	return i, err
}

// Invoice returns an issued invoice with its lines and, if asked for, the member
// parts under them.
func (s *Store) Invoice(ctx context.Context, id string, withMembers bool) (invoice billing.Invoice, err error) {
	if invoice, err = readInvoice(ctx, s.pool, id); err != nil {
		return invoice, err
	}
	returns, err := s.Reversals(ctx, invoice.Organization, id)
	if err != nil {
		return invoice, err
	}
	invoice.Refunds, invoice.Disputes = returns[id].Refunds, returns[id].Disputes
	if invoice.ToRefund, err = readToRefund(ctx, s.pool, &invoice); err != nil {
		return invoice, err
	}
	if invoice.Parts, err = readParts(ctx, s.pool, &invoice); err != nil {
		return invoice, err
	}
	invoice.Lines = []billing.Line{}
	for line, err := range s.InvoiceLines(ctx, id, withMembers) {
		if err != nil {
			return invoice, err
		}
		invoice.Lines = append(invoice.Lines, line)
	}
	invoice.CreditNotes, err = s.creditNotes(ctx, &invoice)
	return invoice, err
}

func (s *Store) creditNotes(ctx context.Context, invoice *billing.Invoice) ([]billing.CreditNote, error) {
	const statement = `
SELECT number, amount, line_key, to_credit, reason, done_at
  FROM invoice_corrections
 WHERE invoice_id = $1 AND number IS NOT NULL
 ORDER BY id`
	rows, err := s.pool.Query(ctx, statement, invoice.ID)
	if err != nil {
		return nil, wrap("read the credit notes of "+invoice.ID, err)
	}
	notes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n billing.CreditNote, err error) {
		n.Amount.Currency = invoice.Currency
		err = row.Scan(&n.Number, &n.Amount.Amount, &n.Line, &n.ToCredit, &n.Reason, &n.IssuedAt)
		n.IssuedAt = n.IssuedAt.UTC()
		return n, err
	})
	return notes, wrap("read the credit notes of "+invoice.ID, err)
}

// readInvoice reads the head of an issued invoice.
func readInvoice(ctx context.Context, q querier, id string) (billing.Invoice, error) {
	rows, err := q.Query(ctx, `SELECT`+invoiceColumns+` FROM invoices WHERE id = $1`, id)
	if err != nil {
		return billing.Invoice{}, wrap("read invoice "+id, err)
	}
	invoice, err := pgx.CollectExactlyOneRow(rows, scanInvoice)
	if errors.Is(err, pgx.ErrNoRows) {
		return invoice, billing.NotFound("invoice %q does not exist", id)
	}
	return invoice, wrap("read invoice "+id, err)
}

// Invoices lists an organisation's issued invoices, the newest period first,
// without their lines.
func (s *Store) Invoices(ctx context.Context, org string) ([]billing.Invoice, error) {
	const statement = `
SELECT` + invoiceColumns + `
  FROM invoices
 WHERE org_id = $1
 ORDER BY period_start DESC, revision DESC`
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, statement, org)
	if err != nil {
		return nil, wrap("list the invoices of "+org, err)
	}
	invoices, err := pgx.CollectRows(rows, scanInvoice)
	return invoices, wrap("list the invoices of "+org, err)
}

// lineRow is a charge line with one of its member parts, or none.
type lineRow struct {
	billing.Line
	number   int
	currency billing.Currency
	member   *string
	quantity decimal.NullDecimal
	exact    decimal.NullDecimal
	amount   decimal.NullDecimal
}

func (r *lineRow) part() billing.Allocation {
	return billing.Allocation{
		User: *r.member, Quantity: r.quantity.Decimal,
		Exact:  billing.Money{Amount: r.exact.Decimal, Currency: r.currency},
		Amount: billing.Money{Amount: r.amount.Decimal, Currency: r.currency},
	}
}

// InvoiceLines reads the charge lines of an invoice in order, one at a time, with
// their member parts if asked for; at no time are more in memory than one line's.
// An invoice that does not exist has none.
func (s *Store) InvoiceLines(ctx context.Context, invoice string, withMembers bool) iter.Seq2[billing.Line, error] {
	return readLines(ctx, s.pool, invoice, withMembers)
}

func readLines(ctx context.Context, q querier, invoice string, withMembers bool) iter.Seq2[billing.Line, error] {
	const statement = `
SELECT l.n, i.currency, l.key, l.kind, l.description, l.product, l.model, l.token_class, l.quantity, l.unit_price, l.per,
       l.exact_amount, l.amount, l.origin_id, m.user_id, m.quantity, m.exact_amount, m.amount
  FROM invoices i
  JOIN invoice_lines l ON l.invoice_id = i.id
  LEFT JOIN invoice_line_members m ON m.invoice_id = l.invoice_id AND m.n = l.n AND @members
 WHERE i.id = @invoice
 ORDER BY l.n, m.user_id`
	return func(yield func(billing.Line, error) bool) {
		rows, err := q.Query(ctx, statement, pgx.NamedArgs{"invoice": invoice, "members": withMembers})
		if err != nil {
			yield(billing.Line{}, wrap("read the lines of "+invoice, err))
			return
		}
		defer rows.Close()
		var line lineRow
		for rows.Next() {
			var next lineRow
			if err := scanLine(rows, &next); err != nil {
				yield(billing.Line{}, wrap("read the lines of "+invoice, err))
				return
			}
			if next.number != line.number {
				if line.number > 0 && !yield(line.Line, nil) {
					return
				}
				line = next
			}
			if next.member != nil {
				line.Members = append(line.Members, next.part())
			}
		}
		if err := rows.Err(); err != nil {
			yield(billing.Line{}, wrap("read the lines of "+invoice, err))
			return
		}
		if line.number > 0 {
			yield(line.Line, nil)
		}
	}
}

func scanLine(row pgx.CollectableRow, l *lineRow) error {
	err := row.Scan(&l.number, &l.currency, &l.Key, &l.Kind, &l.Description, &l.Product, &l.Model, &l.TokenClass, &l.Quantity,
		&l.UnitPrice.Amount, &l.Per, &l.Exact.Amount, &l.Amount.Amount, &l.PeriodOfOrigin,
		&l.member, &l.quantity, &l.exact, &l.amount)
	l.UnitPrice.Currency, l.Exact.Currency, l.Amount.Currency = l.currency, l.currency, l.currency
	return err
}
