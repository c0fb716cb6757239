package usage

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/arrears-dev/arrears/internal/billing"
)

// MaxLine is the longest line that a stream may have unless told otherwise.
const MaxLine = 1 << 20

// Line is one line of a stream.
type Line struct {
	Number    int64  // from 1, blank lines counted
	Bytes     []byte // without its ending and the space around it; valid until the next line
	Rejection *Rejection
}

// Scan yields the lines of a stream of newline-delimited JSON, holding one in
// memory at a time. Blank lines are skipped, and so are comments, which begin with
// #; lines may end in CRLF, and the last one need not end at all; a byte order mark
// at the start is skipped. A line longer than maxLine (0 = MaxLine) is yielded
// without its bytes and with the rejection, and costs only itself. An error is one
// of reading; it comes last and names the line that was being read.
//
// Scan unzips nothing, so that a body whose size was bounded stays bounded.
func Scan(r io.Reader, maxLine int) iter.Seq2[Line, error] {
	if maxLine <= 0 {
		maxLine = MaxLine
	}
	return func(yield func(Line, error) bool) {
		source := getReader(r)
		defer putReader(source)
		if head, _ := source.Peek(3); string(head) == "\xef\xbb\xbf" {
			_, _ = source.Discard(3) // it was peeked, so it is there
		}
		lines := lineReader{source: source, longest: maxLine}
		for number := int64(1); ; number++ {
			line, tooLong, err := lines.next()
			switch line = bytes.Trim(line, " \t\r\n"); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(Line{}, fmt.Errorf("read line %d: %w", number, err))
				return
			case tooLong:
				reason := fmt.Sprintf("is longer than %d bytes", maxLine)
				if !yield(Line{Number: number, Rejection: &Rejection{"", reason}}, nil) {
					return
				}
			case len(line) > 0 && line[0] != '#':
				if !yield(Line{Number: number, Bytes: line}, nil) {
					return
				}
			}
		}
	}
}

// unzipped reads on from r, which may be gzipped or not.
func unzipped(r io.Reader) (io.Reader, error) {
	source := bufio.NewReader(r)
	if head, _ := source.Peek(2); string(head) != "\x1f\x8b" {
		return source, nil
	}
	plain, err := gzip.NewReader(source)
	if err != nil {
		return nil, fmt.Errorf("open as gzip: %w", err)
	}
	return plain, nil
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

func getReader(r io.Reader) *bufio.Reader {
	reader := readers.Get().(*bufio.Reader)
	reader.Reset(r)
	return reader
}

func putReader(reader *bufio.Reader) {
	reader.Reset(nil)
	readers.Put(reader)
}

type lineReader struct {
	source  *bufio.Reader
	longest int
	long    []byte // a line that the source's buffer cannot hold
}

// next returns the next line with its ending, or that it was too long. At the
// end of the stream it returns io.EOF, and no line.
func (l *lineReader) next() (line []byte, tooLong bool, err error) {
	l.long = l.long[:0]
	for {
		part, err := l.source.ReadSlice('\n')
		whole := err == nil || errors.Is(err, io.EOF)
		if !whole && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, err
		}
		if whole && len(part) == 0 && len(l.long) == 0 && !tooLong {
			return nil, false, io.EOF
		}
		if len(l.long)+len(bytes.TrimRight(part, "\r\n")) > l.longest {
			tooLong = true
		}
		switch {
		case tooLong && whole:
			return nil, true, nil
		case tooLong:
		case whole && len(l.long) == 0:
			return part, false, nil
		default:
			l.long = append(l.long, part...)
		}
		if whole {
			return l.long, false, nil
		}
	}
}

// Elements splits a JSON array into its elements, which are parts of body, one
// per event. It refuses a body that is no array as a whole; what an element
// holds, names given twice and bad UTF-8 included, is left to Decode. Of a body
// with more than most elements it returns one more than that, unread behind it.
func Elements(body []byte, most int) ([][]byte, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '[' {
		return nil, billing.Invalid("the body is not a JSON array")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notAnArray(err)
	}
	var elements [][]byte
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return nil, notAnArray(err)
		}
		end := int(d.InputOffset())
		elements = append(elements, body[end-len(value):end:end])
		if len(elements) > most {
			return elements, nil
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notAnArray(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, billing.Invalid("the body has more behind the JSON array")
	}
	return elements, nil
}

func notAnArray(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return billing.Invalid("the body ends inside the JSON array")
	case errors.As(err, &syntax):
		return billing.Invalid("the body is not a JSON array: %s at byte %d", printable([]byte(syntax.Err.Error())), syntax.ByteOffset+1)
	default:
		return billing.Invalid("the body is not a JSON array: %s", printable([]byte(err.Error())))
	}
}
