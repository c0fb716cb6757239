package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
)

type pricesWithdrawOptions struct {
	*app
	book  string
	which billing.PriceSelection
	from  moment
}

func newPricesWithdrawCmd(a *app) *cobra.Command {
	o := &pricesWithdrawOptions{app: a}
	cmd := &cobra.Command{
		Use:   "withdraw BOOK (--model M|--tier T|--surcharge S [--tier T]|--tool T|--service-tier S) --from T",
		Short: "Withdraw a future price before it starts",
		Long: `Take a price back that was announced and has not started: that of a model (all
its speeds and prompt bands), a seat tier, a surcharge, a tool or a service tier, from
the instant named. What was in force before it stays in force. A price that is, or may already
be, in force is refused: prices reprice corrects those. Doing it again changes
nothing; loading a file that still has the row adds it again.`,
		Example: `  starter prices withdraw anthropic-2026-01 --model claude-haiku-4-5 --from 2027-01-01 --as finance --reason "increase cancelled"
  starter prices withdraw anthropic-2026-01 --surcharge hipaa --tier chat --from 2027-01-01`,
		Args: arguments("BOOK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := []string{"model", "tier", "surcharge", "tool", "service-tier"}
			if cmd.Flags().Changed("surcharge") {
				what = []string{"model", "surcharge", "tool", "service-tier"} // a tier narrows it down
			}
			if _, err := exactlyOne(cmd, what...); err != nil {
				return err
			}
			o.book, o.which.From = args[0], o.from.inUTC()
			return runPricesWithdraw(cmd.Context(), o)
		},
	}
	cmd.Flags().Var(identifier{&o.which.Model}, "model", "the model's token prices")
	cmd.Flags().Var(identifier{&o.which.Tier}, "tier", "the seat tier's price")
	cmd.Flags().StringVar(&o.which.Surcharge, "surcharge", "", "the surcharge's price, on all tiers or on --tier")
	cmd.Flags().StringVar(&o.which.Tool, "tool", "", "the server tool's price")
	cmd.Flags().StringVar(&o.which.ServiceTier, "service-tier", "", "the service tier's multiplier")
	cmd.Flags().Var(&o.from, "from", "when the price would have started, as prices show has it; a date: its first instant in UTC")
	return required(cmd, "from")
}

func runPricesWithdraw(ctx context.Context, o *pricesWithdrawOptions) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	done, err := store.WithdrawPrices(ctx, o.book, o.which, o.by())
	if err != nil {
		return fmt.Errorf("nothing was withdrawn\n%w", err)
	}
	return o.print(done, func(w io.Writer) {
		from := o.which.From.Format(time.RFC3339)
		if len(done.Withdrawn) == 0 {
			fmt.Fprintf(w, "Price book %s has no price of %s from %s: there is nothing to withdraw.\n", done.Name, o.which, from)
			return
		}
		fmt.Fprintf(w, "Withdrawn: %s of %s from %s; price book %s is at revision %d now.\n",
			plural(len(done.Withdrawn), "row"), o.which, from, done.Name, done.Revision)
		fmt.Fprintln(w, "Take it out of your file, too: loading it again would add the price again.")
	})
}
