package usage

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Rejection says why an event was refused: which field, and what about it.
type Rejection struct {
	Field  string `json:"field"` // as usage.input_tokens; "" where the whole line is meant
	Reason string `json:"reason"`
}

// Error names the field and says what is wrong with it and what is accepted.
// A nil *Rejection is no rejection; test it before passing it on as an error.
func (r *Rejection) Error() string {
	if r.Field == "" {
		return r.Reason
	}
	return r.Field + ": " + r.Reason
}

// Unwrap makes every rejection a billing.ErrInvalid.
func (r *Rejection) Unwrap() error { return billing.ErrInvalid }

// Decode reads one event from one JSON object. It keeps no reference to line.
//
// A refused event carries only its ID and Organization, where these were
// readable, so that the answer can name it. The rejection names the first
// offence of the line, or, if the line is not JSON, says that and no more.
//
// Payload is set, as a copy, only together with UnknownCount, since the
// fingerprint then needs it. A caller that parks an event for another reason,
// such as a model without a price, sets Payload from the line itself, which it
// still has.
func Decode(line []byte) (billing.Event, *Rejection) {
	d := decoders.Get().(*decoder)
	event, rejection := d.decode(line)
	if len(line) <= maxPooledLine {
		decoders.Put(d)
	}
	return event, rejection
}

// maxPooledLine keeps the buffers of rare giants from staying around.
const maxPooledLine = 64 << 10

var decoders = sync.Pool{New: func() any { return newDecoder() }}

// decoder reads events one after the other. It is not safe for concurrent use.
type decoder struct {
	json    *jsontext.Decoder
	source  bytes.Buffer
	name    []byte // the last name that had escapes
	text    []byte // the last string that had escapes
	escapes bool   // the line has any

	event     billing.Event
	given     given
	writes    int64 // usage.cache_creation_input_tokens
	fetches   int64 // usage.server_tool_use.web_fetch_requests
	rejection *Rejection
	broken    bool // the line is not JSON: nothing more can be read

	organizations, products, models, tiers, users, labelNames, labelValues *interner
}

// given tells which fields had a value.
type given uint16

const (
	givenID given = 1 << iota
	givenOrganization
	givenOccurredAt
	givenProduct
	givenModel
	givenUsage
	givenInput
	givenOutput
	givenWrites // the total of cache writes
	givenSplit  // a part of it
)

var required = []struct {
	field string
	given given
}{
	{"id", givenID},
	{"organization", givenOrganization},
	{"occurred_at", givenOccurredAt},
	{"product", givenProduct},
	{"model", givenModel},
	{"usage", givenUsage},
	{"usage.input_tokens", givenInput},
	{"usage.output_tokens", givenOutput},
}

func newDecoder() *decoder {
	d := &decoder{
		organizations: newInterner(256), products: newInterner(64), models: newInterner(64),
		tiers: newInterner(16), users: newInterner(4096), labelNames: newInterner(64), labelValues: newInterner(1024),
	}
	d.json = jsontext.NewDecoder(&d.source)
	return d
}

func (d *decoder) decode(line []byte) (billing.Event, *Rejection) {
	d.begin()
	if d.plain(line) {
		if d.complete(line); d.rejection == nil {
			return d.event, nil
		}
	}
	return d.decodeWhole(line)
}

func (d *decoder) begin() {
	d.event, d.given, d.writes, d.fetches, d.rejection, d.broken = billing.Event{}, 0, 0, 0, nil, false
}

// decodeWhole reads a line of any shape, and says what is wrong with it.
func (d *decoder) decodeWhole(line []byte) (billing.Event, *Rejection) {
	d.source.Reset()
	d.source.Write(line)
	d.json.Reset(&d.source) // by default strict about duplicate names and UTF-8
	d.escapes = bytes.IndexByte(line, '\\') >= 0
	d.begin()

	d.line(line)
	if d.rejection == nil {
		d.complete(line)
	}
	if d.rejection != nil {
		return billing.Event{ID: d.event.ID, Organization: d.event.Organization}, d.rejection
	}
	return d.event, nil
}

// line reads the object and makes sure that nothing follows it.
func (d *decoder) line(line []byte) {
	if !utf8.Valid(line) {
		d.refuse("", "is not valid UTF-8")
		return
	}
	if kind := d.json.PeekKind(); kind != '{' {
		if d.value(); !d.broken {
			d.refuse("", "is "+kindName(byte(kind))+"; accepted: one JSON object")
		}
		return
	}
	d.envelope()
	if d.broken {
		return
	}
	switch _, err := d.json.ReadToken(); {
	case err == nil:
		d.fail("has more behind the JSON object; accepted: one object a line")
	case !errors.Is(err, io.EOF):
		d.failed(err)
	case d.rejection == nil && d.escapes && escapesNUL(line):
		d.refuse("", `holds the NUL character (\u0000)`)
	}
}

