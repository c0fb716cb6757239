package postgres

// usageChecks recount what was stored from the raw events.
func usageChecks() []check {
	return []check{
		{"totals_recount", totalsAreTheirEvents},
		{"event_rate", eventsHaveTheirRate},
		{"event_period", eventsLieInTheirPeriod},
		{"spend_recount", spendIsItsEvents},
		{"reprice", correctionsAreWhole},
		{"retraction", retractionsCancelTheirEvent},
		{"event_whole", eventsAreWhole},
		{"model_spellings", spellingsAreTheirEvents},
	}
}

// Each accepted event counts once, in full, in the total of its period,
// user, product, model and rate; parked ones count nowhere.
const totalsAreTheirEvents = `
WITH counted AS (
    SELECT period_id, coalesce(origin_id, '') AS origin_id, user_id, product, model, rate_id,
           sum(` + eventsOfRow + `) AS events,
           sum(input) AS input, sum(output) AS output, sum(cache_write_5m) AS cache_write_5m,
           sum(cache_write_1h) AS cache_write_1h, sum(cache_read) AS cache_read, sum(web_search) AS web_search,
           sum(code_execution) AS code_execution
      FROM usage_events e
     WHERE org_id = @org AND rate_id IS NOT NULL AND (@period = '' OR period_id = @period)
     GROUP BY 1, 2, 3, 4, 5, 6
), kept AS (
    SELECT *
      FROM usage_totals
     WHERE org_id = @org AND (@period = '' OR period_id = @period)
)
SELECT concat_ws(' ', period_id, nullif(origin_id, ''), coalesce(nullif(user_id, ''), 'no user'), product, model, 'rate ' || rate_id),
       concat_ws(' ', e.events, 'events of', e.input, e.output, e.cache_write_5m, e.cache_write_1h, e.cache_read, e.web_search, e.code_execution),
       concat_ws(' ', k.events, 'events of', k.input, k.output, k.cache_write_5m, k.cache_write_1h, k.cache_read, k.web_search, k.code_execution)
  FROM counted e
  FULL JOIN kept k USING (period_id, origin_id, user_id, product, model, rate_id)
 WHERE coalesce(e.events, 0)         <> coalesce(k.events, 0)
    OR coalesce(e.input, 0)          <> coalesce(k.input, 0)
    OR coalesce(e.output, 0)         <> coalesce(k.output, 0)
    OR coalesce(e.cache_write_5m, 0) <> coalesce(k.cache_write_5m, 0)
    OR coalesce(e.cache_write_1h, 0) <> coalesce(k.cache_write_1h, 0)
    OR coalesce(e.cache_read, 0)     <> coalesce(k.cache_read, 0)
    OR coalesce(e.web_search, 0)     <> coalesce(k.web_search, 0)
    OR coalesce(e.code_execution, 0) <> coalesce(k.code_execution, 0)
 ORDER BY 1`

// billedBy is by which revision of the price book each period is billed: an open
// one by the present, a closed one by that of its closing. A price row held from
// its added revision to before the one that superseded it.
const billedBy = `
WITH billed AS (
    SELECT p.id AS period_id, CASE WHEN p.closed_at IS NULL THEN b.revision ELSE coalesce(p.price_revision, b.revision) END AS revision
      FROM periods p
      JOIN price_books b ON b.name = @book
     WHERE p.org_id = @org AND (@period = '' OR p.id = @period)
), revisions AS (
    SELECT DISTINCT revision FROM billed
)`

// samplingOf names a row of usage_events: its event, and which of the event's
// samplings it is, where that is not the first.
func samplingOf(row string) string {
	return `'event ' || ` + row + `.event_id || CASE WHEN ` + row + `.part > 0 THEN ', sampling ' || ` + row + `.part ELSE '' END`
}

const heldThen = ` p.book = @book AND p.added_revision <= x.revision AND (p.superseded_revision IS NULL OR p.superseded_revision > x.revision)`

