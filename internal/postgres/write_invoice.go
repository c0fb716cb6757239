package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// writeInvoice closes the period and writes its invoice, lines, member parts and
// the items that the provider is to get; it returns how many those are, of an
// invoice that is split for its first part. The
// number is drawn last: numbers have no gaps, and the row that gives them is
// held for as short a time as can be. The usage lines come without their members'
// parts, which are dealt out as they are written.
func writeInvoice(
	ctx context.Context, tx pgx.Tx, org billing.Organization, p period, invoice *billing.Invoice, statement *billing.Statement,
) (items int, err error) {
	const closePeriod = `
UPDATE periods
   SET closed_at      = $3,
       parked_reason  = '',
       discount       = $5,
       price_revision = (SELECT revision FROM price_books WHERE name = $4)
 WHERE org_id = $1 AND id = $2 AND closed_at IS NULL`
	if _, err := tx.Exec(ctx, closePeriod, org.ID, p.ID, org.Now, org.PriceBook, statement.Discount); err != nil {
		return 0, wrap("close period "+p.ID, err)
	}
	if err := copyLines(ctx, tx, invoice); err != nil {
		return 0, err
	}
	hash, err := copyParts(ctx, tx, org, p, invoice, statement)
	if err != nil {
		return 0, err
	}
	if invoice.Status == billing.StatusOpen {
		if items, err = copyProviderItems(ctx, tx, invoice); err != nil {
			return 0, err
		}
	}
	if err := insertInvoice(ctx, tx, org, invoice, hash); err != nil {
		return 0, err
	}
	const consume = `
UPDATE invoices
   SET carried_into = $2
 WHERE org_id = $1 AND status = 'carried' AND carried_into IS NULL AND id <> $2 AND period_start < $3`
	if _, err := tx.Exec(ctx, consume, org.ID, invoice.ID, p.Start); err != nil {
		return 0, wrap("carry invoices forward", err)
	}
	return items, bookIssued(ctx, tx, org, invoice)
}

func copyProviderItems(ctx context.Context, tx pgx.Tx, invoice *billing.Invoice) (int, error) {
	items := billing.ProviderItems(invoice.Lines)
	if len(invoice.Parts) > 1 {
		items = billing.PartItems(invoice)
	}
	rows := make([][]any, len(items))
	for i, item := range items {
		rows[i] = []any{invoice.ID, item.Number, item.Key, item.Description, item.Amount.Amount}
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"provider_items"},
		[]string{"invoice_id", "n", "key", "description", "amount"}, pgx.CopyFromRows(rows))
	if len(invoice.Parts) > 1 {
		return 1, wrap("write the provider's parts", err)
	}
	return len(items), wrap("write the provider's items", err)
}

func insertInvoice(ctx context.Context, tx pgx.Tx, org billing.Organization, invoice *billing.Invoice, lines *billing.ContentHash) error {
	number, err := drawNumber(ctx, tx, invoice.Number)
	if err != nil {
		return err
	}
	invoice.Number, invoice.FinalizedAt = number, &org.Now
	invoice.ContentHash = lines.Sum(invoice)
	const statement = `
INSERT INTO invoices (id, org_id, period_id, revision, number, status, currency, subtotal, discount, total,
                      period_start, period_end, finalized_at, due_at, collection, net_days, content_hash, parts, collection_reason)
VALUES (@id, @org, @period, @revision, @number, @status, @currency, @subtotal, @discount, @total,
        @start, @end, @now, @due_at, @collection, @net_days, @content_hash, @parts, @reason)`
	args := pgx.NamedArgs{
		"id": invoice.ID, "org": org.ID, "period": invoice.PeriodID, "revision": invoice.Revision, "number": invoice.Number,
		"status": invoice.Status, "currency": invoice.Currency, "subtotal": invoice.Subtotal.Amount, "discount": invoice.Discount.Amount, "total": invoice.Total.Amount,
		"start": invoice.PeriodStart, "end": invoice.PeriodEnd, "now": org.Now, "due_at": nil,
		"collection": org.Collection, "net_days": org.NetDays, "content_hash": invoice.ContentHash,
		"parts": max(len(invoice.Parts), 1), "reason": "",
	}
	if len(invoice.Parts) > 1 {
		args["reason"] = fmt.Sprintf("released to be charged in %d parts", len(invoice.Parts))
	}
	if invoice.Status == billing.StatusOpen {
		if args["due_at"], err = dueAt(org); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, statement, args)
	return wrap("write invoice "+invoice.ID, err)
}

// drawNumber returns the next number, or the one that the invoice bears at the
// provider, from before the database went back. Numbers that others bear there are
// theirs.
func drawNumber(ctx context.Context, tx pgx.Tx, borne string) (string, error) {
	const free = `SELECT NOT EXISTS (SELECT FROM invoices WHERE number = $1)`
	const draw = `
UPDATE installation
   SET last_invoice_number = last_invoice_number + 1
RETURNING 'INV-' || lpad(last_invoice_number::text, greatest(6, length(last_invoice_number::text)), '0')`
	const taken = `SELECT EXISTS (SELECT FROM invoices WHERE number = $1) OR EXISTS (SELECT FROM provider_orphans WHERE number = $1)`
	var keeps bool
	if borne != "" {
		if err := tx.QueryRow(ctx, free, borne).Scan(&keeps); err != nil || keeps {
			return borne, wrap("look for number "+borne, err)
		}
	}
	for {
		var number string
		var isTaken bool
		if err := tx.QueryRow(ctx, draw).Scan(&number); err != nil {
			return "", wrap("draw an invoice number", err)
		}
		if err := tx.QueryRow(ctx, taken, number).Scan(&isTaken); err != nil || !isTaken {
			return number, wrap("look for number "+number, err)
		}
	}
}

// dueAt is when an invoice issued now is due: at once if it is charged, else at the
// end of its due date.
func dueAt(org billing.Organization) (time.Time, error) {
	if org.Collection != billing.SendInvoice {
		return org.Now, nil
	}
	calendar, err := org.Calendar()
	return calendar.DueAt(org.Now, org.NetDays), err
}

func copyLines(ctx context.Context, tx pgx.Tx, invoice *billing.Invoice) error {
	lines := make([][]any, len(invoice.Lines))
	for i, l := range invoice.Lines {
		lines[i] = []any{
			invoice.ID, i + 1, l.Key, string(l.Kind), l.Description, l.Product, l.Model, l.TokenClass,
			l.Quantity, l.UnitPrice.Amount, l.Per, l.Exact.Amount, l.Amount.Amount, l.PeriodOfOrigin,
		}
	}
	columns := []string{
		"invoice_id", "n", "key", "kind", "description", "product", "model", "token_class",
		"quantity", "unit_price", "per", "exact_amount", "amount", "origin_id",
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"invoice_lines"}, columns, pgx.CopyFromRows(lines))
	return wrap("write the lines of "+invoice.ID, err)
}
