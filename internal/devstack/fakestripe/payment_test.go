package fakestripe_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

func TestADeclineIsAnOutcomeOfTheSameIntent(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_chargeCustomerFail")
	inv := l.finalized(t, c.ID, 1000)
	for attempt := range 2 {
		_, err := l.Invoices.Pay(inv.ID, nil)
		require.Equal(t, http.StatusPaymentRequired, status(err))
		require.Equal(t, stripe.ErrorTypeCard, kind(err))
		require.Equal(t, stripe.ErrorCodeCardDeclined, code(err))
		require.Equal(t, stripe.DeclineCodeGenericDecline, problem(err).DeclineCode)
		require.Equal(t, inv.PaymentIntent.ID, problem(err).PaymentIntent.ID)
		require.NotEmpty(t, problem(err).ChargeID)
		got := l.invoice(t, inv.ID)
		require.Equal(t, stripe.InvoiceStatusOpen, got.Status)
		require.EqualValues(t, 1, got.AttemptCount, "attempts by hand count as the first alone")
		require.Len(t, l.charges(t, c.ID), attempt+1)
		require.Equal(t, inv.PaymentIntent.ID, got.PaymentIntent.ID)
	}
	pi := l.intent(t, inv)
	require.Equal(t, stripe.PaymentIntentStatusRequiresPaymentMethod, pi.Status)
	require.Equal(t, stripe.DeclineCodeGenericDecline, pi.LastPaymentError.DeclineCode)

	good, err := l.PaymentMethods.Attach("pm_card_mastercard", &stripe.PaymentMethodAttachParams{Customer: &c.ID})
	require.NoError(t, err)
	paid, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{PaymentMethod: &good.ID})
	require.NoError(t, err)
	require.True(t, paid.Paid)
	charges := l.charges(t, c.ID)
	require.Len(t, charges, 3)
	require.Equal(t, stripe.ChargeStatusSucceeded, charges[0].Status)
	require.Equal(t, stripe.ChargeStatusFailed, charges[1].Status)
	require.Len(t, l.events(t, "invoice.payment_failed"), 2)
	require.Len(t, l.events(t, "charge.failed"), 2)
}

func TestCardsAreDeclinedAsStripeDocumentsThem(t *testing.T) {
	t.Parallel()
	l := start(t)
	for method, want := range map[string]stripe.Error{
		"pm_card_visa_chargeDeclined":                  {Code: "card_declined", DeclineCode: "generic_decline"},
		"pm_card_visa_chargeDeclinedInsufficientFunds": {Code: "card_declined", DeclineCode: "insufficient_funds"},
		"pm_card_visa_chargeDeclinedLostCard":          {Code: "card_declined", DeclineCode: "lost_card"},
		"pm_card_visa_chargeDeclinedStolenCard":        {Code: "card_declined", DeclineCode: "stolen_card"},
		"pm_card_chargeDeclinedExpiredCard":            {Code: "expired_card", DeclineCode: "expired_card"},
		"pm_card_chargeDeclinedProcessingError":        {Code: "processing_error", DeclineCode: "processing_error"},
		"pm_card_chargeDeclinedIncorrectCvc":           {Code: "incorrect_cvc", DeclineCode: "incorrect_cvc"},
	} {
		c := l.customer(t, "")
		_, err := l.PaymentMethods.Attach(method, &stripe.PaymentMethodAttachParams{Customer: &c.ID})
		require.Equal(t, http.StatusPaymentRequired, status(err), method)
		require.Equal(t, want.Code, code(err), method)
		require.Equal(t, want.DeclineCode, problem(err).DeclineCode, method)
	}
	c := l.customer(t, "pm_local_card_insufficient_funds")
	_, err := l.Invoices.Pay(l.finalized(t, c.ID, 1000).ID, nil)
	require.Equal(t, stripe.DeclineCodeInsufficientFunds, problem(err).DeclineCode)
}