// An event of several samplings is whole: they are numbered from 0 without a gap,
// say the same of everything that is the event's own, and are all priced or none.
const eventsAreWhole = `
SELECT 'event ' || event_id,
       'samplings from 0 to ' || max(part) || ' of one user, time, product and period, all priced or none',
       count(*) || ' samplings, from ' || min(part) || ', of which ' || count(rate_id) || ' are priced'
  FROM usage_events
 WHERE org_id = @org
   AND event_id IN (SELECT event_id FROM usage_events WHERE org_id = @org AND part > 0 AND (@period = '' OR period_id = @period))
 GROUP BY event_id
HAVING min(part) <> 0 OR count(*) <> max(part) + 1 OR count(rate_id) NOT IN (0, count(*))
    OR count(DISTINCT (user_id, occurred_at, product, coalesce(period_id, ''), coalesce(origin_id, ''), coalesce(seat_tier, ''), fingerprint,
                       coalesce(retracts, ''), void)) <> 1
 ORDER BY 1`

// Each event's rate has the prices that were in force when it occurred, as
// they stood when its period was billed: of the last version before it, in the
// highest band that its prompt exceeds, times its modifiers; a tool's price
// counts where the tool was used, and code that ran counts for its minimum at
// least. Another check holds a retraction to the rate of
// its event.
var eventsHaveTheirRate = billedBy + `, held AS (
    SELECT x.revision, p.*
      FROM revisions x
      JOIN model_prices p ON` + heldThen + `
), versions AS (
    SELECT revision, model, speed, effective_from,
           lead(effective_from) OVER (PARTITION BY revision, model, speed ORDER BY effective_from) AS until
      FROM (SELECT DISTINCT revision, model, speed, effective_from FROM held) v
), bands AS (
    SELECT p.*, v.until, lead(p.prompt_tokens_above) OVER (
               PARTITION BY p.revision, p.model, p.speed, p.effective_from ORDER BY p.prompt_tokens_above) AS next_band
      FROM held p
      JOIN versions v USING (revision, model, speed, effective_from)
), tools AS (
    SELECT x.revision, tool, effective_from, amount, per, minimum,
           lead(effective_from) OVER (PARTITION BY x.revision, tool ORDER BY effective_from) AS until
      FROM revisions x
      JOIN tool_prices p ON` + heldThen + `
), tiers AS (
    SELECT x.revision, tier, effective_from, multiplier,
           lead(effective_from) OVER (PARTITION BY x.revision, tier ORDER BY effective_from) AS until
      FROM revisions x
      JOIN service_tier_prices p ON` + heldThen + `
), rated AS (
    SELECT e.event_id, e.part, e.model, e.web_search, e.code_execution, e.rate_id,
           CASE coalesce(e.service_tier, 'standard') WHEN 'standard' THEN 1 WHEN 'batch' THEN p.batch
                ELSE CASE WHEN coalesce(e.speed, 'standard') = 'standard' THEN m.multiplier END END
               * CASE WHEN e.inference_geo = 'us' THEN coalesce(p.us_only, 1) ELSE 1 END AS times,
           p.input, p.output, p.cache_write_5m, p.cache_write_1h, p.cache_read, t.amount AS search_amount, t.per AS search_per,
           c.amount AS code_amount, c.per AS code_per, coalesce(c.minimum, 0) AS code_minimum
      FROM usage_events e
      LEFT JOIN billed b ON b.period_id = e.period_id
      LEFT JOIN bands p ON p.revision = b.revision
                       AND p.model = e.model
                       AND p.speed = coalesce(e.speed, 'standard')
                       AND e.occurred_at >= p.effective_from
                       AND (p.until IS NULL OR e.occurred_at < p.until)
                       AND (p.prompt_tokens_above = 0
                            OR e.input + e.cache_write_5m + e.cache_write_1h + e.cache_read > p.prompt_tokens_above)
                       AND (p.next_band IS NULL
                            OR e.input + e.cache_write_5m + e.cache_write_1h + e.cache_read <= p.next_band)
      LEFT JOIN tiers m ON m.revision = b.revision
                       AND m.tier = e.service_tier
                       AND e.occurred_at >= m.effective_from
                       AND (m.until IS NULL OR e.occurred_at < m.until)
      LEFT JOIN tools t ON t.revision = b.revision
                       AND t.tool = 'web_search'
                       AND e.occurred_at >= t.effective_from
                       AND (t.until IS NULL OR e.occurred_at < t.until)
      LEFT JOIN tools c ON c.revision = b.revision
                       AND c.tool = 'code_execution'
                       AND e.occurred_at >= c.effective_from
                       AND (c.until IS NULL OR e.occurred_at < c.until)
     WHERE e.org_id = @org AND e.rate_id IS NOT NULL AND e.retracts IS NULL AND (@period = '' OR e.period_id = @period)
)
SELECT ` + samplingOf("e") + `,
       concat_ws(' ', @book::text, e.model, trim_scale(e.input * e.times), trim_scale(e.output * e.times),
                 trim_scale(e.cache_write_5m * e.times), trim_scale(e.cache_write_1h * e.times),
                 trim_scale(e.cache_read * e.times), 'search', trim_scale(e.search_amount),
                 'code', trim_scale(e.code_amount), 'from', e.code_minimum),
       concat_ws(' ', r.book, r.model, trim_scale(r.input), trim_scale(r.output), trim_scale(r.cache_write_5m),
                 trim_scale(r.cache_write_1h), trim_scale(r.cache_read), 'search', trim_scale(r.web_search),
                 'code', trim_scale(r.code_execution), 'of', e.code_execution, '(rate ' || e.rate_id || ')')
  FROM rated e
  LEFT JOIN rates r ON r.id = e.rate_id
 WHERE (r.book, r.model, r.input, r.output, r.cache_write_5m, r.cache_write_1h, r.cache_read) IS DISTINCT FROM
       (@book::text, e.model, e.input * e.times, e.output * e.times, e.cache_write_5m * e.times,
        e.cache_write_1h * e.times, e.cache_read * e.times)
    OR (e.web_search > 0 AND (r.web_search, r.web_search_per) IS DISTINCT FROM (e.search_amount, e.search_per))
    OR (e.code_execution > 0
        AND ((r.code_execution, r.code_execution_per) IS DISTINCT FROM (e.code_amount, e.code_per)
             OR e.code_execution < e.code_minimum))
 ORDER BY 1`

