package stripe_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// ledger is as much of a store as the collection of one invoice needs: attempts
// are written down as unknown before they are made, and one is never begun while
// another is unknown or on its way.
type ledger struct {
	activities.Store
	invoice  billing.ProviderInvoice
	attempts []billing.ChargeResult
	age      time.Duration // of the last attempt
	retries  int           // attempts that the dunning table still allows
	status   billing.InvoiceStatus
}

// CheckBillingEnabled: billing is not stopped.
func (l *ledger) CheckBillingEnabled(context.Context) error { return nil }

func (l *ledger) BeginCollection(context.Context, string) (billing.ChargeStep, error) {
	step := billing.ChargeStep{Do: billing.StepResolve, State: l.state()}
	switch last := l.state().Payment; {
	case l.status != billing.StatusOpen:
		step.Do = billing.StepNone
		return step, nil
	case last == "" || last == billing.PaymentFailed:
		if l.retries == 0 {
			step.Do = billing.StepNone
			return step, nil
		}
		l.retries--
		step.Do = billing.StepCharge
		l.attempts = append(l.attempts, billing.ChargeResult{Status: billing.PaymentUnknown})
	}
	n := len(l.attempts)
	before := int64(0)
	if n > 1 {
		before = l.attempts[n-2].AttemptCount
	}
	made := attempt(l.invoice, n, before)
	made.Do, made.State, made.StartedAt = step.Do, step.State, time.Now().Add(-l.age)
	return made, nil
}

func (l *ledger) state() billing.Collection {
	c := billing.Collection{Invoice: l.invoice.Invoice, Status: l.status, Attempt: len(l.attempts)}
	if c.Attempt > 0 {
		c.Payment = l.attempts[c.Attempt-1].Status
	}
	return c
}

func (l *ledger) RecordCharge(_ context.Context, _ string, n int, r billing.ChargeResult) (billing.Collection, error) {
	l.attempts[n-1] = r
	if r.Status == billing.PaymentSucceeded {
		l.status = billing.StatusPaid
	}
	if r.FailureCode == "not_attempted" {
		l.retries++
	}
	return l.state(), nil
}

func (l *ledger) RecordProviderState(_ context.Context, _ string, s billing.ProviderInvoiceState) (billing.Collection, error) {
	if s.Status == "paid" {
		l.status = billing.StatusPaid
	}
	return l.state(), nil
}

func (l *ledger) outcomes() (all []string) {
	for _, a := range l.attempts {
		all = append(all, string(a.Status)+" "+a.FailureCode)
	}
	return all
}

// TestNoFaultChargesTwice lets each kind of fault strike the payment, young
// or so old that Stripe has forgotten the key, and collects until all is known.
func TestNoFaultChargesTwice(t *testing.T) {
	t.Parallel()
	const pay = "/v1/invoices/*/pay"
	for name, c := range map[string]struct {
		method  string
		fault   fakestripe.Fault
		age     time.Duration
		retries int
		want    []string
		charges int // all of them, declined ones too
		paid    bool
	}{
		"no fault": {method: "pm_card_visa", want: []string{"succeeded "}, charges: 1, paid: true},
		"answer lost": {
			method: "pm_card_visa", fault: fakestripe.Fault{Kind: fakestripe.FaultDrop, Times: 4}, want: []string{"succeeded "}, charges: 1, paid: true,
		},
		"answer lost, found a day later": {
			method: "pm_card_visa", fault: fakestripe.Fault{Kind: fakestripe.FaultDrop, Times: 4}, age: 25 * time.Hour,
			want: []string{"succeeded "}, charges: 1, paid: true,
		},
		"stored failure": {
			method: "pm_card_visa", fault: fakestripe.Fault{Kind: fakestripe.FaultError500}, want: []string{"succeeded "}, charges: 1, paid: true,
		},
		"unavailable": {
			method: "pm_card_visa", fault: fakestripe.Fault{Kind: fakestripe.FaultRefuse, Times: 3}, want: []string{"succeeded "}, charges: 1, paid: true,
		},
		"unavailable for a day": {
			method: "pm_card_visa", fault: fakestripe.Fault{Kind: fakestripe.FaultRefuse}, age: 25 * time.Hour,
			want: []string{"failed not_attempted", "succeeded "}, charges: 1, paid: true,
		},
		"decline, answer lost": {
			method: "pm_local_card_expired_card", fault: fakestripe.Fault{Kind: fakestripe.FaultDrop, Times: 4},
			want: []string{"failed expired_card"}, charges: 1,
		},
		"decline, answer lost, found a day later": {
			method: "pm_local_card_expired_card", fault: fakestripe.Fault{Kind: fakestripe.FaultDrop, Times: 4}, age: 25 * time.Hour,
			want: []string{"failed expired_card"}, charges: 1,
		},
		"decline, stored failure": {
			method: "pm_local_card_expired_card", fault: fakestripe.Fault{Kind: fakestripe.FaultError500},
			want: []string{"failed expired_card"}, charges: 1,
		},
		"second attempt unavailable for a day": {
			method: "pm_local_card_expired_card", fault: fakestripe.Fault{Kind: fakestripe.FaultRefuse, Nth: 2}, retries: 1, age: 25 * time.Hour,
			want: []string{"failed expired_card", "failed not_attempted", "failed expired_card"}, charges: 2,
		},
		"debit, answer lost": {
			method: "pm_usBankAccount_success", fault: fakestripe.Fault{Kind: fakestripe.FaultDrop, Times: 4},
			want: []string{"processing "}, charges: 1,
		},
		"nothing to charge": {want: []string{"failed no_payment_method"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, ctx := start(t), context.Background()
			customer := l.customer(t, c.method)
			store := &ledger{invoice: l.open(t, customer), retries: 1 + c.retries, status: billing.StatusOpen}
			if c.fault.Kind != "" {
				c.fault.Method, c.fault.Path = "POST", pay
				l.server.Inject(c.fault)
			}
			a := activities.New(store, l.Gateway, nil, quiet())
			for try := range 8 {
				_, err := a.CollectInvoice(ctx, store.invoice.Invoice)
				t.Logf("try %d: %v %v", try+1, store.outcomes(), err)
				if err != nil && c.age > 0 && store.age == 0 {
					l.pass(c.age)
					store.age = c.age
				} else if err == nil {
					store.age = 0
				}
			}
			require.Equal(t, c.want, store.outcomes())
			require.Len(t, l.charges(t, customer), c.charges)
			require.Equal(t, c.paid, store.status == billing.StatusPaid)
			state, err := l.Invoice(ctx, store.invoice.StripeID)
			require.NoError(t, err)
			require.Equal(t, c.paid, state.Status == "paid", fmt.Sprint(state))
		})
	}
}
