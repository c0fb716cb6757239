package activities

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// spent is a failure that the provider stored under the key.
type spent struct{}

func (spent) Error() string  { return "stored failure" }
func (spent) KeySpent() bool { return true }

type collectCase struct {
	do       billing.StepKind
	recorded billing.PaymentStatus // what the attempt was recorded as before
	age      time.Duration
	before   int64 // attempts before this one
	states   []billing.ProviderInvoiceState
	result   billing.ChargeResult
	fails    map[string][]error

	want       []string
	wantCode   string
	wantErr    string
	wantFinal  bool
	wantIntent string
}

func (c collectCase) run(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.step = billing.ChargeStep{
		Do: c.do, Invoice: invoice, Attempt: 2, StripeInvoice: "in_1", IdempotencyKey: "pay/inst/acme/2026-10-01/2",
		StartedAt: wall.Add(-c.age), AttemptsBefore: c.before,
		State: billing.Collection{Invoice: invoice, Status: billing.StatusOpen, Payment: c.recorded},
	}
	r.store.collection = billing.Collection{Invoice: invoice, Attempt: 2}
	r.provider.states, r.provider.result = c.states, c.result
	if c.fails != nil {
		r.provider.fails = c.fails
	}
	got, err := r.CollectInvoice(context.Background(), invoice)
	requireErr(t, err, c.wantErr, c.wantFinal)
	r.requireDid(t, append([]string{"BeginCollection"}, c.want...)...)
	if err == nil && len(c.want) > 0 {
		require.Equal(t, r.store.collection, got)
	}
	require.Equal(t, c.wantCode, r.store.charge.FailureCode)
	if c.wantIntent != "" {
		require.Equal(t, c.wantIntent, r.store.charge.PaymentIntentID)
	}
	for _, paid := range r.provider.paid {
		require.Equal(t, r.store.step.IdempotencyKey, paid.IdempotencyKey)
	}
}

func states(list ...billing.ProviderInvoiceState) []billing.ProviderInvoiceState { return list }

// open is the provider's invoice after so many attempts.
func open(payment billing.PaymentStatus, attempts int64, code string) billing.ProviderInvoiceState {
	return billing.ProviderInvoiceState{
		Status: "open", PaymentStatus: payment, AttemptCount: attempts, FailureCode: code, PaymentIntentID: "pi_1",
	}
}

var (
	paidByCharge = billing.ProviderInvoiceState{
		Status: "paid", PaymentStatus: billing.PaymentSucceeded, PaymentIntentID: "pi_1", Charges: 1, AttemptCount: 2,
	}
	paidOtherwise = billing.ProviderInvoiceState{Status: "paid"}
	void          = billing.ProviderInvoiceState{Status: "void"}
)

func TestCollectInvoice_TakesTheStepThatIsDue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]collectCase{
		"nothing is due":                   {do: billing.StepNone},
		"a step nobody knows is an error":  {do: "guess", wantErr: `unknown step "guess"`},
		"a sent invoice is looked at":      {do: billing.StepRefresh, states: states(paidOtherwise), want: []string{"Invoice", "RecordProviderState paid"}},
		"a look that fails is tried again": {do: billing.StepRefresh, fails: map[string][]error{"Invoice": {errNoAnswer}}, want: []string{"Invoice"}, wantErr: "no answer"},
		"a charge that succeeds is recorded": {
			do: billing.StepCharge, result: billing.ChargeResult{Status: billing.PaymentSucceeded},
			want: []string{"Pay", "RecordCharge succeeded"},
		},
		"a decline is recorded and no error": {
			do: billing.StepCharge, result: billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "insufficient_funds"},
			want: []string{"Pay", "RecordCharge failed"}, wantCode: "insufficient_funds",
		},
		"a debit on its way is recorded": {
			do: billing.StepCharge, result: billing.ChargeResult{Status: billing.PaymentProcessing},
			want: []string{"Pay", "RecordCharge processing"},
		},
		"a charge without an answer stays unknown": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {errNoAnswer}}, want: []string{"Pay"}, wantErr: "no answer",
		},
		"a key that is not accepted burns no step": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {later(time.Minute)}}, want: []string{"Pay"}, wantErr: "slow down",
		},
		"a key used for something else is final": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {billing.Conflict("key reused")}},
			states: states(open("", 0, "")), want: []string{"Pay", "Invoice"}, wantErr: "key reused", wantFinal: true,
		},
		"a request that is wrong is final": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {billing.Invalid("amount too large")}},
			want: []string{"Pay"}, wantErr: "amount too large", wantFinal: true,
		},
		"an invoice paid by hand meanwhile is news": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {billing.Conflict("paid")}},
			states: states(paidOtherwise), want: []string{"Pay", "Invoice", "RecordProviderState paid"},
		},
		"an invoice made void meanwhile is news": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {billing.Conflict("void")}},
			states: states(void), want: []string{"Pay", "Invoice", "RecordProviderState void"},
		},
		"a conflict that cannot be looked into is tried again": {
			do: billing.StepCharge, fails: map[string][]error{"Pay": {billing.Conflict("void")}, "Invoice": {errNoAnswer}},
			want: []string{"Pay", "Invoice"}, wantErr: "no answer",
		},
	} {
		t.Run(name, c.run)
	}
}

