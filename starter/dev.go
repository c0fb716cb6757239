package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

type devOptions struct {
	*app
	dataDir string
	envFile string
	without []string
}

func newDevCmd(a *app) *cobra.Command {
	o := &devOptions{app: a}
	cmd := newGroup("dev", "Run the embedded stack in the foreground", `
Run everything on this machine until interrupted: PostgreSQL, the Temporal server
with its web UI, a local Stripe, the worker and the gateway. A part named in the
environment (DATABASE_URL, TEMPORAL_ADDRESS, STRIPE_API_BASE) is used instead of
an own one. No Docker is needed.`,
		newDevPrepareCmd(a), newDevStripeCmd(a))
	cmd.Example = `  starter dev --env-file .env &
  while [ ! -f .env ]; do sleep 1; done; set -a; . ./.env; set +a
  starter org list`
	refuse := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return refuse(cmd, args)
		}
		return runDev(cmd.Context(), o)
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "keep the data of PostgreSQL, Temporal and the local Stripe here (default a folder that goes)")
	f.StringVar(&o.envFile, "env-file", "", "write the environment that every other command needs here, once all is ready")
	f.StringSliceVar(&o.without, "without", nil, "parts to leave out: worker, gateway")
	return cmd
}

func runDev(ctx context.Context, o *devOptions) (err error) {
	for _, part := range o.without {
		if part != devstack.Worker && part != devstack.Gateway {
			return wrongUsage("--without %q; accepted: %s, %s", part, devstack.Worker, devstack.Gateway)
		}
	}
	stack, err := o.startStack(ctx, devstack.Options{DataDir: o.dataDir, EnvFile: o.envFile, Without: o.without})
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while it started: nothing is left running
		}
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	o.note("")
	o.note("Temporal UI  %s", stack.Env()["ARREARS_TEMPORAL_UI_URL"])
	o.note("Gateway      %s", stack.Env()["ARREARS_GATEWAY_URL"])
	if o.envFile != "" {
		o.note("Environment  set -a; . %s; set +a", shellPath(o.envFile))
	}
	o.note("Logs         %s", stack.LogDir())
	o.note("Ready. Ctrl-C stops everything.")
	err = stack.Wait(ctx)
	o.note("Stopping …")
	return err
}

// shellPath is a path that a shell's dot finds.
func shellPath(path string) string {
	if strings.ContainsRune(path, os.PathSeparator) {
		return path
	}
	return "./" + path
}

// startStack starts the embedded stack with the product's own parts.
func (a *app) startStack(ctx context.Context, options devstack.Options) (*devstack.Stack, error) {
	options.Migrate = postgres.Migrate
	options.SearchAttributes = workflows.SearchAttributes()
	if !slices.Contains(options.Without, devstack.Worker) {
		options.TaskQueues = []string{
			workflows.TaskQueue, workflows.StripeInvoicesQueue, workflows.StripeItemsQueue,
			workflows.StripeFinalizeQueue, workflows.StripePaymentsQueue,
		}
	}
	options.Getenv = a.getenv
	options.Log = a.stderr
	return devstack.Start(ctx, options)
}

func newDevPrepareCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "prepare",
		Short:   "Fetch or build the programs that the embedded stack needs",
		Example: "  starter dev prepare",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return devstack.Prepare(cmd.Context(), a.stderr) },
	}
}

// getenv reads a variable of the app's environment.
func (a *app) getenv(name string) string {
	for _, entry := range slices.Backward(a.environ) {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}
