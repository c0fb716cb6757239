package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// before says of each limit that a user stands under what was spent, and how much
// of it before the limit: as explained, as checked, and as summed up for everybody.
func (f *fixture) before(user string) (explained []string, checked, summed string) {
	f.t.Helper()
	say := func(s *billing.Standing) string {
		if s == nil {
			return "unlimited"
		}
		return fmt.Sprintf("%s %s of %s", s.Limit.Scope, s.Before(), s.Spent)
	}
	e, err := f.Explain(f.ctx, "acme", user)
	require.NoError(f.t, err)
	for _, s := range e.Standings {
		explained = append(explained, say(&s))
	}
	check, err := f.CheckLimit(f.ctx, "acme", user)
	require.NoError(f.t, err)
	summary, err := f.UsageSummary(f.ctx, "acme", "", []string{"user"})
	require.NoError(f.t, err)
	for _, row := range summary.Rows {
		if row.User == user {
			summed = say(row.Binding)
		}
	}
	return explained, say(check.Binding), summed
}

func TestACutBelowTheSpendBlocksAtOnceAndShowsWhatPredatesIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeUser, "u1", "100")
	f.use(use("a", "u1", october, 2_000_000)) // 10 USD
	require.Equal(t, "allowed by user u1: 90 left", f.check("u1"))
	explained, checked, summed := f.before("u1")
	require.Equal(t, []string{"user 0 of 10"}, explained, "all was spent under it")
	require.Equal(t, []string{"user 0 of 10", "user 0 of 10"}, []string{checked, summed})

	f.limit(billing.ScopeUser, "u1", "8")
	require.Equal(t, "blocked by user u1: -2 left", f.check("u1"))
	f.use(use("b", "u1", october, 400_000)) // what was in flight: 2 USD
	explained, checked, summed = f.before("u1")
	require.Equal(t, []string{"user 10 of 12"}, explained)
	require.Equal(t, []string{"user 10 of 12", "user 10 of 12"}, []string{checked, summed})

	thresholds := limitChange(billing.ScopeUser, "u1", "8")
	thresholds.Thresholds = []int{50}
	_, err := f.SetLimit(f.ctx, "acme", thresholds, tester)
	require.NoError(t, err)
	explained, _, _ = f.before("u1")
	require.Equal(t, []string{"user 10 of 12"}, explained, "other thresholds leave the amount where it was")

	f.use(retract("undo", "a", f.now()))
	explained, _, _ = f.before("u1")
	require.Equal(t, []string{"user 2 of 2"}, explained, "never more than is spent")

	f.clock(october.AddDate(0, 1, 0))
	_, err = f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	f.use(use("c", "u1", f.now(), 200_000))
	_, checked, _ = f.before("u1")
	require.Equal(t, "user 0 of 1", checked, "a new month knows nothing before the limit")
	f.clean()
}

func TestEveryScopeSaysWhatPredatesItsLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat_claude_code", false)
	f.use(use("a", "u1", october, 200_000), use("b", "u2", october, 400_000), use("c", "", october, 600_000)) // 1, 2 and 3 USD
	f.limit(billing.ScopeOrganization, "", "100")
	f.limit(billing.ScopeSeatTier, "chat", "50")
	pool := limitChange(billing.ScopeSeatTier, "chat_claude_code", "60")
	pool.Mode = billing.Pooled
	_, err := f.SetLimit(f.ctx, "acme", pool, tester)
	require.NoError(t, err)
	f.use(use("d", "u1", october, 200_000), use("e", "u2", october, 200_000))
	for user, want := range map[string][]string{
		"u1": {"organization 6 of 8", "seat_tier 1 of 2"},
		"u2": {"organization 6 of 8", "seat_tier 2 of 3"},
		"":   {"organization 6 of 8"},
	} {
		explained, checked, _ := f.before(user)
		require.Equal(t, want, explained, user)
		require.Contains(t, want, checked, user)
	}
	f.clock(october.AddDate(0, 0, 1))
	f.seat("u2", "chat", false)
	explained, _, _ := f.before("u2")
	require.Equal(t, []string{"organization 6 of 8", "seat_tier 2 of 3"}, explained, "who comes under each member's limit later has a part before it, too")

	listed, err := f.LimitStatuses(f.ctx, "acme")
	require.NoError(t, err)
	var words []string
	for _, s := range listed {
		words = append(words, fmt.Sprintf("%s %s: %s of %s, of each member: %t", s.Limit.Scope, s.Limit.Subject, s.Before(), s.Spent, s.PerMember))
	}
	require.Equal(t, []string{
		"organization : 6 of 8, of each member: false", "seat_tier chat: 0 of 0, of each member: true",
		"seat_tier chat_claude_code: 2 of 3, of each member: false",
	}, words)
}

func TestALimitThatIsSetAgainAfterItsRemovalBeginsAnew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	f.use(use("a", "u1", october, 200_000))
	_, err := f.RemoveLimit(f.ctx, "acme", billing.ScopeOrganization, "", tester)
	require.NoError(t, err)
	f.use(use("b", "u1", october, 200_000))
	f.limit(billing.ScopeOrganization, "", "10")
	explained, _, _ := f.before("")
	require.Equal(t, []string{"organization 2 of 2"}, explained)
	f.limit(billing.ScopeOrganization, "", "none")
	f.limit(billing.ScopeOrganization, "", "20")
	f.use(use("c", "u1", october, 200_000))
	explained, _, _ = f.before("")
	require.Equal(t, []string{"organization 2 of 3"}, explained)
	f.limit(billing.ScopeOrganization, "", "30")
	f.use(use("d", "u1", october, 200_000))
	explained, _, _ = f.before("")
	require.Equal(t, []string{"organization 3 of 4"}, explained, "a raise, too, gives it another amount")
	_, err = f.LimitStatuses(f.ctx, "nobody")
	require.ErrorIs(t, err, billing.ErrNotFound)
}
