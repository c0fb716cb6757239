package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// check says what is decided for a user's request and by which limit.
func (f *fixture) check(user string) string {
	f.t.Helper()
	c, err := f.CheckLimit(f.ctx, "acme", user)
	require.NoError(f.t, err)
	decision := "blocked"
	if c.Allowed() {
		decision = "allowed"
	}
	if c.Binding == nil {
		return decision + ", unlimited"
	}
	remaining, _ := c.Binding.Limit.Remaining(c.Binding.Spent)
	return fmt.Sprintf("%s by %s %s: %s left", decision, c.Binding.Limit.Scope, c.Binding.Limit.Subject, remaining)
}

func TestTheRequestThatCrossesRunsAndTheNextIsBlocked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, "allowed, unlimited", f.check("u1"))
	f.limit(billing.ScopeOrganization, "", "100")
	f.store(use("a", "u1", october, 19_998_000)) // 99.99 USD
	require.Equal(t, "allowed by organization : 0.01 left", f.check("u1"))
	f.store(use("b", "u1", october, 80_000)) // 0.40 USD
	require.Equal(t, "blocked by organization : -0.39 left", f.check("u2"), "for everybody")
	require.Equal(t, "blocked by organization : -0.39 left", f.check(""), "service usage too")
}

func TestEveryLimitThatAppliesMustLeaveSomething(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	f.seat("u3", "chat_claude_code", false)
	f.limit(billing.ScopeOrganization, "", "100")
	f.limit(billing.ScopeSeatTier, "chat", "10")
	f.limit(billing.ScopeUser, "u2", "8")
	f.limit(billing.ScopeUser, "u3", "none")
	f.store(use("a", "u1", october, 2_000_000), use("b", "u2", october, 1_000_000), use("c", "u3", october, 4_000_000)) // 10, 5 and 20 USD
	require.Equal(t, "blocked by seat_tier chat: 0 left", f.check("u1"), "what is spent to the cent is spent")
	require.Equal(t, "allowed by user u2: 3 left", f.check("u2"), "a tier's limit is each member's own")
	require.Equal(t, "allowed by organization : 65 left", f.check("u3"), "none is unlimited, the organization's limit stays")
	require.Equal(t, "allowed by organization : 65 left", f.check("nobody"), "without a seat or a limit")

	f.seat("u1", "chat_claude_code", false)
	require.Equal(t, "allowed by organization : 65 left", f.check("u1"), "the tier held now decides")
}

func TestAPooledTierIsSpentByAllItsMembers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	change := limitChange(billing.ScopeSeatTier, "chat", "10")
	change.Mode = billing.Pooled
	_, err := f.SetLimit(f.ctx, "acme", change, tester)
	require.NoError(t, err)
	f.store(use("a", "u1", october, 2_000_000)) // 10 USD
	require.Equal(t, "blocked by seat_tier chat: 0 left", f.check("u2"))
}

func TestZeroBlocksAndNoneDoesNot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "0")
	require.Equal(t, "blocked by user u1: 0 left", f.check("u1"))
	require.Equal(t, "allowed, unlimited", f.check("u2"))
	f.limit(billing.ScopeUser, "u1", "none")
	require.Equal(t, "allowed, unlimited", f.check("u1"))
}

func TestAChangedLimitActsOnTheNextCheck(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "20")
	f.store(use("a", "u1", october, 2_000_000)) // 10 USD
	require.Equal(t, "allowed by user u1: 10 left", f.check("u1"))
	f.limit(billing.ScopeUser, "u1", "9")
	require.Equal(t, "blocked by user u1: -1 left", f.check("u1"))
	f.limit(billing.ScopeUser, "u1", "12")
	require.Equal(t, "allowed by user u1: 2 left", f.check("u1"))
	_, err := f.RemoveLimit(f.ctx, "acme", billing.ScopeUser, "u1", tester)
	require.NoError(t, err)
	require.Equal(t, "allowed, unlimited", f.check("u1"))
}

func TestSpendStartsAgainWithTheOrganizationsMonth(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(org *billing.Organization) { org.Timezone, org.AnchorDay = "America/New_York", 15 })
	f.limit(billing.ScopeOrganization, "", "10")
	f.store(use("a", "u1", october, 2_000_000)) // 10 USD
	turns := time.Date(2026, 10, 15, 4, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{october.Add(time.Hour), turns.Add(-time.Microsecond)} {
		f.clock(at)
		require.Equal(t, "blocked by organization : 0 left", f.check("u1"), at)
	}
	f.clock(turns)
	c, err := f.CheckLimit(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.True(t, c.Allowed())
	require.Equal(t, turns, c.Window.Start)
	require.Equal(t, turns, c.AsOf)
	require.Equal(t, "2026-11-15T05:00:00Z", c.Window.End.Format(time.RFC3339), "midnight in New York, in winter")
}

func TestACheckOfNobodyAndOfALostDatabaseAreToldApart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.CheckLimit(f.ctx, "nobody", "u1")
	require.ErrorIs(t, err, billing.ErrNotFound)
	ended, cancel := context.WithCancel(f.ctx)
	cancel()
	_, err = f.CheckLimit(ended, "acme", "u1")
	require.Error(t, err)
	require.NotErrorIs(t, err, billing.ErrNotFound)
}

