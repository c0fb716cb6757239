package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/orchestration"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

func newCycleStartCmd(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "start ORG|--all",
		Short: "Start a cycle, or whatever of it is missing",
		Long: `Start an organisation's billing cycle. On one that runs already it says so and
changes nothing. Where something is missing that the database says must run (the
cycle, the invoicing of an ended period, the collection of an invoice), it starts
exactly that and names it: the command is also the repair.`,
		Example: `  starter cycle start acme
  starter cycle start --all -o json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			orgs, err := chosenOrganizations(cmd, args, all)
			if err != nil {
				return err
			}
			return runCycleStart(cmd.Context(), a, orgs)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "the cycles of all organisations")
	return cmd
}

// chosenOrganizations reads ORG|--all; nil is all.
func chosenOrganizations(cmd *cobra.Command, args []string, all bool) ([]string, error) {
	if all && len(args) > 0 {
		return nil, wrongUsage("accepted: ORG or --all, not both\nUsage: %s", cmd.UseLine())
	}
	if all {
		return nil, nil
	}
	if err := arguments("ORG")(cmd, args); err != nil {
		return nil, err
	}
	return args, nil
}

// startedView is what starting a cycle did.
type startedView struct {
	Organization string   `json:"organization"`
	WorkflowID   string   `json:"workflow_id"`
	Started      []string `json:"started"` // the workflows that were missing
	Running      []string `json:"running"` // those that ran already
}

func runCycleStart(ctx context.Context, a *app, orgs []string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	temporal, err := a.Temporal(ctx)
	if err != nil {
		return err
	}
	one := orgs != nil
	if !one {
		if orgs, err = organizationIDs(ctx, store); err != nil {
			return err
		}
	}
	views := []startedView{}
	for _, org := range orgs {
		view, err := startCycle(ctx, store, temporal, org, a.by())
		if err != nil {
			return err
		}
		views = append(views, view)
	}
	var value any = views
	if one {
		value = views[0]
	}
	return a.print(value, func(w io.Writer) {
		for _, view := range views {
			view.write(w)
		}
	})
}

func organizationIDs(ctx context.Context, store *postgres.Store) ([]string, error) {
	all, err := store.Organizations(ctx)
	ids := make([]string, len(all))
	for i, org := range all {
		ids[i] = org.ID
	}
	return ids, err
}

func (v startedView) write(w io.Writer) {
	switch {
	case len(v.Started) == 0 && len(v.Running) == 0:
		fmt.Fprintf(w, "%s: its contract has ended and everything is done; nothing changed.\n", v.Organization)
	case len(v.Started) == 0:
		fmt.Fprintf(w, "%s: the cycle runs already; nothing changed.\n", v.Organization)
	default:
		fmt.Fprintf(w, "%s: started %s.\n", v.Organization, strings.Join(v.Started, ", "))
	}
}

// startCycle starts what must run for an organisation and does not.
func startCycle(ctx context.Context, store *postgres.Store, temporal client.Client, org string, by billing.Actor) (startedView, error) {
	view := startedView{Organization: org, WorkflowID: workflows.CycleID(org), Started: []string{}, Running: []string{}}
	if err := store.StartCycle(ctx, org, by); err != nil {
		return view, err
	}
	runs := orchestration.NewRuns(store, temporal)
	expected, err := store.ExpectedWorkflows(ctx, org)
	if err != nil {
		return view, err
	}
	for _, e := range expected {
		started, err := startMissing(ctx, store, runs, e)
		switch {
		case err != nil:
			return view, err
		case started:
			view.Started = append(view.Started, e.ID)
		default:
			view.Running = append(view.Running, e.ID)
			// One that is held looks again; to all others it is no news.
			if err := store.Nudge(ctx, org, e.ID); err != nil {
				return view, err
			}
		}
	}
	return view, nil
}

// startMissing starts one workflow unless it runs.
func startMissing(ctx context.Context, store *postgres.Store, runs *orchestration.Runs, e billing.ExpectedWorkflow) (started bool, err error) {
	running, err := runs.Running(ctx, e.ID)
	if err != nil || running {
		return false, err
	}
	// On a test clock, whoever waits for the workflow must not take the wait of the
	// one before for its own.
	if err := store.ForgetWait(ctx, e.ID); err != nil {
		return false, err
	}
	return runs.Start(ctx, e)
}
