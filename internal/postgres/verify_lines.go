package postgres

// lineChecks recount charge lines and their member parts.
func lineChecks() []check {
	return []check{
		{"usage_lines", usageLinesAreTheirEvents},
		{"usage_members", usagePartsAreTheirEvents},
		{"free_use", freeUseIsTheMonths},
		{"free_use", freeUseIsShared},
		{"seat_lines", seatLinesAreTheirDays},
		{"line_exact", exactAmountsAreExact},
		{"line_amount", amountsAreRoundedOnce},
		{"member_parts", partsAddUpToTheirLine},
	}
}

// used is what each user of a live invoice used, from the raw events: by period
// of origin, product, model, class and the price of the event's own rate.
const used = `
WITH billed AS (
    SELECT id AS invoice_id, period_id
      FROM invoices
     WHERE org_id = @org AND status <> 'void' AND (@period = '' OR period_id = @period)
), sums AS (
    SELECT b.invoice_id, coalesce(e.origin_id, e.period_id) AS origin_id, e.user_id, e.product, e.model, e.rate_id,
           sum(e.input) AS input, sum(e.output) AS output, sum(e.cache_write_5m) AS cache_write_5m,
           sum(e.cache_write_1h) AS cache_write_1h, sum(e.cache_read) AS cache_read, sum(e.web_search) AS web_search,
           sum(e.code_execution) AS code_execution
      FROM usage_events e
      JOIN billed b ON b.period_id = e.period_id
     WHERE e.org_id = @org AND e.rate_id IS NOT NULL
     GROUP BY 1, 2, 3, 4, 5, 6
), used AS (
    SELECT s.invoice_id, s.origin_id, s.user_id, s.product, s.model, c.token_class, c.unit_price, c.per::numeric AS per, c.quantity
      FROM sums s
      JOIN rates r ON r.id = s.rate_id
     CROSS JOIN LATERAL (VALUES
               ('input',          s.input,          r.input,          1000000),
               ('output',         s.output,         r.output,         1000000),
               ('cache_write_5m', s.cache_write_5m, r.cache_write_5m, 1000000),
               ('cache_write_1h', s.cache_write_1h, r.cache_write_1h, 1000000),
               ('cache_read',     s.cache_read,     r.cache_read,     1000000),
               ('web_search',     s.web_search,     r.web_search,     r.web_search_per),
               ('code_execution', s.code_execution, r.code_execution, r.code_execution_per)
           ) AS c (token_class, quantity, unit_price, per)
     WHERE c.quantity <> 0
)`

// freeUse tells a line that takes free use off another.
const freeUse = `(l.token_class = 'code_execution' AND right(l.key, 5) = '/free')`

// exactQuotient divides by what a price is quoted for, in whole numbers: exactly
// where that is a power of ten, else rounded half away from zero to 18 places.
func exactQuotient(amount string) string {
	return `CASE WHEN per IN (60, 3600)
                THEN sign(` + amount + `) * div(2000000000000000000 * abs(` + amount + `) + per, 2 * per) * 0.000000000000000001
                ELSE ` + amount + ` * (1::numeric / per) END`
}

// The usage lines of an invoice are the raw events of its
// period times their prices, exactly, and nothing is left out or made up.
var usageLinesAreTheirEvents = used + `, expected AS (
    SELECT invoice_id, origin_id, product, model, token_class, unit_price, per,
           sum(quantity) AS quantity, ` + exactQuotient("sum(quantity) * unit_price") + ` AS exact_amount
      FROM used
     GROUP BY 1, 2, 3, 4, 5, 6, 7
), kept AS (
    SELECT l.invoice_id, l.origin_id, l.product, l.model, l.token_class, l.unit_price, l.per, l.quantity, l.exact_amount
      FROM invoice_lines l
      JOIN billed b USING (invoice_id)
     WHERE l.kind = 'usage' AND NOT ` + freeUse + `
)
SELECT concat_ws(' ', invoice_id, origin_id, product, model, token_class, 'at', trim_scale(unit_price), 'per', per),
       concat_ws(' = ', e.quantity, trim_scale(e.exact_amount)),
       concat_ws(' = ', k.quantity, trim_scale(k.exact_amount))
  FROM expected e
  FULL JOIN kept k USING (invoice_id, origin_id, product, model, token_class, unit_price, per)
 WHERE (e.quantity, e.exact_amount) IS DISTINCT FROM (k.quantity, k.exact_amount)
 ORDER BY 1`

