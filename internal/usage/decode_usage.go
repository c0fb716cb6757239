package usage

import (
	"encoding/json"
	"strconv"

	"github.com/arrears-dev/arrears/internal/billing"
)

// usageObject is what was read of a usage object. "" is a value that was not
// given.
type usageObject struct {
	counts
	iterations []iteration
	fetches    int64 // server_tool_use.web_fetch_requests
	speed      string
	geo        string
	credit     string // what became of a fallback credit: redeemed, not_applied

	unknown string // the count of tokens that no price knows: of several, the first in the alphabet
	other   string // what else cannot be priced, as a sentence; likewise
	at      [2]int // where the object, with the colon before it, stands in the line
}

// counts are the token counts of a request, or of one of its iterations.
type counts struct {
	quantities billing.Quantities
	writes     int64 // cache_creation_input_tokens, which the split is a part of
	given      given
}

// iteration is one entry of usage.iterations: one run of a model.
type iteration struct {
	counts
	kind  string
	model string
}

func (u *usageObject) reset() { *u = usageObject{iterations: u.iterations[:0]} }

func (d *decoder) usage() {
	if d.json.PeekKind() != '{' {
		d.enter("usage")
		return
	}
	d.given |= givenUsage
	d.use.at[0] = int(d.json.InputOffset()) // behind the name
	for name := d.enter("usage"); name != nil; name = d.next() {
		if d.tokens(name, &d.use.counts, atTop) {
			continue
		}
		switch string(name) {
		case "server_tool_use":
			d.serverToolUse()
		case "service_tier":
			d.event.ServiceTier = d.interned("usage.service_tier", 0, d.tiers, checkWord)
		case "speed":
			d.use.speed = d.interned("usage.speed", 0, d.tiers, checkWord)
		case "inference_geo":
			d.use.geo = d.interned("usage.inference_geo", 0, d.tiers, checkWord)
		case "iterations":
			d.iterations()
		case "fallback_credit":
			d.fallbackCredit()
		default:
			d.unknown("", name)
		}
	}
	d.use.at[1] = int(d.json.InputOffset())
}

// atTop is the place of the counts of the whole request; from 0 on they are those
// of an iteration.
const atTop = -1

// place is where counts stand in usage.
func place(at int) string {
	if at == atTop {
		return ""
	}
	return "iterations[" + strconv.Itoa(at) + "]."
}

// tokens reads the value of a name that counts tokens, and reports whether the
// name was one.
func (d *decoder) tokens(name []byte, c *counts, at int) bool {
	q := &c.quantities
	switch string(name) {
	case "input_tokens":
		d.count(&q[billing.Input], &c.given, givenInput, at, "input_tokens")
	case "output_tokens":
		d.count(&q[billing.Output], &c.given, givenOutput, at, "output_tokens")
	case "cache_read_input_tokens":
		d.count(&q[billing.CacheRead], &c.given, 0, at, "cache_read_input_tokens")
	case "cache_creation_input_tokens":
		d.count(&c.writes, &c.given, givenWrites, at, "cache_creation_input_tokens")
	case "cache_creation":
		d.cacheCreation(c, at)
	case "output_tokens_details":
		d.value() // a breakdown of output_tokens, which "remains the … total used for billing" (the vendor's SDK)
	default:
		return false
	}
	return true
}

func (d *decoder) cacheCreation(c *counts, at int) {
	for name := d.enter("usage." + place(at) + "cache_creation"); name != nil; name = d.next() {
		switch string(name) {
		case "ephemeral_5m_input_tokens":
			d.count(&c.quantities[billing.CacheWrite5m], &c.given, givenSplit, at, "cache_creation.ephemeral_5m_input_tokens")
		case "ephemeral_1h_input_tokens":
			d.count(&c.quantities[billing.CacheWrite1h], &c.given, givenSplit, at, "cache_creation.ephemeral_1h_input_tokens")
		default:
			d.unknown(place(at)+"cache_creation.", name)
		}
	}
}

// serverToolUse counts web searches and the seconds that code ran. Fetches are
// free, and other tools' counts are no tokens: they are left unread. The API's own
// count of executions says nothing of their length, which is what costs.
func (d *decoder) serverToolUse() {
	for name := d.enter("usage.server_tool_use"); name != nil; name = d.next() {
		q := &d.use.quantities
		switch string(name) {
		case "web_search_requests":
			d.count(&q[billing.WebSearch], &d.use.given, 0, atTop, "server_tool_use.web_search_requests")
		case "web_fetch_requests":
			d.count(&d.use.fetches, &d.use.given, 0, atTop, "server_tool_use.web_fetch_requests")
		case "code_execution_seconds":
			d.count(&q[billing.CodeExecution], &d.use.given, 0, atTop, "server_tool_use.code_execution_seconds")
		default:
			d.unknown("server_tool_use.", name)
		}
	}
}

// maxIterations bounds how many iterations are read of one request.
const maxIterations = 1000

// iterations reads what was sampled, entry by entry.
func (d *decoder) iterations() {
	if d.json.PeekKind() != '[' {
		if value := d.value(); value != nil && value[0] != 'n' {
			d.refuse("usage.iterations", "is "+kindName(value[0])+"; accepted: an array")
		}
		return
	}
	if _, err := d.json.ReadToken(); err != nil {
		d.failed(err)
		return
	}
	for !d.broken && d.json.PeekKind() != ']' {
		if d.json.PeekKind() == 0 {
			d.value() // says what is wrong
			return
		}
		if len(d.use.iterations) == maxIterations {
			d.refuse("usage.iterations", "has too many entries; accepted: at most "+strconv.Itoa(maxIterations))
			d.value()
			continue
		}
		d.use.iterations = append(d.use.iterations, iteration{})
		d.iteration(len(d.use.iterations) - 1)
	}
	if !d.broken {
		_, _ = d.json.ReadToken() // the bracket that was peeked
	}
}

func (d *decoder) iteration(at int) {
	entry := &d.use.iterations[at]
	field := "usage.iterations[" + strconv.Itoa(at) + "]"
	for name := d.enter(field); name != nil; name = d.next() {
		if d.tokens(name, &entry.counts, at) {
			continue
		}
		switch string(name) {
		case "type":
			entry.kind = d.interned(field+".type", 0, d.tiers, checkWord)
		case "model":
			entry.model = d.interned(field+".model", 0, d.models, checkModel)
		default:
			d.unknown(place(at), name)
		}
	}
}

// fallbackCredit reads what became of a fallback credit; anything but the
// vendor's own form counts as unknown.
func (d *decoder) fallbackCredit() {
	value := d.value()
	if value == nil || value[0] == 'n' {
		return
	}
	d.use.credit = creditStatus(value)
}

func creditStatus(value []byte) string {
	var credit struct {
		Status struct{ Type string }
	}
	if err := json.Unmarshal(value, &credit); err != nil || credit.Status.Type == "" {
		return "of an unknown form"
	}
	return printable([]byte(credit.Status.Type))
}
