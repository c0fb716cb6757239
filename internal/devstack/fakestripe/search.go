package fakestripe

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// searchLag is how far search is behind every write: Stripe's is normally within a
// minute, and never to be relied on after one.
const searchLag = time.Minute

// searchIndex is what search knows of invoices.
type searchIndex struct {
	known  map[string]map[string]string // facts by invoice
	coming []indexing
}

// indexing is what search will know at a time; no facts is a deletion.
type indexing struct {
	at      time.Time
	invoice string
	facts   map[string]string
}

// note has a write found once search has caught up.
func (x *searchIndex) note(inv *invoice, facts map[string]string, now time.Time) {
	x.coming = append(x.coming, indexing{now.Add(searchLag), inv.ID, facts})
	x.catchUp(now)
}

func (x *searchIndex) catchUp(now time.Time) {
	for len(x.coming) > 0 && !x.coming[0].at.After(now) {
		next := x.coming[0]
		x.coming[0] = indexing{}
		x.coming = x.coming[1:]
		if next.facts == nil {
			delete(x.known, next.invoice)
		} else {
			x.known[next.invoice] = next.facts
		}
	}
}

// searchable are the facts by which an invoice is found now.
func searchable(inv *invoice) map[string]string {
	facts := map[string]string{
		"customer": inv.Customer, "status": inv.Status, "currency": inv.Currency, "number": string(inv.Number),
	}
	for key, value := range inv.Metadata {
		facts["metadata."+key] = value
	}
	return facts
}

// searchTerm is field:'value' or metadata['key']:'value'.
var searchTerm = regexp.MustCompile(`^\s*(?:(customer|status|currency|number)|metadata\[["']([^"']+)["']\])\s*:\s*["']([^"']*)["']\s*$`)

type searchResult struct {
	Object   string            `json:"object"`
	Data     []json.RawMessage `json:"data"`
	HasMore  bool              `json:"has_more"`
	NextPage text              `json:"next_page"`
	URL      string            `json:"url"`
}

// searchInvoices understands terms joined by AND. It shows the invoices as they are,
// and finds them by what they were a minute ago.
func searchInvoices(t *tx, r *request) (any, *apiError) {
	keep, err := parseSearch(r.text("query"))
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(r)
	if err != nil {
		return nil, err
	}
	t.search.catchUp(t.wall)
	out := &searchResult{Object: "search_result", Data: []json.RawMessage{}, URL: r.url}
	from := len(t.invoices.rows)
	if at, ok := t.invoices.index[r.text("page")]; ok {
		from = at
	}
	for at, inv := range t.invoices.newest("") {
		if at >= from || !keep(t.search.known[inv.ID]) {
			continue
		}
		if len(out.Data) == limit {
			out.HasMore = true
			break
		}
		out.Data = append(out.Data, t.render(inv))
		out.NextPage = text(inv.ID)
	}
	if !out.HasMore {
		out.NextPage = ""
	}
	return out, nil
}

func parseSearch(query string) (func(facts map[string]string) bool, *apiError) {
	var terms [][]string
	for term := range strings.SplitSeq(query, " AND ") {
		parts := searchTerm.FindStringSubmatch(term)
		if parts == nil {
			return nil, invalid("query", "", "We were unable to parse your search query: %q. The local Stripe "+
				"understands field:'value' and metadata['key']:'value' joined by AND.", term)
		}
		terms = append(terms, parts[1:])
	}
	return func(facts map[string]string) bool {
		for _, term := range terms {
			name := term[0]
			if term[1] != "" {
				name = "metadata." + term[1]
			}
			if have, ok := facts[name]; !ok || have != term[2] {
				return false
			}
		}
		return true
	}, nil
}
