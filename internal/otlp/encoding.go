package otlp

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The content types of exports.
const (
	JSON     = "application/json"
	Protobuf = "application/x-protobuf"
)

// field names a field that holds messages, in both encodings.
type field struct {
	number protowire.Number
	name   string
}

// The fields that lead to the records of an export.
var (
	resourceLogs = field{1, "resourceLogs"}
	resource     = field{1, "resource"}
	scopeLogs    = field{2, "scopeLogs"}
	scope        = field{1, "scope"}
	logRecords   = field{2, "logRecords"}
)

// encoding reads one message at a time. An export that was decoded as a whole
// could take many times its size: an empty message takes two bytes on the wire.
type encoding interface {
	// each hands over the messages of a field, not decoded.
	each(message []byte, of field, take func([]byte) error) error
	// values counts the messages within a message, so that one can be refused
	// before it is decoded. Beyond a bound it may stop.
	values(message []byte, of kind, bound int) int
	decode(message []byte, into proto.Message) error
}

// errBroken is a body, or a part of it, that is not what it claims to be.
var errBroken = errors.New("cannot be read")

// protobuf is the binary encoding.
type protobuf struct{}

func (protobuf) each(message []byte, of field, take func([]byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("%w: %w", errBroken, protowire.ParseError(n))
		}
		message = message[n:]
		if number != of.number || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return fmt.Errorf("%w: %w", errBroken, protowire.ParseError(n))
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return fmt.Errorf("%w: %s: %w", errBroken, of.name, protowire.ParseError(n))
		}
		if err := take(value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}

// kind is a kind of message whose size in memory is bounded before it is decoded.
type kind int

const (
	recordKind kind = iota
	resourceKind
	scopeKind
	keyValueKind
	anyValueKind
	arrayKind
	listKind
)

// nested says in which fields of a kind of message others are nested.
var nested = map[kind]map[protowire.Number]kind{
	recordKind:   {5: anyValueKind, 6: keyValueKind},
	resourceKind: {1: keyValueKind},
	scopeKind:    {3: keyValueKind},
	keyValueKind: {2: anyValueKind},
	anyValueKind: {5: arrayKind, 6: listKind},
	arrayKind:    {1: anyValueKind},
	listKind:     {1: keyValueKind},
}

func (p protobuf) values(message []byte, of kind, bound int) (count int) {
	for number, below := range nested[of] {
		err := p.each(message, field{number: number}, func(value []byte) error {
			if count++; count > bound {
				return errBroken // enough is known
			}
			count += p.values(value, below, bound-count)
			return nil
		})
		if err != nil {
			return count
		}
	}
	return count
}

func (protobuf) decode(message []byte, into proto.Message) error {
	return proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}.Unmarshal(message, into)
}

// jsonProtobuf is OTLP's mapping to JSON. It departs from that of Protocol Buffers:
// trace and span ids are hexadecimal, where the mapping has base64. Each of their
// digits is one of base64, too, so they are read, as other bytes than they are:
// nothing here may look at them.
type jsonProtobuf struct{}

func (jsonProtobuf) each(message []byte, of field, take func([]byte) error) error {
	var found jsontext.Value
	err := members(message, func(name string, value jsontext.Value) error {
		switch {
		case name != of.name:
		case found != nil:
			return fmt.Errorf("%w: %s is there twice", errBroken, name)
		default:
			found = value
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case found == nil || found.Kind() == 'n':
		return nil
	case found.Kind() == '[':
		return elements(found, take)
	}
	return take(found)
}

// newDecoder reads without remembering the names of an object: of those that
// matter, each and protojson say themselves where one is there twice.
func newDecoder(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
}

// members hands over the members of an object, and makes sure that nothing follows
// it. The values are parts of it.
func members(object []byte, take func(name string, value jsontext.Value) error) error {
	d := newDecoder(object)
	if kind := d.PeekKind(); kind != '{' {
		if _, err := d.ReadToken(); err != nil {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
		return fmt.Errorf("%w: accepted: a JSON object", errBroken)
	}
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() != '}' {
		var name jsontext.Token
		if name, err = d.ReadToken(); err != nil {
			break
		}
		text := name.String()
		var value jsontext.Value
		if value, err = d.ReadValue(); err != nil {
			break
		}
		end := d.InputOffset()
		if err := take(text, object[end-int64(len(value)):end]); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = d.ReadToken()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	if _, err = d.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more behind the JSON object", errBroken)
	}
	return nil
}

// elements hands over the entries of an array. They are parts of it.
func elements(array []byte, take func([]byte) error) error {
	d := newDecoder(array)
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() != ']' {
		var value jsontext.Value
		if value, err = d.ReadValue(); err != nil {
			break
		}
		end := d.InputOffset()
		if err := take(array[end-int64(len(value)) : end]); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return nil
}

func (jsonProtobuf) values(message []byte, _ kind, bound int) (count int) {
	d := newDecoder(message)
	for count <= bound {
		token, err := d.ReadToken()
		if err != nil {
			break
		}
		if token.Kind() == '{' {
			count++
		}
	}
	return count
}

func (jsonProtobuf) decode(message []byte, into proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(message, into)
}
