package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
)

func billingCycles() subject {
	return subject{
		name: "BillingCycle", workflow: BillingCycle, child: "InvoicePeriod", scenarios: billingCycleScenarios(),
		start: func(f *fake, s scenario) (any, client.StartWorkflowOptions) {
			in := CycleInput{f.organization, f.period, f.testClock != nil}
			if s.dueUnknown {
				in.Period = ""
			}
			return in, CycleStartOptions(in)
		},
		startChild: func(f *fake, _ scenario) client.StartWorkflowOptions {
			return InvoiceStartOptions(InvoiceInput{InvoiceRef: InvoiceRef{f.organization, f.period, 1}})
		},
	}
}

func billingCycleScenarios() map[string]scenario {
	return map[string]scenario{
		"a quiet month looks twice, starts the invoice and goes on": {
			events: []event{{0.5, looked}},
			want: `
				0 Accrue 2026-10-01
				0.5 is accruing until 31
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a passed threshold wakes it, and the notice goes out": {
			events: []event{{10.5, nudged(func(f *fake) { f.notices = 1 })}},
			want: `
				0 Accrue 2026-10-01
				10.5 Accrue 2026-10-01
				10.5 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"notices that an earlier run left are delivered first, round by round": {
			given: func(f *fake) {
				f.notices = 5
				f.deliveries = []delivery{{sent: 2, pending: 3}, {sent: 2, pending: 1}, {sent: 1}}
			},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0 DeliverNotices
				0 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"notices that could not be delivered are tried again when they are due": {
			given: func(f *fake) {
				f.notices = 2
				f.deliveries = []delivery{{sent: 1, pending: 1, retryIn: 2}, {pending: 1, retryIn: 4}, {sent: 1}}
			},
			events: []event{{1, looked}},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				1 is accruing until 2
				2 Accrue 2026-10-01
				2 DeliverNotices
				6 Accrue 2026-10-01
				6 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"notices that nobody gave a time for are tried again an hour later": {
			given: func(f *fake) {
				f.notices = 1
				f.deliveries = []delivery{{pending: 1}, {sent: 1}}
			},
			notRecorded: "an hour is no unit",
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0.04 Accrue 2026-10-01
				0.04 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a delivery that breaks off is tried thrice, and then waits without stopping anything": {
			given: func(f *fake) {
				f.notices = 1
				f.failing["DeliverNotices"] = times(3, errAway)
			},
			notRecorded: "an hour is no unit",
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0 DeliverNotices
				0 DeliverNotices
				0.04 Accrue 2026-10-01
				0.04 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a delivery that no retry can mend stops nothing, and is tried again with the next news": {
			given: func(f *fake) {
				f.notices = 1
				f.failing["DeliverNotices"] = []error{final("the channel is gone")}
			},
			events: []event{{0.02, nudged(nothing)}},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0.02 Accrue 2026-10-01
				0.02 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"pausing stops notices and the period's end until it is resumed": {
			events: []event{
				{5.5, asked(PauseUpdate)},
				{6, looked},
				{6.5, nudged(func(f *fake) { f.notices = 1 })},
				{35.5, asked(ResumeUpdate)},
			},
			want: `
				0 Accrue 2026-10-01
				5.5 PauseCycle
				5.5 pause: done
				5.5 Accrue 2026-10-01
				6 is paused until news
				6.5 Accrue 2026-10-01
				35.5 ResumeCycle
				35.5 resume: done
				35.5 Accrue 2026-10-01
				35.5 DeliverNotices
				35.5 start invoice/acme/2026-10-01
				35.5 continue with acme/2026-11-01`,
		},
		"resuming within the period goes on with it": {
			given: func(f *fake) { f.paused = true },
			events: []event{
				{5.5, asked(ResumeUpdate)},
				{6, looked},
			},
			want: `
				0 Accrue 2026-10-01
				5.5 ResumeCycle
				5.5 resume: done
				5.5 Accrue 2026-10-01
				6 is accruing until 31
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"closing ends the period now": {
			events: []event{{10.5, asked(CloseUpdate)}},
			want: `
				0 Accrue 2026-10-01
				10.5 EndPeriodNow
				10.5 close: done
				10.5 Accrue 2026-10-01
				10.5 start invoice/acme/2026-10-01
				10.5 continue with acme/2026-10-01.2`,
		},
		"what cannot be is refused in a clear sentence": {
			events: []event{
				{1.5, asked(ResumeUpdate)},
				{2.5, askedFor(PauseUpdate, "globex")},
				{3.5, asked(PauseUpdate)},
				{4.5, asked(PauseUpdate)},
				{5.5, asked(CloseUpdate)},
				{6.5, asked(ResumeUpdate)},
			},
			want: `
				0 Accrue 2026-10-01
				1.5 resume: the cycle of acme is running, there is nothing to resume
				2.5 pause: this is the cycle of "acme", and not of "globex"
				3.5 PauseCycle
				3.5 pause: done
				3.5 Accrue 2026-10-01
				4.5 pause: the cycle of acme is paused already
				5.5 close: the cycle of acme is paused: resume it before closing its period
				6.5 ResumeCycle
				6.5 resume: done
				6.5 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"with the contract's end its last notices are waited for, and closing is refused": {
			given: func(f *fake) {
				f.next = ""
				f.deliveries = []delivery{{pending: 1, retryIn: 2}, {pending: 1, retryIn: 2}, {sent: 1}}
			},
			events: []event{{30.5, nudged(func(f *fake) { f.notices = 1 })}, {32, asked(CloseUpdate)}},
			want: `
				0 Accrue 2026-10-01
				30.5 Accrue 2026-10-01
				30.5 DeliverNotices
				31 Accrue 2026-10-01
				31 DeliverNotices
				31 start invoice/acme/2026-10-01
				32 close: period 2026-10-01 of acme is over already
				33 Accrue 2026-10-01
				33 DeliverNotices
				33 end`,
		},
		"last notices that cannot be delivered are given up after a while": {
			given: func(f *fake) {
				f.next, f.notices = "", 1
				f.ends = 0
				f.deliveries = times(99, delivery{pending: 1, retryIn: 1})
			},
			want: givenUp(),
		},
		"what the database refuses is told to the operator, and the cycle goes on": {
			given:  func(f *fake) { f.failing["EndPeriodNow"] = []error{final("the period began today")} },
			events: []event{{10.5, asked(CloseUpdate)}},
			want: `
				0 Accrue 2026-10-01
				10.5 EndPeriodNow
				10.5 close: the period began today
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"it ends with the contract": {
			given: func(f *fake) { f.next = "" },
			want: `
				0 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 end`,
		},
		"news at the end of the contract is looked at before the run ends": {
			given: func(f *fake) {
				f.next, f.ends, f.notices = "", 0, 1
				f.during["DeliverNotices"] = func() { f.nudge() }
			},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0 start invoice/acme/2026-10-01
				0 Accrue 2026-10-01
				0 end`,
		},
		"a cycle that is started without a period takes the one that is due": {
			dueUnknown: true,
			events:     []event{{0.5, nudged(nothing)}},
			want: `
				0 Accrue what is due
				0.5 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"an invoice that somebody started already is as good": {
			startedBefore: true,
			want: `
				0 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"many nudges at once cost one look, and one for those that came meanwhile": {
			events: []event{{10.5, func(_ *fake, h hand) {
				for range 20 {
					h.nudge()
				}
			}}},
			want: `
				0 Accrue 2026-10-01
				10.5 Accrue 2026-10-01
				10.5 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a nudge that comes while the facts are read wakes the wait at once": {
			given: func(f *fake) {
				f.during["Accrue"] = func() {
					f.change(func(f *fake) { f.notices = 1 })
					f.nudge()
				}
			},
			want: `
				0 Accrue 2026-10-01
				0 Accrue 2026-10-01
				0 DeliverNotices
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a nudge that comes while notices are delivered is not lost": {
			given: func(f *fake) {
				f.notices = 1
				f.during["DeliverNotices"] = func() {
					f.change(func(f *fake) { f.paused = true })
					f.nudge()
				}
			},
			events: []event{{5.5, asked(ResumeUpdate)}},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0 Accrue 2026-10-01
				5.5 ResumeCycle
				5.5 resume: done
				5.5 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a database that is away for a moment delays only": {
			given: func(f *fake) { f.failing["Accrue"] = []error{nil, errAway, errAway} },
			want: `
				0 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"facts that cannot be read hold the cycle until somebody has repaired them": {
			given: func(f *fake) { f.failing["Accrue"] = []error{final("no price book"), final("still none")} },
			events: []event{
				{0.02, looked},
				{0.03, nudged(nothing)},
				{0.04, asked(PauseUpdate)},
				{0.05, asked(ResumeUpdate)},
			},
			want: `
				0 Accrue 2026-10-01
				0.02 is held until 0.04
				0.03 Accrue 2026-10-01
				0.04 PauseCycle
				0.04 pause: done
				0.04 Accrue 2026-10-01
				0.05 ResumeCycle
				0.05 resume: done
				0.05 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a database clock that is behind is asked again, more and more rarely": {
			given:       func(f *fake) { f.behind = 10 * time.Second },
			notRecorded: "the pauses are seconds, not units",
			want: `
				0 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"on a test clock no timer runs, and every wait is registered": {
			onTestClock: true,
			events: []event{
				{1, looked},
				{2, nudged(func(f *fake) { f.advance(10); f.notices = 1 })},
				{4, nudged(func(f *fake) { f.advance(31) })},
			},
			want: `
				0 Accrue 2026-10-01
				0 RegisterWait 31 seen 0
				0 is accruing until 31
				10 Accrue 2026-10-01
				10 DeliverNotices
				10 RegisterWait 31 seen 1
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"on a test clock that has moved on meanwhile nothing is waited for": {
			onTestClock: true,
			given: func(f *fake) {
				f.during["Accrue"] = func() { f.change(func(f *fake) { f.advance(40) }) }
			},
			want: `
				0 Accrue 2026-10-01
				40 RegisterWait 31 seen 0
				40 Accrue 2026-10-01
				40 start invoice/acme/2026-10-01
				40 continue with acme/2026-11-01`,
		},
		"on a test clock a nudge that comes while the wait is registered wakes it": {
			onTestClock: true,
			given: func(f *fake) {
				f.during["RegisterWait"] = func() {
					f.change(func(f *fake) { f.advance(31) })
					f.nudge()
				}
			},
			want: `
				0 Accrue 2026-10-01
				0 RegisterWait 31 seen 0
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"on a test clock a paused cycle registers that it waits for news only": {
			onTestClock: true,
			given:       func(f *fake) { f.paused = true },
			events: []event{
				{2, nudged(func(f *fake) { f.advance(31) })},
				{4, asked(ResumeUpdate)},
			},
			want: `
				0 Accrue 2026-10-01
				0 RegisterWait news seen 0
				31 Accrue 2026-10-01
				31 RegisterWait news seen 1
				31 ResumeCycle
				31 resume: done
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"on a test clock undelivered notices that nobody gave a time for wait for other news": {
			onTestClock: true,
			given: func(f *fake) {
				f.notices = 1
				f.deliveries = []delivery{{pending: 1}, {sent: 1}}
			},
			events: []event{{2, nudged(func(f *fake) { f.advance(31) })}},
			want: `
				0 Accrue 2026-10-01
				0 DeliverNotices
				0 RegisterWait 31 seen 0
				31 Accrue 2026-10-01
				31 DeliverNotices
				31 start invoice/acme/2026-10-01
				31 continue with acme/2026-11-01`,
		},
		"a history that has grown long is left within the period": {
			outgrown: 10.5,
			events:   []event{{11.5, nudged(nothing)}},
			want: `
				0 Accrue 2026-10-01
				11.5 continue with acme/2026-10-01`,
		},
		"whoever asked gets the answer before the run ends": {
			given: func(f *fake) { f.failing["PauseCycle"] = []error{errAway} },
			events: []event{
				{30.999995, asked(PauseUpdate)},
			},
			notRecorded: "the retry takes a second, whatever the unit",
			want: `
				0 Accrue 2026-10-01
				31 PauseCycle
				31 Accrue 2026-10-01
				31 start invoice/acme/2026-10-01
				31 PauseCycle
				31 pause: done
				31 continue with acme/2026-11-01`,
		},
		"an invoicing that the server does not start holds the cycle until somebody has looked": {
			childRefused: 1,
			events:       []event{{31.02, looked}, {31.03, nudged(nothing)}},
			notRecorded:  "no server refuses",
			want: `
				0 Accrue 2026-10-01
				31 Accrue 2026-10-01
				31.02 is held until 31.04
				31.03 Accrue 2026-10-01
				31.03 start invoice/acme/2026-10-01
				31.03 continue with acme/2026-11-01`,
		},
		"cancelling ends it while the database is away": {
			given:       func(f *fake) { f.failing["Accrue"] = times(99, errAway) },
			events:      []event{{0.00005, cancelled}},
			notRecorded: "the retries take seconds, whatever the unit",
			want: `
				0 Accrue 2026-10-01
				0 Accrue 2026-10-01
				0 Accrue 2026-10-01
				0 cancelled`,
		},
		"cancelling ends it": {
			events: []event{{10.5, cancelled}},
			want: `
				0 Accrue 2026-10-01
				10.5 cancelled`,
		},
	}
}

// givenUp is a run that ends with its contract and cannot deliver a notice.
func givenUp() string {
	want := "0 Accrue 2026-10-01\n0 DeliverNotices\n0 start invoice/acme/2026-10-01\n"
	for day := 1; day <= lastDeliveries; day++ {
		want += fmt.Sprintf("%d Accrue 2026-10-01\n%d DeliverNotices\n", day, day)
	}
	return want + fmt.Sprintf("%d end", lastDeliveries)
}
