package fakestripe

import (
	"iter"
	"slices"
	"strconv"
)

// invoiceLine is an invoice item as its invoice shows it.
type invoiceLine struct {
	ID                     string            `json:"id"`
	Object                 string            `json:"object"`
	Amount                 int64             `json:"amount"`
	AmountExcludingTax     int64             `json:"amount_excluding_tax"`
	Currency               string            `json:"currency"`
	Description            text              `json:"description"`
	Discountable           bool              `json:"discountable"`
	Invoice                text              `json:"invoice"`
	InvoiceItem            string            `json:"invoice_item"`
	Livemode               bool              `json:"livemode"`
	Metadata               map[string]string `json:"metadata"`
	Period                 period            `json:"period"`
	Proration              bool              `json:"proration"`
	Quantity               int64             `json:"quantity"`
	Type                   string            `json:"type"`
	UnitAmountExcludingTax string            `json:"unit_amount_excluding_tax"`
}

type period struct {
	End   instant `json:"end"`
	Start instant `json:"start"`
}

func (l *invoiceLine) kind() string  { return "line_item" }
func (l *invoiceLine) key() string   { return l.ID }
func (l *invoiceLine) owner() string { return "" }

func asLine(item *invoiceItem) *invoiceLine {
	return &invoiceLine{
		ID: item.private.Line, Object: "line_item", Amount: item.Amount, AmountExcludingTax: item.Amount,
		Currency: item.Currency, Description: item.Description, Discountable: item.Discountable,
		Invoice: item.Invoice, InvoiceItem: item.ID, Metadata: item.Metadata, Period: item.Period,
		Quantity: item.Quantity, Type: "invoiceitem", UnitAmountExcludingTax: strconv.FormatInt(item.UnitAmount, 10),
	}
}

func asLines(items []*invoiceItem) []*invoiceLine {
	lines := make([]*invoiceLine, 0, len(items))
	for _, item := range items {
		lines = append(lines, asLine(item))
	}
	return lines
}

// addLine puts an item on an invoice, after the lines that are there.
func (t *tx) addLine(inv *invoice, item *invoiceItem) {
	lines := t.lines[inv.ID]
	item.Invoice = text(inv.ID)
	item.private.Line = newID("il")
	item.private.Place = 0
	if n := len(lines); n > 0 {
		item.private.Place = lines[n-1].private.Place + 1
	}
	t.lines[inv.ID] = append(lines, item)
}

func (t *tx) removeLine(item *invoiceItem) {
	if item.Invoice == "" {
		return
	}
	inv := string(item.Invoice)
	t.lines[inv] = slices.DeleteFunc(t.lines[inv], func(other *invoiceItem) bool { return other == item })
}

func sortLines(lines []*invoiceItem) {
	slices.SortFunc(lines, func(a, b *invoiceItem) int { return a.private.Place - b.private.Place })
}

func listLines(t *tx, r *request) (any, *apiError) {
	inv, err := t.invoice(r, "invoice")
	if err != nil {
		return nil, err
	}
	lines := t.lines[inv.ID]
	position := func(id string) (int, bool) {
		at := slices.IndexFunc(lines, func(item *invoiceItem) bool { return item.private.Line == id })
		return -at, at >= 0
	}
	return page(t, r, downwards(lines), position, func(*invoiceLine) bool { return true })
}

// downwards walks the lines in their order, with positions that fall.
func downwards(items []*invoiceItem) iter.Seq2[int, *invoiceLine] {
	return func(yield func(int, *invoiceLine) bool) {
		for at, item := range items {
			if !yield(-at, asLine(item)) {
				return
			}
		}
	}
}
