package workflows

import (
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
)

func collectPayments() subject {
	return subject{
		name: "CollectPayment", workflow: CollectPayment, child: "none", scenarios: collectPaymentScenarios(),
		start: func(f *fake, _ scenario) (any, client.StartWorkflowOptions) {
			return collectInput(f), CollectStartOptions(collectInput(f))
		},
	}
}

func collectInput(f *fake) CollectInput {
	return CollectInput{f.organization, f.period, InvoiceRef{f.organization, f.period, 1}.ID(), f.testClock != nil}
}

// outcomes are the outcomes of attempts, in order.
func outcomes(of ...billing.PaymentStatus) func(*fake) {
	return func(f *fake) { f.outcomes = of }
}

// correct asks for a correction that makes the invoice what is said; "" leaves it
// open.
func correct(becomes billing.InvoiceStatus) func(*fake) {
	return func(f *fake) { f.corrections, f.corrected = 1, becomes }
}

func collectPaymentScenarios() map[string]scenario {
	const (
		paid       = billing.PaymentSucceeded
		declined   = billing.PaymentFailed
		processing = billing.PaymentProcessing
		action     = billing.PaymentRequiresAction
	)
	return map[string]scenario{
		"a quiet month is paid at once": {
			want: `
				0 CollectInvoice
				0 end paid`,
		},
		"a declined charge is tried again by the table, with a notice": {
			given:  outcomes(declined, declined, paid),
			events: []event{{0.5, looked}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 is dunning until 1
				1 CollectInvoice
				1 DeliverPaymentNotices
				3 CollectInvoice
				3 end paid`,
		},
		"after the last attempt it is handed to a person": {
			given: func(f *fake) { f.outcomes = times(8, declined) },
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				1 CollectInvoice
				1 DeliverPaymentNotices
				3 CollectInvoice
				3 DeliverPaymentNotices
				5 CollectInvoice
				5 DeliverPaymentNotices
				7 CollectInvoice
				7 DeliverPaymentNotices
				10 CollectInvoice
				10 DeliverPaymentNotices
				12 CollectInvoice
				12 DeliverPaymentNotices
				14 CollectInvoice
				14 DeliverPaymentNotices
				14 end past_due`,
		},
		"a new payment method cuts the wait": {
			given:  outcomes(declined, paid),
			events: []event{{0.5, nudged(func(f *fake) { f.retryNow = true })}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end paid`,
		},
		"a new payment method that is declined too goes on by the table": {
			given:  outcomes(declined, declined, paid),
			events: []event{{0.5, nudged(func(f *fake) { f.retryNow = true })}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 DeliverPaymentNotices
				3 CollectInvoice
				3 end paid`,
		},
		"a payment that is being processed waits for the provider's word": {
			given: outcomes(processing),
			events: []event{
				{1.5, looked},
				{2.5, nudged(nothing)},
				{4.5, nudged(func(f *fake) { f.last, f.status = paid, billing.StatusPaid })},
			},
			want: `
				0 CollectInvoice
				1.5 is collecting until news
				2.5 CollectInvoice
				4.5 CollectInvoice
				4.5 end paid`,
		},
		"a processed payment that fails after all is tried again": {
			given:  outcomes(processing, paid),
			events: []event{{0.5, nudged(func(f *fake) { f.last = declined })}},
			want: `
				0 CollectInvoice
				0.5 CollectInvoice
				1 CollectInvoice
				1 end paid`,
		},
		"a payment that its owner must confirm waits for them": {
			given: outcomes(action, paid),
			events: []event{
				{1.5, looked},
				{4.5, nudged(func(f *fake) { f.retryNow = true })},
			},
			want: `
				0 CollectInvoice
				1.5 is collecting until news
				4.5 CollectInvoice
				4.5 end paid`,
		},
		"a sent invoice is paid before it is due": {
			given: func(f *fake) { f.dueAt = 30 },
			events: []event{
				{1, looked},
				{20.5, nudged(func(f *fake) { f.status = billing.StatusPaid })},
			},
			want: `
				0 CollectInvoice
				1 is collecting until 30
				20.5 CollectInvoice
				20.5 end paid`,
		},
		"a sent invoice that is not paid goes to a person when it is due": {
			given: func(f *fake) { f.dueAt = 30 },
			want: `
				0 CollectInvoice
				30 CollectInvoice
				30 end past_due`,
		},
		"an invoice that is voided meanwhile is let go": {
			given:  outcomes(declined),
			events: []event{{0.5, nudged(func(f *fake) { f.status = billing.StatusVoid })}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end void`,
		},
		"an invoice that is written off meanwhile is let go": {
			given:  outcomes(declined),
			events: []event{{0.5, nudged(func(f *fake) { f.status = billing.StatusWrittenOff })}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end written_off`,
		},
		"a void that is asked for is carried out at once": {
			given:  outcomes(declined),
			events: []event{{0.5, nudged(correct(billing.StatusVoid))}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end void`,
		},
		"a write-off that is asked for is carried out at once": {
			given:  outcomes(declined),
			events: []event{{0.5, nudged(correct(billing.StatusWrittenOff))}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end written_off`,
		},
		"a credit note over all that is due settles the invoice": {
			given:  outcomes(declined),
			events: []event{{0.5, nudged(correct(billing.StatusSettled))}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.5 end settled`,
		},
		"after a part that was paid elsewhere the rest is collected by the table": {
			given:  outcomes(declined, paid),
			events: []event{{0.5, nudged(correct(""))}, {0.7, looked}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.5 CollectInvoice
				0.7 is dunning until 1
				1 CollectInvoice
				1 end paid`,
		},
		"a correction waits for a payment on its way, and news of that brings both": {
			given: outcomes(processing),
			events: []event{
				{0.5, nudged(correct(billing.StatusVoid))},
				{1.5, looked},
				{2.5, nudged(func(f *fake) { f.last = declined })},
			},
			want: `
				0 CollectInvoice
				0.5 CollectInvoice
				1.5 is collecting until news
				2.5 CollectInvoice
				2.5 end void`,
		},
		"on a test clock a correction that is due at once waits for nothing": {
			onTestClock: true,
			given:       outcomes(declined, paid),
			events: []event{
				{0.5, nudged(func(f *fake) { correct(billing.StatusPaid)(f); f.corrections = 2 })},
			},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0 RegisterWait 1 seen 0
				0 CollectInvoice
				0 RegisterWait 0 seen 1
				0 CollectInvoice
				0 end paid`,
		},
		"notices that could not be delivered are tried again in between": {
			given: func(f *fake) {
				f.outcomes = times(2, declined)
				f.outcomes[1] = paid
				f.dunning = []float64{5}
				f.deliveries = []delivery{{pending: 1, retryIn: 2}, {sent: 1}}
			},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				2 CollectInvoice
				2 DeliverPaymentNotices
				5 CollectInvoice
				5 end paid`,
		},
		"the last notices are waited for": {
			given: func(f *fake) {
				f.outcomes, f.dunning = []billing.PaymentStatus{declined}, nil
				f.deliveries = []delivery{{pending: 1, retryIn: 2}, {sent: 1}}
			},
			events: []event{{1, looked}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				1 is past_due until 2
				2 CollectInvoice
				2 DeliverPaymentNotices
				2 end past_due`,
		},
		"the provider's refusal of the call itself is held until somebody has looked": {
			given:  func(f *fake) { f.failing["CollectInvoice"] = []error{final("no such invoice")} },
			events: []event{{0.02, looked}, {0.03, nudged(nothing)}},
			want: `
				0 CollectInvoice
				0.02 is held until 0.04
				0.03 CollectInvoice
				0.03 end paid`,
		},
		"while billing is stopped nothing is charged, and it goes on by itself": {
			given:  func(f *fake) { f.stopped = true },
			events: []event{{1.5, looked}, {2.5, nudged(nothing)}, {9.5, nudged(func(f *fake) { f.stopped = false })}},
			want: `
				0 CollectInvoice
				1.5 is stopped until news
				2.5 CollectInvoice
				9.5 CollectInvoice
				9.5 end paid`,
		},
		"a charge that is stopped at the last moment is made once billing goes on": {
			given:  func(f *fake) { f.failing["CollectInvoice"] = []error{errStopped} },
			events: []event{{1.5, looked}, {2.5, nudged(nothing)}},
			want: `
				0 CollectInvoice
				1.5 is stopped until news
				2.5 CollectInvoice
				2.5 end paid`,
		},
		"a provider that is away makes the payment late": {
			given: func(f *fake) { f.failing["CollectInvoice"] = times(2, errAway) },
			want: `
				0 CollectInvoice
				0 CollectInvoice
				0 CollectInvoice
				0 end paid`,
		},
		"a payment notice whose delivery breaks off stops nothing": {
			given: func(f *fake) {
				f.outcomes = []billing.PaymentStatus{declined, paid}
				f.failing["DeliverPaymentNotices"] = []error{final("the channel is gone")}
			},
			events: []event{{0.02, nudged(nothing)}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0.02 CollectInvoice
				0.02 DeliverPaymentNotices
				1 CollectInvoice
				1 end paid`,
		},
		"a new method that comes during a charge is not lost": {
			given: func(f *fake) {
				f.outcomes = []billing.PaymentStatus{declined, paid}
				f.during["CollectInvoice"] = func() {
					f.change(func(f *fake) { f.retryNow = true })
					f.nudge()
				}
			},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0 CollectInvoice
				0 end paid`,
		},
		"a retry that a person asks for during the last notice is not lost": {
			given: func(f *fake) {
				f.outcomes, f.dunning = []billing.PaymentStatus{declined, paid}, nil
				f.during["DeliverPaymentNotices"] = func() {
					f.change(func(f *fake) { f.status, f.retryNow = billing.StatusOpen, true })
					f.nudge()
				}
			},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0 CollectInvoice
				0 end paid`,
		},
		"on a test clock no timer runs, and every wait is registered": {
			onTestClock: true,
			given:       outcomes(declined, declined, paid),
			events: []event{
				{2, nudged(func(f *fake) { f.advance(1) })},
				{4, nudged(func(f *fake) { f.retryNow = true })},
			},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				0 RegisterWait 1 seen 0
				1 CollectInvoice
				1 DeliverPaymentNotices
				1 RegisterWait 3 seen 1
				1 CollectInvoice
				1 end paid`,
		},
		"on a test clock a payment that is being processed registers that it waits for news": {
			onTestClock: true,
			given:       outcomes(processing),
			events:      []event{{2, nudged(func(f *fake) { f.last, f.status = paid, billing.StatusPaid })}},
			want: `
				0 CollectInvoice
				0 RegisterWait news seen 0
				0 CollectInvoice
				0 end paid`,
		},
		"an invoice that is past due is followed up until nothing is left to do": {
			given:  func(f *fake) { f.outcomes, f.dunning, f.followUp = []billing.PaymentStatus{declined}, nil, 5 },
			events: []event{{2.5, looked}},
			want: `
				0 CollectInvoice
				0 DeliverPaymentNotices
				2.5 is past_due until 5
				5 CollectInvoice
				5 end past_due`,
		},
		"on a test clock a collection that is held at its first look registers its wait": {
			onTestClock: true,
			given:       func(f *fake) { f.failing["CollectInvoice"] = []error{held("no such invoice", 3)} },
			events:      []event{{2, nudged(nothing)}},
			want: `
				0 CollectInvoice
				0 RegisterWait news seen 3
				0 CollectInvoice
				0 end paid`,
		},
		"a history that has grown long is left, and the next run takes up": {
			outgrown: 1.5,
			given:    outcomes(processing),
			events:   []event{{2.5, nudged(nothing)}},
			want: `
				0 CollectInvoice
				2.5 continue with acme/2026-10-01`,
		},
		"a next step without a name is waited for all the same": {
			given: func(f *fake) { f.dueAt, f.nameless = 30, true },
			want: `
				0 CollectInvoice
				30 CollectInvoice
				30 end past_due`,
		},
		"cancelling ends it": {
			given:  outcomes(processing),
			events: []event{{2.5, cancelled}},
			want: `
				0 CollectInvoice
				2.5 cancelled`,
		},
	}
}
