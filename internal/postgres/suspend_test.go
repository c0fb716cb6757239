package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func suspendAfter(days int) func(*billing.Organization) {
	return func(o *billing.Organization) { o.SuspendAfter = &days }
}

// suspension says why a request of acme is blocked; "" = it runs.
func (f *fixture) suspension() string {
	f.t.Helper()
	c, err := f.CheckLimit(f.ctx, "acme", "u1")
	require.NoError(f.t, err)
	require.Equal(f.t, c.Stop == "", c.Allowed())
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(f.t, err)
	require.Equal(f.t, string(c.Stop), org.Suspended)
	require.Equal(f.t, c.Stop != "", !org.SuspendedAt.IsZero())
	return string(c.Stop)
}

// trail lists who did what, newest first.
func (f *fixture) trail(n int) []string {
	f.t.Helper()
	entries, err := f.AuditTrail(f.ctx, "acme", n)
	require.NoError(f.t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, fmt.Sprintf("%s %s %s", e.Actor, e.Action, e.Subject))
	}
	return list
}

// expected lists what should run for acme, but for its cycle.
func (f *fixture) expected() []string {
	f.t.Helper()
	all, err := f.ExpectedWorkflows(f.ctx, "acme")
	require.NoError(f.t, err)
	list := []string{}
	for _, e := range all {
		if e.Kind != billing.WorkflowCycle {
			list = append(list, e.ID)
		}
	}
	return list
}

var stillOpen = billing.ProviderInvoiceState{Status: "open"}

func TestAnInvoiceThatStaysPastDueSuspendsAndItsPaymentLiftsThatAtOnce(t *testing.T) {
	t.Parallel()
	f := newPublished(t, suspendAfter(5))
	state := f.charge(stolen)
	require.Equal(t, billing.StatusPastDue, state.Status)
	require.False(t, state.Over(), "there is something left to do without a person")
	require.Equal(t, "5", days(state.NextAt))
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected())
	require.Equal(t, []string{"arrears invoices.past_due " + octoberInvoice}, f.trail(1))

	f.clock(issuedAt.Add(5*day - time.Microsecond))
	require.Equal(t, billing.StepNone, f.begin().Do)
	require.Empty(t, f.suspension())
	f.clock(issuedAt.Add(5 * day))
	require.Equal(t, billing.StepRefresh, f.begin().Do, "nobody is blocked without asking the provider first")
	require.Empty(t, f.suspension())
	state = f.provider(stillOpen)
	require.True(t, state.Over())
	require.Equal(t, billing.SuspendedOverdue, f.suspension())
	require.Equal(t, []string{"arrears organization.suspend " + octoberInvoice}, f.trail(1))
	require.Equal(t, "0 suspended", f.paymentNotices()[2])
	require.Equal(t, 1, f.nudges("billing-cycle/acme"), "its cycle shows it")
	require.Empty(t, f.expected())
	f.provider(stillOpen)
	require.Len(t, f.paymentNotices(), 3, "once")

	before := f.count("usage_events")
	require.Equal(t, []billing.UsageStatus{"accepted"}, f.store(use("late", "u1", f.now().Add(-time.Minute), 1_000_000)))
	require.Equal(t, before+1, f.count("usage_events"), "usage that arrives all the same is stored")
	f.clean()

	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_second", tester)
	require.NoError(t, err)
	step := f.begin()
	require.Equal(t, billing.StepCharge, step.Do)
	require.Equal(t, billing.SuspendedOverdue, f.suspension(), "not before there is money")
	f.answer(step.Attempt, succeeded)
	require.Empty(t, f.suspension(), "in the transaction that records the payment")
	require.Equal(t, []string{"arrears organization.resume " + octoberInvoice}, f.trail(1))
	require.Equal(t, 2, f.nudges("billing-cycle/acme"))
	f.clean()
}

func TestWhatEndsAnInvoiceOtherwiseEndsItsSuspension(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"paid", "void", "uncollectible"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			f := newPublished(t, suspendAfter(0))
			f.charge(stolen)
			require.Equal(t, billing.StepRefresh, f.begin().Do)
			f.provider(stillOpen)
			require.Equal(t, billing.SuspendedOverdue, f.suspension())
			f.provider(billing.ProviderInvoiceState{Status: status})
			require.Empty(t, f.suspension())
		})
	}
}

func TestAPaymentSeenBeforeItsTimeSuspendsNobody(t *testing.T) {
	t.Parallel()
	f := newPublished(t, suspendAfter(5))
	f.charge(stolen)
	f.clock(issuedAt.Add(5 * day))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1, PaymentIntentID: "pi_2"})
	require.Empty(t, f.suspension())
	require.NotContains(t, f.paymentNotices(), "0 suspended")
	f.clean()
}

func TestWithoutTheTermNobodyIsSuspendedAndItActsWhenItIsSet(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	require.True(t, f.charge(stolen).Over())
	f.clock(issuedAt.Add(300 * day))
	require.Equal(t, billing.StepNone, f.begin().Do)
	require.Empty(t, f.suspension())

	ten := 10
	changed, err := f.ChangeTerms(f.ctx, "acme", billing.TermsChange{SuspendAfter: ptr(&ten)}, tester)
	require.NoError(t, err)
	require.Equal(t, []string{"suspend_after"}, changed)
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected(), "its collection is started again")
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	f.provider(stillOpen)
	require.Equal(t, billing.SuspendedOverdue, f.suspension())
}

