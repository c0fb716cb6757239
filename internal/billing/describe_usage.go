package billing

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// describe says what a usage line charges for, and, where the model's price
// depends on how it was used, at which of its prices. From is the date of the
// price; it is said only where another line differs by nothing else.
func (c usageCharge) describe(kinds []string, from string) string {
	text := c.product + " " + c.model + " " + strings.ReplaceAll(c.class.String(), "_", " ")
	if c.class == CodeExecution {
		text += " seconds"
	}
	if kind := strings.Join(kinds, " or "); kind != "" && kind != standardPrice {
		text += ", " + kind
	}
	if from != "" {
		text += ", price from " + from
	}
	return text
}

const standardPrice = "standard"

// kindOf names the modifiers in a rate's price of a class, in words.
func kindOf(rate *Rate, class Class) string {
	var words []string
	k := rate.Key
	if class.IsToken() {
		switch k.ServiceTier {
		case Standard:
		case Batch:
			words = append(words, "batch")
		default:
			words = append(words, "service tier "+k.ServiceTier)
		}
		if k.Speed == Fast {
			words = append(words, "fast mode")
		}
		if k.USOnly {
			words = append(words, "US-only inference")
		}
		if k.PromptTokensAbove > 0 {
			words = append(words, "prompts over "+Thousands(strconv.FormatInt(k.PromptTokensAbove, 10))+" tokens")
		}
	}
	if len(words) == 0 {
		return standardPrice
	}
	return strings.Join(words, ", ")
}

// pricedFrom is when a rate's price of a class took effect.
func pricedFrom(rate *Rate, class Class) time.Time {
	if class.IsToken() {
		if rate.Key.TierFrom.After(rate.Key.EffectiveFrom) {
			return rate.Key.TierFrom
		}
		return rate.Key.EffectiveFrom
	}
	return rate.Key.ToolsFrom
}

// chargeText gathers what the description of a line depends on.
type chargeText struct {
	kinds []string  // of its rates, "standard" first
	from  time.Time // the first of its rates' prices
}

func (t *chargeText) add(rate *Rate, class Class) {
	from := pricedFrom(rate, class)
	if len(t.kinds) == 0 || from.Before(t.from) {
		t.from = from
	}
	if kind := kindOf(rate, class); !slices.Contains(t.kinds, kind) {
		t.kinds = append(t.kinds, kind)
		slices.SortFunc(t.kinds, func(a, z string) int {
			if (a == standardPrice) != (z == standardPrice) {
				return map[bool]int{true: -1, false: 1}[a == standardPrice]
			}
			return strings.Compare(a, z)
		})
	}
}

// describeCharges writes the description of each charge. Two of a product, model,
// class and kind can differ by the date of their price alone.
func describeCharges(texts map[usageCharge]*chargeText) map[usageCharge]string {
	type like struct {
		origin, product, model string
		class                  Class
		kinds                  string
	}
	same := map[like]int{}
	likeness := func(c usageCharge) like {
		return like{c.origin, c.product, c.model, c.class, strings.Join(texts[c].kinds, " or ")}
	}
	for charge := range texts {
		same[likeness(charge)]++
	}
	described := make(map[usageCharge]string, len(texts))
	for charge, text := range texts {
		from := ""
		if same[likeness(charge)] > 1 && !text.from.IsZero() {
			from = showInstant(text.from)
		}
		described[charge] = charge.describe(text.kinds, from)
	}
	return described
}

// showInstant writes an instant in UTC, a midnight as its date.
func showInstant(at time.Time) string {
	if at = at.UTC(); at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339)
}

// Thousands writes a number in plain notation with its thousands apart.
func Thousands(number string) string {
	whole, fraction, hasFraction := strings.Cut(number, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if hasFraction {
		whole += "." + fraction
	}
	return sign + whole
}
