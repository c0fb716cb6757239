package otlp

import (
	"errors"
	"fmt"
	"strings"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resources "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// Export is what an export of log records holds.
type Export struct {
	Requests []Request // in the order of their records
	GenAI    int       // records of the GenAI conventions, which are not billed
	Others   int       // records of other events
}

// ErrTooMany is an export with more records than are taken at once.
var ErrTooMany = errors.New("too many records")

// maxValues is how many attributes and values one record may have, so that what it
// takes in memory is in proportion to what it says.
const maxValues = 2000

// Read finds the requests in an export of a content type, JSON or Protobuf, with
// most records at most. An error is an export that cannot be read as a whole, or
// ErrTooMany; a record that cannot be read is a request with a reason.
func Read(body []byte, contentType string, most int) (Export, error) {
	r := reader{encoding: protobuf{}, most: most}
	if contentType == JSON {
		r.encoding = jsonProtobuf{}
	}
	err := r.each(body, resourceLogs, r.resource)
	return r.export, err
}

// reader reads one export.
type reader struct {
	encoding
	most    int
	records int
	export  Export
}

// resource reads the records of one resource, whose attributes speak for all of them.
func (r *reader) resource(message []byte) error {
	var from resources.Resource
	if err := r.each(message, resource, func(text []byte) error {
		return r.bounded(text, resourceKind, &from)
	}); err != nil {
		return err
	}
	attributes := attributesOf(from.GetAttributes())
	return r.each(message, scopeLogs, func(text []byte) error { return r.scope(text, attributes) })
}

func (r *reader) scope(message []byte, resource attributes) error {
	var by common.InstrumentationScope
	if err := r.each(message, scope, func(text []byte) error {
		return r.bounded(text, scopeKind, &by)
	}); err != nil {
		return err
	}
	return r.each(message, logRecords, func(text []byte) error {
		if r.records++; r.records > r.most {
			return fmt.Errorf("%w: accepted: at most %d", ErrTooMany, r.most)
		}
		r.record(text, by.GetName(), resource)
		return nil
	})
}

// bounded decodes a message, unless it holds more than it could mean.
func (r *reader) bounded(message []byte, of kind, into proto.Message) error {
	if r.values(message, of, maxValues) > maxValues {
		return fmt.Errorf("%w: more than %d values in one place", errBroken, maxValues)
	}
	if err := r.decode(message, into); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return nil
}

// record reads one record. What cannot be read may have been a request, and is
// told to the sender as one.
func (r *reader) record(message []byte, scope string, resource attributes) {
	var record logs.LogRecord
	if err := r.bounded(message, recordKind, &record); err != nil {
		r.export.Requests = append(r.export.Requests, Request{Problem: &Problem{Reason: fmt.Sprintf("%.200s", err)}})
		return
	}
	attributes := attributesOf(record.GetAttributes())
	switch {
	case isRequest(&record, scope, attributes):
		r.export.Requests = append(r.export.Requests, requestOf(&record, attributes, resource))
	case isGenAI(&record, attributes):
		r.export.GenAI++
	default:
		r.export.Others++
	}
}

// What a billable record is called, and by whom. Up to 2.1.332 the whole name is
// in the body, and the attribute event.name is "api_request"; EventName is where
// the data model of logs has it now.
const (
	requestEvent = "claude_code.api_request"
	shortEvent   = "api_request"
	claudeScope  = "com.anthropic.claude_code.events"
)

func isRequest(record *logs.LogRecord, scope string, attributes attributes) bool {
	name := attributes.text("event.name")
	return record.GetEventName() == requestEvent || name == requestEvent || record.GetBody().GetStringValue() == requestEvent ||
		scope == claudeScope && (name == shortEvent || record.GetEventName() == shortEvent)
}

// isGenAI reports whether a record counts tokens by the GenAI conventions.
func isGenAI(record *logs.LogRecord, attributes attributes) bool {
	if strings.HasPrefix(record.GetEventName(), "gen_ai.") || strings.HasPrefix(attributes.text("event.name"), "gen_ai.") {
		return true
	}
	for name := range attributes {
		if strings.HasPrefix(name, "gen_ai.usage.") {
			return true
		}
	}
	return false
}
