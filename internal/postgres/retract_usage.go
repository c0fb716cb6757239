package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// retracted is an event that is to be cancelled, as it is stored: by its first row,
// with the others beside it.
type retracted struct {
	retractedPart
	period     string // "" = parked
	origin     string
	tier       string
	flags      int16
	retraction bool // it cancels another one itself
	void       bool
	parts      []retractedPart // all of its rows
}

// retractedPart is what the rows of an event differ in.
type retractedPart struct {
	event       billing.Event // ID, user, time, product, model and quantities
	part        int16
	rate        int64
	provisional decimal.Decimal
}

// home is the period in which the event happened.
func (r *retracted) home() string {
	if r.origin != "" {
		return r.origin
	}
	return r.period
}

// retractedIDs lists the events that the items cancel; nil = none, as usual.
func retractedIDs(items []billing.UsageItem) (ids []string) {
	for i := range items {
		if id := items[i].Event.Retracts; id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// readRetracted reads the events that are to be cancelled; with lock it also
// keeps them from being released or cancelled by others meanwhile.
func readRetracted(ctx context.Context, tx pgx.Tx, orgID string, ids []string, lock bool) (map[string]*retracted, error) {
	const statement = `
SELECT event_id, part, user_id, occurred_at, product, model,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
       coalesce(period_id, ''), coalesce(origin_id, ''), coalesce(rate_id, 0), coalesce(seat_tier, ''), flags, retracts IS NOT NULL,
       void, coalesce(provisional, 0)
  FROM usage_events
 WHERE org_id = $1 AND event_id = ANY($2)
 ORDER BY event_id, part`
	query := statement
	if lock {
		query += ` FOR UPDATE`
	}
	found := map[string]*retracted{}
	if len(ids) == 0 {
		return found, nil
	}
	rows, err := tx.Query(ctx, query, orgID, ids)
	if err != nil {
		return nil, wrap("read retracted events", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*retracted, error) {
		r := &retracted{}
		q := &r.event.Quantities
		err := row.Scan(&r.event.ID, &r.part, &r.event.User, &r.event.OccurredAt, &r.event.Product, &r.event.Model,
			&q[billing.Input], &q[billing.Output], &q[billing.CacheWrite5m], &q[billing.CacheWrite1h], &q[billing.CacheRead], &q[billing.WebSearch], &q[billing.CodeExecution],
			&r.period, &r.origin, &r.rate, &r.tier, &r.flags, &r.retraction, &r.void, &r.provisional)
		r.event.Organization, r.event.OccurredAt = orgID, r.event.OccurredAt.UTC()
		return r, err
	})
	for _, r := range all {
		if r.part == 0 {
			found[r.event.ID] = r
		}
		if whole := found[r.event.ID]; whole != nil {
			whole.parts = append(whole.parts, r.retractedPart)
		}
	}
	return found, wrap("read retracted events", err)
}

// retracting is what a batch's retractions are decided by.
type retracting struct {
	*intake
	targets map[string]*retracted
	by      map[string]string // event -> the retraction that cancelled it
	known   map[string][]byte // ids of retractions that are in use -> fingerprint
	stored  map[string]int    // events that this batch stored -> their place in it
	own     map[string]bool   // retractions of this batch
}

// retract stores the retractions among the items behind the batch's own events,
// answers each, and returns them as events that count below zero. An event is
// cancelled where it was billed while that period is open; else in the current
// one, marked with its period of origin.
func (in *intake) retract(ctx context.Context, tx pgx.Tx, items []billing.UsageItem, answers []billing.UsageAnswer, stored []placedEvent) ([]placedEvent, error) {
	ids := retractedIDs(items)
	if len(ids) == 0 {
		return nil, nil
	}
	r, err := in.openRetracting(ctx, tx, items, ids, stored)
	if err != nil {
		return nil, err
	}
	var placed []placedEvent
	var void []string
	batch := &pgx.Batch{}
	for i := range items {
		event := &items[i].Event
		if event.Retracts == "" {
			continue
		}
		answer, p, err := r.decide(i, event)
		if err != nil {
			return nil, err
		}
		answers[i] = answer
		if answer.Status != billing.UsageAccepted {
			continue
		}
		r.queue(batch, event, &p)
		target := r.targets[event.Retracts]
		if target.period == "" {
			void = append(void, event.Retracts)
		}
		rows, err := r.below(p, target)
		if err != nil {
			return nil, err
		}
		placed = append(placed, rows...)
	}
	if len(placed) == 0 {
		return nil, nil
	}
	if len(void) > 0 {
		batch.Queue(`UPDATE usage_events SET void = true WHERE org_id = $1 AND event_id = ANY($2)`, in.org.ID, void)
	}
	err = tx.SendBatch(ctx, batch).Close()
	if isUniqueViolation(err) { // another writer uses one of the ids at this moment
		return nil, errLostRace
	}
	return placed, wrap("store retractions", err)
}

// openRetracting locks the events that are to be cancelled, in order of id, and
// then reads what has become of them: whoever cancels an event holds its row.
func (in *intake) openRetracting(ctx context.Context, tx pgx.Tx, items []billing.UsageItem, ids []string, stored []placedEvent) (r *retracting, err error) {
	r = &retracting{intake: in, stored: map[string]int{}, own: map[string]bool{}, by: map[string]string{}, known: map[string][]byte{}}
	if r.targets, err = readRetracted(ctx, tx, in.org.ID, ids, true); err != nil {
		return nil, err
	}
	for i := range stored {
		r.stored[stored[i].event.ID] = stored[i].index
	}
	var own []string
	for i := range items {
		if items[i].Event.Retracts != "" {
			own = append(own, items[i].Event.ID)
		}
	}
	const statement = `
SELECT event_id, coalesce(retracts, ''), fingerprint
  FROM usage_events
 WHERE org_id = $1 AND (event_id = ANY($2) OR retracts = ANY($3))`
	rows, err := tx.Query(ctx, statement, in.org.ID, own, ids)
	if err != nil {
		return nil, wrap("read retractions", err)
	}
	var id, retracts string
	var fingerprint []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &retracts, &fingerprint}, func() error {
		r.known[id] = slices.Clone(fingerprint)
		if retracts != "" {
			r.by[retracts] = id
		}
		return nil
	})
	return r, wrap("read retractions", err)
}

