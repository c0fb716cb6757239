package postgres_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// behind reports whether the database at a URL may have gone back.
func behind(t *testing.T, databaseURL string) bool {
	t.Helper()
	store, err := postgres.Open(t.Context(), databaseURL)
	require.NoError(t, err)
	defer store.Close()
	present, err := store.RecoveryPending(t.Context())
	require.NoError(t, err)
	return present != ""
}

// A base backup that is started by itself has the system's identifier and the
// timeline of its original, and so has a snapshot of a disk.
func TestEveryServerThatWasStartedSinceMayHaveGoneBack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := t.TempDir()
	original, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: filepath.Join(dir, "original"), Throwaway: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, original.Stop()) }()
	require.NoError(t, postgres.Migrate(t.Context(), original.URL("postgres")))
	require.False(t, behind(t, original.URL("postgres")), "nothing was done yet")
	store, err := postgres.Open(t.Context(), original.URL("postgres"))
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, store.RecordFirstEpoch(t.Context()))
	require.False(t, behind(t, original.URL("postgres")))

	require.NoError(t, original.CopyTo(t.Context(), filepath.Join(dir, "backup"), false))
	backup, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: filepath.Join(dir, "backup"), Throwaway: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, backup.Stop()) }()
	require.True(t, behind(t, backup.URL("postgres")))
	require.False(t, behind(t, original.URL("postgres")))

	restored, err := postgres.Open(t.Context(), backup.URL("postgres"))
	require.NoError(t, err)
	defer restored.Close()
	require.NoError(t, restored.RecordFirstEpoch(t.Context()))
	require.True(t, behind(t, backup.URL("postgres")), "a worker that starts there does not take it for the first")
	present, err := restored.RecoveryPending(t.Context())
	require.NoError(t, err)
	require.NoError(t, restored.RecoveryDone(t.Context(), "another, since the server was replaced meanwhile"))
	require.True(t, behind(t, backup.URL("postgres")))
	require.NoError(t, restored.RecoveryDone(t.Context(), present))
	require.False(t, behind(t, backup.URL("postgres")))
}

func TestTablesThatWerePutBackByADumpMayHaveGoneBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, f.RecordFirstEpoch(f.ctx))
	present, err := f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	require.Empty(t, present)
	f.exec(`CREATE TABLE dump AS TABLE database_incarnation`)
	f.exec(`DROP TABLE database_incarnation`) // as pg_restore --clean does
	f.exec(`CREATE TABLE database_incarnation AS TABLE dump`)
	f.exec(`GRANT SELECT ON database_incarnation TO PUBLIC`)
	present, err = f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	require.NotEmpty(t, present)
}

// The cycle is already in November when the database forgets that October ended.
func TestAPeriodWhoseEndWasForgottenIsEndedFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	f.exec(`UPDATE periods SET draft_until = NULL`)
	a, err := f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	require.Equal(t, "2026-10-01", a.Period)
	require.NotNil(t, a.Ended)
	require.True(t, a.Ended.Unbilled)
	require.Equal(t, "2026-11-01", a.Ended.Next)
	require.Equal(t, billing.StatusSettled, f.issueOctober().Status)
	a, err = f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.False(t, a.Ended.Unbilled)
}

func TestWhatIsAskedOfUnsettledInvoicesComesBeforeAnyCharge(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	f.exec(`UPDATE database_incarnation SET known = 'before'`)
	require.ErrorIs(t, f.CheckBillingEnabled(f.ctx), billing.ErrStopped)
	require.Equal(t, billing.StepNone, f.begin().Do)
	present, err := f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	f.exec(`DELETE FROM outbox`)
	require.NoError(t, f.RecoveryDone(f.ctx, present))
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
	require.Equal(t, 1, f.nudges("billing-cycle/acme"))
	require.Equal(t, billing.StepRefresh, f.begin().Do)
}

func TestRowsThatArePutBackOnceMoreHaveInvoicesLookedAtOnceMore(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	for range 2 { // on the same server
		_, err := f.DeclareRestored(f.ctx, tester)
		require.NoError(t, err)
		present, err := f.RecoveryPending(f.ctx)
		require.NoError(t, err)
		require.NoError(t, f.RecoveryDone(f.ctx, present))
		require.Equal(t, billing.StepRefresh, f.begin().Do)
		f.exec(`UPDATE stripe_events SET processed_at = now()`)
	}
}

func TestWhatIsPutBackWhileASweepIsUnderWayIsNotTakenForLevel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`UPDATE database_incarnation SET known = 'before'`)
	begun, err := f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	changed, err := f.DeclareRestored(f.ctx, tester)
	require.NoError(t, err)
	require.False(t, changed, "it was behind")
	require.NoError(t, f.RecoveryDone(f.ctx, begun))
	present, err := f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	require.NotEmpty(t, present)
	require.NoError(t, f.RecoveryDone(f.ctx, present))
	present, err = f.RecoveryPending(f.ctx)
	require.NoError(t, err)
	require.Empty(t, present)
}

// Its parts bear the invoice's number, and none is over the whole.
func TestASplitInvoiceKeepsTheNumberOfItsParts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 1_000_000))
	f.endOctober()
	f.exec(`
INSERT INTO provider_orphans (stripe_invoice_id, org_id, invoice_id, part, number, status, total, currency, made_at)
VALUES ('in_part', 'acme', '` + octoberInvoice + `', 1, 'INV-000042', 'paid', 999, 'USD', now())`)
	require.Equal(t, octoberInvoice, f.issueOctober().Invoice)
	issued, err := f.Invoice(f.ctx, octoberInvoice, false)
	require.NoError(t, err)
	require.Equal(t, "INV-000042", issued.Number)
}
