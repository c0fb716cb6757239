package fakestripe

import (
	"encoding/json"
	"iter"
)

// object is one thing that Stripe keeps.
type object interface {
	kind() string
	key() string
	// owner is what it belongs to and is listed by, mostly a customer, or "".
	owner() string
}

// secretive is an object with a part that the API never shows but a restart
// must not lose.
type secretive interface{ hidden() any }

// table keeps the objects of one kind in the order in which they were made.
type table[T object] struct {
	create func() T
	rows   []T
	filed  []string // the owner under whom each row is filed
	index  map[string]int
	owned  map[string][]int
}

func newTable[T object](create func() T) *table[T] {
	return &table[T]{create: create, index: map[string]int{}, owned: map[string][]int{}}
}

func (t *table[T]) get(id string) (T, bool) {
	at, ok := t.index[id]
	if !ok {
		var none T
		return none, false
	}
	return t.rows[at], true
}

func (t *table[T]) put(o object) {
	row := o.(T)
	if at, ok := t.index[row.key()]; ok {
		t.rows[at] = row
		t.file(row.owner(), at)
		return
	}
	at := len(t.rows)
	t.rows = append(t.rows, row)
	t.filed = append(t.filed, "")
	t.index[row.key()] = at
	t.file(row.owner(), at)
}

// file puts a row under its owner. A payment method gets its owner late and may
// lose it, so that reading checks the owner again.
func (t *table[T]) file(owner string, at int) {
	if owner != "" && t.filed[at] != owner {
		t.filed[at] = owner
		t.owned[owner] = append(t.owned[owner], at)
	}
}

func (t *table[T]) drop(id string) { delete(t.index, id) }

// newest walks from the newest to the oldest, over one owner's rows if owner is
// not empty. The position in the table goes with each, as the paging cursor.
func (t *table[T]) newest(owner string) iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		positions := t.owned[owner]
		count := len(t.rows)
		if owner != "" {
			count = len(positions)
		}
		for i := count - 1; i >= 0; i-- {
			at := i
			if owner != "" {
				at = positions[i]
			}
			if !t.live(at) || (owner != "" && t.rows[at].owner() != owner) {
				continue
			}
			if !yield(at, t.rows[at]) {
				return
			}
		}
	}
}

// live reports whether the row at this position has not been dropped.
func (t *table[T]) live(at int) bool {
	now, ok := t.index[t.rows[at].key()]
	return ok && now == at
}

func (t *table[T]) load(shown, hidden json.RawMessage) error {
	row := t.create()
	if err := json.Unmarshal(shown, row); err != nil {
		return err
	}
	if s, ok := any(row).(secretive); ok && len(hidden) > 0 {
		if err := json.Unmarshal(hidden, s.hidden()); err != nil {
			return err
		}
	}
	t.put(row)
	return nil
}

func (t *table[T]) each(visit func(object)) {
	for at, row := range t.rows {
		if t.live(at) {
			visit(row)
		}
	}
}

// shelf is what the journal knows of a table.
type shelf interface {
	put(object)
	drop(id string)
	load(shown, hidden json.RawMessage) error
	each(func(object))
}
