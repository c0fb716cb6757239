package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/otlp"
)

// logsPath is where exporters send log records, behind the endpoint that they are
// configured with (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request).
const logsPath = "/v1/logs"

// logs stores the requests that an export of log records reports.
//
// Records that are none are left alone: an exporter sends all of a program's
// records or none. Those that cannot be taken are told as a partial success, which
// is 200, since the sender must not send the others again
// (https://opentelemetry.io/docs/specs/otlp/#partial-success-1).
func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	reserved, ok := s.budget.reserve()
	if !ok {
		s.refuse(w, r, errBusy)
		return
	}
	defer reserved.release()
	encoding, ok := otlpEncoding(r)
	if !ok {
		s.fail(w, r, http.StatusUnsupportedMediaType, "accepted: application/x-protobuf or application/json", "Content-Type")
		return
	}
	body, ok := s.bodyOrRefuse(w, r, reserved)
	if !ok {
		return
	}
	export, err := otlp.Read(body, encoding, maxEvents)
	switch {
	case errors.Is(err, otlp.ErrTooMany):
		s.fail(w, r, http.StatusRequestEntityTooLarge, err.Error(), "")
		return
	case err != nil:
		s.fail(w, r, http.StatusBadRequest, fmt.Sprintf("the body is no export of log records: %.300s", err), "")
		return
	case !reserved.grow(len(export.Requests) * eventBytes):
		s.refuse(w, r, errBusy)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	events := make([]event, len(export.Requests))
	for i := range export.Requests {
		events[i] = eventOf(keyOf(ctx), &export.Requests[i])
	}
	results, err := s.store(ctx, billing.SourceOTLP, events)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.Log.Debug("log records", "request_id", requestID(r), "requests", len(results), "gen_ai", export.GenAI, "others", export.Others)
	writeOTLP(w, encoding, http.StatusOK, exportAnswer(&export, results))
}

// otlpEncoding is how a request is encoded, and how it is answered.
func otlpEncoding(r *http.Request) (contentType string, ok bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind, err == nil && (kind == otlp.JSON || kind == otlp.Protobuf)
}

// eventOf makes a usage event of a request: of the organisation and the member of
// the key, or, where the key leaves that open, of those that the resource names.
func eventOf(key *Key, r *otlp.Request) event {
	if r.Problem != nil {
		return rejected(r.ID, r.Problem.Field, r.Problem.Reason)
	}
	organization := key.Organization
	switch {
	case organization == "" && r.Organization == "":
		return rejected(r.ID, "arrears.organization", "is required of the resource with a key that opens every organization; it is missing")
	case organization == "":
		organization = r.Organization
	case r.Organization != "" && r.Organization != organization:
		return rejected(r.ID, "arrears.organization", fmt.Sprintf("is %.100q, and the key opens %q; accepted: the same, or none", r.Organization, organization))
	}
	user := r.User
	if user == "" && key.Member == "" {
		user = r.Account
	}
	e := decode(r.Event(organization, user))
	e.event.StatedCost = r.StatedCost
	return e
}

// How many of the records that were not taken an answer names, and how much it says
// of each, in characters.
const (
	maxComplaints    = 5
	longestComplaint = 400
)

// exportAnswer counts what was not taken, and says of the first few why. A repeated
// request was taken before, and one without a price is kept until it has one. With
// nothing refused, a message is a warning.
func exportAnswer(export *otlp.Export, results []result) *collector.ExportLogsServiceResponse {
	var refused int64
	var why []string
	for i := range results {
		result := &results[i]
		if result.Status != "rejected" && result.Status != "conflict" {
			continue
		}
		if refused++; refused <= maxComplaints {
			why = append(why, complaint(result))
		}
	}
	if refused > maxComplaints {
		why = append(why, fmt.Sprintf("and %d more", refused-maxComplaints))
	}
	if export.GenAI > 0 {
		why = append(why, fmt.Sprintf("%d records of the GenAI conventions are not billed: their input tokens include the cache; accepted: claude_code.api_request", export.GenAI))
	}
	if len(why) == 0 {
		return &collector.ExportLogsServiceResponse{}
	}
	return &collector.ExportLogsServiceResponse{PartialSuccess: &collector.ExportLogsPartialSuccess{
		RejectedLogRecords: refused, ErrorMessage: strings.Join(why, "; "),
	}}
}

// complaint says why a request was not taken.
func complaint(r *result) string {
	var parts []string
	for _, part := range []*string{r.ID, r.Field, r.Reason} {
		if part != nil {
			parts = append(parts, *part)
		}
	}
	return strings.ToValidUTF8(fmt.Sprintf("%.*s", longestComplaint, strings.Join(parts, ": ")), "")
}

// writeStatus answers an error as OTLP wants it, as a google.rpc.Status in the
// request's own encoding, or in JSON where that is none of ours. Its code is left
// open: clients go by the status of HTTP, and try again after 429, 502, 503 and 504
// only (https://opentelemetry.io/docs/specs/otlp/#failures-1).
func writeStatus(w http.ResponseWriter, r *http.Request, code int, message, field string) {
	if field != "" {
		message = field + ": " + message
	}
	encoding, ok := otlpEncoding(r)
	if !ok {
		encoding = otlp.JSON
	}
	writeOTLP(w, encoding, code, &rpc.Status{Message: message})
}

func writeOTLP(w http.ResponseWriter, encoding string, code int, message proto.Message) {
	marshal := proto.Marshal
	if encoding == otlp.JSON {
		marshal = protojson.Marshal
	}
	body, err := marshal(message)
	if err != nil { // cannot happen: valid UTF-8
		code, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", encoding)
	w.WriteHeader(code)
	_, _ = w.Write(body) // the reader is gone, and so is nobody else
}
