package billing

import (
	"cmp"
	"slices"

	"github.com/shopspring/decimal"
)

// Share deals a rounded line amount out to its exact parts by largest
// remainder: each part gets its own amount rounded down to the currency's
// smallest unit, and the units left over go to the parts that lost most, the
// earlier one first where two lost the same. The shares add up to the line.
func Share(line decimal.Decimal, parts []decimal.Decimal, c Currency) []decimal.Decimal {
	type share struct {
		index int
		lost  decimal.Decimal
	}
	shares := make([]decimal.Decimal, len(parts))
	order := make([]share, len(parts))
	left := line
	for i, exact := range parts {
		shares[i] = exact.RoundFloor(c.ChargeDigits())
		left = left.Sub(shares[i])
		order[i] = share{i, exact.Sub(shares[i])}
	}
	units := left.Shift(c.ChargeDigits()).IntPart()
	slices.SortFunc(order, func(a, z share) int {
		return cmp.Or(z.lost.Cmp(a.lost), cmp.Compare(a.index, z.index))
	})
	unit := decimal.New(1, -c.ChargeDigits())
	for i := int64(0); i < units && i < int64(len(order)); i++ {
		shares[order[i].index] = shares[order[i].index].Add(unit)
	}
	return shares
}
