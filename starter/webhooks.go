package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newWebhooksCmd(a *app) *cobra.Command {
	limit := 50
	list := &cobra.Command{
		Use:   "list",
		Short: "List what Stripe told us, newest first, and what became of it",
		Long: `List the events that arrived at /v1/webhooks/stripe, newest first, and what became
of each: news (to be looked into), looked (Stripe was asked), noted (nothing to be
done), ignored (of no invoice of ours), or quarantined (of an invoice of ours,
under another customer).`,
		Example: "  starter webhooks list --limit 20",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runWebhooksList(cmd.Context(), a, limit) },
	}
	list.Flags().IntVar(&limit, "limit", limit, "how many events to show")
	return newGroup("webhooks", "Events that Stripe sent", "", list)
}

func runWebhooksList(ctx context.Context, a *app, limit int) error {
	if limit < 1 {
		return wrongUsage("--limit %d; accepted: 1 or more", limit)
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	events, err := store.StripeEvents(ctx, limit)
	if err != nil {
		return err
	}
	return printList(a, events, "Stripe has sent nothing yet.",
		left("RECEIVED", func(e postgres.StripeEventRow) string { return showTime(e.ReceivedAt) }),
		left("TYPE", func(e postgres.StripeEventRow) string { return e.Type }),
		left("OBJECT", func(e postgres.StripeEventRow) string { return e.ObjectID }),
		left("INVOICE", func(e postgres.StripeEventRow) string { return e.Invoice }),
		left("OUTCOME", func(e postgres.StripeEventRow) string { return e.Outcome }),
		left("ID", func(e postgres.StripeEventRow) string { return e.ID }))
}
