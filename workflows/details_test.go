package workflows

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestDetails(t *testing.T) {
	t.Parallel()
	day := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC) }
	limit := usd("500")
	october := billing.Accrual{
		Organization: "acme", Period: "2026-10-01", Start: day(10, 1), End: day(11, 1),
		Spend: usd("184.66337"), Limit: &limit, Limits: 3,
	}
	with := func(change func(*billing.Accrual)) billing.Accrual {
		a := october
		change(&a)
		return a
	}
	ref := InvoiceRef{"acme", "2026-10-01", 1}
	collecting := billing.Collection{
		Invoice: "acme/2026-10-01", Status: billing.StatusOpen, Due: usd("184.66"), Attempts: 8,
	}
	declined := collecting
	declined.Attempt, declined.Payment, declined.FailureCode = 2, billing.PaymentFailed, "insufficient_funds"
	declined.NextAt, declined.NextWhat = day(11, 5), "attempt 3 of 8"
	givenUp := collecting
	givenUp.Attempt, givenUp.Payment, givenUp.Status = 8, billing.PaymentFailed, billing.StatusPastDue

	for name, c := range map[string]struct{ got, want string }{
		"a running period": {cycleDetails(october, ""), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of a limit of 500.00 USD; 3 limits of tiers and members beside it.`},
		"a period without a limit, with usage that waits for a price": {
			cycleDetails(with(func(a *billing.Accrual) { a.Limit, a.Limits, a.Parked = nil, 1, 1 }), ""), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of no limit; 1 limit of tiers and members beside it.

			**1 event** without a price: not billed until a price book has one and the usage is released.`,
		},
		"a paused cycle": {cycleDetails(with(func(a *billing.Accrual) { a.Paused, a.Notices = true, 2 }), ""), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of a limit of 500.00 USD; 3 limits of tiers and members beside it.

			2 notices held back while the cycle is paused.`},
		"a period that is over, with notices left": {
			cycleDetails(with(func(a *billing.Accrual) {
				a.Ended = &billing.PeriodEnd{DraftUntil: day(11, 2), Next: "2026-11-01"}
			}), "1 notice could not be delivered."), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of a limit of 500.00 USD; 3 limits of tiers and members beside it.

			1 notice could not be delivered.

			The period is over. Its invoice is a draft until 2026-11-02 00:00 UTC; period 2026-11-01 follows.`,
		},
		"a suspended organisation": {cycleDetails(with(func(a *billing.Accrual) { a.Suspended = billing.SuspendedOverdue }), ""), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of a limit of 500.00 USD; 3 limits of tiers and members beside it.

			**Suspended**: an invoice is overdue, so limit checks block every request until it is paid. Usage that arrives is billed.`},
		"a sweep": {sweepDetails(SweepInput{Part: 2, Found: SweepFound{Events: 1, Orphans: 2}}), `
			**Sweep of the payment provider**, part 3 of 4

			1 event that nobody had told of; 2 invoices at the provider that are recorded nowhere; 0 unpaid invoices looked at; 0 workflows started that should have been running.

			` + "`starter verify` names the invoices."},
		"a draft invoice": {draftDetails(InvoiceInput{InvoiceRef: ref, DraftUntil: day(11, 2)}), `
			**Draft invoice acme/2026-10-01**: the period is over and not closed yet; late usage still lands in it. The draft window ends 2026-11-02 00:00 UTC.`},
		"a draft that is held back": {
			issuedDetails(ref, billing.Issued{Status: billing.StatusDraft, Reason: "usage waits for a price"}), `
			**Draft invoice acme/2026-10-01**: the period is over and not closed yet; late usage still lands in it.

			Reason: usage waits for a price`,
		},
		"a parked invoice": {
			issuedDetails(ref, billing.Issued{Status: billing.StatusParked, Reason: "total 1000000.00 USD is above the largest charge"}), `
			**Invoice acme/2026-10-01 is parked** for a person to look at. Its period stays open.

			Reason: total 1000000.00 USD is above the largest charge`,
		},
		"an invoice over nothing": {issuedDetails(ref, billing.Issued{Status: billing.StatusSettled, Total: usd("0")}), `
			**Invoice acme/2026-10-01** over 0.00 USD: nothing to pay.`},
		"an invoice that is carried": {issuedDetails(ref, billing.Issued{Status: billing.StatusCarried, Total: usd("-3.2")}), `
			**Invoice acme/2026-10-01** over -3.20 USD: goes onto the next invoice instead of being collected.`},
		"an open invoice": {issuedDetails(ref, billing.Issued{Status: billing.StatusOpen, Total: usd("184.66"), Items: 2}), `
			**Invoice acme/2026-10-01** over **184.66 USD**, with 2 items at the provider; it is open.`},
		"a declined payment": {collectionDetails(declined, ""), `
			**Invoice acme/2026-10-01**, 184.66 USD due: **open**

			Attempt 2 of 8: failed (insufficient_funds).

			Next: attempt 3 of 8, 2026-11-05 00:00 UTC.`},
		"a payment that was given up": {collectionDetails(givenUp, "1 notice could not be delivered."), `
			**Invoice acme/2026-10-01** is **past_due**.

			Attempt 8 of 8: failed.

			A person decides what follows: another payment method, another try, or writing it off.

			1 notice could not be delivered.`},
		"a run that is held": {heldDetails(Status{Organization: "acme", Period: "2026-10-01"}, "no price book"), `
			**acme, period 2026-10-01: held**

			no price book

			Somebody must remove the cause. Then ` + "`starter cycle start acme`" + ` has it look again at once; by itself it looks more and more seldom.`},
		"a run that is stopped": {stoppedDetails("Invoice acme/2026-10-01", stoppedReason), `
			**Invoice acme/2026-10-01: stopped**

			Billing is stopped since 2026-11-01 00:00 UTC.

			Nothing is issued, published or collected meanwhile, and nothing is lost: it goes on by itself.`},
		"a period while billing is stopped": {cycleDetails(with(func(a *billing.Accrual) { a.Stopped = true }), ""), `
			Billing cycle of **acme**, period **2026-10-01**: 2026-10-01 00:00 UTC to 2026-11-01 00:00 UTC

			Spend of the month, at list price: **184.66337 USD** of a limit of 500.00 USD; 3 limits of tiers and members beside it.

			**All billing is stopped**: periods end, and nothing is issued or collected until ` + "`starter billing resume`" + `.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, strings.TrimSpace(strings.ReplaceAll(c.want, "\t", "")), c.got)
		})
	}
}

func TestWordsForPeople(t *testing.T) {
	t.Parallel()
	require.Equal(t, "2026-11-01 00:00:07 UTC", clock(time.Date(2026, 11, 1, 1, 0, 7, 0, time.FixedZone("", 3600))))
	require.Equal(t, "no price book", reason(temporal.NewNonRetryableApplicationError("no price book", "NotFound", nil)))
	require.Equal(t, "timeout", reason(errors.New("timeout")))
	require.Equal(t, "Charge acme, on two lines", summary("Charge %s,\n on two\tlines", "acme"))
	long := summary("%s", strings.Repeat("ü", 300))
	require.LessOrEqual(t, len(long), longestSummary+len("…"))
	require.True(t, strings.HasSuffix(long, "ü…"))
}
