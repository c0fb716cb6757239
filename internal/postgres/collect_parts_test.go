package postgres_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// newSplit is a fixture with October's invoice over 2,500,005 USD, released to be
// charged in three parts, the first of which is at the provider.
func newSplit(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, func(o *billing.Organization) { o.PaymentMethod, o.Email = "pm_first", "billing@acme.example" })
	f.store(use("october", "u1", october, 500_001_000_000))
	f.endOctober()
	require.Contains(t, f.issueOctober().Reason, "or --split to charge it in parts")
	f.releaseBy(octoberInvoice, billing.ReleaseSplit, ann)
	issued := f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, 1, issued.Items)
	require.True(t, issued.MoreParts)
	f.publishPart(1)
	return f
}

// publishPart does what the activities do to make a part known to the provider.
func (f *fixture) publishPart(n int) {
	f.t.Helper()
	id := "in_" + string(rune('0'+n))
	require.NoError(f.t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	draft, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(f.t, err)
	require.Equal(f.t, n, draft.Part)
	require.NoError(f.t, f.RecordProviderInvoice(f.ctx, octoberInvoice, id))
	_, err = f.BeginProviderItem(f.ctx, octoberInvoice, n)
	require.NoError(f.t, err)
	require.NoError(f.t, f.RecordProviderItem(f.ctx, octoberInvoice, n, "ii_"+id))
	_, err = f.BeginProviderFinalize(f.ctx, octoberInvoice)
	require.NoError(f.t, err)
	require.NoError(f.t, f.RecordProviderFinalized(f.ctx, octoberInvoice,
		billing.ProviderInvoiceState{StripeID: id, Status: "open", Total: draft.Total, AmountDue: draft.Total}))
}

func by(intent string) billing.ChargeResult {
	return billing.ChargeResult{Status: billing.PaymentSucceeded, PaymentIntentID: intent, ChargeID: "ch_" + intent, AttemptCount: 1}
}

func (f *fixture) correctSplit(want postgres.CorrectionRequest) (postgres.InvoiceCorrection, error) {
	return f.CorrectInvoice(f.ctx, octoberInvoice, want, ann)
}

// partStates lists how the parts stand.
func (f *fixture) partStates() (states []string) {
	for _, p := range f.invoice().Parts {
		states = append(states, p.Status)
	}
	return states
}

func TestEachPartIsDunnedByItsOwnTable(t *testing.T) {
	t.Parallel()
	f := newSplit(t)
	require.NoError(t, f.StartCycle(f.ctx, "acme", ann))
	before := f.nudges("invoice/" + octoberInvoice)
	f.charge(by("pi_a"))
	require.Equal(t, before+1, f.nudges("invoice/"+octoberInvoice))
	require.Contains(t, f.expected(), "invoice/"+octoberInvoice, "the next part is to be made known")
	state := f.begin()
	require.Equal(t, billing.StepNone, state.Do, "and is not charged before")
	require.Equal(t, "1666670.00 USD", state.State.Due.String())
	f.clean()

	f.publishPart(2)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	f.charge(insufficient)
	stolenCard := stolen
	stolenCard.AttemptCount = 2
	f.clock(issuedAt.Add(day))
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, ann))
	require.Equal(t, billing.StatusPastDue, f.charge(stolenCard).Status)
	issued := f.issueAgain()
	require.True(t, issued.MoreParts, "past due, and the third still to come")
	require.Equal(t, 1, issued.ItemsBefore)
	require.NoError(t, f.RequestRetry(f.ctx, octoberInvoice, ann))
	f.charge(by("pi_b"))
	require.Equal(t, billing.StatusOpen, f.invoice().Status)
	f.publishPart(3)
	f.charge(insufficient)
	require.Equal(t, []string{"1 succeeded", "2 failed insufficient_funds", "3 failed stolen_card", "4 succeeded", "5 failed insufficient_funds"}, f.payments())
	require.Equal(t, billing.StatusOpen, f.invoice().Status)
	f.clean()
	f.clock(f.now().Add(10 * day))
	f.charge(by("pi_c"))
	require.Equal(t, billing.StatusPaid, f.invoice().Status)
	require.False(t, f.issueAgain().MoreParts)
	f.clean()
}

