package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

type stripeFaultOptions struct {
	*app
	fault fakestripe.Fault
	lasts time.Duration
}

func newStripeFaultCmd(a *app) *cobra.Command {
	o := &stripeFaultOptions{app: a}
	cmd := &cobra.Command{
		Use:   "fault KIND",
		Short: "Order what the local Stripe is to answer wrongly, and when",
		Long: `Order a fault. KIND is one of

  refuse        answer --status (503) with --code before any work
  rate_limit    answer 429 rate_limit before any work
  lock_timeout  answer 429 lock_timeout before any work
  outage        cut every connection before any work (or answer --status), for --for
  drop          do the work and cut the connection without an answer
  half          do the work and end the connection in the middle of the answer
  reset         do the work and reset the connection in the middle of the answer
  error500      do the work, answer 500, and repeat that under its idempotency key
  delay         do the work and answer --for later; until then the key is in use
  hold          do the work and keep the answer until "starter dev stripe release"
  decline       have the bank decline the charge with --code

It strikes the next request that matches, or the --nth from now on, and as many as
--times says.`,
		Example: `  starter dev stripe fault drop --method POST --path '/v1/invoices/*/pay'
  starter dev stripe fault error500 --path '/v1/invoices/*/finalize' --nth 3
  starter dev stripe fault rate_limit --times 50
  starter dev stripe fault outage --for 6h
  starter dev stripe fault decline --path '/v1/invoices/*/pay' --code insufficient_funds`,
		Args: arguments("KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.fault.Kind = fakestripe.FaultKind(args[0])
			return runStripeFault(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.fault.Method, "method", "", "only requests of this method (default any)")
	f.StringVar(&o.fault.Path, "path", "", "only requests of this path, in which * stands for one part of it (default any)")
	f.IntVar(&o.fault.Nth, "nth", 1, "the first match that is struck, counted from now on")
	f.IntVar(&o.fault.Times, "times", 1, "how many matches are struck; -1 for all until it is cleared")
	f.DurationVar(&o.lasts, "for", 0, "how long an outage lasts (default until it is cleared), or an answer is late")
	f.IntVar(&o.fault.Status, "status", 0, "the HTTP status of refuse and outage")
	f.StringVar(&o.fault.Code, "code", "", "the error code of refuse, or the bank's decline code")
	return cmd
}

func runStripeFault(ctx context.Context, o *stripeFaultOptions) error {
	stripe, err := o.localStripe()
	if err != nil {
		return err
	}
	o.fault.MS = int(o.lasts.Milliseconds())
	if err := checkStrikes(o.fault.Nth, o.fault.Times); err != nil {
		return err
	}
	if err := o.fault.Check(); err != nil {
		return wrongUsage("%v", err)
	}
	if err := stripe.Inject(ctx, o.fault); err != nil {
		return err
	}
	return showStripeFaults(ctx, o.app, stripe)
}

// checkStrikes checks which matches a fault strikes, and how many of them.
func checkStrikes(nth, times int) error {
	switch {
	case nth < 1:
		return wrongUsage("--nth %d; accepted: 1 or more", nth)
	case times == 0 || times < -1:
		return wrongUsage("--times %d; accepted: 1 or more, or -1 for all until it is cleared", times)
	}
	return nil
}

func newStripeFaultsCmd(a *app) *cobra.Command {
	end := false
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "List the faults that are ordered and the requests that were struck, or clear them",
		Example: `  starter dev stripe faults
  starter dev stripe faults --clear`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runStripeFaults(cmd.Context(), a, end) },
	}
	cmd.Flags().BoolVar(&end, "clear", false, "end all faults")
	return cmd
}

func runStripeFaults(ctx context.Context, a *app, end bool) error {
	stripe, err := a.localStripe()
	if err != nil {
		return err
	}
	if end {
		if err := stripe.ClearFaults(ctx); err != nil {
			return err
		}
	}
	return showStripeFaults(ctx, a, stripe)
}

