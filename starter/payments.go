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

func newPaymentsCmd(a *app) *cobra.Command {
	return newGroup("payments", "Payments: every attempt to collect an invoice", "",
		newPaymentsListCmd(a), newPaymentsNoticesCmd(a), newPaymentsRetryCmd(a), newPaymentsSetMethodCmd(a))
}

func newPaymentsListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list ORG",
		Short:   "List the attempts to collect an organisation's invoices, oldest first",
		Example: "  starter payments list globex",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPaymentsList(cmd.Context(), a, args[0]) },
	}
}

func runPaymentsList(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	payments, err := store.Payments(ctx, org)
	if err != nil {
		return err
	}
	return printPayments(a, payments)
}

func printPayments(a *app, payments []postgres.Payment) error {
	return printList(a, payments, "Nothing was charged yet.",
		left("AT", func(p postgres.Payment) string { return showTime(p.CreatedAt) }),
		left("INVOICE", func(p postgres.Payment) string { return p.Invoice }),
		right("ATTEMPT", func(p postgres.Payment) string { return fmt.Sprint(p.Attempt) }),
		left("STATUS", showPaymentStatus),
		right("AMOUNT", func(p postgres.Payment) string { return p.Amount.String() }),
		left("FAILURE", func(p postgres.Payment) string { return p.FailureCode }),
		left("METHOD", func(p postgres.Payment) string { return p.PaymentMethod }),
		left("WENT BACK", showReturns),
		left("STRIPE", func(p postgres.Payment) string { return p.PaymentIntentID }))
}

func showPaymentStatus(p postgres.Payment) string {
	if p.Surplus {
		return string(p.Status) + ", surplus"
	}
	return string(p.Status)
}

// showReturns says what of a payment was refunded or disputed.
func showReturns(p postgres.Payment) string {
	var all []string
	for _, refund := range p.Refunds {
		all = append(all, fmt.Sprintf("refund of %s %s", refund.Amount, refund.Status))
	}
	for _, dispute := range p.Disputes {
		all = append(all, fmt.Sprintf("dispute over %s %s", dispute.Amount, dispute.Status))
	}
	return strings.Join(all, ", ")
}

func newPaymentsRetryCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "retry INVOICE",
		Short:   "Charge an unpaid invoice again now, whatever the dunning table says",
		Example: `  starter payments retry globex/2026-10-01 --as support`,
		Args:    arguments("INVOICE"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPaymentsRetry(cmd.Context(), a, args[0]) },
	}
}

type retriedView struct {
	Invoice   string       `json:"invoice"`
	Requested bool         `json:"requested"`
	Outcome   *outcomeView `json:"outcome"`
}

// outcomeView is how an invoice stands after it was asked to be charged.
type outcomeView struct {
	Invoice     string `json:"invoice"`
	Status      string `json:"status"`       // of the invoice
	Payment     string `json:"payment"`      // of its last attempt; "" = none was made
	FailureCode string `json:"failure_code"` // of that attempt
}

// outcomes reads how invoices stand. What is still to be charged, as in real time
// right after it was asked for, stands as it did before.
func outcomes(ctx context.Context, store *postgres.Store, org string, invoices []string) ([]outcomeView, error) {
	payments, err := store.Payments(ctx, org)
	if err != nil {
		return nil, err
	}
	views := []outcomeView{}
	for _, id := range invoices {
		invoice, err := store.Invoice(ctx, id, false)
		if err != nil {
			return nil, err
		}
		view, last := outcomeView{Invoice: id, Status: string(invoice.Status)}, 0
		for _, p := range payments {
			if p.Invoice == id && p.Attempt > last {
				view.Payment, view.FailureCode, last = string(p.Status), p.FailureCode, p.Attempt
			}
		}
		views = append(views, view)
	}
	return views, nil
}

func (v outcomeView) write(w io.Writer) {
	switch {
	case v.Status == string(billing.StatusPaid):
		fmt.Fprintf(w, "%s is paid.\n", v.Invoice)
	case v.FailureCode != "":
		fmt.Fprintf(w, "%s is %s: the last attempt %s (%s).\n", v.Invoice, v.Status, v.Payment, v.FailureCode)
	default:
		fmt.Fprintf(w, "%s is %s.\n", v.Invoice, v.Status)
	}
}

func runPaymentsRetry(ctx context.Context, a *app, invoice string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if err := store.RequestRetry(ctx, invoice, a.by()); err != nil {
		return err
	}
	org, _, _ := strings.Cut(invoice, "/")
	a.settle(ctx, org)
	stands, err := outcomes(ctx, store, org, []string{invoice})
	if err != nil {
		return err
	}
	return a.print(retriedView{invoice, true, &stands[0]}, func(w io.Writer) {
		fmt.Fprintf(w, "Asked for another try at %s.\n", invoice)
		stands[0].write(w)
	})
}

func newPaymentsSetMethodCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set-method ORG PAYMENT_METHOD",
		Short: "Set an organisation's payment method, and charge what is unpaid by it",
		Example: `  starter payments set-method globex pm_card_visa
  starter payments set-method globex pm_1PQrstuVWxyz --as support --reason "new card by phone"`,
		Args: arguments("ORG", "PAYMENT_METHOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPaymentsSetMethod(cmd.Context(), a, args[0], args[1])
		},
	}
}

type methodView struct {
	Organization  string   `json:"organization"`
	PaymentMethod string   `json:"payment_method"`
	Retried       []string `json:"retried"` // the invoices that it was to pay at once

	Outcomes []outcomeView `json:"outcomes"` // how those stand now
}

func runPaymentsSetMethod(ctx context.Context, a *app, org, method string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	attached, err := a.attach(ctx, store, org, method)
	if err != nil {
		return err
	}
	retried, err := store.SetPaymentMethod(ctx, org, attached, a.by())
	if err != nil {
		return err
	}
	a.settle(ctx, org)
	stands, err := outcomes(ctx, store, org, retried)
	if err != nil {
		return err
	}
	view := methodView{org, attached, append([]string{}, retried...), stands}
	return a.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "%s is charged by %s from now on.\n", org, attached)
		for _, outcome := range stands {
			outcome.write(w)
		}
	})
}

// attach gives the organisation's customer at Stripe the payment method, and
// returns its id there. Each wish has its own key: its entry in the audit trail.
func (a *app) attach(ctx context.Context, store *postgres.Store, id, method string) (string, error) {
	if _, err := store.Organization(ctx, id); err != nil {
		return "", err
	}
	if err := a.makeCustomer(ctx, id); err != nil && !errors.Is(err, billing.ErrInvalid) {
		return "", err // a former payment method that was refused does not matter
	}
	org, err := store.Organization(ctx, id)
	if err != nil {
		return "", err
	}
	gateway, err := a.Gateway()
	if err != nil {
		return "", err
	}
	installation, err := store.Installation(ctx)
	if err != nil {
		return "", err
	}
	entry, err := store.RecordRequest(ctx, id, a.by(), "payments.request_method")
	if err != nil {
		return "", err
	}
	return gateway.SetPaymentMethod(ctx, org.StripeCustomerID, method, fmt.Sprintf("pm/%s/%s/request/%d", installation, id, entry))
}
