package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// What has become of parked usage.
const (
	ParkedWaiting   = "waiting"   // for a price; it holds its month's invoice
	ParkedDiscarded = "discarded" // given up by a person, or costs nothing at any price
	ParkedRetracted = "retracted" // cancelled by an event of its own
)

// ParkedRow counts the parked events of one model, reason and status.
type ParkedRow struct {
	Model       string        `json:"model"`        // as the sender wrote it
	PricedModel *string       `json:"priced_model"` // what the price book takes the name for; null = for none
	Reason      string        `json:"reason"`       // why there is no price now; of what waits no more, why there was none
	Events      int64         `json:"events"`
	Releasable  int64         `json:"releasable"` // of them, those that a release frees
	First       time.Time     `json:"first"`
	Last        time.Time     `json:"last"`
	Status      string        `json:"status"`
	Discarded   *string       `json:"discarded"`   // why; null = it was not
	Provisional billing.Money `json:"provisional"` // counted against limits meanwhile
}

// hasPriceNow is the reason of usage whose price is there by now.
const hasPriceNow = "its price is there now"

// parkedEvent is a parked event with all of its rows.
type parkedEvent struct {
	rows      []parkedPart
	tier      string // by which it counts against limits
	reason    string // why it was parked
	void      bool
	discarded *string
}

// parkedPart is one row of it.
type parkedPart struct {
	event       billing.Event
	part        int16
	provisional decimal.Decimal
}

func (e *parkedEvent) id() string { return e.rows[0].event.ID }

// placed lists the event's rows as they would be stored now, placed like its first.
func (e *parkedEvent) placed(first *placedEvent) []placedEvent {
	rows := make([]placedEvent, len(e.rows))
	for i := range e.rows {
		rows[i] = *first
		rows[i].event, rows[i].part = &e.rows[i].event, e.rows[i].part
	}
	return rows
}

// price says what the event waits for: "" is nothing, its price is there. model is
// the name that has none, or its first.
func (e *parkedEvent) price(rater *billing.Rater) (model, reason string) {
	for i := range e.rows {
		if _, reason := rater.Rate(&e.rows[i].event); reason != "" {
			return e.rows[i].event.Model, reason
		}
	}
	return e.rows[0].event.Model, ""
}

// ParkedUsage lists what waits for a price, by what it waits for now; all also what
// does so no more. Its time grows with the parked events.
func (s *Store) ParkedUsage(ctx context.Context, orgID string, all bool) (list []ParkedRow, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		rater, err := s.rater(ctx, tx, org.PriceBook)
		if err != nil {
			return err
		}
		list, err = listParked(ctx, tx, org, rater, all)
		return err
	})
	return list, wrap("list the parked usage of "+orgID, err)
}

func listParked(ctx context.Context, tx pgx.Tx, org billing.Organization, rater *billing.Rater, all bool) ([]ParkedRow, error) {
	type key struct{ model, reason, status, discarded string }
	sums := map[key]*ParkedRow{}
	err := eachParked(ctx, tx, org.ID, all, func(e *parkedEvent) {
		row := ParkedRow{Status: ParkedWaiting, Events: 1, Provisional: billing.Money{Currency: org.Currency}}
		row.Model, row.Reason = e.price(rater)
		switch {
		case e.void:
			row.Reason, row.Status = e.reason, ParkedRetracted
			if row.Discarded = e.discarded; e.discarded != nil {
				row.Status = ParkedDiscarded
			}
		case row.Reason == "":
			row.Reason, row.Releasable = hasPriceNow, 1
		}
		k := key{row.Model, row.Reason, row.Status, deref(row.Discarded)}
		sum := sums[k]
		if sum == nil {
			sum = &row
			sum.Events, sum.Releasable = 0, 0
			sum.First, sum.Last = e.rows[0].event.OccurredAt, e.rows[0].event.OccurredAt
			if model := rater.Model(row.Model); model != "" {
				sum.PricedModel = &model
			}
			sums[k] = sum
		}
		sum.add(e, row.Reason == hasPriceNow)
	})
	list := []ParkedRow{}
	for _, sum := range sums {
		list = append(list, *sum)
	}
	slices.SortFunc(list, func(a, z ParkedRow) int {
		return cmp.Or(strings.Compare(a.Model, z.Model), strings.Compare(a.Reason, z.Reason),
			strings.Compare(a.Status, z.Status), strings.Compare(deref(a.Discarded), deref(z.Discarded)))
	})
	return list, err
}

