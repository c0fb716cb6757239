package billing

import (
	"fmt"
	"strings"

	"github.com/shopspring/decimal"
)

// Bounds are what an invoice must keep within to be issued without a person.
// Amounts are in the organisation's currency. A bound that is not valid is not
// set, and 0 is none.
type Bounds struct {
	Growth   decimal.NullDecimal // charges may be so many times those of the period before
	Floor    decimal.NullDecimal // charges up to which growth does not matter
	Total    decimal.NullDecimal // the largest total
	Credit   decimal.NullDecimal // how far the period's own charges may lie below zero
	FourEyes decimal.NullDecimal // a total above which two people must release it
}

// DefaultBounds hold where neither the organisation nor the installation sets
// any: ten times the charges of the period before, from 2000 times the smallest
// charge on (1000 USD, 100000 JPY).
func DefaultBounds(c Currency) Bounds {
	return Bounds{
		Growth: decimal.NewNullDecimal(decimal.NewFromInt(10)),
		Floor:  decimal.NewNullDecimal(c.SmallestCharge().Amount.Mul(decimal.NewFromInt(2000))),
	}
}

// Or returns the bounds, with those that are not set taken from others.
func (b Bounds) Or(others Bounds) Bounds {
	for _, bound := range []struct{ own, other *decimal.NullDecimal }{
		{&b.Growth, &others.Growth},
		{&b.Floor, &others.Floor},
		{&b.Total, &others.Total},
		{&b.Credit, &others.Credit},
		{&b.FourEyes, &others.FourEyes},
	} {
		if !bound.own.Valid {
			*bound.own = *bound.other
		}
	}
	return b
}

// Check names the bound that it refuses: none may be below zero.
func (b Bounds) Check() error {
	for name, bound := range map[string]decimal.NullDecimal{
		"bound_growth": b.Growth, "bound_floor": b.Floor, "bound_total": b.Total, "bound_credit": b.Credit,
	} {
		if bound.Valid && bound.Decimal.IsNegative() {
			return Invalid("%s: %s; accepted: a number above 0, or 0 for none", name, bound.Decimal)
		}
	}
	return nil
}

func (b Bounds) equal(other Bounds) bool {
	same := func(a, z decimal.NullDecimal) bool { return a.Valid == z.Valid && a.Decimal.Equal(z.Decimal) }
	return same(b.Growth, other.Growth) && same(b.Floor, other.Floor) && same(b.Total, other.Total) && same(b.Credit, other.Credit)
}

// Charged is what an earlier period charged: its seats, surcharges and usage.
type Charged struct {
	Period Period
	Amount decimal.Decimal
}

// Exceeded says which bounds an invoice exceeds, for people. before is the last
// invoiced period before it; nil = there is none to compare it with. A period
// that is longer than that one is granted more in proportion; a shorter one is
// not granted less, since usage is not spread evenly.
func (b Bounds) Exceeded(invoice *Invoice, before *Charged) []string {
	var why []string
	charges, money := invoice.Subtotal.Amount, func(d decimal.Decimal) Money { return Money{d, invoice.Currency} }
	if before != nil && holds(b.Growth) {
		usual := before.Amount
		if length, was := invoice.PeriodEnd.Sub(invoice.PeriodStart), before.Period.End.Sub(before.Period.Start); length > was {
			usual = usual.Mul(decimal.NewFromInt(int64(length))).DivRound(decimal.NewFromInt(int64(was)), invoice.Currency.ChargeDigits())
		}
		if charges.GreaterThan(b.Floor.Decimal) && charges.GreaterThan(usual.Mul(b.Growth.Decimal)) {
			why = append(why, fmt.Sprintf("charges of %s are more than %s times the %s to be expected after the period before",
				money(charges), b.Growth.Decimal, money(usual)))
		}
	}
	if holds(b.Total) && invoice.Total.Amount.GreaterThan(b.Total.Decimal) {
		why = append(why, fmt.Sprintf("total %s is above the bound of %s", invoice.Total, money(b.Total.Decimal)))
	}
	if holds(b.Credit) && charges.LessThan(b.Credit.Decimal.Neg()) {
		why = append(why, fmt.Sprintf("charges of %s lie further below zero than the bound of %s", money(charges), money(b.Credit.Decimal)))
	}
	return why
}

