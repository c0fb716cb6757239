package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestALimitIsOnePerScopeAndItsRemovalFallsBackToTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeSeatTier, "chat", "20")
	first, second := f.limit(billing.ScopeUser, "u1", "10"), f.limit(billing.ScopeUser, "u1", "12")
	require.Equal(t, first.ID, second.ID)
	require.Equal(t, 2, f.count("limits"))
	require.Equal(t, "allowed by user u1: 12 left", f.check("u1"))
	for _, left := range []struct {
		scope         billing.Scope
		subject, says string
	}{{billing.ScopeUser, "u1", "allowed by seat_tier chat: 20 left"}, {billing.ScopeSeatTier, "chat", "allowed, unlimited"}} {
		removed, err := f.RemoveLimit(f.ctx, "acme", left.scope, left.subject, tester)
		require.NoError(t, err)
		require.True(t, removed)
		require.Equal(t, left.says, f.check("u1"))
		removed, err = f.RemoveLimit(f.ctx, "acme", left.scope, left.subject, tester)
		require.NoError(t, err)
		require.False(t, removed, "twice is once")
	}
}

func TestANewMonthArmsAllThresholdsAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "10")
	f.use(use("a", "u1", october, 2_000_000))
	require.Len(t, f.notices(), 3)
	f.endOctober()
	f.use(use("b", "u1", f.now(), 1_500_000))
	require.Equal(t, "user u1 75% v1 pending", f.notices()[3])
	f.use(use("c", "u1", f.now(), 500_000))
	require.Equal(t, []string{"user u1 95% v1 recorded", "user u1 100% v1 pending"}, f.notices()[4:])
	f.clean()
}

// What one batch spends in two months is noticed for each by itself.
func TestANoticeBelongsToTheMonthOfTheUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	november := october.AddDate(0, 1, 0)
	f.endOctober()
	f.use(use("october", "u1", november.Add(-time.Microsecond), 1_600_000), use("november", "u1", november, 2_000_000)) // 8 and 10 USD
	rows, err := f.Notices(f.ctx, "acme", true)
	require.NoError(t, err)
	got := map[string][]string{}
	for _, n := range rows {
		month := n.Window.Start.UTC().Format(time.DateOnly)
		got[month] = append(got[month], fmt.Sprintf("%d%% of %s, late %t", n.Threshold, n.Spent.Amount, n.Late))
	}
	require.Equal(t, map[string][]string{
		"2026-10-01": {"75% of 8, late true"},
		"2026-11-01": {"75% of 10, late false", "90% of 10, late false", "100% of 10, late false"},
	}, got)
	f.clean()
}

// Limits are raised at the very moment at which they are crossed, until a
// thousand races or three seconds are over. Either the crossing comes first and is told
// under version 1, or the raise does and the crossing is told under version 2.
func TestALimitRaisedAtTheMomentOfCrossingIsNoticedUnderOneVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	end := time.Now().Add(3 * time.Second)
	crossedFirst, raisedFirst := 0, 0
	for race := 0; race < 1000 && (race < 40 || time.Now().Before(end)); race++ {
		user := fmt.Sprint("u", race)
		f.limit(billing.ScopeUser, user, "10")
		f.use(use(user+" base", user, october, 1_400_000)) // 7 USD
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := f.SetLimit(f.ctx, "acme", limitChange(billing.ScopeUser, user, "10.50"), tester); err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			if _, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use(user+" cross", user, october, 600_000)}); err != nil { // 10 USD
				t.Error(err)
			}
		})
		wait.Wait()
		require.Equal(t, "allowed by user "+user+": 0.5 left", f.check(user))
		told := f.list(`SELECT concat_ws(' ', 'v' || limit_version, threshold, status) FROM notices WHERE subject = '` + user + `' ORDER BY id`)
		switch told[0] {
		case "v1 75 recorded":
			crossedFirst++
			require.Equal(t, []string{"v1 75 recorded", "v1 95 recorded", "v1 100 pending", "v2 75 suppressed", "v2 95 suppressed"}, told)
		default:
			raisedFirst++
			require.Equal(t, []string{"v2 75 recorded", "v2 95 pending"}, told)
		}
	}
	t.Logf("%d crossed first, %d raised first", crossedFirst, raisedFirst)
	f.clean()
}

// Each of several streams asks, runs, and then reports what it cost. Together
// they pass the limit by no more than one request of each stream.
func TestTheOvershootIsOneRequestOfEachStreamAtMost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	const streams, most = 6, 200
	cost := decimal.RequireFromString("0.4")
	var wait sync.WaitGroup
	for stream := range streams {
		wait.Go(func() {
			for i := range most {
				check, err := f.CheckLimit(f.ctx, "acme", "u1")
				if err != nil || !check.Allowed() {
					if err != nil || i == 0 {
						t.Error(stream, i, err)
					}
					return
				}
				if _, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use(fmt.Sprint(stream, " ", i), "u1", october, 80_000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	spent := decimal.RequireFromString(f.spent(billing.ScopeOrganization, ""))
	over := spent.Sub(decimal.NewFromInt(10))
	require.False(t, over.IsNegative(), "all ran until it was spent: %s", spent)
	require.True(t, over.LessThanOrEqual(cost.Mul(decimal.NewFromInt(streams))), "overshot by %s", over)
	t.Logf("overshot by %s of at most %s", over, cost.Mul(decimal.NewFromInt(streams)))
	require.Equal(t, []string{"organization  75% v1 pending", "organization  90% v1 pending", "organization  100% v1 pending"}, f.notices())
}

func TestEveryChangeOfALimitSaysWhoWhenWhatAndWhy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "10")
	f.limit(billing.ScopeUser, "u1", "10")
	f.limit(billing.ScopeUser, "u1", "none")
	_, err := f.RemoveLimit(f.ctx, "acme", billing.ScopeUser, "u1", tester)
	require.NoError(t, err)
	_, err = f.SetLimit(f.ctx, "acme", limitChange(billing.ScopeUser, "u1", "-1"), tester)
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.Equal(t, []string{
		"tester limits.set user/u1 from nothing to 10: test", "tester limits.set user/u1 from 10 to null: test", "tester limits.remove user/u1 from null to nothing: test",
	}, f.list(`
SELECT format('%s %s %s from %s to %s: %s', actor, action, subject,
              CASE WHEN before IS NULL THEN 'nothing' ELSE coalesce(before ->> 'amount', 'null') END,
              CASE WHEN after IS NULL THEN 'nothing' ELSE coalesce(after ->> 'amount', 'null') END, reason)
  FROM audit_log WHERE action LIKE 'limits.%' ORDER BY id`), "each change once, and none that was refused")
}

// A notice is a row that is there once: neither the same usage again, nor another
// process, nor many at once add to it.
func TestANoticeIsRecordedOnceWhateverIsRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	item := use("a", "u1", october, 2_000_000)
	f.use(item)
	want := f.notices()
	require.Len(t, want, 3)
	for range 3 {
		restarted := postgres.New(f.pool)
		var wait sync.WaitGroup
		for n := range 4 {
			wait.Go(func() {
				if _, err := restarted.StoreUsage(f.ctx, "acme", []billing.UsageItem{item, use(fmt.Sprint("more ", n), "u1", october, 1)}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		f.limit(billing.ScopeOrganization, "", "10")
	}
	require.Equal(t, want, f.notices())
	f.clean()
}
