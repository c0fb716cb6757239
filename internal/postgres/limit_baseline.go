package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// recordLimitBaseline notes what was spent in the running month when a limit got
// its amount, in the transaction that gives it: of each user for a limit
// of each member, since any of them may come under it within the month.
func recordLimitBaseline(ctx context.Context, tx pgx.Tx, org billing.Organization, l billing.Limit) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	const forget = `DELETE FROM limit_spent_before WHERE limit_id = $1`
	if _, err := tx.Exec(ctx, forget, l.ID); err != nil {
		return wrap("note what was spent before", err)
	}
	const statement = `
INSERT INTO limit_spent_before (limit_id, subject, window_start, spent)
SELECT @limit, subject, window_start, spend
  FROM spend_counters
 WHERE org_id = @org
   AND window_start = @window
   AND scope = @scope
   AND (@everybody OR subject = @subject)`
	scope := l.Scope
	if l.IsDefault() {
		scope = billing.ScopeUser
	}
	_, err = tx.Exec(ctx, statement, pgx.NamedArgs{
		"limit": l.ID, "org": org.ID, "window": calendar.Month(org.Now).Start, "scope": scope, "everybody": l.IsDefault(), "subject": l.Subject,
	})
	return wrap("note what was spent before", err)
}

// beforeKey names what a subject had spent before a limit.
type beforeKey struct {
	limit   int64
	subject string // as the counter's
}

// readLimitBaselines reads what was spent in a month before each limit got its
// amount; of the limits of each member, for the given users, or all where nil.
func readLimitBaselines(ctx context.Context, q querier, org string, window time.Time, users []string) (map[beforeKey]decimal.Decimal, error) {
	const statement = `
SELECT b.limit_id, b.subject, b.spent
  FROM limits l
  JOIN limit_spent_before b ON b.limit_id = l.id AND b.window_start = @window
 WHERE l.org_id = @org
   AND l.removed_at IS NULL
   AND (b.subject = l.subject OR @users::text[] IS NULL OR b.subject = ANY(@users))`
	rows, err := q.Query(ctx, statement, pgx.NamedArgs{"org": org, "window": window, "users": users})
	if err != nil {
		return nil, wrap("read what was spent before", err)
	}
	before := map[beforeKey]decimal.Decimal{}
	var key beforeKey
	var spent decimal.Decimal
	_, err = pgx.ForEachRow(rows, []any{&key.limit, &key.subject, &spent}, func() error {
		before[key] = spent
		return nil
	})
	return before, wrap("read what was spent before", err)
}

// LimitStatus is a limit and what is spent under it together; each member's own
// limit has no spend of its own, but one for each member.
type LimitStatus struct {
	billing.Standing
	PerMember bool
}

// LimitStatuses lists an organisation's limits, widest first, with what has been
// spent under them in the running month.
func (s *Store) LimitStatuses(ctx context.Context, orgID string) (standings []LimitStatus, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		standings = []LimitStatus{}
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		calendar, err := org.Calendar()
		if err != nil {
			return err
		}
		limits, err := readLimits(ctx, tx, orgID, nil)
		if err != nil {
			return err
		}
		window := calendar.Month(org.Now).Start
		spent, err := readWindow(ctx, tx, orgID, window, nil)
		if err != nil {
			return err
		}
		before, err := readLimitBaselines(ctx, tx, orgID, window, []string{})
		for _, l := range limits {
			standing := LimitStatus{Standing: billing.Standing{Limit: l}, PerMember: l.IsDefault()}
			if !standing.PerMember {
				standing.Standing = spent[counterKey{window, l.Scope, l.Subject}].standing(l, before[beforeKey{l.ID, l.Subject}])
			}
			standings = append(standings, standing)
		}
		return err
	})
	return standings, wrap("read the limits of "+orgID, err)
}
