package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The states of the provider's invoice.
const (
	providerDraft         = "draft"
	providerOpen          = "open"
	providerPaid          = "paid"
	providerVoid          = "void"
	providerUncollectible = "uncollectible"
)

// Failure codes of our own, beside the provider's.
const (
	// failureNoMethod: the organisation has no payment method. The provider was not
	// asked; the attempt uses up its day of the dunning table like any other, so
	// that an invoice which nobody can pay ends past due as well.
	failureNoMethod = billing.FailureNoMethod
	// failureNotAttempted: the charge never reached the provider. It uses up nothing.
	failureNotAttempted = billing.FailureNotAttempted
	// failureSettled: the provider's invoice was paid, withdrawn or given up otherwise.
	failureSettled = "settled_otherwise"
)

// How soon to act again where nothing says when.
const (
	lookAgainProcessing  = 24 * time.Hour // a debit on its way
	lookAgainUnknown     = time.Minute    // an attempt without an answer
	lookAgainUnpublished = time.Hour      // an invoice that is not at the provider yet
)

// collecting is an invoice, its organisation's terms and its last payment as
// they stand under the invoice's lock.
type collecting struct {
	tx   pgx.Tx
	seen int64

	ID                string
	Org               string
	Status            billing.InvoiceStatus
	Currency          billing.Currency
	Total             decimal.Decimal
	AmountPaid        decimal.Decimal
	AmountSettled     decimal.Decimal // of it, paid otherwise than by a payment of ours
	AmountCredited    decimal.Decimal // by credit notes before it was paid
	Collection        string
	NetDays           int
	FinalizedAt       time.Time
	DueAt             *time.Time // a sent one: past due from then on
	Calendar          billing.Calendar
	PaidAt            *time.Time
	StripeInvoiceID   string
	Published         bool
	StripeAttempts    int64
	FirstAttemptAt    *time.Time
	NextAttemptAt     *time.Time
	ScheduledAttempts int
	RetryRequested    bool
	PastDueAt         *time.Time // when it first was
	FollowUpAt        *time.Time // past due: when to remind or suspend
	Reason            string     // why it is not collected as the contract says
	News              bool       // from the provider, not looked into yet
	ReturnNews        bool       // of a refund or dispute, likewise
	Suspended         bool       // the organisation, because of this invoice, now or once
	PaymentMethod     string
	Dunning           []int
	Reminders         []int
	SuspendAfter      *int
	CardCeiling       decimal.NullDecimal
	TestClock         bool
	Now               time.Time
	Installation      string
	Stopped           bool            // all billing is
	Customer          string          // the provider's
	Part, Parts       int             // that is collected, of an invoice that is split
	Later             decimal.Decimal // what the parts after it come to
	Withdrawn         int             // invoices that were made for it before, and are not it

	last       payment     // Attempt 0 = none
	correction *correction // asked for and not carried out yet
}

// payment is one attempt to collect an invoice.
type payment struct {
	Attempt         int
	Status          billing.PaymentStatus
	Amount          decimal.Decimal
	FailureCode     string
	PaymentMethod   string
	IdempotencyKey  string
	PaymentIntentID string
	ChargeID        string
	AttemptsBefore  int64
	Scheduled       bool
	StartedAt       time.Time
	Part            int
	Surplus         bool // what it was for was paid already: to be refunded
}

func (p payment) inFlight() bool {
	return p.Status == billing.PaymentUnknown || p.Status == billing.PaymentProcessing
}

