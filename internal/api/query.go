package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxParameter is the longest value of a query parameter, in bytes.
const maxParameter = 1000

// checkQuery refuses a query that the request's route does not take: nothing that
// a caller asks for is silently left out. Each parameter that the route declares
// may be there once, with plain text as its value.
func (s *server) checkQuery(r *http.Request) *refusal {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badQuery("", "the query cannot be read; accepted: name=value with %%-escapes, and & between parameters")
	}
	accepted := s.parameters[r.Pattern]
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		switch {
		case !slices.Contains(accepted, name) && len(accepted) == 0:
			return badQuery(name, "%s: accepted here: no query parameters", showName(name))
		case !slices.Contains(accepted, name):
			return badQuery(name, "%s: accepted: %s", showName(name), strings.Join(accepted, ", "))
		case len(values) > 1:
			return badQuery(name, "%s: it is given %d times; accepted: once", name, len(values))
		case name == "user" && values[0] != "" && !isShort(values[0]):
			return badQuery(name, "%s: accepted: 1 to 200 bytes of text without control characters", name)
		case len(values[0]) > maxParameter || !isPlain(values[0]):
			return badQuery(name, "%s: accepted: at most %d bytes of text without control characters", name, maxParameter)
		}
	}
	return nil
}

func badQuery(field, format string, args ...any) *refusal {
	if !isShort(field) {
		field = ""
	}
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...), field}
}

// isShort reports whether a text may stand in a message as it is.
func isShort(text string) bool { return text != "" && len(text) <= 200 && isPlain(text) }

// showName is the name of a parameter as a message may show it.
func showName(name string) string {
	if isShort(name) {
		return name
	}
	return strconv.Quote(name[:min(len(name), 40)])
}
