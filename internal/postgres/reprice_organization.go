package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// repriceOrganization rates an organisation's usage of open periods anew, in one
// transaction that excludes storing and closing. Its time grows with all events
// of the organisation, which are read once, and with those that move, which are
// written once; what is held in memory, with the counters that cross something.
// What the database holds besides, with members × products × models.
func repriceOrganization(ctx context.Context, tx pgx.Tx, change *repricing, orgID string) (moved RepricedOrganization, err error) {
	in, open, err := openRepricing(ctx, tx, change, orgID)
	if err != nil || !open {
		return moved, err
	}
	moved = RepricedOrganization{Organization: orgID, Difference: billing.Money{Currency: in.org.Currency}}
	if err := rateAnew(ctx, tx, in, change); err != nil {
		return moved, err
	}
	const sum = `
SELECT (SELECT coalesce(sum(samplings), 0) FROM repriced)::bigint,
       (SELECT coalesce(sum(moved_rows), 0) FROM repriced)::bigint,
       coalesce(sum(x.sign * (` + listPrice + `)), 0)
  FROM repriced s
 CROSS JOIN LATERAL (VALUES (s.old_rate, -1), (s.new_rate, 1)) AS x (rate_id, sign)
  JOIN rates r ON r.id = x.rate_id`
	if err := tx.QueryRow(ctx, sum).Scan(&moved.Events, &moved.rows, &moved.Difference.Amount); err != nil {
		return moved, wrap("sum up the difference", err)
	}
	if change.rehearse {
		return moved, nil
	}
	if moved.rows > 0 {
		if err := moveTotals(ctx, tx, orgID); err != nil {
			return moved, err
		}
	}
	return moved, finishRepricing(ctx, tx, in, change, moved)
}

// openRepricing takes the locks: prices stay, and nothing is stored, closed, or
// changed in the organisation's terms meanwhile. open is false where somebody
// else has done it.
func openRepricing(ctx context.Context, tx pgx.Tx, change *repricing, orgID string) (in *intake, open bool, err error) {
	if !change.rehearse {
		if err := lockShared(ctx, tx, bookLock(change.book)); err != nil {
			return nil, false, err
		}
		if err := lockExclusive(ctx, tx, termsLock(orgID)); err != nil {
			return nil, false, err
		}
	}
	in = &intake{}
	if in.org, err = readOrganization(ctx, tx, orgID); err != nil {
		return nil, false, err
	}
	seats, err := readSeats(ctx, tx, orgID)
	if err != nil {
		return nil, false, err
	}
	in.seats = newSeatChart(0, seats)
	if in.periods, err = readPeriods(ctx, tx, orgID); err != nil {
		return nil, false, err
	}
	for _, p := range in.periods {
		if p.ClosedAt.IsZero() && !change.rehearse {
			if err := lockExclusive(ctx, tx, periodLock(orgID, p.ID)); err != nil {
				return nil, false, err
			}
		}
	}
	const statement = `SELECT done_at IS NULL FROM price_change_organizations WHERE change_id = $1 AND org_id = $2`
	err = tx.QueryRow(ctx, statement, change.id, orgID).Scan(&open)
	return in, open, wrap("look for open corrections", err)
}

// slots is where each rate of the book is in force: from when until when, for
// which prompts, and beside which tool prices.
const slots = `
WITH versions AS (
    SELECT model, speed, effective_from,
           lead(effective_from) OVER (PARTITION BY model, speed ORDER BY effective_from) AS until
      FROM (SELECT DISTINCT model, speed, effective_from FROM model_prices WHERE book = @book AND superseded_revision IS NULL) v
), bands AS (
    SELECT p.model, p.speed, p.effective_from, v.until, p.prompt_tokens_above, p.us_only IS NOT NULL AS us_offered,
           lead(p.prompt_tokens_above) OVER (
               PARTITION BY p.model, p.speed, p.effective_from ORDER BY p.prompt_tokens_above) AS next_band
      FROM model_prices p
      JOIN versions v USING (model, speed, effective_from)
     WHERE p.book = @book AND p.superseded_revision IS NULL
), tools AS (
    SELECT tools_from, lead(tools_from) OVER (ORDER BY tools_from) AS tools_until
      FROM (SELECT @no_tools::timestamptz AS tools_from
             UNION
            SELECT effective_from FROM tool_prices WHERE book = @book AND superseded_revision IS NULL) t
), tiers AS (
    SELECT 'standard' COLLATE "C" AS service_tier, @no_tools::timestamptz AS tier_from, NULL::timestamptz AS tier_until
     UNION ALL
    SELECT 'batch', @no_tools, NULL
     UNION ALL
    SELECT tier, effective_from, lead(effective_from) OVER (PARTITION BY tier ORDER BY effective_from)
      FROM service_tier_prices
     WHERE book = @book AND superseded_revision IS NULL
), slots AS (
    SELECT b.*, t.*, s.*, r.id AS rate_id, r.us_only
      FROM bands b
     CROSS JOIN tools t
     CROSS JOIN tiers s
      JOIN rates r USING (model, speed, effective_from, prompt_tokens_above, tools_from, service_tier, tier_from)
     WHERE r.book = @book AND r.superseded_at IS NULL
)`

