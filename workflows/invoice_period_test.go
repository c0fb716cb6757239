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
				{1.5, looked},
				{2.5, nudged(func(f *fake) { f.mismatch = "" })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				0 FinalizeProviderInvoice
				1.5 is held until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 CreateProviderInvoice
				2.5 AddProviderItem 1
				2.5 AddProviderItem 2
				2.5 FinalizeProviderInvoice
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
		},
		"a period that cannot be closed is held until somebody has repaired it": {
			given: func(f *fake) {
				f.becomes = billing.StatusSettled
				f.failing["IssueInvoice"] = []error{final("no such organisation")}
			},
			events: []event{{1.5, looked}, {2.5, nudged(nothing)}},
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is held until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 end settled`,
		},
		"an invoice that the provider refuses is held": {
			given: func(f *fake) {
				f.failing["CreateProviderInvoice"] = []error{final("no such customer")}
				f.failing["FinalizeProviderInvoice"] = []error{final("nothing to finalize")}
			},
			events: []event{
				{1.5, looked},
				{2.5, nudged(nothing)},
				{3.5, looked},
				{4.5, nudged(func(f *fake) { f.status = billing.StatusVoid })},
			},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				1.5 is held until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 CreateProviderInvoice
				2.5 AddProviderItem 1
				2.5 AddProviderItem 2
				2.5 FinalizeProviderInvoice
				3.5 is held until news
				4.5 IssueInvoice acme/2026-10-01
				4.5 end void`,
		},
		"an item that the provider refuses holds the invoice once all others are through": {
			given:  func(f *fake) { f.failing["AddProviderItem"] = []error{final("amount too large")} },
			events: []event{{1.5, looked}, {2.5, nudged(nothing)}},
			want: `
				0 IssueInvoice acme/2026-10-01
				0 CreateProviderInvoice
				0 AddProviderItem 1
				0 AddProviderItem 2
				1.5 is held until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 CreateProviderInvoice
				2.5 AddProviderItem 1
				2.5 AddProviderItem 2
				2.5 FinalizeProviderInvoice
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
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
			events:       []event{{1.5, looked}, {2.5, nudged(nothing)}},
			notRecorded:  "no server refuses",
			want: `
				0 IssueInvoice acme/2026-10-01
				1.5 is held until news
				2.5 IssueInvoice acme/2026-10-01
				2.5 start collect/acme/2026-10-01
				2.5 end open`,
		},
		"cancelling ends it": {
			given:  func(f *fake) { f.draftUntil = 5 },
			events: []event{{2.5, cancelled}},
			want: `
				2.5 cancelled`,
		},
	}
}