// The same for each user's part of them.
var usagePartsAreTheirEvents = used + `, expected AS (
    SELECT invoice_id, origin_id, product, model, token_class, unit_price, per, user_id,
           sum(quantity) AS quantity, ` + exactQuotient("sum(quantity) * unit_price") + ` AS exact_amount
      FROM used
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), kept AS (
    SELECT l.invoice_id, l.origin_id, l.product, l.model, l.token_class, l.unit_price, l.per, m.user_id, m.quantity, m.exact_amount
      FROM invoice_lines l
      JOIN billed b USING (invoice_id)
      JOIN invoice_line_members m ON m.invoice_id = l.invoice_id AND m.n = l.n
     WHERE l.kind = 'usage' AND NOT ` + freeUse + `
)
SELECT concat_ws(' ', invoice_id, origin_id, product, model, token_class, 'at', trim_scale(unit_price), 'per', per,
                 coalesce(nullif(user_id, ''), 'no user')),
       concat_ws(' = ', e.quantity, trim_scale(e.exact_amount)),
       concat_ws(' = ', k.quantity, trim_scale(k.exact_amount))
  FROM expected e
  FULL JOIN kept k USING (invoice_id, origin_id, product, model, token_class, unit_price, per, user_id)
 WHERE (e.quantity, e.exact_amount) IS DISTINCT FROM (k.quantity, k.exact_amount)
 ORDER BY 1`

// Seats and surcharges are charged by the days at whose start they were held, at
// the monthly price in force on the day, as it stood when the period was billed.
const seatLinesAreTheirDays = billedBy + `, days AS (
    SELECT d.*, b.revision
      FROM unnest(@day_invoices::text[], @days::timestamptz[], @day_months::bigint[]) AS d (invoice_id, day, month_days)
      JOIN invoices i ON i.id = d.invoice_id
      JOIN billed b ON b.period_id = i.period_id
), prices AS (
    SELECT x.revision, 'seat' AS kind, 'seat/' AS prefix, tier, effective_from, amount,
           lead(effective_from) OVER (PARTITION BY x.revision, tier ORDER BY effective_from) AS until
      FROM revisions x
      JOIN seat_prices p ON` + heldThen + `
     UNION ALL
    SELECT x.revision, 'surcharge', 'surcharge/hipaa/', tier, effective_from, amount,
           lead(effective_from) OVER (PARTITION BY x.revision, tier ORDER BY effective_from)
      FROM revisions x
      JOIN surcharge_prices p ON` + heldThen + `
     WHERE p.name = 'hipaa'
), priced AS (
    SELECT d.invoice_id, d.day, d.month_days, p.kind, p.prefix || p.tier || '/' || trim_scale(p.amount) AS key, p.tier, p.amount
      FROM days d
      JOIN prices p ON p.revision = d.revision AND d.day >= p.effective_from AND (p.until IS NULL OR d.day < p.until)
), spans AS ( -- many seats are held over the same time
    SELECT DISTINCT tier, hipaa, valid_from, valid_to FROM seat_assignments WHERE org_id = @org
), counted AS (
    SELECT p.invoice_id, p.key, p.amount, p.month_days, s.tier, s.hipaa, s.valid_from, s.valid_to, count(*) AS days
      FROM priced p
      JOIN spans s ON s.tier = p.tier
                  AND (s.hipaa OR p.kind = 'seat')
                  AND s.valid_from <= p.day
                  AND (s.valid_to IS NULL OR p.day < s.valid_to)
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), expected AS (
    SELECT c.invoice_id, c.key, a.user_id, c.amount, c.month_days, sum(c.days) AS days
      FROM counted c
      JOIN seat_assignments a ON a.org_id = @org
                             AND a.tier = c.tier
                             AND a.hipaa = c.hipaa
                             AND a.valid_from = c.valid_from
                             AND a.valid_to IS NOT DISTINCT FROM c.valid_to
     GROUP BY 1, 2, 3, 4, 5
), kept AS (
    SELECT l.invoice_id, l.key, m.user_id, l.unit_price, l.per, m.quantity
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind IN ('seat', 'surcharge')
      JOIN invoice_line_members m ON m.invoice_id = l.invoice_id AND m.n = l.n
     WHERE i.org_id = @org AND i.status <> 'void' AND (@period = '' OR i.period_id = @period)
)
SELECT concat_ws(' ', invoice_id, key, user_id),
       concat_ws(' ', e.days, 'days at', trim_scale(e.amount), 'per', e.month_days),
       concat_ws(' ', k.quantity, 'days at', trim_scale(k.unit_price), 'per', k.per)
  FROM expected e
  FULL JOIN kept k USING (invoice_id, key, user_id)
 WHERE (e.days, e.amount, e.month_days) IS DISTINCT FROM (k.quantity, k.unit_price, k.per)
 ORDER BY 1`

