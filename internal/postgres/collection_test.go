package postgres_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

const day = 24 * time.Hour

func TestAnAttemptIsRecordedBeforeItIsMadeAndNoOtherWhileItIsUnknown(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	installation, err := f.Installation(f.ctx)
	require.NoError(t, err)

	first := f.begin()
	require.Equal(t, billing.StepCharge, first.Do)
	require.Equal(t, 1, first.Attempt)
	require.Equal(t, "in_1", first.StripeInvoice)
	require.Equal(t, "pm_first", first.PaymentMethod)
	require.Equal(t, "20.00 USD", first.Total.String())
	require.Equal(t, "pay/"+installation+"/acme/2026-10-01/1", first.IdempotencyKey)
	require.WithinDuration(t, time.Now(), first.StartedAt, time.Minute)
	require.Equal(t, []string{"1 unknown"}, f.payments())

	f.clock(issuedAt.Add(3 * day)) // whatever falls due meanwhile
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	again := f.begin()
	require.Equal(t, billing.StepResolve, again.Do)
	require.Equal(t, billing.PaymentUnknown, again.State.Payment)
	again.Do, again.State = first.Do, first.State
	require.Equal(t, first, again, "the same attempt under the same key")

	state := f.answer(1, succeeded)
	require.Equal(t, billing.StatusPaid, state.Status)
	require.True(t, state.Over())
	require.Zero(t, state.Notices)
	require.Equal(t, []string{"1 succeeded"}, f.payments())
	require.Empty(t, f.paymentNotices(), "nobody heard of it, so nobody needs to hear that it is over")
	invoice := f.invoice()
	require.Equal(t, "20.00 USD", invoice.AmountPaid.String())
	require.Equal(t, "0.00 USD", invoice.AmountDue.String())
	require.Equal(t, billing.StepNone, f.begin().Do)
	f.clean()
}

func TestRecordingAnOutcomeAgainChangesNothing(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	declined := f.charge(insufficient)
	require.Equal(t, declined, f.answer(1, insufficient))
	require.Equal(t, []string{"1 payment_failed next day 1"}, f.paymentNotices())
	f.clock(issuedAt.Add(day))
	f.charge(succeeded)
	f.clock(issuedAt.Add(2 * day))
	for _, late := range []billing.ChargeResult{succeeded, insufficient, processing, wantsAction, {Status: billing.PaymentUnknown}} {
		require.Equal(t, billing.StatusPaid, f.answer(2, late).Status, "paid is final")
		require.Equal(t, billing.StatusPaid, f.answer(1, insufficient).Status)
	}
	require.Equal(t, []string{"1 failed insufficient_funds", "2 succeeded"}, f.payments())
	require.Equal(t, []string{"1 payment_failed next day 1", "2 paid"}, f.paymentNotices())
	_, err := f.RecordCharge(f.ctx, octoberInvoice, 3, succeeded)
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.RecordCharge(f.ctx, octoberInvoice, 1, billing.ChargeResult{Status: billing.PaymentSucceeded, PaymentIntentID: "pi_1"})
	require.NoError(t, err, "the provider's payment is the one that is known")
	require.Equal(t, []string{"1 failed insufficient_funds", "2 succeeded"}, f.payments())
	f.clean()
}

func TestAFailureThatTurnsOutToBeASuccessIsOne(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	require.Equal(t, billing.StatusPaid, f.answer(1, succeeded).Status)
	require.Equal(t, []string{"1 succeeded"}, f.payments())
	f.clean()
}