func TestAnUnknownAttemptIsResolved(t *testing.T) {
	t.Parallel()
	const young, old = time.Minute, 25 * time.Hour
	for name, c := range map[string]collectCase{
		"it had succeeded": {
			age: young, states: states(paidByCharge), want: []string{"Invoice", "RecordCharge succeeded"}, wantIntent: "pi_1",
		},
		"it had succeeded a day ago": {age: old, states: states(paidByCharge), want: []string{"Invoice", "RecordCharge succeeded"}},
		"its money is on the way": {
			age: young, states: states(open(billing.PaymentProcessing, 1, "")), want: []string{"Invoice", "RecordCharge processing"},
		},
		"young, the provider is asked under the same key": {
			age: young, states: states(open("", 0, "")), result: billing.ChargeResult{Status: billing.PaymentSucceeded},
			want: []string{"Invoice", "Pay", "RecordCharge succeeded"},
		},
		"young, an earlier decline says nothing about it": {
			age: young, before: 1, states: states(open(billing.PaymentFailed, 1, "lost_card")),
			result: billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "insufficient_funds"},
			want:   []string{"Invoice", "Pay", "RecordCharge failed"}, wantCode: "insufficient_funds",
		},
		"young, an earlier wish for the customer says nothing about it": {
			age: young, before: 1, states: states(open(billing.PaymentRequiresAction, 1, "authentication_required")),
			result: billing.ChargeResult{Status: billing.PaymentSucceeded},
			want:   []string{"Invoice", "Pay", "RecordCharge succeeded"},
		},
		"young and still no answer": {
			age: young, states: states(open("", 0, "")), fails: map[string][]error{"Pay": {errNoAnswer}},
			want: []string{"Invoice", "Pay"}, wantErr: "no answer",
		},
		"old and declined": {
			age: old, before: 1, states: states(open(billing.PaymentFailed, 2, "insufficient_funds")),
			want: []string{"Invoice", "RecordCharge failed"}, wantCode: "insufficient_funds",
		},
		"old and declined without a code": {
			age: old, before: 1, states: states(open(billing.PaymentFailed, 2, "")),
			want: []string{"Invoice", "RecordCharge failed"}, wantCode: declined,
		},
		"old and never made, no key is sent again": {
			age: old, before: 1, states: states(open(billing.PaymentFailed, 1, "insufficient_funds")),
			want: []string{"Invoice", "RecordCharge failed"}, wantCode: notAttempted,
		},
		"old and waiting for the customer": {
			age: old, states: states(open(billing.PaymentRequiresAction, 1, "authentication_required")),
			want: []string{"Invoice", "RecordCharge requires_action"}, wantCode: "authentication_required",
		},
		"nothing is charged while looking fails": {
			age: young, fails: map[string][]error{"Invoice": {errNoAnswer}}, want: []string{"Invoice"}, wantErr: "no answer",
		},
		"it was paid by hand meanwhile": {age: young, states: states(paidOtherwise), want: []string{"Invoice", "RecordProviderState paid"}},
		"it was made void meanwhile":    {age: old, states: states(void), want: []string{"Invoice", "RecordProviderState void"}},
		"it was given up meanwhile": {
			age: young, states: states(billing.ProviderInvoiceState{Status: "uncollectible"}),
			want: []string{"Invoice", "RecordProviderState uncollectible"},
		},
		"a stored failure is waited out at first": {
			age: young, states: states(open("", 0, "")), fails: map[string][]error{"Pay": {spent{}}},
			want: []string{"Invoice", "Pay", "Invoice"}, wantErr: "stored failure",
		},
		"after a stored failure the charge may have been made": {
			age: young, states: states(open("", 0, ""), paidByCharge), fails: map[string][]error{"Pay": {spent{}}},
			want: []string{"Invoice", "Pay", "Invoice", "RecordCharge succeeded"},
		},
		"after a stored failure the decline may have come": {
			age: young, states: states(open("", 0, ""), open(billing.PaymentFailed, 1, "expired_card")), fails: map[string][]error{"Pay": {spent{}}},
			want: []string{"Invoice", "Pay", "Invoice", "RecordCharge failed"}, wantCode: "expired_card",
		},
		"a stored failure that left no trace for hours was no charge": {
			age: 2 * time.Hour, states: states(open("", 0, "")), fails: map[string][]error{"Pay": {spent{}}},
			want: []string{"Invoice", "Pay", "Invoice", "RecordCharge failed"}, wantCode: notAttempted,
		},
		"a stored failure that cannot be looked into is tried again": {
			age: 2 * time.Hour, states: states(open("", 0, "")), fails: map[string][]error{"Pay": {spent{}}, "Invoice": {nil, errNoAnswer}},
			want: []string{"Invoice", "Pay", "Invoice"}, wantErr: "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.do, c.recorded = billing.StepResolve, billing.PaymentUnknown
			c.run(t)
		})
	}
}

