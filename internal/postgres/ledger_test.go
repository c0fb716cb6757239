package postgres_test

import (
	"context"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// ledger lists acme's entries: what was booked, the account, and the amount; of
// other invoices than October's with the invoice.
func (f *fixture) ledger() []string {
	f.t.Helper()
	entries, err := f.Ledger(f.ctx, "acme", "")
	require.NoError(f.t, err)
	list := []string{}
	for _, e := range entries {
		text := e.Kind + " " + e.Account + " " + e.Amount.Amount.String()
		if e.Invoice != octoberInvoice {
			text += " of " + e.Invoice
		}
		list = append(list, text)
	}
	return list
}

// balance is what an account of acme's stands at.
func (f *fixture) balance(account string) string {
	f.t.Helper()
	entries, err := f.Ledger(f.ctx, "acme", account)
	require.NoError(f.t, err)
	if len(entries) == 0 {
		return "0"
	}
	return entries[len(entries)-1].Balance.Amount.String()
}

func TestAPaidInvoiceIsRevenueOwedAndThenCash(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	issued := []string{"invoice receivable 20", "invoice revenue -20"}
	require.Equal(t, issued, f.ledger())
	f.charge(insufficient)
	require.Equal(t, issued, f.ledger(), "a decline moves nothing")
	f.clock(issuedAt.Add(day))
	f.charge(succeeded)
	want := append(issued, "payment cash 20", "payment receivable -20")
	require.Equal(t, want, f.ledger())
	f.answer(2, succeeded)
	require.Equal(t, want, f.ledger(), "the same answer again books nothing")
	require.Equal(t, "0", f.balance("receivable"))

	entries, err := f.Ledger(f.ctx, "acme", "cash")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "20.00 USD", entries[0].Balance.String())
	require.Equal(t, octoberInvoice+"/2", entries[0].Reference)
	require.Equal(t, issuedAt.Add(day), entries[0].At, "in the organisation's time")
	_, err = f.Ledger(f.ctx, "acme", "profit")
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.ErrorContains(t, err, "receivable")
	_, err = f.Ledger(f.ctx, "nobody", "")
	require.ErrorIs(t, err, billing.ErrNotFound)
	f.clean()
}

func TestWhatIsCarriedMovesToTheInvoiceThatCarriesIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 60_000)) // 0.30, too small to be charged
	f.endOctober()
	require.Equal(t, billing.StatusCarried, f.issueOctober().Status)
	require.Equal(t, []string{"invoice receivable 0.3", "invoice revenue -0.3"}, f.ledger())
	f.clean()
	f.store(use("b", "u1", f.now(), 100_000)) // 0.50
	f.issueNovember()
	require.Equal(t, []string{
		"invoice receivable -0.3", "invoice receivable 0.8 of acme/2026-11-01", "invoice revenue -0.5 of acme/2026-11-01",
	}, sorted(f.ledger()[2:]))
	f.clean()

	f.publish("acme/2026-11-01", "in_2")
	_, err := f.RecordProviderState(f.ctx, "acme/2026-11-01", billing.ProviderInvoiceState{StripeID: "in_2", Status: "void"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"void receivable -0.8 of acme/2026-11-01", "void receivable 0.3", "void revenue 0.5 of acme/2026-11-01",
	}, sorted(f.ledger()[5:]), "a void is the exact reverse: what it carried is owed on the first again")
	require.Equal(t, "0.3", f.balance("receivable"))
}

func TestAZeroInvoiceBooksNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	require.Equal(t, billing.StatusSettled, f.issueOctober().Status)
	require.Empty(t, f.ledger())
	f.clean()
}

func TestWhatIsGivenUpIsBadDebtUntilItIsPaidAfterAll(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.provider(billing.ProviderInvoiceState{Status: "uncollectible"})
	require.Equal(t, "20", f.balance("bad_debt"))
	require.Equal(t, "0", f.balance("receivable"))
	f.provider(billing.ProviderInvoiceState{Status: "uncollectible"})
	f.clean()
	f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1})
	require.Equal(t, "0", f.balance("bad_debt"))
	require.Equal(t, "20", f.balance("cash"))
	f.clean()
}

