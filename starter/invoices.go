package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newInvoicesCmd(a *app) *cobra.Command {
	return newGroup("invoices", "Invoices: what was billed, line by line and member by member", "",
		newInvoicesListCmd(a), newInvoicesShowCmd(a), newInvoicesPreviewCmd(a), newInvoicesFinalizeCmd(a))
}

func newInvoicesListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list ORG",
		Short:   "List an organisation's invoices, newest first, computed drafts included",
		Example: "  starter invoices list acme",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runInvoicesList(cmd.Context(), a, args[0]) },
	}
}

func runInvoicesList(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	invoices, err := listInvoices(ctx, store, org)
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		if err := addLines(ctx, store, invoices); err != nil {
			return err
		}
	}
	return printInvoices(a, invoices)
}

// listInvoices lists drafts and issued invoices, the newest period first.
func listInvoices(ctx context.Context, store *postgres.Store, org string) ([]billing.Invoice, error) {
	issued, err := store.Invoices(ctx, org)
	if err != nil {
		return nil, err
	}
	drafts, err := store.DraftInvoices(ctx, org)
	if err != nil {
		return nil, err
	}
	all := make([]billing.Invoice, 0, len(drafts)+len(issued))
	for i := range drafts { // they come in order of time
		all = append(all, withoutMembers(drafts[len(drafts)-1-i]))
	}
	return append(all, issued...), nil
}

// addLines reads the lines of the issued ones.
func addLines(ctx context.Context, store *postgres.Store, invoices []billing.Invoice) error {
	for i := range invoices {
		if invoices[i].Lines != nil {
			continue
		}
		full, err := store.Invoice(ctx, invoices[i].ID, false)
		if err != nil {
			return err
		}
		invoices[i].Lines = full.Lines
	}
	return nil
}

func printInvoices(a *app, invoices []billing.Invoice) error {
	return printList(a, invoices, "There are no invoices yet.",
		left("ID", func(i billing.Invoice) string { return i.ID }),
		left("NUMBER", func(i billing.Invoice) string { return i.Number }),
		left("FROM", func(i billing.Invoice) string { return showTime(i.PeriodStart) }),
		left("TO", func(i billing.Invoice) string { return showTime(i.PeriodEnd) }),
		left("STATUS", func(i billing.Invoice) string { return string(i.Status) }),
		right("TOTAL", func(i billing.Invoice) string { return i.Total.String() }),
		right("PAID", func(i billing.Invoice) string { return i.AmountPaid.String() }),
		right("DUE", func(i billing.Invoice) string { return i.AmountDue.String() }),
		left("STRIPE", func(i billing.Invoice) string { return i.StripeInvoiceID }),
		left("PARKED BECAUSE", func(i billing.Invoice) string { return i.ParkedReason }))
}

func withoutMembers(invoice billing.Invoice) billing.Invoice {
	lines := make([]billing.Line, len(invoice.Lines))
	for i, line := range invoice.Lines {
		line.Members = nil
		lines[i] = line
	}
	invoice.Lines = lines
	return invoice
}

func newInvoicesShowCmd(a *app) *cobra.Command {
	var members bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an invoice, or a draft, with its lines",
		Example: `  starter invoices show acme/2026-10-01
  starter invoices show acme/2026-10-01 --members -o json`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesShow(cmd.Context(), a, args[0], members)
		},
	}
	cmd.Flags().BoolVar(&members, "members", false, "show under each line which member accounts for how much")
	return cmd
}

func runInvoicesShow(ctx context.Context, a *app, id string, members bool) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	invoice, err := findInvoice(ctx, store, id, members)
	if err != nil {
		return err
	}
	return a.print(invoice, func(w io.Writer) { writeInvoice(w, invoice) })
}

// findInvoice returns an issued invoice, or else the draft under its id.
func findInvoice(ctx context.Context, store *postgres.Store, id string, members bool) (billing.Invoice, error) {
	invoice, missing := store.Invoice(ctx, id, members)
	if !errors.Is(missing, billing.ErrNotFound) {
		return invoice, missing
	}
	org, _, _ := strings.Cut(id, "/")
	drafts, err := store.DraftInvoices(ctx, org)
	if err != nil {
		return invoice, withHint(missing, "An invoice's id is ORG/PERIOD, see starter invoices list ORG")
	}
	for _, draft := range drafts {
		if draft.ID == id && members {
			return draft, nil
		}
		if draft.ID == id {
			return withoutMembers(draft), nil
		}
	}
	return invoice, withHint(missing, "See starter invoices list %s; the running period's is shown by starter invoices preview %s", org, org)
}

func newInvoicesPreviewCmd(a *app) *cobra.Command {
	var members bool
	cmd := &cobra.Command{
		Use:     "preview ORG",
		Short:   "Compute the running period's invoice as it stands now",
		Example: "  starter invoices preview acme",
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesPreview(cmd.Context(), a, args[0], members)
		},
	}
	cmd.Flags().BoolVar(&members, "members", false, "show under each line which member accounts for how much")
	return cmd
}

