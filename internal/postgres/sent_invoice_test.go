package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

// received is the provider's open invoice of which so much came in.
func received(amount string) billing.ProviderInvoiceState {
	return billing.ProviderInvoiceState{Status: "open", AmountPaid: usd(amount)}
}

// lookAt moves the clock and looks at the provider's invoice, if that is due.
func (f *fixture) lookAt(at time.Time, state billing.ProviderInvoiceState) billing.Collection {
	f.t.Helper()
	f.clock(at)
	step := f.begin()
	if step.Do == billing.StepNone {
		return step.State
	}
	require.Equal(f.t, billing.StepRefresh, step.Do)
	return f.provider(state)
}

func TestASentInvoiceIsRemindedOfByItsTableOnceEach(t *testing.T) {
	t.Parallel()
	f := newPublished(t, bySend(14), func(o *billing.Organization) { o.Reminders = []int{-3, 2, 9} })
	due := issuedAt.AddDate(0, 0, 14)
	state := f.lookAt(issuedAt, stillOpen)
	for _, step := range []struct {
		at   time.Time
		want string // the newest notice
	}{
		{due.AddDate(0, 0, -3), "0 reminder next day 15"},
		{due.AddDate(0, 0, 1), "0 past_due"},
		{due.AddDate(0, 0, 2), "0 reminder next day 15"},
		{due.AddDate(0, 0, 9), "0 reminder next day 15"},
	} {
		require.Equal(t, step.at, state.NextAt)
		require.False(t, state.Over())
		require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected())
		told := len(f.paymentNotices())
		state = f.lookAt(step.at, stillOpen)
		f.provider(stillOpen)
		require.Len(t, f.paymentNotices(), told+1, "once")
		require.Equal(t, step.want, f.paymentNotices()[told])
	}
	require.True(t, state.Over(), "after the last reminder a person decides")
	require.Empty(t, f.expected())
	rows, err := f.PaymentNotices(f.ctx, "acme")
	require.NoError(t, err)
	var told []int
	for _, row := range rows {
		told = append(told, row.Day)
	}
	require.Equal(t, []int{0, -3, 0, 2, 9}, told)
	f.clean()
}

func TestPartOfATransferIsRecordedAndTheRestStaysDue(t *testing.T) {
	t.Parallel()
	f := newPublished(t, bySend(14))
	due := issuedAt.AddDate(0, 0, 14)
	f.lookAt(issuedAt, stillOpen)
	state := f.lookAt(issuedAt.Add(day), received("7.50"))
	require.Equal(t, billing.StatusOpen, state.Status)
	require.Equal(t, "12.50 USD", state.Due.String())
	f.provider(received("7.50")) // told again, it changes nothing
	require.Equal(t, "7.50 USD", f.invoice().AmountPaid.String())
	require.Equal(t, 1, f.count("provider_settlements"))
	require.Equal(t, []string{"provider invoices.paid_in_part " + octoberInvoice}, f.trail(1))
	f.clean()

	state = f.lookAt(due.Add(day-time.Microsecond), received("7.50"))
	require.Equal(t, billing.StatusOpen, state.Status, "the whole of the due date is for paying")
	state = f.lookAt(due.Add(day), received("10.00"))
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.Equal(t, "10.00 USD", state.Due.String())
	rows, err := f.PaymentNotices(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "10.00 USD", rows[len(rows)-1].Amount.String(), "the notice is about the rest")
	f.clean()

	f.event("evt_1", "payment_intent.partially_funded")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	f.provider(received("12.00"))
	f.event("evt_2", "invoice.paid")
	f.begin()
	state = f.provider(billing.ProviderInvoiceState{Status: "paid", AmountPaid: usd("20.00")})
	require.Equal(t, billing.StatusPaid, state.Status)
	require.Equal(t, 4, f.count("provider_settlements"))
	require.Equal(t, "20.00 USD", f.invoice().AmountPaid.String())
	f.clean()
	_, err = f.pool.Exec(f.ctx, `DELETE FROM provider_settlements`)
	require.ErrorContains(t, err, "only grows")
}

func TestACardPaysWhatATransferLeft(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.provider(received("5.00"))
	f.clock(issuedAt.Add(day))
	f.charge(succeeded)
	rows, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "15.00 USD", rows[1].Amount.String())
	require.Equal(t, "20.00 USD", f.invoice().AmountPaid.String())
	f.clean()
}

func TestASentInvoiceWhoseMoneyIsOnItsWayIsNotCalledUnpaid(t *testing.T) {
	t.Parallel()
	f := newPublished(t, bySend(14), suspendAfter(0))
	due := issuedAt.AddDate(0, 0, 14)
	onItsWay := billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentProcessing}
	f.lookAt(issuedAt, stillOpen)
	f.lookAt(due.AddDate(0, 0, -3), stillOpen)
	told := f.paymentNotices()
	for n := range 5 {
		state := f.lookAt(due.Add(time.Duration(n)*day), onItsWay)
		require.Equal(t, billing.StatusOpen, state.Status)
		require.Equal(t, f.now().Add(day), state.NextAt)
	}
	require.Equal(t, told, f.paymentNotices())
	state := f.lookAt(due.Add(5*day), stillOpen)
	require.Equal(t, billing.StatusPastDue, state.Status, "it came back")
	require.Equal(t, billing.SuspendedOverdue, f.suspension())
	f.clean()
}

