package postgres

// noticeChecks hold spend notices against the spend.
func noticeChecks() []check {
	return []check{
		{"notice_missing", crossedThresholdsAreNoticed},
		{"notice_unsound", noticesAreSound},
	}
}

// Every threshold of a limit that was reached while its present version
// held is written down, sent or not. A member's tier limit is asked about where
// all of the member's usage of the month was under that tier and the seat was
// held to the end: who changed tiers stood under several limits. Under the rule
// override it does not hold for members with a limit of their own.
const crossedThresholdsAreNoticed = `
WITH months AS (
    SELECT * FROM unnest(@month_starts::timestamptz[], @month_ends::timestamptz[]) AS m (starts_at, ends_at)
), thresholds AS (
    SELECT l.*, t.threshold, l.scope = 'seat_tier' AND l.mode = 'per_member' AS of_members
      FROM limits l
     CROSS JOIN unnest(l.thresholds) AS t (threshold)
     WHERE l.org_id = @org AND l.removed_at IS NULL AND l.amount IS NOT NULL
), steady AS (
    SELECT m.starts_at, e.user_id, min(e.seat_tier) AS tier
      FROM usage_events e
      JOIN months m ON e.occurred_at >= m.starts_at AND e.occurred_at < m.ends_at
     WHERE e.org_id = @org AND e.rate_id IS NOT NULL AND e.user_id <> ''
       AND EXISTS (SELECT FROM thresholds WHERE of_members)
     GROUP BY 1, 2
    HAVING count(*) = count(e.seat_tier) AND min(e.seat_tier) = max(e.seat_tier)
), reached AS (
    SELECT l.id, l.version, l.threshold, l.amount, l.scope, c.window_start, c.subject, c.spend + c.provisional AS spend
      FROM thresholds l
      JOIN spend_counters c ON c.org_id = l.org_id
                           AND c.scope = CASE WHEN l.of_members THEN 'user' ELSE l.scope END
                           AND (l.of_members OR c.subject = l.subject)
      JOIN months m ON m.starts_at = c.window_start AND m.ends_at > l.updated_at
     WHERE c.spend + c.provisional > 0
       AND (c.spend + c.provisional) * 100 >= l.amount * l.threshold
       AND NOT (l.of_members
                AND EXISTS (SELECT FROM organizations o WHERE o.id = l.org_id AND o.limit_rule = 'override')
                AND EXISTS (SELECT FROM limits own
                             WHERE own.org_id = l.org_id AND own.scope = 'user' AND own.subject = c.subject AND own.removed_at IS NULL))
       AND (NOT l.of_members
            OR EXISTS (SELECT FROM steady s
                        WHERE s.starts_at = c.window_start AND s.user_id = c.subject AND s.tier = l.subject)
           AND EXISTS (SELECT FROM seat_assignments a
                        WHERE a.org_id = l.org_id AND a.user_id = c.subject AND a.tier = l.subject
                          AND a.valid_from < m.ends_at
                          AND (a.valid_to IS NULL OR a.valid_to >= greatest(m.ends_at, @now))))
)
SELECT concat_ws(' ', r.scope, nullif(r.subject, ''), 'limit', r.id, 'version', r.version, 'from', r.window_start),
       'a notice of ' || r.threshold || '% of ' || trim_scale(r.amount), 'none at ' || trim_scale(r.spend)
  FROM reached r
  LEFT JOIN notices n ON n.limit_id = r.id
                     AND n.limit_version = r.version
                     AND n.threshold = r.threshold
                     AND n.window_start = r.window_start
                     AND n.subject = r.subject
 WHERE n.id IS NULL
 ORDER BY 1, r.threshold`

// No notice says what was never so: its spend reaches its threshold, and so
// does the counter, with what was retracted since, what a recorded correction of
// prices took away after the notice, and what usage without a price counted until
// it had one or was given up: spend falls by nothing else.
const noticesAreSound = `
WITH months AS (
    SELECT * FROM unnest(@month_starts::timestamptz[], @month_ends::timestamptz[]) AS m (starts_at, ends_at)
), retracted AS (
    SELECT m.starts_at, s.user_id, s.seat_tier, -sum(` + listPrice + `) AS spend
      FROM usage_events s
      JOIN months m ON s.occurred_at >= m.starts_at AND s.occurred_at < m.ends_at
      JOIN rates r ON r.id = s.rate_id
     WHERE s.org_id = @org AND s.retracts IS NOT NULL
     GROUP BY 1, 2, 3
), counted AS (
    SELECT n.id, n.scope, n.subject, n.threshold, n.amount, n.spent,
           coalesce(c.spend + c.provisional + c.provisional_ended, 0)
               - coalesce((SELECT sum(f.difference)
                             FROM price_change_spend f
                             JOIN price_change_organizations o USING (change_id, org_id)
                            WHERE f.org_id = c.org_id AND f.window_start = c.window_start
                              AND f.scope = c.scope AND f.subject = c.subject
                              AND f.difference < 0 AND n.id <= o.last_notice), 0)
               + coalesce((SELECT sum(t.spend)
                             FROM retracted t
                            WHERE t.starts_at = n.window_start
                              AND CASE WHEN n.scope = 'organization' THEN true
                                       WHEN n.scope = 'seat_tier' AND n.subject = l.subject THEN t.seat_tier = n.subject
                                       ELSE t.user_id = n.subject END), 0) AS spend
      FROM notices n
      JOIN limits l ON l.id = n.limit_id
      LEFT JOIN spend_counters c ON c.org_id = n.org_id
                                AND c.window_start = n.window_start
                                AND c.subject = n.subject
                                AND c.scope = CASE WHEN n.scope = 'seat_tier' AND n.subject <> l.subject THEN 'user' ELSE n.scope END
     WHERE n.org_id = @org AND (@period = '' OR n.window_start = ANY(@month_starts))
)
SELECT concat_ws(' ', 'notice', id, scope, nullif(subject, '')),
       'a spend of ' || threshold || '% of ' || trim_scale(amount),
       trim_scale(spent) || ', now ' || trim_scale(spend)
  FROM counted
 WHERE spent <= 0 OR spent * 100 < amount * threshold OR spend * 100 < amount * threshold
 ORDER BY id`
