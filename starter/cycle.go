package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdktemporal "go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

func newCycleCmd(a *app) *cobra.Command {
	return newGroup("cycle", "Billing cycles: start, watch, pause and end them", "",
		newCycleStartCmd(a), newCycleStatusCmd(a), newCycleListCmd(a),
		newCycleRequestCmd(a, pauseRequest()), newCycleRequestCmd(a, resumeRequest()), newCycleRequestCmd(a, closeRequest()))
}

// cycleView is a cycle as it is printed.
type cycleView struct {
	Organization string         `json:"organization"`
	WorkflowID   string         `json:"workflow_id"`
	RunID        *string        `json:"run_id"` // null = it does not run
	Period       string         `json:"period"`
	PeriodStart  time.Time      `json:"period_start"`
	PeriodEnd    time.Time      `json:"period_end"`
	Stage        string         `json:"stage"`
	NextWakeAt   *time.Time     `json:"next_wake_at"`
	NextWhat     string         `json:"next_what"`
	Spend        billing.Money  `json:"spend"` // of the billing month
	Limit        *billing.Money `json:"limit"`
	Notices      int            `json:"notices_pending"`
	Parked       int            `json:"events_parked"`
	Stopped      bool           `json:"billing_stopped"` // nothing is issued or collected, see starter billing
	Now          time.Time      `json:"now"`
}

func viewCycle(c postgres.CycleState) cycleView {
	return cycleView{
		Organization: c.Organization, WorkflowID: workflows.CycleID(c.Organization), Period: c.Period,
		PeriodStart: c.Start.UTC(), PeriodEnd: c.End.UTC(), Stage: c.Stage,
		NextWakeAt: optional(c.NextWakeAt), NextWhat: c.NextWhat, Spend: c.Spend, Limit: c.Limit,
		Notices: c.Notices, Parked: c.Parked, Stopped: c.Stopped, Now: c.Now.UTC(),
	}
}

// The stages of a cycle by the database's facts that matter here.
const (
	stageNotStarted = "not_started"
	stageEnded      = "ended"
	stageMissing    = "missing" // it should run and does not
)

// seen adds what Temporal knows of the cycle's workflow.
func (v *cycleView) seen(run execution) {
	switch {
	case run.id != "":
		v.RunID = &run.id
		if run.stage == string(workflows.StageHeld) {
			v.Stage, v.NextWakeAt, v.NextWhat = run.stage, nil, "somebody removes the cause: see the workflow's details"
		}
	case v.Stage != stageNotStarted && v.Stage != stageEnded:
		v.Stage, v.NextWakeAt, v.NextWhat = stageMissing, nil, "starter cycle start "+v.Organization
	}
}

func (v cycleView) write(w io.Writer) {
	limit := "none"
	if v.Limit != nil {
		limit = v.Limit.String()
	}
	stopped := ""
	if v.Stopped {
		stopped = "stopped for all organisations, see starter billing status"
	}
	next := v.NextWhat
	if v.NextWakeAt != nil {
		next = showTime(*v.NextWakeAt) + ", " + v.NextWhat
	}
	writeFacts(w, fact{"organization", v.Organization}, fact{"period", v.Period},
		fact{"from", showTime(v.PeriodStart)}, fact{"to", showTime(v.PeriodEnd)}, fact{"now", showTime(v.Now)},
		fact{"stage", v.Stage}, fact{"next", next},
		fact{"spend", showCents(v.Spend) + " this month"}, fact{"limit", limit},
		fact{"notices to deliver", nonZero(v.Notices)}, fact{"parked events", nonZero(v.Parked)},
		fact{"billing", stopped},
		fact{"workflow", v.WorkflowID}, fact{"run", deref(v.RunID)})
}

func nonZero(n int) string {
	if n == 0 {
		return ""
	}
	return showCount(n)
}

// execution is what Temporal knows of a workflow that runs; no id = none runs.
type execution struct{ id, stage string }

func findExecution(ctx context.Context, temporal client.Client, workflowID string) (execution, error) {
	description, err := temporal.DescribeWorkflow(ctx, workflowID, "")
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &gone):
		return execution{}, nil
	case err != nil:
		return execution{}, fmt.Errorf("look for workflow %s: %w", workflowID, err)
	case description.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return execution{}, nil
	}
	stage, _ := description.TypedSearchAttributes.GetKeyword(workflows.StageAttribute)
	return execution{description.WorkflowExecution.RunID, stage}, nil
}

func newCycleStatusCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status ORG",
		Short:   "Show how an organisation's cycle stands",
		Example: "  starter cycle status acme",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runCycleStatus(cmd.Context(), a, args[0]) },
	}
}

func runCycleStatus(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	cycle, err := store.Cycle(ctx, org)
	if err != nil {
		return err
	}
	temporal, err := a.Temporal(ctx)
	if err != nil {
		return err
	}
	run, err := findExecution(ctx, temporal, workflows.CycleID(org))
	if err != nil {
		return err
	}
	view := viewCycle(cycle)
	view.seen(run)
	return a.print(view, view.write)
}

func newCycleListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List all cycles",
		Example: "  starter cycle list",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runCycleList(cmd.Context(), a) },
	}
}

func runCycleList(ctx context.Context, a *app) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	temporal, err := a.Temporal(ctx)
	if err != nil {
		return err
	}
	orgs, err := store.Organizations(ctx)
	if err != nil {
		return err
	}
	runs, err := runningCycles(ctx, temporal)
	if err != nil {
		return err
	}
	var views []cycleView
	for _, org := range orgs {
		cycle, err := store.Cycle(ctx, org.ID)
		if err != nil {
			return err
		}
		view := viewCycle(cycle)
		view.seen(runs[view.WorkflowID])
		views = append(views, view)
	}
	return printList(a, views, "There are no organizations yet: starter org create ID",
		left("ORGANIZATION", func(v cycleView) string { return v.Organization }),
		left("PERIOD", func(v cycleView) string { return v.Period }),
		left("STAGE", func(v cycleView) string { return v.Stage }),
		right("SPEND", func(v cycleView) string { return showCents(v.Spend) }),
		right("LIMIT", func(v cycleView) string { return showMoney(v.Limit) }),
		left("NEXT", func(v cycleView) string { return showOptional(v.NextWakeAt) }),
		left("", func(v cycleView) string { return v.NextWhat }))
}

// runningCycles lists the cycles that run, by workflow id.
func runningCycles(ctx context.Context, temporal client.Client) (map[string]execution, error) {
	runs := map[string]execution{}
	var page []byte
	for {
		list, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: `WorkflowType = 'BillingCycle' AND ExecutionStatus = 'Running'`, NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list the running cycles: %w", err)
		}
		for _, e := range list.GetExecutions() {
			runs[e.GetExecution().GetWorkflowId()] = execution{id: e.GetExecution().GetRunId()}
		}
		if page = list.GetNextPageToken(); len(page) == 0 {
			return runs, nil
		}
	}
}

// updateTimeout is how long an operator waits for a worker to answer.
const updateTimeout = 30 * time.Second

// cycleRequest is an update that an operator may send to a cycle.
type cycleRequest struct {
	name, update, short, long string
	// done tells that there is nothing to do, and why.
	done func(postgres.CycleState) string
	// shown reports whether the cycle shows already what was done.
	shown func(before, after postgres.CycleState) bool
	// did tells what was done, from how the cycle stood before and stands now.
	did func(before, after postgres.CycleState) string
}

func pauseRequest() cycleRequest {
	return cycleRequest{
		name: "pause", update: workflows.PauseUpdate, short: "Pause a cycle: nothing is delivered or ended until it is resumed",
		long: "Usage is still stored and counted while a cycle is paused.",
		done: func(c postgres.CycleState) string {
			if c.Stage == string(workflows.StagePaused) {
				return "is paused already"
			}
			return ""
		},
		shown: func(_, after postgres.CycleState) bool { return after.Stage == string(workflows.StagePaused) },
		did: func(_, after postgres.CycleState) string {
			return "is paused: starter cycle resume " + after.Organization
		},
	}
}

func resumeRequest() cycleRequest {
	return cycleRequest{
		name: "resume", update: workflows.ResumeUpdate, short: "Resume a paused cycle",
		done: func(c postgres.CycleState) string {
			if c.Stage == string(workflows.StageAccruing) {
				return "is not paused"
			}
			return ""
		},
		shown: func(_, after postgres.CycleState) bool { return after.Stage != string(workflows.StagePaused) },
		did:   func(_, after postgres.CycleState) string { return "goes on with the period " + after.Period },
	}
}

