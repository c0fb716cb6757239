package billing

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// PriceBook is a named list of effective-dated prices in one currency. Prices
// are stored as they are published, class by class; none is derived from
// another (a cache write of Haiku 3 costs 0.30, not 1.25 times its input).
type PriceBook struct {
	Name       string
	Currency   Currency
	Revision   int64 // counts changes; 0 = never stored
	Seats      []SeatPrice
	Surcharges []SurchargePrice
	Models     []ModelPrice
	Aliases    []ModelAlias
	Tools      []ToolPrice

	// ServiceTiers are multipliers of service tiers beyond standard and batch.
	ServiceTiers []ServiceTierPrice
	// Fallback is what usage without a price counts against limits until it has
	// one; nil = nothing. Nothing is ever billed by it.
	Fallback *FallbackPrice
}

// ServiceTierPrice is what a service tier costs, as a multiple of the model's
// standard price of every token class.
type ServiceTierPrice struct {
	Tier          string
	EffectiveFrom time.Time // zero = always
	Multiplier    decimal.Decimal
}

// FallbackPrice is a price per million tokens that stands in for one that is
// unknown.
type FallbackPrice struct {
	PerMillion [numTokenClasses]decimal.Decimal
}

func (p *FallbackPrice) equal(other *FallbackPrice) bool {
	if p == nil || other == nil {
		return p == other
	}
	for class := range p.PerMillion {
		if !p.PerMillion[class].Equal(other.PerMillion[class]) {
			return false
		}
	}
	return true
}

// ModelPrice is one row of a model's prices, per million tokens. All rows of a
// model and speed with the same EffectiveFrom form one version, which replaces
// the version before it as a whole, bands included.
type ModelPrice struct {
	Model             string
	Speed             string // Standard or Fast
	EffectiveFrom     time.Time
	PromptTokensAbove int64 // the row's band: prompts of more than this many tokens; 0 = every prompt
	PerMillion        [numTokenClasses]decimal.Decimal
	Batch             decimal.NullDecimal // multiplier for batch requests; absent = batch is not offered
	USOnly            decimal.NullDecimal // multiplier for US-only inference; absent = no surcharge
}

// SeatPrice is what a seat of a tier costs for a whole month.
type SeatPrice struct {
	Tier          string
	EffectiveFrom time.Time // zero = always
	Amount        decimal.Decimal
	Products      []string // what the tier includes; empty = everything
}

// SurchargePrice is what a seat of a tier costs on top, for a whole month, when
// it carries the named option ("hipaa").
type SurchargePrice struct {
	Name          string
	Tier          string
	EffectiveFrom time.Time
	Amount        decimal.Decimal
}

// ToolPrice is what a server tool costs per so many requests, a power of ten, or,
// for code execution, per so many seconds: 1, 60 or 3600.
type ToolPrice struct {
	Tool          string
	EffectiveFrom time.Time
	Per           int64
	Amount        decimal.Decimal

	// Of code execution, in seconds:
	Minimum      int64 // the least that an event is billed for
	FreePerMonth int64 // of an organisation's billing month; of the price in force when the month begins
}

// Seat returns the price of a tier's seat on a day, and whether there is one.
func (b *PriceBook) Seat(tier string, at time.Time) (SeatPrice, bool) {
	return inForce(b.Seats, at,
		func(p SeatPrice) bool { return p.Tier == tier },
		func(p SeatPrice) time.Time { return p.EffectiveFrom })
}

// Surcharge returns the price of an option on a tier's seat on a day.
func (b *PriceBook) Surcharge(name, tier string, at time.Time) (SurchargePrice, bool) {
	return inForce(b.Surcharges, at,
		func(p SurchargePrice) bool { return p.Name == name && p.Tier == tier },
		func(p SurchargePrice) time.Time { return p.EffectiveFrom })
}

// Tool returns the price of a server tool at an instant.
func (b *PriceBook) Tool(tool string, at time.Time) (ToolPrice, bool) {
	return inForce(b.Tools, at,
		func(p ToolPrice) bool { return p.Tool == tool },
		func(p ToolPrice) time.Time { return p.EffectiveFrom })
}