func TestABankCanDeclineOnOrder(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.finalized(t, l.customer(t, "pm_card_visa").ID, 1000)
	l.server.Inject(fakestripe.Fault{Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultDecline, Code: "lost_card"})
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, stripe.DeclineCodeLostCard, problem(err).DeclineCode)
	_, err = l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
}

func TestWithoutAMethodNothingIsAttempted(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, http.StatusBadRequest, status(err))
	require.Contains(t, problem(err).Msg, "There is no `default_payment_method` set")
	_, err = l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{PaymentMethod: str("pm_card_visa")})
	require.Contains(t, problem(err).Msg, "must be attached to the customer")
	require.Zero(t, l.invoice(t, inv.ID).AttemptCount)
}

func TestTheMethodOfTheInvoiceComesBeforeThatOfTheCustomer(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_chargeCustomerFail")
	own, err := l.PaymentMethods.Attach("pm_card_amex", &stripe.PaymentMethodAttachParams{Customer: &c.ID})
	require.NoError(t, err)
	inv := l.draft(t, c.ID, 1000)
	_, err = l.Invoices.Update(inv.ID, &stripe.InvoiceParams{DefaultPaymentMethod: &own.ID})
	require.NoError(t, err)
	paid, err := l.Invoices.Pay(inv.ID, nil) // a draft is finalised on the way
	require.NoError(t, err)
	require.Equal(t, stripe.InvoiceStatusPaid, paid.Status)
	require.Equal(t, own.ID, l.charges(t, c.ID)[0].PaymentMethod)

	_, err = l.PaymentMethods.Detach(own.ID, nil)
	require.NoError(t, err)
	_, err = l.PaymentMethods.Attach(own.ID, &stripe.PaymentMethodAttachParams{Customer: &c.ID})
	require.Equal(t, http.StatusBadRequest, status(err))
	it := l.PaymentMethods.List(&stripe.PaymentMethodListParams{Customer: &c.ID})
	require.True(t, it.Next())
	require.NotEqual(t, own.ID, it.PaymentMethod().ID)
	require.False(t, it.Next())
}

func TestAuthenticationIsAskedOfTheCustomer(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_authenticationRequired")

	absent := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(absent.ID, &stripe.InvoicePayParams{OffSession: stripe.Bool(true)})
	require.Equal(t, http.StatusPaymentRequired, status(err))
	require.Equal(t, stripe.ErrorCodeAuthenticationRequired, code(err))

	present := l.finalized(t, c.ID, 2000)
	_, err = l.Invoices.Pay(present.ID, &stripe.InvoicePayParams{OffSession: stripe.Bool(false)})
	require.Equal(t, http.StatusPaymentRequired, status(err))
	require.Equal(t, stripe.ErrorCodeInvoicePaymentIntentRequiresAction, code(err))
	require.Equal(t, stripe.PaymentIntentStatusRequiresAction, l.intent(t, present).Status)
	require.Len(t, l.events(t, "invoice.payment_action_required"), 2)

	for _, inv := range []*stripe.Invoice{absent, present} {
		l.post(t, "/_local/payment_intents/"+inv.PaymentIntent.ID+"/authenticate", "outcome=success")
		require.Equal(t, stripe.InvoiceStatusPaid, l.invoice(t, inv.ID).Status)
	}
}