// openCollection takes an invoice's lock and reads how its collection stands.
// The facts are read after the lock is held, in a statement of their own: in the
// locking statement the other tables would show as they were before the wait.
func openCollection(ctx context.Context, tx pgx.Tx, invoice string) (*collecting, error) {
	const lock = `SELECT id FROM invoices WHERE id = $1 FOR NO KEY UPDATE`
	const facts = `
SELECT i.id, i.org_id, i.status, i.currency, i.total, i.amount_paid, i.amount_settled, i.amount_credited, i.collection, i.net_days,
       i.finalized_at, i.due_at, i.paid_at, coalesce(i.stripe_invoice_id, ''), i.stripe_finalized_at IS NOT NULL,
       i.stripe_attempts, i.first_attempt_at, i.next_attempt_at, i.scheduled_attempts, i.retry_requested,
       i.past_due_at, i.follow_up_at, i.collection_reason,
       EXISTS (SELECT FROM stripe_events e WHERE e.invoice_id = i.id AND e.processed_at IS NULL AND e.type !~ '` + returnTypes + `'),
       EXISTS (SELECT FROM stripe_events e WHERE e.invoice_id = i.id AND e.processed_at IS NULL AND e.type ~ '` + returnTypes + `'),
       EXISTS (SELECT FROM suspensions s WHERE s.invoice_id = i.id),
       o.payment_method, o.dunning, o.reminders, o.suspend_after, o.card_ceiling, o.clock_at IS NOT NULL, coalesce(o.clock_at, now()), (SELECT id::text FROM installation),
       coalesce(o.stripe_customer_id, ''), o.timezone, o.anchor_day, i.part, i.parts,
       CASE WHEN i.parts > 1 THEN (SELECT coalesce(sum(p.amount), 0) FROM provider_items p WHERE p.invoice_id = i.id AND p.n > i.part) ELSE 0 END, ` + withdrawnTwins + `
  FROM invoices i
  JOIN organizations o ON o.id = i.org_id
 WHERE i.id = $1`
	c := &collecting{tx: tx}
	var err error
	if c.seen, err = seen(ctx, tx, "collect/"+invoice); err != nil {
		return nil, err
	}
	err = tx.QueryRow(ctx, lock, invoice).Scan(&c.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, billing.NotFound("invoice %q does not exist", invoice)
	}
	if err != nil {
		return nil, err
	}
	var timezone string
	var anchorDay int
	err = tx.QueryRow(ctx, facts, invoice).Scan(&c.ID, &c.Org, &c.Status, &c.Currency, &c.Total, &c.AmountPaid,
		&c.AmountSettled, &c.AmountCredited, &c.Collection, &c.NetDays, &c.FinalizedAt, &c.DueAt, &c.PaidAt, &c.StripeInvoiceID, &c.Published,
		&c.StripeAttempts, &c.FirstAttemptAt, &c.NextAttemptAt, &c.ScheduledAttempts, &c.RetryRequested,
		&c.PastDueAt, &c.FollowUpAt, &c.Reason, &c.News, &c.ReturnNews, &c.Suspended,
		&c.PaymentMethod, &c.Dunning, &c.Reminders, &c.SuspendAfter, &c.CardCeiling, &c.TestClock, &c.Now, &c.Installation, &c.Customer,
		&timezone, &anchorDay, &c.Part, &c.Parts, &c.Later, &c.Withdrawn)
	if err != nil {
		return nil, err
	}
	c.Now = c.Now.UTC()
	if c.Calendar, err = billing.NewCalendar(timezone, anchorDay); err != nil {
		return nil, err
	}
	if c.last, _, err = c.payment(ctx, 0); err != nil {
		return nil, err
	}
	return c, c.readCorrection(ctx)
}

// payment reads an attempt, or the last one where the number is 0.
func (c *collecting) payment(ctx context.Context, attempt int) (p payment, found bool, err error) {
	const statement = `
SELECT attempt, status, amount, failure_code, payment_method, idempotency_key,
       stripe_payment_intent_id, stripe_charge_id, attempts_before, scheduled, started_at, part, surplus
  FROM payments
 WHERE invoice_id = $1 AND (attempt = $2 OR $2 = 0)
 ORDER BY attempt DESC
 LIMIT 1`
	rows, err := c.tx.Query(ctx, statement, c.ID, attempt)
	if err != nil {
		return p, false, err
	}
	p, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[payment])
	if errors.Is(err, pgx.ErrNoRows) {
		return payment{}, false, nil
	}
	return p, err == nil, err
}

// BeginCollection decides the next step of collecting an invoice, under its lock.
// A new attempt is recorded as unknown before it is returned; while one is
// unknown or processing there is no other.
func (s *Store) BeginCollection(ctx context.Context, invoice string) (step billing.ChargeStep, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openCollection(ctx, tx, invoice)
		if err != nil {
			return err
		}
		stop, err := billingStopped(ctx, tx)
		if err != nil {
			return err
		}
		c.Stopped = stop != nil
		kind, err := c.next(ctx)
		if err != nil {
			return err
		}
		step, err = c.step(ctx, kind)
		return err
	})
	return step, wrap("collect "+invoice, err)
}

