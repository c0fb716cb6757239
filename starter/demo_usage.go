package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The demo's usage is made from a seed, in the shape of recorded traces of LLM
// requests: sizes of prompts and outputs have heavy tails, a coding session's
// context grows and is read from the cache, people work on weekdays.

// demoEvent is a usage event as a file has it.
type demoEvent struct {
	ID           string    `json:"id"`
	Organization string    `json:"organization"`
	User         string    `json:"user,omitempty"`
	OccurredAt   time.Time `json:"occurred_at"`
	Product      string    `json:"product"`
	Model        string    `json:"model"`
	Usage        demoCount `json:"usage"`
}

type demoCount struct {
	Input       int64  `json:"input_tokens"`
	CacheWrite  int64  `json:"cache_creation_input_tokens,omitempty"`
	CacheRead   int64  `json:"cache_read_input_tokens,omitempty"`
	Output      int64  `json:"output_tokens"`
	ServiceTier string `json:"service_tier,omitempty"`
}

// sizes is a log-normal distribution cut off at both ends.
type sizes struct {
	median, spread float64
	least, most    int64
}

func (s sizes) draw(r *rand.Rand) int64 {
	n := int64(s.median * math.Exp(s.spread*r.NormFloat64()))
	return min(max(n, s.least), s.most)
}

// Medians and spreads are those of the Azure LLM inference traces of 2023; a
// coding session's context is larger than those traces' single requests.
var (
	codePrompt  = sizes{1100, 1.36, 10, 60_000}
	codeContext = sizes{28_000, 0.9, 2_000, 260_000}
	codeOutput  = sizes{160, 1.1, 6, 8_000}
	chatPrompt  = sizes{760, 0.98, 20, 14_050}
	chatOutput  = sizes{150, 0.86, 10, 4_000}
)

// demoModel deals models as the traces' members were dealt theirs.
func demoModel(r *rand.Rand) string {
	switch n := r.IntN(10); {
	case n < 6:
		return "claude-sonnet-4-5"
	case n < 9:
		return "claude-haiku-4-5"
	default:
		return "claude-opus-4-1"
	}
}

// demoMonth makes the usage of an organisation's members from start on, in order
// of time. The same seed gives the same events.
func demoMonth(seed uint64, organization string, members []demoMember, start time.Time, days int) []demoEvent {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 0)), organization: organization} //nolint:gosec // G404: a demo's dice
	appetites := make([]float64, len(members))                                        // a few use much, most use little
	for i := range members {
		appetites[i] = math.Exp(0.8 * g.rand.NormFloat64())
	}
	for day := range days {
		morning := start.AddDate(0, 0, day).Add(8 * time.Hour)
		for i, member := range members {
			g.day(member, appetites[i], morning)
		}
		g.batch(morning.Add(-6 * time.Hour))
	}
	slices.SortStableFunc(g.events, func(a, z demoEvent) int {
		return cmp.Or(a.OccurredAt.Compare(z.OccurredAt), cmp.Compare(a.ID, z.ID))
	})
	return g.events
}

type generator struct {
	rand         *rand.Rand
	organization string
	events       []demoEvent
}

func (g *generator) add(user string, at time.Time, product, model string, count demoCount) {
	g.events = append(g.events, demoEvent{
		ID: fmt.Sprintf("%s-%06d", g.organization, len(g.events)+1), Organization: g.organization, User: user,
		OccurredAt: at.UTC().Truncate(time.Microsecond), Product: product, Model: model, Usage: count,
	})
}

// day is a member's day at work.
func (g *generator) day(member demoMember, appetite float64, morning time.Time) {
	if weekend := morning.Weekday() == time.Saturday || morning.Weekday() == time.Sunday; weekend && g.rand.IntN(8) > 0 {
		return
	}
	for range int(3*appetite*g.rand.Float64() + 0.5) {
		begin := morning.Add(time.Duration(g.rand.Int64N(int64(9 * time.Hour))))
		if member.codes() {
			g.code(member.user, begin)
		} else {
			g.chat(member.user, begin)
		}
	}
}

// code is a session of Claude Code: each turn reads the context so far from the
// cache and adds to it.
func (g *generator) code(user string, at time.Time) {
	model, context := demoModel(g.rand), codeContext.draw(g.rand)
	written := context
	for range 1 + g.rand.IntN(9) {
		output := codeOutput.draw(g.rand)
		g.add(user, at, "claude_code", model, demoCount{
			Input: 4 + g.rand.Int64N(40), CacheWrite: written, CacheRead: context - written, Output: output,
		})
		written = codePrompt.draw(g.rand) + output
		context += written
		at = at.Add(g.pause())
	}
}

// chat is a conversation: each turn sends the whole of it.
func (g *generator) chat(user string, at time.Time) {
	model, prompt := demoModel(g.rand), int64(0)
	for range 1 + g.rand.IntN(5) {
		prompt += chatPrompt.draw(g.rand)
		output := chatOutput.draw(g.rand)
		g.add(user, at, "chat", model, demoCount{Input: prompt, Output: output})
		prompt += output
		at = at.Add(g.pause())
	}
}

// batch is a nightly job of no member's, at batch prices.
func (g *generator) batch(at time.Time) {
	for range 3 {
		g.add("", at, "chat", "claude-haiku-4-5", demoCount{
			Input: 20 * chatPrompt.draw(g.rand), Output: 4 * chatOutput.draw(g.rand), ServiceTier: "batch",
		})
		at = at.Add(g.pause())
	}
}

// pause is how long somebody reads before the next turn.
func (g *generator) pause() time.Duration {
	return time.Duration(float64(45*time.Second) * math.Exp(0.7*g.rand.NormFloat64()))
}

// resendEvery is how often a sender sends an event twice, as senders do that got
// no answer in time.
const resendEvery = 97

// writeDemoUsage writes events as a usage file; some lines come twice.
func writeDemoUsage(w io.Writer, events []demoEvent) error {
	encoder := json.NewEncoder(w)
	for i, event := range events {
		if err := encoder.Encode(event); err != nil {
			return err
		}
		if i%resendEvery == resendEvery-1 {
			if err := encoder.Encode(event); err != nil {
				return err
			}
		}
	}
	return nil
}
