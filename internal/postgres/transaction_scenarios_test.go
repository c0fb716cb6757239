package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// loseRaces has every nth statement that adds to the totals fail as one whose
// transaction lost a race. A sequence counts them, which no rollback takes back.
func (f *fixture) loseRaces(nth int) {
	f.t.Helper()
	f.exec(fmt.Sprintf(`
CREATE SEQUENCE additions;
CREATE FUNCTION lose_race() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF nextval('public.additions') %% %d = 0 THEN
        RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lose_race AFTER INSERT OR UPDATE ON usage_totals FOR EACH STATEMENT EXECUTE FUNCTION lose_race();`, nth))
}

func (f *fixture) additions() (n int) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT last_value FROM additions`).Scan(&n))
	return n
}

func TestASerializationFailureIsTriedAgainWholeAndNobodyIsTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1")
	f.loseRaces(20)
	const writers, batches = 4, 40
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for b := range batches {
				at := october.Add(time.Duration(b) * time.Second)
				id, user := fmt.Sprintf("%d-%d", w, b), fmt.Sprintf("u%d", w)
				answers, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use(id+"a", user, at, 2000), use(id+"b", user, at, 2000)})
				if err != nil || answers[0].Status != accepted || answers[1].Status != accepted {
					t.Errorf("%v, %v", answers, err)
				}
			}
		})
	}
	wait.Wait()
	require.GreaterOrEqual(t, f.additions(), writers*batches*20/19, "it did strike")
	require.Equal(t, "3.2", f.spent(billing.ScopeOrganization, ""))
	require.Len(t, f.notices(), 3)
	f.recounted(2 * writers * batches)
}

func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.loseRaces(1)
	_, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use("a", "u1", october, 1)})
	var lost *pgconn.PgError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, "40001", lost.Code)
	require.Equal(t, 10, f.additions())
	f.exec(`DROP TRIGGER lose_race ON usage_totals`)
	f.recounted(0)
}

// Usage is rated, and the thresholds that it crosses are evaluated, in the
// transaction that stores it: there is no later step with a watermark of its own. So
// to die while rating or evaluating is to die before that transaction commits.
func TestASessionThatDiesAtItsCommitLeavesNeitherRatedUsageNorCrossings(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1")
	f.exec(`
CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON usage_totals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();`)
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	_, err = hold.Exec(f.ctx, `SELECT pg_advisory_xact_lock(4711)`)
	require.NoError(t, err)
	batch := []billing.UsageItem{use("a", "u1", october, 100_000), use("b", "u2", october, 100_000)}
	failed := make(chan error, 1)
	go func() {
		_, err := f.StoreUsage(f.ctx, "acme", batch)
		failed <- err
	}()
	f.inLine(1) // all is rated, counted and evaluated, and not committed
	f.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`)
	require.Error(t, <-failed)
	require.NoError(t, hold.Rollback(f.ctx))
	require.Zero(t, f.count("notices"))
	f.recounted(0)

	for range 2 {
		f.store(batch...)
		require.Len(t, f.notices(), 3, "each crossing is found again, once")
		require.Equal(t, "1", f.spent(billing.ScopeOrganization, ""))
		f.recounted(2)
	}
}

// An organisation whose usage cannot be read is not billed as if it had none, and
// holds up nobody.
func TestAnInvoiceWhoseUsageCannotBeReadIsParkedAndTheOthersAreIssued(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breaks      []string
		mended, why string
	}{
		"a rate of another book": {
			[]string{
				`INSERT INTO price_books (name, currency, revision) SELECT 'other', currency, revision FROM price_books`,
				`INSERT INTO rates OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(r, '{"id":4711,"book":"other"}')).* FROM rates r LIMIT 1`,
				`UPDATE usage_totals SET rate_id = 4711 WHERE org_id = 'acme'`,
			},
			`UPDATE usage_totals SET rate_id = (SELECT rate_id FROM usage_events WHERE org_id = 'acme') WHERE org_id = 'acme'`,
			"rate 4711 is not of the organization's price book",
		},
		"a count that is no number": {
			[]string{
				`ALTER TABLE usage_totals DROP CONSTRAINT usage_totals_finite`,
				`UPDATE usage_totals SET output = 'NaN' WHERE org_id = 'acme'`,
			},
			`UPDATE usage_totals SET output = 1000000 WHERE org_id = 'acme'`,
			"the usage of the period cannot be read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.create(billing.Organization{ID: "globex", StartsAt: october, TestClock: true, Now: october})
			f.store(use("a", "u1", october, 1_000_000))
			other := useOf("globex", "b")
			other.Event.Quantities[billing.Output] = 1_000_000
			_, err := f.StoreUsage(f.ctx, "globex", []billing.UsageItem{other})
			require.NoError(t, err)
			for _, statement := range c.breaks {
				f.exec(statement)
			}
			f.endOctober()
			require.NoError(t, f.SetClock(f.ctx, "globex", october.AddDate(0, 1, 1)))
			_, err = f.Accrue(f.ctx, "globex", "2026-10-01")
			require.NoError(t, err)

			held := f.issueOctober()
			require.Equal(t, billing.StatusParked, held.Status)
			require.Contains(t, held.Reason, c.why)
			drafts, err := f.DraftInvoices(f.ctx, "acme", false)
			require.NoError(t, err)
			require.Equal(t, billing.StatusParked, drafts[0].Status)
			require.Contains(t, drafts[0].ParkedReason, c.why)
			_, err = f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseAsIs, ann)
			require.ErrorContains(t, err, "cannot be released")
			issued, err := f.IssueInvoice(f.ctx, "globex", "2026-10-01", 1)
			require.NoError(t, err)
			require.Equal(t, "5.00 USD", issued.Total.String())

			f.exec(c.mended)
			require.Equal(t, "5.00 USD", f.issueOctober().Total.String())
		})
	}
}

func TestNewsThatTheDatabaseIsTooSlowToTakeIsNotHalfStoredAndTakenLater(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.exec(`DELETE FROM outbox`)
	hold, err := f.pool.Begin(f.ctx)
	require.NoError(t, err)
	_, err = hold.Exec(f.ctx, `LOCK TABLE outbox`) // the event is inserted already when its nudge waits
	require.NoError(t, err)
	record := func(patience time.Duration) (bool, error) {
		ctx, cancel := context.WithTimeout(f.ctx, patience)
		defer cancel()
		return f.RecordStripeEvent(ctx, postgres.StripeEvent{
			ID: "evt_1", Type: "invoice.paid", ObjectID: "in_1", CustomerID: "cus_1", StripeInvoiceID: "in_1", Created: october,
		})
	}
	_, err = record(300 * time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, hold.Rollback(f.ctx))
	require.Zero(t, f.count("stripe_events"))
	require.Zero(t, f.count("outbox"))
	isNew, err := record(10 * time.Second)
	require.NoError(t, err)
	require.True(t, isNew)
	require.Equal(t, 1, f.nudges("collect/"+octoberInvoice))
}
