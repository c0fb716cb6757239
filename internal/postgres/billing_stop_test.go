package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func (f *fixture) stop() {
	f.t.Helper()
	changed, err := f.StopBilling(f.ctx, ann)
	require.NoError(f.t, err)
	require.True(f.t, changed)
}

func (f *fixture) resume() {
	f.t.Helper()
	changed, err := f.ResumeBilling(f.ctx, ann)
	require.NoError(f.t, err)
	require.True(f.t, changed)
}

func TestWhileBillingIsStoppedNothingIsIssuedAndResumingWakesAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	f.seat("u1", "chat", false)
	f.endOctober()
	f.stop()
	changed, err := f.StopBilling(f.ctx, ben)
	require.NoError(t, err)
	require.False(t, changed, "once more changes nothing")
	stop, err := f.BillingStop(f.ctx)
	require.NoError(t, err)
	require.Equal(t, "ann", stop.Actor)

	held := f.issueOctober()
	require.Equal(t, billing.StatusDraft, held.Status)
	require.True(t, held.Stopped)
	require.True(t, held.HeldUntil.IsZero(), "it waits for news, and does not poll")
	require.NotContains(t, held.Reason, "ann", "histories name nobody")
	require.ErrorIs(t, f.CheckBillingEnabled(f.ctx), billing.ErrStopped)
	cycle, err := f.Cycle(f.ctx, "acme")
	require.NoError(t, err)
	require.True(t, cycle.Stopped)
	require.Zero(t, f.count("invoices"))

	f.exec(`DELETE FROM outbox`)
	f.resume()
	require.Equal(t, 1, f.nudges("invoice/acme/2026-10-01"))
	require.Equal(t, 1, f.nudges("billing-cycle/acme"))
	require.NoError(t, f.CheckBillingEnabled(f.ctx))
	require.Equal(t, billing.StatusOpen, f.issueOctober().Status)
	changed, err = f.ResumeBilling(f.ctx, ann)
	require.NoError(t, err)
	require.False(t, changed)
}

func TestWhileBillingIsStoppedNothingIsChargedAndNoAttemptIsUsedUp(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.stop()
	require.Equal(t, 1, f.nudges("collect/acme/2026-10-01"), "so that it says why it waits")
	f.event("evt_1", "invoice.paid")
	step := f.begin()
	require.Equal(t, billing.StepNone, step.Do)
	require.True(t, step.State.Stopped)
	require.True(t, step.State.NextAt.IsZero())
	require.Empty(t, f.payments())
	f.resume()
	require.Equal(t, billing.StepRefresh, f.begin().Do, "what the provider said meanwhile is not forgotten")
	f.provider(billing.ProviderInvoiceState{Status: "open"})
	require.Equal(t, billing.StatusPaid, f.charge(succeeded).Status)
	f.clean()
}

func TestAnAttemptThatGotNoAnswerIsNotRepeatedWhileBillingIsStopped(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	require.Equal(t, billing.StepCharge, f.begin().Do)
	f.stop()
	require.Equal(t, billing.StepNone, f.begin().Do)
	f.resume()
	require.Equal(t, billing.StepResolve, f.begin().Do)
}

func TestAnInvoiceThatIsJustBeingIssuedIsStoppedToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.endOctober()
	f.clock(october.AddDate(0, 1, 1))
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	_, err = hold.Exec(f.ctx, `SELECT 1 FROM installation FOR UPDATE`) // before the number is drawn
	require.NoError(t, err)
	issued := make(chan billing.Issued, 1)
	go func() {
		got, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
		if err == nil {
			issued <- got
		}
		close(issued)
	}()
	f.inLine(1)
	began := time.Now()
	f.stop()
	require.Less(t, time.Since(began), 5*time.Second, "stopping waits for nobody")
	require.NoError(t, hold.Commit(f.ctx))
	require.True(t, (<-issued).Stopped)
	require.Zero(t, f.count("invoices"))
	f.clean()
}

func TestResumingWaitsForWhoeverWasJustToldToWait(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.stop()
	told, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	_, err = told.Exec(f.ctx, `SELECT pg_advisory_xact_lock_shared(hashtextextended('billing-stop', 0))`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := f.ResumeBilling(f.ctx, ann)
		done <- err
	}()
	f.inLine(1)
	stop, err := f.BillingStop(f.ctx)
	require.NoError(t, err)
	require.NotNil(t, stop)
	require.NoError(t, told.Commit(f.ctx))
	require.NoError(t, <-done)
}

func TestACollectionThatWasStartedToCorrectIsWokenWhenTheInvoiceIsPublished(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	_, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	f.correct(voided())
	state := f.corrected(f.begin(), billing.CorrectionResult{Refused: "it would not"})
	require.Equal(t, billing.StatusOpen, state.Status)
	f.stop()
	require.True(t, f.begin().State.Stopped, "its collection waits for billing to go on, and for nothing else")
	f.exec(`DELETE FROM outbox`)
	f.resume()
	require.Zero(t, f.nudges("collect/"+octoberInvoice), "there is nothing to collect yet")
	f.publish(octoberInvoice, "in_1")
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, billing.StepCharge, f.begin().Do)
}
