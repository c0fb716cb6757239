package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// account is one account of the ledger. What each holds is told in the schema.
type account string

const (
	receivable  account = "receivable"
	revenue     account = "revenue"
	cash        account = "cash"
	settlements account = "settlements"
	credits     account = "credits"
	unapplied   account = "unapplied"
	rounding    account = "rounding"
	badDebt     account = "bad_debt"
	refunds     account = "refunds"
	disputes    account = "disputes"
)

// accounts lists every account, in the order in which a ledger is read.
func accounts() []account {
	return []account{receivable, revenue, cash, settlements, credits, unapplied, rounding, badDebt, refunds, disputes}
}

func accountNames() string {
	var names []string
	for _, a := range accounts() {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// bookingKind is what happened. Together with its reference it happens once.
type bookingKind string

const (
	bookedInvoice    bookingKind = "invoice"    // an invoice was issued
	bookedPayment    bookingKind = "payment"    // an attempt to collect succeeded
	bookedSettlement bookingKind = "settlement" // an invoice was paid otherwise
	bookedVoid       bookingKind = "void"       // an invoice was withdrawn
	bookedWriteOff   bookingKind = "write_off"  // an invoice was given up
	bookedCreditNote bookingKind = "credit_note"
	bookedRefund     bookingKind = "refund"  // money went back, or came back after all
	bookedDispute    bookingKind = "dispute" // a bank has taken money back, or returned it
)

// booking is one transaction of the ledger, before it is posted. Nothing else
// writes the ledger; it is posted in the transaction that writes the fact.
type booking struct {
	Kind      bookingKind
	Reference string // what happened, as nothing else of the kind is named
	Org       string
	Invoice   string // that it is about
	Currency  billing.Currency
	At        time.Time // the organisation's time

	entries []ledgerEntry
}

type ledgerEntry struct {
	account account
	invoice string
	amount  decimal.Decimal
}

// debit adds to an account's part of an invoice; credit takes from it.
func (b *booking) debit(to account, invoice string, amount decimal.Decimal) {
	at := slices.IndexFunc(b.entries, func(e ledgerEntry) bool { return e.account == to && e.invoice == invoice })
	if at < 0 {
		b.entries = append(b.entries, ledgerEntry{to, invoice, amount})
		return
	}
	b.entries[at].amount = b.entries[at].amount.Add(amount)
}

func (b *booking) credit(from account, invoice string, amount decimal.Decimal) {
	b.debit(from, invoice, amount.Neg())
}

// post writes the booking. One that moves nothing is not written. One that was
// written before is an error: whoever books has the lock under which the fact is
// new. That it balances is checked by the database.
func (b *booking) post(ctx context.Context, tx pgx.Tx) error {
	const transaction = `
INSERT INTO ledger_transactions (org_id, invoice_id, kind, reference, at)
VALUES (@org, @invoice, @kind, @reference, @at)
RETURNING id`
	const entries = `
INSERT INTO ledger_entries (transaction_id, org_id, invoice_id, account, currency, amount)
SELECT @transaction, @org, e.invoice, e.account, @currency, e.amount
  FROM unnest(@invoices::text[], @accounts::text[], @amounts::numeric[]) AS e (invoice, account, amount)`
	var invoices, names []string
	var amounts []decimal.Decimal
	for _, e := range b.entries {
		if !e.amount.IsZero() {
			invoices, names, amounts = append(invoices, e.invoice), append(names, string(e.account)), append(amounts, e.amount)
		}
	}
	if len(amounts) == 0 {
		return nil
	}
	args := pgx.NamedArgs{
		"org": b.Org, "invoice": b.Invoice, "kind": b.Kind, "reference": b.Reference, "at": b.At,
		"currency": b.Currency, "invoices": invoices, "accounts": names, "amounts": amounts,
	}
	var id int64
	err := tx.QueryRow(ctx, transaction, args).Scan(&id)
	if isUniqueViolation(err) {
		return billing.Conflict("%s %s is in the ledger already", b.Kind, b.Reference)
	}
	if err == nil {
		args["transaction"] = id
		_, err = tx.Exec(ctx, entries, args)
	}
	return wrap("book "+string(b.Kind)+" "+b.Reference, err)
}

// LedgerEntry is one entry of the ledger, as it is listed.
type LedgerEntry struct {
	ID          int64         `json:"id"`
	Transaction int64         `json:"transaction"` // its entries add up to zero
	At          time.Time     `json:"at"`          // the organisation's time
	Account     string        `json:"account"`
	Invoice     string        `json:"invoice"`
	Kind        string        `json:"kind"`
	Reference   string        `json:"reference"`
	Amount      billing.Money `json:"amount"`  // debits positive, credits negative
	Balance     billing.Money `json:"balance"` // of the account after it, for the organisation
}

// Ledger lists an organisation's entries in the order in which they were booked,
// of one account ("" = all), each with its account's balance after it.
func (s *Store) Ledger(ctx context.Context, org, of string) ([]LedgerEntry, error) {
	const statement = `
SELECT e.id, e.transaction_id, t.at, e.account, coalesce(e.invoice_id, ''), t.kind, t.reference, e.amount, e.currency,
       sum(e.amount) OVER (PARTITION BY e.account, e.currency ORDER BY e.id)
  FROM ledger_entries e
  JOIN ledger_transactions t ON t.id = e.transaction_id
 WHERE e.org_id = @org AND (@account = '' OR e.account = @account)
 ORDER BY e.id`
	if of != "" && !slices.Contains(accounts(), account(of)) {
		return nil, billing.Invalid("account: %q; accepted: %s", of, accountNames())
	}
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, statement, pgx.NamedArgs{"org": org, "account": of})
	if err != nil {
		return nil, wrap("list the ledger of "+org, err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e LedgerEntry, err error) {
		err = row.Scan(&e.ID, &e.Transaction, &e.At, &e.Account, &e.Invoice, &e.Kind, &e.Reference,
			&e.Amount.Amount, &e.Amount.Currency, &e.Balance.Amount)
		e.At, e.Balance.Currency = e.At.UTC(), e.Amount.Currency
		return e, err
	})
	return entries, wrap("list the ledger of "+org, err)
}