func runInvoicesPreview(ctx context.Context, a *app, org string, members bool) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	invoice, err := store.PreviewInvoice(ctx, org)
	if err != nil {
		return err
	}
	if !members {
		invoice = withoutMembers(invoice)
	}
	return a.print(invoice, func(w io.Writer) { writeInvoice(w, invoice) })
}

func newInvoicesFinalizeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "finalize ID",
		Short:   "End a draft window early: the period is closed and invoiced now",
		Example: `  starter invoices finalize acme/2026-10-01 --as finance --reason "checked"`,
		Args:    arguments("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runInvoicesFinalize(cmd.Context(), a, args[0]) },
	}
}

type finalizedView struct {
	ID     string                `json:"id"`
	Status billing.InvoiceStatus `json:"status"`
}

func runInvoicesFinalize(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if err := store.FinalizeInvoice(ctx, id, a.by()); err != nil {
		return err
	}
	org, _, _ := strings.Cut(id, "/")
	a.settle(ctx, org)
	invoice, err := findInvoice(ctx, store, id, false)
	if err != nil {
		return err
	}
	return a.print(finalizedView{id, invoice.Status}, func(w io.Writer) {
		if invoice.Status == billing.StatusDraft {
			fmt.Fprintf(w, "The draft window of %s has ended; its cycle issues it now.\n", id)
			return
		}
		fmt.Fprintf(w, "Invoice %s over %s is %s.\n", id, invoice.Total, invoice.Status)
	})
}

func writeInvoice(w io.Writer, i billing.Invoice) {
	writeFacts(w, fact{"invoice", i.ID}, fact{"number", i.Number}, fact{"organization", i.Organization},
		fact{"from", showTime(i.PeriodStart)}, fact{"to", showTime(i.PeriodEnd)},
		fact{"status", string(i.Status)}, fact{"parked because", i.ParkedReason},
		fact{"finalized", showOptional(i.FinalizedAt)}, fact{"due", showOptional(i.DueAt)}, fact{"past due", showOptional(i.PastDueAt)},
		fact{"collection", i.Collection}, fact{"because", i.CollectionReason}, fact{"stripe", i.StripeInvoiceID})
	for _, refund := range i.Refunds {
		writeFacts(w, fact{"refund", fmt.Sprintf("%s %s, %s (%s)", refund.Amount, refund.Status, showTime(refund.MadeAt), refund.ID)})
	}
	for _, dispute := range i.Disputes {
		writeFacts(w, fact{"dispute", fmt.Sprintf("%s %s, %s (%s)", dispute.Amount, dispute.Status, showTime(dispute.MadeAt), dispute.ID)})
	}
	fmt.Fprintln(w)
	var rows []invoiceRow
	for _, line := range i.Lines {
		rows = append(rows, rowOf(line))
		for _, part := range line.Members {
			rows = append(rows, rowOfMember(part))
		}
	}
	rows = append(rows, invoiceRow{what: "Total", amount: i.Total.String()})
	if i.AmountPaid.Amount.IsPositive() {
		rows = append(rows, invoiceRow{what: "Paid", amount: i.AmountPaid.String()})
	}
	if i.AmountDue.Amount.IsPositive() {
		rows = append(rows, invoiceRow{what: "Due", amount: i.AmountDue.String()})
	}
	writeTable(w, rows,
		left("CHARGE", func(r invoiceRow) string { return r.what }),
		right("QUANTITY", func(r invoiceRow) string { return r.quantity }),
		right("PRICE", func(r invoiceRow) string { return r.price }),
		right("AMOUNT", func(r invoiceRow) string { return r.amount }))
}

// invoiceRow is a line of an invoice, or a member's part of one, for people.
type invoiceRow struct{ what, quantity, price, amount string }

func rowOf(l billing.Line) invoiceRow {
	row := invoiceRow{what: l.Description, quantity: showQuantity(l.Quantity), amount: l.Amount.String()}
	switch {
	case l.Kind == billing.KindSeat || l.Kind == billing.KindSurcharge:
		row.quantity += " seat-days"
		row.price = fmt.Sprintf("%s per month", l.UnitPrice)
	case l.Kind == billing.KindUsage && l.Per > 1:
		row.price = fmt.Sprintf("%s per %s", l.UnitPrice, showPer(l.Per))
	case l.Kind == billing.KindCarriedForward:
		row.quantity = ""
	default:
		row.price = l.UnitPrice.String()
	}
	return row
}

func showPer(per int64) string {
	if per == 1_000_000 {
		return "million"
	}
	return showCount(per)
}

func rowOfMember(part billing.MemberPart) invoiceRow {
	who := part.User
	if who == "" {
		who = "(service)"
	}
	return invoiceRow{what: "    " + who, quantity: showQuantity(part.Quantity), amount: part.Amount.String()}
}
