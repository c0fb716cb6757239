package fakestripe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// entry is one line of the journal: what one request changed. It is written with
// a single write before the answer, so that a killed process loses at most a
// torn last line, whose answer nobody got.
type entry struct {
	Put   []stored    `json:"put,omitempty"`
	Drop  []stored    `json:"drop,omitempty"`
	Event []logged    `json:"event,omitempty"`
	Sent  *sent       `json:"sent,omitempty"`
	Reply *savedReply `json:"reply,omitempty"`
}

type stored struct {
	Kind   string          `json:"kind"`
	ID     string          `json:"id,omitempty"`
	Shown  json.RawMessage `json:"shown,omitempty"`
	Hidden json.RawMessage `json:"hidden,omitempty"`
}

// logged is an event. One request often tells of the same object several times:
// As counts back to the event of the line that holds it.
type logged struct {
	Event   event           `json:"event"` // without its object
	Object  json.RawMessage `json:"object,omitempty"`
	As      int             `json:"as,omitempty"`
	Waiting []string        `json:"waiting,omitempty"`
	Missed  []string        `json:"missed,omitempty"`
}

func loggedOf(e *event) logged {
	l := logged{Event: *e, Object: e.Data.Object, Waiting: e.Waiting, Missed: e.Missed}
	l.Event.Data = eventData{}
	return l
}

// sent says that an endpoint has taken an event, or was given up.
type sent struct {
	Event    string `json:"event"`
	Endpoint string `json:"endpoint"`
	Taken    bool   `json:"taken"`
}

func entryOf(t *tx, keep *savedReply) entry {
	e := entry{Reply: keep}
	for _, o := range t.puts {
		e.Put = append(e.Put, storedOf(o))
	}
	for _, o := range t.drops {
		e.Drop = append(e.Drop, stored{Kind: o.kind(), ID: o.key()})
	}
	for at, one := range t.emitted {
		l := loggedOf(one)
		for back := 1; back <= at; back++ {
			if earlier := t.emitted[at-back]; &earlier.Data.Object[0] == &one.Data.Object[0] {
				l.Object, l.As = nil, back
			}
		}
		e.Event = append(e.Event, l)
	}
	return e
}

func storedOf(o object) stored {
	s := stored{Kind: o.kind(), Shown: mustEncode(o)}
	if h, ok := o.(secretive); ok {
		s.Hidden = mustEncode(h.hidden())
	}
	return s
}

// mustEncode panics only if a type of this package cannot be encoded at all.
func mustEncode(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return raw
}

func (e entry) empty() bool {
	return len(e.Put)+len(e.Drop)+len(e.Event) == 0 && e.Sent == nil && e.Reply == nil
}

func (e entry) line() []byte { return append(mustEncode(e), '\n') }

// journal is the open state file; nil keeps nothing. After a write that failed
// it takes no other, which would follow a torn line.
type journal struct {
	file   *os.File
	failed error
}

// openJournal reads the file into the state and writes it anew without what is
// superseded or too old.
func openJournal(path string, s *state, now time.Time) (*journal, error) {
	if path == "" {
		return nil, nil
	}
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := s.replay(content); err != nil {
		return nil, fmt.Errorf("read state %s: %w", path, err)
	}
	s.rebuild()
	s.replies.prune(now)
	s.events.prune(now)
	if err := s.compact(path); err != nil {
		return nil, fmt.Errorf("write state: %w", err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return &journal{file: file}, nil
}

// replay applies every whole line. Only the last may be torn.
func (s *state) replay(content []byte) error {
	for number := 1; len(content) > 0; number++ {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		content = rest
		if !whole {
			return nil
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := s.apply(e); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

func (s *state) apply(e entry) error {
	for _, o := range e.Put {
		shelf, ok := s.shelves[o.Kind]
		if !ok {
			return fmt.Errorf("unknown kind %q", o.Kind)
		}
		if err := shelf.load(o.Shown, o.Hidden); err != nil {
			return err
		}
	}
	for _, o := range e.Drop {
		s.shelves[o.Kind].drop(o.ID)
	}
	for at, one := range e.Event {
		if one.As > at || (one.Object == nil) != (one.As > 0) {
			return fmt.Errorf("event %s has no object", one.Event.ID)
		}
		if one.As > 0 {
			one.Object = e.Event[at-one.As].Object
			e.Event[at].Object = one.Object
		}
		one.Event.Data.Object, one.Event.Waiting, one.Event.Missed = one.Object, one.Waiting, one.Missed
		s.events.add(&one.Event)
	}
	if e.Sent != nil {
		s.events.settle(*e.Sent)
	}
	if e.Reply != nil {
		s.replies.put(e.Reply)
	}
	return nil
}

func (j *journal) append(e entry) error {
	if j == nil || e.empty() {
		return nil
	}
	if j.failed == nil {
		_, j.failed = j.file.Write(e.line())
	}
	return j.failed
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
