package postgres

// The bills of a month leave free, together, the month's allowance of code
// execution, or all that they charge if that is less. Where one of them was
// withdrawn they may for a while leave less.
const freeUseIsTheMonths = `
WITH months AS (
    SELECT m.starts_at, m.ends_at,
           coalesce((SELECT p.free_per_month
                       FROM tool_prices p
                      WHERE p.book = @book AND p.tool = 'code_execution' AND p.superseded_revision IS NULL AND p.effective_from < m.ends_at
                      ORDER BY p.effective_from > m.starts_at,
                               CASE WHEN p.effective_from <= m.starts_at THEN p.effective_from END DESC,
                               p.effective_from
                      LIMIT 1), 0) AS free
      FROM unnest(@month_starts::timestamptz[], @month_ends::timestamptz[]) AS m (starts_at, ends_at)
), bills AS (
    SELECT m.starts_at, m.free,
           coalesce(sum(l.quantity) FILTER (WHERE NOT ` + freeUse + `), 0) AS used,
           coalesce(-sum(l.quantity) FILTER (WHERE ` + freeUse + `), 0) AS given,
           EXISTS (SELECT
                     FROM invoices v
                     JOIN periods p ON p.org_id = v.org_id AND p.id = v.period_id
                    WHERE v.org_id = @org AND v.status = 'void' AND p.starts_at >= m.starts_at AND p.starts_at < m.ends_at) AS withdrawn
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.token_class = 'code_execution'
      JOIN periods o ON o.org_id = i.org_id AND o.id = l.origin_id
      JOIN months m ON o.starts_at >= m.starts_at AND o.starts_at < m.ends_at
     WHERE i.org_id = @org AND i.status <> 'void'
     GROUP BY m.starts_at, m.ends_at, m.free
)
SELECT 'the month from ' || starts_at, least(free, greatest(used, 0)) || ' seconds free', given || ' seconds free'
  FROM bills
 WHERE given > least(free, greatest(used, 0)) OR (NOT withdrawn AND given <> least(free, greatest(used, 0)))
 ORDER BY 1`

// What is free comes off the line that charges it, at its price, and off each of
// its members in proportion to what they used, to the second.
const freeUseIsShared = `
WITH parts AS (
    SELECT l.invoice_id, l.key, u.n IS NOT NULL AND (l.unit_price, l.per, l.product, l.model, l.origin_id)
               IS NOT DISTINCT FROM (u.unit_price, u.per, u.product, u.model, u.origin_id) AS charged,
           m.user_id, l.quantity AS free, u.quantity AS used,
           coalesce(f.quantity, 0) AS free_part, coalesce(m.quantity, 0) AS used_part
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND ` + freeUse + `
      LEFT JOIN invoice_lines u ON u.invoice_id = i.id AND u.key = left(l.key, -5)
      LEFT JOIN invoice_line_members m ON m.invoice_id = i.id AND m.n = u.n
      LEFT JOIN invoice_line_members f ON f.invoice_id = i.id AND f.n = l.n AND f.user_id = m.user_id
     WHERE i.org_id = @org AND i.status <> 'void' AND (@period = '' OR i.period_id = @period)
)
SELECT concat_ws(' ', invoice_id, key, coalesce(nullif(user_id, ''), 'no user')),
       CASE WHEN charged THEN 'a part of ' || -free || ' as ' || used_part || ' of ' || used ELSE 'a line that charges it' END,
       CASE WHEN charged THEN (-free_part)::text ELSE 'none' END
  FROM parts
 WHERE NOT charged OR (used <> 0 AND abs(free_part * used - free * used_part) >= abs(used))
 ORDER BY 1`
