package billing_test

import (
	"slices"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// limitOf is a limit with the thresholds of its scope; "none" is unlimited.
func limitOf(scope billing.Scope, amount string) billing.Limit {
	limit := billing.Limit{Scope: scope, Thresholds: billing.DefaultThresholds(scope)}
	if amount != "none" {
		limit.Amount = nullDec(amount)
	}
	return limit
}

func TestDefaultThresholdsDependOnTheScope(t *testing.T) {
	t.Parallel()
	require.Equal(t, []int{75, 90, 100}, billing.DefaultThresholds(billing.ScopeOrganization))
	require.Equal(t, []int{75, 95, 100}, billing.DefaultThresholds(billing.ScopeSeatTier))
	require.Equal(t, []int{75, 95, 100}, billing.DefaultThresholds(billing.ScopeUser))
}

func TestTheStrictestLimitBinds(t *testing.T) {
	t.Parallel()
	standing := func(scope billing.Scope, amount, spent string) billing.Standing {
		return billing.Standing{Limit: limitOf(scope, amount), Spent: dec(spent)}
	}
	for name, c := range map[string]struct {
		standings []billing.Standing
		binds     billing.Scope
		amount    string
	}{
		"organisation 10,000, tier 500, user 750": {
			[]billing.Standing{standing(billing.ScopeUser, "750", "0"), standing(billing.ScopeOrganization, "10000", "0"), standing(billing.ScopeSeatTier, "500", "0")},
			billing.ScopeSeatTier, "500",
		},
		"what remains counts, not the amount": {
			[]billing.Standing{standing(billing.ScopeOrganization, "10000", "9800"), standing(billing.ScopeUser, "750", "500")},
			billing.ScopeOrganization, "10000",
		},
		"the wider one where two leave as much": {
			[]billing.Standing{standing(billing.ScopeUser, "100", "0"), standing(billing.ScopeSeatTier, "100", "0"), standing(billing.ScopeOrganization, "200", "100")},
			billing.ScopeOrganization, "200",
		},
		"an unlimited scope never binds": {
			[]billing.Standing{standing(billing.ScopeOrganization, "none", "1000000"), standing(billing.ScopeUser, "750", "0")},
			billing.ScopeUser, "750",
		},
		"a limit of zero binds before all": {
			[]billing.Standing{standing(billing.ScopeOrganization, "10", "9.99"), standing(billing.ScopeUser, "0", "0")},
			billing.ScopeUser, "0",
		},
		"the one that is exceeded most": {
			[]billing.Standing{standing(billing.ScopeOrganization, "10", "12"), standing(billing.ScopeUser, "1", "4")},
			billing.ScopeUser, "1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binding := billing.Binding(billing.RuleStrictMin, c.standings)
			require.NotNil(t, binding)
			require.Equal(t, c.binds, binding.Limit.Scope)
			require.Equal(t, c.amount, binding.Limit.Amount.Decimal.String())
		})
	}
	require.Nil(t, billing.Binding(billing.RuleStrictMin, nil))
	require.Nil(t, billing.Binding(billing.RuleStrictMin, []billing.Standing{standing(billing.ScopeOrganization, "none", "5"), standing(billing.ScopeUser, "none", "5")}))
}

func TestNobodyHasMoreLeftThanAnyOfTheirLimitsLeaves(t *testing.T) {
	property(t, func(t *rapid.T) {
		standings := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) billing.Standing {
			amount := rapid.SampledFrom([]string{"none", "0", "0.01", "100", "500.50"}).Draw(t, "amount")
			scope := rapid.SampledFrom([]billing.Scope{billing.ScopeOrganization, billing.ScopeSeatTier, billing.ScopeUser}).Draw(t, "scope")
			return billing.Standing{Limit: limitOf(scope, amount), Spent: decimal.New(rapid.Int64Range(0, 100_000).Draw(t, "spent"), -2)}
		}), 0, 4).Draw(t, "standings")
		binding := billing.Binding(billing.RuleStrictMin, standings)
		for _, s := range standings {
			remaining, limited := s.Limit.Remaining(s.Spent)
			if !limited {
				continue
			}
			require.NotNil(t, binding)
			left, _ := binding.Limit.Remaining(binding.Spent)
			require.True(t, left.LessThanOrEqual(remaining))
		}
		require.Equal(t, binding == nil, !slices.ContainsFunc(standings, func(s billing.Standing) bool { return s.Limit.Amount.Valid }))
	})
}

