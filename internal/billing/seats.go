package billing

import (
	"slices"
	"sort"
	"time"

	"github.com/shopspring/decimal"
)

// HIPAA names the surcharge of a HIPAA-ready seat in price books.
const HIPAA = "hipaa"

// SeatAssignment says which seat a user held in [From, To).
type SeatAssignment struct {
	User  string
	Tier  string
	HIPAA bool
	From  time.Time
	To    time.Time // zero = still held
}

// Holds reports whether the assignment is in force at an instant.
func (a SeatAssignment) Holds(at time.Time) bool {
	return !at.Before(a.From) && (a.To.IsZero() || at.Before(a.To))
}

// seatCharge is one line of seats in the making: a tier, or a surcharge on it,
// at one monthly price.
type seatCharge struct {
	kind  LineKind
	name  string // the surcharge's; "" for the seat itself
	tier  string
	price string // in plain notation, so that equal prices are one charge
}

// seatKind is what decides the price of a seat on a day.
type seatKind struct {
	tier  string
	hipaa bool
}

// seatRun is a run of days on which a kind of seat costs the same.
type seatRun struct {
	first, end int          // half-open, in the days of the period
	charges    []seatCharge // none = it has no price
}

// seatLines charges seats per local day: a seat-day belongs to the assignment
// held at the start of that day. An amount is seat-days times the monthly price
// over the days of the whole billing month, multiplied first, divided once, so
// the pieces of a month that was closed early add up to the month.
func (s *Statement) seatLines() ([]Line, error) {
	days := s.Calendar.Days(s.Period)
	runs := map[seatKind][]seatRun{}
	counts := map[seatCharge]map[string]int64{}
	for _, seat := range s.Seats {
		kind := seatKind{seat.Tier, seat.HIPAA}
		if _, known := runs[kind]; !known {
			runs[kind] = s.seatRuns(seat, days)
		}
		if err := s.countDays(seat, days, runs[kind], counts); err != nil {
			return nil, err
		}
	}
	monthDays := int64(len(s.Calendar.Days(s.Month)))
	lines := make([]Line, 0, len(counts))
	for charge, users := range counts {
		line, err := s.seatLine(charge, users, monthDays)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// seatRuns parts the days by what seats of the given one's kind cost.
func (s *Statement) seatRuns(seat SeatAssignment, days []time.Time) []seatRun {
	var runs []seatRun
	for i, day := range days {
		charges, err := s.chargesOf(seat, day)
		if err != nil {
			charges = nil // told where somebody holds such a seat
		}
		if n := len(runs); n > 0 && slices.Equal(runs[n-1].charges, charges) {
			runs[n-1].end = i + 1
			continue
		}
		runs = append(runs, seatRun{i, i + 1, charges})
	}
	return runs
}

// countDays adds an assignment's seat-days to the counts of its charges.
func (s *Statement) countDays(
	seat SeatAssignment, days []time.Time, runs []seatRun, counts map[seatCharge]map[string]int64,
) error {
	startsFrom := func(at time.Time) int {
		return sort.Search(len(days), func(i int) bool { return !days[i].Before(at) })
	}
	first, end := startsFrom(seat.From), len(days)
	if !seat.To.IsZero() {
		end = startsFrom(seat.To)
	}
	for _, run := range runs {
		from, held := max(first, run.first), min(end, run.end)-max(first, run.first)
		if held <= 0 {
			continue
		}
		if run.charges == nil {
			_, err := s.chargesOf(seat, days[from])
			return err
		}
		for _, charge := range run.charges {
			if counts[charge] == nil {
				counts[charge] = map[string]int64{}
			}
			counts[charge][seat.User] += int64(held)
		}
	}
	return nil
}

// chargesOf returns what one seat costs on one day: the seat, and its surcharge.
func (s *Statement) chargesOf(seat SeatAssignment, day time.Time) ([]seatCharge, error) {
	price, ok := s.Book.Seat(seat.Tier, day)
	if !ok {
		return nil, Invalid("price book %s has no price for seat tier %s on %s", s.Book.Name, seat.Tier, s.Calendar.LocalDate(day))
	}
	charges := []seatCharge{{KindSeat, "", seat.Tier, price.Amount.String()}}
	if seat.HIPAA {
		extra, ok := s.Book.Surcharge(HIPAA, seat.Tier, day)
		if !ok {
			return nil, Invalid("price book %s has no hipaa surcharge for seat tier %s on %s", s.Book.Name, seat.Tier, s.Calendar.LocalDate(day))
		}
		charges = append(charges, seatCharge{KindSurcharge, HIPAA, seat.Tier, extra.Amount.String()})
	}
	return charges, nil
}

func (s *Statement) seatLine(charge seatCharge, users map[string]int64, monthDays int64) (Line, error) {
	price, err := decimal.NewFromString(charge.price)
	if err != nil {
		return Line{}, err
	}
	line := Line{Kind: charge.kind, UnitPrice: s.money(price), Per: monthDays}
	if charge.kind == KindSeat {
		line.Key = "seat/" + charge.tier + "/" + charge.price
		line.Description = "Seats " + charge.tier
	} else {
		line.Key = "surcharge/" + charge.name + "/" + charge.tier + "/" + charge.price
		line.Description = "Surcharge " + charge.name + " on seats " + charge.tier
	}
	names := make([]string, 0, len(users))
	for user := range users {
		names = append(names, user)
	}
	slices.Sort(names)
	for _, user := range names {
		line.Members = append(line.Members, Allocation{User: user, Quantity: decimal.NewFromInt(users[user])})
	}
	s.price(&line, func(quantity decimal.Decimal, places int32) decimal.Decimal {
		return quantity.Mul(price).DivRound(decimal.NewFromInt(monthDays), places)
	})
	return line, nil
}