func (r *ParkedRow) add(e *parkedEvent, releasable bool) {
	r.Events++
	if releasable {
		r.Releasable++
	}
	at := e.rows[0].event.OccurredAt
	if at.Before(r.First) {
		r.First = at
	}
	if at.After(r.Last) {
		r.Last = at
	}
	if !e.void {
		for i := range e.rows {
			r.Provisional.Amount = r.Provisional.Amount.Add(e.rows[i].provisional)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// countReleasable counts the parked events of a price book's organisations that a
// release would free.
func countReleasable(ctx context.Context, tx pgx.Tx, book string) (count int64, err error) {
	const statement = `
SELECT id
  FROM organizations o
 WHERE price_book = $1
   AND EXISTS (SELECT FROM usage_events e WHERE e.org_id = o.id AND e.rate_id IS NULL AND NOT e.void)
 ORDER BY id`
	rows, err := tx.Query(ctx, statement, book)
	if err != nil {
		return 0, wrap("count parked usage", err)
	}
	orgs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(orgs) == 0 {
		return 0, wrap("count parked usage", err)
	}
	rater, err := newRater(ctx, tx, book)
	if err != nil {
		return 0, err
	}
	for _, org := range orgs {
		if err := eachParked(ctx, tx, org, false, func(e *parkedEvent) {
			if _, reason := e.price(rater); reason == "" {
				count++
			}
		}); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// parkedChoice says which parked events are read, in order of id.
type parkedChoice struct {
	model string // with this name in any of their rows; "" = all
	after string // whose id follows this one
	limit int
	all   bool // also those that wait no more
	lock  bool // and keeps others from releasing them too
}

// parkedPage is how many parked events are read at once where all are.
const parkedPage = 5000

// eachParked reads an organisation's parked events, page by page.
func eachParked(ctx context.Context, tx pgx.Tx, orgID string, all bool, each func(*parkedEvent)) error {
	choice := parkedChoice{limit: parkedPage, all: all}
	for {
		events, err := readParked(ctx, tx, orgID, choice)
		if err != nil {
			return err
		}
		for i := range events {
			each(&events[i])
		}
		if len(events) < parkedPage {
			return nil
		}
		choice.after = events[len(events)-1].id()
	}
}

// readParked reads parked events with all of their rows, in order of id.
func readParked(ctx context.Context, tx pgx.Tx, orgID string, choice parkedChoice) (events []parkedEvent, err error) {
	const waiting = ` AND NOT void`
	const statement = `
WITH chosen AS (
    SELECT DISTINCT event_id
      FROM usage_events
     WHERE org_id = @org AND rate_id IS NULL AND retracts IS NULL AND (@model = '' OR model = @model) AND event_id > @after`
	const rest = `
     ORDER BY event_id
     LIMIT @limit
)
SELECT event_id, part, user_id, occurred_at, product, model,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
       coalesce(service_tier, 'standard'), coalesce(speed, 'standard'), coalesce(inference_geo, 'global'),
       labels, flags, coalesce(unpriceable, ''), stated_cost, coalesce(provisional, 0), coalesce(seat_tier, ''), parked_reason, void, discarded
  FROM usage_events
 WHERE org_id = @org AND event_id IN (SELECT event_id FROM chosen) AND rate_id IS NULL`
	query := statement + waiting + rest + waiting
	if choice.all {
		query = statement + rest
	}
	query += ` ORDER BY event_id, part`
	if choice.lock {
		query += ` FOR UPDATE`
	}
	rows, err := tx.Query(ctx, query, pgx.NamedArgs{"org": orgID, "model": choice.model, "after": choice.after, "limit": choice.limit})
	if err != nil {
		return nil, wrap("read parked usage", err)
	}
	defer rows.Close()
	for rows.Next() {
		part, event, err := scanParked(rows)
		if err != nil {
			return nil, wrap("read parked usage", err)
		}
		part.event.Organization = orgID
		if n := len(events); n > 0 && events[n-1].id() == part.event.ID {
			events[n-1].rows = append(events[n-1].rows, part)
			continue
		}
		event.rows = []parkedPart{part}
		events = append(events, event)
	}
	return events, wrap("read parked usage", rows.Err())
}

func scanParked(row pgx.Row) (part parkedPart, event parkedEvent, err error) {
	e := &part.event
	var labels []byte
	var flags int16
	q := &e.Quantities
	err = row.Scan(&e.ID, &part.part, &e.User, &e.OccurredAt, &e.Product, &e.Model,
		&q[billing.Input], &q[billing.Output], &q[billing.CacheWrite5m], &q[billing.CacheWrite1h], &q[billing.CacheRead], &q[billing.WebSearch], &q[billing.CodeExecution],
		&e.ServiceTier, &e.Speed, &e.InferenceGeo, &labels, &flags, &e.Unpriceable, &e.StatedCost, &part.provisional,
		&event.tier, &event.reason, &event.void, &event.discarded)
	if err != nil {
		return part, event, err
	}
	e.OccurredAt = e.OccurredAt.UTC()
	e.CacheSplitAssumed = flags&flagCacheSplitAssumed != 0
	if labels != nil {
		err = json.Unmarshal(labels, &e.Labels)
	}
	return part, event, err
}