// anew finds the events of open periods that have another rate than the one that
// is in force for them. A retraction goes with its event: it keeps the rate of one
// that is billed.
const anew = slots + `, anew AS (
    SELECT e.event_id, e.part, e.rate_id AS old_rate, s.rate_id AS new_rate
      FROM usage_events e
      LEFT JOIN slots s ON s.model = e.model
                       AND s.speed = coalesce(e.speed, 'standard')
                       AND s.service_tier = coalesce(e.service_tier, 'standard')
                       AND e.occurred_at >= s.tier_from
                       AND (s.tier_until IS NULL OR e.occurred_at < s.tier_until)
                       AND s.us_only = (s.us_offered AND coalesce(e.inference_geo, 'global') = 'us')
                       AND e.occurred_at >= s.effective_from
                       AND (s.until IS NULL OR e.occurred_at < s.until)
                       AND e.occurred_at >= s.tools_from
                       AND (s.tools_until IS NULL OR e.occurred_at < s.tools_until)
                       AND (s.prompt_tokens_above = 0
                            OR abs(e.input + e.cache_write_5m + e.cache_write_1h + e.cache_read) > s.prompt_tokens_above)
                       AND (s.next_band IS NULL
                            OR abs(e.input + e.cache_write_5m + e.cache_write_1h + e.cache_read) <= s.next_band)
     WHERE e.org_id = @org
       AND e.rate_id IS NOT NULL
       AND e.period_id = ANY(@periods)
       AND ((e.model, coalesce(e.speed, 'standard')) IN (SELECT * FROM unnest(@models::text[], @speeds::text[]))
            OR (@tools AND (e.web_search <> 0 OR e.code_execution <> 0))
            OR e.service_tier = ANY(@tiers))
       AND (e.retracts IS NULL
            OR EXISTS (SELECT FROM usage_events o
                        WHERE o.org_id = e.org_id AND o.event_id = e.retracts AND o.part = e.part AND o.period_id = ANY(@periods)))
       AND s.rate_id IS DISTINCT FROM e.rate_id
)`

// rateAnew gives usage of open periods the rate that is in force for it now, and
// leaves in the temporary table repriced what moved from which rate to which. A
// rehearsal only counts.
func rateAnew(ctx context.Context, tx pgx.Tx, in *intake, change *repricing) error {
	const table = `
DROP TABLE IF EXISTS pg_temp.repriced;
CREATE TEMPORARY TABLE repriced (
    period_id text COLLATE "C", origin_id text COLLATE "C", user_id text COLLATE "C", product text COLLATE "C", model text COLLATE "C",
    seat_tier text COLLATE "C", window_start timestamptz, old_rate bigint, new_rate bigint, events bigint, samplings bigint, moved_rows bigint,
    input numeric, output numeric, cache_write_5m numeric, cache_write_1h numeric, cache_read numeric, web_search numeric, code_execution numeric
) ON COMMIT DROP`
	const write = anew + `, moved AS (
    UPDATE usage_events e
       SET rate_id = a.new_rate
      FROM anew a
     WHERE e.org_id = @org AND e.event_id = a.event_id AND e.part = a.part
    RETURNING e.*, a.old_rate, a.new_rate
)` + sumMoved
	const count = anew + `, moved AS (
    SELECT e.*, a.old_rate, a.new_rate
      FROM anew a
      JOIN usage_events e ON e.org_id = @org AND e.event_id = a.event_id AND e.part = a.part
)` + sumMoved
	if _, err := tx.Exec(ctx, table); err != nil {
		return wrap("rate usage anew", err)
	}
	periods := []string{}
	for _, p := range in.periods {
		if p.ClosedAt.IsZero() {
			periods = append(periods, p.ID)
		}
	}
	starts, ends, err := monthsOf(in.org)
	if err != nil {
		return err
	}
	statement := write
	if change.rehearse {
		statement = count
	}
	_, err = tx.Exec(ctx, statement, pgx.NamedArgs{
		"org": in.org.ID, "book": change.book, "periods": periods, "no_tools": time.Time{},
		"models": change.models, "speeds": change.speeds, "tools": change.tools, "tiers": change.tiers,
		"month_starts": starts, "month_ends": ends,
	})
	return wrap("rate usage anew", err)
}

