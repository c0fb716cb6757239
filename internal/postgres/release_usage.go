package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// What has become of parked usage.
const (
	ParkedWaiting   = "waiting"   // for a price; it holds its month's invoice
	ParkedDiscarded = "discarded" // given up by a person
	ParkedRetracted = "retracted" // cancelled by an event of its own
)

// ParkedRow counts the parked events of one model, reason and status.
type ParkedRow struct {
	Model     string    `json:"model"`
	Reason    string    `json:"reason"`
	Events    int64     `json:"events"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Status    string    `json:"status"`
	Discarded *string   `json:"discarded"` // why; null = it was not
}

// ParkedUsage lists what waits for a price; all also what does so no more.
func (s *Store) ParkedUsage(ctx context.Context, orgID string, all bool) ([]ParkedRow, error) {
	if _, err := s.Organization(ctx, orgID); err != nil {
		return nil, err
	}
	const statement = `
SELECT model, parked_reason, count(*), min(occurred_at), max(occurred_at),
       CASE WHEN NOT void THEN 'waiting' WHEN discarded IS NOT NULL THEN 'discarded' ELSE 'retracted' END,
       discarded
  FROM usage_events
 WHERE org_id = $1 AND rate_id IS NULL AND retracts IS NULL AND (NOT void OR $2)
 GROUP BY 1, 2, 6, 7
 ORDER BY 1, 2, 6, 7`
	rows, err := s.pool.Query(ctx, statement, orgID, all)
	if err != nil {
		return nil, wrap("list parked usage", err)
	}
	parked, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ParkedRow])
	for i := range parked {
		parked[i].First, parked[i].Last = parked[i].First.UTC(), parked[i].Last.UTC()
	}
	return parked, wrap("list parked usage", err)
}

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
func (s *Store) ReleaseUsage(ctx context.Context, orgID, model string, by By) (result ReleaseResult, err error) {
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
	items, err := readParked(ctx, tx, orgID, model, after)
	if err != nil || len(items) == 0 {
		return round, err
	}
	intake, err := s.openIntake(ctx, tx, orgID, book, items)
	if err != nil {
		return round, err
	}
	intake.stored = true
	placed, _ := intake.place(items, make([]UsageAnswer, len(items)))
	sums := usedUp{}
	for i := range placed {
		intake.settle(&placed[i])
		sums.add(&placed[i])
	}
	placed = slices.DeleteFunc(placed, func(p placedEvent) bool { return p.rate == nil })
	const update = `
UPDATE usage_events
   SET rate_id = $3, period_id = $4, origin_id = nullif($5, ''), seat_tier = nullif($6, ''), flags = $7,
       code_execution = $8, cache_write_5m = $9, cache_write_1h = $10,
       parked_reason = NULL, unknown_count = NULL, stated_cost = NULL, payload = NULL
 WHERE org_id = $1 AND event_id = $2`
	batch := &pgx.Batch{}
	for _, p := range placed {
		batch.Queue(update, orgID, p.event.ID, p.rate.ID, p.period, p.origin, p.tier, p.flags,
			p.event.Quantities[billing.CodeExecution], p.event.Quantities[billing.CacheWrite5m], p.event.Quantities[billing.CacheWrite1h])
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return round, err
	}
	round.released = int64(len(placed))
	round.kept = int64(len(items)) - round.released
	round.last, round.more = items[len(items)-1].Event.ID, len(items) == releaseBatch
	if err := intake.count(ctx, tx, sums); err != nil {
		return round, err
	}
	return round, nudgeDrafts(ctx, tx, orgID)
}

// readParked reads parked events in order of id, and keeps others from
// releasing them too.
func readParked(ctx context.Context, tx pgx.Tx, orgID, model, after string) ([]UsageItem, error) {
	const statement = `
SELECT event_id, user_id, occurred_at, product, model,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
       coalesce(service_tier, 'standard'), coalesce(speed, 'standard'), coalesce(inference_geo, 'global'),
       labels, flags, coalesce(unknown_count, ''), stated_cost, payload
  FROM usage_events
 WHERE org_id = @org AND rate_id IS NULL AND NOT void AND (@model = '' OR model = @model) AND event_id > @after
 ORDER BY event_id
 LIMIT @limit
   FOR UPDATE`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{"org": orgID, "model": model, "after": after, "limit": releaseBatch})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (item UsageItem, err error) {
		e := &item.Event
		var labels []byte
		var flags int16
		q := &e.Quantities
		err = row.Scan(&e.ID, &e.User, &e.OccurredAt, &e.Product, &e.Model,
			&q[billing.Input], &q[billing.Output], &q[billing.CacheWrite5m], &q[billing.CacheWrite1h], &q[billing.CacheRead], &q[billing.WebSearch], &q[billing.CodeExecution],
			&e.ServiceTier, &e.Speed, &e.InferenceGeo, &labels, &flags, &e.UnknownCount, &e.StatedCost, &e.Payload)
		if err != nil {
			return item, err
		}
		e.Organization, e.OccurredAt = orgID, e.OccurredAt.UTC()
		e.CacheSplitAssumed = flags&flagCacheSplitAssumed != 0
		if labels != nil {
			err = json.Unmarshal(labels, &e.Labels)
		}
		return item, err
	})
}