func TestWhatIsPaidOutOfBandIsASettlementAndNoCash(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.provider(billing.ProviderInvoiceState{Status: "paid"})
	require.Equal(t, []string{"settlement settlements 20", "settlement receivable -20"}, f.ledger()[2:])
	f.provider(billing.ProviderInvoiceState{Status: "paid"})
	require.Len(t, f.ledger(), 4)
	f.clean()
}

func TestMoneyForAWithdrawnInvoiceBelongsToNothing(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.provider(billing.ProviderInvoiceState{Status: "void"})
	f.answer(1, succeeded)
	require.Equal(t, "-20", f.balance("unapplied"))
	require.Equal(t, "20", f.balance("cash"))
	require.Equal(t, "0", f.balance("receivable"))
}

func TestATransactionOfTheLedgerMustBalance(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	const transaction = `
WITH t AS (INSERT INTO ledger_transactions (org_id, kind, reference, at) VALUES ('acme', 'test', $1, now()) RETURNING id)
INSERT INTO ledger_entries (transaction_id, org_id, account, currency, amount)
SELECT id, 'acme', e.account, e.currency, e.amount
  FROM t, (VALUES `
	for name, entries := range map[string]string{
		"one entry":             `('cash', 'USD', 1)`,
		"a cent over":           `('cash', 'USD', 1.01), ('revenue', 'USD', -1)`,
		"two currencies":        `('cash', 'USD', 1), ('revenue', 'EUR', -1)`,
		"no number":             `('cash', 'USD', 'NaN'::numeric), ('revenue', 'USD', 'NaN'::numeric)`,
		"an endless amount":     `('cash', 'USD', 'Infinity'::numeric), ('revenue', 'USD', '-Infinity'::numeric)`,
		"an account unheard of": `('profit', 'USD', 1), ('revenue', 'USD', -1)`,
		"nothing":               `('cash', 'USD', 0), ('revenue', 'USD', 0)`,
	} {
		_, err := f.pool.Exec(f.ctx, transaction+entries+`) AS e (account, currency, amount)`, name)
		require.Error(t, err, name)
	}
	_, err := f.pool.Exec(f.ctx, `INSERT INTO ledger_transactions (org_id, kind, reference, at) VALUES ('acme', 'test', 'empty', now())`)
	require.ErrorContains(t, err, "needs two or more")
	const sound = `('cash', 'USD', 1), ('revenue', 'USD', -1)) AS e (account, currency, amount)`
	_, err = f.pool.Exec(f.ctx, transaction+sound, "sound")
	require.NoError(t, err)
	_, err = f.pool.Exec(f.ctx, transaction+sound, "sound")
	require.ErrorContains(t, err, "duplicate key", "once by kind and reference")
	_, err = f.pool.Exec(f.ctx, `
INSERT INTO ledger_entries (transaction_id, org_id, account, currency, amount)
SELECT id, 'acme', 'cash', 'USD', 1 FROM ledger_transactions WHERE reference = 'sound'`)
	require.ErrorContains(t, err, "does not balance", "nothing is added later either")
}

func TestTheLedgerOnlyGrows(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	for _, table := range []string{"ledger_transactions", "ledger_entries"} {
		for _, statement := range []string{
			`UPDATE ` + table + ` SET org_id = org_id`, `DELETE FROM ` + table, `TRUNCATE ` + table + ` CASCADE`,
		} {
			_, err := f.pool.Exec(f.ctx, statement)
			require.ErrorContains(t, err, "cannot change", statement)
		}
		for _, privilege := range []string{"UPDATE", "DELETE", "TRUNCATE"} {
			var granted bool
			require.NoError(t, f.pool.QueryRow(f.ctx, `
SELECT EXISTS (SELECT FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
                WHERE c.oid = $1::regclass AND a.grantee = 0 AND a.privilege_type = $2)`, table, privilege).Scan(&granted))
			require.False(t, granted, "%s on %s to everybody", privilege, table)
		}
	}
}

func TestAnInvoiceNeverGoesBack(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	for _, status := range []string{"open", "past_due", "void", "written_off", "carried", "settled"} {
		_, err := f.pool.Exec(f.ctx, `UPDATE invoices SET status = $1`, status)
		require.ErrorContains(t, err, "is paid and cannot become "+status)
	}
	_, err := f.pool.Exec(f.ctx, `UPDATE invoices SET status = 'paid'`)
	require.NoError(t, err)
}

