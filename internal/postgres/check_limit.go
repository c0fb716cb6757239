package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// LimitCheck says whether a request may run, by the limits that it stands under.
type LimitCheck struct {
	Currency billing.Currency
	Window   billing.Period    // the billing month; spend starts again at its end
	AsOf     time.Time         // the organisation's now
	Binding  *billing.Standing // the limit with the least remaining; nil = unlimited
	Stop     Stop              // why nothing runs, whatever the limits leave; "" = nothing stops it
	StopAt   time.Time         // since when the contract has ended
}

// Stop is why nothing of an organisation may run, whatever its limits leave:
// StopContractEnded, or billing.SuspendedOverdue or SuspendedByHand.
type Stop string

// StopContractEnded is the end of the contract: usage after it is refused.
const StopContractEnded Stop = "contract_ended"

// Allowed tells whether nothing stops the organisation, and every limit leaves
// something to spend. What the request will cost is known only after it, so the
// one that crosses a limit still runs and the next one does not.
func (c *LimitCheck) Allowed() bool {
	switch {
	case c.Stop != "":
		return false
	case c.Binding == nil:
		return true
	}
	remaining, limited := c.Binding.Limit.Remaining(c.Binding.Spent)
	return !limited || remaining.IsPositive()
}

// monthOf is the billing month that an organisation was last seen in, and the
// calendar that it follows from.
type monthOf struct {
	timezone  string
	anchorDay int
	calendar  billing.Calendar
	month     billing.Period
}

// CheckLimit tells whether a user's request may run now; user "" is service
// usage, which stands under the organisation's limit only.
//
// It is asked before every request, so it reads as little as the answer needs, in
// one statement and by indexes alone: the organisation and what suspends it, the seat that the
// user holds, the limits of the organisation, of that tier and of the user, and
// the counter that each of them compares. It takes no lock and waits for none.
// The month is the one this process saw last; the statement says what time it is
// for the organisation, and where its month has turned, it is run once more.
func (s *Store) CheckLimit(ctx context.Context, org, user string) (LimitCheck, error) {
	known, _ := s.months.Load(org)
	seen, _ := known.(monthOf)
	for {
		check, now, err := s.checkLimit(ctx, org, user, seen)
		if err != nil {
			return LimitCheck{}, err
		}
		if now == seen {
			return check, nil
		}
		s.months.Store(org, now)
		seen = now
	}
}

// checkLimit reads one answer for the month that is thought to run, and returns
// the month that does.
func (s *Store) checkLimit(ctx context.Context, org, user string, seen monthOf) (check LimitCheck, now monthOf, err error) {
	// By position: finding names in the statement would cost as much as sending it.
	const statement = `
SELECT o.currency, o.timezone, o.anchor_day, o.limit_rule, coalesce(o.clock_at, now()), o.closed_at,
       coalesce((SELECT min(CASE WHEN s.invoice_id IS NULL THEN 'suspended' ELSE 'payment_overdue' END)
                   FROM suspensions s WHERE s.org_id = o.id AND s.lifted_at IS NULL), ''),
       l.id, l.scope, l.subject, l.version, l.amount, l.mode, coalesce(c.spend, 0), coalesce(b.spent, 0)
  FROM organizations o
  LEFT JOIN LATERAL (
       SELECT a.tier
         FROM seat_assignments a
        WHERE a.org_id = o.id
          AND a.user_id = $2
          AND a.valid_from <= coalesce(o.clock_at, now())
          AND (a.valid_to IS NULL OR a.valid_to > coalesce(o.clock_at, now()))
        ORDER BY a.valid_from DESC
        LIMIT 1) held ON true
  LEFT JOIN LATERAL (
       SELECT l.*
         FROM (VALUES ('organization' COLLATE "C", '' COLLATE "C"),
                      ('seat_tier', held.tier),
                      ('user', $2)) AS mine (scope, subject)
         JOIN limits l ON l.org_id = o.id AND l.scope = mine.scope AND l.subject = mine.subject
        WHERE l.removed_at IS NULL) l ON true
  LEFT JOIN spend_counters c
    ON c.org_id = o.id
   AND c.window_start = $3
   AND c.scope   = CASE WHEN l.scope = 'seat_tier' AND l.mode = 'per_member' THEN 'user' ELSE l.scope END
   AND c.subject = CASE WHEN l.scope = 'seat_tier' AND l.mode = 'per_member' THEN $2 ELSE l.subject END
  LEFT JOIN limit_spent_before b ON b.limit_id = l.id AND b.subject = c.subject AND b.window_start = c.window_start
 WHERE o.id = $1`
	rows, err := s.pool.Query(ctx, statement, org, user, seen.month.Start)
	if err != nil {
		return check, now, wrap("check the limits of "+org, err)
	}
	var row checkRow
	var standings []billing.Standing
	_, err = pgx.ForEachRow(rows, row.targets(), func() error {
		if row.id != nil {
			standings = append(standings, row.standing())
		}
		return nil
	})
	switch {
	case err != nil:
		return check, now, wrap("check the limits of "+org, err)
	case row.currency == "":
		return check, now, billing.NotFound("organization %q does not exist", org)
	}
	if now, err = seen.at(row.timezone, row.anchorDay, row.now); err != nil {
		return check, now, err
	}
	check = LimitCheck{Currency: row.currency, Window: now.month, AsOf: row.now.UTC(), Binding: billing.Binding(row.limitRule, standings)}
	check.Stop, check.StopAt = row.stop()
	return check, now, nil
}

// at returns the billing month that runs at an instant: the one that was seen
// last, where it still does.
func (m monthOf) at(timezone string, anchorDay int, now time.Time) (monthOf, error) {
	if m.timezone == timezone && m.anchorDay == anchorDay && m.month.Contains(now) {
		return m, nil
	}
	calendar, err := billing.NewCalendar(timezone, anchorDay)
	if err != nil {
		return m, err
	}
	return monthOf{timezone, anchorDay, calendar, calendar.Month(now)}, nil
}

// checkRow is one limit that applies, or none, beside the organisation's terms.
type checkRow struct {
	currency  billing.Currency
	timezone  string
	anchorDay int
	limitRule string
	now       time.Time
	closedAt  *time.Time
	suspended Stop
	id        *int64
	scope     *billing.Scope
	subject   *string
	version   *int
	amount    decimal.NullDecimal
	mode      *string
	spent     decimal.Decimal
	before    decimal.Decimal
}

func (r *checkRow) targets() []any {
	return []any{
		&r.currency, &r.timezone, &r.anchorDay, &r.limitRule, &r.now, &r.closedAt, &r.suspended,
		&r.id, &r.scope, &r.subject, &r.version, &r.amount, &r.mode, &r.spent, &r.before,
	}
}

// stop says what stops the organisation, and when its contract has ended.
func (r *checkRow) stop() (why Stop, since time.Time) {
	if r.closedAt != nil && !r.now.Before(*r.closedAt) {
		return StopContractEnded, r.closedAt.UTC()
	}
	return r.suspended, time.Time{}
}

func (r *checkRow) standing() billing.Standing {
	limit := billing.Limit{ID: *r.id, Scope: *r.scope, Subject: *r.subject, Version: *r.version, Amount: r.amount, Mode: *r.mode}
	return billing.Standing{Limit: limit, Spent: r.spent, SpentBefore: r.before}
}
