package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// maxPage is how many rows one answer holds at most, and unless fewer are asked for.
const maxPage = 1000

// Page is the part of a list that is asked for.
type Page struct {
	After string // the position of the last row that was answered; "" = from the start
	Limit int
}

// filtersOf is what a cursor is bound to: the path and every parameter that says
// which rows a list has.
func filtersOf(r *http.Request) [sha256.Size]byte {
	query := r.URL.Query()
	query.Del("cursor")
	query.Del("limit")
	return sha256.Sum256([]byte(r.URL.Path + "?" + query.Encode()))
}

const filterBytes = 12 // of the hash: a mistake is found, and a cursor stays short

// pageOf reads which part of a list is asked for.
func pageOf(r *http.Request) (Page, error) {
	page := Page{Limit: maxPage}
	query := r.URL.Query()
	if query.Has("limit") {
		limit, err := strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > maxPage {
			return page, billing.Invalid("limit: accepted: a number from 1 to %d", maxPage)
		}
		page.Limit = limit
	}
	if !query.Has("cursor") {
		return page, nil
	}
	cursor, err := base64.RawURLEncoding.DecodeString(query.Get("cursor"))
	filters := filtersOf(r)
	if err != nil || len(cursor) <= filterBytes || string(cursor[:filterBytes]) != string(filters[:filterBytes]) {
		return page, billing.Invalid("cursor: it is not one of this list with these filters; accepted: the one of its answer before, with nothing else changed")
	}
	if page.After = string(cursor[filterBytes:]); !isPlain(page.After) {
		return page, billing.Invalid("cursor: it is not one of this list; accepted: the one of its answer before")
	}
	return page, nil
}

// linkNext names the rest of a list to those who want to go on: the answer itself
// stays a plain list.
func linkNext(w http.ResponseWriter, r *http.Request, last string) {
	if last == "" {
		return
	}
	filters := filtersOf(r)
	cursor := base64.RawURLEncoding.EncodeToString(append(filters[:filterBytes:filterBytes], last...))
	query := r.URL.Query()
	query.Set("cursor", cursor)
	next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	w.Header().Set("Next-Cursor", cursor)
}

// Rows returns the rows of a page out of a whole list, which is for lists that
// stay short, and the position of the last one where more follow. at gives each row its position; rows come in order of it, or the other
// way round, so that a row that came or went meanwhile moves no other.
func Rows[T any](rows []T, page Page, descending bool, at func(T) string) (part []T, last string) {
	part = []T{}
	for _, row := range rows {
		position := at(row)
		order := strings.Compare(position, page.After)
		if page.After != "" && (order == 0 || (order < 0) != descending) {
			continue
		}
		if len(part) == page.Limit {
			return part, at(part[len(part)-1])
		}
		part = append(part, row)
	}
	return part, ""
}

// Cut returns a page of rows that were read from the page's position on, one more
// than its limit where more follow, and the position of the last one then.
func Cut[T any](rows []T, page Page, at func(T) string) (part []T, last string) {
	if len(rows) <= page.Limit {
		return rows, ""
	}
	return rows[:page.Limit], at(rows[page.Limit-1])
}
