package usage

import (
	"bytes"
	"errors"
	"io"
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
// A caller that parks an event keeps the line as its payload, unless the event
// brings one of its own: then a label was masked.
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
	use       usageObject
	speed     string // of the envelope; "" = not given, as below
	geo       string
	masked    []string // labels that were changed to be taken
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
	if d.plain(line) && d.complete(line) && d.rejection == nil {
		return d.event, nil
	}
	return d.decodeWhole(line)
}

func (d *decoder) begin() {
	d.event, d.given, d.speed, d.geo = billing.Event{}, 0, "", ""
	d.use.reset()
	d.masked, d.rejection, d.broken = d.masked[:0], nil, false
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
			d.event.Model = d.interned("model", givenModel, d.models, checkModel)
		case "usage":
			d.usage()
		case "speed":
			d.speed = d.interned("speed", 0, d.tiers, checkWord)
		case "inference_geo":
			d.geo = d.interned("inference_geo", 0, d.tiers, checkWord)
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

// escapesNUL reports whether valid JSON holds an escaped NUL.
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
