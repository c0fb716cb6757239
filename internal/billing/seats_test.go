package billing_test

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// seatBook prices two tiers, chat with a surcharge; chat becomes dearer on the
// 11th of April 2026 and its surcharge on the 21st.
func seatBook() *billing.PriceBook {
	return &billing.PriceBook{
		Name: "seats", Currency: "USD",
		Seats: []billing.SeatPrice{
			{Tier: "chat", Amount: dec("20.00")},
			{Tier: "chat", Amount: dec("26"), EffectiveFrom: date("2026-04-11")},
			{Tier: "code", Amount: dec("40")},
		},
		Surcharges: []billing.SurchargePrice{
			{Name: billing.HIPAA, Tier: "chat", Amount: dec("5")},
			{Name: billing.HIPAA, Tier: "chat", Amount: dec("7.25"), EffectiveFrom: date("2026-04-21")},
		},
	}
}

func seat(user, tier, from, to string) billing.SeatAssignment {
	a := billing.SeatAssignment{User: user, Tier: tier, From: instant(from)}
	if to != "" {
		a.To = instant(to)
	}
	return a
}

// seatDays is what a line says in short: key, seat-days and amount.
func seatDays(lines []billing.Line) []string {
	var short []string
	for _, line := range lines {
		short = append(short, fmt.Sprintf("%s: %s = %s", line.Key, line.Quantity, line.Amount.Amount.StringFixed(2)))
	}
	return short
}

func TestASeatDayBelongsToTheTierHeldAtTheStartOfTheDay(t *testing.T) {
	t.Parallel()
	const always = "2026-01-01T00:00:00Z"
	for name, c := range map[string]struct {
		seats []billing.SeatAssignment
		want  []string
	}{
		"all month": {
			[]billing.SeatAssignment{seat("ana", "code", always, "")},
			[]string{"seat/code/40: 30 = 40.00"},
		},
		"from the first instant of the month": {
			[]billing.SeatAssignment{seat("ana", "code", "2026-04-01T00:00:00Z", "")},
			[]string{"seat/code/40: 30 = 40.00"},
		},
		"from just after it": {
			[]billing.SeatAssignment{seat("ana", "code", "2026-04-01T00:00:00.000001Z", "")},
			[]string{"seat/code/40: 29 = 38.67"},
		},
		"from the last day's noon": {
			[]billing.SeatAssignment{seat("ana", "code", "2026-04-30T12:00:00Z", "")},
			nil,
		},
		"removed at a day's start": {
			[]billing.SeatAssignment{seat("ana", "code", always, "2026-04-11T00:00:00Z")},
			[]string{"seat/code/40: 10 = 13.33"},
		},
		"removed just after a day's start": {
			[]billing.SeatAssignment{seat("ana", "code", always, "2026-04-11T00:00:00.000001Z")},
			[]string{"seat/code/40: 11 = 14.67"},
		},
		"tier changed at noon": {
			[]billing.SeatAssignment{seat("ana", "code", always, "2026-04-25T12:00:00Z"), seat("ana", "chat", "2026-04-25T12:00:00Z", "")},
			[]string{"seat/chat/26: 5 = 4.33", "seat/code/40: 25 = 33.33"},
		},
		"price changed": {
			[]billing.SeatAssignment{seat("ana", "chat", always, "")},
			[]string{"seat/chat/20: 10 = 6.67", "seat/chat/26: 20 = 17.33"},
		},
		"given and taken at the same instant": {
			[]billing.SeatAssignment{seat("ana", "code", "2026-04-10T00:00:00Z", "2026-04-10T00:00:00Z")},
			nil,
		},
		"there and back within a day": {
			[]billing.SeatAssignment{
				seat("ana", "chat", always, "2026-04-25T09:00:00Z"), seat("ana", "code", "2026-04-25T09:00:00Z", "2026-04-25T10:00:00Z"),
				seat("ana", "chat", "2026-04-25T10:00:00Z", ""),
			},
			[]string{"seat/chat/20: 10 = 6.67", "seat/chat/26: 20 = 17.33"},
		},
		"only before the month": {[]billing.SeatAssignment{seat("ana", "code", always, "2026-03-31T23:00:00Z")}, nil},
		"only after the month":  {[]billing.SeatAssignment{seat("ana", "code", "2026-05-01T00:00:00Z", "")}, nil},
		"no seats":              {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statement := aprilStatement(t, seatBook())
			statement.Seats = c.seats
			require.Equal(t, c.want, seatDays(mustLines(t, statement)))
		})
	}
}

