package document

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// members is what each member accounts for, those who account for most first, and
// what nobody does last.
type members struct {
	Rows  []member
	Seats string
	Usage string
	Sum   string // the invoice's subtotal
}

// member is one member's part of the charges, at list price.
type member struct {
	User  string
	Named bool // false = what no member used
	Seats string
	Usage string
	Sum   string
	Lines []row

	seats, usage decimal.Decimal
	title        string
}

// members adds up the members' parts of the charge lines.
func (p *Page) members() *members {
	index := map[string]int{}
	all := &members{}
	for n := range p.Invoice.Lines {
		line := &p.Invoice.Lines[n]
		for _, part := range line.Members {
			at, known := index[part.User]
			if !known {
				at = len(all.Rows)
				index[part.User] = at
				all.Rows = append(all.Rows, member{User: part.User, Named: part.User != ""})
			}
			all.Rows[at].add(p, line, part)
		}
	}
	seats, usage := decimal.Zero, decimal.Zero
	for i := range all.Rows {
		m := &all.Rows[i]
		m.Seats, m.Usage, m.Sum = amount(p.addUp(m.seats)), amount(p.addUp(m.usage)), amount(p.addUp(m.seats, m.usage))
		seats, usage = seats.Add(m.seats), usage.Add(m.usage)
	}
	all.Seats, all.Usage, all.Sum = amount(p.addUp(seats)), amount(p.addUp(usage)), amount(p.addUp(seats, usage))
	slices.SortFunc(all.Rows, func(a, z member) int {
		if a.Named != z.Named {
			return cmp.Compare(z.User, a.User) // nobody has the empty name
		}
		return cmp.Or(z.seats.Add(z.usage).Cmp(a.seats.Add(a.usage)), strings.Compare(a.User, z.User))
	})
	return all
}

func (m *member) add(p *Page, line *billing.Line, part billing.Allocation) {
	r := rowOf(line, part.Quantity, part.Amount)
	title := "Seat"
	if line.Kind == billing.KindUsage {
		title = line.Product + " · " + line.Model
		m.usage = m.usage.Add(part.Amount.Amount)
	} else {
		m.seats = m.seats.Add(part.Amount.Amount)
	}
	if late(p, line) {
		title += ", period from " + origin(line.PeriodOfOrigin)
	}
	if title != m.title {
		r.Title, m.title = title, title
	}
	m.Lines = append(m.Lines, r)
}
