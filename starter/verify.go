package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

type verifyOptions struct {
	*app
	org    string // "" = all
	period string
	local  bool
}

func newVerifyCmd(a *app) *cobra.Command {
	o := &verifyOptions{app: a}
	cmd := &cobra.Command{
		Use:   "verify [ORG]",
		Short: "Recount and reconcile everything, and name each difference",
		Long: `Recount everything from the raw events and reconcile it: totals, spend, invoices,
payments, notices, periods; and hold each published invoice against Stripe. It
changes nothing. The exit code is 0 where all agrees, and 1 where anything
differs; each difference is named.`,
		Example: `  starter verify
  starter verify acme --period 2026-10-01 -o json`,
		Args: arguments("[ORG]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.org = args[0]
			}
			return runVerify(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.period, "period", "", "of this period only, like 2026-10-01")
	cmd.Flags().BoolVar(&o.local, "local", false, "inside the database only, without asking Stripe")
	return cmd
}

func runVerify(ctx context.Context, o *verifyOptions) error {
	if o.period != "" && o.org == "" {
		return wrongUsage("--period is of one organization: starter verify ORG --period %s", o.period)
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	if o.org != "" {
		if _, err := store.Organization(ctx, o.org); err != nil {
			return err
		}
	}
	differences, err := store.Verify(ctx, o.org, o.period)
	if err != nil {
		return err
	}
	if !o.local {
		gateway, err := o.Gateway()
		if err != nil {
			return withHint(err, "Without Stripe, the database alone is verified by starter verify --local")
		}
		atStripe, err := store.VerifyProvider(ctx, o.org, gateway.Invoice)
		if err != nil {
			return err
		}
		differences = append(differences, atStripe...)
	}
	return o.report(differences)
}

func (o *verifyOptions) report(differences []postgres.Difference) error {
	if differences == nil {
		differences = []postgres.Difference{}
	}
	err := o.print(differences, func(w io.Writer) {
		if len(differences) == 0 {
			fmt.Fprintln(w, "Everything agrees.")
			return
		}
		writeTable(w, differences,
			left("CHECK", func(d postgres.Difference) string { return d.Check }),
			left("ORGANIZATION", func(d postgres.Difference) string { return d.Organization }),
			left("SUBJECT", func(d postgres.Difference) string { return d.Subject }),
			left("EXPECTED", func(d postgres.Difference) string { return d.Expected }),
			left("ACTUAL", func(d postgres.Difference) string { return d.Actual }))
	})
	if err == nil && len(differences) > 0 {
		o.note("%s", plural(len(differences), "difference"))
		return errReported
	}
	return err
}
