package main

import (
	"context"
	"fmt"
	"io"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"
)

func newOrgDiscountCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "discount ORG PERCENT",
		Short: "Change an organisation's negotiated discount",
		Long: `Change an organisation's negotiated discount, in percent off all charges of a
period: seats, surcharges and usage. It holds for the periods that close after
the change, the drafts among them; issued invoices stay as they are. Limits
count list prices. Late usage has the discount by which its own period was
billed. 0 ends the discount.`,
		Example: `  starter org discount acme 15 --as sales --reason "renewal 2027"`,
		Args:    arguments("ORG", "PERCENT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var percent percentage
			if err := percent.Set(args[1]); err != nil {
				return wrongUsage("PERCENT: %q; %s", args[1], err)
			}
			return runOrgDiscount(cmd.Context(), a, args[0], percent.Decimal)
		},
	}
}

type discountView struct {
	Organization string          `json:"organization"`
	Before       decimal.Decimal `json:"before"`
	Discount     decimal.Decimal `json:"discount"`
	Changed      bool            `json:"changed"`
}

func runOrgDiscount(ctx context.Context, a *app, org string, percent decimal.Decimal) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	change, err := store.SetDiscount(ctx, org, percent, a.by())
	if err != nil {
		return err
	}
	return a.print(discountView{org, change.Before, change.After, change.Changed}, func(w io.Writer) {
		if !change.Changed {
			fmt.Fprintf(w, "The discount of %s is %s%% already; nothing changed.\n", org, change.After)
			return
		}
		fmt.Fprintf(w, "The discount of %s is %s%% (it was %s%%) on every period that closes from now on.\n", org, change.After, change.Before)
	})
}