func TestARequestMayCrossTheLimitAndTheNextIsBlocked(t *testing.T) {
	t.Parallel()
	limit := limitOf(billing.ScopeOrganization, "100")
	var alerts []int
	spent := decimal.Zero
	for _, cost := range []string{"74.99", "0.01", "0", "24.99"} {
		alerts = append(alerts, limit.Crossed(spent, spent.Add(dec(cost)))...)
		spent = spent.Add(dec(cost))
	}
	require.Equal(t, "99.99", spent.String())
	require.Equal(t, []int{75, 90}, alerts)
	remaining, limited := limit.Remaining(spent)
	require.True(t, limited)
	require.True(t, remaining.IsPositive(), "the request is allowed")

	after := spent.Add(dec("0.40"))
	require.Equal(t, "100.39", after.String())
	alerts = append(alerts, limit.Crossed(spent, after)...)
	remaining, _ = limit.Remaining(after)
	require.False(t, remaining.IsPositive(), "the next one is blocked")
	alerts = append(alerts, limit.Crossed(after, after.Add(dec("0.40")))...)
	require.Equal(t, []int{75, 90, 100}, alerts, "each alert exists once")
}

func TestThresholdsAreReachedAtTheirAmountAndNotBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		amount, spent string
		want          []int
	}{
		"nothing spent":                         {"100", "0", nil},
		"a hair below the first":                {"100", "74.9999999999", []int{}},
		"the first":                             {"100", "75", []int{75}},
		"a hair below the last":                 {"100", "99.9999999999", []int{75, 90}},
		"the last":                              {"100", "100", []int{75, 90, 100}},
		"far above":                             {"100", "1000000", []int{75, 90, 100}},
		"an odd amount":                         {"0.0000001", "0.000000075", []int{75}},
		"unlimited is never reached":            {"none", "1000000", nil},
		"a limit of zero by the smallest spend": {"0", "0.0000000055", []int{75, 90, 100}},
		"a limit of zero by no spend":           {"0", "0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := limitOf(billing.ScopeOrganization, c.amount)
			require.Equal(t, c.want, limit.Reached(dec(c.spent)))
		})
	}
}

func TestCrossedListsWhatLiesAboveBeforeAndNotAboveAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		amount, before, after string
		want                  []int
	}{
		"one":                             {"100", "74", "75", []int{75}},
		"several at once":                 {"100", "0", "100", []int{75, 90, 100}},
		"none between":                    {"100", "75", "89.99", nil},
		"none without a step":             {"100", "90", "90", nil},
		"none downwards":                  {"100", "100", "10", nil},
		"a limit of zero speaks once":     {"0", "0", "0.01", []int{75, 90, 100}},
		"a limit of zero and no spend":    {"0", "0", "0", nil},
		"a limit of zero, spent already":  {"0", "0.01", "0.02", nil},
		"an unlimited scope keeps silent": {"none", "0", "1000", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := limitOf(billing.ScopeOrganization, c.amount)
			require.Equal(t, c.want, limit.Crossed(dec(c.before), dec(c.after)))
		})
	}
}

