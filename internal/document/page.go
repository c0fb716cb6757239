package document

import (
	"cmp"
	_ "embed" // the template
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Seller is who issues the invoices, as the page names them. What is empty is
// left out.
type Seller struct {
	Name    string
	Address string // its lines separated by |
	TaxID   string
	Email   string // for questions
}

// Page is an invoice, a draft or the running period's preview, to be printed.
type Page struct {
	Invoice  billing.Invoice
	Seller   Seller
	Email    string // the customer's billing contact; "" = none
	Calendar billing.Calendar
	Members  bool // show under the charges what each member accounts for; the lines must have their parts
}

//go:embed invoice.html
var source string

// layout knows nothing but the view: everything that it prints is escaped.
var layout = template.Must(template.New("invoice").Parse(source))

// WriteHTML writes the page: one file without anything from elsewhere. With
// members it holds all their parts in memory.
func (p *Page) WriteHTML(w io.Writer) error { return layout.Execute(w, p.view()) }

// view is the page in words.
type view struct {
	Title    string // "Invoice INV-000001"
	Name     string // "Invoice", "Draft invoice"
	Number   string
	ID       string
	Customer string
	Email    string
	Seller   Seller
	Address  []string
	Status   string
	Tone     string // of the status: good, bad, plain
	Issued   string
	Period   string
	Due      string
	Zone     string
	Currency billing.Currency
	Headline headline
	Summary  []sum
	Pay      string
	PayURL   string
	Notes    []string
	Groups   []group
	Subtotal string
	Total    string
	Hash     string
	Members  *members // nil = not asked for
}

// headline is the one figure that a reader looks for.
type headline struct{ Label, Amount string }

// sum is one row of the summary.
type sum struct {
	Label  string
	Amount string
	Kind   string // detail, sum or total; "" = an ordinary row
}

func (p *Page) view() view {
	i := &p.Invoice
	v := view{
		Name: "Invoice", Number: i.Number, ID: i.ID, Customer: i.Organization, Email: p.Email, Seller: p.Seller,
		Period: p.period(), Zone: p.Calendar.Location.String(), Currency: i.Currency, Groups: groupLines(p),
		Subtotal: amount(i.Subtotal), Total: amount(i.Total), Hash: i.ContentHash,
	}
	if i.FinalizedAt == nil {
		v.Name = "Draft invoice"
	}
	v.Title = strings.TrimSpace(v.Name + " " + cmp.Or(i.Number, i.ID))
	for line := range strings.SplitSeq(p.Seller.Address, "|") {
		if line = strings.TrimSpace(line); line != "" {
			v.Address = append(v.Address, line)
		}
	}
	v.Status, v.Tone = statusInWords(i.Status)
	if i.FinalizedAt != nil {
		v.Issued = p.day(*i.FinalizedAt)
	}
	v.Due = p.due()
	v.Summary = p.summary(v.Groups)
	v.Headline = p.headline()
	v.Pay, v.PayURL = p.howToPay()
	v.Notes = p.notes()
	if p.Members {
		v.Members = p.members()
	}
	return v
}

func statusInWords(status billing.InvoiceStatus) (words, tone string) {
	switch status {
	case billing.StatusDraft:
		return "Draft, may still change", "plain"
	case billing.StatusParked:
		return "Held for review", "bad"
	case billing.StatusOpen:
		return "Open", "plain"
	case billing.StatusPastDue:
		return "Past due", "bad"
	case billing.StatusPaid:
		return "Paid", "good"
	case billing.StatusCarried:
		return "Carried to the next invoice", "plain"
	case billing.StatusSettled:
		return "Settled, nothing to pay", "good"
	case billing.StatusVoid:
		return "Withdrawn, do not pay", "bad"
	case billing.StatusWrittenOff:
		return "Closed", "plain"
	default:
		return strings.ReplaceAll(string(status), "_", " "), "plain"
	}
}

const dayLayout = "2 January 2006"

func (p *Page) day(at time.Time) string { return at.In(p.Calendar.Location).Format(dayLayout) }

// period names the days of the period, its last one included; one that begins or
// ends within a day, by the minute.
func (p *Page) period() string {
	from, to := p.Invoice.PeriodStart, p.Invoice.PeriodEnd
	if p.beginsDay(from) && p.beginsDay(to) {
		return p.day(from) + " – " + p.day(to.Add(-1))
	}
	const minute = dayLayout + ", 15:04"
	return from.In(p.Calendar.Location).Format(minute) + " – " + to.In(p.Calendar.Location).Format(minute)
}

func (p *Page) beginsDay(at time.Time) bool {
	return len(p.Calendar.Days(billing.Period{Start: at, End: at.Add(1)})) > 0
}

// origin names an earlier period by its first day, which is how its id begins.
func origin(id string) string {
	date, _, _ := strings.Cut(id, ".")
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return id
	}
	return day.Format(dayLayout)
}

func (p *Page) due() string {
	i := &p.Invoice
	switch {
	case i.DueDate == nil || i.Status == billing.StatusVoid:
		return ""
	case i.Collection == billing.ChargeAutomatically:
		return "On issue, charged automatically"
	}
	return p.dueDate()
}

// dueDate is the last day on which the invoice can be paid in time.
func (p *Page) dueDate() string {
	if p.Invoice.DueDate == nil {
		return ""
	}
	return origin(*p.Invoice.DueDate)
}

