package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// LimitResult is a limit after a change, and whether it changed.
type LimitResult struct {
	billing.Limit
	Changed bool
}

const limitColumns = ` id, scope, subject, version, amount, mode, thresholds`

func scanLimit(row pgx.CollectableRow) (l billing.Limit, err error) {
	err = row.Scan(&l.ID, &l.Scope, &l.Subject, &l.Version, &l.Amount, &l.Mode, &l.Thresholds)
	return l, err
}

// readLimits lists the limits of the organisation and its tiers, and those of
// the given users; all users' where users is nil.
func readLimits(ctx context.Context, q querier, org string, users []string) ([]billing.Limit, error) {
	const statement = `
SELECT` + limitColumns + `
  FROM limits
 WHERE org_id = @org
   AND removed_at IS NULL
   AND (scope <> 'user' OR @users::text[] IS NULL OR subject = ANY(@users))
 ORDER BY array_position(ARRAY['organization', 'seat_tier', 'user'], scope::text), subject`
	rows, err := q.Query(ctx, statement, pgx.NamedArgs{"org": org, "users": users})
	if err != nil {
		return nil, wrap("read the limits of "+org, err)
	}
	limits, err := pgx.CollectRows(rows, scanLimit)
	return limits, wrap("read the limits of "+org, err)
}

// Limits lists an organisation's limits, widest first.
func (s *Store) Limits(ctx context.Context, org string) ([]billing.Limit, error) {
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	return readLimits(ctx, s.pool, org, nil)
}

// SetLimit sets a limit from now on. The same values again change nothing; any
// change of amount or thresholds is a new version, and versions are never
// reused. What the new amount already exceeds is recorded: silently where the
// limit was raised, so that only what lies above can speak again; with one
// notice of the highest threshold where it is new or was cut.
func (s *Store) SetLimit(ctx context.Context, orgID string, change billing.LimitChange, by billing.Actor) (result LimitResult, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		org, chart, err := s.openSeats(ctx, tx, orgID)
		if err != nil {
			return err
		}
		before, had, err := readLimit(ctx, tx, orgID, change.Scope, change.Subject)
		if err != nil {
			return err
		}
		after, err := completeLimit(ctx, tx, org, change, before, had)
		if err != nil {
			return err
		}
		if had && !before.removed && sameLimit(before.Limit, after) {
			result = LimitResult{before.Limit, false}
			return nil
		}
		if after, err = writeLimit(ctx, tx, org, after, before.Version); err != nil {
			return err
		}
		result = LimitResult{after, true}
		if !had || before.removed || !sameAmount(before.Limit, after) {
			if err := recordLimitBaseline(ctx, tx, org, after); err != nil {
				return err
			}
		}
		reached := reachedBy{limit: &after, chart: chart}
		if had && !before.removed && !isCut(before.Limit, after) {
			reached.silent = true
		}
		if err := noticeReached(ctx, tx, org, reached); err != nil {
			return err
		}
		var old any
		if had && !before.removed {
			old = limitForAudit(before.Limit)
		}
		_, err = audit(ctx, tx, orgID, by, "limits.set", subjectOf(after), old, limitForAudit(after))
		return err
	})
	return result, err
}

// RemoveLimit takes a limit away: what it covered falls back to the limits that
// remain. Removing one that is not set changes nothing.
func (s *Store) RemoveLimit(ctx context.Context, orgID string, scope billing.Scope, subject string, by billing.Actor) (removed bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		removed = false
		org, chart, err := s.openSeats(ctx, tx, orgID)
		if err != nil {
			return err
		}
		before, had, err := readLimit(ctx, tx, orgID, scope, subject)
		if err != nil || !had || before.removed {
			return err
		}
		const statement = `UPDATE limits SET removed_at = $2, updated_at = $2 WHERE id = $1`
		if _, err := tx.Exec(ctx, statement, before.ID, org.Now); err != nil {
			return wrap("remove limit", err)
		}
		removed = true
		if scope == billing.ScopeUser && org.LimitRule == billing.RuleOverride { // their tier's limit holds for them now
			if err := noticeReached(ctx, tx, org, reachedBy{users: []string{subject}, chart: chart}); err != nil {
				return err
			}
		}
		_, err = audit(ctx, tx, orgID, by, "limits.remove", subjectOf(before.Limit), limitForAudit(before.Limit), nil)
		return err
	})
	return removed, err
}

type storedLimit struct {
	billing.Limit
	removed bool
}

func readLimit(ctx context.Context, tx pgx.Tx, org string, scope billing.Scope, subject string) (l storedLimit, found bool, err error) {
	const statement = `
SELECT` + limitColumns + `, removed_at IS NOT NULL
  FROM limits
 WHERE org_id = $1 AND scope = $2 AND subject = $3`
	err = tx.QueryRow(ctx, statement, org, scope, subject).
		Scan(&l.ID, &l.Scope, &l.Subject, &l.Version, &l.Amount, &l.Mode, &l.Thresholds, &l.removed)
	if errors.Is(err, pgx.ErrNoRows) {
		return l, false, nil
	}
	return l, true, wrap("read limit", err)
}