func TestLateAnswersAboutAnEarlierPartChangeNothingOfTheNext(t *testing.T) {
	t.Parallel()
	f := newSplit(t)
	f.charge(by("pi_a"))
	require.ErrorContains(t, f.RecordProviderInvoice(f.ctx, octoberInvoice, "in_1"), "of a part that is paid")
	_, err := f.BeginProviderItem(f.ctx, octoberInvoice, 1)
	require.ErrorContains(t, err, "is not the one that is being collected")
	f.publishPart(2)
	_, err = f.RecordProviderState(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "paid"})
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorIs(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "paid"}), billing.ErrConflict)
	before := f.answer(1, by("pi_a"))
	require.Equal(t, "1666670.00 USD", before.Due.String())
	step := f.begin()
	require.Equal(t, billing.StepCharge, step.Do)
	require.Zero(t, step.AttemptsBefore, "the provider counts for each part by itself")
	require.False(t, step.CardRefused, "the ceiling is no matter where a person had it split")

	f.event("evt_1", "invoice.paid") // of part 1, which is paid
	require.Equal(t, 0, f.openNews(), "of no interest any more")
	f.event("evt_2", "charge.refunded")
	require.Equal(t, 1, f.openNews())
	f.answer(2, by("pi_b"))
	require.Equal(t, billing.StepReturns, f.begin().Do, "between the parts, too")
}