func TestTheHIPAASurchargeIsALineOfItsOwnByTheSameDays(t *testing.T) {
	t.Parallel()
	statement := aprilStatement(t, seatBook())
	ana := seat("ana", "chat", "2026-04-03T00:00:00Z", "")
	ana.HIPAA = true
	statement.Seats = []billing.SeatAssignment{ana, seat("ben", "chat", "2026-04-26T00:00:00Z", "")}
	lines := mustLines(t, statement)
	require.Equal(t, []string{
		"seat/chat/20: 8 = 5.33", "seat/chat/26: 25 = 21.67",
		"surcharge/hipaa/chat/5: 18 = 3.00", "surcharge/hipaa/chat/7.25: 10 = 2.42",
	}, seatDays(lines))
	require.Equal(t, "Seats chat", lines[0].Description)
	require.Equal(t, "Surcharge hipaa on seats chat", lines[2].Description)
	require.Equal(t, int64(30), lines[2].Per)
	require.Len(t, lines[1].Members, 2)
	require.Len(t, lines[2].Members, 1)
}

func TestSeatsAreChargedByDaysAndNotByHours(t *testing.T) {
	t.Parallel()
	for within, month := range map[string]string{"2026-03-15": "743 hours", "2026-11-15": "721 hours", "2026-04-15": "720 hours"} {
		c := calendar(t, "America/New_York", 1)
		statement := aprilStatement(t, seatBook())
		statement.Calendar, statement.Month = c, c.Month(date(within))
		statement.Period = statement.Month
		statement.Seats = []billing.SeatAssignment{seat("ana", "code", "2026-01-01T00:00:00Z", "")}
		require.Equal(t, "40.00 USD", mustLines(t, statement)[0].Amount.String(), month)
	}
}

func TestTheCentsOfAQuotientAreRoundedOnce(t *testing.T) {
	t.Parallel()
	statement := aprilStatement(t, seatBook())
	statement.Month = statement.Calendar.Month(date("2026-05-15"))
	statement.Period = statement.Month
	statement.Book.Seats = []billing.SeatPrice{{Tier: "odd", Amount: dec("0.154999")}}
	statement.Seats = []billing.SeatAssignment{seat("ana", "odd", "2026-05-31T00:00:00Z", "")}
	line := mustLines(t, statement)[0]
	require.Equal(t, "0.004999967741935484 USD", line.Exact.String(), "a day of 31")
	require.Equal(t, "0.00 USD", line.Amount.String(), "0.0050 first would have become 0.01")
}

func TestSeatsWithoutAPriceStopTheBill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seat billing.SeatAssignment
		want string
	}{
		"an unknown tier": {
			seat("ana", "gold", "2026-01-01T00:00:00Z", ""),
			"price book seats has no price for seat tier gold on 2026-04-01",
		},
		"a tier whose price begins later": {
			seat("ana", "later", "2026-04-03T12:00:00Z", ""),
			"price book seats has no price for seat tier later on 2026-04-04",
		},
		"a surcharge that is not priced": {
			billing.SeatAssignment{User: "ana", Tier: "code", HIPAA: true, From: date("2026-04-20")},
			"price book seats has no hipaa surcharge for seat tier code on 2026-04-20",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statement := aprilStatement(t, seatBook())
			statement.Book.Seats = append(statement.Book.Seats, billing.SeatPrice{Tier: "later", Amount: dec("1"), EffectiveFrom: date("2026-04-10")})
			statement.Seats = []billing.SeatAssignment{c.seat}
			_, err := statement.Lines()
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.EqualError(t, err, c.want)
		})
	}

	statement := aprilStatement(t, seatBook())
	statement.Book.Seats = append(statement.Book.Seats, billing.SeatPrice{Tier: "later", Amount: dec("1"), EffectiveFrom: date("2026-04-10")})
	statement.Seats = []billing.SeatAssignment{seat("ana", "later", "2026-04-10T00:00:00Z", "")}
	require.Equal(t, []string{"seat/later/1: 21 = 0.70"}, seatDays(mustLines(t, statement)), "days without a price that nobody held a seat on")
}

// drawSeats draws each user's seats, one after the other.
func drawSeats(t *rapid.T) []billing.SeatAssignment {
	var seats []billing.SeatAssignment
	for user := range rapid.IntRange(0, 5).Draw(t, "users") {
		at := date("2026-03-15")
		for range rapid.IntRange(0, 4).Draw(t, "seats") {
			at = at.Add(time.Duration(rapid.IntRange(0, 30*24).Draw(t, "hours")) * time.Hour)
			from := at
			at = at.Add(time.Duration(rapid.IntRange(0, 30*24).Draw(t, "hours held")) * time.Hour)
			tier := rapid.SampledFrom([]string{"chat", "code"}).Draw(t, "tier")
			seats = append(seats, billing.SeatAssignment{
				User: fmt.Sprint("user_", user), Tier: tier, HIPAA: tier == "chat" && rapid.Bool().Draw(t, "hipaa"), From: from, To: at,
			})
		}
	}
	return rapid.Permutation(seats).Draw(t, "order")
}

func drawSeatStatement(t *rapid.T) *billing.Statement {
	statement := aprilStatement(t, seatBook())
	statement.Calendar = calendar(t, rapid.SampledFrom(awkward).Draw(t, "zone"), rapid.IntRange(1, 31).Draw(t, "anchor"))
	statement.Month = statement.Calendar.Month(date("2026-04-15"))
	statement.Period = statement.Month
	statement.Seats = drawSeats(t)
	return statement
}

