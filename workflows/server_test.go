package workflows

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/temporaltest"
)

// TestWholeMonth lets the three workflows start each other on a real server, as
// they do in production, and looks at them as an operator does.
func TestWholeMonth(t *testing.T) {
	t.Parallel()
	c := temporaltest.Dial(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f := newFake()
	f.base, f.unit, f.now = time.Now().UTC(), 100*time.Millisecond, func() time.Time { return time.Now().UTC() }
	name := strings.ToLower(temporaltest.Unique(t))
	f.organization, f.next = "acme-"+name[len(name)-10:], "2026-10-20"
	f.ends, f.draftUntil = 20, 21
	for _, queue := range []string{TaskQueue, StripeInvoicesQueue, StripeItemsQueue, StripeFinalizeQueue, StripePaymentsQueue} {
		w := worker.New(c, queue, worker.Options{})
		w.RegisterActivity(f)
		w.RegisterWorkflow(BillingCycle)
		w.RegisterWorkflow(InvoicePeriod)
		w.RegisterWorkflow(CollectPayment)
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}

	in := CycleInput{f.organization, f.period, false}
	cycle, err := c.ExecuteWorkflow(ctx, CycleStartOptions(in), BillingCycle, in)
	require.NoError(t, err)
	_, err = c.ExecuteWorkflow(ctx, CycleStartOptions(in), BillingCycle, in)
	running := (*serviceerror.WorkflowExecutionAlreadyStarted)(nil)
	require.ErrorAs(t, err, &running, "a running cycle is not started twice")
	require.Equal(t, cycle.GetRunID(), running.RunId)

	ref := InvoiceRef{f.organization, "2026-10-01", 1}
	var status billing.InvoiceStatus
	require.Eventually(t, func() bool {
		return c.GetWorkflow(ctx, CollectPaymentID(ref.ID()), "").Get(ctx, &status) == nil
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, billing.StatusPaid, status)
	require.NoError(t, c.GetWorkflow(ctx, InvoicePeriodID(ref), "").Get(ctx, &status))
	require.Equal(t, billing.StatusOpen, status)

	var now Status
	require.Eventually(t, func() bool {
		value, err := c.QueryWorkflow(ctx, CycleID(f.organization), "", StatusQuery)
		return err == nil && value.Get(&now) == nil && now.NextWakeAt != nil
	}, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, "2026-10-20", now.Period)
	require.Equal(t, StageAccruing, now.Stage)
	require.Equal(t, f.at(51).UnixMilli(), now.NextWakeAt.UnixMilli())
	require.Equal(t, "12.50 USD", now.Spend.String())
	require.Equal(t, "500.00 USD", now.Limit.String())

	value, err := c.QueryWorkflow(ctx, CycleID(f.organization), "", "__temporal_workflow_metadata")
	require.NoError(t, err)
	var metadata sdkpb.WorkflowMetadata
	require.NoError(t, value.Get(&metadata))
	require.Contains(t, metadata.GetCurrentDetails(), "period **2026-10-20**")
	require.Contains(t, metadata.GetCurrentDetails(), "Waiting until the period ends")

	events := countEvents(ctx, t, c, CycleID(f.organization), cycle.GetRunID()) +
		countEvents(ctx, t, c, InvoicePeriodID(ref), "") + countEvents(ctx, t, c, CollectPaymentID(ref.ID()), "")
	require.LessOrEqual(t, events, quietMonth)

	requireFound(ctx, t, c, f.organization, "2026-10-01", StageIssued, StagePaid)
	requireFound(ctx, t, c, f.organization, "2026-10-20", StageAccruing)
	require.NoError(t, c.TerminateWorkflow(ctx, CycleID(f.organization), "", "the test is over"))
}

// The database forgot that the period had ended while its invoicing was told to
// wait: nobody is woken then whom it does not expect.
func TestAnInvoicingThatWaitsIsWokenWhenItsPeriodEndsOnceMore(t *testing.T) {
	// Not in parallel: TestWholeMonth has another fake behind the same task queue.
	c := temporaltest.Dial(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f := newFake()
	f.base, f.unit, f.now = time.Now().UTC(), 100*time.Millisecond, func() time.Time { return time.Now().UTC() }
	name := strings.ToLower(temporaltest.Unique(t))
	f.organization, f.next, f.ends, f.items, f.stopped = "acme-"+name[len(name)-10:], "2026-10-20", 1, 0, true
	w := worker.New(c, TaskQueue, worker.Options{})
	w.RegisterActivity(f)
	w.RegisterWorkflow(BillingCycle)
	w.RegisterWorkflow(InvoicePeriod)
	w.RegisterWorkflow(CollectPayment)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)

	ref := InvoiceRef{f.organization, "2026-10-01", 1}
	invoice := InvoiceInput{InvoiceRef: ref}
	_, err := c.ExecuteWorkflow(ctx, InvoiceStartOptions(invoice), InvoicePeriod, invoice)
	require.NoError(t, err)
	var now Status
	require.Eventually(t, func() bool {
		value, err := c.QueryWorkflow(ctx, InvoicePeriodID(ref), "", StatusQuery)
		return err == nil && value.Get(&now) == nil && now.Stage == StageStopped
	}, 10*time.Second, 50*time.Millisecond)

	f.change(func(f *fake) { f.stopped = false })
	in := CycleInput{f.organization, f.period, false}
	_, err = c.ExecuteWorkflow(ctx, CycleStartOptions(in), BillingCycle, in)
	require.NoError(t, err)
	var status billing.InvoiceStatus
	require.NoError(t, c.GetWorkflow(ctx, InvoicePeriodID(ref), "").Get(ctx, &status))
	require.Equal(t, billing.StatusOpen, status)
	require.NoError(t, c.TerminateWorkflow(ctx, CycleID(f.organization), "", "the test is over"))
	_ = c.TerminateWorkflow(ctx, CollectPaymentID(ref.ID()), "", "the test is over")
}

func countEvents(ctx context.Context, t *testing.T, c client.Client, id, run string) (n int) {
	t.Helper()
	for events := c.GetWorkflowHistory(ctx, id, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); n++ {
		_, err := events.Next()
		require.NoError(t, err)
	}
	return n
}

// StagePaid is the stage of a collection that has ended well.
const StagePaid = Stage(billing.StatusPaid)

// requireFound finds executions by what an operator searches for.
func requireFound(ctx context.Context, t *testing.T, c client.Client, organization, period string, stages ...Stage) {
	t.Helper()
	for _, stage := range stages {
		query := `Organization = "` + organization + `" AND Period = "` + period + `" AND Stage = "` + string(stage) + `"`
		require.Eventually(t, func() bool {
			found, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
			return err == nil && found.GetCount() > 0
		}, 20*time.Second, 100*time.Millisecond, query)
	}
}
