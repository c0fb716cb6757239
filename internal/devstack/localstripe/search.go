package localstripe

import (
	"encoding/json"
	"regexp"
	"strings"
)

// searchTerm is field:'value' or metadata['key']:'value'.
var searchTerm = regexp.MustCompile(`^\s*(?:(customer|status|currency|number)|metadata\[["']([^"']+)["']\])\s*:\s*["']([^"']*)["']\s*$`)

type searchResult struct {
	Object   string            `json:"object"`
	Data     []json.RawMessage `json:"data"`
	HasMore  bool              `json:"has_more"`
	NextPage text              `json:"next_page"`
	URL      string            `json:"url"`
}

// searchInvoices understands terms joined by AND. It sees every write at once;
// Stripe's search lags.
func searchInvoices(t *tx, r *request) (any, *apiError) {
	keep, err := parseSearch(r.text("query"))
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(r)
	if err != nil {
		return nil, err
	}
	out := &searchResult{Object: "search_result", Data: []json.RawMessage{}, URL: r.url}
	from := len(t.invoices.rows)
	if at, ok := t.invoices.index[r.text("page")]; ok {
		from = at
	}
	for at, inv := range t.invoices.newest("") {
		if at >= from || !keep(inv) {
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

func parseSearch(query string) (func(*invoice) bool, *apiError) {
	var terms [][]string
	for term := range strings.SplitSeq(query, " AND ") {
		parts := searchTerm.FindStringSubmatch(term)
		if parts == nil {
			return nil, invalid("query", "", "We were unable to parse your search query: %q. The local Stripe "+
				"understands field:'value' and metadata['key']:'value' joined by AND.", term)
		}
		terms = append(terms, parts[1:])
	}
	return func(inv *invoice) bool {
		shown := map[string]string{
			"customer": inv.Customer, "status": inv.Status, "currency": inv.Currency, "number": string(inv.Number),
		}
		for _, term := range terms {
			have, ok := shown[term[0]]
			if term[1] != "" {
				have, ok = inv.Metadata[term[1]]
			}
			if !ok || have != term[2] {
				return false
			}
		}
		return true
	}, nil
}
