package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// SweepProvider finds what nobody told of, once an hour: what happened at the
// provider while no webhook came through, invoices of ours that are recorded
// nowhere, unpaid ones that were not asked about for a day, and workflows that
// should run and do not. All it finds goes the way of any other news. A Temporal
// schedule starts it; nothing waits for it.
func SweepProvider(ctx workflow.Context, in SweepInput) error {
	parts := []func(workflow.Context, *SweepInput) (done bool, err error){
		sweepEvents, sweepInvoices, requestLooks, startMissing,
	}
	for in.Part < len(parts) {
		workflow.SetCurrentDetails(ctx, sweepDetails(in))
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			return workflow.NewContinueAsNewError(ctx, SweepProvider, in)
		}
		done, err := parts[in.Part](ctx, &in)
		if err != nil {
			return err
		}
		if done {
			in.Part++
			in.Page, in.After = billing.SweepPage{}, ""
		}
	}
	workflow.SetCurrentDetails(ctx, sweepDetails(in))
	return nil
}

func sweepEvents(ctx workflow.Context, in *SweepInput) (done bool, err error) {
	ctx = withProvider(ctx, StripeListsQueue, pageSummary("what happened at the provider", in.Page))
	in.Page, err = do(ctx, Activities.SweepEvents, in.Page)
	if in.Page.Done {
		in.Found.Events = in.Page.New
	}
	return in.Page.Done, err
}

func sweepInvoices(ctx workflow.Context, in *SweepInput) (done bool, err error) {
	ctx = withProvider(ctx, StripeListsQueue, pageSummary("which invoices carry our mark", in.Page))
	in.Page, err = do(ctx, Activities.SweepInvoices, in.Page)
	if in.Page.Done {
		in.Found.Orphans = in.Page.New
	}
	return in.Page.Done, err
}

func requestLooks(ctx workflow.Context, in *SweepInput) (done bool, err error) {
	in.Found.Looks, err = do(withDatabase(ctx, "Have unpaid invoices looked at that were not for a day"), Activities.RequestLooks, in.Page)
	return true, err
}

func startMissing(ctx workflow.Context, in *SweepInput) (done bool, err error) {
	missing, err := do(withSweeping(ctx, summary("Start what should run and does not, after %q", in.After)), Activities.StartMissing, in.After)
	in.Found.Started += len(missing.Started)
	in.After = missing.After
	return missing.After == "", err
}

func pageSummary(what string, page billing.SweepPage) string {
	if page.Read == 0 {
		return summary("Read %s", what)
	}
	return summary("Read %s, after the first %d", what, page.Read)
}

// sweepDetails tells what a sweep has found so far.
func sweepDetails(in SweepInput) string {
	var d paragraphs
	d.add("**Sweep of the payment provider**, part %d of 4", min(in.Part+1, 4))
	found := in.Found
	d.add("%s", fmt.Sprintf("%s that nobody had told of; %s at the provider that are recorded nowhere; %s looked at; %s started that should have been running.",
		count(found.Events, "event"), count(found.Orphans, "invoice"), count(found.Looks, "unpaid invoice"), count(found.Started, "workflow")))
	if found.Orphans > 0 {
		d.add("`starter verify` names the invoices.")
	}
	return d.String()
}
