package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// ages has October's invoice been at the provider, in real time, for so long.
func (f *fixture) ages(at time.Duration) {
	f.t.Helper()
	_, err := f.pool.Exec(f.ctx, `UPDATE invoices SET stripe_finalized_at = now() - make_interval(secs => $1)`, at.Seconds())
	require.NoError(f.t, err)
}

func (f *fixture) requestLooks() int {
	f.t.Helper()
	asked, err := f.RequestRefresh(f.ctx, 10)
	require.NoError(f.t, err)
	return asked
}

func TestAnUnpaidInvoiceThatNobodyToldOfForADayIsLookedAt(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(stolen)
	f.ages(48 * time.Hour)
	require.Zero(t, f.requestLooks(), "a test clock is moved by nobody else")
	_, err := f.pool.Exec(f.ctx, `UPDATE organizations SET clock_at = NULL`)
	require.NoError(t, err)
	f.ages(time.Hour)
	require.Zero(t, f.requestLooks(), "it was just published")

	f.ages(48 * time.Hour)
	require.Equal(t, 1, f.requestLooks())
	require.Zero(t, f.requestLooks(), "once a day")
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, []string{"collect/" + octoberInvoice}, f.expected(), "past due as it is")
	require.Equal(t, billing.StepRefresh, f.begin().Do)
	require.Equal(t, billing.StatusPaid, f.provider(billing.ProviderInvoiceState{Status: "paid", Charges: 1}).Status)
	_, err = f.pool.Exec(f.ctx, `UPDATE invoices SET swept_at = NULL`)
	require.NoError(t, err)
	require.Zero(t, f.requestLooks(), "nothing is left to ask")
}

func TestAnInvoiceAtTheProviderThatIsRecordedNowhereIsNamed(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	made := time.Now().Add(-3 * time.Hour).UTC().Truncate(time.Second)
	mark := func(id, status string) billing.ProviderMark {
		return billing.ProviderMark{StripeID: id, Organization: "acme", Invoice: octoberInvoice, Status: status, Created: made}
	}
	record := func(want int, marks ...billing.ProviderMark) {
		t.Helper()
		orphans, err := f.RecordMarks(f.ctx, marks)
		require.NoError(t, err)
		require.Equal(t, want, orphans)
	}
	named := func() (subjects []string) {
		t.Helper()
		found, err := f.Verify(f.ctx, "", "")
		require.NoError(t, err)
		for _, d := range found {
			require.Equal(t, "provider_orphan", d.Check)
			subjects = append(subjects, d.Subject)
		}
		return subjects
	}
	record(1, mark("in_1", "open"), mark("in_lost", "draft"), mark("in_gone", "void"))
	record(0, mark("in_lost", "open"))
	require.Equal(t, []string{"in_lost"}, named())
	oldest, err := f.OldestOrphan(f.ctx)
	require.NoError(t, err)
	require.Equal(t, made, oldest)

	record(0, mark("in_lost", "void"))
	require.Empty(t, named(), "somebody withdrew it")

	record(1, mark("in_deleted", "draft"))
	begun, err := f.SweptTo(f.ctx, "invoices")
	require.NoError(t, err)
	require.NoError(t, f.RecordSweep(f.ctx, "invoices", time.Now().Add(time.Minute), begun.Incarnation))
	require.Empty(t, named(), "the list was read since, and it was not there")
	oldest, err = f.OldestOrphan(f.ctx)
	require.NoError(t, err)
	require.True(t, oldest.IsZero())
}

func TestASweepNeverGoesBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	swept := func() billing.Swept {
		swept, err := f.SweptTo(f.ctx, "events")
		require.NoError(t, err)
		return swept
	}
	begun := swept()
	require.True(t, begun.To.IsZero())
	require.NoError(t, f.RecordSweep(f.ctx, "events", october.Add(time.Hour), begun.Incarnation))
	require.NoError(t, f.RecordSweep(f.ctx, "events", october, begun.Incarnation))
	require.Equal(t, october.Add(time.Hour), swept().To)

	_, err := f.DeclareRestored(f.ctx, tester)
	require.NoError(t, err)
	require.NoError(t, f.RecordSweep(f.ctx, "events", october.Add(2*time.Hour), begun.Incarnation))
	require.Equal(t, october.Add(time.Hour), swept().To, "what was read before rows were put back may be forgotten")
}

func TestOrganizationsAreGoneThroughByID(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids, err := f.OrganizationsAfter(f.ctx, "", 5)
	require.NoError(t, err)
	require.Empty(t, ids, "those on test clocks are rehearsals")
	_, err = f.pool.Exec(f.ctx, `UPDATE organizations SET clock_at = NULL`)
	require.NoError(t, err)
	ids, err = f.OrganizationsAfter(f.ctx, "", 5)
	require.NoError(t, err)
	require.Equal(t, []string{"acme"}, ids)
	ids, err = f.OrganizationsAfter(f.ctx, "acme", 5)
	require.NoError(t, err)
	require.Empty(t, ids)
}

func TestRefusedWebhooksAreCountedByDayAndReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, f.CountWebhookRefusals(f.ctx, map[string]int64{"signature": 3, "too_old": 1}))
	require.NoError(t, f.CountWebhookRefusals(f.ctx, map[string]int64{"signature": 2}))
	rows, err := f.WebhookRefusals(f.ctx, 10)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, time.Now().UTC().Format(time.DateOnly), rows[0].Day)
	require.Equal(t, int64(5), rows[0].Count)
	require.Equal(t, "too_old", rows[1].Reason)
}
