package workflows

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shopspring/decimal"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// fake is the outside world as the workflows see it: one organisation with one
// running period, that period's invoice, and its collection. Its facts change by
// what the activities do, by the passing of time, and by what a scenario does to
// them. It counts time in units from its base: days in tests that skip time,
// fractions of a second where histories are recorded.
type fake struct {
	mu     sync.Mutex
	base   time.Time
	unit   time.Duration
	now    func() time.Time // the wall clock
	behind time.Duration    // how far the database's clock is behind that
	nudge  func()
	// How often each activity is nudged while it runs, and how often it was.
	nudgesDuring int
	nudged       map[string]int

	organization, period string
	testClock            *time.Time // nil = the organisation lives by the wall clock
	nudges               int64

	// The period.
	ends         float64
	next         string // "" = the contract ends with the period
	paused       bool
	ended        *billing.PeriodEnd
	notices      int
	deliveries   []delivery // how the rounds go; none left = all is sent
	draftWindow  float64
	spend, limit string

	// The invoice.
	draftUntil float64 // 0 = at once, forever = not before news
	parked     string
	stopped    bool                  // all billing is
	status     billing.InvoiceStatus // once the period is closed; "" = not closed
	becomes    billing.InvoiceStatus // what closing makes of it
	items      int
	parts      int // by which the invoice is charged, and how many of them are paid
	partsPaid  int
	mismatch   string

	// The collection.
	dunning   []float64 // after the first attempt
	attempts  int
	first     float64 // of the first attempt
	outcomes  []billing.PaymentStatus
	last      billing.PaymentStatus
	retryNow  bool    // a new payment method
	dueAt     float64 // send_invoice: no attempts, past due after that
	noNotices bool
	// Corrections that were asked for: each takes one look at the invoice, and what
	// it is then made is done by the last.
	corrections int
	corrected   billing.InvoiceStatus // "" = still open
	nameless    bool                  // nobody says what the next step is
	followUp    float64               // when an invoice that is past due is looked at again

	// What goes wrong, by activity: each call takes one, nil = it works.
	failing map[string][]error
	// What happens while an activity runs, once.
	during map[string]func()

	log []string
}

// delivery is how one round of delivering notices goes.
type delivery struct {
	sent, pending int
	retryIn       float64 // units; 0 = not said
}

const forever = math.MaxFloat64

func newFake() *fake {
	return &fake{
		organization: "acme", period: "2026-10-01",
		ends: 31, next: "2026-11-01", draftWindow: 1, spend: "12.5", limit: "500",
		becomes: billing.StatusOpen, items: 2,
		dunning:  []float64{1, 3, 5, 7, 10, 12, 14},
		outcomes: []billing.PaymentStatus{billing.PaymentSucceeded},
		failing:  map[string][]error{}, during: map[string]func(){}, nudged: map[string]int{},
	}
}

var _ Activities = (*fake)(nil)

func (f *fake) Accrue(_ context.Context, in CycleInput) (billing.Accrual, error) {
	defer f.called("Accrue " + or(in.Period, "what is due"))()
	if err := f.failure("Accrue"); err != nil {
		return billing.Accrual{}, err
	}
	if in.Period == f.next && in.Period != "" {
		f.period, f.next, f.ended, f.ends = f.next, "", nil, f.ends+31
	}
	if !f.paused && f.ended == nil && f.units() >= f.ends {
		f.end()
	}
	return billing.Accrual{
		Organization: f.organization, Period: f.period, Start: f.at(0), End: f.at(f.ends), Now: f.time(),
		TestClock: f.testClock != nil, Paused: f.paused, Spend: usd(f.spend), Limit: f.limited(), Limits: 2,
		Notices: f.notices, Stopped: f.stopped, Ended: f.ended, Seen: f.nudges,
	}, nil
}

func (f *fake) limited() *billing.Money {
	if f.limit == "" {
		return nil
	}
	limit := usd(f.limit)
	return &limit
}

func (f *fake) end() {
	f.ended = &billing.PeriodEnd{DraftUntil: f.at(f.units() + f.draftWindow), Next: f.next, Revision: 1}
}

func (f *fake) DeliverNotices(context.Context, string) (billing.Delivery, error) {
	return f.deliver("DeliverNotices")
}

func (f *fake) DeliverPaymentNotices(context.Context, string) (billing.Delivery, error) {
	return f.deliver("DeliverPaymentNotices")
}

func (f *fake) deliver(activity string) (billing.Delivery, error) {
	defer f.called(activity)()
	if err := f.failure(activity); err != nil {
		return billing.Delivery{}, err
	}
	round := delivery{sent: f.notices}
	if len(f.deliveries) > 0 {
		round, f.deliveries = f.deliveries[0], f.deliveries[1:]
	}
	f.notices = round.pending
	out := billing.Delivery{Sent: round.sent, Pending: round.pending}
	if round.retryIn > 0 {
		out.RetryAt, out.Reason = f.at(f.units()+round.retryIn), "the mail server is busy"
	}
	return out, nil
}

