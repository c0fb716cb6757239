package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newInvoicesVoidCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "void ID",
		Short: "Withdraw an unpaid invoice, and bill its period anew",
		Long: `Withdraw an invoice of which nothing was paid or credited. Its collection voids it at
Stripe, after any attempt under way; if that brings the money, the void is refused.
Then the period is opened again, with a draft window of its own, and billed as the
next revision. What the invoice carried forward, and the credits that it used, are
free again. Usage stays as it is.`,
		Example: `  starter invoices void globex/2026-10-01 --as finance --reason "wrong seats"`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCorrection(cmd.Context(), a, args[0], postgres.CorrectionRequest{Kind: billing.CorrectionVoid})
		},
	}
}

func newInvoicesWriteOffCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "write-off ID",
		Short: "Give up what remains of an unpaid invoice",
		Long: `Give up what remains of an open or past due invoice: it is marked uncollectible at
Stripe, collection ends, and the ledger has the rest as bad debt. Should it be paid
after all, it is paid.`,
		Example: `  starter invoices write-off globex/2026-10-01 --as finance --reason "insolvent"`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCorrection(cmd.Context(), a, args[0], postgres.CorrectionRequest{Kind: billing.CorrectionWriteOff})
		},
	}
}

func newInvoicesMarkPaidCmd(a *app) *cobra.Command {
	var amount positiveAmount
	var reference string
	cmd := &cobra.Command{
		Use:   "mark-paid ID",
		Short: "Record a payment that was made elsewhere, in full or in part",
		Long: `Record a payment that did not come through Stripe, such as a bank transfer: all of
what remains, or --amount of it. At Stripe, all of it marks the invoice paid out of
band; a part is a credit note there, which lowers what remains, and collection goes
on with exactly the rest. A payment with the same amount and --reference is the same
payment: recording it again changes nothing.`,
		Example: `  starter invoices mark-paid globex/2026-10-01 --reference "SEPA 4711" --as finance
  starter invoices mark-paid globex/2026-10-01 --amount 10.00 --reference "SEPA 4711"`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCorrection(cmd.Context(), a, args[0], postgres.CorrectionRequest{
				Kind: billing.CorrectionSettlement, Amount: amount.NullDecimal, Reference: reference,
			})
		},
	}
	cmd.Flags().Var(&amount, "amount", "how much was paid, like 10.00; all of what remains without it")
	cmd.Flags().StringVar(&reference, "reference", "", "of the payment, such as the bank's")
	return cmd
}

func newInvoicesCreditCmd(a *app) *cobra.Command {
	var amount positiveAmount
	var line string
	cmd := &cobra.Command{
		Use:   "credit ID --amount A --reason TEXT",
		Short: "Issue a credit note on an invoice",
		Long: `Issue a credit note. On an unpaid invoice it lowers what is due, at Stripe too; all of
it settles the invoice. On a paid one the amount becomes a credit of the
organisation, which its next invoices use up: never below zero, and what is left
stays. The invoice itself does not change. The same amount, line and reason again is
the same credit note.`,
		Example: `  starter invoices credit globex/2026-10-01 --amount 5.00 --reason "outage on 3 October" --as finance`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCorrection(cmd.Context(), a, args[0], postgres.CorrectionRequest{
				Kind: billing.CorrectionCreditNote, Amount: amount.NullDecimal, Line: line,
			})
		},
	}
	cmd.Flags().Var(&amount, "amount", "how much is credited, like 5.00")
	cmd.Flags().StringVar(&line, "line", "", "the key of the charge line that it is about, see invoices show ID -o json")
	return required(cmd, "amount", "reason")
}

// positiveAmount is an amount of money above zero.
type positiveAmount struct{ decimal.NullDecimal }

// String implements pflag.Value.
func (p *positiveAmount) String() string {
	if !p.Valid {
		return ""
	}
	return p.Decimal.String()
}

// Type implements pflag.Value.
func (p *positiveAmount) Type() string { return "amount" }

// Set implements pflag.Value.
func (p *positiveAmount) Set(s string) error {
	amount, err := decimal.NewFromString(s)
	if err != nil || strings.ContainsAny(s, "eE") || !amount.IsPositive() || amount.GreaterThan(largestAmount) {
		return fmt.Errorf("accepted: an amount above 0, like 10.00")
	}
	p.NullDecimal = decimal.NewNullDecimal(amount)
	return nil
}

// correctedView is how an invoice and its correction stand after it was asked for.
type correctedView struct {
	Invoice    string                     `json:"invoice"`
	Status     billing.InvoiceStatus      `json:"status"`
	AmountDue  billing.Money              `json:"amount_due"`
	Correction postgres.InvoiceCorrection `json:"correction"`
}

func runCorrection(ctx context.Context, a *app, id string, want postgres.CorrectionRequest) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	asked, err := store.CorrectInvoice(ctx, id, want, a.by())
	if errors.Is(err, billing.ErrNotFound) && strings.HasSuffix(err.Error(), "does not exist") { // no line of it that is missing
		return withHint(err, "Only what was issued is corrected, and a draft is none yet; see starter invoices list ORG")
	}
	if err != nil {
		return err
	}
	org, _, _ := strings.Cut(id, "/")
	a.settle(ctx, org)
	if asked, err = store.InvoiceCorrection(ctx, id, asked.ID); err != nil {
		return err
	}
	invoice, err := store.Invoice(ctx, id, false)
	if err != nil {
		return err
	}
	view := correctedView{id, invoice.Status, invoice.AmountDue, asked}
	if err := a.print(view, view.write); err != nil {
		return err
	}
	if asked.Failure != "" {
		return errReported
	}
	return nil
}

func (v correctedView) write(w io.Writer) {
	what := map[billing.CorrectionKind]string{
		billing.CorrectionVoid: "void", billing.CorrectionWriteOff: "write-off",
		billing.CorrectionSettlement: "payment", billing.CorrectionCreditNote: "credit note",
	}[v.Correction.Kind]
	if v.Correction.Number != "" {
		what += " " + v.Correction.Number
	}
	if v.Correction.Amount != nil {
		what += " over " + v.Correction.Amount.String()
	}
	switch {
	case v.Correction.Failure != "":
		fmt.Fprintf(w, "The %s on %s was refused: %s.\n", what, v.Invoice, v.Correction.Failure)
	case v.Correction.DoneAt == nil:
		fmt.Fprintf(w, "The %s on %s is recorded; its collection carries it out now.\n", what, v.Invoice)
	case v.Correction.ToCredit:
		fmt.Fprintf(w, "The %s on %s is a credit, which the next invoices use up.\n", what, v.Invoice)
	default:
		fmt.Fprintf(w, "The %s on %s is done.\n", what, v.Invoice)
	}
	fmt.Fprintf(w, "%s is %s", v.Invoice, v.Status)
	if v.AmountDue.Amount.IsPositive() {
		fmt.Fprintf(w, ", and %s is due", v.AmountDue)
	}
	fmt.Fprintln(w, ".")
}