// decide answers one retraction, and places it where it is accepted.
func (r *retracting) decide(index int, event *billing.Event) (answer billing.UsageAnswer, p placedEvent, err error) {
	p = placedEvent{index: index, fingerprint: event.Fingerprint(), printed: true}
	if before, ok := r.known[event.ID]; ok {
		return repeatAnswer(before, &p), p, nil
	}
	if reason := r.refuseRetraction(index, event); reason.Status != "" {
		return reason, p, nil
	}
	target := r.targets[event.Retracts]
	p.window = r.monthOf(target)
	if target.period != "" {
		home, open := r.periodNamed(target.period)
		switch {
		case open && !slices.Contains(r.held, home.ID):
			return answer, p, errLostRace // it was released into a period whose lock we do not hold
		case open:
			p.period, p.origin = target.period, target.origin
		case !r.running:
			return billing.UsageAnswer{Status: billing.UsageRejected, Field: "retracts", Reason: fmt.Sprintf("its period %s is closed and the organization has no open one", target.period)}, p, nil
		default:
			p.period, p.origin = r.current.ID, target.home()
		}
	}
	p.event, p.tier, p.flags = event, target.tier, target.flags
	r.known[event.ID], r.by[event.Retracts], r.own[event.ID] = p.fingerprint[:], event.ID, true
	return billing.UsageAnswer{Status: billing.UsageAccepted}, p, nil
}

// monthOf is the billing month in which an event happened.
func (in *intake) monthOf(target *retracted) time.Time {
	if month, known := in.months[target.home()]; known {
		return month.Start
	}
	for _, p := range in.periods {
		if p.span().Contains(target.event.OccurredAt) {
			return in.months[p.ID].Start
		}
	}
	return time.Time{} // an event of no period was never taken
}

