package billing

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Comparison says why one bill differs from another of the same organisation.
// Its effects add up to the difference of the totals, and so do the lines, and so
// do the members with what concerns no member.
type Comparison struct {
	Before     ComparedInvoice `json:"before"`
	After      ComparedInvoice `json:"after"`
	Difference Money           `json:"difference"`
	Effects    []Effect        `json:"effects"`
	Usage      []UsageChange   `json:"usage"`
	Lines      []LineChange    `json:"lines"`
	Members    []MemberChange  `json:"members"` // those that moved most first; at list price

	// What no member accounts for: discounts, what was carried, credits.
	NoMember Money `json:"no_member"`
}

// ComparedInvoice names one side of a comparison.
type ComparedInvoice struct {
	ID          string        `json:"id"`
	Number      string        `json:"number"`
	PeriodStart time.Time     `json:"period_start"`
	PeriodEnd   time.Time     `json:"period_end"`
	Status      InvoiceStatus `json:"status"`
	Total       Money         `json:"total"`
}

// EffectName is a reason for which a bill differs.
type EffectName string

// The effects, in the order in which they are told.
const (
	EffectSeats          EffectName = "seats"
	EffectSurcharges     EffectName = "surcharges"
	EffectUsageVolume    EffectName = "usage_volume" // more or less was used
	EffectUsagePrice     EffectName = "usage_price"  // it cost another price on average: new prices, or another mix of batch, bands and the like
	EffectLateUsage      EffectName = "late_usage"   // of earlier periods, and what was taken back from them
	EffectDiscount       EffectName = "discount"
	EffectCarriedForward EffectName = "carried_forward"
	EffectOther          EffectName = "other" // credits and adjustments
)

// Effect is what one reason accounts for.
type Effect struct {
	Effect EffectName `json:"effect"`
	Amount Money      `json:"amount"`
}

// UsageChange is the change of the period's own usage of a product, model and
// class. Volume is what the change of the quantity costs at the average price of
// before, rounded; Price is the rest, so that both are exactly the difference.
// Where nothing was used before, or nothing is now, all is volume.
type UsageChange struct {
	Product        string      `json:"product"`
	Model          string      `json:"model"`
	TokenClass     string      `json:"token_class"`
	QuantityBefore json.Number `json:"quantity_before"`
	QuantityAfter  json.Number `json:"quantity_after"`
	Before         Money       `json:"before"`
	After          Money       `json:"after"`
	Difference     Money       `json:"difference"`
	Volume         Money       `json:"volume"`
	Price          Money       `json:"price"`
}

// LineChange is the change of one charge line, which has one unit price.
type LineChange struct {
	Key            string      `json:"key"`
	Kind           LineKind    `json:"kind"`
	Description    string      `json:"description"`
	Change         string      `json:"change"` // new, gone, changed or same
	QuantityBefore json.Number `json:"quantity_before"`
	QuantityAfter  json.Number `json:"quantity_after"`
	Before         Money       `json:"before"`
	After          Money       `json:"after"`
	Difference     Money       `json:"difference"`
}

// MemberChange is the change of what one member accounts for.
type MemberChange struct {
	User       *string `json:"user"` // null = what no member used
	Before     Money   `json:"before"`
	After      Money   `json:"after"`
	Difference Money   `json:"difference"`
}

// CompareInvoices explains the difference between two bills, whose lines must have
// their member parts. Either may be a draft. They must be in one currency.
func CompareInvoices(before, after *Invoice) (Comparison, error) {
	if before.Currency != after.Currency {
		return Comparison{}, Invalid("invoice %s is in %s and %s in %s; accepted: two in one currency", before.ID, before.Currency, after.ID, after.Currency)
	}
	c := comparison{currency: after.Currency, effects: map[EffectName]decimal.Decimal{}}
	c.add(before, false)
	c.add(after, true)
	result := Comparison{
		Before: compared(before), After: compared(after), Difference: c.money(after.Total.Amount.Sub(before.Total.Amount)),
		Usage: c.usageChanges(), Lines: c.lineChanges(), Members: c.memberChanges(),
	}
	result.NoMember = c.money(c.noMember.difference())
	for _, name := range []EffectName{
		EffectSeats, EffectSurcharges, EffectUsageVolume, EffectUsagePrice, EffectLateUsage, EffectDiscount, EffectCarriedForward, EffectOther,
	} {
		result.Effects = append(result.Effects, Effect{name, c.money(c.effects[name])})
	}
	return result, nil
}

func compared(i *Invoice) ComparedInvoice {
	return ComparedInvoice{i.ID, i.Number, i.PeriodStart, i.PeriodEnd, i.Status, i.Total}
}

// side is what stands on one bill.
type side struct {
	quantity, amount decimal.Decimal
	there            bool
}

// sides is what stands on both.
type sides struct {
	before, after side
	line          *Line // one of those that were added
}

func (s *sides) add(quantity, amount decimal.Decimal, after bool) {
	on := &s.before
	if after {
		on = &s.after
	}
	on.quantity, on.amount, on.there = on.quantity.Add(quantity), on.amount.Add(amount), true
}

func (s *sides) difference() decimal.Decimal { return s.after.amount.Sub(s.before.amount) }

type usageClass struct{ product, model, class string }