func TestEveryThresholdIsCrossedOnceHoweverTheSpendArrives(t *testing.T) {
	property(t, func(t *rapid.T) {
		thresholds, err := billing.CheckThresholds(rapid.SliceOfN(rapid.IntRange(1, 300), 1, billing.MaxThresholds).Draw(t, "thresholds"))
		require.NoError(t, err)
		limit := billing.Limit{Amount: decimal.NewNullDecimal(decimal.New(rapid.Int64Range(0, 1000).Draw(t, "limit"), -2)), Thresholds: thresholds}
		spent := decimal.Zero
		var crossed []int
		for _, cost := range rapid.SliceOf(rapid.Int64Range(0, 700)).Draw(t, "costs") {
			after := spent.Add(decimal.New(cost, -2))
			crossed = append(crossed, limit.Crossed(spent, after)...)
			spent = after
		}
		require.Equal(t, append([]int{}, limit.Reached(spent)...), append([]int{}, crossed...))
	})
}

func TestThresholdsAreOneToTenPercentages(t *testing.T) {
	t.Parallel()
	sorted, err := billing.CheckThresholds([]int{100, 50, 80, 50})
	require.NoError(t, err)
	require.Equal(t, []int{50, 80, 100}, sorted)
	_, err = billing.CheckThresholds([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	require.NoError(t, err)
	_, err = billing.CheckThresholds([]int{1, 1000})
	require.NoError(t, err)
	for name, wrong := range map[string][]int{
		"none": nil, "eleven": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "zero": {0, 50}, "negative": {-5}, "above a thousand": {1001},
	} {
		_, err := billing.CheckThresholds(wrong)
		require.ErrorIs(t, err, billing.ErrInvalid, name)
		require.ErrorContains(t, err, "thresholds: ")
	}
}

func TestUnderOverrideAMembersOwnLimitReplacesTheTiersDefault(t *testing.T) {
	t.Parallel()
	under := func(scope billing.Scope, mode, amount, spent string) billing.Standing {
		limit := limitOf(scope, amount)
		limit.Mode = mode
		return billing.Standing{Limit: limit, Spent: dec(spent)}
	}
	for name, c := range map[string]struct {
		standings []billing.Standing
		binds     billing.Scope
		amount    string
		replaced  bool
	}{
		"the own one, though it is higher": {[]billing.Standing{
			under(billing.ScopeOrganization, billing.Pooled, "10000", "0"), under(billing.ScopeSeatTier, billing.PerMember, "500", "0"),
			under(billing.ScopeUser, billing.PerMember, "750", "0"),
		}, billing.ScopeUser, "750", true},
		"the own one, where it is lower": {[]billing.Standing{
			under(billing.ScopeSeatTier, billing.PerMember, "500", "0"), under(billing.ScopeUser, billing.PerMember, "5", "0"),
		}, billing.ScopeUser, "5", true},
		"the organisation's is a hard ceiling": {[]billing.Standing{
			under(billing.ScopeOrganization, billing.Pooled, "100", "90"), under(billing.ScopeUser, billing.PerMember, "750", "0"),
		}, billing.ScopeOrganization, "100", false},
		"own and unlimited: the organisation's": {[]billing.Standing{
			under(billing.ScopeOrganization, billing.Pooled, "10000", "0"), under(billing.ScopeSeatTier, billing.PerMember, "500", "0"),
			under(billing.ScopeUser, billing.PerMember, "none", "0"),
		}, billing.ScopeOrganization, "10000", true},
		"none of their own: the tier's": {[]billing.Standing{
			under(billing.ScopeOrganization, billing.Pooled, "10000", "0"), under(billing.ScopeSeatTier, billing.PerMember, "500", "0"),
		}, billing.ScopeSeatTier, "500", false},
		"a pool is no default": {[]billing.Standing{
			under(billing.ScopeSeatTier, billing.Pooled, "500", "490"), under(billing.ScopeUser, billing.PerMember, "750", "0"),
		}, billing.ScopeSeatTier, "500", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binding := billing.Binding(billing.RuleOverride, c.standings)
			require.NotNil(t, binding)
			require.Equal(t, c.binds, binding.Limit.Scope)
			require.Equal(t, c.amount, binding.Limit.Amount.Decimal.String())
			require.Equal(t, c.replaced, slices.ContainsFunc(c.standings, func(s billing.Standing) bool { return s.Replaced }))
		})
	}
}