const envelopeFields = "id, organization, user, occurred_at, product, model, usage, speed, inference_geo, labels, retracts"

func (d *decoder) envelope() {
	for name := d.enter(""); name != nil; name = d.next() {
		switch string(name) {
		case "id":
			d.id()
		case "organization":
			d.event.Organization = d.interned("organization", givenOrganization, d.organizations, checkSlug)
		case "user":
			d.event.User = d.interned("user", 0, d.users, checkUser)
		case "occurred_at":
			d.occurredAt()
		case "product":
			d.event.Product = d.interned("product", givenProduct, d.products, checkName)
		case "model":
			d.event.Model = d.interned("model", givenModel, d.models, checkName)
		case "usage":
			d.usage()
		case "speed":
			d.speed("speed")
		case "inference_geo":
			d.inferenceGeo("inference_geo")
		case "labels":
			d.labels()
		case "retracts":
			d.retracts()
		default:
			d.refuse(printable(name), "is not a field of a usage event; accepted, in this spelling: "+envelopeFields)
			d.value()
		}
	}
}

func (d *decoder) usage() {
	if d.json.PeekKind() == '{' {
		d.given |= givenUsage
	}
	for name := d.enter("usage"); name != nil; name = d.next() {
		switch string(name) {
		case "input_tokens":
			d.count(&d.event.Quantities[billing.Input], "usage.input_tokens", givenInput)
		case "output_tokens":
			d.count(&d.event.Quantities[billing.Output], "usage.output_tokens", givenOutput)
		case "cache_read_input_tokens":
			d.count(&d.event.Quantities[billing.CacheRead], "usage.cache_read_input_tokens", 0)
		case "cache_creation_input_tokens":
			d.count(&d.writes, "usage.cache_creation_input_tokens", givenWrites)
		case "cache_creation":
			d.cacheCreation()
		case "server_tool_use":
			d.serverToolUse()
		case "service_tier":
			d.event.ServiceTier = d.interned("usage.service_tier", 0, d.tiers, checkTier)
		case "speed":
			d.speed("usage.speed")
		case "inference_geo":
			d.inferenceGeo("usage.inference_geo")
		default:
			d.unknown("", name, "input_tokens", "output_tokens", "cache_read_input_tokens",
				"cache_creation_input_tokens", "cache_creation", "server_tool_use", "service_tier", "speed", "inference_geo")
		}
	}
}

