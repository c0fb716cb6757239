package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// maxSpanDays is how many days an export by dates may cover.
const maxSpanDays = 90

// costCenter is the label of an event that says who is charged for it inside the
// organisation.
const costCenter = "cost_center"

// ExportSpend breaks usage down by member, product and model. The cents are
// decided as on an invoice, line by line, and dealt out by largest remainder, so
// that the amounts of a period add up to the usage on its invoice. A span that
// is exactly a period is that period. By period it reads the running totals; by
// dates or cost centre, the events themselves.
func (s *Store) ExportSpend(ctx context.Context, orgID string, span billing.SpendSpan) (rows []billing.SpendRow, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, isPeriod, err := findSpan(ctx, tx, org, span)
		if err != nil {
			return err
		}
		statement, err := usageStatement(ctx, tx, org, p, isPeriod, span.CostCenters)
		if err != nil {
			return err
		}
		lines, err := statement.Lines()
		if err != nil {
			return err
		}
		rows = spendRows(lines)
		spellings, err := readSpellings(ctx, tx, orgID, p.ID)
		for i := range rows {
			rows[i].SentAs = spellings[rows[i].Model]
		}
		return err
	})
	return rows, wrap("export the spend of "+orgID, err)
}

// findSpan finds what is asked for; isPeriod reports whether it is a period.
func findSpan(ctx context.Context, tx pgx.Tx, org billing.Organization, span billing.SpendSpan) (p period, isPeriod bool, err error) {
	if span.From == "" && span.To == "" {
		p, err = periodOrCurrent(ctx, tx, org, span.Period)
		return p, true, err
	}
	if span.Period != "" || span.From == "" || span.To == "" {
		return p, false, billing.Invalid("accepted: period, or from and to")
	}
	calendar, err := org.Calendar()
	if err != nil {
		return p, false, err
	}
	if p.Start, err = readBound("from", span.From, calendar); err != nil {
		return p, false, err
	}
	if p.End, err = readBound("to", span.To, calendar); err != nil {
		return p, false, err
	}
	if !p.Start.Before(p.End) || p.End.After(calendar.AddDays(p.Start, maxSpanDays)) {
		return p, false, billing.Invalid("to: accepted: after from, and at most %d days later", maxSpanDays)
	}
	periods, err := readPeriods(ctx, tx, org.ID)
	for _, known := range periods {
		if known.Start.Equal(p.Start) && known.End.Equal(p.End) {
			return known, true, err
		}
	}
	return p, false, err
}

func readBound(name, text string, calendar billing.Calendar) (time.Time, error) {
	moment, err := billing.ParseMoment(text)
	if err != nil {
		return time.Time{}, billing.Invalid("%s: %q; %v", name, text, err)
	}
	return calendar.Instant(moment), nil
}

// usageStatement is the usage of a span as an invoice would charge it, with
// member and cost centre in the place of the member.
func usageStatement(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, isPeriod, costCenters bool) (*billing.Statement, error) {
	calendar, err := org.Calendar()
	if err != nil {
		return nil, err
	}
	statement := &billing.Statement{PeriodID: p.ID, Period: p.span(), Month: calendar.Month(p.Start), Calendar: calendar}
	if statement.Book, err = readPriceBook(ctx, tx, org.PriceBook); err != nil {
		return nil, err
	}
	rates, err := readRates(ctx, tx, org.PriceBook)
	if err != nil {
		return nil, err
	}
	rater := billing.NewRater(statement.Book, rates)
	if isPeriod && !costCenters {
		statement.Usage, err = readTotals(ctx, tx, org.ID, p.ID, rater)
	} else {
		statement.Usage, err = totalEvents(ctx, tx, org.ID, p, isPeriod, costCenters, rater)
	}
	if err != nil || !isPeriod {
		return statement, err // what a month leaves free belongs to bills, not to days
	}
	statement.Free, err = readFreeUse(ctx, tx, org, p, statement)
	return statement, err
}

// apart stands between a member and a cost centre; no text in the database has it.
const apart = "\x00"

// totalEvents adds up events: those that a period bills, or those that occurred
// in a span.
func totalEvents(ctx context.Context, tx pgx.Tx, org string, p period, isPeriod, costCenters bool, rater *billing.Rater) ([]billing.UsageTotal, error) {
	const statement = `
SELECT CASE WHEN @billed THEN coalesce(origin_id, '') ELSE '' END,
       user_id,
       CASE WHEN @cost_centers THEN coalesce(labels ->> @label, '') ELSE '' END,
       product, model, rate_id,
       sum(input), sum(output), sum(cache_write_5m), sum(cache_write_1h), sum(cache_read), sum(web_search), sum(code_execution)
  FROM usage_events
 WHERE org_id = @org
   AND rate_id IS NOT NULL
   AND CASE WHEN @billed THEN period_id = @period ELSE occurred_at >= @start AND occurred_at < @end END
 GROUP BY 1, 2, 3, 4, 5, 6`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{
		"org": org, "billed": isPeriod, "period": p.ID, "start": p.Start, "end": p.End, "cost_centers": costCenters, "label": costCenter,
	})
	if err != nil {
		return nil, wrap("add up the events", err)
	}
	totals, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t billing.UsageTotal, err error) {
		var rate int64
		var center string
		c := &t.Counts
		err = row.Scan(&t.Origin, &t.User, &center, &t.Product, &t.Model, &rate,
			&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h], &c[billing.CacheRead], &c[billing.WebSearch], &c[billing.CodeExecution])
		t.User += apart + center
		if t.Rate = rater.ByID(rate); t.Rate == nil && err == nil {
			err = fmt.Errorf("rate %d is not of the organization's price book", rate)
		}
		return t, err
	})
	return totals, wrap("add up the events", err)
}

// spendRows adds up the members' parts of the lines.
func spendRows(lines []billing.Line) []billing.SpendRow {
	type key struct{ user, product, model string }
	index := map[key]int{}
	var rows []billing.SpendRow
	for _, line := range lines {
		class := slices.IndexFunc(billing.Classes(), func(c billing.Class) bool { return c.String() == line.TokenClass })
		if line.Kind != billing.KindUsage || class < 0 {
			continue
		}
		for _, part := range line.Members {
			k := key{part.User, line.Product, line.Model}
			at, known := index[k]
			if !known {
				user, center, _ := strings.Cut(part.User, apart)
				at = len(rows)
				index[k] = at
				zero := billing.Money{Currency: line.Amount.Currency}
				rows = append(rows, billing.SpendRow{User: user, CostCenter: center, Product: line.Product, Model: line.Model, Exact: zero, Amount: zero})
			}
			row := &rows[at]
			if !line.IsFreeUse() { // counts are what was used, amounts what it costs
				counted := &row.Counts[billing.Classes()[class]]
				*counted = counted.Add(part.Quantity)
			}
			row.Exact.Amount = row.Exact.Amount.Add(part.Exact.Amount)
			row.Amount.Amount = row.Amount.Amount.Add(part.Amount.Amount)
		}
	}
	slices.SortFunc(rows, func(a, z billing.SpendRow) int {
		return cmp.Or(strings.Compare(a.User, z.User), strings.Compare(a.Product, z.Product),
			strings.Compare(a.Model, z.Model), strings.Compare(a.CostCenter, z.CostCenter))
	})
	return rows
}