func holds(bound decimal.NullDecimal) bool { return bound.Valid && !bound.Decimal.IsZero() }

// Release is a person's word that an invoice may be issued although something
// holds it. It holds for the total that the person saw.
type Release struct {
	Actor        string
	Total        decimal.Decimal
	BankTransfer bool // to be sent and paid by transfer, and not charged
	Split        bool // to be charged in parts
}

// ReleaseWay is how an invoice is to be paid that is too large for one charge.
type ReleaseWay string

// The ways in which an invoice is released.
const (
	ReleaseAsIs           ReleaseWay = ""              // as the contract says
	ReleaseByBankTransfer ReleaseWay = "bank_transfer" // sent, and paid by transfer
	ReleaseSplit          ReleaseWay = "split"         // charged in parts
)

// releaseTolerance is by how much of itself a total may have grown since it was
// released: late usage of a few hours must not ask for another release.
var releaseTolerance = decimal.New(1, -2)

// covers reports whether a release was given for such a total. One over a charge
// never covers a credit, nor the other way round.
func (r Release) covers(total decimal.Decimal) bool {
	return r.Total.Sign()*total.Sign() >= 0 &&
		total.Abs().LessThanOrEqual(r.Total.Abs().Mul(decimal.NewFromInt(1).Add(releaseTolerance)))
}

// Holds is what keeps an invoice from being issued.
type Holds struct {
	Faults   []string // no release helps: usage without a price, seats without one
	Reasons  []string // a person may release it
	Oversize string   // it may be released to be paid by bank transfer or in parts; "" = it can be charged
}

// Any reports whether anything holds the invoice.
func (h Holds) Any() bool { return len(h.Faults) > 0 || len(h.Reasons) > 0 || h.Oversize != "" }

// String is everything that holds the invoice, for people.
func (h Holds) String() string {
	why := append(append([]string{}, h.Faults...), h.Reasons...)
	if h.Oversize != "" {
		why = append(why, h.Oversize)
	}
	return strings.Join(why, "; ")
}

// Released is what releases make of an invoice that is held.
type Released struct {
	Done         bool
	BankTransfer bool
	Split        bool
	Why          string // not done: everything that holds it, and what to do
}

// IssueAs is the status in which a released invoice is issued.
func (r Released) IssueAs(status InvoiceStatus) InvoiceStatus {
	if status == StatusParked { // by its size alone
		return StatusOpen
	}
	return status
}

// Release decides whether releases lift what holds an invoice. Where people chose
// different ways to have it paid, the last word counts.
func (h Holds) Release(invoice *Invoice, releases []Release, fourEyes decimal.NullDecimal) Released {
	people, transfer, split := map[string]bool{}, false, false
	for _, r := range releases {
		if r.covers(invoice.Total.Amount) {
			people[r.Actor] = true
			if r.BankTransfer || r.Split {
				transfer, split = r.BankTransfer, r.Split
			}
		}
	}
	needed := 1
	if holds(fourEyes) && invoice.Total.Amount.GreaterThan(fourEyes.Decimal) {
		needed = 2
	}
	if len(h.Faults) == 0 && len(people) >= needed && (h.Oversize == "" || transfer || split) {
		return Released{Done: true, BankTransfer: transfer, Split: split && h.Oversize != ""}
	}
	if len(h.Faults) > 0 {
		return Released{Why: h.String()}
	}
	return Released{Why: h.String() + ": " + h.whatToDo(invoice, len(people), needed)}
}

func (h Holds) whatToDo(invoice *Invoice, people, needed int) string {
	command := "starter invoices release " + invoice.ID
	if h.Oversize != "" {
		command += " --bank-transfer, or --split to charge it in parts"
	}
	switch {
	case needed == 1:
		return "look at it, then " + command
	case people == 0:
		return "two people look at it, then each: " + command
	default:
		return fmt.Sprintf("released by %d of %d people; another one: %s", min(people, needed), needed, command)
	}
}
