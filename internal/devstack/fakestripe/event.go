package fakestripe

import (
	"encoding/json"
	"iter"
	"slices"
	"time"
)

const (
	apiVersion  = "2023-10-16"
	eventsKept  = 30 * 24 * time.Hour
	eventsLimit = 100_000
)

type eventData struct {
	Object json.RawMessage `json:"object"`
}

type eventRequest struct {
	ID             text `json:"id"`
	IdempotencyKey text `json:"idempotency_key"`
}

type event struct {
	ID              string       `json:"id"`
	Object          string       `json:"object"`
	APIVersion      string       `json:"api_version"`
	Created         instant      `json:"created"`
	Data            eventData    `json:"data"`
	Livemode        bool         `json:"livemode"`
	PendingWebhooks int          `json:"pending_webhooks"`
	Request         eventRequest `json:"request"`
	Type            string       `json:"type"`

	// Waiting are the endpoints that have not taken the event yet.
	Waiting []string `json:"-"`
	// Missed are those that were given up.
	Missed []string `json:"-"`
}

func (e *event) kind() string  { return "event" }
func (e *event) key() string   { return e.ID }
func (e *event) owner() string { return "" }

// eventLog keeps the events of the last 30 days, oldest first.
type eventLog struct {
	list    []*event
	dropped int            // how many have gone from the front
	at      map[string]int // position in list, plus dropped
}

func (l *eventLog) add(e *event) {
	l.at[e.ID] = len(l.list) + l.dropped
	l.list = append(l.list, e)
	for len(l.list) > eventsLimit {
		l.dropOldest()
	}
}

func (l *eventLog) get(id string) (*event, bool) {
	at, ok := l.position(id)
	if !ok {
		return nil, false
	}
	return l.list[at-l.dropped], true
}

func (l *eventLog) position(id string) (int, bool) {
	at, ok := l.at[id]
	return at, ok
}

func (l *eventLog) prune(now time.Time) {
	oldest := instant(now.Add(-eventsKept).Unix())
	for len(l.list) > 0 && l.list[0].Created < oldest {
		l.dropOldest()
	}
}

func (l *eventLog) dropOldest() {
	delete(l.at, l.list[0].ID)
	l.list[0] = nil
	l.list = l.list[1:]
	l.dropped++
}

func (l *eventLog) newest() iter.Seq2[int, *event] {
	return func(yield func(int, *event) bool) {
		for i, e := range slices.Backward(l.list) {
			if !yield(i+l.dropped, e) {
				return
			}
		}
	}
}

func eventRoutes() []route {
	types := fields{"type": anyText(), "types": clearable(field{}), "types[]": anyText(), "delivery_success": flag()}
	return []route{
		get("/v1/events", listEvents, types.with(rangeFields("created")).with(pageFields())),
		get("/v1/events/{id}", retrieveEvent, fields{}),
	}
}

func listEvents(t *tx, r *request) (any, *apiError) {
	wanted := r.list("types")
	if r.has("type") {
		wanted = append(wanted, r.text("type"))
	}
	t.events.prune(t.wall)
	return page(t, r, t.events.newest(), t.events.position, func(e *event) bool {
		undelivered := r.has("delivery_success") && r.flag("delivery_success") != (e.PendingWebhooks == 0)
		return !undelivered && subscribes(wanted, e.Type) && r.inRange("created", e.Created)
	})
}

func retrieveEvent(t *tx, r *request) (any, *apiError) {
	e, ok := t.events.get(r.id())
	if !ok {
		return nil, missing("event", r.id(), "id")
	}
	return e, nil
}

// subscribes reports whether an event type is among those wanted; none wanted
// means all, and a trailing * stands for anything.
func subscribes(wanted []string, eventType string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(want string) bool {
		prefix, open := cutStar(want)
		return want == eventType || (open && len(eventType) >= len(prefix) && eventType[:len(prefix)] == prefix)
	})
}

func cutStar(pattern string) (string, bool) {
	if n := len(pattern); n > 0 && pattern[n-1] == '*' {
		return pattern[:n-1], true
	}
	return pattern, false
}