func (f *fake) PauseCycle(_ context.Context, _ OperatorRequest) error {
	return f.request("PauseCycle", func() { f.paused = true })
}

func (f *fake) ResumeCycle(_ context.Context, _ OperatorRequest) error {
	return f.request("ResumeCycle", func() { f.paused = false })
}

func (f *fake) EndPeriodNow(_ context.Context, _ OperatorRequest) error {
	return f.request("EndPeriodNow", func() { f.next = f.period + ".2"; f.end() })
}

func (f *fake) request(activity string, then func()) error {
	defer f.called(activity)()
	if err := f.failure(activity); err != nil {
		return err
	}
	then()
	return nil
}

func (f *fake) IssueInvoice(_ context.Context, ref InvoiceRef) (billing.Issued, error) {
	defer f.called("IssueInvoice " + ref.ID())()
	if err := f.failure("IssueInvoice"); err != nil {
		return billing.Issued{}, err
	}
	issued := billing.Issued{Status: billing.StatusDraft, Total: usd("184.66"), Seen: f.nudges}
	switch {
	case f.stopped && f.status == "":
		issued.Stopped, issued.Reason = true, stoppedReason
	case f.status == "" && f.draftUntil == forever:
		issued.Reason = "usage waits for a price"
	case f.status == "" && f.units() < f.draftUntil:
		issued.HeldUntil = f.at(f.draftUntil)
	case f.status == "" && f.parked != "":
		issued.Status, issued.Reason = billing.StatusParked, f.parked
	default:
		f.status = billing.InvoiceStatus(or(string(f.status), string(f.becomes)))
		issued.Invoice, issued.Status, issued.Items = ref.ID(), f.status, f.items
		issued.ItemsBefore = f.partsPaid
		issued.MoreParts = f.partsPaid+1 < f.parts && (f.status == billing.StatusOpen || f.status == billing.StatusPastDue)
	}
	return issued, nil
}

func (f *fake) ReleaseInvoice(_ context.Context, r ReleaseRequest) error {
	return f.request("ReleaseInvoice "+r.ID(), func() { f.parked = "" })
}

const stoppedReason = "billing is stopped since 2026-11-01 00:00 UTC"

var errStopped = temporal.NewNonRetryableApplicationError(stoppedReason, StoppedError, nil)

func (f *fake) CreateProviderInvoice(context.Context, string) error {
	return f.request("CreateProviderInvoice", func() {})
}

func (f *fake) AddProviderItem(_ context.Context, item ItemRef) error {
	defer f.called(fmt.Sprintf("AddProviderItem %d", item.Number))()
	return f.failure("AddProviderItem")
}

func (f *fake) FinalizeProviderInvoice(context.Context, string) (string, error) {
	defer f.called("FinalizeProviderInvoice")()
	return f.mismatch, f.failure("FinalizeProviderInvoice")
}

// CollectInvoice attempts at once and then by the dunning table, counted from
// the first attempt, or earlier with a new payment method.
func (f *fake) CollectInvoice(context.Context, string) (billing.Collection, error) {
	defer f.called("CollectInvoice")()
	if err := f.failure("CollectInvoice"); err != nil {
		return billing.Collection{}, err
	}
	f.status = billing.InvoiceStatus(or(string(f.status), string(billing.StatusOpen)))
	switch {
	case f.stopped:
	case f.corrections > 0 && f.last != billing.PaymentProcessing:
		if f.corrections--; f.corrections == 0 {
			f.status = billing.InvoiceStatus(or(string(f.corrected), string(f.status)))
		}
	case f.dueAt > 0:
		if f.status == billing.StatusOpen && f.units() >= f.dueAt {
			f.status = billing.StatusPastDue
		}
	case f.status == billing.StatusOpen && f.last != billing.PaymentProcessing && f.units() >= f.nextAttempt():
		f.attempt()
	}
	return f.collection(), nil
}

func (f *fake) nextAttempt() float64 {
	switch {
	case f.attempts == 0 || f.retryNow:
		return 0
	case f.last == billing.PaymentRequiresAction:
		return forever
	default:
		return f.first + f.dunning[f.attempts-1]
	}
}

func (f *fake) attempt() {
	if f.attempts == 0 {
		f.first = f.units()
	}
	f.attempts++
	f.retryNow = false
	f.last, f.outcomes = f.outcomes[0], f.outcomes[1:]
	switch {
	case f.last == billing.PaymentSucceeded:
		f.status = billing.StatusPaid
	case f.last == billing.PaymentFailed && !f.noNotices:
		f.notices++
	}
	if f.last == billing.PaymentFailed && f.attempts > len(f.dunning) {
		f.status = billing.StatusPastDue
	}
}

