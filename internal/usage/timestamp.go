package usage

import (
	"bytes"
	"time"
)

const timeAccepted = "; accepted: an RFC 3339 time with its zone, as 2026-10-01T00:00:40.523394Z"

var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC)
)

// parseTime reads an RFC 3339 time and cuts it to microseconds; or it says what
// is wrong. The standard library's parser takes a comma for the point and any
// offset below 24 hours, and costs more.
func parseTime(text []byte) (t time.Time, reason string) {
	const date = "2006-01-02T15:04:05"
	year, ok1 := digits(text, 0, 4)
	month, ok2 := digits(text, 5, 2)
	day, ok3 := digits(text, 8, 2)
	hour, ok4 := digits(text, 11, 2)
	minute, ok5 := digits(text, 14, 2)
	second, ok6 := digits(text, 17, 2)
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || text[4] != '-' || text[7] != '-' ||
		text[10]|0x20 != 't' || text[13] != ':' || text[16] != ':' {
		return t, "is " + quote(text) + timeAccepted
	}
	micros, rest, ok := fraction(text[len(date):])
	if !ok {
		return t, "is " + quote(text) + timeAccepted
	}
	offset, reason := zone(rest)
	switch {
	case reason != "":
		return t, reason + timeAccepted
	case hour == 24:
		return t, "has hour 24" + timeAccepted
	case second == 60:
		return t, "is a leap second" + timeAccepted
	case month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59:
		return t, "is " + quote(text) + ", which does not exist" + timeAccepted
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, micros*1000, time.UTC).Add(-offset)
	if t.Before(earliest) || !t.Before(latest) {
		return time.Time{}, "is " + quote(text) + "; accepted: a time in the years 2000 to 2100"
	}
	return t, ""
}

// digits reads exactly n digits at a place.
func digits(text []byte, at, n int) (value int, ok bool) {
	if len(text) < at+n {
		return 0, false
	}
	for _, c := range text[at : at+n] {
		if !isDigit(c) {
			return 0, false
		}
		value = value*10 + int(c-'0')
	}
	return value, true
}

// fraction reads the part of a second, if any, in whole microseconds; what is
// finer is cut off.
func fraction(text []byte) (micros int, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '.' {
		return 0, text, true
	}
	text = text[1:]
	n := 0
	for ; n < len(text) && isDigit(text[n]); n++ {
		if n < 6 {
			micros = micros*10 + int(text[n]-'0')
		}
	}
	for i := n; i < 6; i++ {
		micros *= 10
	}
	return micros, text[n:], n > 0
}

// zone reads Z or the offset from UTC, at most 14 hours, as places on earth have.
func zone(text []byte) (offset time.Duration, reason string) {
	if len(text) == 0 {
		return 0, "has no zone"
	}
	if bytes.EqualFold(text, []byte("z")) {
		return 0, ""
	}
	hours, ok1 := digits(text, 1, 2)
	minutes, ok2 := digits(text, 4, 2)
	if len(text) != len("+00:00") || text[0] != '+' && text[0] != '-' || text[3] != ':' || !ok1 || !ok2 {
		return 0, "has the zone " + quote(text)
	}
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if minutes > 59 || offset > 14*time.Hour {
		return 0, "has an offset of " + quote(text) + ", beyond 14 hours"
	}
	if text[0] == '-' {
		offset = -offset
	}
	return offset, ""
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	default:
		return 31
	}
}
