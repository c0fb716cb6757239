package billing

import (
	"slices"
	"strings"

	"github.com/shopspring/decimal"
)

// maxDiscountPlaces is how fine a negotiated discount may be, in percent.
const maxDiscountPlaces = 4

// CheckDiscount says what is wrong with a negotiated discount, in percent.
func CheckDiscount(percent decimal.Decimal) error {
	if percent.IsNegative() || percent.GreaterThanOrEqual(decimal.NewFromInt(100)) || !percent.Equal(percent.Truncate(maxDiscountPlaces)) {
		return Invalid("discount: %s; accepted: a percentage from 0 to below 100 with at most %d decimal places", percent, maxDiscountPlaces)
	}
	return nil
}

// Charges are the kinds of lines that are charged at list price. Their sum is an
// invoice's subtotal, and what a negotiated discount is taken off; carried
// amounts and credits were discounted when they first were charged.
func Charges() []LineKind { return []LineKind{KindSeat, KindSurcharge, KindUsage} }

// discountLines takes the negotiated discount off the charges: once, on their
// rounded sum, rounded once. Late usage and what was taken back have the discount
// by which their own period was billed, so that taking back gives back exactly
// what was paid; so there is a line for each percentage that applies.
func (s *Statement) discountLines(charges []Line) []Line {
	type share struct{ percent, base decimal.Decimal }
	shares := map[string]share{}
	for i := range charges {
		percent := s.Discount
		if origin := charges[i].PeriodOfOrigin; origin != "" && origin != s.PeriodID {
			percent = s.EarlierDiscounts[origin]
		}
		if percent.IsZero() || !slices.Contains(Charges(), charges[i].Kind) {
			continue
		}
		name := percent.String()
		shares[name] = share{percent, shares[name].base.Add(charges[i].Amount.Amount)}
	}
	lines := make([]Line, 0, len(shares))
	for name, share := range shares {
		if share.base.IsZero() {
			continue
		}
		exact := share.base.Neg().Mul(share.percent).Shift(-2)
		lines = append(lines, Line{
			Key: "discount/" + name, Kind: KindDiscount,
			Description: "Discount of " + name + "% on " + s.money(share.base).String(),
			Quantity:    share.percent, UnitPrice: s.money(share.base.Neg()), Per: 100,
			Exact: s.money(exact), Amount: s.money(Round(exact, s.Book.Currency)),
		})
	}
	slices.SortFunc(lines, func(a, z Line) int { return strings.Compare(a.Key, z.Key) })
	return lines
}
