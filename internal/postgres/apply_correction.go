package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

func correctionKey(installation string, id int64) string {
	return fmt.Sprintf("correct/%s/%d", installation, id)
}

// toCorrect reports whether the correction that was asked for is the next step. It
// waits for an attempt under way, whose outcome decides what there is to correct,
// and for the provider to know the invoice, unless it is to be withdrawn.
func (c *collecting) toCorrect() bool {
	if c.correction == nil || c.last.inFlight() {
		return false
	}
	return c.Published || c.correction.Kind == billing.CorrectionVoid
}

// beginCorrection records that a correction is about to be carried out.
func (c *collecting) beginCorrection(ctx context.Context) (billing.InvoiceCorrection, error) {
	const tried = `UPDATE invoice_corrections SET tried_at = coalesce(tried_at, now()) WHERE id = $1`
	asked := c.correction
	amount := asked.Amount.Decimal
	step := billing.InvoiceCorrection{
		ID: asked.ID, Kind: asked.Kind, Amount: c.money(amount), Tried: asked.Tried,
		Full:         asked.Amount.Valid && amount.Equal(c.remaining()),
		Installation: c.Installation, IdempotencyKey: correctionKey(c.Installation, asked.ID),
	}
	_, err := c.tx.Exec(ctx, tried, asked.ID)
	return step, wrap("record the intent of a correction", err)
}

// RecordCorrection records what came of carrying out a correction, and returns
// how the collection then stands. Recording it again changes nothing.
func (s *Store) RecordCorrection(ctx context.Context, invoice string, id int64, result billing.CorrectionResult) (state billing.Collection, err error) {
	const kind = `SELECT kind FROM invoice_corrections WHERE id = $1`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		var of billing.CorrectionKind
		if err := tx.QueryRow(ctx, kind, id).Scan(&of); err != nil {
			return err
		}
		if result.State.Status == providerVoid {
			of = billing.CorrectionVoid // what it carried goes free, whatever was asked for
		}
		c, err := openCorrectable(ctx, tx, invoice, of)
		if err != nil {
			return err
		}
		if c.correction != nil && c.correction.ID == id {
			if err := c.recordCorrection(ctx, result); err != nil {
				return err
			}
			if err := c.save(ctx); err != nil {
				return err
			}
		}
		state, err = c.state(ctx)
		return err
	})
	return state, wrap("record the correction of "+invoice, err)
}

func (c *collecting) recordCorrection(ctx context.Context, result billing.CorrectionResult) error {
	switch {
	case result.Done:
		return c.carryOut(ctx, result.StripeID)
	case result.Refused != "":
		return c.refuseCorrection(ctx, result.Refused)
	}
	c.correction.Tried = false // it was looked for, and is not there
	if err := c.apply(ctx, result.State); err != nil {
		return err
	}
	if c.correction == nil {
		return nil // what it has become has decided the correction, too
	}
	return c.refuseCorrection(ctx, "the provider's invoice is "+result.State.Status)
}

// carryOut applies the correction that was asked for.
func (c *collecting) carryOut(ctx context.Context, stripeID string) error {
	asked := c.correction
	c.correction = nil
	before := statusForAudit(c.Status)
	number, toCredit, err := c.applyCorrection(ctx, asked)
	if err != nil {
		return err
	}
	const done = `
UPDATE invoice_corrections
   SET status = 'done', done_at = @now, stripe_id = nullif(@stripe_id, ''), number = nullif(@number, ''), to_credit = @to_credit
 WHERE id = @id`
	_, err = c.tx.Exec(ctx, done, pgx.NamedArgs{
		"id": asked.ID, "now": c.Now, "stripe_id": stripeID, "number": number, "to_credit": toCredit,
	})
	if err != nil {
		return wrap("record that "+c.ID+" is corrected", err)
	}
	after := asked.forAudit(correctionDone)
	after["status"] = c.Status
	if number != "" {
		after["number"] = number
	}
	_, err = audit(ctx, c.tx, c.Org, asked.by(), asked.action(), c.ID, before, after)
	return err
}