func TestADeclinedInvoiceIsChargedByTheDunningTableAndThenPastDue(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	for i, next := range []string{"1", "3", "5", "7", "10", "12", "14"} {
		state := f.charge(insufficient)
		require.Equal(t, billing.StatusOpen, state.Status)
		require.Equal(t, i+1, state.Attempt)
		require.Equal(t, 8, state.Attempts)
		require.Equal(t, "20.00 USD", state.Due.String())
		require.Equal(t, next, days(state.NextAt))
		require.Equal(t, fmt.Sprintf("attempt %d of 8", i+2), state.NextWhat)

		f.clock(state.NextAt.Add(-time.Microsecond))
		waits := f.begin()
		require.Equal(t, billing.StepNone, waits.Do, "not before its time")
		require.Equal(t, state, waits.State)
		f.clock(state.NextAt)
	}
	state := f.charge(insufficient)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.True(t, state.Over(), "it waits for a person")
	require.Equal(t, []string{
		"1 payment_failed next day 1", "2 payment_failed next day 3", "3 payment_failed next day 5",
		"4 payment_failed next day 7", "5 payment_failed next day 10", "6 payment_failed next day 12",
		"7 payment_failed next day 14", "8 payment_failed", "8 past_due",
	}, f.paymentNotices())
	f.clock(issuedAt.Add(100 * day))
	require.Equal(t, billing.StepNone, f.begin().Do)
	require.Equal(t, "20.00 USD", f.invoice().AmountDue.String())
	f.clean()

	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	state = f.charge(insufficient)
	require.Equal(t, billing.StatusPastDue, state.Status, "one attempt for one request")
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
	f.clean()
}

func TestAHardDeclineIsNotRepeatedUntilThereIsAnotherMethod(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	state := f.charge(stolen)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.Equal(t, []string{"1 payment_failed", "1 past_due"}, f.paymentNotices())
	f.clock(issuedAt.Add(6 * day))
	require.Equal(t, billing.StepNone, f.begin().Do)

	retried, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	require.Equal(t, []string{octoberInvoice}, retried)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	step := f.begin()
	require.Equal(t, billing.StepCharge, step.Do)
	require.Equal(t, "pm_second", step.PaymentMethod)
	state = f.answer(2, insufficient)
	require.Equal(t, billing.StatusOpen, state.Status, "the rest of the table is open to the new method")
	require.Equal(t, "7", days(state.NextAt), "but the days that passed meanwhile are gone")
	require.Equal(t, "attempt 5 of 8", state.NextWhat)
	f.clock(state.NextAt)
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
	f.clean()
}

func TestANewMethodBurnsNoDayOfTheTable(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.clock(issuedAt.Add(12 * time.Hour))
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	state := f.charge(insufficient)
	require.Equal(t, "1", days(state.NextAt))
	require.Equal(t, "attempt 2 of 8", state.NextWhat)
	require.Equal(t, 2, state.Attempt)
	f.clock(issuedAt.Add(day))
	require.Equal(t, "3", days(f.charge(insufficient).NextAt))
}

func TestANewMethodWhileAnAttemptIsUnderWayIsTriedNext(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]billing.ChargeResult{"declined": insufficient, "declined for good": stolen} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPublished(t)
			require.Equal(t, billing.StepCharge, f.begin().Do)
			_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
			require.NoError(t, err)
			state := f.answer(1, outcome)
			require.Equal(t, billing.StatusOpen, state.Status)
			require.Equal(t, issuedAt, state.NextAt, "at once")
			require.Equal(t, []string{"1 payment_failed next day 0"}, f.paymentNotices())
			step := f.begin()
			require.Equal(t, billing.StepCharge, step.Do)
			require.Equal(t, "pm_second", step.PaymentMethod)
			f.answer(2, succeeded)
			f.clean()
		})
	}
}

func TestAnOutageOfDaysIsNotMadeUpForInARow(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.clock(issuedAt.Add(8 * day)) // nobody charged on days 1, 3, 5 and 7
	state := f.charge(insufficient)
	require.Equal(t, "10", days(state.NextAt))
	f.clock(issuedAt.Add(30 * day))
	state = f.charge(insufficient)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.Len(t, f.payments(), 3)
}

func TestWithoutAPaymentMethodTheTableRunsAllTheSame(t *testing.T) {
	t.Parallel()
	f := newPublished(t, func(o *billing.Organization) { o.PaymentMethod = "" })
	require.ErrorIs(t, f.RequestRetry(f.ctx, octoberInvoice, tester), billing.ErrConflict)
	for _, next := range []string{"1", "3", "5", "7", "10", "12", "14"} {
		step := f.begin()
		require.Equal(t, billing.StepNone, step.Do, "the provider is not asked")
		require.Equal(t, next, days(step.State.NextAt))
		require.Equal(t, billing.StepNone, f.begin().Do)
		f.clock(step.State.NextAt)
	}
	require.Equal(t, billing.StatusPastDue, f.begin().State.Status)
	require.Len(t, f.payments(), 8)
	require.Equal(t, "8 failed no_payment_method", f.payments()[7])
	require.Equal(t, []string{"1 no_payment_method next day 1", "8 past_due"}, f.paymentNotices(), "told once, and at the end")
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_first", tester)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
	f.clean()
}

