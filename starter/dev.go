package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/devstack/localstripe"
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

type devStripeOptions struct {
	*app
	listen string
	state  string
}

func newDevStripeCmd(a *app) *cobra.Command {
	o := &devStripeOptions{app: a}
	cmd := &cobra.Command{
		Use:     "stripe",
		Short:   "Run the local Stripe alone, as docker-compose.yml does",
		Example: "  starter dev stripe --listen 127.0.0.1:12111",
		Hidden:  true,
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDevStripe(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:12111", "host:port to listen on")
	cmd.Flags().StringVar(&o.state, "state-file", "", "keep its state here (default in memory)")
	return cmd
}

func runDevStripe(ctx context.Context, o *devStripeOptions) (err error) {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	log := cfg.Logger(o.stderr)
	options := localstripe.Options{StateFile: o.state, Log: log}
	if len(cfg.StripeWebhookSecrets) > 0 {
		options.WebhookURL = strings.TrimSuffix(cfg.GatewayURL, "/") + "/v1/webhooks/stripe"
		options.WebhookSecret = string(cfg.StripeWebhookSecrets[0])
	}
	stripe, err := localstripe.New(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stripe.Close()) }()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	o.note("The local Stripe listens on http://%s", listener.Addr())
	return serveStripe(ctx, listener, stripe, log)
}

// serveStripe answers until ctx ends. It does not wait for what is under way: a
// request may be held on purpose.
func serveStripe(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // what it says, Serve says too
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("local Stripe: %w", err)
	}
	return nil
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
