package document

import (
	"cmp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// group is a block of charge lines under a title, with their sum.
type group struct {
	Title string
	Lines []row
	Sum   string

	kind   billing.LineKind
	charge bool // at list price, part of the subtotal
	late   bool
	parts  []part
	total  decimal.Decimal
}

// part is what a product and model add to a group of usage.
type part struct {
	title string
	sum   billing.Money
}

// row is a charge line, or a member's part of one.
type row struct {
	Title    string // of a product and model, above its first line; "" = the same as before
	Label    string
	Quantity string
	Unit     string
	Price    string
	Per      string
	Amount   string
}

// groupLines puts the lines under titles: they come in invoice order, so that
// lines of a group stand together.
func groupLines(p *Page) []group {
	var groups []group
	for n := range p.Invoice.Lines {
		line := &p.Invoice.Lines[n]
		title, charge := titleOf(p, line)
		at := len(groups) - 1
		for i := range groups {
			if groups[i].Title == title {
				at = i
			}
		}
		if at < 0 || groups[at].Title != title {
			groups = append(groups, group{Title: title, kind: line.Kind, charge: charge, late: late(p, line)})
			at = len(groups) - 1
		}
		groups[at].add(p, line)
	}
	return inOrder(groups, p)
}

// inOrder has late usage behind the period's own, and what is not charged at list
// price behind both.
func inOrder(groups []group, p *Page) []group {
	ordered := make([]group, 0, len(groups))
	for _, takes := range []func(g *group) bool{
		func(g *group) bool { return g.charge && !g.late },
		func(g *group) bool { return g.charge && g.late },
		func(g *group) bool { return g.kind == billing.KindDiscount },
		func(g *group) bool { return !g.charge && g.kind != billing.KindDiscount },
	} {
		for i := range groups {
			if takes(&groups[i]) {
				groups[i].Sum = amount(p.addUp(groups[i].total))
				ordered = append(ordered, groups[i])
			}
		}
	}
	return ordered
}

func late(p *Page, line *billing.Line) bool {
	return line.Kind == billing.KindUsage && line.PeriodOfOrigin != p.Invoice.PeriodID
}

func titleOf(p *Page, line *billing.Line) (title string, charge bool) {
	switch {
	case late(p, line):
		return "Usage of the period from " + origin(line.PeriodOfOrigin), true
	case line.Kind == billing.KindUsage:
		return "Usage", true
	case line.Kind == billing.KindSeat:
		return "Seats", true
	case line.Kind == billing.KindSurcharge:
		return "Surcharges", true
	case line.Kind == billing.KindDiscount:
		return "Discount", false
	case line.Kind == billing.KindCarriedForward:
		return "Carried forward", false
	}
	return capital(strings.ReplaceAll(string(line.Kind), "_", " ")) + "s", false // credits and adjustments
}

func (g *group) add(p *Page, line *billing.Line) {
	g.total = g.total.Add(line.Amount.Amount)
	r := rowOf(line, line.Quantity, line.Amount)
	if line.Kind == billing.KindUsage {
		title := line.Product + " · " + line.Model
		if n := len(g.parts); n == 0 || g.parts[n-1].title != title {
			g.parts = append(g.parts, part{title, p.addUp()})
			r.Title = title
		}
		last := &g.parts[len(g.parts)-1]
		last.sum = p.addUp(last.sum.Amount, line.Amount.Amount)
	}
	g.Lines = append(g.Lines, r)
}

// rowOf is a line in words, for a quantity of it.
func rowOf(line *billing.Line, quantity decimal.Decimal, cost billing.Money) row {
	r := row{Label: labelOf(line), Amount: amount(cost)}
	switch line.Kind {
	case billing.KindSeat, billing.KindSurcharge:
		r.Quantity, r.Unit = number(quantity), "seat-days"
		r.Price, r.Per = amount(line.UnitPrice), "per month of "+strconv.FormatInt(line.Per, 10)+" days"
	case billing.KindUsage:
		r.Quantity, r.Unit = number(quantity), unitOf(line)
		r.Price, r.Per = amount(line.UnitPrice), perOf(line)
	default: // said in words
	}
	if quantity.Equal(decimal.NewFromInt(1)) {
		r.Unit = strings.TrimSuffix(r.Unit, "s")
	}
	return r
}

// labelOf is a line's description, without the product, model and earlier period
// that stand above it.
func labelOf(line *billing.Line) string {
	label := line.Description
	switch line.Kind {
	case billing.KindDiscount:
		return "Discount of " + number(line.Quantity) + "% on " + amount(negative(line.UnitPrice)) + " " + string(line.UnitPrice.Currency)
	case billing.KindUsage:
		label = strings.TrimPrefix(label, line.Product+" "+line.Model+" ")
		label = strings.TrimSuffix(label, ", used in the period from "+line.PeriodOfOrigin)
		label = strings.TrimSuffix(label, " from the period from "+line.PeriodOfOrigin)
	default:
	}
	return capital(cmp.Or(label, line.Key))
}

func capital(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

func unitOf(line *billing.Line) string {
	var class billing.Class
	if err := class.UnmarshalText([]byte(line.TokenClass)); err == nil && class.IsToken() {
		return "tokens"
	}
	switch line.TokenClass {
	case billing.WebSearch.String():
		return "requests"
	case billing.CodeExecution.String():
		return "seconds"
	}
	return ""
}

func perOf(line *billing.Line) string {
	switch {
	case line.Per == 1:
		return "each"
	case line.Per == billing.TokensPer:
		return "per million"
	case line.Per == 3600 && line.TokenClass == billing.CodeExecution.String():
		return "per hour"
	}
	return "per " + billing.Thousands(strconv.FormatInt(line.Per, 10))
}