func ptr[T any](v T) *T { return &v }

func TestAnOrganizationIsSuspendedAndResumedByHand(t *testing.T) {
	t.Parallel()
	f := newPublished(t, suspendAfter(0))
	for _, isNew := range []bool{true, false} {
		got, err := f.SuspendOrganization(f.ctx, "acme", tester)
		require.NoError(t, err)
		require.Equal(t, isNew, got)
	}
	require.Equal(t, billing.SuspendedByHand, f.suspension())
	f.charge(succeeded)
	require.Equal(t, billing.SuspendedByHand, f.suspension(), "money has no part in it")
	for _, was := range []bool{true, false} {
		got, err := f.ResumeOrganization(f.ctx, "acme", tester)
		require.NoError(t, err)
		require.Equal(t, was, got)
	}
	require.Empty(t, f.suspension())
	require.Equal(t, []string{"tester organization.resume acme", "tester organization.suspend acme"}, f.trail(2))
	_, err := f.SuspendOrganization(f.ctx, "nobody", tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.ResumeOrganization(f.ctx, "nobody", tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestAnInvoiceWhoseSuspensionWasLiftedByHandSuspendsNoMore(t *testing.T) {
	t.Parallel()
	f := newPublished(t, suspendAfter(0))
	f.charge(stolen)
	f.begin()
	f.provider(stillOpen)
	_, err := f.ResumeOrganization(f.ctx, "acme", tester)
	require.NoError(t, err)
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, tester))
	state := f.charge(insufficient)
	for state.Status == billing.StatusOpen {
		f.clock(state.NextAt)
		state = f.charge(insufficient)
	}
	require.True(t, state.Over())
	require.Empty(t, f.suspension())
	f.clean()
}

func TestVerifyNamesASuspensionThatNobodyLifted(t *testing.T) {
	t.Parallel()
	f := newPublished(t, suspendAfter(0))
	f.charge(stolen)
	f.begin()
	f.provider(stillOpen)
	f.provider(billing.ProviderInvoiceState{Status: "paid"})
	f.clean()
	_, err := f.pool.Exec(f.ctx, `UPDATE suspensions SET lifted_at = NULL`)
	require.NoError(t, err)
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "suspension", found[0].Check)
}

func TestTermsChangeWhileTheContractRuns(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	change := billing.TermsChange{
		Email: ptr("new@acme.example"), Collection: ptr(billing.SendInvoice), NetDays: ptr(45),
		Dunning: []int{0, 1, 2}, Reminders: []int{-1, 5}, CardCeiling: &decimal.NullDecimal{},
	}
	changed, err := f.ChangeTerms(f.ctx, "acme", change, tester)
	require.NoError(t, err)
	require.Equal(t, []string{"card_ceiling", "collection", "dunning", "email", "net_days", "reminders"}, changed)
	entries, err := f.AuditTrail(f.ctx, "acme", 1)
	require.NoError(t, err)
	require.JSONEq(t, `{"card_ceiling":"50000","collection":"charge_automatically","dunning":[0,1,3,5,7,10,12,14],
		"email":"billing@acme.example","net_days":30,"reminders":[-3,7,14]}`, string(entries[0].Before))
	require.JSONEq(t, `{"card_ceiling":"none","collection":"send_invoice","dunning":[0,1,2],
		"email":"new@acme.example","net_days":45,"reminders":[-1,5]}`, string(entries[0].After))
	changed, err = f.ChangeTerms(f.ctx, "acme", change, tester)
	require.NoError(t, err)
	require.Empty(t, changed, "again changes nothing")
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))

	require.Equal(t, billing.ChargeAutomatically, f.invoice().Collection, "what was issued is collected as it was")
	f.clock(issuedAt.Add(day))
	require.Equal(t, "2", days(f.charge(insufficient).NextAt), "the next step goes by the new table")
	f.clock(issuedAt.Add(2 * day))
	require.Equal(t, billing.StatusPastDue, f.charge(insufficient).Status)

	for _, wrong := range []billing.TermsChange{
		{Dunning: []int{1, 2}}, {NetDays: ptr(0)}, {Collection: ptr("cash")}, {Email: ptr("")}, {Reminders: []int{0}}, {Dunning: []int{}},
	} {
		_, err := f.ChangeTerms(f.ctx, "acme", wrong, tester)
		require.ErrorIs(t, err, billing.ErrInvalid, "%+v", wrong)
	}
	_, err = f.ChangeTerms(f.ctx, "nobody", change, tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestTheSameContractAgainIsNoChangeAfterItsTermsWereChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	org.Dunning, org.Reminders, org.CardCeiling = nil, nil, decimal.Zero // as they were left open
	_, err = f.ChangeTerms(f.ctx, "acme", billing.TermsChange{Dunning: []int{0, 9}, SuspendAfter: ptr(ptr(3))}, tester)
	require.NoError(t, err)
	created, err := f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
	require.NoError(t, err)
	require.Zero(t, created)
	org.Dunning = []int{0, 8}
	_, err = f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
	require.ErrorContains(t, err, "another dunning table")
}
