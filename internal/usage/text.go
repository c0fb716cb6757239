package usage

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/arrears-dev/arrears/internal/billing"
)

// How long texts may be, in bytes.
const (
	maxID         = 200
	maxName       = 100
	maxLabels     = 50
	maxLabelName  = 40
	maxLabelValue = 200
)

// checkID is for the ids that programs give to events, which are compared byte by
// byte as they were sent.
func checkID(text []byte) string { return checkText(text, maxID) }

// checkUser, checkName and checkTier are for text in NFC, as the interner has it:
// these ids are compared in that form, and every character of them can be seen.
func checkUser(text []byte) string { return billing.CheckID(text, billing.MaxID) }

// checkName is for names that stand in the keys of charge lines, where '/'
// separates.
func checkName(text []byte) string {
	if bytes.IndexByte(text, '/') >= 0 {
		return "contains '/'; accepted: text without it"
	}
	return billing.CheckID(text, maxName)
}

// checkTier takes any text: a service tier without a price is parked later.
func checkTier(text []byte) string { return billing.CheckID(text, maxName) }

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

// labels reads flat strings; an empty object is none.
func (d *decoder) labels() {
	for name := d.enter("labels"); name != nil; name = d.next() {
		key, wrong := d.labelNames.take(name, checkLabelName)
		if wrong != "" {
			d.refuse(labelField(key), wrong)
		}
		value := d.value()
		switch {
		case value == nil || d.rejection != nil:
		case value[0] != '"':
			d.refuse(labelField(key), "is "+kindName(value[0])+"; accepted: a string")
		default:
			text, wrong := d.labelValues.take(d.unquote(value, &d.text), checkLabelValue)
			if wrong != "" {
				d.refuse(labelField(key), wrong)
			}
			d.label(key, text)
		}
	}
}

func (d *decoder) label(key, value string) {
	if len(d.event.Labels) == maxLabels {
		d.refuse("labels", fmt.Sprintf("has too many entries; accepted: at most %d", maxLabels))
		return
	}
	for other := range d.event.Labels {
		if strings.EqualFold(other, key) {
			d.refuse(labelField(key), "differs from another label in case alone, or not at all; accepted: one of the two")
		}
	}
	if d.event.Labels == nil {
		d.event.Labels = make(map[string]string, 4)
	}
	d.event.Labels[key] = value
}

func labelField(key string) string { return "labels." + printable([]byte(key)) }

func checkLabelName(text []byte) string {
	if wrong := billing.CheckID(text, maxLabelName); wrong != "" {
		return "has a name that " + wrong
	}
	return checkNoCard(text)
}

func checkLabelValue(text []byte) string {
	if len(text) > maxLabelValue {
		return fmt.Sprintf("has %d bytes; accepted: at most %d", len(text), maxLabelValue)
	}
	if wrong := billing.CheckCharacters(text); wrong != "" {
		return wrong + "; accepted: text without control or invisible characters"
	}
	return checkNoCard(text)
}

func checkNoCard(text []byte) string {
	if holdsCardNumber(text) {
		return "looks like the number of a payment card, which must not be sent here"
	}
	return ""
}

// holdsCardNumber tells whether text holds 13 to 19 digits, alone or in groups
// that a space or hyphen separates, with the check digit of payment cards. No
// card's number begins with 0, nor with 1 but those of airlines; times in
// milliseconds do, and one in ten of them would have the check digit.
func holdsCardNumber(text []byte) bool {
	for start := 0; start < len(text); start++ {
		if !isDigit(text[start]) || start > 0 && isDigit(text[start-1]) || text[start] < '2' {
			continue // not where a group begins
		}
		var digits []byte
		for i := start; i < len(text) && len(digits) <= 19; i++ {
			switch c := text[i]; {
			case isDigit(c):
				digits = append(digits, c)
			case c != ' ' && c != '-' || i+1 == len(text) || !isDigit(text[i+1]):
				i = len(text)
				continue
			default:
				continue
			}
			if endsGroup := i+1 == len(text) || !isDigit(text[i+1]); endsGroup && len(digits) >= 13 && len(digits) <= 19 && luhn(digits) {
				return true
			}
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// luhn tells whether digits end in their own check digit.
func luhn(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		n := int(c - '0')
		if (len(digits)-i)%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

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
