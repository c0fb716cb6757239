package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// provider is who changes an invoice at the payment provider: a person there.
var provider = billing.Actor{Name: "provider", Reason: "found so at the payment provider"}

// RecordCharge records what the provider answered to an attempt, and returns how
// the collection then stands. The same answer again changes nothing; what has
// succeeded never becomes anything else.
func (s *Store) RecordCharge(ctx context.Context, invoice string, attempt int, result billing.ChargeResult) (state billing.Collection, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openCollection(ctx, tx, invoice)
		if err != nil {
			return err
		}
		p, found, err := c.payment(ctx, attempt)
		if err != nil {
			return err
		}
		if !found {
			return billing.NotFound("invoice %q has no attempt %d", invoice, attempt)
		}
		if err := c.completeEvents(ctx); err != nil {
			return err
		}
		if p.Part == c.Part { // the provider counts for each part by itself
			c.StripeAttempts = max(c.StripeAttempts, result.AttemptCount)
		}
		if err := c.record(ctx, p, result); err != nil {
			return err
		}
		if err := c.save(ctx); err != nil {
			return err
		}
		state, err = c.state(ctx)
		return err
	})
	return state, wrap("record a charge of "+invoice, err)
}

// record applies an answer to an attempt. Only an attempt that is still open
// takes any answer; a decided one takes only that it succeeded after all.
func (c *collecting) record(ctx context.Context, p payment, result billing.ChargeResult) error {
	said := result.Status == p.Status || result.Status == billing.PaymentUnknown
	if said || (!p.inFlight() && result.Status != billing.PaymentSucceeded) || p.Status == billing.PaymentSucceeded {
		return nil
	}
	if result.Status == billing.PaymentSucceeded {
		known, surplus, err := c.paidBefore(ctx, p, result)
		if err != nil || known {
			return err
		}
		p.Surplus = surplus
	}
	p.Status, p.FailureCode = result.Status, result.FailureCode
	if result.PaymentIntentID != "" {
		p.PaymentIntentID = result.PaymentIntentID
	}
	if result.ChargeID != "" {
		p.ChargeID = result.ChargeID
	}
	if p.Status == billing.PaymentSucceeded {
		p.FailureCode = ""
	}
	if err := c.updatePayment(ctx, p); err != nil {
		return err
	}
	switch {
	case p.Surplus:
		return c.keepSurplus(ctx, p)
	case p.Status == billing.PaymentSucceeded:
		if err := c.bookPayment(ctx, p); err != nil {
			return err
		}
		return c.pay(ctx, p.Attempt, time.Time{})
	case c.Status != billing.StatusOpen || p.Status == billing.PaymentProcessing:
		return nil // nothing to be done about it
	case p.Status == billing.PaymentRequiresAction:
		return c.askPayer(ctx, p)
	case p.FailureCode == failureNotAttempted:
		c.giveBack(p)
		return nil
	}
	return c.dun(ctx, p)
}

// askPayer hands an attempt that the bank wants confirmed to the payer, with the
// provider's page, once: it is no failed attempt, and no other is made by the
// table meanwhile.
func (c *collecting) askPayer(ctx context.Context, p payment) error {
	deadline := billing.PayersDeadline(c.Dunning, *c.FirstAttemptAt, c.Now)
	c.NextAttemptAt = &deadline
	return c.notice(ctx, paymentNews{
		kind: billing.NoticeActionRequired, attempt: p.Attempt, amount: p.Amount, failure: p.FailureCode, nextAt: c.NextAttemptAt,
	})
}

func (c *collecting) updatePayment(ctx context.Context, p payment) error {
	const statement = `
UPDATE payments
   SET status = @status, amount = @amount, failure_code = @failure, stripe_payment_intent_id = @intent, stripe_charge_id = @charge, surplus = @surplus
 WHERE invoice_id = @invoice AND attempt = @attempt`
	_, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{
		"invoice": c.ID, "attempt": p.Attempt, "status": p.Status, "amount": p.Amount, "failure": p.FailureCode,
		"intent": p.PaymentIntentID, "charge": p.ChargeID, "surplus": p.Surplus,
	})
	if p.Attempt == c.last.Attempt {
		c.last = p
	}
	if err != nil {
		return wrap("record the outcome of an attempt", err)
	}
	return c.adoptReturns(ctx, p.PaymentIntentID)
}

