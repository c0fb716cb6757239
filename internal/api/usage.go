package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/usage"
)

const (
	// maxEvents is how many events one request may carry.
	maxEvents = 10_000
	// storeTimeout bounds one request's work in the database.
	storeTimeout = 30 * time.Second
)

// usage stores the events of a body and answers each. A body that cannot be
// taken as a whole is refused as a whole; one bad event costs only itself.
func (s *server) usage(w http.ResponseWriter, r *http.Request) {
	reserved, ok := s.budget.reserve()
	if !ok {
		s.refuse(w, r, errBusy)
		return
	}
	defer reserved.release()
	format, refusal := formatOf(r)
	if refusal != nil {
		s.fail(w, r, refusal.status, refusal.message, refusal.field)
		return
	}
	body, ok := s.bodyOrRefuse(w, r, reserved)
	if !ok {
		return
	}
	events, err := format.split(r, body)
	switch {
	case err != nil:
		s.fail(w, r, http.StatusBadRequest, err.Error(), "")
		return
	case len(events) == 0:
		s.fail(w, r, http.StatusBadRequest, "the body holds no event", "")
		return
	case len(events) > maxEvents:
		s.fail(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body holds more than %d events", maxEvents), "")
		return
	case !reserved.grow(len(events) * eventBytes):
		s.refuse(w, r, errBusy)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	results, err := s.store(ctx, format.source, events)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeResults(w, results)
}

// refusal is why a whole body is not taken.
type refusal struct {
	status         int
	message, field string
}

// overBudget refuses a body that is well, for now.
var overBudget = &refusal{status: http.StatusServiceUnavailable}

// body reads what was sent, unzipped, or says why it is not taken.
func (s *server) body(w http.ResponseWriter, r *http.Request, reserved *reservation) ([]byte, *refusal) {
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", s.MaxBody), ""}
	var source io.Reader = http.MaxBytesReader(w, r.Body, s.MaxBody)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(source)
		if err != nil {
			return nil, unreadable(err, tooLarge)
		}
		source = io.LimitReader(unzipped, s.MaxBody+1)
	default:
		return nil, &refusal{http.StatusUnsupportedMediaType, "accepted: gzip, or none", "Content-Encoding"}
	}
	body, err := reserved.readAll(source)
	switch {
	case errors.Is(err, errBusy):
		return nil, overBudget
	case err != nil:
		return nil, unreadable(err, tooLarge)
	case int64(len(body)) > s.MaxBody:
		return nil, tooLarge
	}
	return body, nil
}

// bodyOrRefuse reads what was sent, or answers why it is not taken.
func (s *server) bodyOrRefuse(w http.ResponseWriter, r *http.Request, reserved *reservation) (body []byte, ok bool) {
	body, refusal := s.body(w, r, reserved)
	switch {
	case refusal == overBudget:
		s.refuse(w, r, errBusy)
	case refusal != nil:
		s.fail(w, r, refusal.status, refusal.message, refusal.field)
	default:
		return body, true
	}
	return nil, false
}

// format is how the events of a body are written.
type format struct {
	source billing.UsageSource
	split  func(r *http.Request, body []byte) ([]event, error)
}

func formatOf(r *http.Request) (format, *refusal) {
	if isCloudEvents(r) {
		return format{billing.SourceCloudEvents, splitCloudEvents}, nil
	}
	if _, ok := contentType(r); ok {
		return format{billing.SourceAPI, split}, nil
	}
	return format{}, &refusal{
		http.StatusUnsupportedMediaType,
		"accepted: application/x-ndjson or application/json; for CloudEvents application/cloudevents+json or application/cloudevents-batch+json",
		"Content-Type",
	}
}

func unreadable(err error, tooLarge *refusal) *refusal {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge
	}
	return &refusal{http.StatusBadRequest, "the body cannot be read: it ends early, or is not what its headers say", ""}
}

const ndjson = "application/x-ndjson"

// contentType is ndjson or application/json; ok is false for anything else.
func contentType(r *http.Request) (kind string, ok bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch strings.ToLower(kind) {
	case ndjson, "application/ndjson", "application/jsonl":
		return ndjson, err == nil
	case "application/json":
		return kind, err == nil
	}
	return "", false
}

// event is one event of a body, decoded.
type event struct {
	raw       []byte
	event     billing.Event
	rejection *usage.Rejection
}

// split takes a body apart: the entries of an array, or the lines. It stops
// after one more than may be: decoded, an event of two bytes takes hundreds.
func split(r *http.Request, body []byte) (events []event, err error) {
	if kind, _ := contentType(r); kind != ndjson && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) {
		elements, err := usage.Elements(body, maxEvents)
		if err != nil {
			return nil, err
		}
		for _, raw := range elements {
			events = append(events, decode(raw))
		}
		return events, nil
	}
	kept := make([]byte, 0, len(body)) // the lines, which Scan gives for a moment only; they are no longer than the body
	for line, err := range usage.Scan(bytes.NewReader(body), len(body)) {
		switch {
		case err != nil:
			return nil, err
		case line.Rejection != nil:
			events = append(events, event{rejection: line.Rejection})
		default:
			from := len(kept)
			kept = append(kept, line.Bytes...)
			events = append(events, decode(kept[from:len(kept):len(kept)]))
		}
		if len(events) > maxEvents {
			break
		}
	}
	return events, nil
}

func decode(raw []byte) event {
	decoded, rejection := usage.Decode(raw)
	return event{raw, decoded, rejection}
}

// store stores the events of a source, one transaction for each organisation, in
// the order in which these come.
func (s *server) store(ctx context.Context, source billing.UsageSource, events []event) ([]result, error) {
	results := make([]result, len(events))
	key := keyOf(ctx)
	byOrganization := map[string][]int{}
	var organizations []string
	for i, e := range events {
		results[i] = result{Index: i, ID: nonEmpty(e.event.ID)}
		if e.rejection == nil {
			e.rejection = key.claim(&events[i].event)
		}
		if e.rejection != nil {
			results[i].answer(billing.UsageAnswer{Status: billing.UsageRejected, Field: e.rejection.Field, Reason: e.rejection.Reason})
			continue
		}
		if byOrganization[e.event.Organization] == nil {
			organizations = append(organizations, e.event.Organization)
		}
		byOrganization[e.event.Organization] = append(byOrganization[e.event.Organization], i)
	}
	for _, organization := range organizations {
		indexes := byOrganization[organization]
		batch := make([]billing.UsageItem, len(indexes))
		for n, i := range indexes {
			batch[n] = billing.UsageItem{Event: events[i].event, Raw: events[i].raw, Source: source}
		}
		var answers []billing.UsageAnswer
		err := noOrganization(organization)
		if key.opens(organization) {
			answers, err = s.posts.StoreUsage(ctx, organization, batch)
		}
		unknown := errors.Is(err, billing.ErrNotFound)
		if err != nil && !unknown {
			return nil, err
		}
		for n, i := range indexes {
			if unknown {
				results[i].answer(billing.UsageAnswer{Status: billing.UsageRejected, Field: "organization", Reason: fmt.Sprintf("%q does not exist", organization)})
				continue
			}
			results[i].answer(answers[n])
		}
	}
	return results, nil
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
