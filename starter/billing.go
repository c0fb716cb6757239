package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newBillingCmd(a *app) *cobra.Command {
	return newGroup("billing", "The switch that stops all billing", "",
		newBillingStopCmd(a), newBillingResumeCmd(a), newBillingRestoredCmd(a), newBillingStatusCmd(a))
}

// billingView is whether billing is stopped, as it is printed.
type billingView struct {
	Stopped   bool       `json:"stopped"`
	StoppedAt *time.Time `json:"stopped_at"`
	By        string     `json:"by"`
	Reason    string     `json:"reason"`
	Behind    bool       `json:"behind"` // what Stripe has since the database's server started anew is looked for first
	Changed   bool       `json:"changed"`
}

func viewBilling(stop *postgres.BillingStop, changed bool) billingView {
	if stop == nil {
		return billingView{Changed: changed}
	}
	return billingView{true, optional(stop.StoppedAt), stop.Actor, stop.Reason, stop.Behind, changed}
}

func newBillingStopCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop all billing: no invoice of anybody is issued, published or collected",
		Long: `Stop all billing, at once and for every organisation: from now on no invoice is
issued, published or collected. A call to Stripe that is under way is let finish.
Usage is stored, limits are checked and periods end all the while. Nothing is lost:
"starter billing resume" has everything go on where it was.`,
		Example: `  starter billing stop --as ops --reason "prices look wrong"`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.reason == "" {
				return wrongUsage("--reason is missing\nUsage: %s", cmd.UseLine())
			}
			return runBillingSwitch(cmd.Context(), a, (*postgres.Store).StopBilling)
		},
	}
}

func newBillingResumeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "Let billing go on, with everything that waited",
		Example: `  starter billing resume --as ops --reason "prices corrected"`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBillingSwitch(cmd.Context(), a, (*postgres.Store).ResumeBilling)
		},
	}
}

func newBillingRestoredCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restored",
		Short: "Have the database taken for one that has gone back in time",
		Long: `Have the database taken for one that has gone back in time. A server that was
restored or failed over, and a copy that took the database's place, are recognised
by themselves: billing waits until it is known what Stripe has since, which a
worker reads within seconds, and then goes on. This command does the same where
rows were put back in a way that leaves no trace, such as a dump of the data alone.`,
		Example: `  starter billing restored --as ops --reason "yesterday's data loaded again"`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBillingSwitch(cmd.Context(), a, (*postgres.Store).DeclareRestored)
		},
	}
}

func newBillingStatusCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether billing is stopped",
		Example: `  starter billing status`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBillingSwitch(cmd.Context(), a, nil)
		},
	}
}

func runBillingSwitch(ctx context.Context, a *app, turn func(*postgres.Store, context.Context, billing.Actor) (bool, error)) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	changed := false
	if turn != nil {
		if changed, err = turn(store, ctx, a.by()); err != nil {
			return err
		}
	}
	stop, err := store.BillingStop(ctx)
	if err != nil {
		return err
	}
	view := viewBilling(stop, changed)
	return a.print(view, func(w io.Writer) {
		if stop == nil {
			fmt.Fprintln(w, "Billing goes on.")
			return
		}
		fmt.Fprintln(w, describeStop(*stop))
	})
}

func describeStop(stop postgres.BillingStop) string {
	if stop.StoppedAt.IsZero() {
		return "Billing waits: the database's server started anew or was replaced, and a worker looks for what Stripe has since. Then it goes on by itself."
	}
	return fmt.Sprintf("All billing is stopped since %s by %s (%s). It goes on with: starter billing resume",
		showTime(stop.StoppedAt), stop.Actor, stop.Reason)
}

// noteStop tells whoever looks at bills that nothing happens to them.
func (a *app) noteStop(ctx context.Context, store *postgres.Store) error {
	stop, err := store.BillingStop(ctx)
	if err == nil && stop != nil {
		a.note("Note: %s", describeStop(*stop))
	}
	return err
}
