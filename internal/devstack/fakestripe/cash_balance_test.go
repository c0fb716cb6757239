package fakestripe_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// sent is an open invoice that waits for a bank transfer.
func (l *local) sent(t *testing.T, customer string, amount int64) *stripe.Invoice {
	t.Helper()
	inv := l.draft(t, customer, amount)
	_, err := l.Invoices.Update(inv.ID, &stripe.InvoiceParams{CollectionMethod: str("send_invoice"), DaysUntilDue: stripe.Int64(30)})
	require.NoError(t, err)
	inv, err = l.Invoices.FinalizeInvoice(inv.ID, nil)
	require.NoError(t, err)
	return inv
}

func (l *local) transfer(t *testing.T, customer string, amount int64, reference string) {
	t.Helper()
	p := &stripe.TestHelpersCustomerFundCashBalanceParams{Amount: stripe.Int64(amount), Currency: str("usd")}
	if reference != "" {
		p.Reference = &reference
	}
	_, err := l.TestHelpersCustomers.FundCashBalance(customer, p)
	require.NoError(t, err)
}

func (l *local) cash(t *testing.T, customer string) int64 {
	t.Helper()
	have, err := l.CashBalances.Get(&stripe.CashBalanceParams{Customer: &customer})
	require.NoError(t, err)
	return have.Available["usd"]
}

func TestBankTransfersPayInvoicesInPartAndInFull(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	inv := l.sent(t, c.ID, 10_000)
	l.transfer(t, c.ID, 4000, "")
	part := l.invoice(t, inv.ID)
	require.Equal(t, stripe.InvoiceStatusOpen, part.Status)
	require.EqualValues(t, 4000, part.AmountPaid)
	require.EqualValues(t, 6000, part.AmountRemaining)
	require.Equal(t, stripe.PaymentIntentStatusRequiresAction, l.intent(t, part).Status)
	require.EqualValues(t, 6000, l.intent(t, part).NextAction.DisplayBankTransferInstructions.AmountRemaining)
	_, err := l.Invoices.VoidInvoice(inv.ID, nil)
	require.Error(t, err, "what is paid in part cannot be voided")
	_, err = l.Invoices.Pay(inv.ID, nil)
	require.Error(t, err)

	l.transfer(t, c.ID, 7000, "")
	whole := l.invoice(t, inv.ID)
	require.True(t, whole.Paid)
	require.EqualValues(t, 10_000, whole.AmountPaid)
	require.EqualValues(t, 1000, l.cash(t, c.ID), "an overpayment stays with the customer")
	require.EqualValues(t, 10_000, l.charges(t, c.ID)[0].Amount)

	later := l.sent(t, c.ID, 5000)
	require.EqualValues(t, 4000, l.invoice(t, later.ID).AmountRemaining, "and pays the next invoice")
	require.Zero(t, l.cash(t, c.ID))
	require.Equal(t, []string{"payment_intent.partially_funded", "payment_intent.partially_funded"}, l.events(t, "payment_intent.partially_funded"))
	var moves []int64
	for it := l.CustomerCashBalanceTransactions.List(&stripe.CustomerCashBalanceTransactionListParams{Customer: &c.ID}); it.Next(); {
		moves = append(moves, it.CustomerCashBalanceTransaction().NetAmount)
	}
	require.Equal(t, []int64{-1000, -6000, 7000, -4000, 4000}, moves)
}

func TestATransferFindsItsInvoice(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	charged := l.finalized(t, c.ID, 700)
	first, second, third := l.sent(t, c.ID, 1000), l.sent(t, c.ID, 2000), l.sent(t, c.ID, 3000)
	l.transfer(t, c.ID, 2000, "")
	require.True(t, l.invoice(t, second.ID).Paid, "one that asks for exactly as much")
	l.transfer(t, c.ID, 500, third.Number)
	require.EqualValues(t, 2500, l.invoice(t, third.ID).AmountRemaining, "the one that it names")
	l.transfer(t, c.ID, 600, "")
	require.EqualValues(t, 400, l.invoice(t, first.ID).AmountRemaining, "the oldest")
	require.EqualValues(t, 700, l.invoice(t, charged.ID).AmountRemaining, "what is charged waits for no transfer")
}

func TestTheRestOfATransferIsCreditedOrPaidElsewhere(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	credited, elsewhere := l.sent(t, c.ID, 1000), l.sent(t, c.ID, 2000)
	l.transfer(t, c.ID, 900, credited.Number)
	l.transfer(t, c.ID, 1500, elsewhere.Number)
	_, err := l.CreditNotes.New(&stripe.CreditNoteParams{Invoice: &credited.ID, Amount: stripe.Int64(100)})
	require.NoError(t, err)
	_, err = l.Invoices.Pay(elsewhere.ID, &stripe.InvoicePayParams{PaidOutOfBand: stripe.Bool(true)})
	require.NoError(t, err)
	require.True(t, l.invoice(t, credited.ID).Paid)
	require.EqualValues(t, 900, l.invoice(t, credited.ID).AmountPaid)
	require.True(t, l.invoice(t, elsewhere.ID).PaidOutOfBand)
	require.EqualValues(t, 2400, l.available(t), "only what came through Stripe")
}

func TestCashSurvivesARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	first, stop := run(t, file)
	c := first.customer(t, "")
	first.transfer(t, c.ID, 900, "")
	stop()
	l := startWith(t, fakestripe.Options{StateFile: file})
	require.EqualValues(t, 900, l.cash(t, c.ID))
}