// FreeSeconds is how long code may run free of charge in an organisation's billing
// month: by the price in force when the month begins, else by the first within it.
func (b *PriceBook) FreeSeconds(month Period) decimal.Decimal {
	tool := CodeExecution.String()
	price, ok := b.Tool(tool, month.Start)
	for _, p := range b.Tools {
		if p.Tool == tool && !ok && month.Contains(p.EffectiveFrom) &&
			(price.EffectiveFrom.IsZero() || p.EffectiveFrom.Before(price.EffectiveFrom)) {
			price = p
		}
	}
	return decimal.NewFromInt(price.FreePerMonth)
}

// Tiers lists the seat tiers that the book prices, by name.
func (b *PriceBook) Tiers() []string {
	var tiers []string
	for _, p := range b.Seats {
		if !slices.Contains(tiers, p.Tier) {
			tiers = append(tiers, p.Tier)
		}
	}
	slices.Sort(tiers)
	return tiers
}

// Includes reports whether the tier's seat covers the product at an instant.
// A tier that the book does not price covers nothing.
func (b *PriceBook) Includes(tier, product string, at time.Time) bool {
	seat, ok := b.Seat(tier, at)
	return ok && (len(seat.Products) == 0 || slices.Contains(seat.Products, product))
}

// inForce returns the matching price that took effect last, at or before at.
func inForce[P any](prices []P, at time.Time, matches func(P) bool, from func(P) time.Time) (best P, ok bool) {
	for _, p := range prices {
		if !matches(p) || from(p).After(at) {
			continue
		}
		if !ok || from(p).After(from(best)) {
			best, ok = p, true
		}
	}
	return best, ok
}