// eventsOfRow is how many events a row e of usage_events counts as: the first row of
// one stands for it, and a retraction takes one away.
const eventsOfRow = `CASE WHEN e.part > 0 THEN 0 WHEN e.retracts IS NULL THEN 1 ELSE -1 END`

const sumMoved = `
INSERT INTO repriced
SELECT e.period_id, coalesce(e.origin_id, ''), e.user_id, e.product, e.model, e.seat_tier, m.starts_at, e.old_rate, e.new_rate,
       sum(` + eventsOfRow + `), sum(CASE WHEN e.retracts IS NULL THEN 1 ELSE -1 END), count(*),
       sum(e.input), sum(e.output), sum(e.cache_write_5m), sum(e.cache_write_1h), sum(e.cache_read), sum(e.web_search), sum(e.code_execution)
  FROM moved e
  JOIN unnest(@month_starts::timestamptz[], @month_ends::timestamptz[]) AS m (starts_at, ends_at)
    ON e.occurred_at >= m.starts_at AND e.occurred_at < m.ends_at
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9`

// monthsOf lists the billing months in which an organisation may have usage.
func monthsOf(org billing.Organization) (starts, ends []time.Time, err error) {
	calendar, err := org.Calendar()
	if err != nil {
		return nil, nil, err
	}
	last := org.Now.Add(billing.FutureTolerance)
	for month := calendar.Month(org.StartsAt); !month.Start.After(last); month = calendar.Month(month.End) {
		starts, ends = append(starts, month.Start), append(ends, month.End)
	}
	return starts, ends, nil
}

// moveTotals takes what moved out of the totals of its old rates and adds it to
// those of its new ones.
func moveTotals(ctx context.Context, tx pgx.Tx, orgID string) error {
	const sums = `sum(events) AS events, sum(input) AS input, sum(output) AS output, sum(cache_write_5m) AS cache_write_5m,
           sum(cache_write_1h) AS cache_write_1h, sum(cache_read) AS cache_read, sum(web_search) AS web_search,
           sum(code_execution) AS code_execution`
	for _, statement := range []string{`
UPDATE usage_totals t
   SET events         = t.events         - s.events,
       input          = t.input          - s.input,
       output         = t.output         - s.output,
       cache_write_5m = t.cache_write_5m - s.cache_write_5m,
       cache_write_1h = t.cache_write_1h - s.cache_write_1h,
       cache_read     = t.cache_read     - s.cache_read,
       web_search     = t.web_search     - s.web_search,
       code_execution = t.code_execution - s.code_execution
  FROM (SELECT period_id, origin_id, user_id, product, model, old_rate, ` + sums + ` FROM repriced GROUP BY 1, 2, 3, 4, 5, 6) s
 WHERE t.org_id = $1
   AND (t.period_id, t.origin_id, t.user_id, t.product, t.model, t.rate_id)
       = (s.period_id, s.origin_id, s.user_id, s.product, s.model, s.old_rate)`, `
DELETE FROM usage_totals
 WHERE org_id = $1 AND (events, input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) = (0, 0, 0, 0, 0, 0, 0, 0)
   AND rate_id IN (SELECT old_rate FROM repriced)`, `
INSERT INTO usage_totals AS t (org_id, period_id, origin_id, user_id, product, model, rate_id, events,
                               input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution)
SELECT $1, period_id, origin_id, user_id, product, model, new_rate, ` + sums + `
  FROM repriced
 GROUP BY period_id, origin_id, user_id, product, model, new_rate` + addedToTotals} {
		if _, err := tx.Exec(ctx, statement, orgID); err != nil {
			return wrap("move the totals", err)
		}
	}
	return nil
}