func (p *Page) headline() headline {
	i := &p.Invoice
	switch i.Status {
	case billing.StatusDraft, billing.StatusParked:
		return headline{"Total so far", p.withCurrency(i.Total)}
	case billing.StatusPaid:
		return headline{"Paid", p.withCurrency(i.AmountPaid)}
	default:
		return headline{"Amount due", p.withCurrency(i.AmountDue)}
	}
}

func (p *Page) withCurrency(m billing.Money) string {
	return amount(m) + " " + string(m.Currency)
}

// summary leads from the charges to the amount due, every sum by what stands
// above it.
func (p *Page) summary(groups []group) []sum {
	i := &p.Invoice
	var rows, others []sum
	for _, g := range groups {
		switch {
		case g.charge:
			rows = append(rows, sum{g.Title, g.Sum, ""})
			for _, part := range g.parts {
				rows = append(rows, sum{part.title, amount(part.sum), "detail"})
			}
		case g.kind == billing.KindDiscount:
			for _, line := range g.Lines {
				others = append(others, sum{line.Label, line.Amount, ""})
			}
			others = append(others, sum{"Net of discount", amount(i.Net), "sum"})
		default:
			others = append(others, sum{g.Title, g.Sum, ""})
		}
	}
	rows = append(append(rows, sum{"Subtotal", amount(i.Subtotal), "sum"}), others...)
	rows = append(rows, sum{"Tax", "not included", ""}, sum{"Total (" + string(i.Currency) + ")", amount(i.Total), "total"})
	if i.FinalizedAt == nil {
		return rows
	}
	if !i.AmountPaid.Amount.IsZero() {
		rows = append(rows, sum{"Paid", amount(negative(i.AmountPaid)), ""})
	}
	if rest := i.Total.Amount.Sub(i.AmountPaid.Amount).Sub(i.AmountDue.Amount); !rest.IsZero() {
		rows = append(rows, sum{p.settledBy(), amount(negative(billing.Money{Amount: rest, Currency: i.Currency})), ""})
	}
	return append(rows, sum{"Amount due (" + string(i.Currency) + ")", amount(i.AmountDue), "total"})
}

func negative(m billing.Money) billing.Money {
	return billing.Money{Amount: m.Amount.Neg(), Currency: m.Currency}
}

// settledBy names what became of an amount that is neither paid nor due.
func (p *Page) settledBy() string {
	switch p.Invoice.Status {
	case billing.StatusCarried:
		return "Carried to the next invoice"
	case billing.StatusVoid:
		return "Withdrawn"
	case billing.StatusWrittenOff:
		return "No longer claimed"
	default:
		return "Credited or settled otherwise"
	}
}

// howToPay is a sentence, and where it can be done online.
func (p *Page) howToPay() (sentence, link string) {
	i := &p.Invoice
	switch i.Status {
	case billing.StatusDraft, billing.StatusParked:
		return "Nothing is to be paid yet: this is not an invoice.", ""
	case billing.StatusPaid:
		return "Paid in full. Thank you.", ""
	case billing.StatusCarried:
		if i.Total.Amount.IsNegative() {
			return "Nothing is to be paid: the credit is taken off the next invoice.", ""
		}
		return "Nothing is to be paid now: the amount is too small to be collected and goes onto the next invoice.", ""
	case billing.StatusSettled, billing.StatusVoid, billing.StatusWrittenOff:
		return "Nothing is to be paid.", ""
	default:
		return p.howToPayDue()
	}
}

// howToPayDue is the same for an invoice that is to be paid.
func (p *Page) howToPayDue() (sentence, link string) {
	i := &p.Invoice
	reference := ""
	if i.Number != "" {
		reference = " Quote " + i.Number + " with your payment."
	}
	switch {
	case i.Status == billing.StatusPastDue:
		return "This invoice is past due: please pay it now." + reference, i.HostedURL
	case i.Collection == billing.ChargeAutomatically:
		return "The amount due is charged to the payment method on file; nothing is left for you to do.", i.HostedURL
	case i.DueDate != nil:
		return "Please pay by " + p.dueDate() + "." + reference, i.HostedURL
	}
	return "Please pay the amount due." + reference, i.HostedURL
}

// notes say what a reader could otherwise ask about.
func (p *Page) notes() []string {
	i := &p.Invoice
	notes := []string{"Amounts are in " + string(i.Currency) + ". Each line is its quantity times its unit price, rounded once. No tax is included."}
	if !i.Discount.Amount.IsZero() {
		notes = append(notes, "Lines are at list prices; the negotiated discount is taken off their sum.")
	}
	if i.ParkedReason != "" {
		notes = append(notes, "Held for review: "+i.ParkedReason+".")
	}
	for _, line := range i.Lines {
		if line.PeriodOfOrigin != i.PeriodID && line.Kind == billing.KindUsage {
			return append(notes, "Usage of earlier periods arrived, or was taken back, after their invoices had been issued. It is charged at the prices of its own time.")
		}
	}
	return notes
}

// addUp is the sum of amounts in the invoice's currency.
func (p *Page) addUp(amounts ...decimal.Decimal) billing.Money {
	total := decimal.Zero
	for _, a := range amounts {
		total = total.Add(a)
	}
	return billing.Money{Amount: total, Currency: p.Invoice.Currency}
}