// Validate says what is wrong with a book that was just read, or nil.
func (b *PriceBook) Validate() error {
	if !ValidSlug(b.Name) {
		return Invalid("name: %q is not 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit", b.Name)
	}
	if _, err := ParseCurrency(string(b.Currency)); err != nil {
		return err
	}
	for _, check := range []func() error{b.validateModels, b.validateAliases, b.validateSeats, b.validateTools, b.validateServiceTiers} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (b *PriceBook) validateModels() error {
	rows := slices.SortedFunc(slices.Values(b.Models), func(a, z ModelPrice) int { return a.compare(z) })
	for i, row := range rows {
		if i > 0 && rows[i-1].compare(row) == 0 {
			return Invalid("model %s: two prices for the same speed, effective_from and prompt_tokens_above", row.Model)
		}
		first := i == 0 || !rows[i-1].sameVersion(row)
		if first && row.PromptTokensAbove != 0 {
			return Invalid("model %s: the prices from %s have no row for every prompt (without prompt_tokens_above)",
				row.Model, row.EffectiveFrom.Format(time.RFC3339))
		}
		for c, price := range row.PerMillion {
			if price.IsNegative() {
				return Invalid("model %s: %s: a price cannot be negative", row.Model, Class(c))
			}
		}
	}
	return nil
}

func (p ModelPrice) compare(other ModelPrice) int {
	return cmp.Or(cmp.Compare(p.Model, other.Model), cmp.Compare(p.Speed, other.Speed),
		p.EffectiveFrom.Compare(other.EffectiveFrom), cmp.Compare(p.PromptTokensAbove, other.PromptTokensAbove))
}

func (p ModelPrice) sameVersion(other ModelPrice) bool {
	return p.Model == other.Model && p.Speed == other.Speed && p.EffectiveFrom.Equal(other.EffectiveFrom)
}

func (b *PriceBook) validateAliases() error {
	models, seen := map[string]bool{}, map[string]string{}
	for _, p := range b.Models {
		models[p.Model] = true
	}
	for _, a := range b.Aliases {
		switch other, twice := seen[a.Alias]; {
		case !models[a.Model]:
			return Invalid("model %s: an alias needs prices of its model", a.Model)
		case models[a.Alias]:
			return Invalid("model %s: the alias %s is the name of a model", a.Model, a.Alias)
		case twice:
			return Invalid("alias %s: given to %s and to %s; accepted: one model", a.Alias, other, a.Model)
		}
		seen[a.Alias] = a.Model
	}
	return nil
}

func (b *PriceBook) validateServiceTiers() error {
	for i, p := range b.ServiceTiers {
		if p.Tier == Standard || p.Tier == Batch {
			return Invalid("service_tiers: %s: accepted: tiers other than standard, which is the price itself, and batch, which is the model's own", p.Tier)
		}
		if !p.Multiplier.IsPositive() {
			return Invalid("service_tiers: %s: a multiplier is above 0", p.Tier)
		}
		for _, other := range b.ServiceTiers[:i] {
			if other.Tier == p.Tier && other.EffectiveFrom.Equal(p.EffectiveFrom) {
				return Invalid("service_tiers: %s: two multipliers with the same effective_from", p.Tier)
			}
		}
	}
	return nil
}

func (b *PriceBook) validateSeats() error {
	seen := map[string]bool{}
	once := func(key string) error {
		if seen[key] {
			return Invalid("%s: two prices with the same effective_from", key)
		}
		seen[key] = true
		return nil
	}
	for _, p := range b.Seats {
		if p.Amount.IsNegative() {
			return Invalid("seats: tier %s: amount cannot be negative", p.Tier)
		}
		if err := once("seats: tier " + p.Tier + " from " + p.EffectiveFrom.UTC().Format(time.RFC3339Nano)); err != nil {
			return err
		}
	}
	for _, p := range b.Surcharges {
		if p.Amount.IsNegative() {
			return Invalid("surcharges: %s: amount cannot be negative", p.Name)
		}
		if err := once("surcharges: " + p.Name + " on " + p.Tier + " from " + p.EffectiveFrom.UTC().Format(time.RFC3339Nano)); err != nil {
			return err
		}
	}
	return nil
}

func (b *PriceBook) validateTools() error {
	for i, p := range b.Tools {
		if err := p.validate(); err != nil {
			return err
		}
		for _, other := range b.Tools[:i] {
			if other.Tool == p.Tool && other.EffectiveFrom.Equal(p.EffectiveFrom) {
				return Invalid("tools: %s: two prices with the same effective_from", p.Tool)
			}
		}
	}
	return nil
}

func (p ToolPrice) validate() error {
	_, decimalPer := powerOfTen(p.Per)
	runs := p.Tool == CodeExecution.String()
	switch {
	case !slices.Contains(Tools(), p.Tool):
		return Invalid("tools: %q is not a tool this version prices; accepted: %s", p.Tool, strings.Join(Tools(), ", "))
	case p.Amount.IsNegative():
		return Invalid("tools: %s: amount cannot be negative", p.Tool)
	case runs && !slices.Contains(SecondsPer(), p.Per):
		return Invalid("tools: %s: per is %d; accepted: 1, 60 or 3600 seconds", p.Tool, p.Per)
	case !runs && !decimalPer:
		return Invalid("tools: %s: per is %d; accepted: a power of ten, so that amounts stay exact", p.Tool, p.Per)
	case !runs && (p.Minimum != 0 || p.FreePerMonth != 0):
		return Invalid("tools: %s: accepted: minimum and free_per_month with %s only", p.Tool, CodeExecution)
	case p.Minimum < 0 || p.Minimum > MaxCount:
		return Invalid("tools: %s: minimum is %d; accepted: seconds from 0 to %d", p.Tool, p.Minimum, int64(MaxCount))
	case p.FreePerMonth < 0 || p.FreePerMonth > MaxCount:
		return Invalid("tools: %s: free_per_month is %d; accepted: seconds from 0 to %d", p.Tool, p.FreePerMonth, int64(MaxCount))
	}
	return nil
}

// Tools lists the server tools that a book may price.
func Tools() []string { return []string{WebSearch.String(), CodeExecution.String()} }

// SecondsPer lists for how many seconds a price of code execution may be quoted.
func SecondsPer() []int64 { return []int64{1, 60, 3600} }

// powerOfTen returns k where n = 10^k.
func powerOfTen(n int64) (k int32, ok bool) {
	for n > 1 && n%10 == 0 {
		n /= 10
		k++
	}
	return k, n == 1
}
