package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// beside opens a connection of somebody else's.
func (f *fixture) beside() *pgx.Conn {
	f.t.Helper()
	conn, err := pgx.Connect(f.ctx, pgtest.URL(f.pool))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// with opens the same database with more settings in its URL.
func (f *fixture) with(settings string) *postgres.Store {
	f.t.Helper()
	store, err := postgres.Open(f.ctx, pgtest.URL(f.pool)+"&"+settings)
	require.NoError(f.t, err)
	f.t.Cleanup(store.Close)
	return store
}

// Whoever takes the counters in another order deadlocks with a batch. The database
// ends the batch, which is stored again from its start.
func TestABatchThatWasDeadlockedIsStoredOnceAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "2")
	f.store(use("before", "u1", october, 10_000))
	other := f.beside()
	_, err := other.Exec(f.ctx, `SET deadlock_timeout = '1min'`) // so that it is the batch that is ended
	require.NoError(t, err)
	tx, err := other.Begin(f.ctx)
	require.NoError(t, err)
	const lock = `SELECT 1 FROM spend_counters WHERE org_id = 'acme' AND scope = $1 FOR UPDATE`
	_, err = tx.Exec(f.ctx, lock, billing.ScopeOrganization)
	require.NoError(t, err)
	stored := make(chan error, 1)
	go func() {
		_, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use("a", "u1", october, 390_000)})
		stored <- err
	}()
	f.inLine(1)
	_, err = tx.Exec(f.ctx, lock, billing.ScopeUser)
	require.NoError(t, err, "got only because the batch was ended")
	require.Empty(t, stored, "and it does not give up")
	require.NoError(t, tx.Commit(f.ctx))
	require.NoError(t, <-stored)
	require.Equal(t, 2, f.count("usage_events"))
	require.Equal(t, "2", f.spent(billing.ScopeOrganization, ""))
	require.Len(t, f.notices(), 3, "each threshold once")
}

func TestAStatementTimeoutInACloseLeavesNothingAndTheNextGivesTheSameInvoice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.store(use("a", "u1", october, 1_000_000))
	f.endOctober()
	f.clock(october.AddDate(0, 1, 1))
	preview, err := f.Store.UsageSummary(f.ctx, "acme", "2026-10-01", nil)
	require.NoError(t, err)

	holder := f.beside()
	tx, err := holder.Begin(f.ctx)
	require.NoError(t, err)
	_, err = tx.Exec(f.ctx, `SELECT 1 FROM installation FOR UPDATE`) // it takes the number when the period is closed already
	require.NoError(t, err)
	_, err = f.with("statement_timeout=300").IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	var timeout *pgconn.PgError
	require.ErrorAs(t, err, &timeout)
	require.Equal(t, "57014", timeout.Code)
	require.Zero(t, f.count("invoices"))
	require.Zero(t, f.count("periods WHERE closed_at IS NOT NULL"), "all of it is rolled back")
	require.NoError(t, tx.Commit(f.ctx))

	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, "25.00", issued.Total.Amount.StringFixed(2), "a seat and 5.00 of usage")
	require.Equal(t, "5", preview.Rows[0].Spend.Amount.String())
	require.Equal(t, 1, f.count("invoices"))
}

func TestNewsThatCommitsLateIsNotSkipped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`DELETE FROM outbox`)
	slow := f.beside()
	tx, err := slow.Begin(f.ctx)
	require.NoError(t, err)
	_, err = tx.Exec(f.ctx, `INSERT INTO outbox (org_id, workflow_id) VALUES ('acme', 'invoice/acme/slow')`)
	require.NoError(t, err)
	require.NoError(t, f.Nudge(f.ctx, "acme", "billing-cycle/acme"), "with a later number, and committed first")
	relay := func() (delivered []string) {
		_, err := f.RelayNudges(f.ctx, 100, func(_ context.Context, workflow string) error {
			delivered = append(delivered, workflow)
			return nil
		})
		require.NoError(t, err)
		return delivered
	}
	require.Equal(t, []string{"billing-cycle/acme"}, relay())
	require.Empty(t, relay())
	require.NoError(t, tx.Commit(f.ctx))
	require.Equal(t, []string{"invoice/acme/slow"}, relay())
	require.Zero(t, f.count("outbox"))
}