// pay marks the invoice paid, by an attempt or (0) otherwise; or the part of it
// that is being collected. A payment of an invoice that was withdrawn leaves it so.
func (c *collecting) pay(ctx context.Context, attempt int, at time.Time) error {
	if !c.unsettled() {
		return nil
	}
	if at.IsZero() || at.After(c.Now) || at.Before(c.FinalizedAt) {
		at = c.Now // the provider's clock is not the organisation's
	}
	if c.Later.IsPositive() {
		return c.nextPart(ctx)
	}
	came := c.remaining()
	c.Status, c.AmountPaid, c.PaidAt = billing.StatusPaid, c.AmountPaid.Add(came), &at
	c.RetryRequested, c.NextAttemptAt = false, nil
	if err := c.dismissEvents(ctx); err != nil {
		return err
	}
	if err := c.decideCorrection(ctx); err != nil {
		return err
	}
	return c.noticeIfWritten(ctx, paymentNews{kind: billing.NoticePaid, attempt: attempt, amount: came})
}

// dun decides what follows an attempt that brought no money: another one on the
// next day of the dunning table, or, after a hard decline or the last day, a
// person. Days that passed meanwhile are gone: a card is not charged several
// times in a row because nobody could charge it in time. An attempt that has
// been asked for since comes before all that.
func (c *collecting) dun(ctx context.Context, p payment) error {
	for next := c.ScheduledAttempts; next < len(c.Dunning); next++ {
		if at, _ := billing.NextAttempt(c.Dunning, *c.FirstAttemptAt, next); at.After(c.Now) {
			break
		}
		c.ScheduledAttempts = next + 1
	}
	at, more := billing.NextAttempt(c.Dunning, *c.FirstAttemptAt, c.ScheduledAttempts)
	c.NextAttemptAt = nil
	if more && !billing.HardDecline(p.FailureCode) {
		c.NextAttemptAt = &at
	}
	news := paymentNews{kind: billing.NoticePaymentFailed, attempt: p.Attempt, amount: p.Amount, failure: p.FailureCode, nextAt: c.NextAttemptAt}
	if c.RetryRequested {
		news.nextAt = &c.Now
	}
	tell := c.notice
	if p.FailureCode == failureNoMethod {
		news.kind, tell = billing.NoticeNoMethod, c.noticeUnlessSaid
	}
	if err := tell(ctx, news); err != nil || news.nextAt != nil {
		return err
	}
	news.kind = billing.NoticePastDue
	return c.pastDue(ctx, news)
}

// pastDue hands the invoice to a person.
func (c *collecting) pastDue(ctx context.Context, news paymentNews) error {
	const action = "invoices.past_due"
	by := itself("no payment came in, and none is tried by itself any more")
	if _, err := audit(ctx, c.tx, c.Org, by, action, c.ID, statusForAudit(c.Status), statusForAudit(billing.StatusPastDue)); err != nil {
		return err
	}
	c.Status, c.NextAttemptAt = billing.StatusPastDue, nil
	if c.PastDueAt == nil {
		c.PastDueAt = &c.Now
	}
	return c.notice(ctx, news)
}

// giveBack undoes what an attempt that was never made has used up: it is due
// again, at once.
func (c *collecting) giveBack(p payment) {
	if !p.Scheduled {
		c.RetryRequested = true
		return
	}
	c.ScheduledAttempts--
	c.NextAttemptAt = &c.Now
	if c.ScheduledAttempts == 0 {
		c.FirstAttemptAt = nil
	}
}

