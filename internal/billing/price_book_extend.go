package billing

import (
	"slices"
	"time"
)

// Rows counts the price rows of a book.
func (b *PriceBook) Rows() int {
	rows := len(b.Models) + len(b.Aliases) + len(b.Seats) + len(b.Surcharges) + len(b.Tools) + len(b.ServiceTiers)
	if b.Fallback != nil {
		rows++
	}
	return rows
}

// Extend adds the rows of a newer edition to the stored book and returns those
// that are new. Past prices are immutable: a row that was changed, and a
// new one that would take effect where usage may already have been priced by an
// older one, at or before settled, are refused; such corrections are repricings.
func (b *PriceBook) Extend(edition *PriceBook, settled time.Time) (added *PriceBook, err error) {
	if b.Currency != edition.Currency {
		return nil, Conflict("price book %s is in %s; an edition in %s needs a name of its own", b.Name, b.Currency, edition.Currency)
	}
	added = &PriceBook{Name: b.Name, Currency: b.Currency}
	if added.Models, err = extend(b.Models, edition.Models, modelPriceRules, settled); err != nil {
		return nil, err
	}
	if added.Seats, err = extend(b.Seats, edition.Seats, seatPriceRules, settled); err != nil {
		return nil, err
	}
	if added.Surcharges, err = extend(b.Surcharges, edition.Surcharges, surchargePriceRules, settled); err != nil {
		return nil, err
	}
	if added.Tools, err = extend(b.Tools, edition.Tools, toolPriceRules, settled); err != nil {
		return nil, err
	}
	if added.ServiceTiers, err = extend(b.ServiceTiers, edition.ServiceTiers, serviceTierRules, settled); err != nil {
		return nil, err
	}
	if err := b.keepsTerms(added.Tools, settled); err != nil {
		return nil, err
	}
	if added.Aliases, err = b.newAliases(edition, added.Models); err != nil {
		return nil, err
	}
	added.Fallback = b.newFallback(edition)
	b.Aliases = append(b.Aliases, added.Aliases...)
	b.ServiceTiers = append(b.ServiceTiers, added.ServiceTiers...)
	b.Models = append(b.Models, added.Models...)
	b.Seats = append(b.Seats, added.Seats...)
	b.Surcharges = append(b.Surcharges, added.Surcharges...)
	b.Tools = append(b.Tools, added.Tools...)
	return added, b.Validate()
}

// newAliases lists the aliases of an edition that the book does not have. What a
// name means never changes, since usage may have been billed by it: refused are an
// alias and a model whose name, or a name that reads like it, means another model
// of the book.
func (b *PriceBook) newAliases(edition *PriceBook, added []ModelPrice) (aliases []ModelAlias, err error) {
	names := newModelNames(b)
	for _, p := range added {
		if err := names.refuse(p.Model, p.Model); err != nil {
			return nil, err
		}
	}
	for _, a := range edition.Aliases {
		if slices.Contains(b.Aliases, a) {
			continue
		}
		if err := names.refuse(a.Alias, a.Model); err != nil {
			return nil, err
		}
		aliases = append(aliases, a)
	}
	return aliases, nil
}

// refuse says why a name cannot be given to a model: it, or what reads like it,
// means another one.
func (n *modelNames) refuse(name, model string) error {
	if _, own := n.exact[name]; own && n.exact[name] == model {
		return nil
	}
	plain, undated := readModelName(name)
	for _, other := range []string{n.exact[name], n.plain[plain], n.undated[undated]} {
		if other != "" && other != model {
			return Conflict("model %s: the name %s reads as %s, and usage under such names may have been billed as that; accepted: a name that reads otherwise, or a price book of its own",
				model, name, other)
		}
	}
	return nil
}

// newFallback takes over an edition's fallback price, and returns it where it is
// another one. Nothing was billed by the one before.
func (b *PriceBook) newFallback(edition *PriceBook) *FallbackPrice {
	if edition.Fallback == nil || edition.Fallback.equal(b.Fallback) {
		return nil
	}
	b.Fallback = edition.Fallback
	return edition.Fallback
}

// priceRules tell how rows of one kind of price compare.
type priceRules[P any] struct {
	describe    func(P) string
	from        func(P) time.Time
	sameRow     func(a, z P) bool // the same place in the book
	samePrice   func(a, z P) bool // and the same contents
	sameSubject func(a, z P) bool // one replaces the other when it takes effect
}