func TestAPayersOwnDebitPutsOffTheNextCharge(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.event("evt_1", "payment_intent.processing")
	f.clock(issuedAt.Add(day))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state := f.provider(billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentProcessing})
	require.Equal(t, "2", days(state.NextAt))
	require.Equal(t, billing.StepNone, f.begin().Do)
}

func TestAPayerWhoNeverActsIsHandedToAPersonInTheEnd(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	state := f.charge(wantsAction)
	f.clock(state.NextAt)
	require.Equal(t, billing.StepRefresh, f.begin().Do, "perhaps it was done, and nobody said so")
	state = f.provider(billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentRequiresAction, AttemptCount: 1})
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.True(t, state.Over())
	require.Equal(t, []string{"1 action_required next day 14", "1 past_due"}, f.paymentNotices())
	require.Equal(t, []string{"1 requires_action authentication_required"}, f.payments(), "no failed attempt")
	f.clean()
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
}

func TestAnotherMethodNeedNotWaitForThePayer(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(wantsAction)
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
	f.clean()
}

func TestAMethodGoneAtTheProviderIsToldOnce(t *testing.T) {
	t.Parallel()
	gone := billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: billing.FailureNoMethod, PaymentIntentID: "pi_1"}
	f := newPublished(t)
	state := f.charge(gone)
	for state.Status == billing.StatusOpen {
		f.clock(state.NextAt)
		state = f.charge(gone)
	}
	require.Equal(t, []string{"1 no_payment_method next day 1", "8 past_due"}, f.paymentNotices())
	require.Equal(t, billing.FailureNoMethod, state.FailureCode)
	f.clock(issuedAt.AddDate(1, 0, 0))
	require.Equal(t, billing.StepNone, f.begin().Do, "no loop")
	f.clean()
}

func TestAnInvoiceAboveTheCardCeilingIsSentInstead(t *testing.T) {
	t.Parallel()
	low := func(o *billing.Organization) { o.CardCeiling, o.NetDays = decimal.NewFromInt(20), 10 }
	f := newIssued(t, low)
	require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	draft, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.True(t, draft.CardRefused, "20.00 is not below 20")
	for range 2 {
		require.NoError(t, f.SwitchToSentInvoice(f.ctx, octoberInvoice, "too high for a card"))
	}
	require.Equal(t, []string{"arrears invoices.send_instead " + octoberInvoice}, f.trail(1))
	draft, err = f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.False(t, draft.CardRefused)
	require.Equal(t, billing.SendInvoice, draft.Collection)
	f.publish(octoberInvoice, "in_1")
	invoice := f.invoice()
	require.Equal(t, billing.SendInvoice, invoice.Collection)
	require.Equal(t, "too high for a card", invoice.CollectionReason, "why is to be seen")
	require.Equal(t, issuedAt.AddDate(0, 0, 11), *invoice.DueAt)
	require.Equal(t, "2026-11-12", *invoice.DueDate)
	step := f.begin()
	require.Equal(t, billing.StepRefresh, step.Do, "and never charged")
	require.Equal(t, "too high for a card", step.State.Reason)
	f.clean()

	free := newIssued(t, func(o *billing.Organization) { o.CardExempt = true })
	draft, err = free.BeginProviderInvoice(free.ctx, octoberInvoice)
	require.NoError(t, err)
	require.False(t, draft.CardRefused, "exempted")
}

func TestAnInvoiceThatCannotBeSentWaitsForAnAddress(t *testing.T) {
	t.Parallel()
	f := newIssued(t, func(o *billing.Organization) { o.CardCeiling, o.Email = decimal.NewFromInt(20), "" })
	err := f.SwitchToSentInvoice(f.ctx, octoberInvoice, "too high for a card")
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "starter org set acme --email")
	require.Equal(t, billing.ChargeAutomatically, f.invoice().Collection)
	_, err = f.ChangeTerms(f.ctx, "acme", billing.TermsChange{Email: ptr("billing@acme.example")}, tester)
	require.NoError(t, err)
	require.Equal(t, 1, f.nudges("invoice/"+octoberInvoice), "whoever waits for it looks again")
	require.NoError(t, f.SwitchToSentInvoice(f.ctx, octoberInvoice, "too high for a card"))
}

func TestACardSetAfterwardsIsRefusedForGood(t *testing.T) {
	t.Parallel()
	f := newPublished(t, func(o *billing.Organization) { o.CardCeiling = decimal.NewFromInt(20) })
	step := f.begin()
	require.True(t, step.CardRefused)
	require.Equal(t, "cus_1", step.Customer)
	state := f.answer(1, billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: billing.FailureCardCeiling})
	require.Equal(t, billing.StatusPastDue, state.Status)
	f.clean()
}

func TestARestTooSmallToChargeIsLeftToAPerson(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.event("evt_1", "payment_intent.partially_funded")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state := f.provider(received("19.80"))
	for range 2 {
		require.Equal(t, billing.StatusPastDue, state.Status)
		require.True(t, state.Over(), "nothing is left to do by itself, at %s", state.NextAt)
		require.Equal(t, "0.20 USD", state.Due.String())
		f.clock(issuedAt.Add(20 * day)) // behind all days of the dunning table
		step := f.begin()
		require.Equal(t, billing.StepNone, step.Do)
		state = step.State
	}
	require.Equal(t, "1 past_due", f.paymentNotices()[1])
	require.Empty(t, f.expected())
	f.clean()
	f.event("evt_2", "invoice.paid")
	f.begin()
	require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid", AmountPaid: usd("20")}).Status)
	f.clean()
}
