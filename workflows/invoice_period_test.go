package workflows

import (
	"time"

	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
)

func invoicePeriods() subject {
	return subject{
		name: "InvoicePeriod", workflow: InvoicePeriod, child: "CollectPayment", scenarios: invoicePeriodScenarios(),
		start: func(f *fake, s scenario) (any, client.StartWorkflowOptions) {
			in := InvoiceInput{InvoiceRef: InvoiceRef{f.organization, f.period, 1}, TestClock: s.onTestClock}
			if f.draftUntil != forever {
				in.DraftUntil = f.at(f.draftUntil)
			}
			return in, InvoiceStartOptions(in)
		},
		startChild: func(f *fake, _ scenario) client.StartWorkflowOptions { return CollectStartOptions(collectInput(f)) },
	}
}

func invoicePeriodScenarios() map[string]scenario {
	return map[string]scenario{
		"a quiet month waits out the draft window, publishes and has the invoice collected": {
			given:  func(f *fake) { f.draftUntil = 2 },
			events: []event{{1, looked}},
			want: `
				1 is draft until 2
				2 IssueInvoice acme/2026-10-01
				2 CreateProviderInvoice
				2 AddProviderItem 1
				2 AddProviderItem 2
				2 FinalizeProviderInvoice
				2 start collect/acme/2026-10-01
				2 end open`,
		},
		"a draft window that is over already is not waited for": {
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				0 end open`,
		},
		"the draft window can be ended early": {
			given:  func(f *fake) { f.draftUntil = 30 },
			events: []event{{2.5, nudged(func(f *fake) { f.draftUntil = 2 })}},
			want: `
				2.5 IssueInvoice acme/2026-10-01
				2.5 CreateProviderInvoice
				2.5 AddProviderItem 1
				2.5 AddProviderItem 2
				2.5 FinalizeProviderInvoice
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
		},
		"other news within the draft window changes nothing": {
			given:  func(f *fake) { f.draftUntil, f.becomes = 5, billing.StatusSettled },
			events: []event{{2.5, nudged(nothing)}},
			want: `
				2.5 IssueInvoice acme/2026-10-01
				5 IssueInvoice acme/2026-10-01
				5 end settled`,
		},
		"a draft that is held back without a time waits for news": {
			given: func(f *fake) { f.draftUntil, f.becomes = forever, billing.StatusSettled },
			events: []event{
				{1.5, looked},
				{2.5, nudged(func(f *fake) { f.draftUntil = 0 })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is draft until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 end settled`,
		},
		"a parked invoice waits until somebody releases it": {
			given: func(f *fake) { f.parked = "total 1000000.00 USD is above the largest charge" },
			events: []event{
				{1.5, looked},
				{2.5, nudged(nothing)},
				{40.5, nudged(func(f *fake) { f.parked = "" })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is parked until news
				2.5 IssueInvoice acme/2026-10-01
				40.5 IssueInvoice acme/2026-10-01
				40.5 CreateProviderInvoice
				40.5 AddProviderItem 1
				40.5 AddProviderItem 2
				40.5 FinalizeProviderInvoice
				40.5 start collect/acme/2026-10-01
				40.5 end open`,
		},
		"a parked invoice is issued once it is released": {
			given: func(f *fake) { f.parked, f.items = "charges of 5000.00 USD are more than 10 times those before", 0 },
			events: []event{
				{1.5, looked},
				{2.5, asked(ReleaseUpdate)},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is parked until news
				2.5 ReleaseInvoice acme/2026-10-01
				2.5 release: done
				2.5 IssueInvoice acme/2026-10-01
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
		},
		"the parts of an invoice are published in turn, each once the one before is paid": {
			given: func(f *fake) { f.items, f.parts = 1, 3 },
			events: []event{
				{1.5, looked},
				{2.5, nudged(func(f *fake) { f.status = billing.StatusPastDue })},
				{3.5, nudged(func(f *fake) { f.status, f.partsPaid = billing.StatusOpen, 1 })},
				{4.5, nudged(func(f *fake) { f.partsPaid = 2 })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				1.5 is issued until news
				2.5 IssueInvoice acme/2026-10-01
				3.5 IssueInvoice acme/2026-10-01
				3.5 CreateProviderInvoice
				3.5 AddProviderItem 2
				3.5 FinalizeProviderInvoice
				3.5 start collect/acme/2026-10-01
				4.5 IssueInvoice acme/2026-10-01
				4.5 CreateProviderInvoice
				4.5 AddProviderItem 3
				4.5 FinalizeProviderInvoice
				4.5 start collect/acme/2026-10-01
				4.5 end open`,
		},
		"what is left of an invoice in parts may be settled otherwise": {
			given:  func(f *fake) { f.items, f.parts = 1, 3 },
			events: []event{{1.5, nudged(func(f *fake) { f.status = billing.StatusPaid })}},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				1.5 IssueInvoice acme/2026-10-01
				1.5 end paid`,
		},
		"an invoice that awaits approval waits for the second person, too": {
			given: func(f *fake) {
				f.parked, f.becomes = "it awaits approval", billing.StatusSettled
				f.during["ReleaseInvoice"] = func() { f.change(func(f *fake) { f.parked = "released by 1 of 2 people" }) }
			},
			events: []event{
				{1.5, asked(ReleaseUpdate)},
				{2.5, looked},
				{3.5, asked(ReleaseUpdate)},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 ReleaseInvoice acme/2026-10-01
				1.5 release: done
				1.5 IssueInvoice acme/2026-10-01
				2.5 is parked until news
				3.5 ReleaseInvoice acme/2026-10-01
				3.5 release: done
				3.5 IssueInvoice acme/2026-10-01
				3.5 end settled`,
		},
		"a release of what is not parked, or of another organisation's, is refused": {
			given: func(f *fake) { f.draftUntil, f.becomes = 5, billing.StatusSettled },
			events: []event{
				{1.5, asked(ReleaseUpdate)},
				{2.5, askedFor(ReleaseUpdate, "globex")},
			},
			want: `
				1.5 release: invoice acme/2026-10-01 is draft: there is nothing to release
				2.5 release: this is the invoice of "acme", and not of "globex"
				5 IssueInvoice acme/2026-10-01
				5 end settled`,
		},
		"while billing is stopped nothing is issued, and it goes on by itself": {
			given: func(f *fake) { f.stopped, f.items = true, 0 },
			events: []event{
				{1.5, looked},
				{2.5, nudged(nothing)},
				{9.5, nudged(func(f *fake) { f.stopped = false })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is stopped until news
				2.5 IssueInvoice acme/2026-10-01
				9.5 IssueInvoice acme/2026-10-01
				9.5 start collect/acme/2026-10-01
				9.5 end open`,
		},
		"an invoice that is stopped while it is being published goes on where it was": {
			given: func(f *fake) { f.failing["FinalizeProviderInvoice"] = []error{errStopped} },
			events: []event{
				{1.5, looked},
				{2.5, nudged(nothing)},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				1.5 is stopped until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 CreateProviderInvoice
				2.5 AddProviderItem 1
				2.5 AddProviderItem 2
				2.5 FinalizeProviderInvoice
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
		},
		"nothing to pay needs no provider": {
			given: func(f *fake) { f.becomes = billing.StatusSettled },
			want: `
				0 IssueInvoice acme/2026-10-01
				0 end settled`,
		},
		"a credit or too little is carried to the next invoice": {
			given: func(f *fake) { f.becomes = billing.StatusCarried },
			want: `
				0 IssueInvoice acme/2026-10-01
				0 end carried`,
		},
		"what was voided meanwhile is left alone": {
			given: func(f *fake) { f.status = billing.StatusVoid },
			want: `
				0 IssueInvoice acme/2026-10-01
				0 end void`,
		},
		"what is paid otherwise is collected without the provider": {
			given: func(f *fake) { f.items = 0 },
			want: `
				0 IssueInvoice acme/2026-10-01
				0 start collect/acme/2026-10-01
				0 end open`,
		},
		"a collection that somebody started already is as good": {
			startedBefore: true,
			given:         func(f *fake) { f.items = 0 },
			want: `
				0 IssueInvoice acme/2026-10-01
				0 start collect/acme/2026-10-01
				0 end open`,
		},
		"a provider's invoice over another total is held until somebody has looked": {
			given: func(f *fake) { f.mismatch = "it says 184.67 USD" },
			events: []event{
				{0.02, looked},
				{0.03, nudged(func(f *fake) { f.mismatch = "" })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				0.02 is held until 0.04
				0.03 IssueInvoice acme/2026-10-01
				0.03 CreateProviderInvoice
				0.03 AddProviderItem 1
				0.03 AddProviderItem 2
				0.03 FinalizeProviderInvoice
				0.03 start collect/acme/2026-10-01
				0.03 end open`,
		},
		"what holds an invoice is looked for again by itself, more and more seldom": {
			given: func(f *fake) {
				f.becomes = billing.StatusSettled
				f.failing["IssueInvoice"] = times(7, final("no such organisation"))
			},
			notRecorded: "an hour is too long",
			want: `
				0 IssueInvoice acme/2026-10-01
				0.04 IssueInvoice acme/2026-10-01
				0.13 IssueInvoice acme/2026-10-01
				0.29 IssueInvoice acme/2026-10-01
				0.63 IssueInvoice acme/2026-10-01
				1.29 IssueInvoice acme/2026-10-01
				2.29 IssueInvoice acme/2026-10-01
				3.29 IssueInvoice acme/2026-10-01
				3.29 end settled`,
		},
		"a period that cannot be closed is held until somebody has repaired it": {
			given: func(f *fake) {
				f.becomes = billing.StatusSettled
				f.failing["IssueInvoice"] = []error{final("no such organisation")}
			},
			events: []event{{0.02, looked}, {0.03, nudged(nothing)}},
			want: `
				0 IssueInvoice acme/2026-10-01
				0.02 is held until 0.04
				0.03 IssueInvoice acme/2026-10-01
				0.03 end settled`,
		},
		"an invoice that the provider refuses is held": {
			given: func(f *fake) {
				f.failing["CreateProviderInvoice"] = []error{final("no such customer")}
				f.failing["FinalizeProviderInvoice"] = []error{final("nothing to finalize")}
			},
			events: []event{
				{0.02, looked},
				{0.03, nudged(nothing)},
				{0.04, looked},
				{0.05, nudged(func(f *fake) { f.status = billing.StatusVoid })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0.02 is held until 0.04
				0.03 IssueInvoice acme/2026-10-01
				0.03 CreateProviderInvoice
				0.03 AddProviderItem 1
				0.03 AddProviderItem 2
				0.03 FinalizeProviderInvoice
				0.04 is held until 0.11
				0.05 IssueInvoice acme/2026-10-01
				0.05 end void`,
		},
		"an item that the provider refuses holds the invoice once all others are through": {
			given:  func(f *fake) { f.failing["AddProviderItem"] = []error{final("amount too large")} },
			events: []event{{0.02, looked}, {0.03, nudged(nothing)}},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0.02 is held until 0.04
				0.03 IssueInvoice acme/2026-10-01
				0.03 CreateProviderInvoice
				0.03 AddProviderItem 1
				0.03 AddProviderItem 2
				0.03 FinalizeProviderInvoice
				0.03 start collect/acme/2026-10-01
				0.03 end open`,
		},
		"a provider that is away makes the invoice late": {
			given: func(f *fake) {
				f.failing["CreateProviderInvoice"] = []error{errAway}
				f.failing["AddProviderItem"] = times(2, errAway)
				f.failing["FinalizeProviderInvoice"] = []error{errAway}
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				0 end open`,
		},
		"an invoice with as many items as the provider takes adds each once": {
			given:     func(f *fake) { f.items = 250 },
			wantItems: 250,
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				0 end open`,
			notRecorded: "its history is large and shows nothing new",
		},
		"news while the period is closed does not disturb": {
			given: func(f *fake) {
				f.during["IssueInvoice"] = func() { f.nudge() }
				f.during["FinalizeProviderInvoice"] = func() { f.nudge() }
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				0 start collect/acme/2026-10-01
				0 end open`,
		},
		"a release that comes while the invoice is being parked is not lost": {
			given: func(f *fake) {
				f.parked, f.becomes = "too large", billing.StatusSettled
				f.during["IssueInvoice"] = func() {
					f.change(func(f *fake) { f.parked = "" })
					f.nudge()
				}
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 IssueInvoice acme/2026-10-01
				0 end settled`,
		},
		"a database clock that is behind is asked again": {
			given:       func(f *fake) { f.draftUntil, f.becomes, f.behind = 2, billing.StatusSettled, 2*time.Second },
			notRecorded: "the pauses are seconds, not units",
			want: `
				2 IssueInvoice acme/2026-10-01
				2 IssueInvoice acme/2026-10-01
				2 IssueInvoice acme/2026-10-01
				2 end settled`,
		},
		"on a test clock no timer runs, and every wait is registered": {
			onTestClock: true,
			given:       func(f *fake) { f.draftUntil = 1; f.parked = "too large" },
			events: []event{
				{2, nudged(func(f *fake) { f.advance(1) })},
				{4, nudged(func(f *fake) { f.advance(3); f.parked = "" })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 RegisterWait 1 seen 0
				1 IssueInvoice acme/2026-10-01
				1 RegisterWait news seen 1
				3 IssueInvoice acme/2026-10-01
				3 CreateProviderInvoice
				3 AddProviderItem 1
				3 AddProviderItem 2
				3 FinalizeProviderInvoice
				3 start collect/acme/2026-10-01
				3 end open`,
		},
		"on a test clock a wait that cannot be registered ends with news": {
			onTestClock: true,
			given: func(f *fake) {
				f.draftUntil, f.becomes = 1, billing.StatusSettled
				f.failing["RegisterWait"] = []error{final("no such clock")}
			},
			events: []event{{2, nudged(func(f *fake) { f.advance(1) })}},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 RegisterWait 1 seen 0
				1 IssueInvoice acme/2026-10-01
				1 end settled`,
		},
		"a history that has grown long is left, and the next run takes up": {
			outgrown: 1.5,
			given:    func(f *fake) { f.parked = "too large" },
			events:   []event{{2.5, nudged(nothing)}},
			want: `
				0 IssueInvoice acme/2026-10-01
				2.5 continue with acme/2026-10-01`,
		},
		"a collection that the server does not start holds the invoice until somebody has looked": {
			childRefused: 1,
			given:        func(f *fake) { f.items = 0 },
			events:       []event{{0.02, looked}, {0.03, nudged(nothing)}},
			notRecorded:  "no server refuses",
			want: `
				0 IssueInvoice acme/2026-10-01
				0.02 is held until 0.04
				0.03 IssueInvoice acme/2026-10-01
				0.03 start collect/acme/2026-10-01
				0.03 end open`,
		},
		"cancelling ends it": {
			given:  func(f *fake) { f.draftUntil = 5 },
			events: []event{{2.5, cancelled}},
			want: `
				2.5 cancelled`,
		},
	}
}
