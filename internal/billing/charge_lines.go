package billing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// exactPlaces bounds what is shown of a quotient that never ends, such as a
// seat-day's price. Cents are decided on the undivided amount, not on this.
const exactPlaces = 18

// UsageTotal is the running total of one user, product, model and rate in a
// period, and the period in which it was used where that is an earlier one.
type UsageTotal struct {
	Origin  string // "" = the period itself
	User    string // "" = no member
	Product string
	Model   string
	Rate    *Rate
	Counts  Totals
}

// Statement is everything that decides the bill of one period.
type Statement struct {
	PeriodID string
	Period   Period   // what is billed
	Month    Period   // the whole billing month around it
	Calendar Calendar // of the organisation
	Book     *PriceBook
	Seats    []SeatAssignment // those in force at any time within the period
	Usage    []UsageTotal
	Free     []FreeUse // by billing month; none where no code ran
	Carried  []Carried
	Credits  []Credit // of the organisation, the oldest first

	Discount         decimal.Decimal            // negotiated, in percent off the charges; 0 = none
	EarlierDiscounts map[string]decimal.Decimal // by which earlier periods were billed, by their ids; for late usage
}

// Lines computes the charge lines, in invoice order. The order of its input
// does not matter.
func (s *Statement) Lines() ([]Line, error) {
	lines, err := s.seatLines()
	if err != nil {
		return nil, err
	}
	usage := s.usageLines()
	lines = append(append(lines, usage...), s.freeLines(usage)...)
	lines = append(lines, s.discountLines(lines)...)
	for _, carried := range s.Carried {
		amount := s.money(carried.Amount)
		lines = append(lines, Line{
			Key: "carried_forward/" + carried.InvoiceID, Kind: KindCarriedForward,
			Description: "Carried forward from invoice " + carried.Number,
			Quantity:    decimal.NewFromInt(1), UnitPrice: amount, Per: 1, Exact: amount, Amount: amount,
		})
	}
	lines = append(lines, s.creditLines(Add(lines))...)
	for i := range lines {
		if lines[i].PeriodOfOrigin == "" {
			lines[i].PeriodOfOrigin = s.PeriodID
		}
	}
	slices.SortFunc(lines, compareLines)
	return lines, nil
}

// creditLines uses up the organisation's credits, the oldest first, as far as
// there is something to pay: never below zero. What is left stays for the next
// invoice.
func (s *Statement) creditLines(toPay decimal.Decimal) (lines []Line) {
	for _, credit := range s.Credits {
		used := s.money(decimal.Min(toPay, credit.Amount.Amount).Neg())
		if !used.Amount.IsNegative() {
			continue
		}
		toPay = toPay.Add(used.Amount)
		lines = append(lines, Line{
			Key: "credit/" + credit.Number, Kind: KindCredit,
			Description: "Credit note " + credit.Number + " on invoice " + credit.Invoice,
			Quantity:    decimal.NewFromInt(1), UnitPrice: used, Per: 1, Exact: used, Amount: used,
		})
	}
	return lines
}

func compareLines(a, z Line) int {
	order := []LineKind{KindSeat, KindSurcharge, KindUsage, KindDiscount, KindCarriedForward, KindCredit, KindAdjustment}
	return cmp.Or(
		cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, z.Kind)),
		cmp.Compare(a.PeriodOfOrigin, z.PeriodOfOrigin),
		strings.Compare(a.Product, z.Product), strings.Compare(a.Model, z.Model),
		cmp.Compare(slices.Index(classNames[:], a.TokenClass), slices.Index(classNames[:], z.TokenClass)),
		a.UnitPrice.Amount.Cmp(z.UnitPrice.Amount), strings.Compare(a.Key, z.Key))
}

// usageCharge is what one usage line charges: rates whose effective price is
// the same share a line.
type usageCharge struct {
	origin, product, model string
	class                  Class
	price                  string
	per                    int64
}

// inKey escapes what stands between the slashes of a key: products and models
// are free text.
var inKey = strings.NewReplacer("%", "%25", "/", "%2F")

func (c usageCharge) key() string {
	parts := []string{"usage", inKey.Replace(c.product), inKey.Replace(c.model), c.class.String(), c.price}
	if !c.class.IsToken() { // tools are quoted for any number, tokens for a million
		parts = append(parts, strconv.FormatInt(c.per, 10))
	}
	if c.origin != "" {
		parts = append(parts, c.origin)
	}
	return strings.Join(parts, "/")
}

func (t *UsageTotal) charge(class Class) usageCharge {
	unit := t.Rate.Unit[class]
	return usageCharge{t.Origin, t.Product, t.Model, class, unit.Amount.String(), unit.Per}
}

// LineKey is the key of the line that charges what a total counts of a class.
func (t *UsageTotal) LineKey(class Class) string { return t.charge(class).key() }

