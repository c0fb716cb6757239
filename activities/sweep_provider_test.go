package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestTheFirstSweepReadsAsFarBackAsTheProviderKnows(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.provider.events = []billing.ProviderEvent{{ID: "evt_1"}, {ID: "evt_2"}}
	r.store.known = []string{"evt_2"}
	page, err := r.SweepEvents(context.Background(), billing.SweepPage{})
	require.NoError(t, err)
	r.requireDid(t, "SweptTo events", "Events", "RecordStripeEvent evt_1", "RecordStripeEvent evt_2", "RecordSweep events")
	require.Equal(t, wall.Add(-eventsReach), page.Since)
	require.Equal(t, wall, page.Until)
	require.Equal(t, 1, page.New)
	require.True(t, page.Done)
	require.Equal(t, wall, r.store.sweptTo)
}

func TestASweepGoesOnWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.sweptTo = wall.Add(-2 * time.Hour)
	r.provider.more = true
	first, err := r.SweepEvents(context.Background(), billing.SweepPage{})
	require.NoError(t, err)
	require.Equal(t, wall.Add(-3*time.Hour), first.Since, "what was under way then is read again")
	require.False(t, first.Done)
	require.Equal(t, wall.Add(-2*time.Hour), r.store.sweptTo, "not before the list was read to its end")
	r.provider.more = false
	first.After = "evt_100"
	_, err = r.SweepEvents(context.Background(), first)
	require.NoError(t, err)
	require.Equal(t, first, r.provider.pages[1], "the same span, whatever the time is now")
	require.Equal(t, wall, r.store.sweptTo)
}

func TestWhatIsUnderWayIsNoOrphan(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.sweptTo, r.store.orphan = wall.Add(-2*time.Hour), wall.Add(-20*24*time.Hour)
	r.provider.marks = []billing.ProviderMark{{StripeID: "in_lost"}}
	page, err := r.SweepInvoices(context.Background(), billing.SweepPage{})
	require.NoError(t, err)
	require.Equal(t, wall.Add(-underWay), page.Until)
	require.Equal(t, r.store.orphan, page.Since, "an orphan is followed until it is gone")
	require.Equal(t, 1, page.New)
}

type startingRunner struct {
	missing map[string][]string
	err     error
}

func (s *startingRunner) StartMissing(_ context.Context, organization string) ([]string, error) {
	return s.missing[organization], s.err
}

func TestWhatShouldRunIsStartedInBatches(t *testing.T) {
	t.Parallel()
	r := newRig()
	for n := range organizationsPerBatch + 1 {
		r.store.organizations = append(r.store.organizations, fmt.Sprintf("org-%03d", n))
	}
	runner := &startingRunner{missing: map[string][]string{"org-007": {"billing-cycle/org-007"}, "org-100": {"collect/x"}}}
	WithRunner(runner)(r.Activities)
	first, err := r.StartMissing(context.Background(), "")
	require.NoError(t, err)
	require.Equal(t, billing.Missing{Started: []string{"billing-cycle/org-007"}, After: "org-099"}, first)
	second, err := r.StartMissing(context.Background(), first.After)
	require.NoError(t, err)
	require.Equal(t, billing.Missing{Started: []string{"collect/x"}}, second)
	runner.err = errors.New("no server")
	_, err = r.StartMissing(context.Background(), "")
	require.ErrorContains(t, err, "no server")
	asked, err := r.RequestLooks(context.Background(), billing.SweepPage{})
	require.NoError(t, err)
	require.Equal(t, 3, asked)
}

func TestAtTheCeilingACardIsNotChargedAndTheInvoiceSentInstead(t *testing.T) {
	t.Parallel()
	for kind, sent := range map[string]bool{"card": true, "us_bank_account": false, "": false} {
		r := newRig()
		r.store.invoice = billing.ProviderInvoice{Invoice: invoice, Customer: "cus_1", CardRefused: true, Collection: billing.ChargeAutomatically, Total: usd("60000")}
		r.provider.kind = kind
		require.NoError(t, r.CreateProviderInvoice(context.Background(), invoice))
		want, collection := []string{"BeginProviderInvoice", "MethodKind", "CreateInvoice", "RecordProviderInvoice"}, billing.ChargeAutomatically
		if sent {
			want = []string{"BeginProviderInvoice", "MethodKind", "SwitchToSentInvoice", "CreateInvoice", "RecordProviderInvoice"}
			collection = billing.SendInvoice
			require.Equal(t, []string{"a total of 60000.00 USD is not charged to a card"}, r.store.reasons)
		}
		require.Subset(t, want, withoutWords(*r.did), kind)
		require.Len(t, *r.did, len(want))
		require.Equal(t, collection, r.provider.told[0].Collection, kind)
	}
}

