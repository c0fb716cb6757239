package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// monthOf is the billing month that an organisation was last seen in, and the
// calendar that it follows from.
type monthOf struct {
	timezone  string
	anchorDay int
	calendar  billing.Calendar
	month     billing.Period
}

// CheckLimit reports whether a user's request may run now; user "" is service
// usage, which stands under the organisation's limit only.
//
// It is asked before every request, so it reads as little as the answer needs, by
// indexes alone: the organisation and what suspends it, the seat that the
// user holds, the limits of the organisation, of that tier and of the user, and
// the counter that each of them compares. It takes no lock and waits for none, and
// checks that are asked at once share a statement.
// The month is the one this process saw last; the statement says what time it is
// for the organisation, and where its month has turned, it is asked once more.
func (s *Store) CheckLimit(ctx context.Context, org, user string) (billing.LimitCheck, error) {
	known, _ := s.months.Load(org)
	seen, _ := known.(monthOf)
	for {
		found, err := s.checks.get(ctx, checkQuestion{org, user, seen.month.Start})
		switch {
		case err != nil:
			return billing.LimitCheck{}, wrap("check the limits of "+org, err)
		case found == nil:
			return billing.LimitCheck{}, billing.NotFound("organization %q does not exist", org)
		}
		now, err := seen.at(found.timezone, found.anchorDay, found.now)
		switch {
		case err != nil:
			return billing.LimitCheck{}, err
		case now == seen:
			return found.check(now.month)
		}
		s.months.Store(org, now)
		seen = now
	}
}

// checkQuestion is what one check asks: how a user of an organisation stands in
// the month that is thought to run there.
type checkQuestion struct {
	org, user string
	month     time.Time // its start
}

