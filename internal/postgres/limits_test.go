package postgres_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestSeveralThresholdsAtOnceAreRecordedAndTheHighestIsSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	f.store(use("a", "u1", october, 2_000_000))
	require.Equal(t, []string{"organization  75% v1 recorded", "organization  90% v1 recorded", "organization  100% v1 pending"}, f.notices())
	f.store(use("b", "u1", october, 2_000_000))
	require.Len(t, f.notices(), 3, "each once")
	require.Equal(t, 1, f.count("outbox"))
}

func TestARaiseSpeaksOnlyOfWhatLiesAbove(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "10")
	f.store(use("a", "u1", october, 1_600_000)) // 8 USD
	require.Equal(t, []string{"user u1 75% v1 pending"}, f.notices())
	raised := f.limit(billing.ScopeUser, "u1", "10.50")
	require.Equal(t, 2, raised.Version)
	require.Equal(t, "user u1 75% v2 suppressed", f.notices()[1])
	f.store(use("b", "u1", october, 400_000)) // 10 USD
	require.Equal(t, "user u1 95% v2 pending", f.notices()[2])
	shown, err := f.Notices(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Len(t, shown, 2, "suppressed ones are hidden")
}

func TestACutBelowTheSpendSendsTheHighest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeUser, "u1", "100")
	f.store(use("a", "u1", october, 2_000_000)) // 10 USD
	require.Empty(t, f.notices())
	f.limit(billing.ScopeUser, "u1", "10")
	require.Equal(t, []string{"user u1 75% v2 recorded", "user u1 95% v2 recorded", "user u1 100% v2 pending"}, f.notices())
}

func TestSettingTheSameLimitAgainChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.limit(billing.ScopeOrganization, "", "10")
	require.Equal(t, first, f.limit(billing.ScopeOrganization, "", "10.00"))
	removed, err := f.RemoveLimit(f.ctx, "acme", billing.ScopeOrganization, "", tester)
	require.NoError(t, err)
	require.True(t, removed)
	again := f.limit(billing.ScopeOrganization, "", "10")
	require.Equal(t, 2, again.Version, "versions are never reused")
	require.Equal(t, first.ID, again.ID)
}

func TestOneEventCrossesTheLimitsOfMemberTierAndOrganization(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeOrganization, "", "13")
	f.limit(billing.ScopeSeatTier, "chat", "11")
	f.limit(billing.ScopeUser, "u1", "12")
	f.store(use("a", "u1", october, 2_000_000)) // 10 USD
	require.ElementsMatch(t, []string{"user u1 75% v1 pending", "seat_tier u1 75% v1 pending", "organization  75% v1 pending"}, f.notices())
}

func TestAMemberWhoMovesUnderALimitAlreadyPassedIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeSeatTier, "chat", "10")
	f.seat("u1", "chat_claude_code", false)
	f.store(use("a", "u1", october, 1_600_000)) // 8 USD
	require.Empty(t, f.notices())
	f.clock(october.AddDate(0, 0, 1))
	f.seat("u1", "chat", false)
	require.Equal(t, []string{"seat_tier u1 75% v1 pending"}, f.notices())
}

func TestLateUsageOfALastMonthIsRecordedWithoutAnAlarm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	f.endOctober()
	f.issueOctober()
	f.store(use("late", "u1", october.AddDate(0, 0, 20), 2_000_000))
	rows, err := f.Notices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Len(t, rows, 3)
	for _, n := range rows {
		require.True(t, n.Late)
		require.Equal(t, "recorded", n.Status)
	}
}

func TestTheStrictestLimitBindsAndIsNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeOrganization, "", "10000")
	f.limit(billing.ScopeSeatTier, "chat", "500")
	f.limit(billing.ScopeUser, "u1", "750")
	f.store(use("a", "u1", october, 2_000_000))
	e, err := f.Explain(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.Len(t, e.Standings, 3)
	require.Equal(t, billing.ScopeSeatTier, e.Binding.Limit.Scope)
	require.Equal(t, "10", e.Binding.Spent.String())
}

func TestBadLimitsAreRefusedByName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	amount := decimal.NewNullDecimal(decimal.NewFromInt(1))
	for want, change := range map[string]billing.LimitChange{
		"tier: \"gold\" is not in price book": {Scope: billing.ScopeSeatTier, Subject: "gold", Amount: amount},
		"amount: -1":                          {Scope: billing.ScopeOrganization, Amount: decimal.NewNullDecimal(decimal.NewFromInt(-1))},
		"amount: 0.001 has more than 2":       {Scope: billing.ScopeOrganization, Amount: decimal.NewNullDecimal(decimal.New(1, -3))},
		"thresholds: accepted":                {Scope: billing.ScopeOrganization, Amount: amount, Thresholds: []int{0}},
		"mode: \"shared\"":                    {Scope: billing.ScopeSeatTier, Subject: "chat", Amount: amount, Mode: "shared"},
	} {
		_, err := f.SetLimit(f.ctx, "acme", change, tester)
		require.ErrorIs(t, err, billing.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, f.count("limits"))
}

func withOverride(org *billing.Organization) { org.LimitRule = billing.RuleOverride }

func TestUnderOverrideTheUsersOwnLimitBinds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withOverride)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeOrganization, "", "10000")
	f.limit(billing.ScopeSeatTier, "chat", "500")
	f.limit(billing.ScopeUser, "u1", "750")
	e, err := f.Explain(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.Equal(t, billing.RuleOverride, e.Rule)
	require.Equal(t, billing.ScopeUser, e.Binding.Limit.Scope)
	require.Equal(t, "750", e.Binding.Limit.Amount.Decimal.String())
	require.Equal(t, []bool{false, true, false}, []bool{e.Standings[0].Replaced, e.Standings[1].Replaced, e.Standings[2].Replaced})
	summary, err := f.UsageSummary(f.ctx, "acme", "", []string{"user"})
	require.NoError(t, err)
	require.Equal(t, billing.ScopeUser, summary.Rows[0].Binding.Limit.Scope)

	_, err = f.RemoveLimit(f.ctx, "acme", billing.ScopeUser, "u1", tester)
	require.NoError(t, err)
	e, err = f.Explain(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.Equal(t, billing.ScopeSeatTier, e.Binding.Limit.Scope, "falls back")
}

func TestAReplacedLimitSendsNoNotices(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withOverride)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	f.limit(billing.ScopeUser, "u1", "100")
	f.use(use("a", "u1", october, 2_000_000), use("b", "u2", october, 2_000_000)) // 10 USD each
	f.limit(billing.ScopeSeatTier, "chat", "12")
	require.Equal(t, []string{"seat_tier u2 75% v1 pending"}, f.notices(), "set below what is spent")
	f.use(use("c", "u1", october, 280_000), use("d", "u2", october, 280_000)) // 11.40
	require.Equal(t, []string{"seat_tier u2 75% v1 pending", "seat_tier u2 95% v1 pending"}, f.notices(), "crossed")
	f.seat("u1", "chat_claude_code", false)
	f.clock(october.Add(1))
	f.seat("u1", "chat", false)
	require.Len(t, f.notices(), 2, "moved under it")
	f.clean()

	_, err := f.RemoveLimit(f.ctx, "acme", billing.ScopeUser, "u1", tester)
	require.NoError(t, err)
	require.Equal(t, []string{"seat_tier u1 75% v1 recorded", "seat_tier u1 95% v1 pending"}, f.notices()[2:], "it holds again")
	f.clean()
}
