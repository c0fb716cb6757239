package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newWebhooksCmd(a *app) *cobra.Command {
	limit, refused := 50, false
	list := &cobra.Command{
		Use:   "list",
		Short: "List what Stripe told us, newest first, and what became of it",
		Long: `List the events that arrived at /v1/webhooks/stripe, newest first, and what became
of each: news (to be looked into), looked (Stripe was asked), noted (nothing to be
done), ignored (of no invoice of ours), or quarantined (of an invoice of ours,
under another customer). "invoice.look" is none of Stripe's: nobody told of an
unpaid invoice for a day, so the hourly sweep has it looked at.

Deliveries that were refused are counted by day and reason, with nothing of their
content: signature, too_old, future, other_mode, not_an_event. --refused lists the
counts.`,
		Example: `  starter webhooks list --limit 20
  starter webhooks list --refused`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return wrongUsage("--limit %d; accepted: 1 or more", limit)
			}
			if refused {
				return runWebhooksRefused(cmd.Context(), a, limit)
			}
			return runWebhooksList(cmd.Context(), a, limit)
		},
	}
	list.Flags().IntVar(&limit, "limit", limit, "how many events to show")
	list.Flags().BoolVar(&refused, "refused", false, "count what was refused instead")
	return newGroup("webhooks", "Events that Stripe sent", "", list)
}

func runWebhooksList(ctx context.Context, a *app, limit int) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	events, err := store.StripeEvents(ctx, limit)
	if err != nil {
		return err
	}
	if refused, err := store.WebhookRefusals(ctx, limit); err == nil && len(refused) > 0 {
		a.note("Deliveries were refused, too: starter webhooks list --refused")
	}
	return printList(a, events, "Stripe has sent nothing yet.",
		left("RECEIVED", func(e postgres.StripeEventRow) string { return showTime(e.ReceivedAt) }),
		left("TYPE", func(e postgres.StripeEventRow) string { return e.Type }),
		left("OBJECT", func(e postgres.StripeEventRow) string { return e.ObjectID }),
		left("INVOICE", func(e postgres.StripeEventRow) string { return e.Invoice }),
		left("OUTCOME", func(e postgres.StripeEventRow) string { return e.Outcome }),
		left("ID", func(e postgres.StripeEventRow) string { return e.ID }))
}

func runWebhooksRefused(ctx context.Context, a *app, limit int) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	refused, err := store.WebhookRefusals(ctx, limit)
	if err != nil {
		return err
	}
	return printList(a, refused, "No delivery was refused.",
		left("DAY", func(r postgres.WebhookRefusals) string { return r.Day }),
		left("REASON", func(r postgres.WebhookRefusals) string { return r.Reason }),
		right("COUNT", func(r postgres.WebhookRefusals) string { return strconv.FormatInt(r.Count, 10) }))
}
