package billing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// TokensPer is what token prices are quoted for.
const TokensPer = 1_000_000

// UnitPrice is Amount for every Per units. Per is a power of ten, so a quantity
// times a unit price is exact; or, of seconds that are quoted by the minute or
// the hour, 60 or 3600, where the quotient may never end.
type UnitPrice struct {
	Amount decimal.Decimal
	Per    int64
}

// Times returns the price of a quantity as spend counts it: exactly, or where the
// quotient never ends, at the price of one unit rounded up to 18 places. So it is
// the sum of the prices of the quantity's parts, however it is parted.
func (u UnitPrice) Times(quantity decimal.Decimal) decimal.Decimal {
	if places, exact := powerOfTen(u.Per); exact {
		return u.Amount.Mul(quantity).Shift(-places)
	}
	unit, rest := u.Amount.QuoRem(decimal.NewFromInt(u.Per), exactPlaces)
	if rest.IsPositive() {
		unit = unit.Add(decimal.New(1, -exactPlaces))
	}
	return unit.Mul(quantity)
}

// charge returns the price of a quantity as a charge line asks it: exactly, or
// where the quotient never ends, divided last and rounded once to so many places.
func (u UnitPrice) charge(quantity decimal.Decimal, places int32) decimal.Decimal {
	if _, exact := powerOfTen(u.Per); exact {
		return u.Times(quantity)
	}
	return u.Amount.Mul(quantity).DivRound(decimal.NewFromInt(u.Per), places)
}

// RateKey names a rate: one price row with its modifiers, and the tool prices
// in force beside it. It is what storage makes unique.
type RateKey struct {
	Model             string
	Speed             string
	EffectiveFrom     time.Time
	PromptTokensAbove int64
	Batch             bool
	USOnly            bool
	ToolsFrom         time.Time // the last change of any tool price; zero = none priced yet
}

// Rate is what an event's quantities are multiplied by. An event keeps its rate
// for good, so that a recount always gives the same totals (R26).
type Rate struct {
	ID   int64 // given by storage
	Key  RateKey
	Unit [NumClasses]UnitPrice // after modifiers; Per 0 = this class has no price

	// MinimumSeconds is the least that an event which runs code is billed for.
	MinimumSeconds int64

	// Superseded: its price was corrected since. No further event gets it; those
	// of closed periods keep it.
	Superseded bool
}

// Cost is the exact list price of what was counted under the rate.
func (r *Rate) Cost(totals *Totals) decimal.Decimal {
	cost := decimal.Zero
	for c := range totals {
		if !totals[c].IsZero() {
			cost = cost.Add(r.Unit[c].Times(totals[c]))
		}
	}
	return cost
}

// Metered returns the event as it is billed: code that ran for less than the
// minimum counts as the minimum. The event itself stays as it was sent.
func (r *Rate) Metered(e *Event) *Event {
	if ran := e.Quantities[CodeExecution]; ran == 0 || ran >= r.MinimumSeconds {
		return e
	}
	metered := *e
	metered.Quantities[CodeExecution] = r.MinimumSeconds
	return &metered
}

// Rates lists every rate that the book can give: each price row, standard and
// batch, global and US-only, under each version of the tool prices that can
// meet it. Storage keeps them all, so that rating an event is a look-up.
func (b *PriceBook) Rates() []Rate {
	var rates []Rate
	for _, row := range b.Models {
		for _, toolsFrom := range b.toolVersions() {
			for _, batch := range []bool{false, true} {
				for _, us := range []bool{false, true} {
					if batch && !row.Batch.Valid || us && !row.USOnly.Valid {
						continue
					}
					rates = append(rates, b.rate(row, batch, us, toolsFrom))
				}
			}
		}
	}
	return rates
}

// toolVersions lists when the tool prices changed, "not priced yet" first.
func (b *PriceBook) toolVersions() []time.Time {
	versions := []time.Time{{}}
	for _, p := range b.Tools {
		if !slices.ContainsFunc(versions, p.EffectiveFrom.Equal) {
			versions = append(versions, p.EffectiveFrom)
		}
	}
	slices.SortFunc(versions, time.Time.Compare)
	return versions
}

