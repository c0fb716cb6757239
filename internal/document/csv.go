package document

import (
	"encoding/csv"
	"io"
	"strconv"

	"github.com/arrears-dev/arrears/internal/billing"
)

// CSV writes an invoice's charge lines for a spreadsheet, one at a time: a row for
// each line, or for each member's part of it. The amounts add up to the invoice's
// total either way, since a line without members is a row without a user.
type CSV struct {
	out     *csv.Writer
	id      string
	members bool
}

// NewCSV writes the column titles.
func NewCSV(w io.Writer, invoice string, members bool) (*CSV, error) {
	c := &CSV{csv.NewWriter(w), invoice, members}
	header := []string{"invoice", "line", "kind", "description"}
	if members {
		header = append(header, "user")
	}
	return c, c.out.Write(append(header, "product", "model", "token_class", "period_of_origin",
		"quantity", "unit_price", "per", "exact_amount", "amount", "currency"))
}

// Line writes a line, or its members' parts.
func (c *CSV) Line(l *billing.Line) error {
	if !c.members || len(l.Members) == 0 {
		return c.row(l, billing.Allocation{Quantity: l.Quantity, Exact: l.Exact, Amount: l.Amount})
	}
	for _, part := range l.Members {
		if err := c.row(l, part); err != nil {
			return err
		}
	}
	return nil
}

func (c *CSV) row(l *billing.Line, part billing.Allocation) error {
	record := []string{Harmless(c.id), Harmless(l.Key), string(l.Kind), Harmless(l.Description)}
	if c.members {
		record = append(record, Harmless(part.User))
	}
	return c.out.Write(append(record, Harmless(l.Product), Harmless(l.Model), l.TokenClass, Harmless(l.PeriodOfOrigin),
		part.Quantity.String(), plain(l.UnitPrice), strconv.FormatInt(l.Per, 10),
		part.Exact.Amount.String(), plain(part.Amount), string(l.Amount.Currency)))
}

// Close writes what is left.
func (c *CSV) Close() error {
	c.out.Flush()
	return c.out.Error()
}
