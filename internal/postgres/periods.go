package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// period is one row of periods: what is billed by one invoice.
type period struct {
	ID           string
	Start        time.Time
	End          time.Time
	Revision     int
	DraftUntil   time.Time // zero = not over yet
	ParkedReason string
	ClosedAt     time.Time // zero = still takes usage
}

func (p period) span() billing.Period { return billing.Period{Start: p.Start, End: p.End} }

const periodColumns = ` id, starts_at, ends_at, revision, draft_until, parked_reason, closed_at`

func scanPeriod(row pgx.CollectableRow) (p period, err error) {
	var draft, closed *time.Time
	err = row.Scan(&p.ID, &p.Start, &p.End, &p.Revision, &draft, &p.ParkedReason, &closed)
	p.Start, p.End, p.DraftUntil, p.ClosedAt = p.Start.UTC(), p.End.UTC(), instant(draft), instant(closed)
	return p, err
}

// readPeriods lists an organisation's periods in order.
func readPeriods(ctx context.Context, q querier, org string) ([]period, error) {
	rows, err := q.Query(ctx, `SELECT`+periodColumns+` FROM periods WHERE org_id = $1 ORDER BY starts_at`, org)
	if err != nil {
		return nil, wrap("read the periods of "+org, err)
	}
	periods, err := pgx.CollectRows(rows, scanPeriod)
	return periods, wrap("read the periods of "+org, err)
}

func readPeriod(ctx context.Context, q querier, org, id string) (period, error) {
	rows, err := q.Query(ctx, `SELECT`+periodColumns+` FROM periods WHERE org_id = $1 AND id = $2`, org, id)
	if err != nil {
		return period{}, wrap("read period "+org+"/"+id, err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanPeriod)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, billing.NotFound("organization %q has no period %q", org, id)
	}
	return p, wrap("read period "+org+"/"+id, err)
}

// find returns the period that contains an instant.
func find(periods []period, at time.Time) (period, bool) {
	for _, p := range periods {
		if p.span().Contains(at) {
			return p, true
		}
	}
	return period{}, false
}

// ensurePeriod makes sure that the organisation's periods reach to the one that
// contains an instant, and returns them all in order. Whoever needs a period
// first makes it; two at once make the same one. None begins after the contract.
func ensurePeriod(ctx context.Context, tx querier, org billing.Organization, at time.Time) ([]period, error) {
	calendar, err := org.Calendar()
	if err != nil {
		return nil, err
	}
	periods, err := readPeriods(ctx, tx, org.ID)
	if err != nil {
		return nil, err
	}
	missing := missingPeriods(calendar, org, periods, at)
	if len(missing) == 0 {
		return periods, nil
	}
	for _, p := range missing {
		if err := insertPeriod(ctx, tx, org.ID, p.ID, p.Start, p.End); err != nil {
			return nil, err
		}
	}
	return readPeriods(ctx, tx, org.ID)
}

// missingPeriods lists the periods that lie between those that there are and an
// instant, the one that contains it included.
func missingPeriods(calendar billing.Calendar, org billing.Organization, periods []period, at time.Time) (missing []period) {
	next := org.StartsAt
	if len(periods) > 0 {
		next = periods[len(periods)-1].End
	}
	for !at.Before(next) && (org.ClosedAt.IsZero() || next.Before(org.ClosedAt)) {
		end := calendar.Month(next).End
		missing = append(missing, period{ID: newPeriodID(calendar, periods, next), Start: next, End: end, Revision: 1})
		next = end
	}
	return missing
}

func insertPeriod(ctx context.Context, tx querier, org, id string, start, end time.Time) error {
	const statement = `
INSERT INTO periods (org_id, id, starts_at, ends_at)
VALUES (@org, @id, @start, @end)
    ON CONFLICT DO NOTHING`
	_, err := tx.Exec(ctx, statement, pgx.NamedArgs{"org": org, "id": id, "start": start, "end": end})
	return wrap("open period "+org+"/"+id, err)
}

// newPeriodID names the period that starts at an instant: by its local start
// date where it begins a month or the contract; else it is a further piece of
// the month whose first piece has the name, 2026-04-01.2.
func newPeriodID(calendar billing.Calendar, periods []period, start time.Time) string {
	month := calendar.Month(start)
	first, pieces := "", 0
	for _, p := range periods {
		if month.Contains(p.Start) && p.Start.Before(start) {
			pieces++
			if first == "" {
				first, _, _ = strings.Cut(p.ID, ".")
			}
		}
	}
	if pieces == 0 {
		return calendar.LocalDate(start)
	}
	return fmt.Sprintf("%s.%d", first, pieces+1)
}

// current returns the period that usage of no other open period goes to: the
// one that contains the organisation's time, or the first one still open.
func current(periods []period, now time.Time) (period, bool) {
	if p, ok := find(periods, now); ok && p.ClosedAt.IsZero() {
		return p, true
	}
	for _, p := range periods {
		if p.ClosedAt.IsZero() {
			return p, true
		}
	}
	return period{}, false
}