// next decides what to do, and records it.
func (c *collecting) next(ctx context.Context) (billing.StepKind, error) {
	switch {
	case c.asksOfReturns():
		return billing.StepReturns, c.takeReturnNews(ctx)
	case !c.unsettled():
		return billing.StepNone, c.dismissEvents(ctx) // what was said of it has lost its interest
	case c.Stopped:
		return billing.StepNone, nil // not even news is read: what follows from it might move money
	case c.toCorrect() && c.correction.Tried: // what is said of it may be our own doing
		return billing.StepCorrect, nil
	case !c.Published && c.toCorrect():
		return billing.StepCorrect, nil
	case !c.Published:
		return billing.StepNone, nil
	case c.last.inFlight():
		return billing.StepResolve, c.claimEvents(ctx)
	case c.News, c.followUpDue(), c.payersTimeIsUp():
		return billing.StepRefresh, c.claimEvents(ctx)
	case c.toCorrect():
		return billing.StepCorrect, nil
	case c.sent() && (c.Status == billing.StatusOpen || c.RetryRequested): // after what was asked for, which looking would put off for ever
		return billing.StepRefresh, c.claimEvents(ctx)
	case !c.chargeable():
		return billing.StepNone, c.dropRetry(ctx)
	case c.sent(), c.Status == billing.StatusWrittenOff, !c.due():
		return billing.StepNone, nil
	}
	if c.PaymentMethod == "" {
		return billing.StepNone, c.attemptWithoutMethod(ctx)
	}
	return billing.StepCharge, c.attempt(ctx, billing.PaymentUnknown, "")
}

// asksOfReturns reports whether there is news of a refund or dispute to look into.
// An attempt under way comes first, while anything hangs on it.
func (c *collecting) asksOfReturns() bool {
	return (c.Published || c.Part > 1) && c.ReturnNews && (!c.unsettled() || !c.last.inFlight())
}

// unsettled reports whether the invoice may still be paid.
func (c *collecting) unsettled() bool {
	return c.Status == billing.StatusOpen || c.Status == billing.StatusPastDue || c.Status == billing.StatusWrittenOff
}

// chargeable reports whether what remains is enough for the provider to charge.
func (c *collecting) chargeable() bool {
	return c.amountRequested().GreaterThanOrEqual(c.Currency.SmallestCharge().Amount)
}

// dropRetry forgets that an attempt was asked for.
func (c *collecting) dropRetry(ctx context.Context) error {
	if !c.RetryRequested {
		return nil
	}
	c.RetryRequested = false
	return c.save(ctx)
}

// due reports whether to charge now: for the first time, by the dunning table, or
// because a person or a new payment method asks for it, past due or not.
func (c *collecting) due() bool {
	return c.RetryRequested || (c.Status == billing.StatusOpen && c.dueBySchedule())
}

// sent reports whether the invoice is paid by whoever gets it, and never charged.
func (c *collecting) sent() bool { return c.Collection == billing.SendInvoice }

// awaitsPayer reports whether the last attempt waits for the payer to confirm it:
// until that is done or the time is up, asking the bank again asks in vain.
func (c *collecting) awaitsPayer() bool {
	return c.Status == billing.StatusOpen && c.last.Status == billing.PaymentRequiresAction && c.last.Part == c.Part && !c.RetryRequested
}

func (c *collecting) payersTimeIsUp() bool {
	return c.awaitsPayer() && c.NextAttemptAt != nil && !c.Now.Before(*c.NextAttemptAt)
}

func (c *collecting) dueBySchedule() bool {
	if c.awaitsPayer() {
		return false
	}
	return c.ScheduledAttempts == 0 || (c.NextAttemptAt != nil && !c.Now.Before(*c.NextAttemptAt))
}

// attempt records a new attempt. One by the dunning table uses up its day; one
// that was asked for beside it does not.
func (c *collecting) attempt(ctx context.Context, status billing.PaymentStatus, failure string) error {
	scheduled := c.dueBySchedule()
	if scheduled {
		c.ScheduledAttempts++
	}
	if c.FirstAttemptAt == nil {
		c.FirstAttemptAt = &c.Now
	}
	c.Status, c.RetryRequested = billing.StatusOpen, false
	if err := c.insertPayment(ctx, payment{Status: status, FailureCode: failure, PaymentMethod: c.PaymentMethod, Scheduled: scheduled}); err != nil {
		return err
	}
	return c.save(ctx)
}

// attemptWithoutMethod is an attempt that has nothing to charge: it fails here.
func (c *collecting) attemptWithoutMethod(ctx context.Context) error {
	if err := c.attempt(ctx, billing.PaymentFailed, failureNoMethod); err != nil {
		return err
	}
	if err := c.dun(ctx, c.last); err != nil {
		return err
	}
	return c.save(ctx)
}