// RecordProviderState records what the provider says of its invoice, and returns
// how the collection then stands.
func (s *Store) RecordProviderState(ctx context.Context, invoice string, state billing.ProviderInvoiceState) (stands billing.Collection, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openStanding(ctx, tx, invoice, state)
		if err != nil {
			return err
		}
		if c.StripeInvoiceID != state.StripeID {
			return billing.Conflict("invoice %q is %q at the provider, not %s", invoice, c.StripeInvoiceID, state.StripeID)
		}
		if c.sent() {
			c.RetryRequested = false // to look was all that could be asked for
		}
		if err := c.completeEvents(ctx); err != nil {
			return err
		}
		if err := c.apply(ctx, state); err != nil {
			return err
		}
		if err := c.save(ctx); err != nil {
			return err
		}
		stands, err = c.state(ctx)
		return err
	})
	return stands, wrap("record the provider's state of "+invoice, err)
}

// openStanding takes an invoice's lock to record how it stands at the provider.
func openStanding(ctx context.Context, tx pgx.Tx, invoice string, state billing.ProviderInvoiceState) (*collecting, error) {
	if state.Status == providerVoid {
		return openCorrectable(ctx, tx, invoice, billing.CorrectionVoid)
	}
	return openCollection(ctx, tx, invoice)
}

// published notes what the provider says when its invoice becomes final. The days
// to pay a sent invoice count from now, in local days: whoever gets it late has as
// long. The provider's own due date counts 24 hours each, and moves nothing.
func (c *collecting) published(ctx context.Context, state billing.ProviderInvoiceState) error {
	if c.sent() {
		due := c.Calendar.DueAt(c.Now, c.NetDays)
		c.DueAt = &due
		sent := paymentNews{kind: billing.NoticeInvoiceSent, amount: c.Total, nextAt: c.DueAt}
		if err := c.notice(ctx, sent); err != nil {
			return err
		}
	}
	c.Published = true
	return c.apply(ctx, state)
}

// apply brings the invoice to where it stands at the provider. What we know to
// be paid or withdrawn stays so: verify names the difference.
func (c *collecting) apply(ctx context.Context, state billing.ProviderInvoiceState) error {
	if !c.unsettled() {
		return nil
	}
	c.StripeAttempts = max(c.StripeAttempts, state.AttemptCount)
	switch state.Status {
	case providerPaid:
		return c.applyPaid(ctx, state)
	case providerVoid:
		return c.applyClosed(ctx, billing.StatusVoid, "invoices.void")
	case providerUncollectible:
		return c.applyClosed(ctx, billing.StatusWrittenOff, "invoices.write_off")
	case providerOpen:
		return c.applyOpen(ctx, state)
	}
	return nil
}

// applyPaid records that the invoice is paid at the provider: by the attempt
// whose answer was missing, by the customer on the provider's page, or otherwise
// than by a charge.
func (c *collecting) applyPaid(ctx context.Context, state billing.ProviderInvoiceState) error {
	charged := state.Charges > 0 || state.PaymentStatus == billing.PaymentSucceeded
	waited := c.last.inFlight() || c.last.Status == billing.PaymentRequiresAction
	success := payment{Status: billing.PaymentSucceeded, PaymentIntentID: state.PaymentIntentID}
	switch {
	case charged && waited:
		confirmed := c.last
		confirmed.Amount = c.remaining() // a credit or a transfer may have lowered it while the payer was asked
		return c.record(ctx, confirmed, billing.ChargeResult{Status: billing.PaymentSucceeded, PaymentIntentID: state.PaymentIntentID})
	case charged:
		before, err := c.receivedBefore(ctx, state)
		if err != nil {
			return err
		}
		success.Amount = c.amountRequested().Add(before)
		if err := c.insertPayment(ctx, success); err != nil {
			return err
		}
		if err := c.bookWholePayment(ctx, c.last, before); err != nil {
			return err
		}
		return c.pay(ctx, c.last.Attempt, state.PaidAt)
	}
	if err := c.endAttempt(ctx); err != nil {
		return err
	}
	if err := c.receiveThere(ctx, c.amountRequested()); err != nil {
		return err
	}
	if c.Later.IsPositive() { // a part, of which the audit trail is told by itself
		return c.pay(ctx, 0, state.PaidAt)
	}
	if _, err := audit(ctx, c.tx, c.Org, provider, "invoices.paid", c.ID, statusForAudit(c.Status), statusForAudit(billing.StatusPaid)); err != nil {
		return err
	}
	return c.pay(ctx, 0, state.PaidAt)
}

