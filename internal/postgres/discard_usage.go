package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

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
func (s *Store) DiscardUsage(ctx context.Context, orgID string, which DiscardChoice, by By) (result DiscardResult, err error) {
	if (which.Model == "") == (which.Event == "") {
		return result, billing.Invalid("accepted: a model or an event")
	}
	if strings.TrimSpace(by.Reason) == "" {
		return result, billing.Invalid("reason: accepted: why the usage will never be billed")
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := readOrganization(ctx, tx, orgID); err != nil {
			return err
		}
		if result.Discarded, err = discard(ctx, tx, orgID, which, by.Reason); err != nil {
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
// them does.
func discard(ctx context.Context, tx pgx.Tx, orgID string, which DiscardChoice, reason string) (int64, error) {
	const statement = `
WITH parked AS (
    SELECT event_id
      FROM usage_events
     WHERE org_id = @org AND rate_id IS NULL AND NOT void
       AND CASE WHEN @event = '' THEN model = @model ELSE event_id = @event END
     ORDER BY event_id
       FOR UPDATE
)
UPDATE usage_events e
   SET void = true, discarded = @reason
  FROM parked p
 WHERE e.org_id = @org AND e.event_id = p.event_id`
	tag, err := tx.Exec(ctx, statement, pgx.NamedArgs{"org": orgID, "model": which.Model, "event": which.Event, "reason": reason})
	return tag.RowsAffected(), wrap("discard parked events", err)
}

// explainUndiscarded says why there was nothing to discard; nil where that has
// been done before.
func explainUndiscarded(ctx context.Context, tx pgx.Tx, orgID string, which DiscardChoice) error {
	if which.Event == "" {
		return nil
	}
	var counted bool
	err := tx.QueryRow(ctx, `SELECT rate_id IS NOT NULL FROM usage_events WHERE org_id = $1 AND event_id = $2`, orgID, which.Event).Scan(&counted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return billing.NotFound("event %q of organization %q does not exist", which.Event, orgID)
	case err == nil && counted:
		return billing.Conflict("event %q has a price and is counted; accepted: parked events; this one is taken back by an event that retracts it", which.Event)
	}
	return wrap("read an event", err)
}
