package billing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// Rater finds the rate of an event in one revision of a price book. It is safe
// for concurrent use.
type Rater struct {
	Book  *PriceBook
	names *modelNames
	rates map[RateKey]*Rate
	byID  map[int64]*Rate
	rows  map[modelSpeed][]ModelPrice // newest version first, within it the highest band first
	tools []time.Time                 // newest first
}

type modelSpeed struct{ model, speed string }

// NewRater indexes a book and its rates, which carry the ids that storage gave them.
func NewRater(book *PriceBook, rates []Rate) *Rater {
	r := &Rater{
		Book: book, names: newModelNames(book),
		rates: make(map[RateKey]*Rate, len(rates)), byID: make(map[int64]*Rate, len(rates)),
		rows: map[modelSpeed][]ModelPrice{}, tools: book.toolVersions(),
	}
	slices.Reverse(r.tools)
	for i := range rates {
		if !rates[i].Superseded {
			r.rates[rates[i].Key.normal()] = &rates[i]
		}
		r.byID[rates[i].ID] = &rates[i]
	}
	for _, row := range book.Models {
		key := modelSpeed{row.Model, row.Speed}
		r.rows[key] = append(r.rows[key], row)
	}
	for _, rows := range r.rows {
		slices.SortFunc(rows, func(a, z ModelPrice) int {
			return cmp.Or(z.EffectiveFrom.Compare(a.EffectiveFrom), cmp.Compare(z.PromptTokensAbove, a.PromptTokensAbove))
		})
	}
	return r
}

// normal makes equal instants equal as map keys.
func (k RateKey) normal() RateKey {
	k.EffectiveFrom, k.TierFrom, k.ToolsFrom = k.EffectiveFrom.UTC(), k.TierFrom.UTC(), k.ToolsFrom.UTC()
	return k
}

// ByID returns a rate by the id that storage gave it, or nil.
func (r *Rater) ByID(id int64) *Rate { return r.byID[id] }

// Model returns the priced model that a name in a usage event means; "" where it
// means none, or could be read as several.
func (r *Rater) Model(name string) string {
	model, _ := r.names.find(name)
	return model
}

// Rate returns the rate in force for the event when it occurred. Where there is
// none, it returns nil and the reason for which the event is parked: an unknown
// price is never zero. It rates one sampling: see Parts.
func (r *Rater) Rate(e *Event) (*Rate, string) {
	if e.Unpriceable != "" {
		return nil, e.Unpriceable
	}
	model, reason := r.model(e)
	if reason != "" {
		return nil, reason
	}
	row, reason := r.row(model, e)
	if reason != "" {
		return nil, reason
	}
	key := RateKey{
		Model: row.Model, Speed: row.Speed, EffectiveFrom: row.EffectiveFrom, PromptTokensAbove: row.PromptTokensAbove,
		ServiceTier: e.ServiceTier, ToolsFrom: r.toolsFrom(e.OccurredAt),
	}
	switch e.InferenceGeo {
	case GeoGlobal, "":
	case GeoUS:
		key.USOnly = row.USOnly.Valid
	default:
		return nil, fmt.Sprintf("inference geography %s has no price", e.InferenceGeo)
	}
	if key.TierFrom, reason = r.tierFrom(model, row, e); reason != "" {
		return nil, reason
	}
	rate := r.rates[key.normal()]
	if rate == nil {
		return nil, fmt.Sprintf("model %s has no rate in price book %s", model, r.Book.Name)
	}
	for _, tool := range []Class{WebSearch, CodeExecution} {
		if e.Quantities[tool] > 0 && rate.Unit[tool].Per == 0 {
			return nil, tool.String() + " has no price"
		}
	}
	return rate, ""
}

// model finds the model that an event's name means.
func (r *Rater) model(e *Event) (model, reason string) {
	model, ambiguous := r.names.find(e.Model)
	switch {
	case ambiguous:
		return "", fmt.Sprintf("model %s could be several models of price book %s: give one of them this name as an alias", e.Model, r.Book.Name)
	case model == "":
		return "", fmt.Sprintf("model %s is not in price book %s", e.Model, r.Book.Name)
	}
	return model, ""
}

// row finds the version in force when the event occurred and, within it, the
// highest band that the prompt exceeds. The whole request is priced in that
// band.
func (r *Rater) row(model string, e *Event) (ModelPrice, string) {
	rows := r.rows[modelSpeed{model, e.Speed}]
	prompt := e.Quantities.PromptTokens()
	for i, row := range rows {
		if row.EffectiveFrom.After(e.OccurredAt) {
			continue
		}
		for _, band := range rows[i:] {
			if prompt > band.PromptTokensAbove || band.PromptTokensAbove == 0 {
				return band, ""
			}
		}
	}
	if len(rows) > 0 {
		return ModelPrice{}, fmt.Sprintf("model %s had no price yet at %s", model, e.OccurredAt.Format(time.RFC3339))
	}
	return ModelPrice{}, fmt.Sprintf("model %s has no price for speed %s", model, e.Speed)
}

// tierFrom finds since when the multiplier of an event's service tier holds.
func (r *Rater) tierFrom(model string, row ModelPrice, e *Event) (from time.Time, reason string) {
	switch {
	case e.ServiceTier == Standard, e.ServiceTier == Batch && row.Batch.Valid:
		return from, ""
	case e.ServiceTier == Batch:
		return from, fmt.Sprintf("model %s has no batch price for speed %s", model, e.Speed)
	}
	tier, priced := r.Book.serviceTier(e.ServiceTier, e.OccurredAt)
	switch {
	case !priced:
		return from, fmt.Sprintf("service tier %s has no price", e.ServiceTier)
	case row.Speed != Standard:
		return from, fmt.Sprintf("service tier %s has no price for speed %s", e.ServiceTier, e.Speed)
	}
	return tier.EffectiveFrom, ""
}

func (r *Rater) toolsFrom(at time.Time) time.Time {
	for _, from := range r.tools {
		if !from.After(at) {
			return from
		}
	}
	return time.Time{}
}

// Provisional is what usage without a price counts against limits: its known
// counts at the book's fallback price, and tools at their own, where they have
// one. It is zero for a book without a fallback.
func (r *Rater) Provisional(e *Event) decimal.Decimal {
	sum := decimal.Zero
	if r.Book.Fallback == nil {
		return sum
	}
	for class, price := range r.Book.Fallback.PerMillion {
		if n := e.Quantities[class]; n != 0 {
			sum = sum.Add(UnitPrice{price, TokensPer}.Times(decimal.NewFromInt(n)))
		}
	}
	for _, class := range []Class{WebSearch, CodeExecution} {
		tool, priced := r.Book.Tool(class.String(), e.OccurredAt)
		if n := e.Quantities[class]; priced && n != 0 {
			sum = sum.Add(UnitPrice{tool.Amount, tool.Per}.Times(decimal.NewFromInt(n)))
		}
	}
	return sum
}