// An event lies in the period in which it occurred; or, marked with that
// one, in another, if that one was closed; it may have been opened again.
var eventsLieInTheirPeriod = `
SELECT ` + samplingOf("e") + `,
       'the period of ' || e.occurred_at || CASE WHEN e.origin_id IS NULL THEN '' ELSE ', closed, as its origin' END,
       concat_ws(' ', e.period_id, 'origin ' || e.origin_id)
  FROM usage_events e
  LEFT JOIN periods p ON p.org_id = e.org_id AND p.id = e.period_id
  LEFT JOIN periods o ON o.org_id = e.org_id AND o.id = e.origin_id
 WHERE e.org_id = @org
   AND e.rate_id IS NOT NULL
   AND (@period = '' OR e.period_id = @period)
   AND NOT coalesce(CASE WHEN e.origin_id IS NULL
                         THEN e.occurred_at >= p.starts_at AND e.occurred_at < p.ends_at
                         ELSE e.occurred_at >= o.starts_at AND e.occurred_at < o.ends_at
                              AND (o.closed_at IS NOT NULL OR o.revision > 1) AND p.id IS NOT NULL AND o.id <> p.id END, false)
 ORDER BY 1`

// listPrice is what the quantities s cost at the rate r, exactly: a division by a
// power of ten is a multiplication, and a second of code, whose price may never
// end, costs the quotient rounded up to 18 places, in whole numbers.
const listPrice = `
       (s.input * r.input + s.output * r.output + s.cache_write_5m * r.cache_write_5m
           + s.cache_write_1h * r.cache_write_1h + s.cache_read * r.cache_read) * 0.000001
           + CASE WHEN r.web_search_per > 0 THEN s.web_search * r.web_search * (1::numeric / r.web_search_per) ELSE 0 END
           + CASE WHEN r.code_execution_per > 0
                  THEN s.code_execution * div(r.code_execution * 1000000000000000000 + r.code_execution_per - 1, r.code_execution_per)
                           * 0.000000000000000001
                  ELSE 0 END`