// completeLimit checks a change and fills in what it leaves open.
func completeLimit(ctx context.Context, tx pgx.Tx, org billing.Organization, change billing.LimitChange, before storedLimit, had bool) (billing.Limit, error) {
	after := billing.Limit{Scope: change.Scope, Subject: change.Subject, Amount: change.Amount, Mode: change.Mode, Thresholds: change.Thresholds}
	keep := had && !before.removed
	if after.Thresholds == nil {
		after.Thresholds = billing.DefaultThresholds(change.Scope)
		if keep {
			after.Thresholds = before.Thresholds
		}
	}
	thresholds, err := billing.CheckThresholds(after.Thresholds)
	if err != nil {
		return after, err
	}
	after.Thresholds = thresholds
	if change.Amount.Valid && change.Amount.Decimal.IsNegative() {
		return after, billing.Invalid("amount: %s; accepted: 0 (blocked), a positive amount, or none (unlimited)", change.Amount.Decimal)
	}
	if change.Amount.Valid && change.Amount.Decimal.Exponent() < -org.Currency.Digits() &&
		!change.Amount.Decimal.Equal(change.Amount.Decimal.Truncate(org.Currency.Digits())) {
		return after, billing.Invalid("amount: %s has more than %d decimal places", change.Amount.Decimal, org.Currency.Digits())
	}
	switch change.Scope {
	case billing.ScopeOrganization:
		after.Subject, after.Mode = "", billing.Pooled
	case billing.ScopeUser:
		after.Mode = billing.PerMember
		if change.Subject == "" {
			return after, billing.Invalid("user: accepted: the id of a user")
		}
	case billing.ScopeSeatTier:
		if after.Mode == "" {
			after.Mode = billing.PerMember
			if keep {
				after.Mode = before.Mode
			}
		}
		if after.Mode != billing.PerMember && after.Mode != billing.Pooled {
			return after, billing.Invalid("mode: %q; accepted: %s, %s", after.Mode, billing.PerMember, billing.Pooled)
		}
		return after, checkTier(ctx, tx, org, change.Subject)
	default:
		return after, billing.Invalid("scope: %q; accepted: organization, seat_tier, user", change.Scope)
	}
	return after, nil
}

func checkTier(ctx context.Context, tx pgx.Tx, org billing.Organization, tier string) error {
	book, err := readPriceBook(ctx, tx, org.PriceBook)
	if err != nil {
		return err
	}
	if !slices.Contains(book.Tiers(), tier) {
		return billing.Invalid("tier: %q is not in price book %s; accepted: %s", tier, book.Name, strings.Join(book.Tiers(), ", "))
	}
	return nil
}

func sameLimit(a, z billing.Limit) bool {
	return sameAmount(a, z) && slices.Equal(a.Thresholds, z.Thresholds)
}

// sameAmount reports whether two versions of a limit leave the same to spend.
func sameAmount(a, z billing.Limit) bool {
	return a.Amount.Valid == z.Amount.Valid && a.Amount.Decimal.Equal(z.Amount.Decimal) && a.Mode == z.Mode
}

// isCut reports whether a change leaves less to spend than before.
func isCut(before, after billing.Limit) bool {
	return after.Amount.Valid && (!before.Amount.Valid || after.Amount.Decimal.LessThan(before.Amount.Decimal))
}

func writeLimit(ctx context.Context, tx pgx.Tx, org billing.Organization, l billing.Limit, lastVersion int) (billing.Limit, error) {
	const statement = `
INSERT INTO limits (org_id, scope, subject, version, amount, mode, thresholds, updated_at)
VALUES (@org, @scope, @subject, @version, @amount, @mode, @thresholds, @now)
    ON CONFLICT (org_id, scope, subject) DO UPDATE
   SET version = excluded.version, amount = excluded.amount, mode = excluded.mode,
       thresholds = excluded.thresholds, removed_at = NULL, updated_at = excluded.updated_at
RETURNING id`
	l.Version = lastVersion + 1
	err := tx.QueryRow(ctx, statement, pgx.NamedArgs{
		"org": org.ID, "now": org.Now, "scope": l.Scope, "subject": l.Subject, "version": l.Version,
		"amount": l.Amount, "mode": l.Mode, "thresholds": l.Thresholds,
	}).Scan(&l.ID)
	return l, wrap("set limit", err)
}

func subjectOf(l billing.Limit) string {
	if l.Subject == "" {
		return string(l.Scope)
	}
	return string(l.Scope) + "/" + l.Subject
}