// finishRepricing moves the spend counters, records what they newly reach, and
// writes down that the organisation is done.
func finishRepricing(ctx context.Context, tx pgx.Tx, in *intake, change *repricing, moved RepricedOrganization) error {
	const finish = `
UPDATE price_change_organizations
   SET done_at = now(), events = $3, difference = $4,
       last_notice = coalesce((SELECT max(id) FROM notices WHERE org_id = $2), 0)
 WHERE change_id = $1 AND org_id = $2`
	if _, err := tx.Exec(ctx, finish, change.id, in.org.ID, moved.Events, moved.Difference.Amount); err != nil {
		return wrap("finish the correction", err)
	}
	if moved.rows == 0 {
		return nudgeDrafts(ctx, tx, in.org.ID)
	}
	crossings, err := moveSpend(ctx, tx, in, change)
	if err != nil {
		return err
	}
	if err := recordNotices(ctx, tx, in.org, crossings); err != nil {
		return err
	}
	after := map[string]any{"change": change.id, "events": moved.Events, "difference": moved.Difference}
	if _, err := audit(ctx, tx, in.org.ID, change.by, "prices.reprice", change.book, nil, after); err != nil {
		return err
	}
	return nudgeDrafts(ctx, tx, in.org.ID)
}

// moveSpend moves every counter by what its usage costs more or less now, and
// lists what that newly reaches. What a spend no longer reaches was said, and
// stays said: it is not said again.
func moveSpend(ctx context.Context, tx pgx.Tx, in *intake, change *repricing) (crossings []crossing, err error) {
	const statement = `
WITH spent AS (
    SELECT s.window_start, s.user_id, s.seat_tier, sum(x.sign * (` + listPrice + `)) AS spend
      FROM repriced s
     CROSS JOIN LATERAL (VALUES (s.old_rate, -1), (s.new_rate, 1)) AS x (rate_id, sign)
      JOIN rates r ON r.id = x.rate_id
     GROUP BY 1, 2, 3
), deltas AS (
    SELECT window_start, 'organization' AS scope, '' AS subject, sum(spend) AS delta FROM spent GROUP BY 1
     UNION ALL
    SELECT window_start, 'user', user_id, sum(spend) FROM spent WHERE user_id <> '' GROUP BY 1, 3
     UNION ALL
    SELECT window_start, 'seat_tier', seat_tier, sum(spend) FROM spent WHERE seat_tier IS NOT NULL GROUP BY 1, 3
), moved AS (
    UPDATE spend_counters c
       SET spend = c.spend + d.delta
      FROM deltas d
     WHERE c.org_id = @org AND c.window_start = d.window_start AND c.scope = d.scope AND c.subject = d.subject AND d.delta <> 0
    RETURNING c.window_start, c.scope, c.subject, c.spend + c.provisional AS counted, d.delta
), recorded AS (
    INSERT INTO price_change_spend (change_id, org_id, window_start, scope, subject, difference)
    SELECT @change, @org, window_start, scope, subject, delta FROM moved
)
SELECT window_start, scope, subject, counted - delta, counted
  FROM moved
 WHERE delta > 0
 ORDER BY window_start, scope, subject`
	limits, err := readLimits(ctx, tx, in.org.ID, nil)
	if err != nil {
		return nil, err
	}
	calendar, err := in.org.Calendar()
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{"org": in.org.ID, "change": change.id})
	if err != nil {
		return nil, wrap("move the spend counters", err)
	}
	index, replaced := indexLimits(limits), replacing(in.org, limits)
	var key counterKey
	var before, after decimal.Decimal
	_, err = pgx.ForEachRow(rows, []any{&key.window, &key.scope, &key.subject, &before, &after}, func() error {
		key.window = key.window.UTC()
		crossings = append(crossings, in.crossings(index, replaced, key, calendar.Month(key.window), before, after)...)
		return nil
	})
	return crossings, wrap("move the spend counters", err)
}
