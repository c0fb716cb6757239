package workflows

import (
	"context"
	"errors"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// How each workflow is started, whether as a child or by a client that repairs
// what is missing: under an id that only one execution may hold, findable by its
// search attributes from the first moment. A client that meets a running
// execution gets serviceerror.WorkflowExecutionAlreadyStarted.

// CycleStartOptions starts an organisation's billing cycle:
//
//	client.ExecuteWorkflow(ctx, CycleStartOptions(in), BillingCycle, in)
//
// A cycle that ended by itself has reached the end of its contract and is not
// started again; one that failed or was terminated is.
func CycleStartOptions(in CycleInput) client.StartWorkflowOptions {
	return startOptions(CycleID(in.Organization), "Billing cycle of "+in.Organization,
		enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
		in.Organization, in.Period, StageAccruing)
}

// InvoiceStartOptions starts the invoicing of a period that is over, by
// InvoicePeriod. What was invoiced is not invoiced again; what failed or was
// terminated is taken up where it stopped.
func InvoiceStartOptions(in InvoiceInput) client.StartWorkflowOptions {
	return startOptions(InvoicePeriodID(in.InvoiceRef), "Invoice "+in.InvoiceRef.ID(),
		enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
		in.Organization, in.Period, StageDraft)
}

// AllowRestart starts also what has done its work: the database says that it is to be
// done, and may have gone back in time since.
func AllowRestart(options client.StartWorkflowOptions) client.StartWorkflowOptions {
	options.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	return options
}

// CollectStartOptions starts the collection of a published invoice, by
// CollectPayment. It may be started again after any end: one that was given up
// goes on with a new payment method, one that was paid finds that out and ends.
func CollectStartOptions(in CollectInput) client.StartWorkflowOptions {
	return startOptions(CollectPaymentID(in.Invoice), "Payment of invoice "+in.Invoice,
		enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		in.Organization, in.Period, StageCollecting)
}

// SweepSchedule is the schedule that starts SweepProvider: every hour, one at a
// time. What was missed while the server was away is not made up for, since one
// sweep finds everything.
func SweepSchedule() client.ScheduleOptions {
	return client.ScheduleOptions{
		ID: SweepProviderID,
		Spec: client.ScheduleSpec{
			Intervals: []client.ScheduleIntervalSpec{{Every: time.Hour, Offset: 17 * time.Minute}},
			Jitter:    5 * time.Minute,
		},
		Action: &client.ScheduleWorkflowAction{
			ID: SweepProviderID, Workflow: SweepProvider, Args: []any{SweepInput{}}, TaskQueue: TaskQueue,
			StaticSummary: "Sweep of the payment provider",
		},
		Overlap:       enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: 10 * time.Minute,
		Note:          "Finds what no webhook told of, and workflows that should run and do not.",
	}
}

// EnsureSweepSchedule makes the schedule, or brings one that exists up to date;
// whether it is paused stays as people left it.
func EnsureSweepSchedule(ctx context.Context, schedules client.ScheduleClient) error {
	wanted := SweepSchedule()
	_, err := schedules.Create(ctx, wanted)
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err
	}
	return schedules.GetHandle(ctx, wanted.ID).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			schedule := in.Description.Schedule
			if upToDate(&schedule, &wanted) {
				return nil, temporal.ErrSkipScheduleUpdate // else somebody's pausing it at this moment would be undone
			}
			schedule.Spec, schedule.Action = &wanted.Spec, wanted.Action
			schedule.Policy = &client.SchedulePolicies{Overlap: wanted.Overlap, CatchupWindow: wanted.CatchupWindow}
			if schedule.State == nil {
				schedule.State = &client.ScheduleState{}
			}
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		},
	})
}

func upToDate(schedule *client.Schedule, wanted *client.ScheduleOptions) bool {
	action, ok := schedule.Action.(*client.ScheduleWorkflowAction)
	want := wanted.Action.(*client.ScheduleWorkflowAction)
	return ok && action.Workflow == sweepProviderName && action.TaskQueue == want.TaskQueue &&
		schedule.Spec != nil && slices.Equal(schedule.Spec.Intervals, wanted.Spec.Intervals) && schedule.Spec.Jitter == wanted.Spec.Jitter &&
		schedule.Policy != nil && schedule.Policy.Overlap == wanted.Overlap && schedule.Policy.CatchupWindow == wanted.CatchupWindow
}

// sweepProviderName is how Temporal calls SweepProvider.
const sweepProviderName = "SweepProvider"

func startOptions(
	id, summary string, reuse enumspb.WorkflowIdReusePolicy, organization, period string, stage Stage,
) client.StartWorkflowOptions {
	attributes := []temporal.SearchAttributeUpdate{
		OrganizationAttribute.ValueSet(organization), StageAttribute.ValueSet(string(stage)),
	}
	if period != "" {
		attributes = append(attributes, PeriodAttribute.ValueSet(period))
	}
	return client.StartWorkflowOptions{
		ID:                                       id,
		TaskQueue:                                TaskQueue,
		WorkflowIDReusePolicy:                    reuse,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		TypedSearchAttributes:                    temporal.NewSearchAttributes(attributes...),
		StaticSummary:                            summary,
	}
}

// startChild starts a workflow that outlives its parent's run, and returns when
// it has started. That it already has is as good: it looks again, since it may have
// been told to wait while the database had forgotten what it is there for.
func startChild(ctx workflow.Context, options client.StartWorkflowOptions, child, in any) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            options.ID,
		TaskQueue:             options.TaskQueue,
		WorkflowIDReusePolicy: options.WorkflowIDReusePolicy,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		TypedSearchAttributes: options.TypedSearchAttributes,
		StaticSummary:         options.StaticSummary,
	})
	err := workflow.ExecuteChildWorkflow(ctx, child, in).GetChildWorkflowExecution().Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		_ = workflow.SignalExternalWorkflow(ctx, options.ID, "", Nudge, nil).Get(ctx, nil) // else it has ended
		return nil
	}
	return err
}
