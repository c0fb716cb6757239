package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// check says what stands against a correction of the invoice as it is now, and
// fills in what was left open.
func (c *collecting) check(ctx context.Context, asked *correction) error {
	if err := c.checkParts(asked); err != nil {
		return err
	}
	switch asked.Kind {
	case billing.CorrectionVoid:
		return c.checkVoid(ctx)
	case billing.CorrectionWriteOff:
		return c.checkUnpaid("written off")
	case billing.CorrectionSettlement:
		return c.checkSettlement(asked)
	case billing.CorrectionCreditNote:
		return c.checkCreditNote(ctx, asked)
	}
	return billing.Invalid("correction: %q; accepted: void, write_off, settlement, credit_note", asked.Kind)
}

// checkUnpaid accepts an invoice that is being collected.
func (c *collecting) checkUnpaid(done string) error {
	if c.Status == billing.StatusOpen || c.Status == billing.StatusPastDue {
		return nil
	}
	return billing.Conflict("invoice %q is %s; only one that is open or past due can be %s", c.ID, c.Status, done)
}

// checkVoid accepts an unpaid invoice, of which nothing was paid or credited; and
// one that was withdrawn at the provider, whose period is then opened again.
func (c *collecting) checkVoid(ctx context.Context) error {
	if c.Status != billing.StatusVoid {
		if err := c.checkUnpaid("voided"); err != nil {
			return err
		}
	}
	if c.AmountPaid.IsPositive() && c.Later.IsPositive() {
		return billing.Conflict("invoice %q cannot be voided: %s of it was paid, by part; mark the rest paid with starter invoices mark-paid, "+
			"give it up with starter invoices write-off, or credit it once it is paid", c.ID, c.money(c.AmountPaid))
	}
	if c.AmountPaid.IsPositive() || c.AmountCredited.IsPositive() {
		return billing.Conflict("invoice %q cannot be voided: %s was paid and %s credited; credit the rest with starter invoices credit",
			c.ID, c.money(c.AmountPaid), c.money(c.AmountCredited))
	}
	return c.checkReopening(ctx)
}

func (c *collecting) money(amount decimal.Decimal) billing.Money {
	return billing.Money{Amount: amount, Currency: c.Currency}
}

// checkSettlement accepts up to what remains of an invoice that may still be
// paid. The provider lowers what remains only of one that is open there.
func (c *collecting) checkSettlement(asked *correction) error {
	if !c.unsettled() {
		return billing.Conflict("invoice %q is %s: nothing remains to be paid", c.ID, c.Status)
	}
	if !asked.Amount.Valid {
		asked.Amount = decimal.NewNullDecimal(c.remaining())
	}
	if err := c.checkAmount(asked.Amount.Decimal, c.remaining(), "what remains to be paid"); err != nil {
		return err
	}
	if c.Status == billing.StatusWrittenOff && asked.Amount.Decimal.LessThan(c.remaining()) {
		return billing.Conflict("invoice %q is written off: only all of what remains, %s, can be marked paid", c.ID, c.money(c.remaining()))
	}
	return nil
}

// checkAmount accepts what can be charged, up to a bound.
func (c *collecting) checkAmount(amount, most decimal.Decimal, what string) error {
	step := c.Currency.ChargeDigits()
	switch {
	case !amount.IsPositive() || !amount.Equal(amount.Truncate(step)):
		return billing.Invalid("amount: %s; accepted: more than 0, with at most %d decimal places", c.money(amount), step)
	case amount.GreaterThan(most):
		return billing.Conflict("amount: %s is more than %s of invoice %q, %s", c.money(amount), what, c.ID, c.money(most))
	}
	return nil
}

// checkCreditNote accepts up to what remains of an unpaid invoice, and up to what
// was billed and not credited of a settled one; of a line, no more than it is.
func (c *collecting) checkCreditNote(ctx context.Context, asked *correction) error {
	if asked.Reason == "" {
		return billing.Invalid("reason: accepted: why the invoice is credited; it stands on the credit note")
	}
	most, what := c.remaining(), "what remains to be paid"
	switch c.Status {
	case billing.StatusOpen, billing.StatusPastDue:
	case billing.StatusPaid, billing.StatusSettled:
		var err error
		if most, err = c.creditable(ctx); err != nil {
			return err
		}
		what = "what was billed and not credited"
	case billing.StatusCarried:
		return billing.Conflict("invoice %q is carried forward: credit the invoice that bills it", c.ID)
	default:
		return billing.Conflict("invoice %q is %s and cannot be credited", c.ID, c.Status)
	}
	if err := c.checkAmount(asked.Amount.Decimal, most, what); err != nil {
		return err
	}
	return c.checkLine(ctx, asked)
}

// creditable is what an invoice billed, paid by credits or otherwise, and was not
// credited since.
func (c *collecting) creditable(ctx context.Context) (decimal.Decimal, error) {
	const statement = `
SELECT i.total
       - (SELECT coalesce(sum(l.amount), 0) FROM invoice_lines l WHERE l.invoice_id = i.id AND l.kind = 'credit')
       - (SELECT coalesce(sum(n.amount), 0) FROM invoice_corrections n WHERE n.invoice_id = i.id AND n.number IS NOT NULL)
  FROM invoices i
 WHERE i.id = $1`
	var left decimal.Decimal
	err := c.tx.QueryRow(ctx, statement, c.ID).Scan(&left)
	return left, wrap("read what can be credited of "+c.ID, err)
}

func (c *collecting) checkLine(ctx context.Context, asked *correction) error {
	const statement = `
SELECT l.amount - (SELECT coalesce(sum(n.amount), 0)
                     FROM invoice_corrections n
                    WHERE n.invoice_id = l.invoice_id AND n.line_key = l.key AND n.number IS NOT NULL)
  FROM invoice_lines l
 WHERE l.invoice_id = $1 AND l.key = $2`
	if asked.Line == "" {
		return nil
	}
	var left decimal.Decimal
	err := c.tx.QueryRow(ctx, statement, c.ID, asked.Line).Scan(&left)
	if errors.Is(err, pgx.ErrNoRows) {
		return billing.NotFound("invoice %q has no line %q; see the keys with starter invoices show %s -o json", c.ID, asked.Line, c.ID)
	}
	if err != nil {
		return wrap("read line "+asked.Line, err)
	}
	return c.checkAmount(asked.Amount.Decimal, left, "what is left of line "+asked.Line)
}
