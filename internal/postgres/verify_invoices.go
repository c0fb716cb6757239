package postgres

// invoiceChecks hold invoices against their lines, their period, and what was
// carried between them.
func invoiceChecks() []check {
	return []check{
		{"invoice_total", totalsAreTheirLines},
		{"discount", discountsAreTheirCharges},
		{"invoice_period", invoicesAreOfTheirPeriod},
		{"invoice_outcome", statusFollowsTheTotal},
		{"charge_step", totalsCanBeCollected},
		{"largest_charge", nothingIsChargedBeyondTheLargest},
		{"carried_forward", carriedOnce},
		{"provider_items", itemsAddUpToTheTotal},
		{"provider_parts", partsArePaidInTurn},
	}
}

// An invoice's total is the sum of its lines, its subtotal that of what is
// charged at list price, and its discount that of the discounts.
const totalsAreTheirLines = `
WITH sums AS (
    SELECT i.id, i.subtotal, i.discount, i.total, coalesce(sum(l.amount), 0) AS lines,
           coalesce(sum(l.amount) FILTER (WHERE l.kind IN ('seat', 'surcharge', 'usage')), 0) AS charges,
           coalesce(sum(l.amount) FILTER (WHERE l.kind = 'discount'), 0) AS discounts
      FROM invoices i
      LEFT JOIN invoice_lines l ON l.invoice_id = i.id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
     GROUP BY i.id
)
SELECT id, concat_ws(' of ', concat_ws(' and ', trim_scale(charges), trim_scale(discounts)), trim_scale(lines)),
       concat_ws(' of ', concat_ws(' and ', trim_scale(subtotal), trim_scale(discount)), trim_scale(total))
  FROM sums
 WHERE total <> lines OR subtotal <> charges OR discount <> discounts
 ORDER BY id`

// The negotiated discount is taken off the sum of the charges of each
// percentage, rounded once, half away from zero: a charge has that by which its
// own period was billed.
const discountsAreTheirCharges = `
WITH bases AS (
    SELECT i.id, p.discount AS percent, sum(l.amount) AS base
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind IN ('seat', 'surcharge', 'usage')
      JOIN periods p ON p.org_id = i.org_id AND p.id = l.origin_id
     WHERE i.org_id = @org AND i.status <> 'void' AND (@period = '' OR i.period_id = @period)
     GROUP BY i.id, p.discount
), expected AS (
    SELECT id, 'discount/' || trim_scale(percent) AS key, percent, base,
           -sign(base) * div(2 * abs(base) * percent + 100 * @unit::numeric, 200 * @unit::numeric) * @unit::numeric AS amount
      FROM bases
     WHERE percent <> 0 AND base <> 0
), kept AS (
    SELECT i.id, l.key, l.quantity AS percent, -l.unit_price AS base, l.amount
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind = 'discount'
     WHERE i.org_id = @org AND i.status <> 'void' AND (@period = '' OR i.period_id = @period)
)
SELECT id || ' ' || key,
       coalesce(trim_scale(e.percent) || '% of ' || trim_scale(e.base) || ' = ' || trim_scale(e.amount), 'none'),
       coalesce(trim_scale(k.percent) || '% of ' || trim_scale(k.base) || ' = ' || trim_scale(k.amount), 'none')
  FROM expected e
  FULL JOIN kept k USING (id, key)
 WHERE (e.percent, e.base, e.amount) IS DISTINCT FROM (k.percent, k.base, k.amount)
 ORDER BY 1`

// An invoice is of one period of its own organisation, from its start to its
// end, and its id says so.
const invoicesAreOfTheirPeriod = `
WITH named AS (
    SELECT i.*, p.starts_at, p.ends_at,
           i.org_id || '/' || i.period_id || CASE WHEN i.revision > 1 THEN '/' || i.revision ELSE '' END AS name
      FROM invoices i
      LEFT JOIN periods p ON p.org_id = i.org_id AND p.id = i.period_id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
)
SELECT id, concat_ws(' ', name, starts_at, ends_at), concat_ws(' ', id, period_start, period_end)
  FROM named
 WHERE (id, period_start, period_end) IS DISTINCT FROM (name, starts_at, ends_at)
 ORDER BY id`

// A total of zero is settled here, and one that was credited as a whole; less than
// can be charged is carried; all else is collected, or was. A withdrawn invoice may have had any total.
const statusFollowsTheTotal = `
SELECT id,
       CASE WHEN total = amount_credited THEN 'settled' WHEN total < @smallest_charge::numeric THEN 'carried' ELSE 'collected' END
           || ' at ' || trim_scale(total),
       status
  FROM invoices
 WHERE org_id = @org
   AND (@period = '' OR period_id = @period)
   AND status <> 'void'
   AND CASE WHEN total = amount_credited THEN 'settled' WHEN total < @smallest_charge::numeric THEN 'carried' ELSE 'collected' END
       <> CASE WHEN status IN ('settled', 'carried') THEN status ELSE 'collected' END
 ORDER BY id`

