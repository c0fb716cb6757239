package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/arrears-dev/arrears/internal/usage"
)

// CloudEvents come in three modes
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md):
// one event in a JSON object, a batch in a JSON array, or the data as the body and
// everything else in headers.
const (
	structuredMode = cloudevent.ApplicationCloudEventsJSON
	batchMode      = cloudevent.ApplicationCloudEventsBatchJSON
	binaryMarker   = "Ce-Specversion"
)

func isCloudEvents(r *http.Request) bool {
	kind := modeOf(r)
	return kind == structuredMode || kind == batchMode || r.Header.Get(binaryMarker) != ""
}

func modeOf(r *http.Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind
}

// splitCloudEvents makes usage events of the CloudEvents of a body.
func splitCloudEvents(r *http.Request, body []byte) ([]event, error) {
	switch modeOf(r) {
	case structuredMode:
		return []event{fromCloudEvent(structured(body))}, nil
	case batchMode:
		elements, err := usage.Elements(body, maxEvents)
		if err != nil {
			return nil, err
		}
		events := make([]event, len(elements))
		for i, raw := range elements {
			events[i] = fromCloudEvent(structured(raw))
		}
		return events, nil
	}
	return []event{fromCloudEvent(binary(r, body))}, nil
}

func structured(raw []byte) (*cloudevent.Event, *usage.Rejection) {
	if len(raw) > usage.MaxLine {
		return nil, tooLong
	}
	var ce cloudevent.Event
	if err := ce.UnmarshalJSON(raw); err != nil {
		return nil, &usage.Rejection{Reason: fmt.Sprintf("is no CloudEvent: %.200q; accepted: a JSON object with specversion, id, source, type and data", err)}
	}
	return checked(&ce)
}

// tooLong keeps what an event takes in memory in proportion to the body.
var tooLong = &usage.Rejection{Reason: fmt.Sprintf("is larger than %d bytes", usage.MaxLine)}

// headerValue decodes the value of an attribute's header, which the SDK leaves to
// its caller: it may be a quoted string, and is percent-encoded UTF-8 (section
// 3.1.3.2 of the binding).
func headerValue(value string) (text string, ok bool) {
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(value[1 : len(value)-1])
	}
	text, err := url.PathUnescape(value)
	return text, err == nil && utf8.ValidString(text)
}

// binary reads an event from its headers.
func binary(r *http.Request, body []byte) (*cloudevent.Event, *usage.Rejection) {
	if len(body) > usage.MaxLine {
		return nil, tooLong
	}
	header := http.Header{"Content-Type": r.Header.Values("Content-Type")}
	for name, values := range r.Header {
		if attribute, ok := strings.CutPrefix(name, "Ce-"); !ok || attribute == "" {
			continue
		}
		decoded, ok := headerValue(values[0])
		if !ok {
			return nil, &usage.Rejection{Field: strings.ToLower(name), Reason: "is not as the binding wants it; accepted: UTF-8, percent-encoded where it is not ASCII"}
		}
		header[name] = []string{decoded}
	}
	if len(header["Content-Type"]) == 0 {
		delete(header, "Content-Type")
	}
	ce, err := binding.ToEvent(context.WithoutCancel(r.Context()), cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body))))
	if err != nil {
		return nil, &usage.Rejection{Reason: fmt.Sprintf("is no CloudEvent: %.200q; accepted: headers ce-specversion, ce-id, ce-source, ce-type, and the data as the body", err)}
	}
	return checked(ce)
}

// checked refuses an event that lacks what every CloudEvent has, by the first
// attribute at fault, or whose data is not JSON.
func checked(ce *cloudevent.Event) (*cloudevent.Event, *usage.Rejection) {
	var wrong cloudevent.ValidationError
	if errors.As(ce.Validate(), &wrong) {
		field := slices.Min(slices.Collect(maps.Keys(wrong)))
		return ce, &usage.Rejection{Field: field, Reason: fmt.Sprintf("%.200s", wrong[field])}
	}
	kind := strings.ToLower(ce.DataMediaType())
	if kind != "" && kind != "application/json" && kind != "text/json" && !strings.HasSuffix(kind, "+json") {
		return ce, &usage.Rejection{Field: "datacontenttype", Reason: fmt.Sprintf("is %.100q; accepted: application/json, or none", kind)}
	}
	return ce, nil
}

// cloudEventID is the id of the usage event: a CloudEvent is identified by its
// source and its id together
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#id).
// Where that is long, or a '#' in the source leaves open where the id begins, it is
// a digest.
func cloudEventID(source, id string) string {
	if plain := source + "#" + id; len(plain) <= usage.MaxEventID && !strings.Contains(source, "#") {
		return plain
	}
	sum := sha256.Sum256([]byte(source + "\x00" + id))
	return "ce_" + hex.EncodeToString(sum[:])
}

// fromCloudEvent makes a usage event of a CloudEvent's data. The id is made of
// source and id; time and subject stand in for an occurred_at and a user that the
// data does not have.
func fromCloudEvent(ce *cloudevent.Event, rejection *usage.Rejection) event {
	if rejection != nil {
		e := event{rejection: rejection}
		if ce != nil && ce.ID() != "" && ce.Source() != "" {
			e.event.ID = cloudEventID(ce.Source(), ce.ID())
		}
		return e
	}
	id := cloudEventID(ce.Source(), ce.ID())
	var data map[string]jsontext.Value
	if err := json.Unmarshal(ce.Data(), &data); err != nil || data == nil {
		return rejected(id, "data", "is no usage event; accepted: one JSON object, each key once")
	}
	given := func(name string) bool {
		value, ok := data[name]
		return ok && value.Kind() != 'n' && string(value) != `""`
	}
	set := func(name, text string) { data[name], _ = json.Marshal(text) } // of text that is not UTF-8 nothing is set, which is refused
	var named string
	if given("id") && (json.Unmarshal(data["id"], &named) != nil || named != ce.ID()) {
		return rejected(id, "id", fmt.Sprintf("is not the CloudEvent's own; accepted: %.200q, or none", ce.ID()))
	}
	set("id", id)
	if !given("occurred_at") && !ce.Time().IsZero() {
		set("occurred_at", ce.Time().UTC().Format(time.RFC3339Nano))
	}
	if !given("user") && !given("retracts") && ce.Subject() != "" {
		set("user", ce.Subject())
	}
	raw, err := json.Marshal(data, json.Deterministic(true))
	if err != nil {
		return rejected(id, "data", "is no usage event; accepted: one JSON object in UTF-8")
	}
	return decode(raw)
}

func rejected(id, field, reason string) (e event) {
	e.event.ID, e.rejection = id, &usage.Rejection{Field: field, Reason: reason}
	return e
}
