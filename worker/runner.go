package main

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

// expecting is what the runner needs of the database.
type expecting interface {
	ExpectedWorkflows(ctx context.Context, organization string) ([]postgres.ExpectedWorkflow, error)
}

// starting is what the runner needs of Temporal.
type starting interface {
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// runner starts workflows that the database's facts demand and that do not run:
// terminated by somebody, or lost with a Temporal server that was restored.
type runner struct {
	facts    expecting
	temporal starting
}

// StartMissing implements activities.Runner.
func (r *runner) StartMissing(ctx context.Context, organization string) (started []string, err error) {
	expected, err := r.facts.ExpectedWorkflows(ctx, organization)
	if err != nil {
		return nil, err
	}
	for _, e := range expected {
		running, err := r.runs(ctx, e.ID)
		if err != nil {
			return started, err
		}
		if running {
			continue
		}
		err = r.start(ctx, e)
		var already *serviceerror.WorkflowExecutionAlreadyStarted
		switch {
		case err == nil:
			started = append(started, e.ID)
		case !errors.As(err, &already): // else it began meanwhile, or has done its work
			return started, fmt.Errorf("start %s: %w", e.ID, err)
		}
	}
	return started, nil
}

func (r *runner) runs(ctx context.Context, id string) (bool, error) {
	found, err := r.temporal.DescribeWorkflowExecution(ctx, id, "")
	if gone := (*serviceerror.NotFound)(nil); errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", id, err)
	}
	return found.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

func (r *runner) start(ctx context.Context, e postgres.ExpectedWorkflow) (err error) {
	switch e.Kind {
	case postgres.WorkflowCycle:
		in := workflows.CycleInput{Organization: e.Organization, Period: e.Period, TestClock: e.TestClock}
		_, err = r.temporal.ExecuteWorkflow(ctx, workflows.AllowRestart(workflows.CycleStartOptions(in)), workflows.BillingCycle, in)
	case postgres.WorkflowInvoice:
		in := workflows.InvoiceInput{
			InvoiceRef: workflows.InvoiceRef{Organization: e.Organization, Period: e.Period, Revision: e.Revision},
			DraftUntil: e.DraftUntil, TestClock: e.TestClock,
		}
		_, err = r.temporal.ExecuteWorkflow(ctx, workflows.AllowRestart(workflows.InvoiceStartOptions(in)), workflows.InvoicePeriod, in)
	case postgres.WorkflowCollect:
		in := workflows.CollectInput{Organization: e.Organization, Period: e.Period, Invoice: e.Invoice, TestClock: e.TestClock}
		_, err = r.temporal.ExecuteWorkflow(ctx, workflows.CollectStartOptions(in), workflows.CollectPayment, in)
	default:
		err = fmt.Errorf("workflow kind %q is not known", e.Kind)
	}
	return err
}
