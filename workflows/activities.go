package workflows

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Activities is what the workflows need done in the outside world. Each method
// is one transaction, or one effect at the payment provider bracketed by the
// record of its intent and of its result; each may be run again at any time.
type Activities interface {
	// Accrue reads how the period stands and, once it is over, moves it into its
	// draft window and opens the next.
	Accrue(context.Context, CycleInput) (billing.Accrual, error)
	// DeliverNotices sends the organisation's undelivered spend notices.
	DeliverNotices(ctx context.Context, organization string) (billing.Delivery, error)
	// PauseCycle, ResumeCycle and EndPeriodNow carry out an operator's request.
	PauseCycle(context.Context, OperatorRequest) error
	ResumeCycle(context.Context, OperatorRequest) error
	EndPeriodNow(context.Context, OperatorRequest) error

	// IssueInvoice closes the period and writes its invoice in one transaction,
	// unless something holds it back.
	IssueInvoice(context.Context, InvoiceRef) (billing.Issued, error)
	// ReleaseInvoice carries out an operator's request.
	ReleaseInvoice(context.Context, ReleaseRequest) error
	// CreateProviderInvoice, AddProviderItem and FinalizeProviderInvoice publish
	// an issued invoice, one call each.
	CreateProviderInvoice(ctx context.Context, invoice string) error
	AddProviderItem(context.Context, ItemRef) error
	// FinalizeProviderInvoice returns "" or why the provider's invoice must not be
	// collected: its total is not ours.
	FinalizeProviderInvoice(ctx context.Context, invoice string) (mismatch string, err error)

	// CollectInvoice takes the next step of collection, if one is due.
	CollectInvoice(ctx context.Context, invoice string) (billing.Collection, error)
	// DeliverPaymentNotices sends the invoice's undelivered payment notices.
	DeliverPaymentNotices(ctx context.Context, invoice string) (billing.Delivery, error)

	// SweepEvents and SweepInvoices read one page of the provider's lists: what no
	// webhook told of, and what carries our mark and is recorded nowhere.
	SweepEvents(context.Context, billing.SweepPage) (billing.SweepPage, error)
	SweepInvoices(context.Context, billing.SweepPage) (billing.SweepPage, error)
	// RequestLooks has unsettled invoices looked at that were not for a day.
	RequestLooks(context.Context, billing.SweepPage) (int, error)
	// StartMissing starts what should run and does not, for some organisations.
	StartMissing(ctx context.Context, after string) (billing.Missing, error)

	// RegisterWait says what a workflow waits for on a test clock, and returns the
	// clock's time.
	RegisterWait(context.Context, billing.Wait) (time.Time, error)
}

// do runs one activity: the compiler checks what goes in and what comes out.
func do[In, Out any](
	ctx workflow.Context,
	activity func(Activities, context.Context, In) (Out, error),
	in In,
) (out Out, err error) {
	err = workflow.ExecuteActivity(ctx, activity, in).Get(ctx, &out)
	return out, err
}

// perform is do for an activity that has nothing to tell but that it is done.
func perform[In any](
	ctx workflow.Context,
	activity func(Activities, context.Context, In) error,
	in In,
) error {
	return workflow.ExecuteActivity(ctx, activity, in).Get(ctx, nil)
}