func TestAChargeThatWasNeverMadeUsesUpNothing(t *testing.T) {
	t.Parallel()
	never := billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "not_attempted"}
	f := newPublished(t)
	f.begin()
	f.clock(issuedAt.Add(60 * time.Hour))
	state := f.answer(1, never)
	require.Equal(t, f.now(), state.NextAt)
	require.Equal(t, "attempt 1 of 8", state.NextWhat)
	require.Empty(t, f.paymentNotices(), "nothing that would concern anybody")
	state = f.charge(insufficient)
	require.Equal(t, 2, state.Attempt)
	require.Equal(t, "3.5", days(state.NextAt), "the table begins with the first attempt that was made")

	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	require.Equal(t, 3, f.begin().Attempt)
	state = f.answer(3, never)
	require.Equal(t, f.now(), state.NextAt, "what was asked for is still asked for")
	require.Equal(t, 4, f.charge(insufficient).Attempt)
	require.Equal(t, "3.5", days(f.begin().State.NextAt))
	f.clean()
}

func TestACustomerWhoMustActIsToldOnceAndMayPayAtTheProvider(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	state := f.charge(wantsAction)
	require.Equal(t, billing.StatusOpen, state.Status)
	require.Equal(t, billing.PaymentRequiresAction, state.Payment)
	require.Equal(t, "14", days(state.NextAt), "as long as it would have been charged again")
	require.Equal(t, []string{"1 action_required next day 14"}, f.paymentNotices())
	for _, days := range []int{1, 3, 7, 13} {
		f.clock(issuedAt.AddDate(0, 0, days))
		require.Equal(t, billing.StepNone, f.begin().Do, "the bank is not asked again meanwhile")
	}

	f.event("evt_1", "invoice.paid")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state = f.provider(billing.ProviderInvoiceState{Status: "paid", PaymentStatus: billing.PaymentSucceeded, Charges: 1, PaymentIntentID: "pi_1"})
	require.Equal(t, billing.StatusPaid, state.Status)
	require.Equal(t, []string{"1 succeeded"}, f.payments())
	f.clean()
}

func TestADebitOnItsWayIsOneAttempt(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	state := f.charge(processing)
	require.Equal(t, billing.StatusOpen, state.Status)
	require.Equal(t, "1", days(state.NextAt))
	for n := range 5 {
		f.clock(issuedAt.Add(time.Duration(n+1) * day))
		step := f.begin()
		require.Equal(t, billing.StepResolve, step.Do)
		require.Equal(t, billing.PaymentProcessing, step.State.Payment)
		state = f.answer(1, processing)
		require.Equal(t, f.now().Add(day), state.NextAt)
	}
	require.Empty(t, f.paymentNotices(), "no word of it being unpaid meanwhile")
	state = f.answer(1, billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "debit_not_authorized"})
	require.Equal(t, "7", days(state.NextAt))
	f.clock(state.NextAt)
	f.charge(processing)
	require.Equal(t, billing.StatusPaid, f.answer(2, succeeded).Status)
	f.clean()
}

func TestAnUnansweredAttemptIsDecidedByWhatTheProviderSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state    billing.ProviderInvoiceState
		payments []string
		status   billing.InvoiceStatus
	}{
		"paid by a charge": {
			billing.ProviderInvoiceState{Status: "paid", PaymentStatus: billing.PaymentSucceeded, Charges: 1, AttemptCount: 1},
			[]string{"1 succeeded"},
			billing.StatusPaid,
		},
		"paid otherwise": {
			billing.ProviderInvoiceState{Status: "paid"},
			[]string{"1 failed settled_otherwise"},
			billing.StatusPaid,
		},
		"void": {
			billing.ProviderInvoiceState{Status: "void"},
			[]string{"1 failed settled_otherwise"},
			billing.StatusVoid,
		},
		"uncollectible": {
			billing.ProviderInvoiceState{Status: "uncollectible"},
			[]string{"1 failed settled_otherwise"},
			billing.StatusWrittenOff,
		},
		"declined": {
			billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentFailed, FailureCode: "card_declined", AttemptCount: 1},
			[]string{"1 failed card_declined"},
			billing.StatusOpen,
		},
		"on its way": {
			billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentProcessing, AttemptCount: 1},
			[]string{"1 processing"},
			billing.StatusOpen,
		},
		"an earlier attempt's failure": {
			billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentFailed, FailureCode: "card_declined"},
			[]string{"1 unknown"},
			billing.StatusOpen,
		},
		"nothing": {
			billing.ProviderInvoiceState{Status: "open"},
			[]string{"1 unknown"},
			billing.StatusOpen,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPublished(t)
			f.begin()
			state := f.provider(c.state)
			require.Equal(t, c.status, state.Status)
			require.Equal(t, c.payments, f.payments())
			require.Equal(t, state, f.provider(c.state), "again changes nothing")
			if c.status != billing.StatusVoid { // a closed period without a live invoice is a finding
				f.clean()
			}
		})
	}
}