// A line's exact amount is its quantity times its unit price over what that is
// quoted for: to the last digit for usage, to 18 places where a quotient of days
// or seconds never ends. Written without a division.
const exactAmountsAreExact = `
SELECT i.id || ' ' || l.key,
       trim_scale(l.quantity) || ' x ' || trim_scale(l.unit_price) || ' / ' || l.per, trim_scale(l.exact_amount)::text
  FROM invoices i
  JOIN invoice_lines l ON l.invoice_id = i.id
 WHERE i.org_id = @org
   AND (@period = '' OR i.period_id = @period)
   AND abs(l.exact_amount * l.per - l.quantity * l.unit_price)
           > CASE WHEN l.kind IN ('seat', 'surcharge') OR l.token_class = 'code_execution' THEN l.per * 0.0000000000000000005 ELSE 0 END
 ORDER BY i.id, l.n`

// A line's amount is its quantity times its unit price, divided and rounded
// once, half away from zero, to the currency's smallest unit. The exact amount is
// not used, and nothing is divided but whole numbers, so nothing is rounded twice.
const amountsAreRoundedOnce = `
WITH lines AS (
    SELECT i.id, l.n, l.key, l.amount,
           sign(l.quantity * l.unit_price)
               * div(2 * abs(l.quantity * l.unit_price) + l.per * @unit::numeric, 2 * l.per * @unit::numeric) * @unit::numeric AS expected
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
)
SELECT id || ' ' || key, trim_scale(expected)::text, trim_scale(amount)::text
  FROM lines
 WHERE amount <> expected
 ORDER BY id, n`

// The parts of a line add up to it: quantities and amounts to the last digit,
// exact amounts up to what a quotient of days leaves over; and nobody's part is
// more than a unit off what it is exactly. Every line has parts but those
// that were carried forward, discount, use up a credit, or round the total.
const partsAddUpToTheirLine = `
WITH parts AS (
    SELECT i.id, l.n, l.key, l.kind, l.token_class, l.quantity, l.exact_amount, l.amount, count(m.user_id) AS parts,
           coalesce(sum(m.quantity), 0) AS quantities, coalesce(sum(m.exact_amount), 0) AS exact_amounts,
           coalesce(sum(m.amount), 0) AS amounts, coalesce(max(abs(m.amount - m.exact_amount)), 0) AS furthest
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id
      LEFT JOIN invoice_line_members m ON m.invoice_id = l.invoice_id AND m.n = l.n
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
     GROUP BY i.id, l.invoice_id, l.n
)
SELECT id || ' ' || key,
       concat_ws(' ', trim_scale(quantity), '=', trim_scale(exact_amount), '~', trim_scale(amount)),
       concat_ws(' ', trim_scale(quantities), '=', trim_scale(exact_amounts), '~', trim_scale(amounts), 'furthest', trim_scale(furthest))
  FROM parts
 WHERE (parts > 0 OR kind NOT IN ('carried_forward', 'discount', 'credit', 'adjustment'))
   AND (quantities <> quantity
        OR amounts <> amount
        OR furthest > @unit::numeric
        OR abs(exact_amounts - exact_amount)
               > CASE WHEN kind IN ('seat', 'surcharge') OR token_class = 'code_execution' THEN (parts + 1) * 0.0000000000000000005 ELSE 0 END)
 ORDER BY id, n`
