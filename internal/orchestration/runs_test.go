package orchestration

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
)

type fakeServer struct {
	runs    map[string]enumspb.WorkflowExecutionStatus
	done    map[string]bool // may not be started again
	broken  error
	started []string
}

func (f *fakeServer) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	status, known := f.runs[id]
	if !known {
		return nil, serviceerror.NewNotFound(id)
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status}}, nil
}

func (f *fakeServer) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, _ any, _ ...any) (client.WorkflowRun, error) {
	if f.done[options.ID] {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("it has done its work", "", "")
	}
	f.started = append(f.started, options.ID)
	return nil, f.broken
}

type fakeExpected []billing.ExpectedWorkflow

func (f fakeExpected) ExpectedWorkflows(context.Context, string) ([]billing.ExpectedWorkflow, error) {
	return f, nil
}

func TestWhatShouldRunAndDoesNotIsStarted(t *testing.T) {
	t.Parallel()
	facts := fakeExpected{
		{ID: "billing-cycle/acme", Kind: billing.WorkflowCycle, Organization: "acme"},
		{ID: "invoice/acme/2026-10-01", Kind: billing.WorkflowInvoice, Organization: "acme", Period: "2026-10-01", Revision: 1},
		{ID: "invoice/acme/2026-09-01", Kind: billing.WorkflowInvoice, Organization: "acme", Period: "2026-09-01", Revision: 1},
		{ID: "collect/acme/2026-08-01", Kind: billing.WorkflowCollect, Organization: "acme", Period: "2026-08-01", Invoice: "acme/2026-08-01"},
	}
	server := &fakeServer{
		runs: map[string]enumspb.WorkflowExecutionStatus{
			"billing-cycle/acme":      enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
			"invoice/acme/2026-10-01": enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED,
			"invoice/acme/2026-09-01": enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED,
		},
		done: map[string]bool{"invoice/acme/2026-09-01": true},
	}
	r := &Runs{facts, server}
	started, err := r.StartMissing(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"invoice/acme/2026-10-01", "collect/acme/2026-08-01"}, started)
	require.Equal(t, started, server.started)

	server.broken = errors.New("no server")
	_, err = r.StartMissing(t.Context(), "acme")
	require.ErrorContains(t, err, "start invoice/acme/2026-10-01: no server")
	_, err = (&Runs{fakeExpected{{ID: "x", Kind: "another"}}, server}).StartMissing(t.Context(), "acme")
	require.ErrorContains(t, err, "is not known")
}
