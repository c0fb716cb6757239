package billing

import (
	"slices"
	"strings"

	"github.com/shopspring/decimal"
)

// FreeUse is what a bill leaves free of charge of the code that ran in one
// billing month: late usage draws on the month in which it happened, and the
// pieces of a month that was billed early share its allowance.
type FreeUse struct {
	Periods  []string        // the month's periods, by which lines name their origin
	PerMonth decimal.Decimal // seconds; the allowance
	Seconds  decimal.Decimal // what this bill leaves free; below zero takes back what was free
}

// FreeSeconds is how much of a month's allowance a bill gives: so much that all
// bills of the month together give the whole allowance, or all that was used if
// that is less. used counts what other bills charge, and given what they left
// free; now is what this one charges, below zero where more was retracted.
func FreeSeconds(perMonth, used, given, now decimal.Decimal) decimal.Decimal {
	return decimal.Min(perMonth, decimal.Max(decimal.Zero, used.Add(now))).Sub(given)
}

// freeKey ends the key of a line that takes free use off the line before it.
const freeKey = "/free"

// IsFreeUse tells a line that takes free use off another.
func (l *Line) IsFreeUse() bool {
	return l.TokenClass == CodeExecution.String() && strings.HasSuffix(l.Key, freeKey)
}

// SecondsRun is how long code ran, by the lines of the given periods of origin.
func SecondsRun(usage []UsageTotal, periods []string, own string) decimal.Decimal {
	sum := decimal.Zero
	for i := range usage {
		origin := usage[i].Origin
		if origin == "" {
			origin = own
		}
		if slices.Contains(periods, origin) {
			sum = sum.Add(usage[i].Counts[CodeExecution])
		}
	}
	return sum
}

// freeLines takes free use off the lines that charge for it, in proportion to
// what each of them and each of their members used. Each has a line of its own
// below zero at the same price, so that what is wholly free adds up to nothing.
func (s *Statement) freeLines(usage []Line) []Line {
	var lines []Line
	for _, free := range s.Free {
		var charged []*Line
		var seconds []decimal.Decimal
		for i := range usage {
			origin := usage[i].PeriodOfOrigin
			if origin == "" {
				origin = s.PeriodID
			}
			if usage[i].TokenClass == CodeExecution.String() && slices.Contains(free.Periods, origin) {
				charged, seconds = append(charged, &usage[i]), append(seconds, usage[i].Quantity)
			}
		}
		for i, part := range allocateUnits(free.Seconds, seconds) {
			if !part.IsZero() {
				lines = append(lines, s.freeLine(charged[i], part, free.PerMonth))
			}
		}
	}
	return lines
}

func (s *Statement) freeLine(charged *Line, seconds, perMonth decimal.Decimal) Line {
	line := *charged
	line.Key += freeKey
	within := ", within the free "
	if seconds.IsNegative() { // what was free was retracted
		within = ", retracted from the free "
	}
	line.Description += within + inHours(perMonth) + " hours of the month"
	used := make([]decimal.Decimal, len(charged.Members))
	for i, member := range charged.Members {
		used[i] = member.Quantity
	}
	line.Members = nil
	for i, part := range allocateUnits(seconds, used) {
		if !part.IsZero() {
			line.Members = append(line.Members, Allocation{User: charged.Members[i].User, Quantity: part})
		}
	}
	unit := UnitPrice{line.UnitPrice.Amount, line.Per}
	s.price(&line, unit.charge)
	line.negate() // settled above zero, so that each part takes off what it was charged
	return line
}

func (l *Line) negate() {
	l.Quantity, l.Exact.Amount, l.Amount.Amount = l.Quantity.Neg(), l.Exact.Amount.Neg(), l.Amount.Amount.Neg()
	for i := range l.Members {
		m := &l.Members[i]
		m.Quantity, m.Exact.Amount, m.Amount.Amount = m.Quantity.Neg(), m.Exact.Amount.Neg(), m.Amount.Amount.Neg()
	}
}

func inHours(seconds decimal.Decimal) string {
	return Thousands(seconds.DivRound(decimal.NewFromInt(3600), 2).String())
}
