package usage

import (
	"bytes"
	"encoding/binary"

	"github.com/arrears-dev/arrears/internal/billing"
)

// plain reads a line as nearly all are written: known names, each once, values of
// the accepted kind, ASCII without escapes. It is a shortcut only: it either
// leaves the decoder as the whole reading would, or returns false, and then the
// line is read as if nothing had happened. So it names no offence and need not
// know every field.
func (d *decoder) plain(line []byte) bool {
	if !isPlain(line) {
		return false
	}
	p := plainLine{decoder: d, rest: line, counts: &d.use.counts}
	return p.object(p.envelope) && len(p.space()) == 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// isPlain reports whether a line is ASCII without control characters and
// backslashes, eight bytes at a time.
func isPlain(line []byte) bool {
	for ; len(line) >= 8; line = line[8:] {
		x := binary.LittleEndian.Uint64(line)
		slash := x ^ '\\'*ones
		if (x|(x-' '*ones)|(slash-ones)&^slash)&highs != 0 {
			return false
		}
	}
	for _, c := range line {
		if c < ' ' || c >= 0x80 || c == '\\' {
			return false
		}
	}
	return true
}

// plainLine is what is left of a line to read. Its methods return false where
// they meet something that they do not know.
type plainLine struct {
	*decoder
	rest   []byte
	counts *counts // that are being read
}

// Names that an object may have once. They are numbered over all objects.
const (
	plainID = 1 << iota
	plainOrganization
	plainUser
	plainOccurredAt
	plainProduct
	plainModel
	plainUsage
	plainInput
	plainOutput
	plainCacheRead
	plainWrites
	plainCacheCreation
	plainWrite5m
	plainWrite1h
	plainServerTools
	plainWebSearch
	plainWebFetch
	plainCodeSeconds
	plainServiceTier
	plainSpeed
	plainGeo
	plainIterations
	plainDetails
	plainThinking
	plainKind
	plainCredit
	plainOther // a name that decides nothing about money: one in an object
)

func (p *plainLine) space() []byte {
	for len(p.rest) > 0 && p.rest[0] == ' ' {
		p.rest = p.rest[1:]
	}
	return p.rest
}

// take reads one byte, if it comes next behind spaces.
func (p *plainLine) take(c byte) bool {
	if rest := p.space(); len(rest) == 0 || rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// object reads an object; field reads the value of a name and returns which one
// it was, or 0.
func (p *plainLine) object(field func(name []byte) (which int)) bool {
	if !p.take('{') {
		return false
	}
	if p.take('}') {
		return true
	}
	for seen := 0; ; {
		name, ok := p.text()
		if !ok || !p.take(':') {
			return false
		}
		which := field(name)
		if which == 0 || seen&which != 0 {
			return false
		}
		seen |= which
		if !p.take(',') {
			return p.take('}')
		}
	}
}

// text reads a string without escapes.
func (p *plainLine) text() ([]byte, bool) {
	if !p.take('"') {
		return nil, false
	}
	end := bytes.IndexByte(p.rest, '"')
	if end < 0 {
		return nil, false
	}
	text := p.rest[:end]
	p.rest = p.rest[end+1:]
	return text, true
}

// number reads a whole number in digits alone.
func (p *plainLine) number(n *int64, to *given, flag given, which int) int {
	if p.null() {
		return which
	}
	rest := p.rest
	end := 0
	for end < len(rest) && isDigit(rest[end]) {
		end++
	}
	if end == 0 || end > 1 && rest[0] == '0' {
		return 0
	}
	var ok bool
	if *n, ok = parseCount(rest[:end]); !ok {
		return 0
	}
	*to |= flag
	p.rest = rest[end:]
	return which // what follows the digits, if anything but , and }, is not taken
}

// null takes a value that says nothing.
func (p *plainLine) null() bool {
	rest := p.space()
	if len(rest) < 4 || string(rest[:4]) != "null" {
		return false
	}
	p.rest = rest[4:]
	return true
}

func (p *plainLine) shared(to *string, flag given, known *interner, check func([]byte) string, which int) int {
	if p.null() {
		return which
	}
	text, ok := p.text()
	if !ok {
		return 0
	}
	if len(text) == 0 {
		return which
	}
	s, wrong := known.take(text, check)
	if wrong != "" {
		return 0
	}
	*to = s
	p.given |= flag
	return which
}

func (p *plainLine) envelope(name []byte) int {
	switch string(name) {
	case "id":
		text, ok := p.text()
		if !ok || len(text) == 0 || checkID(text) != "" {
			return 0
		}
		p.event.ID = string(text)
		p.given |= givenID
		return plainID
	case "organization":
		return p.shared(&p.event.Organization, givenOrganization, p.organizations, checkSlug, plainOrganization)
	case "user":
		return p.shared(&p.event.User, 0, p.users, checkUser, plainUser)
	case "occurred_at":
		text, ok := p.text()
		if !ok {
			return 0
		}
		at, wrong := parseTime(text)
		if wrong != "" {
			return 0
		}
		p.event.OccurredAt = at
		p.given |= givenOccurredAt
		return plainOccurredAt
	case "product":
		return p.shared(&p.event.Product, givenProduct, p.products, checkName, plainProduct)
	case "model":
		return p.shared(&p.event.Model, givenModel, p.models, checkModel, plainModel)
	case "usage":
		if !p.object(p.usage) {
			return 0
		}
		p.given |= givenUsage
		return plainUsage
	}
	return 0
}

func (p *plainLine) usage(name []byte) int {
	u := &p.use
	switch string(name) {
	case "server_tool_use":
		return p.optional(p.serverToolCounts, plainServerTools)
	case "service_tier":
		return p.shared(&p.event.ServiceTier, 0, p.tiers, checkWord, plainServiceTier)
	case "speed":
		return p.shared(&u.speed, 0, p.tiers, checkWord, plainSpeed)
	case "inference_geo":
		return p.shared(&u.geo, 0, p.tiers, checkWord, plainGeo)
	case "iterations":
		if p.null() || p.iterations() {
			return plainIterations
		}
		return 0
	case "fallback_credit":
		if p.null() {
			return plainCredit
		}
		return 0
	}
	return p.tokens(name)
}

// tokens reads what the request counts, and each of its iterations.
func (p *plainLine) tokens(name []byte) int {
	c := p.counts
	q := &c.quantities
	switch string(name) {
	case "input_tokens":
		return p.number(&q[billing.Input], &c.given, givenInput, plainInput)
	case "output_tokens":
		return p.number(&q[billing.Output], &c.given, givenOutput, plainOutput)
	case "cache_read_input_tokens":
		return p.number(&q[billing.CacheRead], &c.given, 0, plainCacheRead)
	case "cache_creation_input_tokens":
		return p.number(&c.writes, &c.given, givenWrites, plainWrites)
	case "cache_creation":
		return p.optional(p.cacheCreationCounts, plainCacheCreation)
	case "output_tokens_details":
		return p.optional(p.details, plainDetails)
	}
	return p.other(name)
}

// iterations reads the runs of models of the request.
func (p *plainLine) iterations() bool {
	if !p.take('[') {
		return false
	}
	if p.take(']') {
		return true
	}
	of := p.counts
	for len(p.use.iterations) < maxIterations {
		p.use.iterations = append(p.use.iterations, iteration{})
		p.counts = &p.use.iterations[len(p.use.iterations)-1].counts
		if !p.object(p.iteration) {
			return false
		}
		if !p.take(',') {
			p.counts = of
			return p.take(']')
		}
	}
	return false
}

func (p *plainLine) iteration(name []byte) int {
	entry := &p.use.iterations[len(p.use.iterations)-1]
	switch string(name) {
	case "type":
		return p.shared(&entry.kind, 0, p.tiers, checkWord, plainKind)
	case "model":
		return p.shared(&entry.model, 0, p.models, checkModel, plainModel)
	}
	return p.tokens(name)
}

// other passes over a name that decides nothing about money, such as a tool's number
// of requests.
func (p *plainLine) other(name []byte) int {
	if speaksOfTokens(name) || spellings[squeeze(name)] != "" {
		return 0
	}
	if p.null() {
		return plainOther
	}
	if rest := p.rest; len(rest) > 0 && isDigit(rest[0]) {
		var n int64
		return p.number(&n, new(given), 0, plainOther)
	}
	if _, ok := p.text(); ok {
		return plainOther
	}
	return 0
}

// optional reads an object, or null.
func (p *plainLine) optional(field func(name []byte) int, which int) int {
	if p.null() || p.object(field) {
		return which
	}
	return 0
}

func (p *plainLine) cacheCreationCounts(name []byte) int {
	c := p.counts
	switch string(name) {
	case "ephemeral_5m_input_tokens":
		return p.number(&c.quantities[billing.CacheWrite5m], &c.given, givenSplit, plainWrite5m)
	case "ephemeral_1h_input_tokens":
		return p.number(&c.quantities[billing.CacheWrite1h], &c.given, givenSplit, plainWrite1h)
	}
	return 0
}

func (p *plainLine) serverToolCounts(name []byte) int {
	switch string(name) {
	case "web_search_requests":
		return p.number(&p.use.quantities[billing.WebSearch], &p.use.given, 0, plainWebSearch)
	case "web_fetch_requests":
		return p.number(&p.use.fetches, &p.use.given, 0, plainWebFetch)
	case "code_execution_seconds":
		return p.number(&p.use.quantities[billing.CodeExecution], &p.use.given, 0, plainCodeSeconds)
	}
	return p.other(name)
}

// details reads a breakdown of the output, which is counted already.
func (p *plainLine) details(name []byte) int {
	if string(name) == "thinking_tokens" {
		var thinking int64
		return p.number(&thinking, new(given), 0, plainThinking)
	}
	return 0
}
