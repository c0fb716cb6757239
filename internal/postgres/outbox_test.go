package postgres_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoTransactionIsOpenWhileNudgesAreDelivered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`DELETE FROM outbox`)
	require.NoError(t, f.Nudge(f.ctx, "acme", "billing-cycle/acme"))
	require.NoError(t, f.Nudge(f.ctx, "acme", "billing-cycle/acme"))
	require.NoError(t, f.Nudge(f.ctx, "acme", "collect/acme/2026-10-01"))
	var delivered []string
	taken, err := f.RelayNudges(f.ctx, 10, func(_ context.Context, id string) error {
		delivered = append(delivered, id)
		require.Equal(t, []string{"0"}, f.list(`
SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`))
		other, err := f.RelayNudges(f.ctx, 10, nil)
		require.NoError(t, err)
		require.Zero(t, other, "another relay finds nothing")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, taken)
	slices.Sort(delivered)
	require.Equal(t, []string{"billing-cycle/acme", "collect/acme/2026-10-01"}, delivered)
	require.Zero(t, f.count("outbox"))
}

func TestTheNudgesOfARelayThatDiedAreDeliveredByAnother(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`DELETE FROM outbox`)
	require.NoError(t, f.Nudge(f.ctx, "acme", "billing-cycle/acme"))
	require.Panics(t, func() {
		_, _ = f.RelayNudges(f.ctx, 10, func(context.Context, string) error { panic("dies") })
	})
	require.Equal(t, 1, f.count("outbox"))
	f.exec(`UPDATE outbox SET due_at = due_at - interval '10 seconds'`)
	taken, err := f.RelayNudges(f.ctx, 10, func(context.Context, string) error { return nil })
	require.NoError(t, err)
	require.Equal(t, 1, taken)
	require.Zero(t, f.count("outbox"))
}

func TestWhatWasSignalledLeavesTheOutboxThoughTheRelayIsStopped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`DELETE FROM outbox`)
	require.NoError(t, f.Nudge(f.ctx, "acme", "billing-cycle/acme"))
	ctx, stop := context.WithCancel(f.ctx)
	_, err := f.RelayNudges(ctx, 10, func(context.Context, string) error {
		stop()
		return nil
	})
	require.NoError(t, err)
	require.Zero(t, f.count("outbox"))
}
