package postgres

// paymentChecks hold payments against their invoices.
func paymentChecks() []check {
	return []check{
		{"payments_sum", paymentsStayWithinTheTotal},
		{"payments_to_refund", nothingIsToBeRefunded},
		{"paid_settled", paidIsCollected},
		{"payment_attempts", attemptsAreNumbered},
		{"payment_in_flight", nothingMovesOnceSettled},
		{"refunds_sum", refundsStayWithinThePayments},
		{"suspension", onlyTheOverdueSuspend},
	}
}

// collected is what came in for each invoice: by payments of ours, and otherwise.
const collected = `
WITH collected AS (
    SELECT i.*, coalesce((SELECT sum(p.amount) FROM payments p WHERE p.invoice_id = i.id AND p.status = 'succeeded' AND NOT p.surplus), 0) AS payments
      FROM invoices i
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
)`

// Nothing came in that belongs to nothing and was not refunded.
const nothingIsToBeRefunded = `
SELECT i.id, 'nothing to refund', trim_scale(-sum(e.amount)) || ' ' || i.currency || ' to refund at the provider'
  FROM invoices i
  JOIN ledger_entries e ON e.invoice_id = i.id AND e.account = 'unapplied'
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
 GROUP BY i.id, i.currency
HAVING sum(e.amount) <> 0
 ORDER BY i.id`

// No more came in than was asked for, less what was credited.
const paymentsStayWithinTheTotal = collected + `
SELECT id, 'at most ' || trim_scale(greatest(total - amount_credited, 0)), trim_scale(payments + amount_settled)::text
  FROM collected
 WHERE payments + amount_settled > greatest(total - amount_credited, 0)
 ORDER BY id`

// An invoice is paid, and says when, if and only if what came in for
// it is its total, less what was credited; its amount paid is what came in. One
// that was credited as a whole is settled. Nothing comes in for one that is
// carried, settled or void.
const paidIsCollected = collected + `
SELECT id,
       CASE WHEN payments + amount_settled = total - amount_credited AND total > amount_credited THEN 'paid ' ELSE 'not paid ' END
           || trim_scale(payments + amount_settled),
       concat_ws(' ', status, trim_scale(amount_paid), 'at ' || paid_at)
  FROM collected
 WHERE (status = 'paid') <> (payments + amount_settled = total - amount_credited AND total > amount_credited)
    OR (status = 'paid') <> (paid_at IS NOT NULL)
    OR amount_paid <> payments + amount_settled
    OR (status IN ('carried', 'settled', 'void') AND payments + amount_settled > 0)
    OR (status IN ('open', 'past_due') AND payments + amount_settled + amount_credited >= total)
    OR (status = 'carried' AND amount_credited > 0)
 ORDER BY id`

// Attempts are numbered from 1 without a gap, and each has the key that its
// invoice and number make. None is over more than its invoice's total.
const attemptsAreNumbered = `
WITH numbered AS (
    SELECT p.*, i.total, row_number() OVER (PARTITION BY p.invoice_id ORDER BY p.attempt) AS n
      FROM payments p
      JOIN invoices i ON i.id = p.invoice_id
     WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
)
SELECT invoice_id || ' attempt ' || attempt,
       concat_ws(' ', 'attempt', n, 'pay/' || @installation::text || '/' || invoice_id || '/' || n, 'at most', trim_scale(total)),
       concat_ws(' ', 'attempt', attempt, idempotency_key, 'over', trim_scale(amount))
  FROM numbered
 WHERE attempt <> n
    OR regexp_replace(idempotency_key, '/anew/[0-9]+$', '') <> 'pay/' || @installation || '/' || invoice_id || '/' || attempt
    OR amount > total
 ORDER BY invoice_id, attempt`

// One attempt at a time, and none under way for an invoice that is
// not being collected.
const nothingMovesOnceSettled = `
SELECT i.id,
       CASE WHEN i.status = 'open' THEN 'at most 1 attempt under way' ELSE 'no attempt under way for one that is ' || i.status END,
       count(*) || ' under way'
  FROM invoices i
  JOIN payments p ON p.invoice_id = i.id AND p.status IN ('unknown', 'processing')
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
 GROUP BY i.id
HAVING i.status <> 'open' OR count(*) > 1
 ORDER BY i.id`

// No more went back than came in.
const refundsStayWithinThePayments = `
WITH standing AS (
    SELECT DISTINCT ON (r.stripe_refund_id) r.*
      FROM refunds r
     ORDER BY r.stripe_refund_id, r.id DESC
)
SELECT i.id, 'at most ' || trim_scale(i.amount_paid + x.surplus), trim_scale(sum(s.amount))::text
  FROM standing s
  JOIN invoices i ON i.id = s.invoice_id
 CROSS JOIN LATERAL (SELECT coalesce(sum(p.amount), 0) AS surplus
                       FROM payments p
                      WHERE p.invoice_id = i.id AND p.status = 'succeeded' AND p.surplus) x
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period) AND s.status IN ('pending', 'requires_action', 'succeeded')
 GROUP BY i.id, i.amount_paid, x.surplus
HAVING sum(s.amount) > i.amount_paid + x.surplus
 ORDER BY i.id`

// An invoice suspends its organisation only while it is to be paid.
const onlyTheOverdueSuspend = `
SELECT i.id, 'no suspension by an invoice that is ' || i.status, 'since ' || s.at
  FROM suspensions s
  JOIN invoices i ON i.id = s.invoice_id
 WHERE i.org_id = @org AND (@period = '' OR i.period_id = @period)
   AND s.lifted_at IS NULL AND i.status NOT IN ('open', 'past_due')
 ORDER BY i.id`
