package billing

import (
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

// share is AllocateAmount with units of so many decimal places.
func share(line decimal.Decimal, parts []decimal.Decimal, places int32) []decimal.Decimal {
	shares, lost := make([]decimal.Decimal, len(parts)), make([]decimal.Decimal, len(parts))
	left := line
	for i, exact := range parts {
		shares[i] = exact.RoundFloor(places)
		left = left.Sub(shares[i])
		lost[i] = exact.Sub(shares[i])
	}
	addLargestRemainders(shares, lost, left.Shift(places).IntPart(), decimal.New(1, -places))
	return shares
}

// allocateUnits deals whole units out in proportion to weights by largest remainder.
// Weights that add up to nothing leave everything to the last.
func allocateUnits(units decimal.Decimal, weights []decimal.Decimal) []decimal.Decimal {
	if len(weights) == 0 {
		return nil
	}
	parts, lost := make([]decimal.Decimal, len(weights)), make([]decimal.Decimal, len(weights))
	whole := sumOf(weights)
	if whole.IsZero() {
		parts[len(parts)-1] = units
		return parts
	}
	left := units
	for i, weight := range weights {
		parts[i], lost[i] = units.Mul(weight).Mul(sign(whole)).QuoRem(whole.Abs(), 0)
		if lost[i].IsNegative() { // towards zero is upwards here
			parts[i], lost[i] = parts[i].Sub(one), lost[i].Add(whole.Abs())
		}
		left = left.Sub(parts[i])
	}
	addLargestRemainders(parts, lost, left.IntPart(), one)
	return parts
}

// addLargestRemainders adds a unit to as many parts as there are units left over: to
// those that lost most, the earlier one first where two lost the same.
func addLargestRemainders(parts, lost []decimal.Decimal, units int64, unit decimal.Decimal) {
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, z int) int { return lost[z].Cmp(lost[a]) })
	for _, i := range order[:max(0, min(units, int64(len(order))))] {
		parts[i] = parts[i].Add(unit)
	}
}

var one = decimal.NewFromInt(1)

func sumOf(numbers []decimal.Decimal) decimal.Decimal {
	sum := decimal.Zero
	for _, n := range numbers {
		sum = sum.Add(n)
	}
	return sum
}

func sign(d decimal.Decimal) decimal.Decimal { return decimal.NewFromInt(int64(d.Sign())) }
