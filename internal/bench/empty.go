package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/workflows"
)

// The queues of the empty workflows: one for them, and one for each that the
// product uses for an endpoint of the provider.
const emptyQueue = "bench-empty"

var emptyProviderQueues = []string{"bench-invoices", "bench-items", "bench-finalize", "bench-pay"}

// plainWorkflow is the limit: activities that do nothing, one after the other.
func plainWorkflow(ctx workflow.Context, activities int) error {
	for range activities {
		if err := empty(ctx, emptyQueue).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func empty(ctx workflow.Context, queue string) workflow.Future {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: queue, StartToCloseTimeout: time.Minute,
	}), "empty")
}

// The shaped workflows do nothing either, but as the product does it: a cycle
// that starts the invoicing and continues as new, an invoicing that publishes and
// starts the collection, and search attributes on each.
func shapedCycle(ctx workflow.Context, id string, next bool) error {
	if err := empty(ctx, emptyQueue).Get(ctx, nil); err != nil || next {
		return err
	}
	if err := startShaped(ctx, "invoice-"+id, shapedInvoice, id); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, shapedCycle, id, true)
}

func shapedInvoice(ctx workflow.Context, id string) error {
	if err := empty(ctx, emptyQueue).Get(ctx, nil); err != nil {
		return err
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, workflows.StageAttribute.ValueSet("issued")); err != nil {
		return err
	}
	if err := empty(ctx, emptyProviderQueues[0]).Get(ctx, nil); err != nil {
		return err
	}
	items := []workflow.Future{empty(ctx, emptyProviderQueues[1]), empty(ctx, emptyProviderQueues[1])}
	for _, item := range items {
		if err := item.Get(ctx, nil); err != nil {
			return err
		}
	}
	if err := empty(ctx, emptyProviderQueues[2]).Get(ctx, nil); err != nil {
		return err
	}
	return startShaped(ctx, "collect-"+id, shapedCollection, id)
}

func shapedCollection(ctx workflow.Context, _ string) error {
	if err := empty(ctx, emptyProviderQueues[3]).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.UpsertTypedSearchAttributes(ctx, workflows.StageAttribute.ValueSet("paid"))
}

func startShaped(ctx workflow.Context, workflowID string, child any, id string) error {
	return workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: workflowID, ParentClosePolicy: enumspb.PARENT_CLOSE_POLICY_ABANDON, TypedSearchAttributes: shapedAttributes(id),
	}), child, id).GetChildWorkflowExecution().Get(ctx, nil)
}

func shapedAttributes(id string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(workflows.OrganizationAttribute.ValueSet(id),
		workflows.PeriodAttribute.ValueSet("2026-01-01"), workflows.StageAttribute.ValueSet("draft"))
}

// emptyRounds measures the empty workflows, plain and shaped.
func (r *rig) emptyRounds(ctx context.Context, n, activities int, p *pair) error {
	quiet := sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	c, err := client.DialContext(ctx, client.Options{HostPort: r.env["TEMPORAL_ADDRESS"], Logger: quiet})
	if err != nil {
		return err
	}
	defer c.Close()
	stop, err := startEmptyWorkers(c)
	if err != nil {
		return err
	}
	defer stop()
	ids := make([]string, r.orgs)
	for i := range ids {
		ids[i] = fmt.Sprintf("%d-%03d", n, i)
	}
	p.limit, p.server[1], err = r.timed(ids, func(id string) error {
		options := client.StartWorkflowOptions{ID: "plain-" + id, TaskQueue: emptyQueue}
		_, err := c.ExecuteWorkflow(ctx, options, plainWorkflow, activities)
		return err
	}, func(id string) error { return c.GetWorkflow(ctx, "plain-"+id, "").Get(ctx, nil) })
	if err != nil {
		return err
	}
	p.shape, p.server[2], err = r.timed(ids, func(id string) error {
		options := client.StartWorkflowOptions{ID: "cycle-" + id, TaskQueue: emptyQueue, TypedSearchAttributes: shapedAttributes(id)}
		_, err := c.ExecuteWorkflow(ctx, options, shapedCycle, id, false)
		return err
	}, func(id string) error { return r.untilCollected(ctx, c, id) })
	return err
}

// untilCollected waits for the last of an organisation's shaped workflows; it
// exists once the one before it has ended.
func (r *rig) untilCollected(ctx context.Context, c client.Client, id string) error {
	for _, workflowID := range []string{"cycle-" + id, "invoice-" + id, "collect-" + id} {
		if err := c.GetWorkflow(ctx, workflowID, "").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// timed starts something for every id and waits for all: how many a second that
// makes, and what each cost Temporal's server.
func (r *rig) timed(ids []string, start, wait func(id string) error) (rate float64, server time.Duration, err error) {
	began, busy := time.Now(), r.temporalBusy()
	if err := each(ids, start); err != nil {
		return 0, 0, err
	}
	err = each(ids, wait)
	return perSecond(len(ids), time.Since(began)), (r.temporalBusy() - busy) / time.Duration(len(ids)), err
}

func startEmptyWorkers(c client.Client) (stop func(), err error) {
	nothing := func(context.Context) error { return nil }
	var started []worker.Worker
	stop = func() {
		for _, w := range started {
			w.Stop()
		}
	}
	for _, queue := range append([]string{emptyQueue}, emptyProviderQueues...) {
		options := worker.Options{}
		if queue != emptyQueue {
			options = worker.Options{DisableWorkflowWorker: true, TaskQueueActivitiesPerSecond: providerCallsPerSecond}
		}
		w := worker.New(c, queue, options)
		if queue == emptyQueue {
			for _, wf := range []any{plainWorkflow, shapedCycle, shapedInvoice, shapedCollection} {
				w.RegisterWorkflow(wf)
			}
		}
		w.RegisterActivityWithOptions(nothing, activity.RegisterOptions{Name: "empty"})
		if err := w.Start(); err != nil {
			stop()
			return nil, err
		}
		started = append(started, w)
	}
	return stop, nil
}