func TestTheProvidersCountOfAttemptsTellsANewFailureFromAnOldOne(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	require.Zero(t, f.begin().AttemptsBefore)
	f.answer(1, insufficient)
	f.clock(issuedAt.Add(day))
	step := f.begin()
	require.EqualValues(t, 1, step.AttemptsBefore)
	old := billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentFailed, FailureCode: "insufficient_funds", AttemptCount: 1}
	f.provider(old)
	require.Equal(t, "2 unknown", f.payments()[1])
	old.AttemptCount, old.FailureCode = 2, "expired_card"
	f.provider(old)
	require.Equal(t, "2 failed expired_card", f.payments()[1])
	f.clock(issuedAt.Add(3 * day))
	require.EqualValues(t, 2, f.begin().AttemptsBefore)
}

func TestWhatPeopleDoAtTheProviderIsTakenOver(t *testing.T) {
	t.Parallel()
	actions := func(f *fixture) []string {
		entries, err := f.AuditTrail(f.ctx, "acme", 1)
		require.NoError(f.t, err)
		return []string{entries[0].Actor, entries[0].Action, entries[0].Subject}
	}
	t.Run("withdrawn", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		f.charge(insufficient)
		f.event("evt_1", "invoice.voided")
		require.Equal(t, billing.StepRefresh, f.begin().Do)
		require.Equal(t, billing.StatusVoid, f.provider(billing.ProviderInvoiceState{Status: "void"}).Status)
		require.Equal(t, []string{"provider", "invoices.void", octoberInvoice}, actions(f))
		f.clock(issuedAt.Add(day))
		require.Equal(t, billing.StepNone, f.begin().Do, "dunning has stopped")
		found, err := f.Verify(f.ctx, "acme", "")
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, "period_invoiced", found[0].Check, "and the month is billed by nothing now")
	})
	t.Run("given up", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		f.charge(insufficient)
		f.event("evt_1", "invoice.marked_uncollectible")
		f.begin()
		require.Equal(t, billing.StatusWrittenOff, f.provider(billing.ProviderInvoiceState{Status: "uncollectible"}).Status)
		require.Equal(t, []string{"provider", "invoices.write_off", octoberInvoice}, actions(f))
		require.ErrorIs(t, f.RequestRetry(f.ctx, octoberInvoice, tester), billing.ErrConflict)
		f.clean()

		f.event("evt_2", "invoice.paid")
		require.Equal(t, billing.StepRefresh, f.begin().Do, "money may come all the same")
		require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1}).Status)
		f.clean()
	})
	t.Run("marked paid", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		f.charge(insufficient)
		f.event("evt_1", "invoice.paid")
		f.begin()
		require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid"}).Status)
		require.Equal(t, []string{"provider", "invoices.paid", octoberInvoice}, actions(f))
		require.Equal(t, []string{"1 failed insufficient_funds"}, f.payments(), "it is no payment of ours")
		require.Equal(t, "0 paid", f.paymentNotices()[1])
		f.clean()
	})
	t.Run("what a withdrawn invoice carried goes onto the next", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.store(use("a", "u1", october, 60_000))
		f.endOctober()
		f.issueOctober()
		f.store(use("b", "u1", october.AddDate(0, 1, 0), 60_000))
		f.clock(october.AddDate(0, 2, 1))
		_, err := f.Accrue(f.ctx, "acme", "2026-11-01")
		require.NoError(t, err)
		f.clock(october.AddDate(0, 2, 2))
		_, err = f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
		require.NoError(t, err)
		f.publish("acme/2026-11-01", "in_2")
		f.clean()
		_, err = f.RecordProviderState(f.ctx, "acme/2026-11-01", billing.ProviderInvoiceState{StripeID: "in_2", Status: "void"})
		require.NoError(t, err)
		var into *string
		require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT carried_into FROM invoices WHERE id = $1`, octoberInvoice).Scan(&into))
		require.Nil(t, into)
	})
}

func TestAPaymentOnTheProvidersPageIsAPaymentOfItsOwn(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.event("evt_1", "invoice.paid")
	f.clock(issuedAt.Add(day)) // the next attempt is due, too
	step := f.begin()
	require.Equal(t, billing.StepRefresh, step.Do, "a last look before charging")
	f.provider(billing.ProviderInvoiceState{
		Status: "paid", PaymentStatus: billing.PaymentSucceeded, Charges: 1, PaymentIntentID: "pi_1",
		PaidAt: issuedAt.Add(20 * time.Hour),
	})
	require.Equal(t, []string{"1 failed insufficient_funds", "2 succeeded"}, f.payments())
	var paidAt time.Time
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT paid_at FROM invoices`).Scan(&paidAt))
	require.Equal(t, issuedAt.Add(20*time.Hour), paidAt.UTC())
	f.clean()
}

