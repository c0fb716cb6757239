package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// readFreeUse says what a period's bill leaves free of charge of the code that
// ran, for each billing month that its usage lies in. Once the invoice is
// issued, that is what stands on it; until then, what the month's other invoices
// have left of the allowance. The issuing lock keeps these from changing meanwhile.
func readFreeUse(ctx context.Context, q querier, org billing.Organization, p period, statement *billing.Statement) ([]billing.FreeUse, error) {
	origins := originsOfCode(statement)
	if len(origins) == 0 {
		return nil, nil
	}
	periods, err := readPeriods(ctx, q, org.ID)
	if err != nil {
		return nil, err
	}
	bills, err := readCodeBills(ctx, q, org.ID)
	if err != nil {
		return nil, err
	}
	months := map[time.Time][]string{} // the periods of each month
	var starts []time.Time
	for _, known := range periods {
		start := statement.Calendar.Month(known.Start).Start
		if len(months[start]) == 0 {
			starts = append(starts, start)
		}
		months[start] = append(months[start], known.ID)
	}
	var free []billing.FreeUse
	for _, start := range starts {
		ids := months[start]
		if !slices.ContainsFunc(origins, func(id string) bool { return slices.Contains(ids, id) }) {
			continue
		}
		use := billing.FreeUse{Periods: ids, PerMonth: statement.Book.FreeSeconds(statement.Calendar.Month(start))}
		others, own, issued := bills.of(ids, p.ID)
		now := billing.SecondsRun(statement.Usage, ids, p.ID)
		if use.Seconds = own.given; !issued {
			use.Seconds = billing.FreeSeconds(use.PerMonth, others.used, others.given, now)
		}
		free = append(free, use)
	}
	return free, nil
}

// originsOfCode lists the periods in which the code ran that a statement bills.
func originsOfCode(s *billing.Statement) (origins []string) {
	for i := range s.Usage {
		if s.Usage[i].Counts[billing.CodeExecution].IsZero() {
			continue
		}
		origin := s.Usage[i].Origin
		if origin == "" {
			origin = s.PeriodID
		}
		origins = append(origins, origin)
	}
	return origins
}

// codeBill is what a live invoice charges of the code that ran in a period.
type codeBill struct {
	period, origin string
	used, given    decimal.Decimal // seconds
}

type codeBills struct {
	bills  []codeBill
	issued []string // periods with a live invoice
}

// of sums up what the invoices of other periods charge of some origins, and what
// the period's own does.
func (b codeBills) of(origins []string, period string) (others, own codeBill, issued bool) {
	for _, bill := range b.bills {
		if !slices.Contains(origins, bill.origin) {
			continue
		}
		to := &others
		if bill.period == period {
			to = &own
		}
		to.used, to.given = to.used.Add(bill.used), to.given.Add(bill.given)
	}
	return others, own, slices.Contains(b.issued, period)
}

func readCodeBills(ctx context.Context, q querier, org string) (bills codeBills, err error) {
	const statement = `
SELECT i.period_id, coalesce(l.origin_id, ''),
       coalesce(sum(l.quantity) FILTER (WHERE NOT ` + freeUse + `), 0),
       coalesce(-sum(l.quantity) FILTER (WHERE ` + freeUse + `), 0)
  FROM invoices i
  LEFT JOIN invoice_lines l ON l.invoice_id = i.id AND l.token_class = 'code_execution'
 WHERE i.org_id = $1 AND i.status <> 'void'
 GROUP BY 1, 2`
	rows, err := q.Query(ctx, statement, org)
	if err != nil {
		return bills, wrap("read what code is billed for", err)
	}
	var bill codeBill
	_, err = pgx.ForEachRow(rows, []any{&bill.period, &bill.origin, &bill.used, &bill.given}, func() error {
		bills.bills = append(bills.bills, bill)
		bills.issued = append(bills.issued, bill.period)
		return nil
	})
	return bills, wrap("read what code is billed for", err)
}
