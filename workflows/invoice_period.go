package workflows

import (
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
	p.tell(ctx, StageDraft, draftDetails(in))
	p.first(ctx, in.DraftUntil, "the draft window ends")
	for p.goesOn(ctx) {
		issued, err := p.issue(ctx)
		if err != nil {
			p.hold(ctx, "the period cannot be closed: "+reason(err))
			continue
		}
		switch issued.Status {
		case billing.StatusDraft:
			p.waitForDraftEnd(ctx, issued)
		case billing.StatusParked:
			p.waitForRelease(ctx, issued)
		case billing.StatusOpen:
			if why := p.publish(ctx, issued); why != "" {
				p.hold(ctx, why)
				continue
			}
			p.tell(ctx, StageIssued, issuedDetails(in.InvoiceRef, issued))
			return issued.Status, p.finish(ctx)
		default:
			p.tell(ctx, Stage(issued.Status), issuedDetails(in.InvoiceRef, issued))
			return issued.Status, p.finish(ctx)
		}
	}
	in.DraftUntil = never // the facts say when
	return "", p.carryOn(ctx, InvoicePeriod, in)
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
		p.until(ctx, never, "the invoice is no longer held back")
		return
	}
	p.until(ctx, issued.HeldUntil, "the draft window ends")
}

func (p *invoicing) waitForRelease(ctx workflow.Context, issued billing.Issued) {
	p.tell(ctx, StageParked, issuedDetails(p.in.InvoiceRef, issued))
	p.until(ctx, never, "somebody releases the invoice")
}

// publish makes the invoice known to the provider and has it collected. Each
// step finds out by itself what an earlier run has done. It returns why it
// cannot go on, or "".
func (p *invoicing) publish(ctx workflow.Context, issued billing.Issued) (why string) {
	p.tell(ctx, StageIssued, issuedDetails(p.in.InvoiceRef, issued))
	if issued.Items > 0 {
		mismatch, err := p.tellProvider(ctx, issued)
		if err != nil {
			return "the invoice cannot be published: " + reason(err)
		}
		if mismatch != "" {
			return "the provider's invoice is not ours: " + mismatch
		}
	}
	collect := CollectInput{p.in.Organization, p.in.Period, issued.Invoice, p.in.TestClock}
	if err := startChild(ctx, CollectStartOptions(collect), CollectPayment, collect); err != nil {
		return "its collection cannot be started: " + reason(err)
	}
	return ""
}

func (p *invoicing) tellProvider(ctx workflow.Context, issued billing.Issued) (mismatch string, err error) {
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
		items[i] = workflow.ExecuteActivity(add, Activities.AddProviderItem, ItemRef{issued.Invoice, i + 1})
	}
	for _, item := range items {
		if failed := item.Get(ctx, nil); failed != nil {
			err = failed
		}
	}
	return err
}
