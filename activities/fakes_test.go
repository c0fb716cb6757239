package activities

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

var (
	_ workflows.Activities = (*Activities)(nil)
	_ Store                = (*books)(nil)
	_ Provider             = (*provider)(nil)
	_ Notifier             = (*channel)(nil)
)

const (
	invoice      = "acme/2026-10-01"
	organization = "acme"
)

// wall is the present of these tests.
var wall = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

// rig is the activities on fakes, with one list of what they did in which order.
type rig struct {
	*Activities
	did      *[]string
	store    *books
	provider *provider
	channel  *channel
}

func newRig() *rig {
	did := &[]string{}
	r := &rig{
		did:      did,
		store:    &books{did: did, fails: map[string]error{}},
		provider: &provider{did: did, fails: map[string][]error{}},
		channel:  &channel{did: did, fails: map[int64]error{}},
	}
	r.Activities = New(r.store, r.provider, r.channel, slog.New(slog.NewTextHandler(io.Discard, nil)))
	r.Activities.now = func() time.Time { return wall }
	return r
}

func (r *rig) requireDid(t *testing.T, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	require.Equal(t, want, *r.did)
}

// books is a database that returns what it was given and keeps what it is told.
type books struct {
	did   *[]string
	fails map[string]error // by method

	accrual billing.Accrual
	issued  billing.Issued
	org     billing.Organization
	now     time.Time

	invoice  billing.ProviderInvoice
	item     billing.ProviderItem
	finalize billing.ProviderInvoice

	step       billing.ChargeStep
	collection billing.Collection
	charge     billing.ChargeResult // recorded
	state      billing.ProviderInvoiceState
	corrected  billing.CorrectionResult

	returns       billing.Reversals
	sweptTo       time.Time
	orphan        time.Time
	behind        string
	known         []string // events
	organizations []string

	notices        []billing.Notice
	paymentNotices []billing.PaymentNotice
	pending        int
	retryAt        time.Time
	reasons        []string
}

func (b *books) do(method string, what ...string) error {
	for _, w := range what {
		method += " " + w
	}
	*b.did = append(*b.did, method)
	name := method
	for i, c := range method {
		if c == ' ' {
			name = method[:i]
			break
		}
	}
	return b.fails[name]
}

func (b *books) Accrue(_ context.Context, org, period string) (billing.Accrual, error) {
	return b.accrual, b.do("Accrue", org, period)
}

func (b *books) PendingNotices(_ context.Context, _ string, limit int) ([]billing.Notice, error) {
	return b.notices[:min(limit, len(b.notices))], b.do("PendingNotices")
}

func (b *books) NoticeDelivered(context.Context, int64) error {
	b.pending--
	return b.do("NoticeDelivered")
}

func (b *books) NoticeFailed(_ context.Context, _ int64, reason string) error {
	b.reasons = append(b.reasons, reason)
	return b.do("NoticeFailed")
}

func (b *books) PendingNoticeCount(context.Context, string) (int, time.Time, error) {
	return b.pending, b.retryAt, b.do("PendingNoticeCount")
}

func (b *books) PauseCycle(_ context.Context, org string, _ int64) error {
	return b.do("PauseCycle", org)
}

func (b *books) ResumeCycle(_ context.Context, org string, _ int64) error {
	return b.do("ResumeCycle", org)
}

func (b *books) EndPeriodNow(_ context.Context, org string, _ int64) error {
	return b.do("EndPeriodNow", org)
}

func (b *books) IssueInvoice(_ context.Context, org, period string, _ int) (billing.Issued, error) {
	return b.issued, b.do("IssueInvoice", org, period)
}

func (b *books) ReleaseInvoice(_ context.Context, org, period string, _ int, _ int64) error {
	return b.do("ReleaseInvoice", org, period)
}

// CheckBillingEnabled is not listed among what was done: it comes before every write.
func (b *books) CheckBillingEnabled(context.Context) error { return b.fails["CheckBillingEnabled"] }

func (b *books) BeginProviderInvoice(context.Context, string) (billing.ProviderInvoice, error) {
	return b.invoice, b.do("BeginProviderInvoice")
}

func (b *books) RecordProviderInvoice(_ context.Context, _, stripeID string) error {
	return b.do("RecordProviderInvoice", stripeID)
}

func (b *books) AdoptProviderInvoice(_ context.Context, _, stripeID string) error {
	return b.do("AdoptProviderInvoice", stripeID)
}

func (b *books) RecordCustomer(_ context.Context, _, customer, clock string) error {
	return b.do("RecordCustomer", customer, clock)
}

