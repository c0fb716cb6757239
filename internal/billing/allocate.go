package billing

import (
	"cmp"
	"slices"

	"github.com/shopspring/decimal"
)

// AllocateAmount deals a rounded line amount out to its exact parts by largest
// remainder: each part gets its own amount rounded down to the currency's
// smallest unit, and the units left over go to the parts that lost most, the
// earlier one first where two lost the same. The shares add up to the line.
func AllocateAmount(line decimal.Decimal, parts []decimal.Decimal, c Currency) []decimal.Decimal {
	return share(line, parts, c.Digits())
}

// share is Share with units of so many decimal places.
func share(line decimal.Decimal, parts []decimal.Decimal, places int32) []decimal.Decimal {
	type remainder struct {
		index int
		lost  decimal.Decimal
	}
	shares := make([]decimal.Decimal, len(parts))
	order := make([]remainder, len(parts))
	left := line
	for i, exact := range parts {
		shares[i] = exact.RoundFloor(places)
		left = left.Sub(shares[i])
		order[i] = remainder{i, exact.Sub(shares[i])}
	}
	units := left.Shift(places).IntPart()
	slices.SortFunc(order, func(a, z remainder) int {
		return cmp.Or(z.lost.Cmp(a.lost), cmp.Compare(a.index, z.index))
	})
	unit := decimal.New(1, -places)
	for i := int64(0); i < units && i < int64(len(order)); i++ {
		shares[order[i].index] = shares[order[i].index].Add(unit)
	}
	return shares
}