// receivedBefore is how much of what a charge of the provider's comes to was
// received as transfers before: once they pay all, the provider shows one charge
// over all of them.
func (c *collecting) receivedBefore(ctx context.Context, state billing.ProviderInvoiceState) (decimal.Decimal, error) {
	const received = `
SELECT coalesce((SELECT sum(s.amount) FROM provider_settlements s WHERE s.invoice_id = $1 AND s.part = $2), 0)`
	var before decimal.Decimal
	if err := c.tx.QueryRow(ctx, received, c.ID, c.Part).Scan(&before); err != nil {
		return before, wrap("read the settlements", err)
	}
	more := state.Charged.Amount.Sub(c.amountRequested())
	return decimal.Max(decimal.Zero, decimal.Min(more, before)), nil
}

// applyClosed records that somebody withdrew the invoice at the provider, or gave
// it up.
func (c *collecting) applyClosed(ctx context.Context, status billing.InvoiceStatus, action string) error {
	if c.Status == status {
		return nil
	}
	if err := c.endAttempt(ctx); err != nil {
		return err
	}
	if _, err := audit(ctx, c.tx, c.Org, provider, action, c.ID, statusForAudit(c.Status), statusForAudit(status)); err != nil {
		return err
	}
	if err := c.end(ctx, status); err != nil {
		return err
	}
	return c.decideCorrection(ctx)
}

// end withdraws the invoice or gives it up. What a withdrawn one carried, and the
// credits that it used, go onto the next invoice instead.
func (c *collecting) end(ctx context.Context, status billing.InvoiceStatus) error {
	const release = `UPDATE invoices SET carried_into = NULL WHERE carried_into = $1`
	if status == billing.StatusWrittenOff {
		if err := c.bookWriteOff(ctx); err != nil {
			return err
		}
	}
	if status == billing.StatusVoid {
		if err := c.bookVoid(ctx); err != nil {
			return err
		}
		if _, err := c.tx.Exec(ctx, release, c.ID); err != nil {
			return wrap("release what the invoice carried", err)
		}
	}
	if status == billing.StatusVoid && !c.Published || c.Parts > 1 { // whoever makes it known to the provider is to let it go
		if err := nudge(ctx, c.tx, c.Org, "invoice/"+c.ID); err != nil {
			return err
		}
	}
	c.Status, c.RetryRequested, c.NextAttemptAt = status, false, nil
	if status == billing.StatusVoid {
		return c.dismissEvents(ctx)
	}
	return nil // one that was given up may be paid after all
}

// endAttempt ends an attempt that is still open when the invoice is settled
// otherwise.
func (c *collecting) endAttempt(ctx context.Context) error {
	if !c.last.inFlight() {
		return nil
	}
	ended := c.last
	ended.Status, ended.FailureCode = billing.PaymentFailed, failureSettled
	return c.updatePayment(ctx, ended)
}

// applyOpen applies what the provider says of an invoice that is still to be
// paid: what became of an attempt under way, as far as that can be told, and for
// a sent invoice whether it is past due.
func (c *collecting) applyOpen(ctx context.Context, state billing.ProviderInvoiceState) error {
	if c.last.inFlight() {
		made := c.last.Status == billing.PaymentProcessing || state.AttemptCount > c.last.AttemptsBefore
		switch state.PaymentStatus {
		case billing.PaymentProcessing:
		case billing.PaymentFailed, billing.PaymentRequiresAction:
			if !made {
				return nil // that was an earlier attempt
			}
		default:
			return nil
		}
		return c.record(ctx, c.last, billing.ChargeResult{
			Status: state.PaymentStatus, FailureCode: state.FailureCode, PaymentIntentID: state.PaymentIntentID,
		})
	}
	if err := c.receivedInPart(ctx, state); err != nil {
		return err
	}
	if c.Status == billing.StatusOpen && !c.sent() && !c.chargeable() {
		news := paymentNews{kind: billing.NoticePastDue, attempt: c.last.Attempt, amount: c.amountDue()}
		c.leaveWhatCannotBeCharged()
		return c.notice(ctx, news)
	}
	if state.PaymentStatus == billing.PaymentProcessing {
		c.waitForMoney()
		return nil
	}
	return c.stillUnpaid(ctx)
}

