package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// UsageByDay adds up the usage that occurred in some spans by UTC day, user,
// product, model and rate, and hands each sum to a function, rated or parked; the
// function keeps no pointer to it. What was retracted is taken off, and parked
// usage that was given up is left out. The spans must lie apart. It reads every
// event of the organisation once.
func (s *Store) UsageByDay(ctx context.Context, orgID string, spans []billing.Period, each func(*billing.StoredUsage)) error {
	err := s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		rater, err := newRater(ctx, tx, org.PriceBook)
		if err != nil {
			return err
		}
		return eachDay(ctx, tx, orgID, spans, rater, each)
	})
	return wrap("add up the usage of "+orgID+" by day", err)
}

// usageByDay counts a retraction as its event taken back: its quantities are below zero.
const usageByDay = `
SELECT (e.occurred_at AT TIME ZONE 'UTC')::date, e.user_id, e.product, e.model,
       coalesce(e.rate_id, 0), coalesce(e.parked_reason, ''),
       sum(` + eventsOfRow + `)::bigint,
       sum(e.input), sum(e.output), sum(e.cache_write_5m), sum(e.cache_write_1h), sum(e.cache_read), sum(e.web_search), sum(e.code_execution)
  FROM usage_events e
  JOIN unnest(@starts::timestamptz[], @ends::timestamptz[]) AS s (starts_at, ends_at)
    ON e.occurred_at >= s.starts_at AND e.occurred_at < s.ends_at
 WHERE e.org_id = @org
   AND (e.rate_id IS NOT NULL OR NOT e.void)
 GROUP BY 1, 2, 3, 4, 5, 6`

func eachDay(ctx context.Context, tx pgx.Tx, org string, spans []billing.Period, rater *billing.Rater, each func(*billing.StoredUsage)) error {
	starts, ends := make([]time.Time, len(spans)), make([]time.Time, len(spans))
	for i, span := range spans {
		starts[i], ends[i] = span.Start, span.End
	}
	rows, err := tx.Query(ctx, usageByDay, pgx.NamedArgs{"org": org, "starts": starts, "ends": ends})
	if err != nil {
		return err
	}
	var u billing.StoredUsage
	var rate int64
	c := &u.Counts
	_, err = pgx.ForEachRow(rows, []any{
		&u.Day, &u.User, &u.Product, &u.Model, &rate, &u.Reason, &u.Events,
		&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h],
		&c[billing.CacheRead], &c[billing.WebSearch], &c[billing.CodeExecution],
	}, func() error {
		if u.Rate = rater.ByID(rate); rate != 0 && u.Rate == nil {
			return fmt.Errorf("rate %d is not of the organization's price book", rate)
		}
		each(&u)
		return nil
	})
	return err
}
