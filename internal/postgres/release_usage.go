package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// ReleaseResult counts what releasing parked usage did.
type ReleaseResult struct {
	Released    int64 `json:"released"`
	StillParked int64 `json:"still_parked"`
}

// releaseBatch bounds one transaction of a release.
const releaseBatch = 5000

// ReleaseUsage rates parked events (of one model, or "" = of all) by the prices
// of their time of use, now that there are any, and counts them like any other.
// What still has no price stays parked.
func (s *Store) ReleaseUsage(ctx context.Context, orgID, model string, by billing.Actor) (result ReleaseResult, err error) {
	book, err := s.bookOf(ctx, orgID)
	if err != nil {
		return result, err
	}
	after := ""
	for more := true; more; {
		var round releaseRound
		err = s.inTx(ctx, func(tx pgx.Tx) error {
			round, err = s.releaseSome(ctx, tx, orgID, book, model, after)
			return err
		})
		if err != nil {
			return result, wrap("release usage of "+orgID, err)
		}
		result.Released += round.released
		result.StillParked += round.kept
		after, more = round.last, round.more
	}
	return result, s.inTx(ctx, func(tx pgx.Tx) error {
		if result.Released > 0 {
			if _, err := audit(ctx, tx, orgID, by, "usage.release", model, nil, result); err != nil {
				return err
			}
		}
		return nudgeDrafts(ctx, tx, orgID) // also where an earlier release got no further
	})
}

// releaseRound is what one transaction of a release did.
type releaseRound struct {
	released, kept int64
	last           string // event id
	more           bool
}

func (s *Store) releaseSome(ctx context.Context, tx pgx.Tx, orgID, book, model, after string) (round releaseRound, err error) {
	events, err := readParked(ctx, tx, orgID, parkedChoice{model: model, after: after, limit: releaseBatch, lock: true})
	if err != nil || len(events) == 0 {
		return round, err
	}
	round.last, round.more = events[len(events)-1].id(), len(events) == releaseBatch
	items := make([]billing.UsageItem, len(events))
	for i := range events {
		items[i].Event = events[i].rows[0].event
	}
	intake, err := s.openIntake(ctx, tx, orgID, book, items)
	if err != nil {
		return round, err
	}
	intake.stored = true
	placed, _ := intake.assignPeriods(items, make([]billing.UsageAnswer, len(items)))
	var released []placedEvent
	sums := usedUp{}
	for i := range placed {
		event := &events[placed[i].index]
		rows := event.placed(&placed[i])
		if intake.rate(rows); rows[0].rate == nil {
			continue
		}
		round.released++
		for n := range rows {
			sums.add(&rows[n])
			sums.addProvisional(rows[n].window, rows[n].event.User, event.tier, event.rows[n].provisional.Neg())
		}
		released = append(released, rows...)
	}
	round.kept = int64(len(events)) - round.released
	if err := writeReleased(ctx, tx, orgID, released); err != nil {
		return round, err
	}
	if err := writeSpellings(ctx, tx, orgID, released); err != nil {
		return round, err
	}
	if err := intake.count(ctx, tx, sums); err != nil {
		return round, err
	}
	return round, nudgeDrafts(ctx, tx, orgID)
}

// writeReleased gives rows the rates and periods that were found for them.
func writeReleased(ctx context.Context, tx pgx.Tx, orgID string, released []placedEvent) error {
	const update = `
UPDATE usage_events
   SET rate_id = $4, period_id = $5, origin_id = nullif($6, ''), seat_tier = nullif($7, ''), flags = $8,
       code_execution = $9, cache_write_5m = $10, cache_write_1h = $11, model = $12, sent_model = nullif($13, ''),
       parked_reason = NULL, unpriceable = NULL, stated_cost = NULL, payload = NULL, provisional = NULL
 WHERE org_id = $1 AND event_id = $2 AND part = $3`
	batch := &pgx.Batch{}
	for i := range released {
		p := &released[i]
		q := &p.event.Quantities
		batch.Queue(update, orgID, p.event.ID, p.part, p.rate.ID, p.period, p.origin, p.tier, p.flags,
			q[billing.CodeExecution], q[billing.CacheWrite5m], q[billing.CacheWrite1h], p.model, p.sentModel())
	}
	return wrap("write released usage", tx.SendBatch(ctx, batch).Close())
}
