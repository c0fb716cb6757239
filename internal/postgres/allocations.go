package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// copyParts writes the members' parts of an invoice's lines, one line in memory
// at a time: what a month's close needs grows with the members of its largest
// line, and not with members times lines. It returns the hash of all lines.
func copyParts(
	ctx context.Context, tx pgx.Tx, org billing.Organization, p period, invoice *billing.Invoice, statement *billing.Statement,
) (*billing.ContentHash, error) {
	hash, next := billing.NewContentHash(), 0
	write := func(line billing.Line) error { // by value: the parts are not kept
		next++
		hash.Line(&line)
		return copyPartsOf(ctx, tx, invoice, next, line.Members)
	}
	upTo := func(end int) error { // lines that come with their parts, or have none
		for next < end {
			line := invoice.Lines[next]
			invoice.Lines[next].Members = nil
			if err := write(line); err != nil {
				return err
			}
		}
		return nil
	}
	err := eachUsageLine(ctx, tx, org, p, invoice, statement, func(i int, parts []billing.Allocation) error {
		if err := upTo(i); err != nil {
			return err
		}
		line := invoice.Lines[i]
		if err := line.Allocate(parts); err != nil {
			return err
		}
		return write(line)
	})
	if err != nil {
		return nil, err
	}
	return hash, upTo(len(invoice.Lines))
}

func copyPartsOf(ctx context.Context, tx pgx.Tx, invoice *billing.Invoice, line int, parts []billing.Allocation) error {
	columns := []string{"invoice_id", "n", "user_id", "quantity", "exact_amount", "amount"}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"invoice_line_members"}, columns,
		pgx.CopyFromSlice(len(parts), func(i int) ([]any, error) {
			m := &parts[i]
			return []any{invoice.ID, line, m.User, numeric(m.Quantity), numeric(m.Exact.Amount), numeric(m.Amount.Amount)}, nil
		}))
	return wrap("write the member parts of "+invoice.ID, err)
}

// numeric is a decimal as the driver writes it fastest: as text it would take half
// of a large month's close.
func numeric(d decimal.Decimal) pgtype.Numeric {
	return pgtype.Numeric{Int: d.Coefficient(), Exp: d.Exponent(), Valid: true}
}

// partsAtOnce is how many parts are fetched from the database at once.
const partsAtOnce = 5000

// eachUsageLine visits the invoice's usage lines with what each member used, in
// order of the members' names. The database sorts; a cursor hands the rows over,
// so that others can be written in between.
func eachUsageLine(
	ctx context.Context, tx pgx.Tx, org billing.Organization, p period, invoice *billing.Invoice, statement *billing.Statement,
	visit func(line int, parts []billing.Allocation) error,
) error {
	const declare = `
DECLARE parts NO SCROLL CURSOR FOR
SELECT line, user_id, sum(quantity)
  FROM (SELECT k.line, t.user_id, (ARRAY[CLASSES])[k.class] AS quantity
          FROM usage_totals t
          JOIN unnest(@origins::text[], @products::text[], @models::text[], @rates::bigint[], @classes::int[], @lines::int[])
                   AS k (origin_id, product, model, rate_id, class, line)
         USING (origin_id, product, model, rate_id)
         WHERE t.org_id = @org AND t.period_id = @period
        OFFSET 0) used -- so that only this is sorted, and not all classes with each
 WHERE quantity <> 0
 GROUP BY line, user_id
 ORDER BY line, user_id`
	columns := make([]string, 0, billing.NumClasses)
	for _, class := range billing.Classes() {
		columns = append(columns, "t."+class.String()) // a class is counted in the column of its name
	}
	args, err := linesOfTotals(invoice, statement)
	if err != nil {
		return err
	}
	args["org"], args["period"] = org.ID, p.ID
	if _, err := tx.Exec(ctx, strings.Replace(declare, "CLASSES", strings.Join(columns, ", "), 1), args); err != nil {
		return wrap("read the members' usage", err)
	}
	line, parts := 0, []billing.Allocation(nil)
	for {
		fetched, err := fetchParts(ctx, tx, func(next int, part billing.Allocation) error {
			if next != line && line > 0 {
				if err := visit(line-1, parts); err != nil {
					return err
				}
				parts = nil
			}
			line, parts = next, append(parts, part)
			return nil
		})
		if err != nil {
			return wrap("read the members' usage", err)
		}
		if fetched < partsAtOnce {
			break
		}
	}
	if line > 0 {
		if err := visit(line-1, parts); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `CLOSE parts`)
	return wrap("read the members' usage", err)
}

// fetchParts takes the next rows of the cursor; all of them are read before the
// first is visited, since a visit uses the connection.
func fetchParts(ctx context.Context, tx pgx.Tx, visit func(line int, part billing.Allocation) error) (int, error) {
	type row struct {
		Line     int
		User     string
		Quantity pgtype.Numeric
	}
	fetched, err := tx.Query(ctx, fmt.Sprintf(`FETCH %d FROM parts`, partsAtOnce))
	if err != nil {
		return 0, err
	}
	rows, err := pgx.CollectRows(fetched, pgx.RowToStructByPos[row])
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		quantity := decimal.NewFromBigInt(r.Quantity.Int, r.Quantity.Exp)
		if err := visit(r.Line, billing.Allocation{User: r.User, Quantity: quantity}); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// linesOfTotals says on which line, counted from 1, each class of each total is
// charged.
func linesOfTotals(invoice *billing.Invoice, statement *billing.Statement) (pgx.NamedArgs, error) {
	numbers := map[string]int{}
	for i := range invoice.Lines {
		numbers[invoice.Lines[i].Key] = i + 1
	}
	type place struct {
		origin, product, model string
		rate                   int64
		class                  billing.Class
	}
	known := map[place]bool{}
	var origins, products, models []string
	var rates []int64
	var classes, lines []int
	for i := range statement.Usage {
		total := &statement.Usage[i]
		for _, class := range billing.Classes() {
			at := place{total.Origin, total.Product, total.Model, total.Rate.ID, class}
			if class == billing.CodeExecution || total.Counts[class].IsZero() || known[at] {
				continue // the lines of code that ran come with their parts
			}
			known[at] = true
			n, ok := numbers[total.LineKey(class)]
			if !ok {
				return nil, fmt.Errorf("invoice %s has no line %s", invoice.ID, total.LineKey(class))
			}
			origins, products, models = append(origins, at.origin), append(products, at.product), append(models, at.model)
			rates, classes, lines = append(rates, at.rate), append(classes, int(class)+1), append(lines, n)
		}
	}
	return pgx.NamedArgs{
		"origins": origins, "products": products, "models": models, "rates": rates, "classes": classes, "lines": lines,
	}, nil
}
