package postgres

// ledgerChecks hold the ledger against the facts that it books. Each invoice is
// compared by itself, so an organisation's sums agree where all of its do.
func ledgerChecks() []check {
	return []check{
		{"ledger_balance", transactionsSumToZero},
		{"ledger_cash", cashIsWhatCameIn},
		{"ledger_returns", returnsAreWhatWentBack},
		{"ledger_receivable", receivableIsWhatIsOwed},
		{"ledger_revenue", revenueIsWhatWasCharged},
		{"ledger_credits", creditsAreWhatIsLeftOfThem},
		{"credit_use", notesAreUsedOnce},
		{"ledger_rounding", roundingIsOnTheInvoices},
		{"ledger_bad_debt", badDebtIsWhatWasGivenUp},
	}
}

// Every transaction has two entries or more, and sums to zero in each
// currency.
const transactionsSumToZero = `
WITH sums AS (
    SELECT t.id, t.kind, t.reference, e.currency, count(e.id) AS entries, coalesce(sum(e.amount), 0) AS amount,
           sum(count(e.id)) OVER (PARTITION BY t.id) AS all_entries
      FROM ledger_transactions t
      LEFT JOIN ledger_entries e ON e.transaction_id = t.id
     WHERE t.org_id = @org
     GROUP BY t.id, e.currency
)
SELECT concat_ws(' ', 'transaction', id, kind, reference), '0 in 2 entries or more',
       concat_ws(' ', trim_scale(amount), currency, 'in', all_entries)
  FROM sums
 WHERE amount <> 0 OR all_entries < 2
 ORDER BY id`

// booked is what stands in the ledger for each invoice, by account; the invoice
// is ” for what is of none.
//
// What went back of money that belonged to nothing is told as returned.
const booked = `
WITH booked AS (
    SELECT coalesce(e.invoice_id, '') AS id,
           CASE WHEN e.account = 'unapplied' AND t.kind IN ('refund', 'dispute') THEN 'returned' ELSE e.account END AS account, sum(e.amount) AS amount
      FROM ledger_entries e
      JOIN ledger_transactions t ON t.id = e.transaction_id
     WHERE e.org_id = @org
     GROUP BY 1, 2
), issued AS (
    SELECT * FROM invoices WHERE org_id = @org
)`

// differingSums ends a check that compares one account with what is expected of each
// invoice.
const differingSums = `
SELECT coalesce(nullif(id, ''), 'no invoice'), trim_scale(coalesce(x.amount, 0))::text, trim_scale(coalesce(b.amount, 0))::text
  FROM expected x
  FULL JOIN actual b USING (id)
  LEFT JOIN issued i USING (id)
 WHERE coalesce(x.amount, 0) <> coalesce(b.amount, 0)
   AND (@period = '' OR i.period_id = @period)
 ORDER BY 1`

// Cash is what payments of ours brought in, less what went back of it, and
// settlements are what was paid otherwise.
const cashIsWhatCameIn = booked + `, expected AS (
    SELECT i.id, i.amount_settled + coalesce(sum(p.amount), 0) AS amount
      FROM issued i
      LEFT JOIN payments p ON p.invoice_id = i.id AND p.status = 'succeeded'
     GROUP BY i.id, i.amount_settled
), actual AS (
    SELECT id, sum(amount) AS amount FROM booked WHERE account IN ('cash', 'settlements', 'refunds', 'disputes', 'returned') GROUP BY id
)` + differingSums

// What went back of payments is what refunds took and have not returned, and
// what disputes hold that are not won.
const returnsAreWhatWentBack = booked + `, refunded AS (
    SELECT DISTINCT ON (r.stripe_refund_id) r.invoice_id, r.amount, r.status
      FROM refunds r
     ORDER BY r.stripe_refund_id, r.id DESC
), disputed AS (
    SELECT DISTINCT ON (d.stripe_dispute_id) d.invoice_id, d.amount, d.status
      FROM disputes d
     ORDER BY d.stripe_dispute_id, d.id DESC
), expected AS (
    SELECT i.id, sum(x.amount) AS amount
      FROM issued i
      JOIN (SELECT invoice_id, amount FROM refunded WHERE status IN ('pending', 'succeeded')
             UNION ALL
            SELECT invoice_id, amount FROM disputed WHERE status <> 'won' AND status !~ '^warning_') x ON x.invoice_id = i.id
     GROUP BY i.id
), actual AS (
    SELECT id, sum(amount) AS amount FROM booked WHERE account IN ('refunds', 'disputes', 'returned') GROUP BY id
)` + differingSums

