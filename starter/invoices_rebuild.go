package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newInvoicesRebuildCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild ID",
		Short: "Make an issued invoice again from the raw events, and name what differs",
		Long: `Make an issued invoice again and compare it with what was issued. Every raw event
of its period is rated anew by the prices as they stood when the period was
billed; seats, discounts and what was carried are as they were recorded.
Nothing is changed. Exits 0 if the invoice is the same to the last digit, member
parts and content hash included, and 1 if anything differs.

The organisation's events are read once, one by one; memory grows with members
times models, not with events.`,
		Example: "  starter invoices rebuild acme/2026-10-01",
		Args:    arguments("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runInvoicesRebuild(cmd.Context(), a, args[0]) },
	}
}

func runInvoicesRebuild(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	again, err := store.RebuildInvoice(ctx, id)
	if err != nil {
		return withHint(err, "Issued invoices are listed by starter invoices list ORG")
	}
	err = a.print(again, func(w io.Writer) { writeRebuilt(w, again) })
	if err == nil && len(again.Differences) > 0 {
		return errReported
	}
	return err
}

func writeRebuilt(w io.Writer, again postgres.Rebuilt) {
	if again.Unrated > 0 {
		fmt.Fprintf(w, "%s had no price and were left out; starter verify names them.\n", plural(again.Unrated, "event"))
	}
	if len(again.Differences) == 0 {
		fmt.Fprintf(w, "Invoice %s was made again from %s: nothing differs.\n", again.Invoice, plural(again.Events, "event"))
		return
	}
	fmt.Fprintf(w, "Invoice %s was made again from %s: %s.\n", again.Invoice, plural(again.Events, "event"), plural(len(again.Differences), "difference"))
	writeTable(w, again.Differences,
		left("LINE", func(d postgres.RebuildDifference) string { return d.Line }),
		left("MEMBER", func(d postgres.RebuildDifference) string {
			if d.Member != nil && *d.Member == "" {
				return "(service)"
			}
			return deref(d.Member)
		}),
		left("ISSUED", func(d postgres.RebuildDifference) string { return orNone(d.Issued) }),
		left("REBUILT", func(d postgres.RebuildDifference) string { return orNone(d.Rebuilt) }))
}

func orNone(text *string) string {
	if text == nil {
		return "none"
	}
	return *text
}
