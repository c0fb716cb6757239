package billing

import (
	"slices"
	"time"
)

// Correction is what a corrected edition changes in a stored book.
type Correction struct {
	Superseded *PriceBook // stored rows that a row of Added takes the place of
	Added      *PriceBook // corrected rows and new ones
}

// Correct puts the rows of a corrected edition into the stored book, those of
// the past included; rows that the edition leaves out stay. It refuses what
// would leave usage without a price that was billed by one, and what would
// change which products a seat covered: events are flagged by that.
func (b *PriceBook) Correct(edition *PriceBook, settled time.Time) (Correction, error) {
	c := Correction{
		Superseded: &PriceBook{Name: b.Name, Currency: b.Currency},
		Added:      &PriceBook{Name: b.Name, Currency: b.Currency},
	}
	if b.Currency != edition.Currency {
		return c, Conflict("price book %s is in %s; an edition in %s needs a name of its own", b.Name, b.Currency, edition.Currency)
	}
	corrected := *b
	corrected.Models, c.Superseded.Models, c.Added.Models = correct(b.Models, edition.Models, modelPriceRules)
	corrected.Seats, c.Superseded.Seats, c.Added.Seats = correct(b.Seats, edition.Seats, seatPriceRules)
	corrected.Surcharges, c.Superseded.Surcharges, c.Added.Surcharges = correct(b.Surcharges, edition.Surcharges, surchargePriceRules)
	corrected.Tools, c.Superseded.Tools, c.Added.Tools = correct(b.Tools, edition.Tools, toolPriceRules)
	corrected.ServiceTiers, c.Superseded.ServiceTiers, c.Added.ServiceTiers = correct(b.ServiceTiers, edition.ServiceTiers, serviceTierRules)
	aliases, err := b.newAliases(edition, c.Added.Models)
	if err != nil {
		return c, err
	}
	c.Added.Aliases = aliases
	corrected.Aliases = append(slices.Clone(b.Aliases), aliases...)
	if err := corrected.Validate(); err != nil {
		return c, err
	}
	for _, p := range c.Added.Models {
		if !p.EffectiveFrom.After(settled) && !p.Batch.Valid && b.batchOffered(p) {
			return c, Conflict("model %s: the price from %s has no batch price, and batch usage may have been billed by one; accepted: batch, corrected if need be",
				p.Model, p.EffectiveFrom.Format(time.RFC3339))
		}
	}
	for _, p := range c.Added.Seats {
		old, ok := b.Seat(p.Tier, p.EffectiveFrom)
		if ok && !p.EffectiveFrom.After(settled) && !slices.Equal(old.Products, p.Products) {
			return c, Conflict("seats: tier %s: which products a seat covered cannot be corrected backwards; accepted: products as they were, or a date to come", p.Tier)
		}
	}
	if err := b.keepsTerms(c.Added.Tools, settled); err != nil {
		return c, err
	}
	c.Added.Fallback = corrected.newFallback(edition)
	*b = corrected
	return c, nil
}

// keepsTerms refuses prices of the past that would meter otherwise what was
// metered already: by the price that was in force when they begin, or, before the
// first one, by that.
func (b *PriceBook) keepsTerms(added []ToolPrice, settled time.Time) error {
	for _, p := range added {
		held, ok := b.Tool(p.Tool, p.EffectiveFrom)
		for _, q := range b.Tools {
			if q.Tool == p.Tool && !ok && !q.EffectiveFrom.After(settled) && (held.Tool == "" || q.EffectiveFrom.Before(held.EffectiveFrom)) {
				held = q
			}
		}
		if held.Tool != "" && !p.EffectiveFrom.After(settled) && !held.sameTerms(p) {
			return Conflict("tools: %s: minimum and free_per_month cannot be corrected backwards, since usage was metered and billed by them; accepted: as they were, or a date to come", p.Tool)
		}
	}
	return nil
}

// sameTerms reports whether two prices meter alike.
func (p ToolPrice) sameTerms(other ToolPrice) bool {
	return p.Minimum == other.Minimum && p.FreePerMonth == other.FreePerMonth
}

// batchOffered reports whether the price that p takes the place of, or that is in
// force when p begins, has a batch price.
func (b *PriceBook) batchOffered(p ModelPrice) bool {
	last, ok := inForce(b.Models, p.EffectiveFrom,
		func(m ModelPrice) bool { return m.Model == p.Model && m.Speed == p.Speed },
		func(m ModelPrice) time.Time { return m.EffectiveFrom })
	return ok && slices.ContainsFunc(b.Models, func(m ModelPrice) bool { return m.sameVersion(last) && m.Batch.Valid })
}

func correct[P any](stored, edition []P, rules priceRules[P]) (corrected, superseded, added []P) {
	corrected = slices.Clone(stored)
	for _, row := range edition {
		at := slices.IndexFunc(stored, func(p P) bool { return rules.sameRow(p, row) })
		switch {
		case at < 0:
			corrected = append(corrected, row)
		case rules.samePrice(stored[at], row):
			continue
		default:
			superseded = append(superseded, stored[at])
			corrected[at] = row
		}
		added = append(added, row)
	}
	return corrected, superseded, added
}
