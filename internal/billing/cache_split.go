package billing

import "github.com/shopspring/decimal"

// statedCostTolerance is by how much a stated cost may differ from the exact one,
// in USD: senders add up floating-point numbers. One write that is kept for an hour
// costs two hundred times as much more at the lowest prices known (0.30 and 0.50 USD
// per million), so no two numbers of them come as near.
var statedCostTolerance = decimal.New(1, -9)

// SplitWrites returns the event's quantities with its cache writes divided into
// 5-minute and 1-hour writes. Where the event does not say how they divide
// (CacheSplitAssumed) but states its cost, the 1-hour writes are as many as make
// the cost at this rate equal the stated one. There is at most one such number.
// Where there is none, or no stated cost, the quantities stay as they are: the
// writes that the event does not divide are 5-minute writes.
//
// The stated cost is in USD, so the rate must be of a price book in USD.
func (r *Rate) SplitWrites(e *Event) Quantities {
	short, long := r.Unit[CacheWrite5m], r.Unit[CacheWrite1h]
	undivided := e.Quantities[CacheWrite5m]
	if !e.CacheSplitAssumed || !e.StatedCost.Valid || undivided == 0 || short.Per == 0 || long.Per == 0 {
		return e.Quantities
	}
	step := long.Times(one).Sub(short.Times(one)) // what one write costs more for an hour
	if step.IsZero() {
		return e.Quantities
	}
	totals := e.Quantities.Totals()
	longer := e.StatedCost.Decimal.Sub(r.Cost(&totals)).DivRound(step, 0)
	if !longer.IsPositive() || longer.GreaterThan(decimal.NewFromInt(undivided)) {
		return e.Quantities
	}
	split := e.Quantities
	split[CacheWrite5m] -= longer.IntPart()
	split[CacheWrite1h] += longer.IntPart()
	totals = split.Totals()
	if r.Cost(&totals).Sub(e.StatedCost.Decimal).Abs().GreaterThan(statedCostTolerance) {
		return e.Quantities
	}
	return split
}
