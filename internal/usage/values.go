package usage

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/arrears-dev/arrears/internal/billing"
)

// refuse records an offence; the first of a line is the one that is told.
func (d *decoder) refuse(field, reason string) {
	if d.rejection == nil {
		d.rejection = &Rejection{field, reason}
	}
}

// fail ends the reading of a line that is not JSON. It counts before anything
// that was refused so far: such a line has no fields to speak of.
func (d *decoder) fail(reason string) {
	d.rejection, d.broken = &Rejection{"", reason}, true
}

func (d *decoder) failed(err error) {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		path := strings.Join(collect(syntax.JSONPointer), ".")
		d.fail("")
		d.rejection = &Rejection{printable([]byte(path)), "is given twice"}
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		d.fail("ends in the middle; accepted: one whole JSON object")
	case errors.As(err, &syntax):
		d.fail("is not JSON: " + printable([]byte(syntax.Err.Error())) + " at byte " + strconv.FormatInt(syntax.ByteOffset+1, 10))
	default:
		d.fail("is not JSON: " + printable([]byte(err.Error())))
	}
}

func collect(pointer jsontext.Pointer) []string {
	var names []string
	for name := range pointer.Tokens() {
		names = append(names, name)
	}
	return names
}

// enter begins an object and returns its first name; nil if there is none, if
// the value is null, or if it is no object and therefore refused.
func (d *decoder) enter(field string) []byte {
	if d.json.PeekKind() != '{' {
		if value := d.value(); value != nil && value[0] != 'n' {
			d.refuse(field, "is "+kindName(value[0])+"; accepted: an object")
		}
		return nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		d.failed(err)
		return nil
	}
	return d.next()
}

// next returns the object's next name, valid until the name after it is read;
// nil at the end.
func (d *decoder) next() []byte {
	if d.broken {
		return nil
	}
	if d.json.PeekKind() == '}' {
		if _, err := d.json.ReadToken(); err != nil {
			d.failed(err)
		}
		return nil
	}
	quoted := d.value()
	if quoted == nil {
		return nil
	}
	return d.unquote(quoted, &d.name)
}

// value reads any value whole, valid until the next one is read; nil if the
// line breaks there.
func (d *decoder) value() jsontext.Value {
	if d.broken {
		return nil
	}
	value, err := d.json.ReadValue()
	if err != nil {
		d.failed(err)
		return nil
	}
	return value
}

// unquote returns the text of a JSON string, using scratch if it has escapes.
func (d *decoder) unquote(quoted jsontext.Value, scratch *[]byte) []byte {
	if !d.escapes || bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	*scratch, _ = jsontext.AppendUnquote((*scratch)[:0], quoted) // valid, since it was read
	return *scratch
}

// str reads a string, valid until the next is read; nil for null and "", which
// say nothing, and for what it refused.
func (d *decoder) str(field string) []byte {
	value := d.value()
	if value == nil || value[0] == 'n' {
		return nil
	}
	if value[0] != '"' {
		d.refuse(field, "is "+kindName(value[0])+"; accepted: a string")
		return nil
	}
	if text := d.unquote(value, &d.text); len(text) > 0 {
		return text
	}
	return nil
}

func (d *decoder) id() {
	text := d.str("id")
	if text == nil {
		return
	}
	d.given |= givenID
	if reason := checkID(text); reason != "" {
		d.refuse("id", reason)
		return
	}
	d.event.ID = string(text)
}

func (d *decoder) retracts() {
	text := d.str("retracts")
	if text == nil {
		return
	}
	if reason := checkID(text); reason != "" {
		d.refuse("retracts", reason)
		return
	}
	d.event.Retracts = string(text)
}

// interned reads a string of which few differ, so that events share it.
func (d *decoder) interned(field string, flag given, known *interner, check func([]byte) string) string {
	text := d.str(field)
	if text == nil {
		return ""
	}
	d.given |= flag
	s, wrong := known.take(text, check)
	if wrong != "" {
		d.refuse(field, wrong)
	}
	return s
}

func (d *decoder) occurredAt() {
	text := d.str("occurred_at")
	if text == nil {
		return
	}
	d.given |= givenOccurredAt
	at, reason := parseTime(text)
	if reason != "" {
		d.refuse("occurred_at", reason)
	}
	d.event.OccurredAt = at
}

// count reads a whole number into n; absent and null leave it 0.
func (d *decoder) count(n *int64, to *given, flag given, at int, name string) {
	value := d.value()
	if value == nil || value[0] == 'n' {
		return
	}
	*to |= flag
	var ok bool
	if text := bytes.Trim(value, `"`); value[0] == '"' && len(text) > 0 && len(text) == len(value)-2 {
		if *n, ok = parseCount(text); ok {
			first(&d.use.other, "usage."+place(at)+name+" is a number in quotes")
			return
		}
	}
	if *n, ok = parseCount(value); !ok {
		d.refuse("usage."+place(at)+name, "is "+shown(value)+"; accepted: a whole number from 0 to 1000000000000, in digits alone")
	}
}

// parseCount reads digits alone: no sign, no point, no exponent.
func parseCount(value jsontext.Value) (int64, bool) {
	if len(value) > len("1000000000000") {
		return 0, false
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= billing.MaxCount
}

// shown is a value as a message shows it: numbers as they stand, anything else
// by its kind.
func shown(value jsontext.Value) string {
	if value.Kind() == '0' {
		return printable(value)
	}
	return kindName(value[0])
}

func kindName(first byte) string {
	switch first {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	default:
		return "a number"
	}
}
