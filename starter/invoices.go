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
		newInvoicesListCmd(a), newInvoicesShowCmd(a), newInvoicesPreviewCmd(a), newInvoicesDiffCmd(a), newInvoicesRebuildCmd(a),
		newInvoicesFinalizeCmd(a), newInvoicesReleaseCmd(a),
		newInvoicesVoidCmd(a), newInvoicesCreditCmd(a), newInvoicesMarkPaidCmd(a), newInvoicesWriteOffCmd(a))
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
	if err := a.noteStop(ctx, store); err != nil {
		return err
	}
	return printInvoices(a, invoices)
}

// listInvoices lists drafts and issued invoices, the newest period first.
func listInvoices(ctx context.Context, store *postgres.Store, org string) ([]billing.Invoice, error) {
	issued, err := store.Invoices(ctx, org)
	if err != nil {
		return nil, err
	}
	drafts, err := store.DraftInvoices(ctx, org, false)
	if err != nil {
		return nil, err
	}
	all := make([]billing.Invoice, 0, len(drafts)+len(issued))
	for i := range drafts { // they come in order of time
		all = append(all, drafts[len(drafts)-1-i])
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
		invoices[i].Lines, invoices[i].CreditNotes = full.Lines, full.CreditNotes
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

func newInvoicesShowCmd(a *app) *cobra.Command {
	var as documentOptions
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an invoice, or a draft, with its lines; as a page to send, or for spreadsheets",
		Long: `Show an invoice, or a draft, with its lines.

--format html is a page to print or send, in one file: redirect it to one. ARREARS_SELLER_NAME,
ARREARS_SELLER_ADDRESS (its lines separated by |), ARREARS_SELLER_TAX_ID and
ARREARS_SELLER_EMAIL say who it is from. --format csv has a row for each charge
line, or with --members for each member's part of one; either way the amounts
add up to the total. A csv of any size is written line by line; html --members
is made in memory.`,
		Example: `  starter invoices show acme/2026-10-01
  starter invoices show acme/2026-10-01 --format html --members
  starter invoices show acme/2026-10-01 --format csv --members`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesShow(cmd.Context(), a, args[0], as)
		},
	}
	return as.addTo(cmd)
}

func runInvoicesShow(ctx context.Context, a *app, id string, as documentOptions) error {
	d, err := a.documents(ctx, as.format)
	if err != nil {
		return err
	}
	if as.format == "" {
		invoice, err := findInvoice(ctx, d.store, id, as.members)
		if err != nil {
			return err
		}
		return a.print(invoice, func(w io.Writer) { writeInvoice(w, invoice) })
	}
	invoice, err := d.find(ctx, id, as)
	if err != nil {
		return err
	}
	return d.write(ctx, a.stdout, invoice, as)
}

// findInvoice returns an issued invoice, or else the draft under its id.
func findInvoice(ctx context.Context, store *postgres.Store, id string, members bool) (billing.Invoice, error) {
	invoice, missing := store.Invoice(ctx, id, members)
	if !errors.Is(missing, billing.ErrNotFound) {
		return invoice, missing
	}
	return findDraft(ctx, store, id, members, missing)
}

// findDraft returns the draft under an id that was missing among those issued.
func findDraft(ctx context.Context, store *postgres.Store, id string, members bool, missing error) (billing.Invoice, error) {
	org, _, _ := strings.Cut(id, "/")
	drafts, err := store.DraftInvoices(ctx, org, members)
	if err != nil {
		return billing.Invoice{}, withHint(missing, "An invoice's id is ORG/PERIOD, see starter invoices list ORG")
	}
	for _, draft := range drafts {
		if draft.ID == id {
			return draft, nil
		}
	}
	return billing.Invoice{}, withHint(missing, "See starter invoices list %s; the running period's is shown by starter invoices preview %s", org, org)
}

func newInvoicesPreviewCmd(a *app) *cobra.Command {
	var as documentOptions
	cmd := &cobra.Command{
		Use:   "preview ORG",
		Short: "Compute the running period's invoice as it stands now, changing nothing",
		Example: `  starter invoices preview acme
  starter invoices preview acme --format html`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesPreview(cmd.Context(), a, args[0], as)
		},
	}
	return as.addTo(cmd)
}

func runInvoicesPreview(ctx context.Context, a *app, org string, as documentOptions) error {
	d, err := a.documents(ctx, as.format)
	if err != nil {
		return err
	}
	invoice, err := d.store.PreviewInvoice(ctx, org, as.members)
	if err != nil {
		return err
	}
	if as.format != "" {
		return d.write(ctx, a.stdout, invoice, as)
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
		fact{"finalized", showOptional(i.FinalizedAt)}, fact{"due", deref(i.DueDate)}, fact{"past due", showOptional(i.PastDueAt)},
		fact{"collection", i.Collection}, fact{"because", i.CollectionReason}, fact{"stripe", i.StripeInvoiceID}, fact{"content hash", i.ContentHash})
	for _, refund := range i.Refunds {
		writeFacts(w, fact{"refund", fmt.Sprintf("%s %s, %s (%s)", refund.Amount, refund.Status, showTime(refund.MadeAt), refund.ID)})
	}
	for _, dispute := range i.Disputes {
		writeFacts(w, fact{"dispute", fmt.Sprintf("%s %s, %s (%s)", dispute.Amount, dispute.Status, showTime(dispute.MadeAt), dispute.ID)})
	}
	if i.ToRefund != nil {
		writeFacts(w, fact{"to refund", fmt.Sprintf("%s, at Stripe: it came in and belongs to nothing", i.ToRefund)})
	}
	for _, part := range i.Parts {
		writeFacts(w, fact{fmt.Sprintf("part %d", part.Part), strings.TrimSpace(fmt.Sprintf("%s %s %s", part.Amount, part.Status, part.StripeInvoiceID))})
	}
	fmt.Fprintln(w)
	var rows []invoiceRow
	for _, line := range i.Lines {
		rows = append(rows, rowOf(line))
		for _, part := range line.Members {
			rows = append(rows, rowOfMember(part))
		}
	}
	if !i.Discount.Amount.IsZero() {
		rows = append(rows, invoiceRow{what: "At list price", amount: i.Subtotal.String()}, invoiceRow{what: "Net of discount", amount: i.Net.String()})
	}
	rows = append(rows, invoiceRow{what: "Total", amount: i.Total.String()})
	if i.AmountPaid.Amount.IsPositive() {
		rows = append(rows, invoiceRow{what: "Paid", amount: i.AmountPaid.String()})
	}
	for _, note := range i.CreditNotes {
		row := invoiceRow{what: "Credit note " + note.Number + ": " + note.Reason, amount: note.Amount.String()}
		if note.ToCredit {
			row.what += " (onto the next invoices)"
		}
		rows = append(rows, row)
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
	case l.Kind == billing.KindCarriedForward, l.Kind == billing.KindDiscount, l.Kind == billing.KindCredit, l.Kind == billing.KindAdjustment: // said in words
		row.quantity = ""
	default:
		row.price = l.UnitPrice.String()
	}
	return row
}

func showPer(per int64) string {
	switch per {
	case 1_000_000:
		return "million"
	case 3600: // of seconds, as 60 is; everything else is a power of ten
		return "hour"
	case 60:
		return "minute"
	}
	return showCount(per)
}

func rowOfMember(part billing.Allocation) invoiceRow {
	who := part.User
	if who == "" {
		who = "(service)"
	}
	return invoiceRow{what: "    " + who, quantity: showQuantity(part.Quantity), amount: part.Amount.String()}
}
