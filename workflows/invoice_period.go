package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// InvoicePeriod bills a period that is over: it waits out the draft window, has
// the period closed and its invoice written, publishes that to the payment
// provider, and has it collected. It returns the status that the invoice got.
func InvoicePeriod(ctx workflow.Context, in InvoiceInput) (billing.InvoiceStatus, error) {
	r, err := newRun(ctx, in.Organization, in.Period, "Invoice "+in.ID())
	if err != nil {
		return "", err
	}
	r.read(in.TestClock, 0)
	p := &invoicing{r, in}
	if err := p.onRelease(ctx); err != nil {
		return "", err
	}
	p.tell(ctx, StageDraft, draftDetails(in))
	p.first(ctx, in.DraftUntil, "the draft window ends")
	for p.shouldContinue(ctx) {
		issued, err := p.issue(ctx)
		if err != nil {
			p.block(ctx, "the period cannot be closed: "+reason(err))
			continue
		}
		if issued.Stopped {
			p.waitForBilling(ctx, issued.Reason)
			continue
		}
		switch issued.Status {
		case billing.StatusDraft:
			p.waitForDraftEnd(ctx, issued)
		case billing.StatusParked:
			p.waitForRelease(ctx, issued)
		case billing.StatusOpen:
			if !p.published(ctx, issued) {
				continue
			}
			p.tell(ctx, StageIssued, issuedDetails(in.InvoiceRef, issued))
			if issued.MoreParts {
				p.waitUntil(ctx, never, "this part is paid and the next is due")
				continue
			}
			return issued.Status, p.finish(ctx)
		default:
			if issued.MoreParts { // past due: it may be paid yet
				p.tell(ctx, StageIssued, issuedDetails(in.InvoiceRef, issued))
				p.waitUntil(ctx, never, "this part is paid and the next is due")
				continue
			}
			p.tell(ctx, Stage(issued.Status), issuedDetails(in.InvoiceRef, issued))
			return issued.Status, p.finish(ctx)
		}
	}
	in.DraftUntil = never // the facts say when
	return "", p.continueAsNew(ctx, InvoicePeriod, in)
}

// invoicing is one run of InvoicePeriod.
type invoicing struct {
	*run
	in InvoiceInput
}

// issue closes the period and writes its invoice, unless something holds it back.
func (p *invoicing) issue(ctx workflow.Context) (billing.Issued, error) {
	issued, err := look(withClosing(ctx, summary("Close the period and write invoice %s", p.in.ID())), p.run,
		Activities.IssueInvoice, p.in.InvoiceRef)
	if err == nil {
		p.read(p.in.TestClock, issued.Seen)
	}
	return issued, err
}

func (p *invoicing) waitForDraftEnd(ctx workflow.Context, issued billing.Issued) {
	p.tell(ctx, StageDraft, issuedDetails(p.in.InvoiceRef, issued))
	if issued.HeldUntil.Equal(never) {
		p.waitUntil(ctx, never, "the invoice is no longer held back")
		return
	}
	p.waitUntil(ctx, issued.HeldUntil, "the draft window ends")
}

// waitForBilling waits while an operator has stopped all billing.
func (p *invoicing) waitForBilling(ctx workflow.Context, why string) {
	p.tell(ctx, StageStopped, stoppedDetails("Invoice "+p.in.ID(), why))
	p.waitUntil(ctx, never, "billing goes on")
}

// onRelease serves the release of a parked invoice.
func (p *invoicing) onRelease(ctx workflow.Context) error {
	return serve(ctx, p.run, request[ReleaseRequest]{
		update: ReleaseUpdate, description: "Release a parked invoice, over the total that was seen.",
		name: p.in.ID, carryOut: Activities.ReleaseInvoice,
		input: func(asked OperatorRequest) ReleaseRequest { return ReleaseRequest{p.in.InvoiceRef, asked.AuditEntry} },
		refuse: func() error {
			if p.status.Stage != StageParked {
				return fmt.Errorf("invoice %s is %s: there is nothing to release", p.in.ID(), p.status.Stage)
			}
			return nil
		},
	})
}

func (p *invoicing) waitForRelease(ctx workflow.Context, issued billing.Issued) {
	p.tell(ctx, StageParked, issuedDetails(p.in.InvoiceRef, issued))
	p.waitUntil(ctx, never, "somebody releases the invoice")
}

// published makes the invoice known to the provider and has it collected. Each
// step finds out by itself what an earlier run has done. Where it cannot go on it
// says why, and waits until that may have changed.
func (p *invoicing) published(ctx workflow.Context, issued billing.Issued) bool {
	p.tell(ctx, StageIssued, issuedDetails(p.in.InvoiceRef, issued))
	mismatch, err := p.tellProvider(ctx, issued)
	switch {
	case stopped(err):
		p.waitForBilling(ctx, reason(err))
		return false
	case err != nil:
		p.block(ctx, "the invoice cannot be published: "+reason(err))
		return false
	case mismatch != "":
		p.block(ctx, "the provider's invoice is not ours: "+mismatch)
		return false
	}
	collect := CollectInput{p.in.Organization, p.in.Period, issued.Invoice, p.in.TestClock}
	if err := startChild(ctx, CollectStartOptions(collect), CollectPayment, collect); err != nil {
		p.block(ctx, "its collection cannot be started: "+reason(err))
		return false
	}
	return true
}

func (p *invoicing) tellProvider(ctx workflow.Context, issued billing.Issued) (mismatch string, err error) {
	if issued.Items == 0 {
		return "", nil
	}
	create := withProvider(ctx, StripeInvoicesQueue, summary("Create %s at the provider", issued.Invoice))
	if err := perform(create, Activities.CreateProviderInvoice, issued.Invoice); err != nil {
		return "", err
	}
	if err := addItems(ctx, issued); err != nil {
		return "", err
	}
	finalize := withProvider(ctx, StripeFinalizeQueue, summary("Finalize %s over %s", issued.Invoice, issued.Total))
	return do(finalize, Activities.FinalizeProviderInvoice, issued.Invoice)
}

// addItems adds all items at once; the queue's rate says how fast they go. It
// returns when none is under way any more.
func addItems(ctx workflow.Context, issued billing.Issued) (err error) {
	items := make([]workflow.Future, issued.Items)
	for i := range items {
		add := withProvider(ctx, StripeItemsQueue, summary("Add item %d of %d to %s", i+1, issued.Items, issued.Invoice))
		items[i] = workflow.ExecuteActivity(add, Activities.AddProviderItem, ItemRef{issued.Invoice, issued.ItemsBefore + i + 1})
	}
	for _, item := range items {
		if failed := item.Get(ctx, nil); failed != nil {
			err = failed
		}
	}
	return err
}
