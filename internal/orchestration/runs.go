package orchestration

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// Facts is what is asked of the database.
type Facts interface {
	// ExpectedWorkflows lists what must be running for an organisation.
	ExpectedWorkflows(ctx context.Context, organization string) ([]billing.ExpectedWorkflow, error)
}

// Temporal is what is asked of the Temporal server to start workflows.
type Temporal interface {
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// Runs starts workflows that must run and do not: terminated by somebody, or lost
// with a Temporal server that was restored.
type Runs struct {
	facts    Facts
	temporal Temporal
}

// NewRuns returns Runs by the facts of a database, on a Temporal server.
func NewRuns(facts Facts, temporal Temporal) *Runs { return &Runs{facts, temporal} }

// StartMissing starts what must run for an organisation and does not, and returns
// the ids of what it started. It implements activities.Runner.
func (r *Runs) StartMissing(ctx context.Context, organization string) (started []string, err error) {
	expected, err := r.facts.ExpectedWorkflows(ctx, organization)
	if err != nil {
		return nil, err
	}
	for _, e := range expected {
		running, err := r.Running(ctx, e.ID)
		if err != nil {
			return started, err
		}
		if running {
			continue
		}
		isNew, err := r.Start(ctx, e)
		if err != nil {
			return started, err
		}
		if isNew {
			started = append(started, e.ID)
		}
	}
	return started, nil
}

// Running reports whether a workflow has a run that has not ended.
func (r *Runs) Running(ctx context.Context, id string) (bool, error) {
	found, err := r.temporal.DescribeWorkflowExecution(ctx, id, "")
	if gone := (*serviceerror.NotFound)(nil); errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", id, err)
	}
	return found.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

// Start starts a workflow. It reports false where it runs already or has done its
// work.
func (r *Runs) Start(ctx context.Context, e billing.ExpectedWorkflow) (started bool, err error) {
	s, err := startOf(e)
	if err == nil {
		_, err = r.temporal.ExecuteWorkflow(ctx, s.options, s.workflow, s.input)
	}
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case errors.As(err, &already):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("start %s: %w", e.ID, err)
	}
	return true, nil
}

// start is how a workflow is started.
type start struct {
	options  client.StartWorkflowOptions
	workflow any
	input    any
}

func startOf(e billing.ExpectedWorkflow) (start, error) {
	switch e.Kind {
	case billing.WorkflowCycle:
		in := workflows.CycleInput{Organization: e.Organization, Period: e.Period, TestClock: e.TestClock}
		return start{workflows.AllowRestart(workflows.CycleStartOptions(in)), workflows.BillingCycle, in}, nil
	case billing.WorkflowInvoice:
		in := workflows.InvoiceInput{
			InvoiceRef: workflows.InvoiceRef{Organization: e.Organization, Period: e.Period, Revision: e.Revision},
			DraftUntil: e.DraftUntil, TestClock: e.TestClock,
		}
		return start{workflows.AllowRestart(workflows.InvoiceStartOptions(in)), workflows.InvoicePeriod, in}, nil
	case billing.WorkflowCollect:
		in := workflows.CollectInput{Organization: e.Organization, Period: e.Period, Invoice: e.Invoice, TestClock: e.TestClock}
		return start{workflows.CollectStartOptions(in), workflows.CollectPayment, in}, nil
	default:
		return start{}, fmt.Errorf("workflow kind %q is not known", e.Kind)
	}
}
