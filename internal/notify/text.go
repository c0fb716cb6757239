package notify

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// moment is an instant as notices show it, to the minute and always in UTC.
func moment(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// printable is text from outside as notices may show it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return utf8.RuneError
		}
	}, text)
}

// letter lays out a text in paragraphs and a list of facts.
type letter struct{ b strings.Builder }

// paragraph adds sentences, wrapped at 72 characters; empty ones are left out.
func (l *letter) paragraph(sentences ...string) {
	width := 0
	for _, word := range strings.Fields(printable(strings.Join(sentences, " "))) {
		length := utf8.RuneCountInString(word)
		switch {
		case width == 0 && l.b.Len() > 0:
			l.b.WriteString("\n")
		case width+1+length > 72:
			l.b.WriteString("\n")
			width = 0
		}
		if width > 0 {
			l.b.WriteString(" ")
			width++
		}
		l.b.WriteString(word)
		width += length
	}
	if width > 0 {
		l.b.WriteString("\n")
	}
}

// facts adds names and values in two columns; those without a value are left
// out.
func (l *letter) facts(pairs ...[2]string) {
	l.b.WriteString("\n")
	for _, p := range pairs {
		if p[1] != "" {
			l.b.WriteString("  " + p[0] + strings.Repeat(" ", max(1, 14-len(p[0]))) + oneLine(p[1]) + "\n")
		}
	}
}

func (l *letter) String() string { return l.b.String() }