func extend[P any](stored, edition []P, rules priceRules[P], settled time.Time) (added []P, err error) {
	for _, row := range edition {
		at := slices.IndexFunc(stored, func(p P) bool { return rules.sameRow(p, row) })
		switch {
		case at >= 0 && rules.samePrice(stored[at], row):
			continue
		case at >= 0:
			return nil, Conflict("%s: the price from %s is stored with other amounts; a price in force is corrected with prices reprice, a future one withdrawn first",
				rules.describe(row), rules.from(row).Format(time.RFC3339))
		case rules.from(row).After(settled) || !replacesPast(stored, row, rules):
			added = append(added, row)
		default:
			return nil, Conflict("%s: a new price from %s would change what was already priced; accepted: after %s; a past price is corrected with prices reprice",
				rules.describe(row), rules.from(row).Format(time.RFC3339), settled.Format(time.RFC3339))
		}
	}
	return added, nil
}

// replacesPast reports whether a stored price was in force when the new row takes effect.
func replacesPast[P any](stored []P, row P, rules priceRules[P]) bool {
	return slices.ContainsFunc(stored, func(p P) bool {
		return rules.sameSubject(p, row) && !rules.from(p).After(rules.from(row))
	})
}

var modelPriceRules = priceRules[ModelPrice]{
	describe: func(p ModelPrice) string { return "model " + p.Model },
	from:     func(p ModelPrice) time.Time { return p.EffectiveFrom },
	sameRow:  func(a, z ModelPrice) bool { return a.compare(z) == 0 },
	samePrice: func(a, z ModelPrice) bool {
		for c := range a.PerMillion {
			if !a.PerMillion[c].Equal(z.PerMillion[c]) {
				return false
			}
		}
		return a.Batch.Valid == z.Batch.Valid && a.Batch.Decimal.Equal(z.Batch.Decimal) &&
			a.USOnly.Valid == z.USOnly.Valid && a.USOnly.Decimal.Equal(z.USOnly.Decimal)
	},
	sameSubject: func(a, z ModelPrice) bool { return a.Model == z.Model && a.Speed == z.Speed },
}

var seatPriceRules = priceRules[SeatPrice]{
	describe: func(p SeatPrice) string { return "seats: tier " + p.Tier },
	from:     func(p SeatPrice) time.Time { return p.EffectiveFrom },
	sameRow:  func(a, z SeatPrice) bool { return a.Tier == z.Tier && a.EffectiveFrom.Equal(z.EffectiveFrom) },
	samePrice: func(a, z SeatPrice) bool {
		return a.Amount.Equal(z.Amount) && slices.Equal(a.Products, z.Products)
	},
	sameSubject: func(a, z SeatPrice) bool { return a.Tier == z.Tier },
}

var surchargePriceRules = priceRules[SurchargePrice]{
	describe: func(p SurchargePrice) string { return "surcharges: " + p.Name + " on " + p.Tier },
	from:     func(p SurchargePrice) time.Time { return p.EffectiveFrom },
	sameRow: func(a, z SurchargePrice) bool {
		return a.Name == z.Name && a.Tier == z.Tier && a.EffectiveFrom.Equal(z.EffectiveFrom)
	},
	samePrice:   func(a, z SurchargePrice) bool { return a.Amount.Equal(z.Amount) },
	sameSubject: func(a, z SurchargePrice) bool { return a.Name == z.Name && a.Tier == z.Tier },
}

var toolPriceRules = priceRules[ToolPrice]{
	describe: func(p ToolPrice) string { return "tools: " + p.Tool },
	from:     func(p ToolPrice) time.Time { return p.EffectiveFrom },
	sameRow:  func(a, z ToolPrice) bool { return a.Tool == z.Tool && a.EffectiveFrom.Equal(z.EffectiveFrom) },
	samePrice: func(a, z ToolPrice) bool {
		return a.Amount.Equal(z.Amount) && a.Per == z.Per && a.sameTerms(z)
	},
	sameSubject: func(a, z ToolPrice) bool { return a.Tool == z.Tool },
}

var serviceTierRules = priceRules[ServiceTierPrice]{
	describe:    func(p ServiceTierPrice) string { return "service_tiers: " + p.Tier },
	from:        func(p ServiceTierPrice) time.Time { return p.EffectiveFrom },
	sameRow:     func(a, z ServiceTierPrice) bool { return a.Tier == z.Tier && a.EffectiveFrom.Equal(z.EffectiveFrom) },
	samePrice:   func(a, z ServiceTierPrice) bool { return a.Multiplier.Equal(z.Multiplier) },
	sameSubject: func(a, z ServiceTierPrice) bool { return a.Tier == z.Tier },
}
