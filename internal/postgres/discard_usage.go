package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// DiscardChoice says which parked usage is given up: all of a model, or one event.
type DiscardChoice struct {
	Model string
	Event string
}

// DiscardResult counts what discarding parked usage did.
type DiscardResult struct {
	Discarded int64 `json:"discarded"`
}

// DiscardUsage gives up parked events that will never have a price, so that they
// hold no month any more. They stay stored, void and with the reason, which must
// be given: what they cost is never billed. Discarding again changes nothing.
func (s *Store) DiscardUsage(ctx context.Context, orgID string, which DiscardChoice, by billing.Actor) (result DiscardResult, err error) {
	if (which.Model == "") == (which.Event == "") {
		return result, billing.Invalid("accepted: a model or an event")
	}
	if strings.TrimSpace(by.Reason) == "" {
		return result, billing.Invalid("reason: accepted: why the usage will never be billed")
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		if result.Discarded, err = discard(ctx, tx, org, which, by.Reason); err != nil {
			return err
		}
		if result.Discarded == 0 {
			return explainUndiscarded(ctx, tx, orgID, which)
		}
		subject := "model/" + which.Model
		if which.Event != "" {
			subject = "event/" + which.Event
		}
		if _, err := audit(ctx, tx, orgID, by, "usage.discard", subject, nil, result); err != nil {
			return err
		}
		return nudgeDrafts(ctx, tx, orgID)
	})
	return result, wrap("discard usage of "+orgID, err)
}

// discard locks the parked rows in order of id, as whoever releases or retracts
// them does, and takes back what they counted against limits.
func discard(ctx context.Context, tx pgx.Tx, org billing.Organization, which DiscardChoice, reason string) (count int64, err error) {
	const statement = `
WITH chosen AS (
    SELECT DISTINCT event_id
      FROM usage_events
     WHERE org_id = @org AND rate_id IS NULL AND NOT void
       AND CASE WHEN @event = '' THEN model = @model ELSE event_id = @event END
), parked AS (
    SELECT event_id, part
      FROM usage_events
     WHERE org_id = @org AND event_id IN (SELECT event_id FROM chosen) AND rate_id IS NULL AND NOT void
     ORDER BY event_id, part
       FOR UPDATE
)
UPDATE usage_events e
   SET void = true, discarded = @reason
  FROM parked p
 WHERE e.org_id = @org AND e.event_id = p.event_id AND e.part = p.part
RETURNING e.part, e.occurred_at, e.user_id, coalesce(e.seat_tier, ''), coalesce(e.provisional, 0)`
	calendar, err := org.Calendar()
	if err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{"org": org.ID, "model": which.Model, "event": which.Event, "reason": reason})
	if err != nil {
		return 0, wrap("discard parked events", err)
	}
	sums := usedUp{}
	var part int16
	var at time.Time
	var user, tier string
	var provisional decimal.Decimal
	if _, err := pgx.ForEachRow(rows, []any{&part, &at, &user, &tier, &provisional}, func() error {
		if part == 0 {
			count++
		}
		sums.addProvisional(calendar.Month(at).Start, user, tier, provisional.Neg())
		return nil
	}); err != nil {
		return 0, wrap("discard parked events", err)
	}
	return count, takeBack(ctx, tx, org.ID, sums)
}

// takeBack moves the spend counters down. No threshold is crossed by that.
func takeBack(ctx context.Context, tx pgx.Tx, org string, sums usedUp) error {
	deltas := sums.deltas()
	if len(deltas) == 0 {
		return nil
	}
	if err := lockExclusive(ctx, tx, countLock(org)); err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Keys(deltas), counterKey.compare)
	_, err := moveCounters(ctx, tx, org, keys, deltas)
	return err
}

// explainUndiscarded says why there was nothing to discard; nil where that has
// been done before.
func explainUndiscarded(ctx context.Context, tx pgx.Tx, orgID string, which DiscardChoice) error {
	if which.Event == "" {
		return nil
	}
	var counted bool
	err := tx.QueryRow(ctx, `SELECT rate_id IS NOT NULL FROM usage_events WHERE org_id = $1 AND event_id = $2 AND part = 0`, orgID, which.Event).Scan(&counted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return billing.NotFound("event %q of organization %q does not exist", which.Event, orgID)
	case err == nil && counted:
		return billing.Conflict("event %q has a price and is counted; accepted: parked events; this one is taken back by an event that retracts it", which.Event)
	}
	return wrap("read an event", err)
}
