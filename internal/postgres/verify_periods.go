package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// periodChecks hold an organisation's periods against each other and against
// their invoices.
func periodChecks() []check {
	return []check{
		{"period_tiling", periodsTileTime},
		{"period_invoiced", closedPeriodsAreInvoiced},
		{"currency", oneCurrencyThroughout},
	}
}

// The first period begins with the contract, and each other where the one
// before it ends.
const periodsTileTime = `
SELECT p.id, 'starts at ' || p.expected, 'starts at ' || p.starts_at
  FROM (SELECT periods.id, periods.starts_at,
               coalesce(lag(periods.ends_at) OVER (ORDER BY periods.starts_at), o.starts_at) AS expected
          FROM periods
          JOIN organizations o ON o.id = periods.org_id
         WHERE o.id = @org) p
 WHERE p.starts_at <> p.expected
 ORDER BY p.starts_at`

// A closed period has one live invoice, unless that was withdrawn and the
// next revision is awaited; no other period has any.
const closedPeriodsAreInvoiced = `
SELECT p.id,
       CASE WHEN p.closed_at IS NULL THEN 'open, so no invoice' ELSE 'closed, so one live invoice' END,
       count(i.id) FILTER (WHERE i.status <> 'void') || ' live of ' || count(i.id)
  FROM periods p
  LEFT JOIN invoices i ON i.org_id = p.org_id AND i.period_id = p.id
 WHERE p.org_id = @org AND (@period = '' OR p.id = @period)
 GROUP BY p.org_id, p.id
HAVING count(i.id) FILTER (WHERE i.status <> 'void') <> CASE WHEN p.closed_at IS NULL THEN 0 ELSE 1 END
   AND NOT (count(i.id) FILTER (WHERE i.status <> 'void') = 0 AND coalesce(max(i.revision), 0) = p.revision - 1 AND p.revision > 1)
 ORDER BY 1`

// The contract, its prices and all its invoices are in one currency.
const oneCurrencyThroughout = `
SELECT 'price book ' || b.name, @currency::text, b.currency
  FROM price_books b
 WHERE b.name = @book AND b.currency <> @currency
 UNION ALL
SELECT i.id, @currency, i.currency
  FROM invoices i
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period) AND i.currency <> @currency
 ORDER BY 1`

// checkCalendar holds the stored periods against the calendar: each is named by
// the local date on which its month begins for it, and ends with that month,
// unless a further piece of the month follows or the contract has ended.
func (v *verification) checkCalendar(ctx context.Context) error {
	const statement = `
SELECT p.id, p.starts_at, p.ends_at, o.closed_at
  FROM periods p
  JOIN organizations o ON o.id = p.org_id
 WHERE p.org_id = @org
 ORDER BY p.starts_at`
	type row struct {
		ID         string
		Start, End time.Time
		ClosedAt   *time.Time
	}
	rows, err := v.tx.Query(ctx, statement, v.args)
	if err != nil {
		return wrap("check period_calendar", err)
	}
	periods, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return wrap("check period_calendar", err)
	}
	first, pieces := "", 0
	var month time.Time
	for i, p := range periods {
		whole := v.calendar.Month(p.Start)
		if !whole.Start.Equal(month) {
			first, pieces, month = v.calendar.LocalDate(p.Start), 0, whole.Start
		}
		pieces++
		id := first
		if pieces > 1 {
			id = fmt.Sprintf("%s.%d", first, pieces)
		}
		if p.ID != id {
			v.differ("period_calendar", p.ID, "is named "+id, "is named "+p.ID)
		}
		cut := i < len(periods)-1 || (p.ClosedAt != nil && p.End.Equal(*p.ClosedAt))
		if p.End.After(whole.End) || (p.End.Before(whole.End) && !cut) {
			v.differ("period_calendar", p.ID, "ends at "+whole.End.String(), "ends at "+p.End.UTC().String())
		}
	}
	return nil
}

func (v *verification) differ(name, subject, expected, actual string) {
	v.found = append(v.found, Difference{Check: name, Organization: v.org, Subject: subject, Expected: expected, Actual: actual})
}