// TestACheckReadsByIndexAlone holds the cost of a check down, however many
// members and limits an organisation has.
func TestACheckReadsByIndexAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	for _, statement := range []string{
		`INSERT INTO seat_assignments SELECT 'acme', 'm' || n, 'chat', false, '2026-10-01' FROM generate_series(1, 20000) n`,
		`INSERT INTO limits (org_id, scope, subject, version, amount, mode, thresholds, updated_at)
		 SELECT 'acme', 'user', 'm' || n, 1, 10, 'per_member', '{75}', now() FROM generate_series(1, 20000) n`,
		`INSERT INTO spend_counters SELECT 'acme', '2026-10-01', 'user', 'm' || n, 5 FROM generate_series(1, 20000) n`,
		`ANALYZE`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.NoError(t, err)
	}
	before := f.scans()
	for range 20 {
		require.Equal(t, "allowed by user m77: 5 left", f.check("m77"))
	}
	require.Equal(t, before, f.scans(), "no table was read from end to end")
}

// scans counts the rows of the large tables that were read without an index.
func (f *fixture) scans() (rows int64) {
	f.t.Helper()
	time.Sleep(1100 * time.Millisecond) // backends report what they did once a second
	for _, statement := range []string{`SELECT pg_stat_force_next_flush()`, `SELECT 1`} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.NoError(f.t, err)
	}
	const read = `
SELECT sum(seq_tup_read)::bigint
  FROM pg_stat_user_tables
 WHERE relname IN ('seat_assignments', 'limits', 'spend_counters')`
	require.NoError(f.t, f.pool.QueryRow(f.ctx, read).Scan(&rows))
	return rows
}

func TestUnderOverrideAUsersOwnLimitReplacesTheTiers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.LimitRule = billing.RuleOverride })
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	f.limit(billing.ScopeOrganization, "", "100")
	f.limit(billing.ScopeSeatTier, "chat", "5")
	f.limit(billing.ScopeUser, "u1", "8")
	f.limit(billing.ScopeUser, "u2", "none")
	f.store(use("a", "u1", october, 1_200_000), use("b", "u2", october, 1_200_000)) // 6 USD each
	require.Equal(t, "allowed by user u1: 2 left", f.check("u1"))
	require.Equal(t, "allowed by organization : 88 left", f.check("u2"), "an own limit of none replaces the tier's too")
}

func TestNothingRunsAfterTheEndOfTheContract(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "100")
	ends := october.AddDate(0, 0, 10)
	_, err := f.pool.Exec(f.ctx, `UPDATE organizations SET closed_at = $1 WHERE id = 'acme'`, ends)
	require.NoError(t, err)
	f.clock(ends.Add(-time.Second))
	require.Equal(t, "allowed by organization : 100 left", f.check("u1"), "until the last moment")
	f.clock(ends)
	require.Equal(t, "blocked by organization : 100 left", f.check("u1"))
	c, err := f.CheckLimit(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, billing.StopContractEnded, c.Stop)
	require.Equal(t, ends, c.StopAt)
}

// TestChecksAskedAtOnceEachGetTheirOwnAnswer asks for users of two organisations
// in different months, for nobody, and for a text that is none, all together.
func TestChecksAskedAtOnceEachGetTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const users = 40
	f.create(billing.Organization{ID: "beta", StartsAt: october, TestClock: true, Now: october.AddDate(0, 1, 0)})
	for n := range users {
		f.limit(billing.ScopeUser, fmt.Sprintf("u%d", n), fmt.Sprint(10+n))
	}
	f.store(use("a", "u7", october, 1_000_000)) // 5 USD
	ask := func(n int) error {
		user := fmt.Sprintf("u%d", n%users)
		switch n % 5 {
		case 3:
			_, err := f.CheckLimit(f.ctx, "nobody", user)
			if !errors.Is(err, billing.ErrNotFound) {
				return fmt.Errorf("nobody: %w", err)
			}
			return nil
		case 4:
			c, err := f.CheckLimit(f.ctx, "beta", user)
			if err != nil || c.Binding != nil || c.Window.Start.Month() != time.November {
				return fmt.Errorf("beta: %+v %w", c, err)
			}
			return nil
		}
		c, err := f.CheckLimit(f.ctx, "acme", user)
		if err != nil {
			return err
		}
		spent, amount := "0", fmt.Sprint(10+n%users)
		if user == "u7" {
			spent = "5"
		}
		if b := c.Binding; b.Limit.Subject != user || b.Limit.Amount.Decimal.String() != amount || b.Spent.String() != spent {
			return fmt.Errorf("%s: %+v", user, *b)
		}
		return nil
	}
	var wait sync.WaitGroup
	for caller := range 32 {
		wait.Go(func() {
			for n := range 50 {
				if err := ask(caller*7 + n); err != nil {
					t.Error(err)
				}
				if caller == 0 && n%10 == 0 {
					_, err := f.CheckLimit(f.ctx, "acme", "\xff")
					assert.ErrorContains(t, err, "22021", "it fails alone")
				}
			}
		})
	}
	wait.Wait()
}

func TestACheckSeesWhatWasCommittedBeforeItWasAsked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "1000")
	asking, stop := context.WithCancel(f.ctx)
	var others sync.WaitGroup
	for range 8 { // so that statements are always under way
		others.Go(func() {
			for asking.Err() == nil {
				_, _ = f.CheckLimit(f.ctx, "acme", "u1")
			}
		})
	}
	for n := 1; n <= 20; n++ {
		f.store(use(fmt.Sprint("e", n), "u1", october, 200_000)) // 1 USD
		assert.Equal(t, fmt.Sprintf("allowed by user u1: %d left", 1000-n), f.check("u1"))
	}
	stop()
	others.Wait()
}