func TestAnAnsweredAttemptIsOnlyLookedAt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]collectCase{
		"a debit is still on its way":  {states: states(open(billing.PaymentProcessing, 1, "")), want: []string{"Invoice", "RecordCharge processing"}},
		"a debit has arrived":          {states: states(paidByCharge), want: []string{"Invoice", "RecordCharge succeeded"}},
		"a debit came back":            {states: states(open(billing.PaymentFailed, 1, "account_closed")), want: []string{"Invoice", "RecordCharge failed"}, wantCode: "account_closed"},
		"a debit came back, no reason": {states: states(open("", 0, "")), want: []string{"Invoice", "RecordCharge failed"}, wantCode: declined},
		"the customer has not acted": {
			recorded: billing.PaymentRequiresAction, states: states(open(billing.PaymentRequiresAction, 1, "authentication_required")),
			want: []string{"Invoice", "RecordCharge requires_action"}, wantCode: "authentication_required",
		},
		"the customer has paid": {
			recorded: billing.PaymentRequiresAction, states: states(paidByCharge), want: []string{"Invoice", "RecordCharge succeeded"},
		},
		"the customer's authentication failed": {
			recorded: billing.PaymentRequiresAction, states: states(open(billing.PaymentFailed, 1, "payment_intent_authentication_failure")),
			want: []string{"Invoice", "RecordCharge failed"}, wantCode: "payment_intent_authentication_failure",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.do = billing.StepResolve; c.recorded == "" {
				c.recorded = billing.PaymentProcessing
			}
			c.age = time.Hour
			c.run(t)
		})
	}
}

// TestK10 kills the worker between the charge and its record: the next call
// resolves and records the same success.
func TestAChargeThatWasNotRecordedIsRecordedOnce(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.step = billing.ChargeStep{Do: billing.StepCharge, Invoice: invoice, Attempt: 1, StartedAt: wall}
	r.provider.result = billing.ChargeResult{Status: billing.PaymentSucceeded, PaymentIntentID: "pi_1"}
	r.store.fails["RecordCharge"] = errNoAnswer
	_, err := r.CollectInvoice(context.Background(), invoice)
	requireErr(t, err, "no answer", false)

	delete(r.store.fails, "RecordCharge")
	r.store.step.Do, r.store.step.State.Payment = billing.StepResolve, billing.PaymentUnknown
	r.provider.states = states(paidByCharge)
	_, err = r.CollectInvoice(context.Background(), invoice)
	require.NoError(t, err)
	require.Len(t, r.provider.paid, 1)
	require.Equal(t, billing.PaymentSucceeded, r.store.charge.Status)
}

// TestACreditNoteThatTheDatabaseForgotIsNotMadeAgain finds it at the provider,
// though nothing here says that it was tried.
func TestACreditNoteThatTheDatabaseForgotIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.provider.found = "cn_1"
	r.store.step = billing.ChargeStep{
		Do: billing.StepCorrect, Invoice: invoice, StripeInvoice: "in_1",
		Correction: billing.InvoiceCorrection{ID: 7, Kind: billing.CorrectionCreditNote, Amount: usd("5")},
	}
	_, err := r.CollectInvoice(context.Background(), invoice)
	require.NoError(t, err)
	require.Equal(t, billing.CorrectionResult{Done: true, StripeID: "cn_1"}, r.store.corrected)
	require.NotContains(t, withoutWords(*r.did), "Correct")
}