// checkLimits answers several checks at once; nil is an organisation that does not
// exist.
//
// What is looked up for each stands behind OFFSET 0, which has it looked up by index
// for each, whatever the planner thinks of how many there are; the arrays' lengths are
// kept from it by sub-selects, or it would plan each statement anew. Amounts travel as text: pgx
// takes a detour over it for this type anyway.
func (s *Store) checkLimits(ctx context.Context, questions []checkQuestion) ([]*checkFacts, error) {
	// By position: finding names in the statement would cost as much as sending it.
	const statement = `
SELECT asked.n, o.currency, o.timezone, o.anchor_day, o.limit_rule, o.now, o.closed_at, o.suspended,
       l.id, l.scope, l.subject, l.version, l.amount::text, l.mode, l.spend::text, l.provisional::text, l.before::text
  FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::timestamptz[])) WITH ORDINALITY AS asked (org_id, user_id, window_start, n)
 CROSS JOIN LATERAL (
       SELECT o.id, o.currency, o.timezone, o.anchor_day, o.limit_rule, coalesce(o.clock_at, now()) AS now, o.closed_at,
              coalesce((SELECT min(CASE WHEN s.invoice_id IS NULL THEN 'suspended' ELSE 'payment_overdue' END)
                          FROM suspensions s WHERE s.org_id = o.id AND s.lifted_at IS NULL), '') AS suspended
         FROM organizations o
        WHERE o.id = asked.org_id
       OFFSET 0) o
  LEFT JOIN LATERAL (
       SELECT a.tier
         FROM seat_assignments a
        WHERE a.org_id = o.id
          AND a.user_id = asked.user_id
          AND a.valid_from <= o.now
          AND (a.valid_to IS NULL OR a.valid_to > o.now)
        ORDER BY a.valid_from DESC
        LIMIT 1) held ON true
  LEFT JOIN LATERAL (
       SELECT l.id, l.scope, l.subject, l.version, l.amount, l.mode, coalesce(c.spend, 0) AS spend, coalesce(c.provisional, 0) AS provisional, coalesce(b.spent, 0) AS before
         FROM (VALUES ('organization' COLLATE "C", '' COLLATE "C"),
                      ('seat_tier', held.tier),
                      ('user', asked.user_id)) AS mine (scope, subject)
        CROSS JOIN LATERAL (
              SELECT l.*
                FROM limits l
               WHERE l.org_id = o.id AND l.scope = mine.scope AND l.subject = mine.subject AND l.removed_at IS NULL
              OFFSET 0) l
         LEFT JOIN LATERAL (
              SELECT c.*
                FROM spend_counters c
               WHERE c.org_id = o.id
                 AND c.window_start = asked.window_start
                 AND c.scope   = CASE WHEN l.scope = 'seat_tier' AND l.mode = 'per_member' THEN 'user' ELSE l.scope END
                 AND c.subject = CASE WHEN l.scope = 'seat_tier' AND l.mode = 'per_member' THEN asked.user_id ELSE l.subject END
              OFFSET 0) c ON true
         LEFT JOIN LATERAL (
              SELECT b.spent
                FROM limit_spent_before b
               WHERE b.limit_id = l.id AND b.subject = c.subject AND b.window_start = c.window_start
              OFFSET 0) b ON true) l ON true`
	rows, err := s.pool.Query(ctx, statement,
		column(questions, func(q checkQuestion) string { return q.org }),
		column(questions, func(q checkQuestion) string { return q.user }),
		column(questions, func(q checkQuestion) time.Time { return q.month }))
	if err != nil {
		return nil, err
	}
	found := make([]*checkFacts, len(questions))
	var row checkRow
	_, err = pgx.ForEachRow(rows, row.targets(), func() error {
		facts := found[row.n-1]
		if facts == nil {
			facts = &checkFacts{checkTerms: row.checkTerms}
			found[row.n-1] = facts
		}
		if row.id != nil {
			facts.limits = append(facts.limits, row.checkedLimit)
		}
		return nil
	})
	return found, err
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

// checkFacts is what a check found.
type checkFacts struct {
	checkTerms
	limits []checkedLimit
}

// checkTerms is what a check reads of the organisation.
type checkTerms struct {
	currency  billing.Currency
	timezone  string
	anchorDay int
	limitRule string
	now       time.Time
	closedAt  *time.Time
	suspended billing.Stop
}

// checkedLimit is a limit that applies, and what is spent of it.
type checkedLimit struct {
	id          *int64 // nil = none applies
	scope       *billing.Scope
	subject     *string
	version     *int
	amount      *string
	mode        *string
	spent       *string
	provisional *string
	before      *string
}

// checkRow is one limit that applies, or none, beside the organisation's terms.
type checkRow struct {
	n int // of the question, from 1
	checkTerms
	checkedLimit
}

func (r *checkRow) targets() []any {
	return []any{
		&r.n, &r.currency, &r.timezone, &r.anchorDay, &r.limitRule, &r.now, &r.closedAt, &r.suspended,
		&r.id, &r.scope, &r.subject, &r.version, &r.amount, &r.mode, &r.spent, &r.provisional, &r.before,
	}
}

// check is the answer in a billing month.
func (f *checkFacts) check(month billing.Period) (check billing.LimitCheck, err error) {
	standings := make([]billing.Standing, len(f.limits))
	for i := range f.limits {
		if standings[i], err = f.limits[i].standing(); err != nil {
			return check, err
		}
	}
	check = billing.LimitCheck{Currency: f.currency, Window: month, AsOf: f.now.UTC(), Binding: billing.Binding(f.limitRule, standings)}
	check.Stop, check.StopAt = f.stop()
	return check, nil
}

// stop says what stops the organisation, and when its contract has ended.
func (t *checkTerms) stop() (why billing.Stop, since time.Time) {
	if t.closedAt != nil && !t.now.Before(*t.closedAt) {
		return billing.StopContractEnded, t.closedAt.UTC()
	}
	return t.suspended, time.Time{}
}

func (l *checkedLimit) standing() (s billing.Standing, err error) {
	s.Limit = billing.Limit{ID: *l.id, Scope: *l.scope, Subject: *l.subject, Version: *l.version, Mode: *l.mode}
	if l.amount != nil {
		amount, err := decimal.NewFromString(*l.amount)
		if err != nil {
			return s, err
		}
		s.Limit.Amount = decimal.NewNullDecimal(amount)
	}
	if s.Spent, err = decimal.NewFromString(*l.spent); err != nil {
		return s, err
	}
	if s.Provisional, err = decimal.NewFromString(*l.provisional); err != nil {
		return s, err
	}
	s.SpentBefore, err = decimal.NewFromString(*l.before)
	return s, err
}
