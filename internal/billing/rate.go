package billing

import (
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
	ServiceTier       string    // Standard, Batch, or one with a multiplier of its own
	TierFrom          time.Time // since when that multiplier holds; zero for Standard and Batch
	USOnly            bool
	ToolsFrom         time.Time // the last change of any tool price; zero = none priced yet
}

// Rate is what an event's quantities are multiplied by. An event keeps its rate
// for good, so that a recount always gives the same totals.
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

// Rates lists every rate that the book can give: each price row in each service
// tier, global and US-only, under each version of the tool prices that can meet
// it. Storage keeps them all, so that rating an event is a look-up.
func (b *PriceBook) Rates() []Rate {
	var rates []Rate
	toolVersions := b.toolVersions()
	for _, row := range b.Models {
		tiers := b.tiersOf(row)
		for _, toolsFrom := range toolVersions {
			for _, tier := range tiers {
				for _, us := range []bool{false, true} {
					if us && !row.USOnly.Valid {
						continue
					}
					rates = append(rates, b.rate(row, tier, us, toolsFrom))
				}
			}
		}
	}
	return rates
}

// tiersOf lists the service tiers in which a price row is offered. The book's
// multipliers are of the standard speed: no other tier is offered with fast.
func (b *PriceBook) tiersOf(row ModelPrice) []ServiceTierPrice {
	tiers := []ServiceTierPrice{{Tier: Standard, Multiplier: decimal.NewFromInt(1)}}
	if row.Batch.Valid {
		tiers = append(tiers, ServiceTierPrice{Tier: Batch, Multiplier: row.Batch.Decimal})
	}
	if row.Speed == Standard {
		tiers = append(tiers, b.ServiceTiers...)
	}
	return tiers
}

// serviceTier returns the multiplier of a service tier at an instant.
func (b *PriceBook) serviceTier(tier string, at time.Time) (ServiceTierPrice, bool) {
	return inForce(b.ServiceTiers, at,
		func(p ServiceTierPrice) bool { return p.Tier == tier },
		func(p ServiceTierPrice) time.Time { return p.EffectiveFrom })
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

func (b *PriceBook) rate(row ModelPrice, tier ServiceTierPrice, us bool, toolsFrom time.Time) Rate {
	multiplier := tier.Multiplier
	if us {
		multiplier = multiplier.Mul(row.USOnly.Decimal)
	}
	r := Rate{Key: RateKey{
		Model: row.Model, Speed: row.Speed, EffectiveFrom: row.EffectiveFrom,
		PromptTokensAbove: row.PromptTokensAbove, ServiceTier: tier.Tier, TierFrom: tier.EffectiveFrom, USOnly: us, ToolsFrom: toolsFrom,
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