func (b *PriceBook) rate(row ModelPrice, batch, us bool, toolsFrom time.Time) Rate {
	multiplier := decimal.NewFromInt(1)
	if batch {
		multiplier = multiplier.Mul(row.Batch.Decimal)
	}
	if us {
		multiplier = multiplier.Mul(row.USOnly.Decimal)
	}
	r := Rate{Key: RateKey{
		Model: row.Model, Speed: row.Speed, EffectiveFrom: row.EffectiveFrom,
		PromptTokensAbove: row.PromptTokensAbove, Batch: batch, USOnly: us, ToolsFrom: toolsFrom,
	}}
	for c, price := range row.PerMillion {
		r.Unit[c] = UnitPrice{price.Mul(multiplier), TokensPer}
	}
	if tool, ok := b.Tool(WebSearch.String(), toolsFrom); ok {
		r.Unit[WebSearch] = UnitPrice{tool.Amount, tool.Per}
	}
	if tool, ok := b.Tool(CodeExecution.String(), toolsFrom); ok {
		r.Unit[CodeExecution] = UnitPrice{tool.Amount, tool.Per}
		r.MinimumSeconds = tool.Minimum
	}
	return r
}

// Rater finds the rate of an event in one revision of a price book. It is safe
// for concurrent use.
type Rater struct {
	Book  *PriceBook
	rates map[RateKey]*Rate
	byID  map[int64]*Rate
	rows  map[modelSpeed][]ModelPrice // newest version first, within it the highest band first
	tools []time.Time                 // newest first
}

type modelSpeed struct{ model, speed string }

// NewRater indexes a book and its rates, which carry the ids that storage gave them.
func NewRater(book *PriceBook, rates []Rate) *Rater {
	r := &Rater{
		Book: book, rates: make(map[RateKey]*Rate, len(rates)), byID: make(map[int64]*Rate, len(rates)),
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
	k.EffectiveFrom, k.ToolsFrom = k.EffectiveFrom.UTC(), k.ToolsFrom.UTC()
	return k
}

// ByID returns a rate by the id that storage gave it, or nil.
func (r *Rater) ByID(id int64) *Rate { return r.byID[id] }

// Rate returns the rate in force for the event when it occurred (R17). Where
// there is none, it returns nil and the reason for which the event is parked:
// an unknown price is never zero (R21).
func (r *Rater) Rate(e *Event) (*Rate, string) {
	if e.UnknownCount != "" {
		return nil, fmt.Sprintf("usage.%s is a token count without a price", e.UnknownCount)
	}
	row, reason := r.row(e)
	if reason != "" {
		return nil, reason
	}
	key := RateKey{
		Model: row.Model, Speed: row.Speed, EffectiveFrom: row.EffectiveFrom, PromptTokensAbove: row.PromptTokensAbove,
		USOnly: e.InferenceGeo == GeoUS && row.USOnly.Valid, ToolsFrom: r.toolsFrom(e.OccurredAt),
	}
	switch {
	case e.ServiceTier == Batch && !row.Batch.Valid:
		return nil, fmt.Sprintf("model %s has no batch price for speed %s", e.Model, e.Speed)
	case e.ServiceTier == Batch:
		key.Batch = true
	case e.ServiceTier != Standard:
		return nil, fmt.Sprintf("service tier %s has no price", e.ServiceTier)
	}
	rate := r.rates[key.normal()]
	if rate == nil {
		return nil, fmt.Sprintf("model %s has no rate in price book %s", e.Model, r.Book.Name)
	}
	for _, tool := range []Class{WebSearch, CodeExecution} {
		if e.Quantities[tool] > 0 && rate.Unit[tool].Per == 0 {
			return nil, tool.String() + " has no price"
		}
	}
	return rate, ""
}

// row finds the version in force when the event occurred and, within it, the
// highest band that the prompt exceeds. The whole request is priced in that
// band.
func (r *Rater) row(e *Event) (ModelPrice, string) {
	rows := r.rows[modelSpeed{e.Model, e.Speed}]
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
	switch {
	case len(rows) > 0:
		return ModelPrice{}, fmt.Sprintf("model %s had no price yet at %s", e.Model, e.OccurredAt.Format(time.RFC3339))
	case len(r.rows[modelSpeed{e.Model, Standard}]) > 0:
		return ModelPrice{}, fmt.Sprintf("model %s has no price for speed %s", e.Model, e.Speed)
	default:
		return ModelPrice{}, fmt.Sprintf("model %s is not in price book %s", e.Model, r.Book.Name)
	}
}

func (r *Rater) toolsFrom(at time.Time) time.Time {
	for _, from := range r.tools {
		if !from.After(at) {
			return from
		}
	}
	return time.Time{}
}
