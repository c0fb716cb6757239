package fakestripe

import (
	"encoding/json"
	"iter"
)

const (
	pageDefault = 10
	pageMost    = 100
)

// list is Stripe's envelope around a page.
type list struct {
	Object  string            `json:"object"`
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
	URL     string            `json:"url"`
}

// page answers a list request. The rows come in the order of the list, with
// positions that fall from row to row; position finds a cursor's.
func page[T object](
	t *tx, r *request, rows iter.Seq2[int, T], position func(id string) (int, bool), keep func(T) bool,
) (any, *apiError) {
	limit, err := pageLimit(r)
	if err != nil {
		return nil, err
	}
	after, before, err := pageCursors(r, position)
	if err != nil {
		return nil, err
	}
	found := []T{}
	more := false
	for at, row := range rows {
		if (after != nil && at >= *after) || !keep(row) {
			continue
		}
		if before != nil && at <= *before {
			break
		}
		if len(found) < limit {
			found = append(found, row)
			continue
		}
		more = true
		if before == nil {
			break
		}
		// Before a cursor, the page is what lies next to it.
		found = append(found[1:], row)
	}
	return envelope(t, r.url, found, more), nil
}

func envelope[T object](t *tx, url string, rows []T, more bool) *list {
	out := &list{Object: "list", Data: make([]json.RawMessage, 0, len(rows)), HasMore: more, URL: url}
	for _, row := range rows {
		out.Data = append(out.Data, t.render(row))
	}
	return out
}

func pageLimit(r *request) (int, *apiError) {
	if !r.has("limit") {
		return pageDefault, nil
	}
	limit := r.integer("limit")
	if limit < 1 || limit > pageMost {
		return 0, invalid("limit", "parameter_invalid_integer",
			"Invalid integer: limit must be between 1 and %d", pageMost)
	}
	return int(limit), nil
}

func pageCursors(r *request, position func(string) (int, bool)) (after, before *int, err *apiError) {
	if r.has("starting_after") && r.has("ending_before") {
		return nil, nil, invalid("ending_before", "parameters_exclusive",
			"You may only specify one of these parameters: starting_after, ending_before.")
	}
	for name, cursor := range map[string]**int{"starting_after": &after, "ending_before": &before} {
		if !r.has(name) {
			continue
		}
		at, ok := position(r.text(name))
		if !ok {
			return nil, nil, badReference("object", r.text(name), name)
		}
		*cursor = &at
	}
	return after, before, nil
}

// inRange reports whether a time agrees with name, name[gte] and the like.
func (p params) inRange(name string, at instant) bool {
	bound := func(suffix string, holds func(int64) bool) bool {
		return !p.has(name+suffix) || holds(p.integer(name+suffix))
	}
	n := int64(at)
	return bound("", func(b int64) bool { return n == b }) &&
		bound("[gt]", func(b int64) bool { return n > b }) &&
		bound("[gte]", func(b int64) bool { return n >= b }) &&
		bound("[lt]", func(b int64) bool { return n < b }) &&
		bound("[lte]", func(b int64) bool { return n <= b })
}

// where adapts the common case: rows of a table, one owner or all.
func where[T object](t *tx, r *request, rows *table[T], owner string, keep func(T) bool) (any, *apiError) {
	position := func(id string) (int, bool) { at, ok := rows.index[id]; return at, ok }
	return page(t, r, rows.newest(owner), position, keep)
}
