package usage

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/arrears-dev/arrears/internal/billing"
)

// labels reads the event's labels. They are notes for people and never a reason to
// refuse usage: one that cannot be taken as it is is changed, and the event says so.
func (d *decoder) labels() {
	if kind := d.json.PeekKind(); kind != '{' {
		if value := d.value(); value != nil && !isNothing(value) {
			d.changed("all of them")
		}
		return
	}
	for name := d.enter("labels"); name != nil; name = d.next() {
		key, wrong := d.labelNames.take(name, checkLabelName)
		if wrong != "" {
			key = cleaned(key, maxLabelName)
			d.changed(key)
		}
		value := d.value()
		switch {
		case value == nil || value[0] == 'n' || key == "":
		case value[0] == '{' || value[0] == '[':
			d.changed(key)
		case value[0] != '"':
			d.label(key, string(value))
		default:
			text, wrong := d.labelValues.take(d.unquote(value, &d.text), checkLabelValue)
			if wrong != "" {
				text = cleaned(text, maxLabelValue)
				d.changed(key)
			}
			d.label(key, text)
		}
	}
	d.fewLabels()
}

func (d *decoder) label(key, value string) {
	if value == "" {
		return
	}
	if d.event.Labels == nil {
		d.event.Labels = make(map[string]string, 4)
	}
	if other, twice := d.event.Labels[key]; twice && other != value { // one name in two spellings
		d.changed(key)
		value = min(value, other)
	}
	d.event.Labels[key] = value
}

// fewLabels keeps as many labels as an event may have, the first in the alphabet,
// so that their order is not content.
func (d *decoder) fewLabels() {
	if len(d.event.Labels) <= maxLabels {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(d.event.Labels))[maxLabels:] {
		delete(d.event.Labels, name)
		d.changed(name)
	}
}

// changed notes a label that was changed.
func (d *decoder) changed(name string) {
	if name = printable([]byte(name)); !slices.Contains(d.masked, name) && len(d.masked) <= maxLabels {
		d.masked = append(d.masked, name)
	}
}

// maxNamed bounds how many changed labels an event names.
const maxNamed = 5

func listed(names []string) string {
	slices.Sort(names)
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

// withLabels is a line with other labels, as it is kept of an event whose own may
// not be.
func withLabels(line []byte, labels map[string]string) []byte {
	var event map[string]json.RawMessage
	if err := json.Unmarshal(line, &event); err != nil {
		return nil // it was read, so it is JSON
	}
	delete(event, "labels")
	if len(labels) > 0 {
		event["labels"], _ = json.Marshal(labels) // of texts it cannot fail
	}
	kept, _ := json.Marshal(event)
	return kept
}

// checkLabelName and checkLabelValue say why a text in NFC cannot be taken as it is.
func checkLabelName(text []byte) string {
	if wrong := billing.CheckID(text, maxLabelName); wrong != "" {
		return wrong
	}
	return checkNoCard(text)
}

func checkLabelValue(text []byte) string {
	if len(text) > maxLabelValue {
		return "is too long"
	}
	if wrong := billing.CheckCharacters(text); wrong != "" {
		return wrong
	}
	return checkNoCard(text)
}

func checkNoCard(text []byte) string {
	if _, _, found := cardNumber(text); found {
		return "looks like the number of a payment card"
	}
	return ""
}

// cleaned is a label's text without what it may not have: control characters
// become spaces, invisible ones fall away, card numbers are masked, and what is too
// long is cut.
func cleaned(text string, longest int) string {
	kept := []byte(strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case isControl(r):
			return ' '
		case billing.CheckCharacters(string(r)) != "":
			return -1
		}
		return r
	}, text)))
	for from, to, found := cardNumber(kept); found; from, to, found = cardNumber(kept) {
		mask(kept[from:to])
	}
	for len(kept) > longest {
		_, size := utf8.DecodeLastRune(kept)
		kept = kept[:len(kept)-size]
	}
	return string(kept)
}

// mask hides all digits of a card number but the last four.
func mask(number []byte) {
	left := 0
	for _, c := range number {
		if isDigit(c) {
			left++
		}
	}
	for i, c := range number {
		if !isDigit(c) {
			continue
		}
		if left > 4 {
			number[i] = '*'
		}
		left--
	}
}

// cardNumber finds 13 to 19 digits, alone or in groups that a space or hyphen
// separates, with the check digit of payment cards, that stand apart from other
// letters and digits: so no UUID is taken for one. No card's number begins with 0,
// nor with 1 but those of airlines; times in milliseconds do, and one in ten of
// them would have the check digit.
func cardNumber(text []byte) (from, to int, found bool) {
	for from = 0; from < len(text); from++ {
		if !isDigit(text[from]) || text[from] < '2' || !standsApart(text, from-1, -1) {
			continue
		}
		var digits []byte
		to = from
		for ; to < len(text) && len(digits) <= 19; to++ {
			if isDigit(text[to]) {
				digits = append(digits, text[to])
			} else if !isGap(text[to]) || to+1 == len(text) || !isDigit(text[to+1]) {
				break
			}
		}
		if len(digits) >= 13 && len(digits) <= 19 && standsApart(text, to, 1) && luhn(digits) {
			return from, to, true
		}
	}
	return 0, 0, false
}

// standsApart reports whether a number ends at a place, in a direction: no letter
// or digit follows, nor does one behind a gap that could join two groups.
func standsApart(text []byte, at, step int) bool {
	if at < 0 || at >= len(text) {
		return true
	}
	if text[at] == '-' {
		at += step
	}
	return at < 0 || at >= len(text) || !isAlphanumeric(text[at])
}

func isGap(c byte) bool { return c == ' ' || c == '-' }

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// luhn reports whether digits end in their own check digit.
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