func TestABankDebitSettlesFourDaysLater(t *testing.T) {
	t.Parallel()
	l := start(t)
	for method, want := range map[string]stripe.PaymentIntentStatus{
		"pm_usBankAccount_success":           stripe.PaymentIntentStatusSucceeded,
		"pm_usBankAccount_insufficientFunds": stripe.PaymentIntentStatusRequiresPaymentMethod,
		"pm_usBankAccount_processing":        stripe.PaymentIntentStatusProcessing,
	} {
		c := l.customer(t, method)
		inv := l.finalized(t, c.ID, 1000)
		open, err := l.Invoices.Pay(inv.ID, nil)
		require.NoError(t, err)
		require.Equal(t, stripe.InvoiceStatusOpen, open.Status)
		require.True(t, open.Attempted)
		require.Equal(t, stripe.PaymentIntentStatusProcessing, l.intent(t, inv).Status)
		_, err = l.Invoices.Pay(inv.ID, nil)
		require.Equal(t, http.StatusBadRequest, status(err), "no second attempt beside the first")
		l.wall.pass(4*day - time.Hour)
		require.Equal(t, stripe.PaymentIntentStatusProcessing, l.intent(t, inv).Status)
		l.wall.pass(time.Hour)
		require.Equal(t, want, l.intent(t, inv).Status, method)
		require.Equal(t, want == stripe.PaymentIntentStatusSucceeded, l.invoice(t, inv.ID).Paid, method)
		require.Len(t, l.charges(t, c.ID), 1)
	}
}

func TestMoneyGoesBackByRefundsAndCreditNotes(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 1000, 500)
	credited, err := l.CreditNotes.New(&stripe.CreditNoteParams{Invoice: &inv.ID, Amount: stripe.Int64(200), Reason: str("order_change")})
	require.NoError(t, err)
	require.Equal(t, inv.Number+"-CN-01", credited.Number)
	inv, err = l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1300, inv.AmountPaid)
	require.EqualValues(t, 200, inv.PrePaymentCreditNotesAmount)

	_, err = l.CreditNotes.New(&stripe.CreditNoteParams{Invoice: &inv.ID, Amount: stripe.Int64(100)})
	require.Equal(t, http.StatusBadRequest, status(err), "a paid invoice must be told where the money goes")
	note, err := l.CreditNotes.New(&stripe.CreditNoteParams{
		Invoice: &inv.ID, RefundAmount: stripe.Int64(300), CreditAmount: stripe.Int64(200),
		Lines: []*stripe.CreditNoteLineParams{{
			Type: str("invoice_line_item"), InvoiceLineItem: &inv.Lines.Data[1].ID, Amount: stripe.Int64(500),
		}},
	})
	require.NoError(t, err)
	require.EqualValues(t, 500, note.Total)
	require.NotNil(t, note.Refund)
	got, err := l.Customers.Get(c.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, -200, got.Balance)

	_, err = l.Refunds.New(&stripe.RefundParams{PaymentIntent: &inv.PaymentIntent.ID, Amount: stripe.Int64(1001)})
	require.Equal(t, http.StatusBadRequest, status(err), "1000 of 1300 are left")
	_, err = l.Refunds.New(&stripe.RefundParams{Charge: &inv.Charge.ID})
	require.NoError(t, err)
	require.True(t, l.charges(t, c.ID)[0].Refunded)
	require.Equal(t, stripe.InvoiceStatusPaid, l.invoice(t, inv.ID).Status)

	open := l.finalized(t, c.ID, 1000)
	_, err = l.CreditNotes.New(&stripe.CreditNoteParams{Invoice: &open.ID, Amount: stripe.Int64(800)})
	require.NoError(t, err)
	require.Equal(t, stripe.InvoiceStatusPaid, l.invoice(t, open.ID).Status, "800 and the balance of 200 cover it")
}

func TestACreditNoteOnAnOpenInvoiceCanBeVoided(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.finalized(t, l.customer(t, "pm_card_visa").ID, 1000)
	note, err := l.CreditNotes.New(&stripe.CreditNoteParams{Invoice: &inv.ID, Amount: stripe.Int64(400)})
	require.NoError(t, err)
	require.EqualValues(t, 600, l.invoice(t, inv.ID).AmountRemaining)
	note, err = l.CreditNotes.VoidCreditNote(note.ID, nil)
	require.NoError(t, err)
	require.Equal(t, stripe.CreditNoteStatusVoid, note.Status)
	require.EqualValues(t, 1000, l.invoice(t, inv.ID).AmountRemaining)
	_, err = l.CreditNotes.VoidCreditNote(note.ID, nil)
	require.Error(t, err)
	_, err = l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1000, l.available(t))
}
