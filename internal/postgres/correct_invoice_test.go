package postgres_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func voided() postgres.CorrectionRequest {
	return postgres.CorrectionRequest{Kind: billing.CorrectionVoid}
}

func writtenOff() postgres.CorrectionRequest {
	return postgres.CorrectionRequest{Kind: billing.CorrectionWriteOff}
}

// transferred is a payment by bank; amount "" = what remains.
func transferred(amount, reference string) postgres.CorrectionRequest {
	want := postgres.CorrectionRequest{Kind: billing.CorrectionSettlement, Reference: reference}
	if amount != "" {
		want.Amount = decimal.NewNullDecimal(decimal.RequireFromString(amount))
	}
	return want
}

func credited(amount string) postgres.CorrectionRequest {
	return postgres.CorrectionRequest{Kind: billing.CorrectionCreditNote, Amount: decimal.NewNullDecimal(decimal.RequireFromString(amount))}
}

func (f *fixture) correct(want postgres.CorrectionRequest) postgres.InvoiceCorrection {
	f.t.Helper()
	asked, err := f.CorrectInvoice(f.ctx, octoberInvoice, want, tester)
	require.NoError(f.t, err)
	return asked
}

func (f *fixture) refuses(want postgres.CorrectionRequest, says string) {
	f.t.Helper()
	_, err := f.CorrectInvoice(f.ctx, octoberInvoice, want, tester)
	require.ErrorContains(f.t, err, says)
	require.True(f.t, errors.Is(err, billing.ErrConflict) || errors.Is(err, billing.ErrInvalid) || errors.Is(err, billing.ErrNotFound), err)
}

// carryOut takes the next step, which must be the correction that was asked for,
// and has the provider do it.
func (f *fixture) carryOut() billing.Collection {
	f.t.Helper()
	step := f.begin()
	require.Equal(f.t, billing.StepCorrect, step.Do)
	result := billing.CorrectionResult{Done: true}
	if step.Correction.ByCreditNote() {
		result.StripeID = step.Correction.IdempotencyKey
	}
	return f.corrected(step, result)
}

func (f *fixture) corrected(step billing.ChargeStep, result billing.CorrectionResult) billing.Collection {
	f.t.Helper()
	state, err := f.RecordCorrection(f.ctx, octoberInvoice, step.Correction.ID, result)
	require.NoError(f.t, err)
	return state
}

