package activities

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// eventsReach is how far back the provider lists events: 30 days, less a margin.
	eventsReach = 30*24*time.Hour - time.Hour
	// sweepOverlap is what two sweeps read twice, since the provider's clock is not
	// ours and what is under way shows a little later.
	sweepOverlap = time.Hour
	// markedReach is how far back the first sweep looks for invoices of ours.
	markedReach = 90 * 24 * time.Hour
	// underWay is how long an invoice may take from being made at the provider to
	// being recorded here.
	underWay = time.Hour

	looksPerSweep         = 200
	organizationsPerBatch = 100
)

// The lists that are swept.
const (
	listEvents   = "events"
	listInvoices = "invoices"
)

// SweepEvents reads one page of what happened at the provider: what no webhook
// told of is stored as if it had been told, and looked into like that.
func (a *Activities) SweepEvents(ctx context.Context, page billing.SweepPage) (billing.SweepPage, error) {
	if page.Since.IsZero() {
		swept, err := a.store.SweptTo(ctx, listEvents)
		if err != nil {
			return page, final(err)
		}
		page.Until, page.Incarnation = a.now().UTC().Truncate(time.Second), swept.Incarnation
		page.Since = latest(swept.To.Add(-sweepOverlap), page.Until.Add(-eventsReach))
	}
	events, page, err := a.provider.Events(ctx, page)
	if err != nil {
		return page, final(fmt.Errorf("sweep the provider's events: %w", err))
	}
	for _, event := range events {
		isNew, err := a.store.RecordStripeEvent(ctx, event)
		if err != nil {
			return page, final(err)
		}
		if isNew {
			page.New++
		}
	}
	if page.Done {
		err = a.store.RecordSweep(ctx, listEvents, page.Until, page.Incarnation)
	}
	return page, final(err)
}

// SweepInvoices reads one page of the provider's invoices and records those that
// carry our mark and are not known here: made by a call whose answer was lost for
// good, or before the database went back in time. A database that may have gone
// back is made level with the provider by this: all customers and invoices since
// its last sweep are known then, and billing goes on.
func (a *Activities) SweepInvoices(ctx context.Context, page billing.SweepPage) (billing.SweepPage, error) {
	if page.Since.IsZero() {
		var err error
		if page, err = a.beginInvoices(ctx, page); err != nil {
			return page, final(err)
		}
	}
	installation, err := a.store.Installation(ctx)
	if err != nil {
		return page, final(err)
	}
	if page.Customers {
		page, err = a.sweepCustomers(ctx, installation, page)
		return page, final(err)
	}
	marks, page, err := a.provider.Marked(ctx, installation, page)
	if err != nil {
		return page, final(fmt.Errorf("sweep the provider's invoices: %w", err))
	}
	orphans, err := a.store.RecordMarks(ctx, marks)
	if err != nil {
		return page, final(err)
	}
	if page.New += orphans; orphans > 0 {
		a.log.Warn("invoices at the provider are recorded nowhere", "count", orphans, "see", "starter verify")
	}
	if !page.Done {
		return page, nil
	}
	swept := page.Until
	if settled := a.now().UTC().Add(-underWay); settled.Before(swept) {
		swept = settled // later ones may still be recorded
	}
	if err := a.store.RecordSweep(ctx, listInvoices, swept, page.Incarnation); err != nil || !page.Behind {
		return page, final(err)
	}
	a.log.Warn("the database's server started anew or was replaced: what the provider has since was read")
	return page, final(a.store.RecoveryDone(ctx, page.Incarnation))
}

// beginInvoices decides from when to when the provider's invoices are read. To
// catch up, that is from the last sweep that the database knows of, however long
// ago, until now.
func (a *Activities) beginInvoices(ctx context.Context, page billing.SweepPage) (billing.SweepPage, error) {
	swept, err := a.store.SweptTo(ctx, listInvoices)
	if err != nil {
		return page, err
	}
	now := a.now().UTC().Truncate(time.Second)
	page.Until = now.Add(-underWay)
	page.Since = latest(swept.To.Add(-sweepOverlap), page.Until.Add(-markedReach))
	page.Incarnation, page.Behind = swept.Incarnation, swept.Behind
	if page.Behind {
		page.Until, page.Customers = now, true
		if !swept.To.IsZero() {
			page.Since = swept.To.Add(-sweepOverlap)
		}
	}
	oldest, err := a.store.OldestOrphan(ctx)
	switch { // what became of it
	case oldest.IsZero():
	case oldest.Before(page.Since):
		page.Since = oldest
	case oldest.After(page.Until):
		page.Until = now
	}
	return page, err
}

// sweepCustomers reads one page of the provider's customers; the invoices follow.
func (a *Activities) sweepCustomers(ctx context.Context, installation string, page billing.SweepPage) (billing.SweepPage, error) {
	marks, page, err := a.provider.MarkedCustomers(ctx, installation, page)
	if err != nil {
		return page, fmt.Errorf("sweep the provider's customers: %w", err)
	}
	if page.Done {
		page.Done, page.Customers, page.After = false, false, ""
	}
	return page, a.store.RecordCustomerMarks(ctx, marks)
}

// RequestLooks has unsettled invoices looked at whose provider has not been asked
// for a day, however old they are.
func (a *Activities) RequestLooks(ctx context.Context, _ billing.SweepPage) (int, error) {
	asked, err := a.store.RequestRefresh(ctx, looksPerSweep)
	return asked, final(err)
}

// StartMissing starts what should run and does not, for some organisations after
// the one where the last call stopped.
func (a *Activities) StartMissing(ctx context.Context, after string) (billing.Missing, error) {
	found := billing.Missing{}
	organizations, err := a.store.OrganizationsAfter(ctx, after, organizationsPerBatch)
	if err != nil {
		return found, final(err)
	}
	for _, organization := range organizations {
		if activity.IsActivity(ctx) {
			activity.RecordHeartbeat(ctx, organization)
		}
		started, err := a.runner.StartMissing(ctx, organization)
		if err != nil {
			return found, final(fmt.Errorf("start what is missing of %s: %w", organization, err))
		}
		for _, id := range started {
			a.log.Warn("a workflow that should run did not, and was started", "organization", organization, "workflow", id)
		}
		found.Started = append(found.Started, started...)
	}
	if len(organizations) == organizationsPerBatch {
		found.After = organizations[len(organizations)-1]
	}
	return found, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