// withoutWords leaves the methods' names of what was done.
func withoutWords(did []string) (names []string) {
	for _, line := range did {
		var name string
		_, _ = fmt.Sscan(line, &name)
		names = append(names, name)
	}
	return names
}

func TestAnAttemptThatACardWouldPayIsNotMade(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.step = billing.ChargeStep{Do: billing.StepCharge, Invoice: invoice, Attempt: 1, Customer: "cus_1", CardRefused: true}
	r.provider.kind = "card"
	_, err := r.CollectInvoice(context.Background(), invoice)
	require.NoError(t, err)
	r.requireDid(t, "BeginCollection", "MethodKind", "RecordCharge failed")
	require.Equal(t, billing.FailureCardCeiling, r.store.charge.FailureCode)

	r = newRig()
	r.store.step = billing.ChargeStep{Do: billing.StepCharge, Invoice: invoice, Attempt: 1, Customer: "cus_1", CardRefused: true}
	r.provider.kind, r.provider.result.Status = "us_bank_account", billing.PaymentProcessing
	_, err = r.CollectInvoice(context.Background(), invoice)
	require.NoError(t, err)
	r.requireDid(t, "BeginCollection", "MethodKind", "Pay", "RecordCharge processing")

	r = newRig()
	r.store.step = billing.ChargeStep{
		Do: billing.StepResolve, Invoice: invoice, Attempt: 1, Customer: "cus_1", CardRefused: true, StartedAt: wall.Add(-time.Minute),
		State: billing.Collection{Payment: billing.PaymentUnknown},
	}
	r.provider.kind, r.provider.states = "card", states(open("", 0, ""))
	_, err = r.CollectInvoice(context.Background(), invoice)
	require.ErrorIs(t, err, errCardRefused, "an attempt without an answer is not repeated by a card, and not taken for none so soon")
	require.Empty(t, r.provider.paid)
}

func TestRefundsAndDisputesAreAskedForByThePaymentsTheyAreOf(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.step = billing.ChargeStep{Do: billing.StepReturns, Invoice: invoice, Intents: []string{"pi_1"}}
	r.provider.returns = billing.Reversals{Refunds: []billing.Refund{{ID: "re_1"}}}
	_, err := r.CollectInvoice(context.Background(), invoice)
	require.NoError(t, err)
	r.requireDid(t, "BeginCollection", "Reversals", "RecordReversals")
	require.Equal(t, r.provider.returns, r.store.returns)
}

func TestWhoIsHeldKnowsWhichNewsItHadRead(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.step = billing.ChargeStep{Do: billing.StepRefresh, Invoice: invoice, State: billing.Collection{Seen: 7}}
	r.provider.fails = map[string][]error{"Invoice": {billing.NotFound("no such invoice")}}
	_, err := r.CollectInvoice(context.Background(), invoice)
	var held *temporal.ApplicationError
	require.ErrorAs(t, err, &held)
	require.True(t, held.NonRetryable())
	var seen int64
	require.NoError(t, held.Details(&seen))
	require.Equal(t, int64(7), seen)
}

// TestADatabaseThatWentBackIsMadeLevelFromItsLastSweepOn however long ago that
// was: customers first, then invoices, up to now; then billing goes on.
func TestADatabaseThatWentBackIsMadeLevelFromItsLastSweepOn(t *testing.T) {
	t.Parallel()
	r := newRig()
	r.store.behind, r.store.sweptTo = "its server's third start", wall.Add(-200*24*time.Hour)
	r.provider.customers = []billing.CustomerMark{{StripeID: "cus_lost"}}
	r.provider.marks = []billing.ProviderMark{{StripeID: "in_lost"}}
	page := billing.SweepPage{}
	for calls := 0; !page.Done; calls++ {
		require.Less(t, calls, 4)
		r.provider.more = calls == 0 // a second page of customers
		var err error
		page, err = r.SweepInvoices(context.Background(), page)
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"SweptTo", "OldestOrphan", "Installation", "MarkedCustomers", "RecordCustomerMarks", "Installation", "MarkedCustomers", "RecordCustomerMarks",
		"Installation", "Marked", "RecordMarks", "RecordSweep", "RecoveryDone",
	}, withoutWords(*r.did))
	require.Contains(t, *r.did, "RecoveryDone its server's third start")
	for _, read := range r.provider.pages {
		require.Equal(t, wall.Add(-200*24*time.Hour-sweepOverlap), read.Since)
		require.Equal(t, wall, read.Until)
	}
	require.Equal(t, wall.Add(-underWay), r.store.sweptTo, "what is under way is read again by the next")
}