func TestAnInvoiceIsPaidInTheOrganisationsTime(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]time.Time{
		"not said": {}, "ahead of the organisation's clock": issuedAt.Add(400 * day), "before the invoice was": issuedAt.Add(-400 * day),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPublished(t)
			f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1, PaidAt: said})
			var paidAt time.Time
			require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT paid_at FROM invoices`).Scan(&paidAt))
			require.Equal(t, issuedAt, paidAt.UTC())
		})
	}
}

func TestALookThatFindsNothingLeavesTheAttemptDue(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.event("evt_1", "invoice.payment_failed")
	f.clock(issuedAt.Add(day))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	require.Equal(t, billing.StepRefresh, f.begin().Do, "until an answer is recorded")
	f.event("evt_2", "invoice.payment_failed") // while the provider is asked
	open := billing.ProviderInvoiceState{Status: "open", PaymentStatus: billing.PaymentFailed, AttemptCount: 1}
	require.Equal(t, f.now(), f.provider(open).NextAt)
	require.Equal(t, billing.StepRefresh, f.begin().Do, "what came after the question is not answered")
	f.provider(open)
	require.Equal(t, billing.StepCharge, f.begin().Do)
}

func TestALookAtAPastDueInvoiceLeavesTheRequestForAnotherAttempt(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(stolen)
	f.event("evt_1", "invoice.payment_failed")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	open := billing.ProviderInvoiceState{Status: "open"}
	require.True(t, f.provider(open).Over(), "nothing was asked for")
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	f.event("evt_2", "invoice.payment_failed")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state := f.provider(open)
	require.False(t, state.Over(), "there is something to do")
	require.Equal(t, f.now(), state.NextAt)
	require.Equal(t, billing.StepCharge, f.begin().Do)
}

func TestASentInvoiceWaitsForItsDueDateAndTheProvidersWord(t *testing.T) {
	t.Parallel()
	open := billing.ProviderInvoiceState{Status: "open"}
	f := newPublished(t, bySend(14))
	due := issuedAt.AddDate(0, 0, 14)
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state := f.provider(open)
	require.Equal(t, billing.StatusOpen, state.Status)
	require.Equal(t, due.AddDate(0, 0, -3), state.NextAt)
	require.Equal(t, "the payer is reminded", state.NextWhat)

	f.clock(due.AddDate(0, 0, 1))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	state = f.provider(open)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.Equal(t, []string{"0 invoice_sent next day 15", "0 past_due"}, f.paymentNotices(), "no reminder of what has passed")
	require.Equal(t, billing.StepNone, f.begin().Do)
	f.clean()

	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	require.Equal(t, billing.StepRefresh, f.begin().Do, "nothing to charge, but a look can be asked for")
	require.Equal(t, billing.StatusPastDue, f.provider(open).Status)
	require.Equal(t, billing.StepNone, f.begin().Do)

	f.clock(due.Add(5 * day))
	f.event("evt_1", "invoice.paid")
	require.Equal(t, 2, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, billing.StepRefresh, f.begin().Do, "late money is money")
	require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid"}).Status)
	require.Equal(t, "0 paid", f.paymentNotices()[2])
	f.clean()
}

func TestCollectionBeginsOnceTheInvoiceIsAtTheProvider(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	step := f.begin()
	require.Equal(t, billing.StepNone, step.Do)
	require.False(t, step.State.Over())
	require.True(t, step.State.NextAt.After(f.now()))
	_, err := f.BeginCollection(f.ctx, "acme/2020-01-01")
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.RecordCharge(f.ctx, "acme/2020-01-01", 1, succeeded)
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.RecordProviderState(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_other", Status: "paid"})
	require.ErrorIs(t, err, billing.ErrConflict, "of another invoice")
}

func TestManyAtOnceMakeOneAttempt(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	var charges, resolves atomic.Int64
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			switch step, err := f.BeginCollection(f.ctx, octoberInvoice); {
			case err != nil:
				t.Error(err)
			case step.Do == billing.StepCharge:
				charges.Add(1)
			case step.Do == billing.StepResolve:
				resolves.Add(1)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, charges.Load())
	require.EqualValues(t, 15, resolves.Load())
	for range 16 {
		wait.Go(func() {
			_, err := f.RecordCharge(f.ctx, octoberInvoice, 1, succeeded)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	require.Equal(t, []string{"1 succeeded"}, f.payments())
	f.clean()
}

// Whichever comes first, a new payment method and a charge by the old one must
// not miss each other: either the charge has the new method, or another attempt
// with it is due.
func TestANewMethodAndAChargeAtOnceDoNotMissEachOther(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	for n := range 30 {
		method := fmt.Sprintf("pm_%d", n)
		f.clock(issuedAt.Add(time.Duration(n+1) * time.Minute))
		require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
		var wait sync.WaitGroup
		var step billing.ChargeStep
		var beginErr, setErr error
		wait.Go(func() { step, beginErr = f.BeginCollection(f.ctx, octoberInvoice) })
		wait.Go(func() { _, setErr = f.SetPaymentMethod(f.ctx, "acme", method, tester) })
		wait.Wait()
		require.NoError(t, beginErr)
		require.NoError(t, setErr)
		require.Equal(t, billing.StepCharge, step.Do)
		f.answer(step.Attempt, insufficient)
		if step.PaymentMethod != method {
			step = f.begin()
			require.Equal(t, billing.StepCharge, step.Do)
			require.Equal(t, method, step.PaymentMethod)
			f.answer(step.Attempt, insufficient)
		} else if step = f.begin(); step.Do == billing.StepCharge { // the request came after the charge had read the method
			f.answer(step.Attempt, insufficient)
		}
	}
}

// The facts are read after the lock is held: whoever waits for the lock must see
// everything that was committed with it, the organisation's terms included.
func TestAChargeThatWaitedForTheLockHasTheNewMethod(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	tx, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(f.ctx) }()
	_, err = tx.Exec(f.ctx, `UPDATE organizations SET payment_method = 'pm_second' WHERE id = 'acme'`)
	require.NoError(t, err)
	_, err = tx.Exec(f.ctx, `UPDATE invoices SET retry_requested = true`)
	require.NoError(t, err)
	steps := make(chan billing.ChargeStep, 1)
	go func() {
		step, err := f.BeginCollection(f.ctx, octoberInvoice)
		if err != nil {
			t.Error(err)
		}
		steps <- step
	}()
	require.Eventually(t, func() bool {
		var waiting bool
		err := f.pool.QueryRow(f.ctx, `
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		return err == nil && waiting
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, tx.Commit(f.ctx))
	require.Equal(t, "pm_second", (<-steps).PaymentMethod)
}

func TestNewsIsSeenBeforeTheFactsAreRead(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	before := f.charge(insufficient)
	require.Zero(t, before.Seen)
	require.True(t, before.TestClock)
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	var last int64
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT nudged FROM waits WHERE workflow_id = $1`, "collect/"+octoberInvoice).Scan(&last))
	require.Positive(t, last)
	require.Equal(t, last, f.begin().State.Seen)
}