// insertPayment adds an attempt after the last one, over what is asked for if it
// has no amount yet.
func (c *collecting) insertPayment(ctx context.Context, p payment) error {
	const statement = `
INSERT INTO payments (invoice_id, attempt, status, amount, failure_code, payment_method, idempotency_key,
                      stripe_payment_intent_id, stripe_charge_id, attempts_before, scheduled, created_at, part)
VALUES (@invoice, @attempt, @status, @amount, @failure, @method, @key,
        @intent, @charge, @attempts_before, @scheduled, @now, @part)
RETURNING started_at`
	p.Attempt = c.last.Attempt + 1
	if p.Amount.IsZero() {
		p.Amount = c.amountRequested()
	}
	p.Part = c.Part
	p.IdempotencyKey = paymentKey(c.Installation, c.ID, p.Attempt, c.Withdrawn)
	p.AttemptsBefore = c.StripeAttempts
	err := c.tx.QueryRow(ctx, statement, pgx.NamedArgs{
		"invoice": c.ID, "attempt": p.Attempt, "status": p.Status, "amount": p.Amount, "failure": p.FailureCode,
		"method": p.PaymentMethod, "key": p.IdempotencyKey, "intent": p.PaymentIntentID, "charge": p.ChargeID,
		"attempts_before": p.AttemptsBefore, "scheduled": p.Scheduled, "now": c.Now, "part": p.Part,
	}).Scan(&p.StartedAt)
	c.last = p
	if err != nil {
		return wrap(fmt.Sprintf("record attempt %d", p.Attempt), err)
	}
	return c.adoptReturns(ctx, p.PaymentIntentID)
}

// save writes what collection changes of an invoice, and what follows from it.
func (c *collecting) save(ctx context.Context) error {
	if c.Status != billing.StatusOpen && c.Status != billing.StatusPastDue {
		if err := c.liftSuspension(ctx); err != nil {
			return err
		}
	}
	c.FollowUpAt = c.planFollowUp()
	const statement = `
UPDATE invoices
   SET status             = @status,
       amount_paid        = @amount_paid,
       amount_settled     = @amount_settled,
       amount_credited    = @amount_credited,
       due_at             = @due_at,
       paid_at            = @paid_at,
       stripe_attempts    = @stripe_attempts,
       first_attempt_at   = @first_attempt_at,
       next_attempt_at    = @next_attempt_at,
       scheduled_attempts = @scheduled_attempts,
       retry_requested    = @retry_requested,
       past_due_at        = @past_due_at,
       follow_up_at       = @follow_up_at
 WHERE id = @invoice`
	_, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{
		"invoice": c.ID, "status": c.Status, "amount_paid": c.AmountPaid, "amount_settled": c.AmountSettled,
		"amount_credited": c.AmountCredited,
		"due_at":          c.DueAt, "paid_at": c.PaidAt, "stripe_attempts": c.StripeAttempts, "first_attempt_at": c.FirstAttemptAt,
		"next_attempt_at": c.NextAttemptAt, "scheduled_attempts": c.ScheduledAttempts, "retry_requested": c.RetryRequested,
		"past_due_at": c.PastDueAt, "follow_up_at": c.FollowUpAt,
	})
	return wrap("save the collection", err)
}

// step returns a step of the kind with all that is needed to take it.
func (c *collecting) step(ctx context.Context, kind billing.StepKind) (billing.ChargeStep, error) {
	state, err := c.state(ctx)
	step := billing.ChargeStep{
		Do: kind, Invoice: c.ID, Attempt: c.last.Attempt, StripeInvoice: c.StripeInvoiceID,
		Total: billing.Money{Amount: c.Total, Currency: c.Currency}, Part: c.Part, Parts: c.Parts, State: state,
	}
	if kind == billing.StepCharge || kind == billing.StepResolve {
		step.PaymentMethod, step.IdempotencyKey = c.last.PaymentMethod, c.last.IdempotencyKey
		step.StartedAt, step.AttemptsBefore = c.last.StartedAt.UTC(), c.last.AttemptsBefore
		step.Customer = c.Customer
		step.CardRefused = c.Parts == 1 && c.CardCeiling.Valid && c.Total.GreaterThanOrEqual(c.CardCeiling.Decimal)
	}
	if err == nil && kind == billing.StepReturns {
		step.Intents, err = c.intents(ctx)
	}
	if err == nil && kind == billing.StepCorrect {
		step.Correction, err = c.beginCorrection(ctx)
	}
	return step, err
}