// correction is the status of October's last correction, and why it was refused.
func (f *fixture) correction() (status, failure string) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT status, failure FROM invoice_corrections ORDER BY id DESC LIMIT 1`).Scan(&status, &failure))
	return status, failure
}

func TestAWriteOffEndsCollectionOnce(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	asked := f.correct(writtenOff())
	require.Equal(t, "requested", asked.Status)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, asked, f.correct(writtenOff()), "twice in a row changes nothing")
	require.Equal(t, 1, f.count("invoice_corrections"))
	require.Equal(t, billing.StatusOpen, f.invoice().Status, "until it is carried out")
	f.refuses(voided(), "a write-off was asked for and is not carried out yet")
	require.Equal(t, billing.StatusWrittenOff, f.carryOut().Status)
	require.Equal(t, "20", f.balance("bad_debt"))
	require.Equal(t, "done", f.correct(writtenOff()).Status)
	f.refuses(voided(), "is written_off")
	f.refuses(credited("1"), "is written_off")
	f.refuses(transferred("5", ""), "only all of what remains")
	f.clean()

	f.correct(transferred("", "late"))
	require.Equal(t, billing.StatusPaid, f.carryOut().Status, "paid after all")
	require.Equal(t, "0", f.balance("bad_debt"))
	require.Equal(t, "20", f.balance("settlements"))
	f.clean()
}

func TestABankTransferInPartLeavesExactlyTheRestToCollect(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	asked := f.correct(transferred("7.50", "SEPA 1"))
	require.Equal(t, asked, f.correct(transferred("7.50", "SEPA 1")))
	step := f.begin()
	require.Equal(t, billing.StepCorrect, step.Do)
	require.True(t, step.Correction.ByCreditNote(), "the provider lowers what remains by a credit note")
	require.Equal(t, "7.50 USD", step.Correction.Amount.String())
	require.False(t, step.Correction.Tried)
	require.True(t, f.begin().Correction.Tried, "the intent is recorded before the call")
	state := f.corrected(step, billing.CorrectionResult{Done: true, StripeID: "cn_1"})
	require.Equal(t, "12.50 USD", state.Due.String())
	require.Equal(t, billing.StatusOpen, state.Status)
	f.corrected(step, billing.CorrectionResult{Done: true, StripeID: "cn_1"})
	require.Equal(t, "7.50 USD", f.invoice().AmountPaid.String(), "recorded again it changes nothing")
	require.Equal(t, "done", f.correct(transferred("7.50", "SEPA 1")).Status)
	require.Equal(t, 1, f.count("invoice_corrections"))
	f.refuses(transferred("12.51", ""), "more than what remains to be paid")
	f.refuses(transferred("0.001", ""), "at most 2 decimal places")
	f.refuses(voided(), "7.50 USD was paid")
	f.clean()

	f.clock(issuedAt.Add(day))
	f.charge(succeeded)
	payments, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "12.50 USD", payments[1].Amount.String())
	require.Equal(t, "20.00 USD", f.invoice().AmountPaid.String())
	require.Equal(t, billing.StatusPaid, f.invoice().Status)
	require.Equal(t, "7.5", f.balance("settlements"))
	require.Equal(t, "12.5", f.balance("cash"))
	f.refuses(transferred("", "another"), "nothing remains to be paid")
	f.clean()
}

func TestABankTransferInFullPaysTheInvoice(t *testing.T) {
	t.Parallel()
	f := newPublished(t, bySend(30))
	f.correct(transferred("", "SEPA 1"))
	step := f.begin()
	require.Equal(t, billing.StepCorrect, step.Do, "carrying it out begins with a look")
	require.True(t, step.Correction.Full)
	require.False(t, step.Correction.ByCreditNote(), "it is paid out of band")
	require.Equal(t, billing.StatusPaid, f.corrected(step, billing.CorrectionResult{Done: true}).Status)
	require.Equal(t, "done", f.correct(transferred("", "SEPA 1")).Status, "twice in a row changes nothing")
	f.clean()
}

func TestACreditNoteOnAnUnpaidInvoiceLowersWhatIsDue(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	line := f.invoice().Lines[0].Key
	f.refuses(postgres.CorrectionRequest{Kind: billing.CorrectionCreditNote, Amount: credited("1").Amount, Line: "usage/none"}, "has no line")
	_, err := f.CorrectInvoice(f.ctx, octoberInvoice, credited("1"), billing.Actor{Name: "tester"})
	require.ErrorContains(t, err, "reason")
	want := credited("5")
	want.Line = line
	f.correct(want)
	f.carryOut()
	require.Equal(t, "15.00 USD", f.invoice().AmountDue.String())
	require.Equal(t, "20.00 USD", f.invoice().Total.String(), "the invoice itself does not change")
	require.Equal(t, []string{"credit_note revenue 5", "credit_note receivable -5"}, f.ledger()[2:])
	notes := f.invoice().CreditNotes
	require.Len(t, notes, 1)
	require.Equal(t, "CN-000001", notes[0].Number)
	require.Equal(t, line, notes[0].Line)
	require.Equal(t, "test", notes[0].Reason)
	want.Amount = credited("15.01").Amount
	f.refuses(want, "more than what remains")
	want.Amount = credited("15").Amount
	f.correct(want)
	require.Equal(t, billing.StatusSettled, f.carryOut().Status, "in full it settles the invoice")
	require.Equal(t, "0", f.balance("revenue"))
	require.Equal(t, "0", f.balance("receivable"))
	require.Empty(t, f.invoice().AmountPaid.Amount.Sign())
	f.refuses(credited("0.01"), "more than what was billed and not credited")
	f.clock(issuedAt.Add(30 * day))
	require.Equal(t, billing.StepNone, f.begin().Do, "nothing is collected any more")
	f.clean()
}

func TestACreditOnAPaidInvoiceIsUsedByTheNextOnesNeverBelowZero(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	asked := f.correct(credited("15"))
	require.Equal(t, "done", asked.Status, "the provider need not know")
	require.True(t, asked.ToCredit)
	require.Equal(t, asked, f.correct(credited("15")))
	f.refuses(credited("5.01"), "more than what was billed and not credited")
	require.Equal(t, "-15", f.balance("credits"))
	require.Equal(t, billing.StatusPaid, f.invoice().Status)
	f.clean()

	f.store(use("a", "u1", f.now(), 200_000)) // 1.00, without a seat
	require.NoError(t, f.RemoveSeat(f.ctx, "acme", "u1", october.AddDate(0, 1, 0), tester))
	issued := f.issueNovember()
	require.Equal(t, billing.StatusSettled, issued.Status)
	november, err := f.Invoice(f.ctx, issued.Invoice, false)
	require.NoError(t, err)
	last := november.Lines[len(november.Lines)-1]
	require.Equal(t, billing.KindCredit, last.Kind)
	require.Equal(t, "credit/CN-000001", last.Key)
	require.True(t, november.Subtotal.Amount.Equal(last.Amount.Amount.Neg()), "all of it, and no more")
	require.True(t, november.Total.Amount.IsZero())
	require.Equal(t, november.Subtotal.Amount.Sub(decimal.NewFromInt(15)).String(), f.balance("credits"), "the rest is kept")
	f.clean()
}

func TestAVoidFreesTheCreditsThatTheInvoiceUsed(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	f.correct(credited("15"))
	november := f.issueNovember().Invoice
	require.Equal(t, "0", f.balance("credits"))
	_, err := f.CorrectInvoice(f.ctx, november, voided(), tester)
	require.NoError(t, err)
	require.Equal(t, "-15", f.balance("credits"))
	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, november+"/2", drafts[0].ID)
	require.Equal(t, "5.00 USD", drafts[0].Total.String(), "the next revision uses them again")
	f.clean()
}

func TestWhatMayBeOurOwnDoingIsNotTakenForSomebodyElses(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(credited("20"))
	step := f.begin()
	f.event("evt_1", "invoice.paid") // the provider settled it by our credit note; its answer was lost
	again := f.begin()
	require.Equal(t, billing.StepCorrect, again.Do, "and not a look, which would find it paid out of band")
	require.Equal(t, step.Correction.IdempotencyKey, again.Correction.IdempotencyKey)
	require.Equal(t, billing.StatusSettled, f.corrected(again, billing.CorrectionResult{Done: true, StripeID: "cn_1"}).Status)
	require.Equal(t, "0", f.balance("settlements"))
	f.clean()
}

func TestAVoidOpensThePeriodAgainAsTheNextRevision(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.store(use("a", "u1", october.AddDate(0, 1, 0), 60_000))
	f.charge(insufficient)
	var totals string
	const recount = `SELECT string_agg(t::text, ';' ORDER BY t::text) FROM usage_totals t`
	require.NoError(t, f.pool.QueryRow(f.ctx, recount).Scan(&totals))
	f.correct(voided())
	require.Equal(t, billing.StatusVoid, f.carryOut().Status)
	f.clean()
	require.Equal(t, "0", f.balance("receivable"))
	require.Equal(t, "0", f.balance("revenue"))
	require.Equal(t, "done", f.correct(voided()).Status, "twice in a row changes nothing")
	require.Equal(t, 1, f.nudges("invoice/"+octoberInvoice+"/2"))
	var after string
	require.NoError(t, f.pool.QueryRow(f.ctx, recount).Scan(&after))
	require.Equal(t, totals, after)

	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, octoberInvoice+"/2", drafts[0].ID)
	issue := func() billing.Issued {
		issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 2)
		require.NoError(t, err)
		return issued
	}
	require.Equal(t, issuedAt.Add(day), issue().HeldUntil, "it has a draft window of its own")
	expected, err := f.ExpectedWorkflows(f.ctx, "acme")
	require.NoError(t, err)
	require.Empty(t, expected, "no cycle was started here")
	require.Equal(t, []billing.UsageStatus{billing.UsageAccepted}, f.store(use("late", "u1", october.AddDate(0, 0, 30), 100_000)))
	f.clock(issuedAt.Add(day))
	issued := issue()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "20.50 USD", issued.Total.String(), "late usage is on it")
	stale, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusVoid, stale.Status)
	f.clean()
}

func TestManyVoidsAtOnceAreOneAndTheOthersAreToldSo(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	var wg sync.WaitGroup
	ids := make([]int64, 8)
	refused := make([]error, 8)
	for i := range ids {
		wg.Go(func() {
			want := voided()
			if i%2 == 1 {
				want = writtenOff()
			}
			asked, err := f.CorrectInvoice(f.ctx, octoberInvoice, want, tester)
			ids[i], refused[i] = asked.ID, err
		})
	}
	wg.Wait()
	require.Equal(t, 1, f.count("invoice_corrections"))
	won := 0
	for i, err := range refused {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, billing.ErrConflict)
		require.ErrorContains(t, err, "was asked for and is not carried out yet", i)
	}
	require.Equal(t, 4, won, "those who ask for the same get the same answer")
}

func TestAVoidThatRacesWithAPaymentIsDecidedByTheProvider(t *testing.T) {
	t.Parallel()
	t.Run("an attempt under way is waited for, and brings the money", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		step := f.begin()
		f.correct(voided())
		require.Equal(t, billing.StepResolve, f.begin().Do)
		require.Equal(t, billing.StatusPaid, f.answer(step.Attempt, succeeded).Status)
		status, failure := f.correction()
		require.Equal(t, "refused", status)
		require.Equal(t, "the invoice is paid meanwhile", failure)
		f.clean()
	})
	t.Run("an attempt under way fails, and the void is carried out", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		step := f.begin()
		f.correct(voided())
		f.answer(step.Attempt, stolen)
		require.Equal(t, billing.StatusVoid, f.carryOut().Status)
		f.clean()
	})
	t.Run("the customer paid just before the call", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		f.correct(voided())
		paid := billing.ProviderInvoiceState{StripeID: "in_1", Status: "paid", PaymentStatus: billing.PaymentSucceeded, Charges: 1}
		require.Equal(t, billing.StatusPaid, f.corrected(f.begin(), billing.CorrectionResult{State: paid}).Status)
		status, _ := f.correction()
		require.Equal(t, "refused", status)
		require.Equal(t, "20", f.balance("cash"))
		f.clean()
	})
	t.Run("a credit note is owed back then", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		step := f.begin()
		f.correct(credited("5"))
		f.answer(step.Attempt, succeeded)
		status, _ := f.correction()
		require.Equal(t, "done", status)
		require.Equal(t, "-5", f.balance("credits"))
		f.clean()
	})
	t.Run("the provider would not, and collection goes on", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t)
		f.correct(voided())
		state := f.corrected(f.begin(), billing.CorrectionResult{Refused: "a payment is processing"})
		require.Equal(t, billing.StatusOpen, state.Status)
		require.Equal(t, billing.StepCharge, f.begin().Do)
		entries, err := f.AuditTrail(f.ctx, "acme", 1)
		require.NoError(t, err)
		require.Equal(t, "invoices.void", entries[0].Action)
		require.Contains(t, string(entries[0].After), "a payment is processing")
		require.Equal(t, "tester", entries[0].Actor)
	})
}

func TestAnInvoiceThatTheProviderNeverSawIsVoidAtOnce(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	require.Equal(t, "done", f.correct(voided()).Status)
	require.Equal(t, billing.StatusVoid, f.invoice().Status)
	require.Equal(t, 1, f.nudges("invoice/"+octoberInvoice), "its invoicing lets it go")
	require.Equal(t, 1, f.nudges("invoice/"+octoberInvoice+"/2"))
	f.clean()

	f = newIssued(t)
	_, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Equal(t, "requested", f.correct(voided()).Status, "the provider may have it")
	f.carryOut()
	require.Equal(t, billing.StatusVoid, f.invoice().Status)
	f.clean()
}

func TestWhatWasVoidedAtTheProviderIsBilledAnewOnlyWhenSomebodyAsks(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.provider(billing.ProviderInvoiceState{Status: "void"})
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, "period_invoiced", found[0].Check)
	require.Equal(t, "done", f.correct(voided()).Status)
	require.Equal(t, 1, f.nudges("invoice/"+octoberInvoice+"/2"))
	f.clean()
}

func TestAVoidOfUsageThatWasRepricedIsRefused(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.refuses(transferred("0.009", ""), "decimal places")
	_, err := f.pool.Exec(f.ctx, `