func (c *collecting) applyCorrection(ctx context.Context, asked *correction) (number string, toCredit bool, err error) {
	switch asked.Kind {
	case billing.CorrectionVoid:
		if c.Status != billing.StatusVoid {
			if err := c.end(ctx, billing.StatusVoid); err != nil {
				return "", false, err
			}
		}
		return "", false, c.reopenPeriod(ctx)
	case billing.CorrectionWriteOff:
		if c.Status == billing.StatusWrittenOff {
			return "", false, nil
		}
		return "", false, c.end(ctx, billing.StatusWrittenOff)
	case billing.CorrectionSettlement:
		return "", false, c.settle(ctx, fmt.Sprintf("%s/correction/%d", c.ID, asked.ID), asked.Amount.Decimal)
	case billing.CorrectionCreditNote:
	}
	toCredit = !c.unsettled()
	number, err = c.creditNote(ctx, asked.Amount.Decimal, toCredit)
	return number, toCredit, err
}

// settle records a payment that was made otherwise than through the provider.
func (c *collecting) settle(ctx context.Context, reference string, amount decimal.Decimal) error {
	if err := c.bookSettlement(ctx, reference, amount); err != nil {
		return err
	}
	full := amount.Equal(c.remaining())
	if full && c.Later.IsPositive() { // the later parts are never asked for
		c.Later = decimal.Zero
		if err := nudge(ctx, c.tx, c.Org, "invoice/"+c.ID); err != nil {
			return err
		}
	}
	c.AmountSettled = c.AmountSettled.Add(amount)
	if full {
		return c.pay(ctx, 0, c.Now)
	}
	c.AmountPaid = c.AmountPaid.Add(amount)
	c.leaveWhatCannotBeCharged()
	return nil
}

// creditNote draws the number of a credit note and has it lower what is owed, or,
// where nothing is owed any more, be owed to the organisation.
func (c *collecting) creditNote(ctx context.Context, amount decimal.Decimal, toCredit bool) (number string, err error) {
	const draw = `UPDATE installation SET last_credit_note_number = last_credit_note_number + 1 RETURNING last_credit_note_number`
	var n int64
	if err := c.tx.QueryRow(ctx, draw).Scan(&n); err != nil {
		return "", wrap("draw a credit note's number", err)
	}
	number = fmt.Sprintf("CN-%06d", n)
	if toCredit {
		return number, c.bookCreditNote(ctx, number, amount, credits)
	}
	if err := c.bookCreditNote(ctx, number, amount, receivable); err != nil {
		return "", err
	}
	c.AmountCredited = c.AmountCredited.Add(amount)
	if c.remaining().IsPositive() {
		c.leaveWhatCannotBeCharged()
		return number, nil
	}
	c.Status, c.RetryRequested, c.NextAttemptAt = billing.StatusSettled, false, nil
	if c.AmountPaid.IsPositive() {
		c.Status, c.PaidAt = billing.StatusPaid, &c.Now
	}
	return number, c.dismissEvents(ctx)
}

// leaveWhatCannotBeCharged hands an invoice to a person whose remainder is below
// the provider's smallest charge.
func (c *collecting) leaveWhatCannotBeCharged() {
	if c.remaining().LessThan(c.Currency.SmallestCharge().Amount) {
		c.Status, c.RetryRequested, c.NextAttemptAt = billing.StatusPastDue, false, nil
	}
}

// decideCorrection ends a correction that was asked for before the invoice came
// to its end otherwise. One that lowers what is owed is owed back where the
// invoice was paid; any other has lost its object.
func (c *collecting) decideCorrection(ctx context.Context) error {
	switch {
	case c.correction == nil:
		return nil
	case c.correction.Kind == billing.CorrectionCreditNote && c.Status == billing.StatusPaid && !c.correction.Tried,
		c.correction.Kind == billing.CorrectionVoid && c.Status == billing.StatusVoid,
		c.correction.Kind == billing.CorrectionWriteOff && c.Status == billing.StatusWrittenOff:
		return c.carryOut(ctx, "")
	case c.unsettled() && c.correction.Kind != billing.CorrectionWriteOff && c.correction.Kind != billing.CorrectionCreditNote:
		return nil // given up meanwhile, and may still be paid or withdrawn
	}
	return c.refuseCorrection(ctx, fmt.Sprintf("the invoice is %s meanwhile", c.Status))
}

func (c *collecting) refuseCorrection(ctx context.Context, why string) error {
	const refuse = `UPDATE invoice_corrections SET status = 'refused', failure = $2, done_at = $3 WHERE id = $1`
	asked := c.correction
	c.correction = nil
	if _, err := c.tx.Exec(ctx, refuse, asked.ID, why, c.Now); err != nil {
		return wrap("refuse the correction of "+c.ID, err)
	}
	after := asked.forAudit(correctionRefused)
	after["failure"] = why
	_, err := audit(ctx, c.tx, c.Org, asked.by(), asked.action(), c.ID, statusForAudit(c.Status), after)
	return err
}