// waitForMoney puts off what is done about an unpaid invoice: the payer has paid
// at the provider, and the money takes days.
func (c *collecting) waitForMoney() {
	at := c.Now.Add(lookAgainProcessing)
	if c.NextAttemptAt == nil || c.NextAttemptAt.Before(at) {
		c.NextAttemptAt = &at
	}
}

// stillUnpaid does what is due about an invoice that is not paid at the provider
// and not about to be: it becomes past due, its payer is reminded, or its
// organisation is suspended.
func (c *collecting) stillUnpaid(ctx context.Context) error {
	news := paymentNews{kind: billing.NoticePastDue, amount: c.amountDue()}
	var err error
	switch {
	case c.sent() && c.Status == billing.StatusOpen && c.DueAt != nil && !c.Now.Before(*c.DueAt):
		err = c.pastDue(ctx, news)
	case c.payersTimeIsUp():
		news.attempt, news.failure = c.last.Attempt, c.last.FailureCode
		err = c.pastDue(ctx, news)
	case c.sent():
		c.NextAttemptAt = nil // no money is on its way
		err = c.remind(ctx)
	}
	if at, waits := c.suspension(); err == nil && waits && c.Status == billing.StatusPastDue && !c.Now.Before(at) {
		return c.suspend(ctx)
	}
	return err
}

// remind tells the payer of a sent invoice what the table says for today, once.
func (c *collecting) remind(ctx context.Context) error {
	if c.Status != billing.StatusOpen && c.Status != billing.StatusPastDue {
		return nil
	}
	day, due := c.reminders().Due(c.Now)
	if !due {
		return nil
	}
	return c.notice(ctx, paymentNews{kind: billing.NoticeReminder, amount: c.amountDue(), nextAt: c.DueAt, day: day})
}

// receivedInPart records what came in at the provider beyond what is known: bank
// transfers that do not pay all. The rest stays due.
func (c *collecting) receivedInPart(ctx context.Context, state billing.ProviderInvoiceState) error {
	const known = `SELECT coalesce(sum(amount), 0) FROM provider_settlements WHERE invoice_id = $1 AND part = $2`
	var before decimal.Decimal
	if err := c.tx.QueryRow(ctx, known, c.ID, c.Part).Scan(&before); err != nil {
		return wrap("read the settlements", err)
	}
	more := state.AmountPaid.Amount.Sub(before)
	if !more.IsPositive() || more.GreaterThanOrEqual(c.amountRequested()) {
		return nil // all of it is told by the invoice's status
	}
	if err := c.receiveThere(ctx, more); err != nil {
		return err
	}
	c.AmountPaid = c.AmountPaid.Add(more)
	was := map[string]any{"amount_paid": c.AmountPaid.Sub(more).String()}
	_, err := audit(ctx, c.tx, c.Org, provider, "invoices.paid_in_part", c.ID, was, map[string]any{"amount_paid": c.AmountPaid.String()})
	return err
}

// receiveThere records money that came in at the provider otherwise than by a
// payment of ours.
func (c *collecting) receiveThere(ctx context.Context, amount decimal.Decimal) error {
	const statement = `INSERT INTO provider_settlements (invoice_id, amount, at, part) VALUES ($1, $2, $3, $4) RETURNING id`
	var id int64
	if err := c.tx.QueryRow(ctx, statement, c.ID, amount, c.Now, c.Part).Scan(&id); err != nil {
		return wrap("record a settlement", err)
	}
	if err := c.bookSettlement(ctx, fmt.Sprintf("%s/there/%d", c.ID, id), amount); err != nil {
		return err
	}
	c.AmountSettled = c.AmountSettled.Add(amount)
	return nil
}

func statusForAudit(status billing.InvoiceStatus) any {
	return map[string]any{"status": status}
}
