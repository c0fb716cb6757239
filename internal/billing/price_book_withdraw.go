package billing

import (
	"slices"
	"time"
)

// PriceSelection names the prices of one thing that take effect at one instant:
// of a model in all its speeds and bands, a seat tier, a surcharge on one tier
// or on all, or a tool. One of Model, Tier, Surcharge and Tool is given; Tier
// also narrows a Surcharge down.
type PriceSelection struct {
	Model       string
	Tier        string
	Surcharge   string
	Tool        string
	ServiceTier string
	From        time.Time
}

// String names the selection for people.
func (s PriceSelection) String() string {
	switch {
	case s.Model != "":
		return "model " + s.Model
	case s.Tool != "":
		return "tool " + s.Tool
	case s.ServiceTier != "":
		return "service tier " + s.ServiceTier
	case s.Surcharge != "" && s.Tier != "":
		return "surcharge " + s.Surcharge + " on tier " + s.Tier
	case s.Surcharge != "":
		return "surcharge " + s.Surcharge
	default:
		return "tier " + s.Tier
	}
}

// Withdraw takes the selected prices out of the book and returns them; none is
// an empty book. A price that is, or may be, in force was announced and kept:
// it is refused.
func (b *PriceBook) Withdraw(which PriceSelection, settled time.Time) (withdrawn *PriceBook, err error) {
	taken := &PriceBook{Name: b.Name, Currency: b.Currency}
	var left PriceBook
	at := which.From.Equal
	left.Models, taken.Models = split(b.Models, func(p ModelPrice) bool { return p.Model == which.Model && at(p.EffectiveFrom) })
	left.Tools, taken.Tools = split(b.Tools, func(p ToolPrice) bool { return p.Tool == which.Tool && at(p.EffectiveFrom) })
	left.ServiceTiers, taken.ServiceTiers = split(b.ServiceTiers, func(p ServiceTierPrice) bool { return p.Tier == which.ServiceTier && at(p.EffectiveFrom) })
	left.Seats, taken.Seats = split(b.Seats, func(p SeatPrice) bool {
		return which.Surcharge == "" && p.Tier == which.Tier && at(p.EffectiveFrom)
	})
	left.Surcharges, taken.Surcharges = split(b.Surcharges, func(p SurchargePrice) bool {
		return p.Name == which.Surcharge && (which.Tier == "" || p.Tier == which.Tier) && at(p.EffectiveFrom)
	})
	if taken.Rows() == 0 {
		return taken, nil
	}
	if !which.From.After(settled) {
		return nil, Conflict("%s: the price from %s is, or may already be, in force; accepted: one that starts after %s; a wrong price in force is corrected with prices reprice",
			which, which.From.Format(time.RFC3339), settled.Format(time.RFC3339))
	}
	b.Models, b.Tools, b.ServiceTiers, b.Seats, b.Surcharges = left.Models, left.Tools, left.ServiceTiers, left.Seats, left.Surcharges
	b.Aliases = b.aliasesOfPriced()
	return taken, nil
}

// aliasesOfPriced leaves out the aliases of models without a price: names mean
// nothing without one.
func (b *PriceBook) aliasesOfPriced() []ModelAlias {
	left, _ := split(b.Aliases, func(a ModelAlias) bool {
		return !slices.ContainsFunc(b.Models, func(p ModelPrice) bool { return p.Model == a.Model })
	})
	return left
}

func split[P any](all []P, chosen func(P) bool) (others, those []P) {
	for _, p := range all {
		if chosen(p) {
			those = append(those, p)
		} else {
			others = append(others, p)
		}
	}
	return others, those
}
