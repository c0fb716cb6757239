package pricebook

import (
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// maxServiceTier bounds a service tier's multiplier: it is no typing error like
// "125" for 1.25.
var maxServiceTier = decimal.NewFromInt(10)

// readServiceTiers reads the multipliers of service tiers beyond standard and batch.
func readServiceTiers(list field) []billing.ServiceTierPrice {
	var prices []billing.ServiceTierPrice
	seen := firsts{}
	for _, item := range list.optionalList() {
		row := item.mapping("tier", "multiplier", "effective_from")
		tier, multiplier := row.field("tier"), row.field("multiplier")
		price := billing.ServiceTierPrice{
			Tier:          tier.id("a service tier as usage events give it, like priority", billing.MaxName),
			EffectiveFrom: row.field("effective_from").optionalInstant(),
		}
		if price.Tier == billing.Standard || price.Tier == billing.Batch {
			tier.wrong("%q has its price with each model; accepted: another service tier, like priority", price.Tier)
		}
		if !multiplier.present() {
			multiplier.wrong("missing; accepted: a multiplier of the standard price, like \"1.25\"")
		}
		price.Multiplier = multiplier.multiplier("1.25", maxServiceTier).Decimal
		seen.once(item, "tier and effective_from", price.Tier, price.EffectiveFrom)
		prices = append(prices, price)
	}
	return prices
}

// readFallback reads what usage without a price counts against limits.
func readFallback(f field) *billing.FallbackPrice {
	if !f.present() {
		return nil
	}
	var keys []string
	for _, class := range tokenClasses {
		keys = append(keys, class.String())
	}
	row := f.mapping(keys...)
	fallback := &billing.FallbackPrice{}
	for _, class := range tokenClasses {
		price := row.field(class.String())
		if !price.present() {
			price.wrong("missing; accepted: every token class with its own price, since none is derived from another")
			continue
		}
		fallback.PerMillion[class] = price.price()
	}
	return fallback
}