func closeRequest() cycleRequest {
	return cycleRequest{
		name: "close", update: workflows.CloseUpdate, short: "End the running period now and have it invoiced",
		long:  "The next period begins at once and ends where the ended one would have. The\ninvoice is a draft first, see \"starter invoices\".",
		done:  func(postgres.CycleState) string { return "" },
		shown: func(before, after postgres.CycleState) bool { return after.Period != before.Period },
		did: func(before, after postgres.CycleState) string {
			return fmt.Sprintf("has ended its period %s and goes on with %s", before.Period, after.Period)
		},
	}
}

func newCycleRequestCmd(a *app, r cycleRequest) *cobra.Command {
	return &cobra.Command{
		Use:     r.name + " ORG",
		Short:   r.short,
		Long:    joinParagraphs(r.short+".", r.long),
		Example: "  starter cycle " + r.name + ` acme --as ops --reason "asked by the customer"`,
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runCycleRequest(cmd.Context(), a, r, args[0]) },
	}
}

func joinParagraphs(first, second string) string {
	if second == "" {
		return first
	}
	return first + "\n\n" + second
}

type requestedView struct {
	cycleView
	Changed bool `json:"changed"`
}

func runCycleRequest(ctx context.Context, a *app, r cycleRequest, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	before, err := store.Cycle(ctx, org)
	if err != nil {
		return err
	}
	if why := r.done(before); why != "" {
		return a.print(requestedView{viewCycle(before), false}, func(w io.Writer) {
			fmt.Fprintf(w, "The cycle of %s %s; nothing changed.\n", org, why)
		})
	}
	if before.Stage == stageNotStarted {
		return withHint(fmt.Errorf("the cycle of %s was never started", org), "Start it: starter cycle start %s", org)
	}
	if err := a.sendUpdate(ctx, r, org); err != nil {
		return err
	}
	a.settle(ctx, org)
	after, err := awaitCycle(ctx, store, org, func(c postgres.CycleState) bool { return r.shown(before, c) })
	if err != nil {
		return err
	}
	return a.print(requestedView{viewCycle(after), true}, func(w io.Writer) {
		fmt.Fprintf(w, "The cycle of %s %s.\n", org, r.did(before, after))
	})
}

// awaitCycle reads how a cycle stands, as soon as it shows something or after a
// while in any case: the cycle acts on what was granted a moment later.
func awaitCycle(ctx context.Context, store *postgres.Store, org string, shown func(postgres.CycleState) bool) (postgres.CycleState, error) {
	for deadline := time.Now().Add(settleTimeout); ; {
		cycle, err := store.Cycle(ctx, org)
		if err != nil || shown(cycle) || time.Now().After(deadline) {
			return cycle, err
		}
		select {
		case <-ctx.Done():
			return cycle, ctx.Err()
		case <-time.After(lastRestPoll):
		}
	}
}

// sendUpdate writes the request to the audit trail and has the cycle carry it out.
func (a *app) sendUpdate(ctx context.Context, r cycleRequest, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if _, err := a.Temporal(ctx); err != nil {
		return err // before anything is written down
	}
	entry, err := store.RecordRequest(ctx, org, a.by(), "cycle."+r.name)
	if err != nil {
		return err
	}
	return a.updateWorkflow(ctx, workflows.CycleID(org), r.update, org, entry)
}

// updateWorkflow has a workflow carry out the request of an audit entry.
func (a *app) updateWorkflow(ctx context.Context, workflowID, update, org string, entry int64) error {
	temporal, err := a.Temporal(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	handle, err := temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:   workflowID,
		UpdateID:     fmt.Sprintf("%s/%d", update, entry),
		UpdateName:   update,
		Args:         []any{workflows.OperatorRequest{Organization: org, AuditEntry: entry}},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, nil)
	}
	var gone *serviceerror.NotFound
	var late *client.WorkflowUpdateServiceTimeoutOrCanceledError
	switch {
	case errors.As(err, &gone):
		return withHint(fmt.Errorf("workflow %s does not run", workflowID), "Start it again: starter cycle start %s", org)
	case errors.As(err, &late), ctx.Err() != nil:
		return withHint(fmt.Errorf("workflow %s did not answer within %s", workflowID, updateTimeout),
			"Is a worker running? The request may still be carried out: starter cycle status %s", org)
	}
	var refused *sdktemporal.ApplicationError
	if errors.As(err, &refused) {
		return errors.New(refused.Message()) // without what Temporal adds for programs
	}
	return err
}