// comparison is the adding up of two bills.
type comparison struct {
	currency Currency
	effects  map[EffectName]decimal.Decimal
	usage    map[usageClass]*sides
	lines    map[string]*sides
	members  map[string]*sides
	noMember sides
}

func (c *comparison) money(amount decimal.Decimal) Money { return Money{amount, c.currency} }

// add adds one bill on its side.
func (c *comparison) add(i *Invoice, after bool) {
	for n := range i.Lines {
		line := &i.Lines[n]
		amount := line.Amount.Amount
		at(&c.lines, line.Key, line).add(line.Quantity, amount, after)
		if len(line.Members) == 0 {
			c.noMember.add(line.Quantity, amount, after)
		}
		for _, part := range line.Members {
			at(&c.members, part.User, line).add(part.Quantity, part.Amount.Amount, after)
		}
		name := effectOf(line, i.PeriodID)
		if name == EffectUsageVolume { // parted in volume and price later
			at(&c.usage, usageClass{line.Product, line.Model, line.TokenClass}, line).add(line.Quantity, amount, after)
			continue
		}
		if !after {
			amount = amount.Neg()
		}
		c.effects[name] = c.effects[name].Add(amount)
	}
}

// at returns the sides of something, making them first where there are none.
func at[K comparable](table *map[K]*sides, key K, line *Line) *sides {
	if *table == nil {
		*table = map[K]*sides{}
	}
	if (*table)[key] == nil {
		(*table)[key] = &sides{}
	}
	(*table)[key].line = line
	return (*table)[key]
}

// effectOf names the reason that a line belongs to; own usage is volume or price.
func effectOf(line *Line, period string) EffectName {
	switch {
	case line.Kind == KindUsage && line.PeriodOfOrigin != period:
		return EffectLateUsage
	case line.Kind == KindUsage:
		return EffectUsageVolume
	case line.Kind == KindSeat:
		return EffectSeats
	case line.Kind == KindSurcharge:
		return EffectSurcharges
	case line.Kind == KindDiscount:
		return EffectDiscount
	case line.Kind == KindCarriedForward:
		return EffectCarriedForward
	}
	return EffectOther
}

// usageChanges parts each class in volume and price, the largest change first.
func (c *comparison) usageChanges() []UsageChange {
	changes := make([]UsageChange, 0, len(c.usage))
	for class, s := range c.usage {
		volume := s.difference()
		if s.before.quantity.IsPositive() && s.after.quantity.IsPositive() {
			volume = Round(s.after.quantity.Sub(s.before.quantity).Mul(s.before.amount).
				DivRound(s.before.quantity, exactPlaces), c.currency)
		}
		price := s.difference().Sub(volume)
		c.effects[EffectUsageVolume] = c.effects[EffectUsageVolume].Add(volume)
		c.effects[EffectUsagePrice] = c.effects[EffectUsagePrice].Add(price)
		changes = append(changes, UsageChange{
			Product: class.product, Model: class.model, TokenClass: class.class,
			QuantityBefore: json.Number(s.before.quantity.String()), QuantityAfter: json.Number(s.after.quantity.String()),
			Before: c.money(s.before.amount), After: c.money(s.after.amount), Difference: c.money(s.difference()),
			Volume: c.money(volume), Price: c.money(price),
		})
	}
	slices.SortFunc(changes, func(a, z UsageChange) int {
		return cmp.Or(z.Difference.Amount.Abs().Cmp(a.Difference.Amount.Abs()), strings.Compare(a.Product, z.Product),
			strings.Compare(a.Model, z.Model), strings.Compare(a.TokenClass, z.TokenClass))
	})
	return changes
}

func (c *comparison) lineChanges() []LineChange {
	changes := make([]LineChange, 0, len(c.lines))
	for key, s := range c.lines {
		change := "changed"
		switch {
		case !s.before.there:
			change = "new"
		case !s.after.there:
			change = "gone"
		case s.difference().IsZero() && s.before.quantity.Equal(s.after.quantity):
			change = "same"
		}
		changes = append(changes, LineChange{
			Key: key, Kind: s.line.Kind, Description: s.line.Description, Change: change,
			QuantityBefore: json.Number(s.before.quantity.String()), QuantityAfter: json.Number(s.after.quantity.String()),
			Before: c.money(s.before.amount), After: c.money(s.after.amount), Difference: c.money(s.difference()),
		})
	}
	slices.SortFunc(changes, func(a, z LineChange) int {
		return cmp.Or(z.Difference.Amount.Abs().Cmp(a.Difference.Amount.Abs()), strings.Compare(a.Key, z.Key))
	})
	return changes
}

func (c *comparison) memberChanges() []MemberChange {
	changes := make([]MemberChange, 0, len(c.members))
	for user, s := range c.members {
		change := MemberChange{Before: c.money(s.before.amount), After: c.money(s.after.amount), Difference: c.money(s.difference())}
		if user != "" {
			change.User = &user
		}
		changes = append(changes, change)
	}
	name := func(m MemberChange) string {
		if m.User == nil {
			return ""
		}
		return *m.User
	}
	slices.SortFunc(changes, func(a, z MemberChange) int {
		return cmp.Or(z.Difference.Amount.Abs().Cmp(a.Difference.Amount.Abs()), strings.Compare(name(a), name(z)))
	})
	return changes
}