// TestSeatDaysAreThoseThatACountDayByDayGives asks of each day who held what at
// its start, and what that cost then.
func TestSeatDaysAreThoseThatACountDayByDayGives(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := drawSeatStatement(t)
		want := map[string]int64{}
		count := func(key, user string) { want[key+" "+user]++ }
		for _, day := range s.Calendar.Days(s.Period) {
			for _, a := range s.Seats {
				if day.Before(a.From) || !day.Before(a.To) {
					continue
				}
				chat, hipaa := "20", "5"
				if !day.Before(date("2026-04-11")) {
					chat = "26"
				}
				if !day.Before(date("2026-04-21")) {
					hipaa = "7.25"
				}
				switch {
				case a.Tier == "code":
					count("seat/code/40", a.User)
				case a.HIPAA:
					count("surcharge/hipaa/chat/"+hipaa, a.User)
					fallthrough
				default:
					count("seat/chat/"+chat, a.User)
				}
			}
		}
		got := map[string]int64{}
		for _, line := range mustLines(t, s) {
			for _, member := range line.Members {
				got[line.Key+" "+member.User] = member.Quantity.IntPart()
			}
		}
		require.Equal(t, want, got)
	})
}

func TestSeatAmountsAreDaysTimesPriceOverTheMonthRoundedOnce(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := drawSeatStatement(t)
		for _, line := range mustLines(t, s) {
			exact := new(big.Rat).Mul(line.Quantity.Rat(), line.UnitPrice.Amount.Rat())
			exact.Quo(exact, big.NewRat(int64(len(s.Calendar.Days(s.Month))), 1))
			require.Equal(t, halfAwayFromZero(exact, 2), line.Amount.Amount.StringFixed(2))
			require.Equal(t, halfAwayFromZero(exact, 18), line.Exact.Amount.StringFixed(18))
			days, amount := decimal.Zero, decimal.Zero
			for _, member := range line.Members {
				days, amount = days.Add(member.Quantity), amount.Add(member.Amount.Amount)
			}
			require.Equal(t, line.Quantity.String(), days.String())
			require.Equal(t, line.Amount.Amount.String(), amount.String())
		}
	})
}

func TestThePiecesOfAMonthThatWasClosedEarlyAddUpToTheMonth(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := drawSeatStatement(t)
		whole := map[string]billing.Line{}
		for _, line := range mustLines(t, s) {
			whole[line.Key] = line
		}
		length := s.Month.End.Sub(s.Month.Start)
		cut := s.Month.Start.Add(time.Duration(rapid.Int64Range(1, int64(length)-1).Draw(t, "cut")))
		pieces := map[string][]billing.Line{}
		for _, piece := range []billing.Period{{Start: s.Month.Start, End: cut}, {Start: cut, End: s.Month.End}} {
			s.Period = piece
			for _, line := range mustLines(t, s) {
				pieces[line.Key] = append(pieces[line.Key], line)
			}
		}
		require.Len(t, pieces, len(whole))
		for key, lines := range pieces {
			days, exact, amount := decimal.Zero, decimal.Zero, decimal.Zero
			for _, line := range lines {
				days, exact, amount = days.Add(line.Quantity), exact.Add(line.Exact.Amount), amount.Add(line.Amount.Amount)
			}
			require.Equal(t, whole[key].Quantity.String(), days.String(), "seat-days of %s", key)
			require.True(t, whole[key].Exact.Amount.Sub(exact).Abs().LessThan(dec("0.00000000000000001")), "exact amount of %s", key)
			require.True(t, whole[key].Amount.Amount.Sub(amount).Abs().LessThanOrEqual(dec("0.01")), "each piece is rounded once")
		}
	})
}

func TestTheOrderOfSeatsChangesNoLine(t *testing.T) {
	property(t, func(t *rapid.T) {
		s := drawSeatStatement(t)
		want := asJSON(t, mustLines(t, s))
		s.Seats = rapid.Permutation(s.Seats).Draw(t, "another order")
		require.Equal(t, want, asJSON(t, mustLines(t, s)))
	})
}

// BenchmarkLines bills a month of 31 days of an organisation with 100,000
// members, each with a HIPAA-ready seat whose price changes in mid-month.
func BenchmarkLines(b *testing.B) {
	statement := aprilStatement(b, seatBook())
	statement.Month = statement.Calendar.Month(date("2026-05-15"))
	statement.Period = statement.Month
	for i := range statement.Book.Seats { // the changes, in May
		if from := statement.Book.Seats[i].EffectiveFrom; !from.IsZero() {
			statement.Book.Seats[i].EffectiveFrom = from.AddDate(0, 1, 0)
		}
	}
	for i := range 100_000 {
		statement.Seats = append(statement.Seats, billing.SeatAssignment{
			User: fmt.Sprintf("user_%06d", i), Tier: "chat", HIPAA: true, From: date("2026-01-01"),
		})
	}
	for b.Loop() {
		lines, err := statement.Lines()
		if err != nil || len(lines) != 3 {
			b.Fatalf("%d lines: %v", len(lines), err)
		}
	}
}