// usageLines makes one line per product, model, token class and effective unit
// price, and one more for each earlier period that late usage belongs to.
func (s *Statement) usageLines() []Line {
	parts := map[usageCharge][]Allocation{}
	prices := map[usageCharge]UnitPrice{}
	texts := map[usageCharge]*chargeText{}
	for i := range s.Usage {
		total := &s.Usage[i]
		for _, class := range Classes() {
			if total.Counts[class].IsZero() {
				continue
			}
			charge := total.charge(class)
			prices[charge] = total.Rate.Unit[class]
			if texts[charge] == nil {
				texts[charge] = &chargeText{}
			}
			texts[charge].add(total.Rate, class)
			parts[charge] = append(parts[charge], Allocation{User: total.User, Quantity: total.Counts[class]})
		}
	}
	described := describeCharges(texts)
	lines := make([]Line, 0, len(parts))
	for charge, members := range parts {
		line := s.usageLine(charge, prices[charge], mergeUsers(members))
		line.Description = described[charge] + s.whence(&line)
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, z Line) int { return strings.Compare(a.Key, z.Key) })
	return lines
}

func (s *Statement) usageLine(charge usageCharge, unit UnitPrice, members []Allocation) Line {
	line := Line{
		Key: charge.key(), Kind: KindUsage, Product: charge.product, Model: charge.model, TokenClass: charge.class.String(),
		UnitPrice: s.money(unit.Amount), Per: unit.Per, PeriodOfOrigin: charge.origin, Members: members,
	}
	s.price(&line, unit.charge)
	return line
}

// whence says of late usage, and of what was taken back late, when it was used.
func (s *Statement) whence(line *Line) string {
	switch {
	case line.PeriodOfOrigin == "":
		return ""
	case line.Quantity.IsNegative():
		return ", taken back from the period from " + line.PeriodOfOrigin
	default:
		return ", used in the period from " + line.PeriodOfOrigin
	}
}

// mergeUsers adds up the parts of each user, in the order of their names.
func mergeUsers(parts []Allocation) []Allocation {
	slices.SortFunc(parts, func(a, z Allocation) int { return strings.Compare(a.User, z.User) })
	merged := parts[:0]
	for _, part := range parts {
		if n := len(merged); n > 0 && merged[n-1].User == part.User {
			merged[n-1].Quantity = merged[n-1].Quantity.Add(part.Quantity)
			continue
		}
		merged = append(merged, part)
	}
	return merged
}

// price fills in a line's quantity and amounts from its members' quantities.
// price is asked for the amount at so many places, so that the cents of a
// quotient are rounded once and not twice.
func (s *Statement) price(line *Line, price func(quantity decimal.Decimal, places int32) decimal.Decimal) {
	line.Quantity = decimal.Zero
	for i := range line.Members {
		line.Quantity = line.Quantity.Add(line.Members[i].Quantity)
	}
	line.Exact = s.money(price(line.Quantity, exactPlaces))
	line.Amount = s.money(Round(price(line.Quantity, s.Book.Currency.Digits()), s.Book.Currency))
	line.deal(func(quantity decimal.Decimal) decimal.Decimal { return price(quantity, exactPlaces) })
}

// deal fills in the amounts of a line's members from their quantities: what each
// used exactly, and cents that add up to the line's.
func (l *Line) deal(price func(quantity decimal.Decimal) decimal.Decimal) {
	currency := l.Amount.Currency
	exact := make([]decimal.Decimal, len(l.Members))
	for i := range l.Members {
		exact[i] = price(l.Members[i].Quantity)
		l.Members[i].Exact = Money{exact[i], currency}
	}
	for i, amount := range AllocateAmount(l.Amount.Amount, exact, currency) {
		l.Members[i].Amount = Money{amount, currency}
	}
}

// Allocate deals a usage line, computed from totals across its members, out to them:
// parts are their quantities, each user once and in order of their names. The
// line then is what Lines makes of every member's totals.
func (l *Line) Allocate(parts []Allocation) error {
	sum := decimal.Zero
	for i := range parts {
		sum = sum.Add(parts[i].Quantity)
	}
	if !sum.Equal(l.Quantity) {
		return fmt.Errorf("the members' parts of line %s add up to %s, not to %s", l.Key, sum, l.Quantity)
	}
	l.Members = parts
	unit := UnitPrice{l.UnitPrice.Amount, l.Per}
	l.deal(func(quantity decimal.Decimal) decimal.Decimal { return unit.charge(quantity, exactPlaces) })
	return nil
}

func (s *Statement) money(amount decimal.Decimal) Money { return Money{amount, s.Book.Currency} }

// MarshalJSON writes the quantity as a JSON number of any size.
func (l Line) MarshalJSON() ([]byte, error) {
	type plain Line
	return json.Marshal(struct {
		plain
		Quantity json.Number `json:"quantity"`
	}{plain(l), json.Number(l.Quantity.String())})
}

// MarshalJSON writes the quantity as a JSON number of any size, and no user as null.
func (m Allocation) MarshalJSON() ([]byte, error) {
	type plain Allocation
	wire := struct {
		User *string `json:"user"`
		plain
		Quantity json.Number `json:"quantity"`
	}{nil, plain(m), json.Number(m.Quantity.String())}
	if m.User != "" {
		wire.User = &m.User
	}
	return json.Marshal(wire)
}
