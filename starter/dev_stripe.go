package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

type devStripeOptions struct {
	*app
	listen string
	state  string
	limits stripeLimits
}

func newDevStripeCmd(a *app) *cobra.Command {
	o := &devStripeOptions{app: a}
	cmd := &cobra.Command{
		Use:   "stripe",
		Short: "Run the local Stripe alone, or have the one at STRIPE_API_BASE go wrong on order",
		Long: `Without a command, run the local Stripe alone in the foreground, as
docker-compose.yml does.

With one, rehearse what a payment provider does to those who depend on it: the
local Stripe at STRIPE_API_BASE refuses, loses answers, is away for hours, and
duplicates, reorders, drops or forges webhooks, exactly as ordered.`,
		Example: `  starter dev stripe --listen 127.0.0.1:12111
  starter dev stripe fault drop --path '/v1/invoices/*/pay'
  starter dev stripe faults`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDevStripe(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:12111", "host:port to listen on")
	cmd.Flags().StringVar(&o.state, "state-file", "", "keep its state here (default in memory)")
	o.limits.flags(cmd)
	cmd.AddCommand(
		newStripeFaultCmd(a), newStripeFaultsCmd(a), newStripeReleaseCmd(a), newStripeWebhookCmd(a),
		newStripeWebhooksCmd(a), newStripeRedeliverCmd(a), newStripeLimitsCmd(a),
	)
	return cmd
}

func runDevStripe(ctx context.Context, o *devStripeOptions) (err error) {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	limits, err := o.limits.chosen()
	if err != nil {
		return err
	}
	log := cfg.Logger(o.stderr)
	options := fakestripe.Options{StateFile: o.state, Log: log, Limits: limits}
	if len(cfg.StripeWebhookSecrets) > 0 {
		options.WebhookURL = strings.TrimSuffix(cfg.GatewayURL, "/") + "/v1/webhooks/stripe"
		options.WebhookSecret = string(cfg.StripeWebhookSecrets[0])
	}
	stripe, err := fakestripe.New(options)
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

// stripeLimits are the flags that choose the local Stripe's rate limits.
type stripeLimits struct {
	live        bool
	perSecond   int
	perEndpoint int
}

func (l *stripeLimits) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&l.live, "live-limits", false, "limit the rate as Stripe does in live mode: 100 calls a second, 25 on each endpoint")
	f.IntVar(&l.perSecond, "calls-per-second", 0, "how many calls a second are answered in all (0: any number)")
	f.IntVar(&l.perEndpoint, "calls-per-endpoint", 0, "how many calls a second each endpoint answers (0: any number)")
}

func (l *stripeLimits) chosen() (fakestripe.Limits, error) {
	switch {
	case l.perSecond < 0 || l.perEndpoint < 0:
		return fakestripe.Limits{}, wrongUsage("--calls-per-second %d, --calls-per-endpoint %d; accepted: 0 or more", l.perSecond, l.perEndpoint)
	case l.live && (l.perSecond != 0 || l.perEndpoint != 0):
		return fakestripe.Limits{}, wrongUsage("accepted: --live-limits, or limits of your own")
	case l.live:
		return fakestripe.LiveLimits(), nil
	}
	return fakestripe.Limits{PerSecond: l.perSecond, PerEndpoint: l.perEndpoint}, nil
}

// localStripe reaches the local Stripe that the environment names.
func (a *app) localStripe() (fakestripe.Client, error) {
	cfg, err := a.config()
	if err != nil {
		return fakestripe.Client{}, err
	}
	if base, err := url.Parse(cfg.StripeAPIBase); err != nil || base.Host == "api.stripe.com" {
		return fakestripe.Client{}, withHint(errors.New("STRIPE_API_BASE names no local Stripe, but Stripe itself"),
			"%s", environmentHint)
	}
	return fakestripe.Client{Base: cfg.StripeAPIBase}, nil
}

func newStripeLimitsCmd(a *app) *cobra.Command {
	var l stripeLimits
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Show or change the local Stripe's rate limits",
		Long: `Show the rate limits of the local Stripe and how many calls they have turned away,
or change them. They are off by default: the local Stripe answers hundreds of times
faster than Stripe, so that a command that makes one call after the other would
meet limits here that it never meets there.`,
		Example: `  starter dev stripe limits --live-limits
  starter dev stripe limits --calls-per-endpoint 5
  starter dev stripe limits --calls-per-second 0
  starter dev stripe limits`,
		Args: arguments(),
	}
	l.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runStripeLimits(cmd.Context(), a, l, cmd.Flags().Changed)
	}
	return cmd
}

func runStripeLimits(ctx context.Context, a *app, l stripeLimits, given func(flag string) bool) error {
	stripe, err := a.localStripe()
	if err != nil {
		return err
	}
	if given("live-limits") || given("calls-per-second") || given("calls-per-endpoint") {
		limits, err := l.chosen()
		if err != nil {
			return err
		}
		if err := stripe.SetLimits(ctx, limits); err != nil {
			return err
		}
	}
	view, err := stripe.Limits(ctx)
	if err != nil {
		return err
	}
	return a.print(view, func(w io.Writer) {
		writeTable(w, []fakestripe.LimitsView{view},
			right("CALLS/S", func(v fakestripe.LimitsView) string { return showLimit(v.PerSecond) }),
			right("PER ENDPOINT", func(v fakestripe.LimitsView) string { return showLimit(v.PerEndpoint) }),
			right("REFUSED", func(v fakestripe.LimitsView) string { return showCount(v.Refused.Account) }),
			right("REFUSED BY ENDPOINT", func(v fakestripe.LimitsView) string { return showCount(v.Refused.Endpoint) }))
	})
}

func showLimit(n int) string {
	if n == 0 {
		return "any"
	}
	return showCount(n)
}
