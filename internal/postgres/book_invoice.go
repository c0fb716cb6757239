package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// What each event of an invoice's life does to the ledger.

// bookIssued books an invoice as it is issued: its charges are revenue, and what
// they come to is owed. What it carries forward was owed on an earlier invoice
// and is owed on this one from now on.
func bookIssued(ctx context.Context, tx pgx.Tx, org billing.Organization, invoice *billing.Invoice) error {
	b := booking{
		Kind: bookedInvoice, Reference: invoice.ID, Org: org.ID, Invoice: invoice.ID, Currency: invoice.Currency, At: org.Now,
	}
	for i := range invoice.Lines {
		line := &invoice.Lines[i]
		b.debit(receivable, invoice.ID, line.Amount.Amount)
		switch line.Kind {
		case billing.KindCarriedForward:
			b.credit(receivable, strings.TrimPrefix(line.Key, "carried_forward/"), line.Amount.Amount)
		case billing.KindCredit:
			b.credit(credits, invoice.ID, line.Amount.Amount)
		case billing.KindAdjustment:
			b.credit(rounding, invoice.ID, line.Amount.Amount)
		default:
			b.credit(revenue, invoice.ID, line.Amount.Amount)
		}
	}
	return b.post(ctx, tx)
}

func (c *collecting) booking(kind bookingKind, reference string) booking {
	return booking{Kind: kind, Reference: reference, Org: c.Org, Invoice: c.ID, Currency: c.Currency, At: c.Now}
}

// bookPayment books money that an attempt brought in.
func (c *collecting) bookPayment(ctx context.Context, p payment) error {
	b := c.booking(bookedPayment, paymentReference(c.ID, p.Attempt))
	c.receive(&b, cash, p.Amount)
	return b.post(ctx, c.tx)
}

// bookWholePayment books a payment over what remains and over what was received
// before it in parts, which was no payment of its own then: it moves to cash.
func (c *collecting) bookWholePayment(ctx context.Context, p payment, before decimal.Decimal) error {
	const received = `UPDATE payments SET received_before = $3 WHERE invoice_id = $1 AND attempt = $2`
	if _, err := c.tx.Exec(ctx, received, c.ID, p.Attempt, before); err != nil {
		return wrap("record what was received before", err)
	}
	b := c.booking(bookedPayment, paymentReference(c.ID, p.Attempt))
	c.receive(&b, cash, p.Amount.Sub(before))
	b.debit(cash, c.ID, before)
	b.credit(settlements, c.ID, before)
	c.AmountSettled = c.AmountSettled.Sub(before)
	return b.post(ctx, c.tx)
}

func paymentReference(invoice string, attempt int) string {
	return fmt.Sprintf("%s/%d", invoice, attempt)
}

// bookSettlement books what was paid otherwise than by a payment of ours.
func (c *collecting) bookSettlement(ctx context.Context, reference string, amount decimal.Decimal) error {
	b := c.booking(bookedSettlement, reference)
	c.receive(&b, settlements, amount)
	return b.post(ctx, c.tx)
}

// receive applies money to what is owed on the invoice, given up or not. What is
// left over belongs to nothing: it waits to be refunded.
func (c *collecting) receive(b *booking, into account, amount decimal.Decimal) {
	b.debit(into, c.ID, amount)
	owed := decimal.Zero
	if c.unsettled() {
		owed = decimal.Min(amount, c.remaining())
	}
	if c.Status == billing.StatusWrittenOff {
		b.credit(badDebt, c.ID, owed)
	} else {
		b.credit(receivable, c.ID, owed)
	}
	b.credit(unapplied, c.ID, amount.Sub(owed))
}

// bookWriteOff books that nobody expects what is left of the invoice any more.
func (c *collecting) bookWriteOff(ctx context.Context) error {
	b := c.booking(bookedWriteOff, c.ID)
	b.debit(badDebt, c.ID, c.remaining())
	b.credit(receivable, c.ID, c.remaining())
	return b.post(ctx, c.tx)
}

// bookCreditNote books that less is owed for the charges than they were revenue;
// or, where the invoice was paid, that as much is owed back.
func (c *collecting) bookCreditNote(ctx context.Context, number string, amount decimal.Decimal, to account) error {
	b := c.booking(bookedCreditNote, number)
	b.debit(revenue, c.ID, amount)
	b.credit(to, c.ID, amount)
	return b.post(ctx, c.tx)
}

// bookVoid takes back what was booked when the invoice was issued, credited and
// given up, exactly. Money that came in for it belongs to nothing any more.
func (c *collecting) bookVoid(ctx context.Context) error {
	const booked = `
SELECT e.account, e.invoice_id, sum(e.amount)
  FROM ledger_entries e
  JOIN ledger_transactions t ON t.id = e.transaction_id
 WHERE t.invoice_id = $1 AND t.kind IN ('invoice', 'credit_note', 'write_off')
 GROUP BY 1, 2
 ORDER BY 1, 2`
	b := c.booking(bookedVoid, c.ID)
	rows, err := c.tx.Query(ctx, booked, c.ID)
	if err != nil {
		return wrap("read what was booked of "+c.ID, err)
	}
	var e ledgerEntry
	_, err = pgx.ForEachRow(rows, []any{&e.account, &e.invoice, &e.amount}, func() error {
		b.credit(e.account, e.invoice, e.amount)
		return nil
	})
	if err != nil {
		return wrap("read what was booked of "+c.ID, err)
	}
	b.debit(receivable, c.ID, c.AmountPaid)
	b.credit(unapplied, c.ID, c.AmountPaid)
	return b.post(ctx, c.tx)
}
