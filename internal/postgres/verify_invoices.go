package postgres

// invoiceChecks hold invoices against their lines, their period, and what was
// carried between them.
func invoiceChecks() []check {
	return []check{
		{"invoice_total", totalsAreTheirLines},
		{"invoice_period", invoicesAreOfTheirPeriod},
		{"invoice_outcome", statusFollowsTheTotal},
		{"largest_charge", nothingIsChargedBeyondTheLargest},
		{"carried_forward", carriedOnce},
		{"provider_items", itemsAddUpToTheTotal},
	}
}

// I12: an invoice's total is the sum of its lines; its subtotal leaves out what
// was carried forward.
const totalsAreTheirLines = `
WITH sums AS (
    SELECT i.id, i.subtotal, i.total, coalesce(sum(l.amount), 0) AS lines,
           coalesce(sum(l.amount) FILTER (WHERE l.kind <> 'carried_forward'), 0) AS charges
      FROM invoices i
      LEFT JOIN invoice_lines l ON l.invoice_id = i.id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
     GROUP BY i.id
)
SELECT id, concat_ws(' of ', trim_scale(charges), trim_scale(lines)), concat_ws(' of ', trim_scale(subtotal), trim_scale(total))
  FROM sums
 WHERE total <> lines OR subtotal <> charges
 ORDER BY id`

// I32: an invoice is of one period of its own organisation, from its start to its
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

// A total of zero is settled here; less than can be charged is carried; all else
// is collected, or was. A withdrawn invoice may have had any total.
const statusFollowsTheTotal = `
SELECT id,
       CASE WHEN total = 0 THEN 'settled' WHEN total < @smallest_charge::numeric THEN 'carried' ELSE 'collected' END
           || ' at ' || trim_scale(total),
       status
  FROM invoices
 WHERE org_id = @org
   AND (@period = '' OR period_id = @period)
   AND status <> 'void'
   AND CASE WHEN total = 0 THEN 'settled' WHEN total < @smallest_charge::numeric THEN 'carried' ELSE 'collected' END
       <> CASE WHEN status IN ('settled', 'carried') THEN status ELSE 'collected' END
 ORDER BY id`

// I33 and S17: what is more than the provider charges at once is paid by transfer.
const nothingIsChargedBeyondTheLargest = `
SELECT id, 'at most ' || trim_scale(@largest_charge::numeric) || ', or send_invoice', trim_scale(total) || ' by ' || collection
  FROM invoices
 WHERE org_id = @org
   AND (@period = '' OR period_id = @period)
   AND status <> 'void'
   AND total > @largest_charge::numeric
   AND collection <> 'send_invoice'
 ORDER BY id`

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

// I22, our side: what the provider is told adds up to the invoice, and it is told
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
       CASE WHEN status IN ('carried', 'settled') THEN 'nothing' ELSE trim_scale(total)::text END,
       concat_ws(' ', trim_scale(amount), 'in', items, 'items', stripe_invoice_id)
  FROM items
 WHERE CASE WHEN status IN ('carried', 'settled') THEN items > 0 OR stripe_invoice_id IS NOT NULL ELSE amount <> total END
    OR items > 250
 ORDER BY id`