func (d *decoder) cacheCreation() {
	for name := d.enter("usage.cache_creation"); name != nil; name = d.next() {
		switch string(name) {
		case "ephemeral_5m_input_tokens":
			d.count(&d.event.Quantities[billing.CacheWrite5m], "usage.cache_creation.ephemeral_5m_input_tokens", givenSplit)
		case "ephemeral_1h_input_tokens":
			d.count(&d.event.Quantities[billing.CacheWrite1h], "usage.cache_creation.ephemeral_1h_input_tokens", givenSplit)
		default:
			d.unknown("cache_creation.", name, "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
		}
	}
}

// serverToolUse counts web searches and the seconds that code ran. Fetches are
// free, and other tools' counts are no tokens: they are left unread. The API's own
// count of executions says nothing of their length, which is what costs.
func (d *decoder) serverToolUse() {
	for name := d.enter("usage.server_tool_use"); name != nil; name = d.next() {
		switch string(name) {
		case "web_search_requests":
			d.count(&d.event.Quantities[billing.WebSearch], "usage.server_tool_use.web_search_requests", 0)
		case "web_fetch_requests":
			d.count(&d.fetches, "usage.server_tool_use.web_fetch_requests", 0)
		case "code_execution_seconds":
			d.count(&d.event.Quantities[billing.CodeExecution], "usage.server_tool_use.code_execution_seconds", 0)
		default:
			d.unknown("server_tool_use.", name, "web_search_requests", "web_fetch_requests", "code_execution_seconds")
		}
	}
}

// unknown reads the value of a name in usage that this version does not know:
// a twin of a known name is refused, a count of tokens cannot be priced, and
// anything else is left unread.
func (d *decoder) unknown(within string, name []byte, known ...string) {
	for _, k := range known {
		if bytes.EqualFold(name, []byte(k)) {
			d.refuse("usage."+within+printable(name), "differs from "+k+" in case alone; accepted: "+k)
		}
	}
	countsTokens := within != "server_tool_use." && hasSuffixFold(name, "_tokens")
	var path string
	if countsTokens {
		path = within + printable(name)
	}
	if value := d.value(); countsTokens && value != nil && !isNothing(value) {
		// Of several, the first in the alphabet, so that their order is not content.
		if d.event.UnknownCount == "" || path < d.event.UnknownCount {
			d.event.UnknownCount = path
		}
	}
}

// isNothing tells whether a value under an unknown count is no count, or none.
func isNothing(value jsontext.Value) bool {
	switch value.Kind() {
	case 'n', '{', '[':
		return true
	case '0':
		mantissa, _, _ := bytes.Cut(bytes.ToLower(value), []byte("e"))
		return !bytes.ContainsAny(mantissa, "123456789")
	default:
		return false
	}
}

// complete checks what only the whole event can tell and fills in the defaults.
func (d *decoder) complete(line []byte) {
	if d.event.Retracts != "" {
		d.retraction()
		return
	}
	for _, r := range required {
		if d.given&r.given == 0 {
			d.refuse(r.field, "is required; it is missing or null")
			return
		}
	}
	e := &d.event
	e.ServiceTier = orDefault(e.ServiceTier, billing.Standard)
	e.Speed = orDefault(e.Speed, billing.Standard)
	e.InferenceGeo = orDefault(e.InferenceGeo, billing.GeoGlobal)
	if e.ServiceTier == billing.Batch && e.Speed == billing.Fast {
		d.refuse("speed", "is fast with service_tier batch, which is not offered; accepted: one of the two")
		return
	}
	d.cacheWrites()
	if d.fetches > 0 || e.Quantities[billing.WebSearch] > 0 {
		e.Quantities[billing.CodeExecution] = 0 // free in a request that searches or fetches
	}
	if e.UnknownCount != "" {
		e.Payload = bytes.Clone(bytes.TrimSpace(line))
	}
}

// retraction checks an event that cancels another: it says which one and when,
// and nothing of the use itself, which the other has said.
func (d *decoder) retraction() {
	e := &d.event
	for _, r := range required[:3] {
		if d.given&r.given == 0 {
			d.refuse(r.field, "is required; it is missing or null")
			return
		}
	}
	for _, other := range []struct {
		field string
		given bool
	}{
		{"user", e.User != ""},
		{"product", e.Product != ""},
		{"model", e.Model != ""},
		{"usage", d.given&givenUsage != 0},
		{"speed", e.Speed != ""},
		{"inference_geo", e.InferenceGeo != ""},
		{"labels", e.Labels != nil},
	} {
		if other.given {
			d.refuse(other.field, "is given together with retracts; accepted with it: id, organization, occurred_at; a corrected event is sent under an id of its own")
		}
	}
	if e.Retracts == e.ID {
		d.refuse("retracts", "is the event's own id; accepted: the id of the event that it cancels")
	}
}

// cacheWrites reconciles the total of cache writes with its split. An event
// with an unknown count is parked, so its numbers need not add up.
func (d *decoder) cacheWrites() {
	q := &d.event.Quantities
	switch {
	case d.given&givenWrites == 0:
	case d.given&givenSplit == 0:
		q[billing.CacheWrite5m] = d.writes
		d.event.CacheSplitAssumed = d.writes > 0
	case q[billing.CacheWrite5m]+q[billing.CacheWrite1h] != d.writes && d.event.UnknownCount == "":
		d.refuse("usage.cache_creation", "does not add up to usage.cache_creation_input_tokens; accepted: equal, or one of the two")
	}
}

func orDefault(s, ifEmpty string) string {
	if s == "" {
		return ifEmpty
	}
	return s
}

func hasSuffixFold(name []byte, suffix string) bool {
	return len(name) >= len(suffix) && strings.EqualFold(string(name[len(name)-len(suffix):]), suffix)
}

// escapesNUL tells whether valid JSON holds an escaped NUL.
func escapesNUL(line []byte) bool {
	for {
		i := bytes.IndexByte(line, '\\')
		if i < 0 {
			return false
		}
		if bytes.HasPrefix(line[i+1:], []byte("u0000")) {
			return true
		}
		line = line[i+2:] // what is escaped may be a backslash
	}
}
