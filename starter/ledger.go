package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newLedgerCmd(a *app) *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "ledger ORG",
		Short: "List an organisation's ledger entries with their accounts' balances",
		Long: `List the entries of the double-entry ledger in the order in which they were booked.
Debits are positive and credits negative; the entries of one transaction add up to
zero. The balance is the account's after the entry.

Accounts: receivable (what is owed), revenue, cash (payments through the provider),
settlements (bank transfers and other payments), credits (owed to the organisation,
for its next invoices), unapplied (received for nothing owed, to be refunded),
rounding, bad_debt, refunds, disputes.`,
		Example: `  starter ledger acme
  starter ledger acme --account receivable -o json`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error { return runLedger(cmd.Context(), a, args[0], account) },
	}
	cmd.Flags().StringVar(&account, "account", "", "of this account only, like receivable")
	return cmd
}

func runLedger(ctx context.Context, a *app, org, account string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	entries, err := store.Ledger(ctx, org, account)
	if err != nil {
		return asUsage(err)
	}
	return printList(a, entries, "Nothing was booked yet.",
		right("ENTRY", func(e postgres.LedgerEntry) string { return fmt.Sprint(e.ID) }),
		right("TRANSACTION", func(e postgres.LedgerEntry) string { return fmt.Sprint(e.Transaction) }),
		left("AT", func(e postgres.LedgerEntry) string { return showTime(e.At) }),
		left("WHAT", func(e postgres.LedgerEntry) string { return strings.ReplaceAll(e.Kind, "_", " ") + " " + e.Reference }),
		left("ACCOUNT", func(e postgres.LedgerEntry) string { return e.Account }),
		left("INVOICE", func(e postgres.LedgerEntry) string { return e.Invoice }),
		right("AMOUNT", func(e postgres.LedgerEntry) string { return e.Amount.String() }),
		right("BALANCE", func(e postgres.LedgerEntry) string { return e.Balance.String() }))
}