func showStripeFaults(ctx context.Context, a *app, stripe fakestripe.Client) error {
	plan, err := stripe.Faults(ctx)
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		return a.print(plan, nil)
	}
	if err := printList(a, plan.Faults, "No faults are ordered.",
		left("FAULT", func(f fakestripe.Ordered) string { return string(f.Kind) }),
		left("METHOD", func(f fakestripe.Ordered) string { return orAny(f.Method) }),
		left("PATH", func(f fakestripe.Ordered) string { return orAny(f.Path) }),
		right("NTH", func(f fakestripe.Ordered) string { return showCount(max(1, f.Nth)) }),
		right("TIMES", func(f fakestripe.Ordered) string { return showFaultTimes(f.Fault) }),
		right("FOR", func(f fakestripe.Ordered) string { return showMS(f.MS) }),
		right("SEEN", func(f fakestripe.Ordered) string { return showCount(f.Seen) }),
		right("STRUCK", func(f fakestripe.Ordered) string { return showCount(f.Struck) })); err != nil {
		return err
	}
	if plan.Held > 0 {
		a.say("%s held; starter dev stripe release answers.", plural(plan.Held, "answer"))
	}
	if len(plan.Strikes) == 0 {
		return nil
	}
	a.say("")
	return printList(a, plan.Strikes, "",
		left("STRUCK", func(s fakestripe.Strike) string { return showTime(s.At) }),
		left("BY", func(s fakestripe.Strike) string { return string(s.Kind) }),
		left("REQUEST", func(s fakestripe.Strike) string { return s.Method + " " + s.Path }),
		left("KEY", func(s fakestripe.Strike) string { return s.Key }))
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

func showMS(ms int) string {
	if ms == 0 {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

// showFaultTimes tells that an outage strikes all that come, whatever it was given.
func showFaultTimes(f fakestripe.Fault) string {
	if f.Kind == fakestripe.FaultOutage {
		return "all"
	}
	return showTimes(f.Times)
}

func showTimes(n int) string {
	if n < 0 {
		return "always"
	}
	return showCount(max(1, n))
}

func newStripeReleaseCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "release",
		Short:   "Give the answers that a fault of kind hold keeps",
		Example: "  starter dev stripe release",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			stripe, err := a.localStripe()
			if err != nil {
				return err
			}
			plan, err := stripe.Faults(cmd.Context())
			if err != nil {
				return err
			}
			if err := stripe.Release(cmd.Context()); err != nil {
				return err
			}
			return a.print(map[string]int{"released": plan.Held}, func(w io.Writer) {
				fmt.Fprintf(w, "Gave %s.\n", plural(plan.Held, "answer"))
			})
		},
	}
}

type stripeWebhookOptions struct {
	*app
	fault fakestripe.WebhookFault
	late  time.Duration
	kinds []string
}

func newStripeWebhookCmd(a *app) *cobra.Command {
	o := &stripeWebhookOptions{app: a}
	cmd := &cobra.Command{
		Use:   "webhook KIND",
		Short: "Order what goes wrong with the local Stripe's webhooks",
		Long: `Order a fault of deliveries. KIND is one of

  duplicate          deliver --copies times (2) at once
  delay              deliver --for later, so that others overtake
  drop               do not deliver; "starter dev stripe redeliver" makes good
  shuffle            gather --times deliveries and make them in an order drawn by --seed
  random             draw one of --kinds (default all), or none, for each delivery by --seed

or something sent once before the true delivery: a forgery that must be refused,

  forge_unsigned forge_secret forge_old forge_future forge_v0 forge_altered
  forge_reserialized forge_livemode huge

or an event, rightly signed, that must be taken and change nothing:

  strange_type strange_object strange_account strange_customer`,
		Example: `  starter dev stripe webhook duplicate --type 'invoice.*' --copies 5
  starter dev stripe webhook shuffle --times 20 --seed 7
  starter dev stripe webhook random --times -1 --seed 42 --kinds duplicate,delay
  starter dev stripe webhook forge_old`,
		Args: arguments("KIND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.fault.Kind = fakestripe.WebhookFaultKind(args[0])
			return runStripeWebhook(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.fault.Type, "type", "", "only events of this type, such as invoice.paid or invoice.* (default any)")
	f.IntVar(&o.fault.Nth, "nth", 1, "the first match that is struck, counted from now on")
	f.IntVar(&o.fault.Times, "times", 1, "how many matches are struck; -1 for all until it is cleared")
	f.IntVar(&o.fault.Copies, "copies", 0, "how often a duplicate is delivered (default 2)")
	f.DurationVar(&o.late, "for", 0, "how long a delivery is late at most, or a shuffle waits for more")
	f.Uint64Var(&o.fault.Seed, "seed", 0, "what shuffle and random are drawn by")
	f.StringSliceVar(&o.kinds, "kinds", nil, "what random draws from")
	return cmd
}

func runStripeWebhook(ctx context.Context, o *stripeWebhookOptions) error {
	stripe, err := o.localStripe()
	if err != nil {
		return err
	}
	o.fault.MS = int(o.late.Milliseconds())
	if err := checkStrikes(o.fault.Nth, o.fault.Times); err != nil {
		return err
	}
	if o.fault.Copies < 0 {
		return wrongUsage("--copies %d; accepted: 1 or more", o.fault.Copies)
	}
	for _, kind := range o.kinds {
		o.fault.Kinds = append(o.fault.Kinds, fakestripe.WebhookFaultKind(kind))
	}
	if err := o.fault.Check(); err != nil {
		return wrongUsage("%v", err)
	}
	if err := stripe.InjectWebhooks(ctx, o.fault); err != nil {
		return err
	}
	made, err := stripe.Webhooks(ctx)
	if err != nil {
		return err
	}
	if o.format == formatJSON {
		return o.print(made, nil)
	}
	return printWebhookFaults(o.app, made.Faults)
}

func newStripeWebhooksCmd(a *app) *cobra.Command {
	end := false
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "List the faults of webhooks that are ordered and the deliveries made, or clear them",
		Example: `  starter dev stripe webhooks
  starter dev stripe webhooks --clear`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runStripeWebhooks(cmd.Context(), a, end) },
	}
	cmd.Flags().BoolVar(&end, "clear", false, "end all faults and forget the deliveries")
	return cmd
}