INSERT INTO price_changes (book, revision, actor, reason, changes, models, speeds, tools)
SELECT name, revision + 1, 'x', 'x', '[]', '{claude-haiku-4-5}', '{standard}', false FROM price_books`)
	require.NoError(t, err)
	f.correct(voided()) // there is no usage, only a seat
	f.carryOut()
	f.clean()

	f = newFixture(t)
	f.store(use("a", "u1", october, 2_000_000))
	f.endOctober()
	f.issueOctober()
	f.publish(octoberInvoice, "in_1")
	_, err = f.pool.Exec(f.ctx, `
INSERT INTO price_changes (book, revision, actor, reason, changes, models, speeds, tools)
SELECT name, revision + 1, 'x', 'x', '[]', '{claude-haiku-4-5}', '{standard}', false FROM price_books`)
	require.NoError(t, err)
	f.refuses(voided(), "prices of its usage were corrected after it was issued")
}

func TestWhatIsTooLittleToChargeIsLeftToAPerson(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(transferred("19.70", ""))
	require.Equal(t, billing.StatusPastDue, f.carryOut().Status)
	require.Equal(t, "0.30 USD", f.invoice().AmountDue.String())
	require.ErrorContains(t, f.RequestRetry(f.ctx, octoberInvoice, tester), "less than can be charged")
	_, err := f.SetPaymentMethod(f.ctx, "acme", "pm_other", tester)
	require.NoError(t, err)
	require.Equal(t, billing.StepNone, f.begin().Do)
	require.Equal(t, billing.StatusPastDue, f.begin().State.Status, "and nobody waits for an attempt")
	f.clean()
	f.correct(credited("0.30"))
	require.Equal(t, billing.StatusPaid, f.carryOut().Status, "paid in part and credited for the rest")
	f.clean()
}

func TestACreditNoteBeforeTheProviderKnowsTheInvoiceWaitsForThat(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	f.correct(credited("5"))
	require.Equal(t, billing.StepNone, f.begin().Do)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	f.publish(octoberInvoice, "in_1")
	require.Equal(t, 2, f.nudges("collect/"+octoberInvoice), "and is told")
	require.Equal(t, "15.00 USD", f.carryOut().Due.String())
	f.clean()
}

func TestAnInvoiceVoidedAtTheProviderAfterAPartWasPaidOwesThatBack(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(transferred("5", ""))
	f.carryOut()
	f.correct(credited("2"))
	f.carryOut()
	f.provider(billing.ProviderInvoiceState{Status: "void"})
	require.Equal(t, "-5", f.balance("unapplied"))
	require.Equal(t, "0", f.balance("receivable"))
	require.Equal(t, "0", f.balance("revenue"))
	require.Equal(t, map[string]bool{"paid_settled": true, "payments_to_refund": true, "period_invoiced": true}, f.named(), "money for nothing is named")
}

func TestCorrectionsThatWereCarriedOutAreFinalAndNumberedWithoutGaps(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.correct(credited("5"))
	f.corrected(f.begin(), billing.CorrectionResult{Refused: "no"})
	f.correct(credited("5"))
	f.carryOut()
	require.Equal(t, "CN-000001", f.invoice().CreditNotes[0].Number, "what was refused has drawn none")
	for _, statement := range []string{`UPDATE invoice_corrections SET amount = 1`, `DELETE FROM invoice_corrections`} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.ErrorContains(t, err, "cannot change")
	}
	f.clean()
	f.spoil(`UPDATE invoice_corrections SET number = 'CN-000002' WHERE number IS NOT NULL`)
	found, err := f.Verify(f.ctx, "", "")
	require.NoError(t, err)
	require.Equal(t, []string{"credit_note_numbers", "credit_note_numbers"}, []string{found[0].Check, found[1].Check})
}

func TestWhatCannotBeCorrectedIsRefusedInAClearSentence(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	f.refuses(voided(), "is paid; only one that is open or past due can be voided")
	f.refuses(writtenOff(), "is paid; only one that is open or past due can be written off")
	f.refuses(transferred("1", ""), "nothing remains to be paid")
	f.refuses(credited("20.01"), "more than what was billed")
	f.refuses(postgres.CorrectionRequest{Kind: "forget"}, "accepted: void")
	_, err := f.CorrectInvoice(f.ctx, "acme/2020-01-01", voided(), tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.CorrectInvoice(f.ctx, "acme", voided(), tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestAVoidOfCodeWhosePriceWasCorrectedIsRefused(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	f.use(run("a", "u1", october, 100_000))
	f.endOctober()
	require.Equal(t, "6.40 USD", f.issueOctober().Total.String())
	f.reprice(freeHours("0.72"))
	f.refuses(voided(), "prices of its usage were corrected after it was issued")
}

func TestACreditWhileThePayerConfirmsLowersWhatTheConfirmedPaymentBrings(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(wantsAction)
	f.correct(credited("5"))
	f.carryOut()
	f.event("evt_1", "invoice.paid")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1, PaymentIntentID: "pi_1", AmountPaid: usd("15")})
	require.Equal(t, "15", f.balance("cash"))
	require.Equal(t, "0", f.balance("unapplied"))
	require.Equal(t, "0", f.balance("receivable"))
	payments, err := f.Payments(f.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, payments, 1)
	require.Equal(t, "15.00 USD", payments[0].Amount.String())
	f.clean()
}

func TestAnInvoiceFoundVoidWhileItIsCorrectedWaitsForTheOneThatIsIssued(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(insufficient)
	f.correct(credited("5"))
	step := f.begin()
	require.Equal(t, billing.StepCorrect, step.Do)
	issuing, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	defer issuing.Rollback(f.ctx)
	_, err = issuing.Exec(f.ctx, `SELECT pg_advisory_xact_lock(hashtextextended('issue/acme', 0))`)
	require.NoError(t, err)
	var recording sync.WaitGroup
	recording.Go(func() {
		void := billing.ProviderInvoiceState{StripeID: "in_1", Status: "void"}
		_, err = f.RecordCorrection(f.ctx, octoberInvoice, step.Correction.ID, billing.CorrectionResult{State: void})
	})
	f.inLine(1)
	require.Equal(t, billing.StatusOpen, f.invoice().Status, "what it carried is not free before")
	require.NoError(t, issuing.Rollback(f.ctx))
	recording.Wait()
	require.NoError(t, err)
	require.Equal(t, billing.StatusVoid, f.invoice().Status)
}

func TestAVoidWaitsForPricesThatAreBeingCorrected(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	f.use(run("a", "u1", october, 100_000))
	f.endOctober()
	f.issueOctober()
	correcting, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	defer correcting.Rollback(f.ctx)
	_, err = correcting.Exec(f.ctx, `SELECT pg_advisory_xact_lock(hashtextextended('price-book/contract', 0))`)
	require.NoError(t, err)
	_, err = correcting.Exec(f.ctx, `
INSERT INTO price_changes (book, revision, actor, reason, changes, models, speeds, tools)
SELECT name, revision + 1, 'x', 'x', '[]', '{}', '{}', true FROM price_books`)
	require.NoError(t, err)
	var asking sync.WaitGroup
	var refused error
	asking.Go(func() { _, refused = f.CorrectInvoice(f.ctx, octoberInvoice, voided(), tester) })
	f.inLine(1)
	require.NoError(t, correcting.Commit(f.ctx))
	asking.Wait()
	require.ErrorContains(t, refused, "prices of its usage were corrected after it was issued")
}