// What is collected, and each of the provider's items, is in steps that
// the provider takes.
const totalsCanBeCollected = `
SELECT i.id, trim_scale(round(i.total, @charge_digits::int))::text, trim_scale(i.total)::text
  FROM invoices i
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
   AND i.status <> 'carried' AND i.total <> round(i.total, @charge_digits::int)
 UNION ALL
SELECT i.id || ' item ' || p.n, trim_scale(round(p.amount, @charge_digits::int))::text, trim_scale(p.amount)::text
  FROM invoices i
  JOIN provider_items p ON p.invoice_id = i.id
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period) AND p.amount <> round(p.amount, @charge_digits::int)
 ORDER BY 1`

// What is more than the provider charges at once is paid by transfer,
// or in parts.
const nothingIsChargedBeyondTheLargest = `
WITH asked AS (
    SELECT i.*, CASE WHEN i.parts > 1 THEN (SELECT max(p.amount) FROM provider_items p WHERE p.invoice_id = i.id) ELSE i.total END AS at_once
      FROM invoices i
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
)
SELECT id, 'at most ' || trim_scale(@largest_charge::numeric) || ', or send_invoice', trim_scale(at_once) || ' by ' || collection
  FROM asked
 WHERE status <> 'void'
   AND at_once > @largest_charge::numeric
   AND collection <> 'send_invoice'
 ORDER BY id`

// An invoice in parts has one item for each, and what was paid for the parts
// before the one in hand is what they ask for.
const partsArePaidInTurn = `
WITH part AS (
    SELECT i.id, i.part AS in_hand, i.parts, p.n, p.amount, v.stripe_invoice_id,
           (SELECT coalesce(sum(y.amount - y.received_before), 0) FROM payments y
             WHERE y.invoice_id = i.id AND y.part = p.n AND y.status = 'succeeded' AND NOT y.surplus)
           + (SELECT coalesce(sum(s.amount), 0) FROM provider_settlements s WHERE s.invoice_id = i.id AND s.part = p.n) AS paid
      FROM invoices i
      LEFT JOIN provider_items p ON p.invoice_id = i.id
      LEFT JOIN provider_invoices v ON v.invoice_id = i.id AND v.part = p.n
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period) AND i.parts > 1
)
SELECT id, parts || ' items', count(n) || ' items'
  FROM part
 GROUP BY id, parts
HAVING count(n) <> parts
 UNION ALL
SELECT id || ' part ' || n, CASE WHEN n < in_hand THEN '' WHEN n > in_hand THEN 'none of ' ELSE 'at most ' END || trim_scale(amount), trim_scale(paid)::text
  FROM part
 WHERE CASE WHEN n < in_hand THEN paid <> amount WHEN n > in_hand THEN paid > 0 ELSE paid > amount END
 UNION ALL
SELECT id || ' part ' || n, CASE WHEN n < in_hand THEN 'known at the provider' ELSE 'not at the provider yet' END, coalesce(stripe_invoice_id, 'not known')
  FROM part
 WHERE n <> in_hand AND (n < in_hand) <> (stripe_invoice_id IS NOT NULL)
 ORDER BY 1`

// What is carried stands on exactly one later live invoice, with its amount; and
// what a live invoice has carried forward was carried into it.
const carriedOnce = `
WITH forward AS (
    SELECT l.invoice_id, l.amount, substring(l.key FROM '^carried_forward/(.*)$') AS source
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind = 'carried_forward'
     WHERE i.org_id = @org AND i.status <> 'void'
), carried AS (
    SELECT id, period_id, status, total, carried_into
      FROM invoices
     WHERE org_id = @org AND carried_into IS NOT NULL
)
SELECT c.id, 'carried, ' || trim_scale(c.total) || ' on ' || c.carried_into,
       concat_ws(' ', c.status, trim_scale(f.amount), 'on', coalesce(f.invoice_id, 'no live invoice'))
  FROM carried c
  LEFT JOIN forward f ON f.invoice_id = c.carried_into AND f.source = c.id
 WHERE (@period = '' OR c.period_id = @period)
   AND (c.status, c.total) IS DISTINCT FROM ('carried', f.amount)
 UNION ALL
SELECT f.invoice_id, coalesce(f.source, 'an invoice') || ' carried into it', 'carried into ' || coalesce(c.carried_into, 'none')
  FROM forward f
  JOIN invoices i ON i.id = f.invoice_id
  LEFT JOIN carried c ON c.id = f.source
 WHERE (@period = '' OR i.period_id = @period)
   AND c.carried_into IS DISTINCT FROM f.invoice_id
 ORDER BY 1`

// What the provider is told adds up to the invoice, and it is told
// of no invoice that is none of its business.
const itemsAddUpToTheTotal = `
WITH items AS (
    SELECT i.id, i.status, i.total, i.stripe_invoice_id, count(p.n) AS items, coalesce(sum(p.amount), 0) AS amount
      FROM invoices i
      LEFT JOIN provider_items p ON p.invoice_id = i.id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
     GROUP BY i.id
)
SELECT id,
       CASE WHEN status = 'carried' OR total = 0 THEN 'nothing' ELSE trim_scale(total)::text END,
       concat_ws(' ', trim_scale(amount), 'in', items, 'items', stripe_invoice_id)
  FROM items
 WHERE CASE WHEN status = 'carried' OR total = 0 THEN items > 0 OR stripe_invoice_id IS NOT NULL ELSE amount <> total END
    OR items > 250
 ORDER BY id`