func limitForAudit(l billing.Limit) any {
	amount := json.RawMessage("null")
	if l.Amount.Valid {
		amount = json.RawMessage(`"` + l.Amount.Decimal.String() + `"`)
	}
	return map[string]any{"version": l.Version, "amount": amount, "mode": l.Mode, "thresholds": l.Thresholds}
}

// limitsOn lists the limits that the spend of a counter counts towards.
func limitsOn(limits []billing.Limit, scope billing.Scope, subject string, seats *seatChart, now time.Time) []billing.Limit {
	tier := ""
	if scope == billing.ScopeUser {
		held, _ := seats.at(subject, now)
		tier = held.Tier
	}
	var on []billing.Limit
	for _, l := range limits {
		perMember := scope == billing.ScopeUser && l.Scope == billing.ScopeSeatTier && l.Mode == billing.PerMember && tier != "" && l.Subject == tier
		own := l.Scope == scope && l.Subject == subject && (scope != billing.ScopeSeatTier || l.Mode == billing.Pooled)
		if perMember || own {
			on = append(on, l)
		}
	}
	return on
}

// ownLimits tells which users' own limits replace their tier's default.
type ownLimits map[string]bool

// replace reports whether a limit does not hold for a user, since their own does.
func (own ownLimits) replace(l billing.Limit, user string) bool { return own[user] && l.IsDefault() }

// replacing picks the users with a limit of their own, if the organisation's
// rule lets it replace their tier's.
func replacing(org billing.Organization, limits []billing.Limit) ownLimits {
	if org.LimitRule != billing.RuleOverride {
		return nil
	}
	own := ownLimits{}
	for _, l := range limits {
		if l.Scope == billing.ScopeUser {
			own[l.Subject] = true
		}
	}
	return own
}

// readReplacing does the same for limits that were not read; of all users where
// users is nil.
func readReplacing(ctx context.Context, q querier, org billing.Organization, users []string) (ownLimits, error) {
	if org.LimitRule != billing.RuleOverride {
		return nil, nil
	}
	limits, err := readLimits(ctx, q, org.ID, users)
	return replacing(org, limits), err
}

// LimitExplanation says under which limits a user stands, and which one binds.
type LimitExplanation struct {
	Organization string
	User         string
	Tier         string // "" = no seat
	Window       billing.Period
	AsOf         time.Time
	Rule         string             // of the organisation: how its limits meet
	Standings    []billing.Standing // widest first; unlimited and replaced ones included
	Binding      *billing.Standing  // nil = nothing is limited
}

// Explain says under which limits a user stands now, and which one binds.
// User "" is service usage, which stands under the organisation's limit only.
func (s *Store) Explain(ctx context.Context, orgID, user string) (e LimitExplanation, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		calendar, err := org.Calendar()
		if err != nil {
			return err
		}
		all, err := readSeats(ctx, tx, orgID)
		if err != nil {
			return err
		}
		chart := newSeatChart(0, all)
		held, _ := chart.at(user, org.Now)
		e = LimitExplanation{Organization: orgID, User: user, Tier: held.Tier, Window: calendar.Month(org.Now), AsOf: org.Now, Rule: org.LimitRule}
		limits, err := readLimits(ctx, tx, orgID, []string{user})
		if err != nil {
			return err
		}
		before, err := readLimitBaselines(ctx, tx, orgID, e.Window.Start, []string{user})
		if err != nil {
			return err
		}
		for _, counter := range []counterKey{
			{e.Window.Start, billing.ScopeOrganization, ""},
			{e.Window.Start, billing.ScopeSeatTier, held.Tier},
			{e.Window.Start, billing.ScopeUser, user},
		} {
			if counter.scope != billing.ScopeOrganization && counter.subject == "" {
				continue
			}
			counted, err := readCounter(ctx, tx, orgID, counter)
			if err != nil {
				return err
			}
			for _, l := range limitsOn(limits, counter.scope, counter.subject, chart, org.Now) {
				e.Standings = append(e.Standings, counted.standing(l, before[beforeKey{l.ID, counter.subject}]))
			}
		}
		e.Binding = billing.Binding(org.LimitRule, e.Standings)
		return nil
	})
	return e, err
}

func readCounter(ctx context.Context, q querier, org string, key counterKey) (s counterValue, err error) {
	const statement = `
SELECT coalesce(sum(spend), 0), coalesce(sum(provisional), 0)
  FROM spend_counters
 WHERE org_id = $1 AND window_start = $2 AND scope = $3 AND subject = $4`
	err = q.QueryRow(ctx, statement, org, key.window, key.scope, key.subject).Scan(&s.priced, &s.provisional)
	return s, wrap("read a spend counter", err)
}

// standing is a limit and what is spent of it.
func (s counterValue) standing(l billing.Limit, before decimal.Decimal) billing.Standing {
	return billing.Standing{Limit: l, Spent: s.priced, Provisional: s.provisional, SpentBefore: before}
}