func (b *books) BeginProviderItem(context.Context, string, int) (billing.ProviderItem, error) {
	return b.item, b.do("BeginProviderItem")
}

func (b *books) RecordProviderItem(_ context.Context, _ string, _ int, stripeID string) error {
	return b.do("RecordProviderItem", stripeID)
}

func (b *books) BeginProviderFinalize(context.Context, string) (billing.ProviderInvoice, error) {
	return b.finalize, b.do("BeginProviderFinalize")
}

func (b *books) RecordProviderFinalized(_ context.Context, _ string, state billing.ProviderInvoiceState) error {
	return b.do("RecordProviderFinalized", state.Status)
}

func (b *books) BeginCollection(context.Context, string) (billing.ChargeStep, error) {
	return b.step, b.do("BeginCollection")
}

func (b *books) RecordCharge(_ context.Context, _ string, _ int, r billing.ChargeResult) (billing.Collection, error) {
	b.charge = r
	err := b.do("RecordCharge", string(r.Status))
	return b.collection, err
}

func (b *books) RecordProviderState(_ context.Context, _ string, s billing.ProviderInvoiceState) (billing.Collection, error) {
	b.state = s
	return b.collection, b.do("RecordProviderState", s.Status)
}

func (b *books) RecordCorrection(_ context.Context, _ string, _ int64, r billing.CorrectionResult) (billing.Collection, error) {
	b.corrected = r
	return b.collection, b.do("RecordCorrection")
}

func (b *books) PendingPaymentNotices(context.Context, string) ([]billing.PaymentNotice, error) {
	return b.paymentNotices, b.do("PendingPaymentNotices")
}

func (b *books) PaymentNoticeDelivered(context.Context, int64) error {
	b.pending--
	return b.do("PaymentNoticeDelivered")
}

func (b *books) PaymentNoticeFailed(_ context.Context, _ int64, reason string) error {
	b.reasons = append(b.reasons, reason)
	return b.do("PaymentNoticeFailed")
}

func (b *books) PendingPaymentNoticeCount(context.Context, string) (int, time.Time, error) {
	return b.pending, b.retryAt, b.do("PendingPaymentNoticeCount")
}

func (b *books) Organization(context.Context, string) (billing.Organization, error) {
	return b.org, b.do("Organization")
}

func (b *books) Installation(context.Context) (string, error) { return "inst", b.do("Installation") }

func (b *books) RegisterWait(_ context.Context, wait billing.Wait) (time.Time, error) {
	return b.now, b.do("RegisterWait", wait.WorkflowID)
}

func (b *books) SwitchToSentInvoice(_ context.Context, _, why string) error {
	b.reasons = append(b.reasons, why)
	return b.do("SwitchToSentInvoice")
}

func (b *books) RecordReversals(_ context.Context, _ string, returns billing.Reversals) (billing.Collection, error) {
	b.returns = returns
	return b.collection, b.do("RecordReversals")
}

func (b *books) SweptTo(_ context.Context, list string) (billing.Swept, error) {
	return billing.Swept{To: b.sweptTo, Incarnation: b.behind, Behind: b.behind != ""}, b.do("SweptTo", list)
}

func (b *books) RecordSweep(_ context.Context, list string, to time.Time, _ string) error {
	b.sweptTo = to
	return b.do("RecordSweep", list)
}

func (b *books) RecordStripeEvent(_ context.Context, event billing.ProviderEvent) (bool, error) {
	return !slices.Contains(b.known, event.ID), b.do("RecordStripeEvent", event.ID)
}

func (b *books) RecordMarks(_ context.Context, marks []billing.ProviderMark) (int, error) {
	return len(marks), b.do("RecordMarks")
}

func (b *books) OldestOrphan(context.Context) (time.Time, error) {
	return b.orphan, b.do("OldestOrphan")
}

func (b *books) RecordCustomerMarks(_ context.Context, marks []billing.CustomerMark) error {
	return b.do("RecordCustomerMarks", fmt.Sprint(len(marks)))
}

func (b *books) RecoveryDone(_ context.Context, incarnation string) error {
	return b.do("RecoveryDone", incarnation)
}

func (b *books) RequestRefresh(context.Context, int) (int, error) { return 3, b.do("RequestRefresh") }

func (b *books) OrganizationsAfter(_ context.Context, after string, limit int) (page []string, err error) {
	for _, org := range b.organizations {
		if org > after && len(page) < limit {
			page = append(page, org)
		}
	}
	return page, b.do("OrganizationsAfter", after)
}

