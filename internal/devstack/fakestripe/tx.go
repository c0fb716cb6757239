package fakestripe

import (
	"encoding/json"
	"fmt"
	"time"
)

// tx is the work of one request: what it touched is journalled as one line, and
// its events go out, when it ends. There is no undoing: a handler checks first
// and changes last.
type tx struct {
	*state
	wall     time.Time
	request  eventRequest
	fault    *Fault
	hookIDs  func(eventType string) []string
	puts     []object
	drops    []object
	emitted  []*event
	rendered map[object]json.RawMessage
}

// now is the time at which the customer lives.
func (t *tx) now(customerID string) instant { return t.clockOf(customerID, t.wall) }

// put keeps a new or changed object.
func (t *tx) put(o object) {
	t.state.put(o)
	if inv, ok := o.(*invoice); ok {
		t.search.note(inv, searchable(inv), t.wall)
	}
	delete(t.rendered, o)
	for _, already := range t.puts {
		if already == o {
			return
		}
	}
	t.puts = append(t.puts, o)
}

func (t *tx) drop(o object) {
	t.state.drop(o)
	if inv, ok := o.(*invoice); ok {
		t.search.note(inv, nil, t.wall)
	}
	t.drops = append(t.drops, o)
}

// render returns the object as the API shows it now.
func (t *tx) render(o object) json.RawMessage {
	if done, ok := t.rendered[o]; ok {
		return done
	}
	var shown any = o
	if inv, ok := o.(*invoice); ok {
		shown = t.showInvoice(inv)
	}
	raw, err := json.Marshal(shown)
	if err != nil {
		panic(fmt.Sprintf("encode %s %s: %v", o.kind(), o.key(), err))
	}
	t.rendered[o] = raw
	return raw
}

// emit records that something happened to the object, as it is now.
func (t *tx) emit(eventType string, o object) {
	e := &event{
		ID: newID("evt"), Object: "event", APIVersion: apiVersion, Created: instant(t.wall.Unix()),
		Data: eventData{Object: t.render(o)}, Request: t.request, Type: eventType,
		Waiting: t.hookIDs(eventType),
	}
	e.PendingWebhooks = len(e.Waiting)
	t.events.add(e)
	t.emitted = append(t.emitted, e)
}