// inCurrency is a fixture whose acme pays in another currency, at the same numbers.
func inCurrency(t *testing.T, currency billing.Currency) *fixture {
	t.Helper()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	book := pricebook.Default()
	book.Currency = currency
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	f.create(billing.Organization{ID: "acme", Currency: currency, StartsAt: october, TestClock: true, Now: october, PaymentMethod: "pm_first"})
	return f
}

// named tells which checks of verify have something to say.
func (f *fixture) named() map[string]bool {
	f.t.Helper()
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(f.t, err)
	named := map[string]bool{}
	for _, d := range found {
		named[d.Check] = true
	}
	return named
}

func TestEveryMilleIsExplainedWhereTheProviderTakesNone(t *testing.T) {
	t.Parallel()
	f := inCurrency(t, "KWD")
	f.seat("u1", "chat", false)
	f.store(use("a", "u1", october, 246_900)) // 1.2345
	f.endOctober()
	require.Equal(t, "21.240 KWD", f.issueOctober().Total.String())
	invoice := f.invoice()
	require.Equal(t, "21.235 KWD", invoice.Subtotal.String())
	last := invoice.Lines[len(invoice.Lines)-1]
	require.Equal(t, billing.KindAdjustment, last.Kind)
	require.Equal(t, "0.005 KWD", last.Amount.String())
	require.Equal(t, "-0.005", f.balance("rounding"))
	f.clean()
	f.publish(octoberInvoice, "in_1")
	f.charge(succeeded)
	require.Equal(t, "21.24", f.balance("cash"))
	require.Equal(t, "0", f.balance("receivable"))
	f.clean()
	f.spoil(`UPDATE invoices SET total = total + 0.001; UPDATE ledger_entries SET amount = 1 WHERE account = 'rounding'`)
	named := f.named()
	require.True(t, named["charge_step"] && named["ledger_rounding"], named)
}

func TestAmountsThatAreCarriedKeepTheirMille(t *testing.T) {
	t.Parallel()
	f := inCurrency(t, "KWD")
	f.store(use("a", "u1", october, 20_300)) // 0.1015, carried
	f.endOctober()
	require.Equal(t, "0.102 KWD", f.issueOctober().Total.String())
	f.store(use("b", "u1", f.now(), 20_000)) // 0.100
	require.Equal(t, "0.200 KWD", f.issueNovember().Total.String())
	require.Equal(t, "0.002", f.balance("rounding"))
	f.clean()
}

func TestYenHaveNoDecimals(t *testing.T) {
	t.Parallel()
	f := inCurrency(t, "JPY")
	f.seat("u1", "chat", false)
	f.store(use("a", "u1", october, 8_099_999)) // 40.499995
	f.endOctober()
	require.Equal(t, "60 JPY", f.issueOctober().Total.String())
	require.Equal(t, "0", f.balance("rounding"))
	f.publish(octoberInvoice, "in_1")
	f.refuses(credited("0.5"), "at most 0 decimal places")
	f.correct(credited("10"))
	f.carryOut()
	f.charge(succeeded)
	require.Equal(t, "50", f.balance("cash"))
	f.clean()
}

func TestACreditThatIsUsedTwiceIsNamed(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	f.correct(credited("15"))
	f.issueNovember()
	f.clean()
	f.spoil(`UPDATE invoice_corrections SET amount = 14`)
	require.Equal(t, map[string]bool{"credit_use": true, "ledger_credits": true, "ledger_revenue": true}, f.named())
}

func TestWhatRemainsIsHeldAgainstTheProviders(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(transferred("5", ""))
	f.carryOut()
	verify := func(remaining string) []postgres.Difference {
		found, err := f.VerifyProvider(f.ctx, "acme", func(context.Context, string) (billing.ProviderInvoiceState, error) {
			return billing.ProviderInvoiceState{
				Status: "open", Total: f.invoice().Total,
				AmountRemaining: billing.Money{Amount: decimal.RequireFromString(remaining), Currency: "USD"},
			}, nil
		})
		require.NoError(t, err)
		return found
	}
	require.Empty(t, verify("15"))
	found := verify("20") // somebody deleted the credit note there
	require.Len(t, found, 1)
	require.Equal(t, "provider_remaining", found[0].Check)
}
