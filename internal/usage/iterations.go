package usage

import (
	"fmt"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The types of the entries of usage.iterations.
const (
	kindMessage    = "message"
	kindCompaction = "compaction"
	kindAdvisor    = "advisor_message"
	kindFallback   = "fallback_message"
)

// samplings returns the entries of usage.iterations that are billed, each by
// itself; none where the event as a whole says the same. Where the entries do not
// agree with the request's own counts, it returns why. As the vendor documents it:
//
//   - The request's own counts are the sum of the message entries. "The top-level
//     input_tokens and output_tokens do not include compaction iteration usage",
//     which is billed beside them (build-with-claude/compaction), and they "reflect
//     executor tokens only": an advisor is billed at the rates of its own model
//     (agents-and-tools/tool-use/advisor-tool).
//   - Where a fallback model served the request, its own counts are those of that
//     model alone, and "each attempt is billed separately, at the rates of the model
//     that ran it". An attempt that declined before any output is not charged
//     (build-with-claude/refusals-and-fallback).
func (u *usageObject) samplings(e *billing.Event) (parts []billing.Sampling, reason string) {
	if len(u.iterations) == 0 {
		return nil, u.creditReason()
	}
	sum, last := counts{}, -1
	serving := u.servingModel()
	for i := range u.iterations {
		entry := &u.iterations[i]
		part := billing.Sampling{Model: orDefault(entry.model, e.Model)}
		entry.assume(u, serving)
		if part.Quantities, part.CacheSplitAssumed, reason = entry.split(); reason != "" {
			return nil, fmt.Sprintf("usage.iterations[%d]: %s", i, reason)
		}
		served := entry.served(serving)
		switch {
		case !entry.known():
			return nil, fmt.Sprintf("usage.iterations[%d].type %s is not known", i, orDefault(entry.kind, `""`))
		case served:
			sum.add(&entry.counts)
		}
		if part.Quantities == (billing.Quantities{}) || entry.kind == kindMessage && !served && part.Quantities[billing.Output] == 0 {
			continue
		}
		parts = append(parts, part)
		if served {
			last = len(parts) - 1
		}
	}
	if !sum.equal(&u.counts) {
		return nil, fmt.Sprintf("usage.iterations add up to %s, and usage counts %s", sum.String(), u.String())
	}
	parts = u.giveTools(e, parts, last)
	if len(parts) == 1 && parts[0] == (billing.Sampling{Model: e.Model, Quantities: e.Quantities, CacheSplitAssumed: e.CacheSplitAssumed}) {
		parts = nil
	}
	return parts, u.creditReason()
}

// giveTools gives the use of server tools, which the request counts as a whole,
// to the sampling that served it.
func (u *usageObject) giveTools(e *billing.Event, parts []billing.Sampling, served int) []billing.Sampling {
	var tools billing.Quantities
	for _, class := range billing.Classes() {
		if !class.IsToken() {
			tools[class] = e.Quantities[class]
		}
	}
	if tools == (billing.Quantities{}) {
		return parts
	}
	if served < 0 {
		return append(parts, billing.Sampling{Model: e.Model, Quantities: tools})
	}
	parts[served].Quantities.Add(&tools)
	return parts
}

// servingModel is the model of the fallback that served the request; "" = none
// did.
func (u *usageObject) servingModel() string {
	for i := range u.iterations {
		if u.iterations[i].kind == kindFallback {
			return u.iterations[i].model
		}
	}
	return ""
}

func (n *iteration) known() bool {
	switch n.kind {
	case kindMessage, kindCompaction, kindAdvisor, kindFallback:
		return true
	}
	return false
}

// served reports whether an entry belongs to the attempt that served the request.
// Where a fallback model did, the entries of the models that declined do not.
func (n *iteration) served(fallback string) bool {
	return n.kind == kindFallback || n.kind == kindMessage && (fallback == "" || n.model == fallback)
}

// assume gives an entry without a split that of its request, where the request
// wrote in one class alone.
func (n *iteration) assume(u *usageObject, fallback string) {
	if n.given&givenSplit != 0 || n.writes == 0 || !n.served(fallback) || u.given&givenSplit == 0 {
		return
	}
	if u.writes == u.quantities[billing.CacheWrite1h] {
		n.quantities[billing.CacheWrite1h] = n.writes
	}
	if u.writes == u.quantities[billing.CacheWrite5m] {
		n.quantities[billing.CacheWrite5m] = n.writes
	}
}

// creditReason says why a fallback credit leaves the price open. A credit that was
// redeemed, and one that was not, leave none: "The refund is visible in the retry's
// usage: cache_creation_input_tokens is lower, and cache_read_input_tokens is
// higher by the same amount" (platform.claude.com/docs/en/build-with-claude/fallback-credit).
func (u *usageObject) creditReason() string {
	switch u.credit {
	case "", "redeemed", "not_applied":
		return ""
	default:
		return "usage.fallback_credit is " + u.credit
	}
}

// total is the number of cache writes, in all classes.
func (c *counts) total() int64 {
	if c.given&givenWrites != 0 {
		return c.writes
	}
	return c.quantities[billing.CacheWrite5m] + c.quantities[billing.CacheWrite1h]
}

func (c *counts) add(other *counts) {
	for _, class := range []billing.Class{billing.Input, billing.Output, billing.CacheRead} {
		c.quantities[class] += other.quantities[class]
	}
	c.given |= givenWrites
	c.writes += other.total()
}

func (c *counts) equal(other *counts) bool {
	for _, class := range []billing.Class{billing.Input, billing.Output, billing.CacheRead} {
		if c.quantities[class] != other.quantities[class] {
			return false
		}
	}
	return c.total() == other.total()
}

// String lists the counts for people.
func (c *counts) String() string {
	q := &c.quantities
	return fmt.Sprintf("%d input, %d cache write, %d cache read and %d output tokens", q[billing.Input], c.total(), q[billing.CacheRead], q[billing.Output])
}