func (f *fixture) openNews() (n int) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM stripe_events WHERE processed_at IS NULL`).Scan(&n))
	return n
}

func TestWhatIsLeftOfASplitInvoiceIsMarkedPaidOrWrittenOff(t *testing.T) {
	t.Parallel()
	all := postgres.CorrectionRequest{Kind: billing.CorrectionSettlement, Reference: "SWIFT 1"}
	some := postgres.CorrectionRequest{Kind: billing.CorrectionSettlement, Amount: decimal.NewNullDecimal(decimal.NewFromInt(1000))}
	note := postgres.CorrectionRequest{Kind: billing.CorrectionCreditNote, Amount: decimal.NewNullDecimal(decimal.NewFromInt(1000))}
	void, writeOff := postgres.CorrectionRequest{Kind: billing.CorrectionVoid}, postgres.CorrectionRequest{Kind: billing.CorrectionWriteOff}
	refused := func(f *fixture) {
		_, err := f.correctSplit(some)
		require.ErrorContains(t, err, "only all of what remains, 1666670.00 USD, can be marked paid")
		_, err = f.correctSplit(note)
		require.ErrorContains(t, err, "cannot be credited before the last of 3 is asked for; this is part 2")
		_, err = f.correctSplit(void)
		require.ErrorContains(t, err, "mark the rest paid with starter invoices mark-paid")
	}
	carryOut := func(f *fixture, kind billing.CorrectionKind) {
		step := f.begin()
		require.Equal(t, billing.StepCorrect, step.Do)
		require.Equal(t, kind, step.Correction.Kind)
		_, err := f.RecordCorrection(f.ctx, octoberInvoice, step.Correction.ID, billing.CorrectionResult{Done: true})
		require.NoError(t, err)
	}

	t.Run("marked paid while the second part is at the provider", func(t *testing.T) {
		f := newSplit(t)
		f.charge(by("pi_a"))
		f.publishPart(2)
		refused(f)
		_, err := f.correctSplit(all)
		require.NoError(t, err)
		carryOut(f, billing.CorrectionSettlement)
		require.Equal(t, billing.StatusPaid, f.invoice().Status)
		require.Equal(t, "2500005.00 USD", f.invoice().AmountPaid.String())
		require.False(t, f.issueAgain().MoreParts)
		f.clean()
	})
	t.Run("marked paid before the provider is told of the second", func(t *testing.T) {
		f := newSplit(t)
		f.charge(by("pi_a"))
		refused(f)
		done, err := f.correctSplit(all)
		require.NoError(t, err)
		require.Equal(t, "done", done.Status)
		require.Equal(t, billing.StatusPaid, f.invoice().Status)
		_, err = f.BeginProviderInvoice(f.ctx, octoberInvoice)
		require.ErrorContains(t, err, "is paid and no business of the provider")
		f.clean()
	})
	t.Run("written off, and a part paid after all", func(t *testing.T) {
		f := newSplit(t)
		f.charge(by("pi_a"))
		f.publishPart(2)
		_, err := f.correctSplit(writeOff)
		require.NoError(t, err)
		carryOut(f, billing.CorrectionWriteOff)
		require.Equal(t, billing.StatusWrittenOff, f.invoice().Status)
		f.clean()
		_, err = f.RecordProviderState(f.ctx, octoberInvoice,
			billing.ProviderInvoiceState{StripeID: "in_2", Status: "paid", Charges: 1, PaymentStatus: billing.PaymentSucceeded, PaymentIntentID: "pi_b"})
		require.NoError(t, err)
		require.Equal(t, billing.StatusWrittenOff, f.invoice().Status)
		require.Equal(t, "833335", f.balance("bad_debt"))
		require.Empty(t, f.expected(), "nobody asks for the third")
		f.clean()
		done, err := f.correctSplit(all)
		require.NoError(t, err)
		require.Equal(t, "done", done.Status)
		require.Equal(t, billing.StatusPaid, f.invoice().Status)
		f.clean()
	})
	t.Run("withdrawn before anything was paid", func(t *testing.T) {
		f := newSplit(t)
		_, err := f.correctSplit(void)
		require.NoError(t, err)
		carryOut(f, billing.CorrectionVoid)
		require.Equal(t, billing.StatusVoid, f.invoice().Status)
		require.False(t, f.issueAgain().MoreParts)
		f.clean()
	})
	t.Run("asked for while a part is being paid", func(t *testing.T) {
		f := newSplit(t)
		step := f.begin()
		asked, err := f.correctSplit(void)
		require.NoError(t, err)
		f.answer(step.Attempt, by("pi_a"))
		stands, err := f.InvoiceCorrection(f.ctx, octoberInvoice, asked.ID)
		require.NoError(t, err)
		require.Equal(t, "refused", stands.Status)
		require.Equal(t, "part 1 of 3 was paid meanwhile", stands.Failure)
		f.clean()
	})
	t.Run("the last part is credited like any invoice", func(t *testing.T) {
		f := newSplit(t)
		f.charge(by("pi_a"))
		f.publishPart(2)
		f.charge(by("pi_b"))
		f.publishPart(3)
		_, err := f.correctSplit(note)
		require.NoError(t, err)
		carryOut(f, billing.CorrectionCreditNote)
		f.charge(by("pi_c"))
		require.Equal(t, billing.StatusPaid, f.invoice().Status)
		require.Equal(t, "2499005.00 USD", f.invoice().AmountPaid.String())
		require.Equal(t, []string{"paid", "paid", "paid"}, f.partStates())
		f.clean()
	})
}

// issueAgain asks for the invoice that is issued.
func (f *fixture) issueAgain() billing.Issued {
	f.t.Helper()
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(f.t, err)
	return issued
}

func TestOnlyWhatIsTooLargeAndChargedIsSplit(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	f.tryNovember()
	_, err := f.RequestRelease(f.ctx, novemberInvoice, billing.ReleaseSplit, ann)
	require.ErrorContains(t, err, "can be charged at once: release it without --split")

	f = newFixture(t, bySend(14), func(o *billing.Organization) { o.Email = "billing@acme.example" })
	f.store(use("october", "u1", october, 500_001_000_000))
	f.endOctober()
	f.issueOctober()
	_, err = f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseSplit, ann)
	require.ErrorContains(t, err, "release it with --bank-transfer")
}

func TestVerifyKnowsTheParts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a part that nobody made known": `UPDATE invoices SET part = 3`,
		"a part paid before its turn":   `UPDATE payments SET part = 2`,
		"a part too few":                `DELETE FROM provider_items WHERE n = 3`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSplit(t)
			f.charge(by("pi_a"))
			f.clean()
			_, err := f.pool.Exec(f.ctx, change)
			require.NoError(t, err)
			found, err := f.Verify(f.ctx, "", "")
			require.NoError(t, err)
			var names []string
			for _, d := range found {
				names = append(names, d.Check)
			}
			require.Contains(t, names, "provider_parts")
		})
	}
}
