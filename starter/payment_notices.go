package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newPaymentsNoticesCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "notices ORG",
		Short:   "List what an organisation was told about its payments, oldest first",
		Example: "  starter payments notices globex",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPaymentsNotices(cmd.Context(), a, args[0]) },
	}
}

func runPaymentsNotices(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if _, err := store.Organization(ctx, org); err != nil {
		return err
	}
	notices, err := store.PaymentNotices(ctx, org)
	if err != nil {
		return err
	}
	type row = postgres.PaymentNoticeRow
	return printList(a, notices, "Nothing was said about payments yet.",
		left("AT", func(n row) string { return showTime(n.At) }),
		left("INVOICE", func(n row) string { return n.Invoice }),
		left("WHAT", func(n row) string { return string(n.Kind) }),
		right("ATTEMPT", func(n row) string { return fmt.Sprint(n.Attempt) }),
		right("AMOUNT", func(n row) string { return n.Amount.String() }),
		left("FAILURE", func(n row) string { return n.FailureCode }),
		left("STATUS", func(n row) string { return n.Status }))
}