// The notices stand on this: each spend counter is the list price of the events of its
// month, whichever period bills them: all of the organisation's, each user's,
// and each seat tier's.
const spendIsItsEvents = `
WITH months AS (
    SELECT * FROM unnest(@month_starts::timestamptz[], @month_ends::timestamptz[]) AS m (starts_at, ends_at)
), used AS (
    SELECT m.starts_at, e.user_id, e.seat_tier, e.rate_id,
           sum(e.input) AS input, sum(e.output) AS output, sum(e.cache_write_5m) AS cache_write_5m,
           sum(e.cache_write_1h) AS cache_write_1h, sum(e.cache_read) AS cache_read, sum(e.web_search) AS web_search,
           sum(e.code_execution) AS code_execution
      FROM usage_events e
      JOIN months m ON e.occurred_at >= m.starts_at AND e.occurred_at < m.ends_at
     WHERE e.org_id = @org AND e.rate_id IS NOT NULL
     GROUP BY 1, 2, 3, 4
), spent AS (
    SELECT s.starts_at, s.user_id, s.seat_tier, sum(` + listPrice + `) AS spend
      FROM used s
      JOIN rates r ON r.id = s.rate_id
     GROUP BY 1, 2, 3
), unpriced AS (
    SELECT m.starts_at, e.user_id, e.seat_tier, sum(e.provisional) AS provisional
      FROM usage_events e
      JOIN months m ON e.occurred_at >= m.starts_at AND e.occurred_at < m.ends_at
     WHERE e.org_id = @org AND e.rate_id IS NULL AND NOT e.void AND e.provisional IS NOT NULL
     GROUP BY 1, 2, 3
), counted AS (
    SELECT starts_at, user_id, seat_tier, spend, 0 AS provisional FROM spent
     UNION ALL
    SELECT starts_at, user_id, seat_tier, 0, provisional FROM unpriced
), expected AS (
    SELECT starts_at AS window_start, 'organization' AS scope, '' AS subject, sum(spend) AS spend, sum(provisional) AS provisional
      FROM counted GROUP BY 1
     UNION ALL
    SELECT starts_at, 'user', user_id, sum(spend), sum(provisional) FROM counted WHERE user_id <> '' GROUP BY 1, 3
     UNION ALL
    SELECT starts_at, 'seat_tier', seat_tier, sum(spend), sum(provisional) FROM counted WHERE seat_tier IS NOT NULL GROUP BY 1, 3
), kept AS (
    SELECT window_start, scope, subject, spend, provisional
      FROM spend_counters
     WHERE org_id = @org AND (@period = '' OR window_start = ANY(@month_starts))
)
SELECT concat_ws(' ', scope, nullif(subject, ''), 'from', window_start),
       concat_ws(' ', trim_scale(coalesce(e.spend, 0)), '+ ' || trim_scale(nullif(e.provisional, 0)) || ' without a price'),
       concat_ws(' ', trim_scale(coalesce(k.spend, 0)), '+ ' || trim_scale(nullif(k.provisional, 0)) || ' without a price')
  FROM expected e
  FULL JOIN kept k USING (window_start, scope, subject)
 WHERE coalesce(e.spend, 0) <> coalesce(k.spend, 0) OR coalesce(e.provisional, 0) <> coalesce(k.provisional, 0)
 ORDER BY 1`