// below lists what a retraction counts: each row of its event with its quantities,
// and what it counted without a price, below zero.
func (r *retracting) below(p placedEvent, target *retracted) ([]placedEvent, error) {
	rows := make([]placedEvent, len(target.parts))
	for i := range target.parts {
		part := &target.parts[i]
		rate, err := r.rateOf(part)
		if err != nil {
			return nil, err
		}
		below := part.event
		below.ID, below.Retracts = p.event.ID, p.event.Retracts
		for class := range below.Quantities {
			below.Quantities[class] = -below.Quantities[class]
		}
		rows[i] = p
		rows[i].event, rows[i].part, rows[i].rate, rows[i].model = &below, part.part, rate, below.Model
		if !target.void { // who gave it up has taken that back
			rows[i].provisional = part.provisional.Neg()
		}
	}
	return rows, nil
}

// refuseRetraction says why a retraction cannot be taken; no status = it can.
func (r *retracting) refuseRetraction(index int, event *billing.Event) billing.UsageAnswer {
	target, found := r.targets[event.Retracts]
	place, here := r.stored[event.Retracts]
	switch by := r.by[event.Retracts]; {
	case event.OccurredAt.After(r.org.Now.Add(billing.FutureTolerance)):
		return billing.UsageAnswer{Status: billing.UsageRejected, Field: "occurred_at", Reason: fmt.Sprintf(
			"lies in the future: accepted up to 5 minutes after the organization's time %s", r.org.Now.Format(time.RFC3339))}
	case found && target.retraction, r.own[event.Retracts]:
		return billing.UsageAnswer{Status: billing.UsageRejected, Field: "retracts", Reason: "names a retraction, which cannot be retracted: send the usage again under an id of its own"}
	case !found, here && place > index:
		return billing.UsageAnswer{Status: billing.UsageRejected, Field: "retracts", Reason: "no event with this id is stored: a retraction follows its event"}
	case by != "":
		return billing.UsageAnswer{Status: billing.UsageConflict, Field: "retracts", Reason: fmt.Sprintf("the event is retracted already, by %q; the first retraction stays", by)}
	default:
		return billing.UsageAnswer{}
	}
}

func (r *retracting) rateOf(target *retractedPart) (*billing.Rate, error) {
	if target.rate == 0 {
		return nil, nil
	}
	rate := r.rater.ByID(target.rate)
	if rate == nil {
		return nil, fmt.Errorf("rate %d of event %s is not of the organization's price book", target.rate, target.event.ID)
	}
	return rate, nil
}

func (in *intake) periodNamed(id string) (p period, open bool) {
	for _, p := range in.periods {
		if p.ID == id {
			return p, p.ClosedAt.IsZero()
		}
	}
	return period{}, false
}

// queue stores a retraction as its event with everything that is counted below
// zero.
func (r *retracting) queue(batch *pgx.Batch, event *billing.Event, p *placedEvent) {
	const statement = `
INSERT INTO usage_events (org_id, event_id, part, user_id, occurred_at, product, model, sent_model,
                          input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
                          service_tier, speed, inference_geo, labels, period_id, origin_id, rate_id, seat_tier,
                          flags, fingerprint, parked_reason, unpriceable, retracts, stated_at, void)
SELECT org_id, @id, part, user_id, occurred_at, product, model, sent_model,
       -input, -output, -cache_write_5m, -cache_write_1h, -cache_read, -web_search, -code_execution,
       service_tier, speed, inference_geo, labels, nullif(@period, ''), nullif(@origin, ''), rate_id, seat_tier,
       flags, @fingerprint, parked_reason, unpriceable, event_id, @stated_at, rate_id IS NULL
  FROM usage_events
 WHERE org_id = @org AND event_id = @retracts`
	batch.Queue(statement, pgx.NamedArgs{
		"org": r.org.ID, "id": event.ID, "retracts": event.Retracts, "period": p.period, "origin": p.origin,
		"fingerprint": p.fingerprint[:], "stated_at": event.OccurredAt,
	})
}
