package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// forPeople writes text to a terminal, with every character in the place of which a
// terminal could do something else (move the cursor, change the colour, hide or turn
// round what follows) shown as U+FFFD. No input takes such characters any more; texts
// of others, such as Stripe's or Temporal's errors, may have them.
type forPeople struct{ io.Writer }

// Write implements io.Writer. Each call must hold whole characters, as those of fmt do.
func (w forPeople) Write(text []byte) (int, error) {
	shown := strings.Map(func(r rune) rune {
		if isShown(r) || r == '\n' || r == '\t' {
			return r
		}
		return utf8.RuneError
	}, string(text))
	if _, err := io.WriteString(w.Writer, shown); err != nil {
		return 0, err
	}
	return len(text), nil
}

// isShown reports whether a terminal shows a character and does nothing else: the
// joiners, too, only change how the letters beside them look.
func isShown(r rune) bool { return unicode.IsGraphic(r) || r == '\u200c' || r == '\u200d' }

// escapeForPeople escapes in JSON what forPeople replaces in text: the value stays
// the same. Only strings hold such characters, and the line ends around values.
func escapeForPeople(json []byte) []byte {
	if !bytes.ContainsFunc(json, func(r rune) bool { return !isShown(r) && r != '\n' }) {
		return json
	}
	var escaped bytes.Buffer
	for _, r := range string(json) {
		switch {
		case isShown(r) || r == '\n':
			escaped.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
	}
	return escaped.Bytes()
}