// A correction of prices has reached every organisation that it concerns, and
// what each counter of an organisation was moved by adds up to what is told.
const correctionsAreWhole = `
SELECT 'correction ' || c.change_id, 'finished', 'under way or interrupted: run starter prices reprice again'
  FROM price_change_organizations c
 WHERE c.org_id = @org AND c.done_at IS NULL
 UNION ALL
SELECT 'correction ' || c.change_id, trim_scale(coalesce(sum(s.difference), 0))::text, trim_scale(c.difference)::text
  FROM price_change_organizations c
  LEFT JOIN price_change_spend s ON s.change_id = c.change_id AND s.org_id = c.org_id AND s.scope = 'organization'
 WHERE c.org_id = @org
 GROUP BY c.change_id, c.difference
HAVING coalesce(sum(s.difference), 0) <> c.difference
 ORDER BY 1`

// A retraction is its event with everything that is counted below zero, of
// the same user, at the same rate and in the same month; it cancels no other
// retraction, and what it cancels while parked waits for nothing.
var retractionsCancelTheirEvent = `
WITH pairs AS (
    SELECT r.event_id, r.part, r.retracts, e.event_id AS found, e.void AS event_void, e.rate_id AS event_rate, r.void,
           concat_ws(' ', e.occurred_at, e.user_id, e.product, e.model, e.seat_tier, 'rate ' || e.rate_id, coalesce(e.origin_id, e.period_id),
                     -e.input, -e.output, -e.cache_write_5m, -e.cache_write_1h, -e.cache_read, -e.web_search, -e.code_execution) AS expected,
           concat_ws(' ', r.occurred_at, r.user_id, r.product, r.model, r.seat_tier, 'rate ' || r.rate_id, coalesce(r.origin_id, r.period_id),
                     r.input, r.output, r.cache_write_5m, r.cache_write_1h, r.cache_read, r.web_search, r.code_execution) AS actual
      FROM usage_events r
      LEFT JOIN usage_events e ON e.org_id = r.org_id AND e.event_id = r.retracts AND e.part = r.part AND e.retracts IS NULL
     WHERE r.org_id = @org AND r.retracts IS NOT NULL AND (@period = '' OR r.period_id = @period)
)
SELECT ` + samplingOf("pairs") + `, 'the whole of ' || retracts || ': ' || expected, CASE WHEN found IS NULL THEN 'no such event' ELSE actual END
  FROM pairs
 WHERE found IS NULL OR expected <> actual
 UNION ALL
SELECT ` + samplingOf("pairs") + `, 'void, as is ' || retracts, 'one of them waits for a price'
  FROM pairs
 WHERE found IS NOT NULL AND (void, event_void) IS DISTINCT FROM (event_rate IS NULL, event_rate IS NULL)
 UNION ALL
SELECT 'event ' || e.event_id, 'each of its samplings taken back by ' || r.event_id, 'one of them is not'
  FROM usage_events r
  JOIN usage_events e ON e.org_id = r.org_id AND e.event_id = r.retracts AND e.part > 0
 WHERE r.org_id = @org AND r.retracts IS NOT NULL AND r.part = 0 AND (@period = '' OR r.period_id = @period)
   AND NOT EXISTS (SELECT FROM usage_events s WHERE s.org_id = e.org_id AND s.event_id = r.event_id AND s.part = e.part)
 UNION ALL
SELECT 'event ' || e.event_id, 'a retraction, or why it was discarded, since it is void', 'none'
  FROM usage_events e
 WHERE e.org_id = @org AND @period = '' AND e.void AND e.retracts IS NULL AND e.discarded IS NULL
   AND NOT EXISTS (SELECT FROM usage_events r WHERE r.org_id = e.org_id AND r.retracts = e.event_id)
 ORDER BY 1`