// state is how the collection stands, for whoever waits.
func (c *collecting) state(ctx context.Context) (billing.Collection, error) {
	const pending = `SELECT count(*) FROM payment_notices WHERE invoice_id = $1 AND status = 'pending'`
	state := billing.Collection{
		Organization: c.Org, Invoice: c.ID, Status: c.Status, Due: billing.Money{Amount: c.amountDue(), Currency: c.Currency},
		Attempt: c.last.Attempt, Attempts: len(c.Dunning), Payment: c.last.Status, FailureCode: c.last.FailureCode,
		Reason: c.Reason, TestClock: c.TestClock, Seen: c.seen,
	}
	if c.Status == billing.StatusPastDue && c.RetryRequested || c.unsettled() && c.correction != nil {
		state.Status = billing.StatusOpen // there is something to do
	}
	switch {
	case c.Stopped:
		state.Stopped = !state.Over()
	case c.asksOfReturns():
		state.NextAt, state.NextWhat = c.Now, "what was refunded or disputed is asked for"
	case state.Status == billing.StatusOpen:
		state.NextAt, state.NextWhat = c.nextStep()
	case c.FollowUpAt != nil:
		state.NextAt, state.NextWhat = instant(c.FollowUpAt), "the overdue invoice is looked at again"
	}
	return state, wrap("count pending notices", c.tx.QueryRow(ctx, pending, c.ID).Scan(&state.Notices))
}

func (c *collecting) amountDue() decimal.Decimal {
	if c.Status == billing.StatusOpen || c.Status == billing.StatusPastDue {
		return c.remaining()
	}
	return decimal.Zero
}

// remaining is what was neither paid nor credited of the invoice.
func (c *collecting) remaining() decimal.Decimal {
	return c.Total.Sub(c.AmountPaid).Sub(c.AmountCredited)
}

// amountRequested is what the provider's invoice still asks for: what remains, without the
// parts that it is told of later.
func (c *collecting) amountRequested() decimal.Decimal { return c.remaining().Sub(c.Later) }

// nextStep is when to act again, and what is then done.
func (c *collecting) nextStep() (at time.Time, what string) {
	switch {
	case c.toCorrect():
		return c.Now, "the correction that was asked for"
	case !c.Published: // the invoicing of its period sees to it
		return c.Now.Add(lookAgainUnpublished), "the invoice is looked for at the provider"
	case c.last.Status == billing.PaymentUnknown:
		return c.Now.Add(lookAgainUnknown), "the unanswered attempt is asked for again"
	case c.last.Status == billing.PaymentProcessing:
		return c.Now.Add(lookAgainProcessing), "the payment on its way is asked for again"
	case c.sent():
		return c.nextOfSent()
	case c.RetryRequested:
		return c.Now, "the requested attempt"
	case c.awaitsPayer():
		return instant(c.NextAttemptAt), "the payer's time to confirm the payment is up"
	case c.dueBySchedule():
		return c.Now, c.nextAttemptOfTable()
	default:
		return instant(c.NextAttemptAt), c.nextAttemptOfTable()
	}
}

func (c *collecting) nextAttemptOfTable() string {
	return fmt.Sprintf("attempt %d of %d", c.ScheduledAttempts+1, len(c.Dunning))
}

// nextOfSent is what comes next of an invoice that was sent and is not due yet,
// or whose money is on its way.
func (c *collecting) nextOfSent() (at time.Time, what string) {
	at, what = instant(c.DueAt), "the invoice is past due"
	if reminder := c.nextReminder(); !reminder.IsZero() && reminder.Before(at) {
		at, what = reminder, "the payer is reminded"
	}
	if c.NextAttemptAt != nil && c.NextAttemptAt.After(at) {
		at, what = instant(c.NextAttemptAt), "the payment on its way is asked for again"
	}
	return at, what
}

// planFollowUp is when an invoice that is past due is looked at again by itself:
// to remind whoever it was sent to, or to suspend the organisation. nil = not.
func (c *collecting) planFollowUp() *time.Time {
	if c.Status != billing.StatusPastDue || !c.Published {
		return nil
	}
	first := c.nextReminder()
	if at, waits := c.suspension(); waits && (first.IsZero() || at.Before(first)) {
		first = at
	}
	if !first.IsZero() && c.NextAttemptAt != nil && c.NextAttemptAt.After(first) {
		first = *c.NextAttemptAt // money is on its way
	}
	return nullable(first)
}

func (c *collecting) followUpDue() bool {
	return c.Status == billing.StatusPastDue && c.FollowUpAt != nil && !c.Now.Before(*c.FollowUpAt)
}