// A program of ours that stands still in a transaction holds its organisation's
// lock. The database ends the session; others proceed meanwhile, and who it was can
// be said.
func TestASessionThatStandsStillInATransactionIsNamedAndEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(billing.Organization{ID: "globex", StartsAt: october, TestClock: true, Now: october})
	acquired, err := asApp(t, f.pool).Acquire(f.ctx) // sessions of others hide what they do from a plain role
	require.NoError(t, err)
	still := acquired.Hijack()
	defer func() { _ = still.Close(f.ctx) }()
	_, err = still.Exec(f.ctx, `
SET application_name = 'stuck'; SET idle_in_transaction_session_timeout = '1500ms';
BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('terms/acme', 0))`)
	require.NoError(t, err)
	stored := make(chan error, 1)
	go func() {
		_, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use("a", "u1", october, 1)})
		stored <- err
	}()
	f.inLine(1)
	_, err = f.StoreUsage(f.ctx, "globex", []billing.UsageItem{useOf("globex", "b")})
	require.NoError(t, err, "other organisations proceed")
	require.Eventually(t, func() bool {
		holders, err := f.BlockingSessions(f.ctx, time.Second)
		require.NoError(t, err)
		return slices.ContainsFunc(holders, func(h postgres.BlockingSession) bool {
			return h.Application == "stuck" && h.PID == still.PgConn().PID() && h.Waiters == 1 && h.Since >= time.Second
		})
	}, 3*time.Second, 20*time.Millisecond)
	require.NoError(t, <-stored, "once it is ended")
	err = still.Ping(f.ctx)
	require.Error(t, err)
	holders, err := f.BlockingSessions(f.ctx, 0)
	require.NoError(t, err)
	require.Empty(t, holders)
}

func useOf(org, id string) billing.UsageItem {
	item := use(id, "u1", october, 1)
	item.Event.Organization = org
	return item
}

// TestTheOrderOfArrivalChangesNoBill stores the same month in order, reversed,
// and interleaved in small batches.
func TestTheOrderOfArrivalChangesNoBill(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var inOrder []billing.UsageItem
	for i := range 120 {
		item := use(fmt.Sprint(i), fmt.Sprintf("u%d", i%7), october.Add(time.Duration(i)*6*time.Hour), int64(1_000+i*977))
		item.Event.Quantities[billing.Input] = int64(i * 13)
		inOrder = append(inOrder, item)
	}
	reversed := slices.Clone(inOrder)
	slices.Reverse(reversed)
	var interleaved []billing.UsageItem
	for start := range 11 {
		for i := start; i < len(inOrder); i += 11 {
			interleaved = append(interleaved, inOrder[i])
		}
	}
	bills := map[string][]billing.Line{}
	for org, c := range map[string]struct {
		items []billing.UsageItem
		size  int
	}{"acme": {inOrder, 120}, "reversed": {reversed, 17}, "interleaved": {interleaved, 5}} {
		if org != "acme" {
			f.create(billing.Organization{ID: org, StartsAt: october, TestClock: true, Now: october})
		}
		require.NoError(t, f.SetClock(f.ctx, org, october.AddDate(0, 0, 30)))
		for batch := range slices.Chunk(c.items, c.size) {
			batch = slices.Clone(batch)
			for i := range batch {
				batch[i].Event.Organization = org
			}
			_, err := f.StoreUsage(f.ctx, org, batch)
			require.NoError(t, err)
		}
		invoice, err := f.PreviewInvoice(f.ctx, org, false)
		require.NoError(t, err)
		bills[org] = invoice.Lines
	}
	require.NotEmpty(t, bills["acme"])
	require.Equal(t, bills["acme"], bills["reversed"])
	require.Equal(t, bills["acme"], bills["interleaved"])
}
