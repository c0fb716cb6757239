package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

func newInvoicesReleaseCmd(a *app) *cobra.Command {
	var bankTransfer, split bool
	cmd := &cobra.Command{
		Use:     "release ID",
		Aliases: []string{"approve"},
		Short:   "Have a parked invoice issued: you have looked at it",
		Long: `Release or approve a parked invoice. "invoices list" says what holds it: a bound that
it exceeds, or the organisation's wish to approve each invoice. The release holds for
the total as it stands now, and for one percent more; what grows beyond that is parked
again. Above ARREARS_FOUR_EYES_ABOVE, two people must release (--as).

An invoice above the largest charge is released with --bank-transfer: it is sent and
paid by transfer within the organisation's net days, and no charge is attempted. Or it
is released with --split: it stays one invoice and is charged in parts, one after the
other, each at most the largest charge. The card ceiling does not hold for parts.

What has no price cannot be released: load the price, and release the usage.`,
		Example: `  starter invoices release acme/2026-10-01 --as finance --reason "they launched in October"
  starter invoices release acme/2026-10-01 --bank-transfer --as finance --reason "too large for a card"
  starter invoices release acme/2026-10-01 --split --as finance --reason "their card takes it, they say"`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesRelease(cmd.Context(), a, args[0], releaseWay(bankTransfer, split))
		},
	}
	cmd.Flags().BoolVar(&bankTransfer, "bank-transfer", false, "send it to be paid by transfer, and attempt no charge")
	cmd.Flags().BoolVar(&split, "split", false, "charge it in parts, each at most the largest charge")
	cmd.MarkFlagsMutuallyExclusive("bank-transfer", "split")
	return cmd
}

func releaseWay(bankTransfer, split bool) billing.ReleaseWay {
	switch {
	case bankTransfer:
		return billing.ReleaseByBankTransfer
	case split:
		return billing.ReleaseSplit
	}
	return billing.ReleaseAsIs
}

type releasedView struct {
	ID           string                `json:"id"`
	Status       billing.InvoiceStatus `json:"status"`
	ParkedReason string                `json:"parked_reason"` // what still holds it
	Total        billing.Money         `json:"total"`
}

func runInvoicesRelease(ctx context.Context, a *app, id string, way billing.ReleaseWay) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	before, err := findInvoice(ctx, store, id, false)
	if err != nil {
		return err
	}
	entry, err := store.RequestRelease(ctx, id, way, a.by())
	if err != nil {
		return err
	}
	if entry == 0 {
		return a.print(releasedView{id, before.Status, before.ParkedReason, before.Total}, func(w io.Writer) {
			fmt.Fprintf(w, "%s released %s over %s already; nothing changed. It is still parked: %s\n", a.actor, id, before.Total, before.ParkedReason)
		})
	}
	if err := a.updateWorkflow(ctx, "invoice/"+id, workflows.ReleaseUpdate, before.Organization, entry); err != nil {
		return err
	}
	a.settle(ctx, before.Organization)
	invoice, err := awaitReleased(ctx, store, before)
	if err != nil {
		return err
	}
	view := releasedView{id, invoice.Status, invoice.ParkedReason, invoice.Total}
	return a.print(view, func(w io.Writer) {
		if invoice.Status == billing.StatusParked {
			fmt.Fprintf(w, "Your release of %s over %s is recorded. It is still parked: %s\n", id, invoice.Total, invoice.ParkedReason)
			return
		}
		fmt.Fprintf(w, "Invoice %s over %s is released; it is %s.\n", id, invoice.Total, invoice.Status)
	})
}

// awaitReleased reads the invoice as soon as its workflow has looked again, or
// after a while in any case.
func awaitReleased(ctx context.Context, store *postgres.Store, before billing.Invoice) (billing.Invoice, error) {
	for deadline := time.Now().Add(settleTimeout); ; {
		invoice, err := findInvoice(ctx, store, before.ID, false)
		moved := invoice.Status != before.Status || strings.TrimSpace(invoice.ParkedReason) != strings.TrimSpace(before.ParkedReason)
		if err != nil || moved || time.Now().After(deadline) {
			return invoice, err
		}
		select {
		case <-ctx.Done():
			return invoice, ctx.Err()
		case <-time.After(lastRestPoll):
		}
	}
}