// provider is a payment provider that answers what it was told to.
type provider struct {
	did   *[]string
	fails map[string][]error // by method, one per call

	customer, clock string
	created         string // by the calls that make something
	found           string // "" = nothing
	states          []billing.ProviderInvoiceState
	finalized       billing.ProviderInvoiceState
	result          billing.ChargeResult
	paid            []billing.ChargeStep
	told            []billing.ProviderInvoice // what CreateInvoice was told
	kind            string                    // of the payment method
	returns         billing.Reversals
	events          []billing.ProviderEvent
	marks           []billing.ProviderMark
	customers       []billing.CustomerMark
	pages           []billing.SweepPage // that were asked for
	more            bool
}

func (p *provider) do(method string) (err error) {
	*p.did = append(*p.did, method)
	if list := p.fails[method]; len(list) > 0 {
		err, p.fails[method] = list[0], list[1:]
	}
	return err
}

func (p *provider) EnsureCustomer(context.Context, string, billing.Organization) (string, string, error) {
	return p.customer, p.clock, p.do("EnsureCustomer")
}

func (p *provider) CreateInvoice(_ context.Context, draft billing.ProviderInvoice) (string, error) {
	p.told = append(p.told, draft)
	return p.created, p.do("CreateInvoice")
}

func (p *provider) FindInvoice(context.Context, billing.ProviderInvoice) (string, bool, error) {
	return p.found, p.found != "", p.do("FindInvoice")
}

func (p *provider) AddItem(context.Context, billing.ProviderItem) (string, error) {
	return p.created, p.do("AddItem")
}

func (p *provider) FindItem(context.Context, billing.ProviderItem) (string, bool, error) {
	return p.found, p.found != "", p.do("FindItem")
}

func (p *provider) FinalizeInvoice(context.Context, billing.ProviderInvoice) (billing.ProviderInvoiceState, error) {
	return p.finalized, p.do("FinalizeInvoice")
}

// Invoice answers with one state after the other, and then the last again.
func (p *provider) Invoice(context.Context, string) (state billing.ProviderInvoiceState, err error) {
	if len(p.states) > 0 {
		state = p.states[0]
	}
	if len(p.states) > 1 {
		p.states = p.states[1:]
	}
	return state, p.do("Invoice")
}

func (p *provider) Pay(_ context.Context, step billing.ChargeStep) (billing.ChargeResult, error) {
	p.paid = append(p.paid, step)
	return p.result, p.do("Pay")
}

func (p *provider) Correct(context.Context, billing.ChargeStep) (string, error) {
	return p.created, p.do("Correct")
}

func (p *provider) FindCreditNote(context.Context, billing.ChargeStep) (string, bool, error) {
	return p.found, p.found != "", p.do("FindCreditNote")
}

func (p *provider) MethodKind(context.Context, string) (string, error) {
	return p.kind, p.do("MethodKind")
}

func (p *provider) Reversals(context.Context, []string) (billing.Reversals, error) {
	return p.returns, p.do("Reversals")
}

func (p *provider) Events(_ context.Context, page billing.SweepPage) ([]billing.ProviderEvent, billing.SweepPage, error) {
	p.pages = append(p.pages, page)
	page.Read, page.Done = page.Read+len(p.events), !p.more
	return p.events, page, p.do("Events")
}

func (p *provider) Marked(_ context.Context, _ string, page billing.SweepPage) ([]billing.ProviderMark, billing.SweepPage, error) {
	p.pages = append(p.pages, page)
	page.Read, page.Done = page.Read+len(p.marks), !p.more
	return p.marks, page, p.do("Marked")
}

func (p *provider) MarkedCustomers(_ context.Context, _ string, page billing.SweepPage) ([]billing.CustomerMark, billing.SweepPage, error) {
	p.pages = append(p.pages, page)
	page.Read, page.Done = page.Read+len(p.customers), !p.more
	return p.customers, page, p.do("MarkedCustomers")
}

// channel takes messages, but for those that are to fail.
type channel struct {
	did   *[]string
	fails map[int64]error
	hangs bool
}

func (c *channel) send(ctx context.Context, id int64, what string) error {
	*c.did = append(*c.did, what)
	if c.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.fails[id]
}

func (c *channel) Spend(ctx context.Context, n billing.Notice) error {
	return c.send(ctx, n.ID, "Spend")
}

func (c *channel) Payment(ctx context.Context, n billing.PaymentNotice) error {
	return c.send(ctx, n.ID, "Payment")
}
