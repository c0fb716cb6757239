package billing

import (
	"slices"

	"github.com/shopspring/decimal"
)

// Scope is whose spend a limit holds down.
type Scope string

// The scopes of limits, widest first.
const (
	ScopeOrganization Scope = "organization" // all usage of the organisation together
	ScopeSeatTier     Scope = "seat_tier"    // each member on a seat tier, or the tier's members together
	ScopeUser         Scope = "user"         // one member
)

// How a seat tier's limit counts.
const (
	PerMember = "per_member" // against each member's own spend
	Pooled    = "pooled"     // against the spend of all members on the tier together
)

// How the limits that a member stands under meet.
const (
	RuleStrictMin = "strict_min" // nobody can exceed any of them
	RuleOverride  = "override"   // a member's own replaces the tier's per-member default
)

// MaxThresholds is how many thresholds a limit may have.
const MaxThresholds = 10

// Limit is one version of a spend limit. Its window is the organisation's
// billing month; spend counts at list price.
type Limit struct {
	ID         int64
	Scope      Scope
	Subject    string // the tier or user; "" for the organisation
	Version    int    // counts changes of amount or thresholds; never reused
	Amount     decimal.NullDecimal
	Mode       string // PerMember or Pooled
	Thresholds []int  // percent of the amount, ascending
}

// DefaultThresholds returns the percentages at which a limit of the scope
// speaks unless it says otherwise.
func DefaultThresholds(scope Scope) []int {
	if scope == ScopeOrganization {
		return []int{75, 90, 100}
	}
	return []int{75, 95, 100}
}

// CheckThresholds sorts thresholds and says what is wrong with them, or nil.
func CheckThresholds(thresholds []int) ([]int, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(thresholds)))
	if len(sorted) == 0 || len(sorted) > MaxThresholds {
		return nil, Invalid("thresholds: %d given; accepted: 1 to %d percentages", len(sorted), MaxThresholds)
	}
	if sorted[0] < 1 || sorted[len(sorted)-1] > 1000 {
		return nil, Invalid("thresholds: accepted: whole percentages from 1 to 1000")
	}
	return sorted, nil
}

// IsDefault tells a tier's per-member limit, which under the rule override holds
// only for members without a limit of their own. A pool is nobody's default.
func (l *Limit) IsDefault() bool { return l.Scope == ScopeSeatTier && l.Mode == PerMember }

// Remaining is what may still be spent under the limit, below zero once it is
// exceeded; ok is false where the limit is unlimited.
func (l *Limit) Remaining(spent decimal.Decimal) (remaining decimal.Decimal, ok bool) {
	if !l.Amount.Valid {
		return decimal.Zero, false
	}
	return l.Amount.Decimal.Sub(spent), true
}

// Reached lists the thresholds that a spend has reached, ascending. A limit of
// zero is reached by the first spend, not by none.
func (l *Limit) Reached(spent decimal.Decimal) []int {
	if !l.Amount.Valid || !spent.IsPositive() {
		return nil
	}
	hundred := spent.Shift(2)
	for i, percent := range l.Thresholds {
		if hundred.LessThan(l.Amount.Decimal.Mul(decimal.NewFromInt(int64(percent)))) {
			return l.Thresholds[:i]
		}
	}
	return l.Thresholds
}

// Crossed lists the thresholds that lie above before and at or below after.
func (l *Limit) Crossed(before, after decimal.Decimal) []int {
	passed, reached := len(l.Reached(before)), l.Reached(after)
	if passed >= len(reached) {
		return nil
	}
	return reached[passed:]
}

// Standing is a limit and what has been spent under it.
type Standing struct {
	Limit    Limit
	Spent    decimal.Decimal
	Replaced bool // by the member's own limit: it does not hold

	// Provisional is what usage without a price counts beside it, at the price
	// book's fallback price, until it has one.
	Provisional decimal.Decimal

	// SpentBefore is what was spent in the month when the limit got its amount.
	SpentBefore decimal.Decimal
}

// Before is how much of what is spent predates the limit. What was taken
// back since is taken off what came first.
func (s *Standing) Before() decimal.Decimal { return decimal.Min(s.SpentBefore, s.Spent) }

// Counted is what is compared with the limit.
func (s *Standing) Counted() decimal.Decimal { return s.Spent.Add(s.Provisional) }

// Remaining is what may still be spent under the limit; ok is false where it is
// unlimited.
func (s *Standing) Remaining() (remaining decimal.Decimal, ok bool) {
	return s.Limit.Remaining(s.Counted())
}

// Binding returns the standing of a member with the least remaining, among those
// that hold under the organisation's rule; those that do not are marked. Under
// strict_min all of them hold. Under override a limit of the member's own,
// unlimited ones included, replaces the tier's default, be it higher or lower,
// and the organisation's stays a hard ceiling. It is nil where nothing is
// limited. Where two leave the same, the wider one is named, since it concerns
// more people.
func Binding(rule string, standings []Standing) *Standing {
	own := slices.ContainsFunc(standings, func(s Standing) bool { return s.Limit.Scope == ScopeUser })
	for i := range standings {
		standings[i].Replaced = rule == RuleOverride && own && standings[i].Limit.IsDefault()
	}
	var binding *Standing
	var least decimal.Decimal
	for _, scope := range []Scope{ScopeOrganization, ScopeSeatTier, ScopeUser} {
		for i := range standings {
			remaining, limited := standings[i].Remaining()
			if standings[i].Limit.Scope != scope || !limited || standings[i].Replaced {
				continue
			}
			if binding == nil || remaining.LessThan(least) {
				binding, least = &standings[i], remaining
			}
		}
	}
	return binding
}
