package usage

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/arrears-dev/arrears/internal/billing"
)

// complete checks what only the whole event can tell and fills in the defaults.
// It reports whether the event can be priced as far as its format goes.
func (d *decoder) complete(line []byte) (priceable bool) {
	if d.event.Retracts != "" {
		d.retraction()
		return true
	}
	if !d.isComplete() {
		return true
	}
	e := &d.event
	other := d.words()
	d.freeCode()
	var reason string
	if e.Quantities, e.CacheSplitAssumed, reason = d.use.split(); reason != "" {
		first(&d.use.other, reason)
	}
	if d.use.other == "" && d.use.unknown == "" {
		if e.Samplings, reason = d.use.samplings(e); reason != "" {
			d.use.other = reason
		}
	}
	if len(d.masked) > 0 {
		e.Remark = "labels were changed to be taken: " + listed(d.masked)
		e.Payload = withLabels(line, e.Labels)
	}
	switch {
	case d.use.unknown != "":
		e.Unpriceable = fmt.Sprintf("usage.%s is a token count without a price", d.use.unknown)
	case d.use.other != "":
		e.Unpriceable = d.use.other
	case other != "" && e.Quantities != (billing.Quantities{}):
		e.Unpriceable = other
	default:
		return true
	}
	_, object, _ := bytes.Cut(line[d.use.at[0]:d.use.at[1]], []byte(":"))
	e.Content = content(object)
	return false
}

// isComplete reports whether the event has what an event must have, and refuses
// it otherwise. Where tokens are counted under names that nobody knows, the known
// ones may be missing.
func (d *decoder) isComplete() bool {
	given := d.given | d.use.given
	for _, r := range required {
		if given&r.given != 0 {
			continue
		}
		if d.use.unknown != "" && r.given&(givenInput|givenOutput) != 0 {
			continue
		}
		d.refuse(r.field, "is required; it is missing, null or empty")
		return false
	}
	return true
}

// words fills in the event's service tier, speed and geography. It returns why
// they contradict each other, or "".
func (d *decoder) words() (contradiction string) {
	e := &d.event
	e.ServiceTier = orDefault(e.ServiceTier, billing.Standard)
	var speeds, geos string
	e.Speed, speeds = agree("speed", d.speed, d.use.speed, billing.Standard)
	e.InferenceGeo, geos = agree("inference_geo", geography(d.geo), geography(d.use.geo), billing.GeoGlobal)
	return orDefault(speeds, geos)
}

// geography reads the API's word for models that offer no choice.
func geography(word string) string {
	if word == "not_available" {
		return billing.GeoGlobal
	}
	return word
}

// agree returns a word that may stand in two places, and why it is unclear where
// they say different things.
func agree(name, inEvent, inUsage, usual string) (word, contradiction string) {
	if inEvent != "" && inUsage != "" && inEvent != inUsage {
		contradiction = fmt.Sprintf("%s is %s in the event and %s in its usage", name, inEvent, inUsage)
	}
	return orDefault(orDefault(inUsage, inEvent), usual), contradiction
}

func orDefault(s, ifEmpty string) string {
	if s == "" {
		return ifEmpty
	}
	return s
}

// freeCode takes out the seconds of code that ran beside a web search or fetch:
// they are free.
func (d *decoder) freeCode() {
	if q := &d.use.quantities; d.use.fetches > 0 || q[billing.WebSearch] > 0 {
		q[billing.CodeExecution] = 0
	}
}

// split returns the quantities of the counts, with each cache write in its class.
// What the split leaves open counts as 5-minute writes, which is assumed; a split
// above its total is a contradiction.
func (c *counts) split() (q billing.Quantities, assumed bool, reason string) {
	q = c.quantities
	if c.given&givenWrites == 0 {
		return q, false, ""
	}
	rest := c.writes - q[billing.CacheWrite5m] - q[billing.CacheWrite1h]
	if rest < 0 {
		return q, false, fmt.Sprintf("usage.cache_creation counts %d tokens and usage.cache_creation_input_tokens %d",
			q[billing.CacheWrite5m]+q[billing.CacheWrite1h], c.writes)
	}
	q[billing.CacheWrite5m] += rest
	return q, rest > 0, ""
}

// retraction checks an event that cancels another: it says which one and when,
// and nothing of the use itself, which the other has said.
func (d *decoder) retraction() {
	e := &d.event
	for _, r := range required[:3] {
		if d.given&r.given == 0 {
			d.refuse(r.field, "is required; it is missing, null or empty")
			return
		}
	}
	for _, other := range []struct {
		field string
		given bool
	}{
		{"user", e.User != ""},
		{"product", e.Product != ""},
		{"model", e.Model != ""},
		{"usage", d.given&givenUsage != 0},
		{"speed", d.speed != ""},
		{"inference_geo", d.geo != ""},
		{"labels", e.Labels != nil},
	} {
		if other.given {
			d.refuse(other.field, "is given together with retracts; accepted with it: id, organization, occurred_at; a corrected event is sent under an id of its own")
		}
	}
	if e.Retracts == e.ID {
		d.refuse("retracts", "is the event's own id; accepted: the id of the event that it cancels")
	}
}

// content is what a usage object says, whatever its spelling: its members in
// order of name, without those that say nothing.
func content(object []byte) []byte {
	var value any
	if err := json.Unmarshal(object, &value); err != nil {
		return bytes.Clone(object) // it was read, so it is JSON
	}
	canonical, err := json.Marshal(said(value))
	if err != nil {
		return bytes.Clone(object)
	}
	return canonical
}

// said leaves out what says nothing; nil is all of it.
func said(value any) any {
	switch v := value.(type) {
	case string:
		if v == "" {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = said(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	case map[string]any:
		for name, inner := range v {
			if inner = said(inner); inner == nil {
				delete(v, name)
			} else {
				v[name] = inner
			}
		}
		if len(v) == 0 {
			return nil
		}
	}
	return value
}
