package usage

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/arrears-dev/arrears/internal/billing"
)

// MaxEventID is how long the id of an event may be, in bytes.
const MaxEventID = 200

// How many labels there may be, and how long they, in bytes.
const (
	maxLabels     = 50
	maxLabelName  = 40
	maxLabelValue = 200
)

// checkID is for the ids that programs give to events, which are compared byte by
// byte as they were sent.
func checkID(text []byte) string { return checkText(text, MaxEventID) }

// checkUser, checkName, checkModel and checkWord are for text in NFC, as the
// interner has it: these ids are compared in that form, and every character of them
// can be seen.
func checkUser(text []byte) string { return billing.CheckID(text, billing.MaxID) }

func checkName(text []byte) string { return billing.CheckID(text, billing.MaxName) }

func checkModel(text []byte) string { return billing.CheckID(text, billing.MaxModel) }

// checkWord takes any word of an open set: what has no price is parked later.
func checkWord(text []byte) string { return billing.CheckID(text, billing.MaxName) }

func checkSlug(text []byte) string {
	if !billing.ValidSlug(string(text)) {
		return "is " + quote(text) + "; accepted: 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
	}
	return ""
}

// checkText says what is wrong with a text that is kept as it was sent, or nothing.
func checkText(text []byte, longest int) string {
	var wrong string
	switch {
	case len(text) == 0:
		wrong = "is empty"
	case len(text) > longest:
		wrong = fmt.Sprintf("has %d bytes", len(text))
	case hasControl(text):
		wrong = "contains a control character"
	case len(bytes.TrimSpace(text)) != len(text):
		wrong = "begins or ends with a space"
	default:
		return ""
	}
	return fmt.Sprintf("%s; accepted: 1 to %d bytes without control characters, and no space at the ends", wrong, longest)
}

func hasControl(text []byte) bool {
	for i, c := range text {
		if c < ' ' || c > '~' {
			return bytes.IndexFunc(text[i:], isControl) >= 0
		}
	}
	return false
}

// isControl tells the characters that break lines or do nothing visible but
// steer a terminal. Marks that order or join letters are part of writing.
func isControl(r rune) bool {
	return r < ' ' || r > '~' && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029')
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// longestShown is how much of a sender's text a message repeats.
const longestShown = 64

// printable is a sender's text as a message may show it: cut short, and
// without anything that steers a terminal.
func printable(text []byte) string {
	cut := ""
	if len(text) > longestShown {
		text, cut = text[:longestShown], "…"
	}
	valid := strings.ToValidUTF8(string(text), "") // the cut may split a character
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, valid) + cut
}

func quote(text []byte) string { return `"` + printable(text) + `"` }
