// Package activities is what the workflows have done in the outside world: one
// transaction, or one effect at the payment provider between the record of its
// intent and the record of its result. Each method may be run again at any time
// and may outlive its own retry.
//
// Three rules hold everywhere. What was tried and not answered is looked for
// before it is tried again. A declined payment, an unreachable mail server and a
// total that differs are results and not errors. And an error is retried unless
// it is known to be final, see final.
package activities

import (
	"context"
	"log/slog"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// Activities fulfils workflows.Activities. It is safe for concurrent use.
type Activities struct {
	store    Store
	provider Provider
	notifier Notifier
	log      *slog.Logger
	runner   Runner
	now      func() time.Time // the wall clock, by which the provider's keys age
}

// Option is what not every worker's activities are made of.
type Option func(*Activities)

// WithRunner has StartMissing start workflows by r.
func WithRunner(r Runner) Option { return func(a *Activities) { a.runner = r } }

// New returns the activities of one worker.
func New(store Store, provider Provider, notifier Notifier, log *slog.Logger, options ...Option) *Activities {
	a := &Activities{store: store, provider: killSwitch{provider, store}, notifier: notifier, log: log, now: time.Now}
	for _, set := range options {
		set(a)
	}
	return a
}

// Accrue reads how a period stands and moves it on once it is over.
func (a *Activities) Accrue(ctx context.Context, in workflows.CycleInput) (billing.Accrual, error) {
	accrual, err := a.store.Accrue(ctx, in.Organization, in.Period)
	return accrual, held(err, accrual.Seen)
}

// PauseCycle carries out an operator's request.
func (a *Activities) PauseCycle(ctx context.Context, r workflows.OperatorRequest) error {
	return final(a.store.PauseCycle(ctx, r.Organization, r.AuditEntry))
}

// ResumeCycle carries out an operator's request.
func (a *Activities) ResumeCycle(ctx context.Context, r workflows.OperatorRequest) error {
	return final(a.store.ResumeCycle(ctx, r.Organization, r.AuditEntry))
}

// EndPeriodNow carries out an operator's request.
func (a *Activities) EndPeriodNow(ctx context.Context, r workflows.OperatorRequest) error {
	return final(a.store.EndPeriodNow(ctx, r.Organization, r.AuditEntry))
}

// IssueInvoice closes a period and writes its invoice.
func (a *Activities) IssueInvoice(ctx context.Context, ref workflows.InvoiceRef) (billing.Issued, error) {
	issued, err := a.store.IssueInvoice(ctx, ref.Organization, ref.Period, ref.Revision)
	return issued, held(err, issued.Seen)
}

// ReleaseInvoice carries out an operator's request.
func (a *Activities) ReleaseInvoice(ctx context.Context, r workflows.ReleaseRequest) error {
	return final(a.store.ReleaseInvoice(ctx, r.Organization, r.Period, r.Revision, r.AuditEntry))
}

// RegisterWait says what a workflow waits for on a test clock.
func (a *Activities) RegisterWait(ctx context.Context, wait billing.Wait) (time.Time, error) {
	now, err := a.store.RegisterWait(ctx, wait)
	return now, final(err)
}