func (f *fake) collection() billing.Collection {
	c := billing.Collection{
		Organization: f.organization, Invoice: billing.InvoiceID(f.organization, f.period, 1),
		Status: f.status, Due: usd("184.66"), Attempt: f.attempts, Attempts: len(f.dunning) + 1, Payment: f.last,
		Notices: f.notices, TestClock: f.testClock != nil, Seen: f.nudges,
	}
	switch {
	case f.status == billing.StatusPastDue && f.followUp > f.units():
		c.NextAt, c.NextWhat = f.at(f.followUp), "the overdue invoice is looked at again"
	case c.Over():
	case f.stopped:
		c.Stopped = true
	case f.corrections > 0 && f.last != billing.PaymentProcessing:
		c.NextAt, c.NextWhat = f.time(), "the correction that was asked for"
	case f.dueAt > 0:
		c.NextAt, c.NextWhat = f.at(f.dueAt), "the invoice is due"
	case f.last == billing.PaymentFailed:
		c.FailureCode = "insufficient_funds"
		c.NextAt = f.at(f.nextAttempt())
		c.NextWhat = fmt.Sprintf("attempt %d of %d", f.attempts+1, c.Attempts)
	}
	if f.nameless {
		c.NextWhat = ""
	}
	return c
}

// SweepEvents and SweepInvoices take two pages each.
func (f *fake) SweepEvents(_ context.Context, page billing.SweepPage) (billing.SweepPage, error) {
	return f.sweep("SweepEvents", page)
}

func (f *fake) SweepInvoices(_ context.Context, page billing.SweepPage) (billing.SweepPage, error) {
	return f.sweep("SweepInvoices", page)
}

func (f *fake) sweep(list string, page billing.SweepPage) (billing.SweepPage, error) {
	defer f.called(fmt.Sprintf("%s %d", list, page.Read))()
	page.Done, page.Read, page.New = page.Read > 0, page.Read+100, page.New+1
	return page, f.failure(list)
}

func (f *fake) RequestLooks(context.Context, billing.SweepPage) (int, error) {
	defer f.called("RequestLooks")()
	return 3, f.failure("RequestLooks")
}

func (f *fake) StartMissing(_ context.Context, after string) (billing.Missing, error) {
	defer f.called("StartMissing " + or(after, "nobody"))()
	missing := billing.Missing{}
	if after == "" {
		missing = billing.Missing{Started: []string{"billing-cycle/acme"}, After: "acme"}
	}
	return missing, f.failure("StartMissing")
}

func (f *fake) RegisterWait(_ context.Context, wait billing.Wait) (time.Time, error) {
	until := "news"
	if !wait.Until.IsZero() {
		until = fmt.Sprintf("%g", f.since(wait.Until))
	}
	defer f.called(fmt.Sprintf("RegisterWait %s seen %d", until, wait.Seen))()
	return f.time(), f.failure("RegisterWait")
}

// called logs an activity and holds the fake for it. It returns what ends that.
func (f *fake) called(activity string) (done func()) {
	f.mu.Lock()
	name, _, _ := strings.Cut(activity, " ")
	f.note("%s", activity)
	happens := f.during[name]
	delete(f.during, name)
	f.nudged[name]++
	nudge := f.nudged[name] <= f.nudgesDuring
	return func() {
		f.mu.Unlock()
		if happens != nil {
			happens()
		}
		if nudge {
			f.nudge()
		}
	}
}

func (f *fake) failure(activity string) error {
	errs := f.failing[activity]
	if len(errs) == 0 {
		return nil
	}
	f.failing[activity] = errs[1:]
	return errs[0]
}

// change changes facts from outside.
func (f *fake) change(how func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
	f.nudges++
}

func (f *fake) note(format string, args ...any) {
	f.log = append(f.log, fmt.Sprintf("%g %s", math.Abs(math.Round(f.units()*100)/100), fmt.Sprintf(format, args...)))
}

func (f *fake) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

// time is the organisation's.
func (f *fake) time() time.Time {
	if f.testClock != nil {
		return *f.testClock
	}
	return f.now().Add(-f.behind)
}

func (f *fake) units() float64             { return f.since(f.time()) }
func (f *fake) since(t time.Time) float64  { return float64(t.Sub(f.base)) / float64(f.unit) }
func (f *fake) at(units float64) time.Time { return f.base.Add(time.Duration(units * float64(f.unit))) }
func (f *fake) advance(units float64)      { t := f.at(units); f.testClock = &t }
func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

var errAway = errors.New("the database is away")

func final(text string) error {
	return temporal.NewNonRetryableApplicationError(text, "Conflict", nil)
}

// held is final where it is known up to which nudge the facts had been read.
func held(text string, seen int64) error {
	return temporal.NewNonRetryableApplicationError(text, "Conflict", nil, seen)
}

func times[T any](n int, value T) (values []T) { return slices.Repeat([]T{value}, n) }

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