func runStripeWebhooks(ctx context.Context, a *app, end bool) error {
	stripe, err := a.localStripe()
	if err != nil {
		return err
	}
	if end {
		if err := stripe.ClearWebhooks(ctx); err != nil {
			return err
		}
	}
	return showStripeWebhooks(ctx, a, stripe)
}

func showStripeWebhooks(ctx context.Context, a *app, stripe fakestripe.Client) error {
	made, err := stripe.Webhooks(ctx)
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		return a.print(made, nil)
	}
	if err := printWebhookFaults(a, made.Faults); err != nil {
		return err
	}
	if len(made.Deliveries) == 0 {
		return nil
	}
	a.say("")
	return printList(a, made.Deliveries, "",
		left("DELIVERED", func(d fakestripe.Delivery) string { return showTime(d.At) }),
		left("TYPE", func(d fakestripe.Delivery) string { return d.Type }),
		left("EVENT", func(d fakestripe.Delivery) string { return d.Event }),
		left("FAULT", func(d fakestripe.Delivery) string { return string(d.Fault) }),
		left("ANSWER", func(d fakestripe.Delivery) string { return showAnswer(d) }))
}

func printWebhookFaults(a *app, faults []fakestripe.OrderedWebhook) error {
	return printList(a, faults, "No faults of webhooks are ordered.",
		left("FAULT", func(f fakestripe.OrderedWebhook) string { return string(f.Kind) }),
		left("TYPE", func(f fakestripe.OrderedWebhook) string { return orAny(f.Type) }),
		right("NTH", func(f fakestripe.OrderedWebhook) string { return showCount(max(1, f.Nth)) }),
		right("TIMES", func(f fakestripe.OrderedWebhook) string { return showTimes(f.Times) }),
		right("SEED", func(f fakestripe.OrderedWebhook) string { return fmt.Sprint(f.Seed) }),
		right("SEEN", func(f fakestripe.OrderedWebhook) string { return showCount(f.Seen) }),
		right("STRUCK", func(f fakestripe.OrderedWebhook) string { return showCount(f.Struck) }))
}

func showAnswer(d fakestripe.Delivery) string {
	if d.Status == 0 {
		return d.Error
	}
	return strings.TrimSpace(fmt.Sprint(d.Status, " ", d.Error))
}

func newStripeRedeliverCmd(a *app) *cobra.Command {
	var since moment
	var wanted fakestripe.Redelivery
	cmd := &cobra.Command{
		Use:   "redeliver [EVENT]",
		Short: "Deliver webhooks again: what was missed, one event, or all",
		Example: `  starter dev stripe redeliver
  starter dev stripe redeliver evt_1 --all
  starter dev stripe redeliver --since 2026-10-01 --all`,
		Args: arguments("[EVENT]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			stripe, err := a.localStripe()
			if err != nil {
				return err
			}
			if wanted.Events = args; !since.IsZero() {
				wanted.Since = since.inUTC().Unix()
			}
			begun, err := stripe.Redeliver(cmd.Context(), wanted)
			if err != nil {
				return err
			}
			return a.print(map[string]int{"begun": begun}, func(w io.Writer) {
				fmt.Fprintf(w, "Began %s.\n", plural(begun, "delivery"))
			})
		},
	}
	cmd.Flags().Var(&since, "since", "only events of then or later; a date: its first instant in UTC")
	cmd.Flags().BoolVar(&wanted.All, "all", false, "what was taken already, too")
	return cmd
}