// What is receivable is what remains of the open invoices, and what is
// carried and on no other invoice yet.
const receivableIsWhatIsOwed = booked + `, expected AS (
    SELECT i.id, CASE WHEN i.status IN ('open', 'past_due')             THEN i.total - i.amount_paid - i.amount_credited
                      WHEN i.status = 'carried' AND i.carried_into IS NULL THEN i.total
                      ELSE 0 END AS amount
      FROM issued i
), actual AS (
    SELECT id, amount FROM booked WHERE account = 'receivable'
)` + differingSums

// Revenue is what live invoices charge, less their credit notes. What was carried
// forward is the revenue of the invoice that it comes from.
const revenueIsWhatWasCharged = booked + `, expected AS (
    SELECT i.id,
           (SELECT coalesce(sum(n.amount), 0) FROM invoice_corrections n WHERE n.invoice_id = i.id AND n.number IS NOT NULL)
           - (SELECT coalesce(sum(l.amount), 0)
                FROM invoice_lines l
               WHERE l.invoice_id = i.id AND l.kind NOT IN ('carried_forward', 'credit', 'adjustment')) AS amount
      FROM issued i
     WHERE i.status <> 'void'
), actual AS (
    SELECT id, amount FROM booked WHERE account = 'revenue'
)` + differingSums

// What is owed to the organisation is its credit notes on paid invoices, less
// what live invoices have used of them.
const creditsAreWhatIsLeftOfThem = booked + `, used AS (
    SELECT i.id, l.key, l.amount
      FROM issued i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind = 'credit'
     WHERE i.status <> 'void'
), notes AS (
    SELECT n.invoice_id AS id, n.amount
      FROM invoice_corrections n
     WHERE n.org_id = @org AND n.number IS NOT NULL AND n.to_credit
), expected AS (
    SELECT id, sum(amount) AS amount
      FROM (SELECT id, -amount AS amount FROM used UNION ALL SELECT id, -amount FROM notes) x
     GROUP BY id
), actual AS (
    SELECT id, amount FROM booked WHERE account = 'credits'
)` + differingSums

// No more of a credit note is used, on live invoices, than it was of; and
// nothing else is.
const notesAreUsedOnce = `
WITH used AS (
    SELECT substring(l.key FROM '^credit/(.*)$') AS number, -sum(l.amount) AS amount
      FROM invoices i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind = 'credit'
     WHERE i.org_id = @org AND i.status <> 'void'
     GROUP BY 1
)
SELECT coalesce(u.number, 'a line'), 'at most ' || trim_scale(coalesce(n.amount, 0)), trim_scale(u.amount)::text
  FROM used u
  LEFT JOIN invoice_corrections n ON n.org_id = @org AND n.number = u.number AND n.to_credit
 WHERE u.amount > coalesce(n.amount, 0)
 ORDER BY 1`

// What was rounded stands on its invoice.
const roundingIsOnTheInvoices = booked + `, expected AS (
    SELECT i.id, -sum(l.amount) AS amount
      FROM issued i
      JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind = 'adjustment'
     WHERE i.status <> 'void'
     GROUP BY i.id
), actual AS (
    SELECT id, amount FROM booked WHERE account = 'rounding'
)` + differingSums

// What was given up is what remains of the invoices that were written off.
const badDebtIsWhatWasGivenUp = booked + `, expected AS (
    SELECT i.id, i.total - i.amount_paid - i.amount_credited AS amount
      FROM issued i
     WHERE i.status = 'written_off'
), actual AS (
    SELECT id, amount FROM booked WHERE account = 'bad_debt'
)` + differingSums
