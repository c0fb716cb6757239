package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// UsageRow is one row of a usage summary. User, Product and Model are "" where
// the summary is not broken down by them; User is also "" for service usage.
type UsageRow struct {
	User    string
	Product string
	Model   string
	Events  int64
	Counts  billing.Totals
	Spend   billing.Money // at list price

	// Of the running month, where the summary is by user alone:
	MonthToDate billing.Money
	Binding     *billing.Standing // the limit that binds the user; nil = none
}

// UsageSummary is the usage that a period bills.
type UsageSummary struct {
	Organization string
	Period       string
	Start, End   time.Time
	AsOf         time.Time
	Rows         []UsageRow
}

// UsageSummary sums up a period's usage ("" = the running one), broken down by
// any of user, product and model.
func (s *Store) UsageSummary(ctx context.Context, orgID, periodID string, by []string) (summary UsageSummary, err error) {
	for _, column := range by {
		if !slices.Contains([]string{"user", "product", "model"}, column) {
			return summary, billing.Invalid("by: %q; accepted: user, product, model, separated by commas", column)
		}
	}
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, err := periodOrCurrent(ctx, tx, org, periodID)
		if err != nil {
			return err
		}
		summary = UsageSummary{Organization: orgID, Period: p.ID, Start: p.Start, End: p.End, AsOf: org.Now}
		if summary.Rows, err = sumUsage(ctx, tx, org, p.ID, by); err != nil {
			return err
		}
		if len(by) == 1 && by[0] == "user" {
			return addStandings(ctx, tx, org, p, &summary)
		}
		return nil
	})
	return summary, wrap("sum up the usage of "+orgID, err)
}

func periodOrCurrent(ctx context.Context, tx pgx.Tx, org billing.Organization, id string) (period, error) {
	if id != "" {
		return readPeriod(ctx, tx, org.ID, id)
	}
	periods, err := readPeriods(ctx, tx, org.ID)
	if err != nil {
		return period{}, err
	}
	if p, ok := find(periods, org.Now); ok {
		return p, nil
	}
	return periods[len(periods)-1], nil
}

func sumUsage(ctx context.Context, tx pgx.Tx, org billing.Organization, periodID string, by []string) ([]UsageRow, error) {
	const statement = `
SELECT CASE WHEN @by_user    THEN t.user_id ELSE '' END,
       CASE WHEN @by_product THEN t.product ELSE '' END,
       CASE WHEN @by_model   THEN t.model   ELSE '' END,
       sum(t.events)::bigint,
       sum(t.input), sum(t.output), sum(t.cache_write_5m), sum(t.cache_write_1h), sum(t.cache_read), sum(t.web_search),
       sum((t.input * r.input + t.output * r.output + t.cache_write_5m * r.cache_write_5m
            + t.cache_write_1h * r.cache_write_1h + t.cache_read * r.cache_read) * 0.000001
           + CASE WHEN t.web_search = 0 THEN 0 ELSE t.web_search * r.web_search / r.web_search_per END)
  FROM usage_totals t
  JOIN rates r ON r.id = t.rate_id
 WHERE t.org_id = @org AND t.period_id = @period
   AND (t.events, t.input, t.output, t.cache_write_5m, t.cache_write_1h, t.cache_read, t.web_search)
           <> (0, 0, 0, 0, 0, 0, 0) -- all of it was retracted
 GROUP BY 1, 2, 3
 ORDER BY 1, 2, 3`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{
		"org": org.ID, "period": periodID, "by_user": slices.Contains(by, "user"),
		"by_product": slices.Contains(by, "product"), "by_model": slices.Contains(by, "model"),
	})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (u UsageRow, err error) {
		c := &u.Counts
		err = row.Scan(&u.User, &u.Product, &u.Model, &u.Events,
			&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h], &c[billing.CacheRead], &c[billing.WebSearch],
			&u.Spend.Amount)
		u.Spend.Currency = org.Currency
		return u, err
	})
}

// addStandings adds to each user's row what they have spent in the billing
// month, and the limit that binds them; members without usage get a row too.
func addStandings(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, summary *UsageSummary) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	window := calendar.Month(p.Start).Start
	all, err := readSeats(ctx, tx, org.ID)
	if err != nil {
		return err
	}
	chart := newSeatChart(0, all)
	limits, err := readLimits(ctx, tx, org.ID, nil)
	if err != nil {
		return err
	}
	spent, err := readWindow(ctx, tx, org.ID, window)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, row := range summary.Rows {
		listed[row.User] = true
	}
	for user := range chart.users {
		if _, held := chart.at(user, org.Now); held && !listed[user] {
			summary.Rows = append(summary.Rows, UsageRow{User: user, Spend: billing.Money{Currency: org.Currency}})
		}
	}
	slices.SortFunc(summary.Rows, func(a, z UsageRow) int { return strings.Compare(a.User, z.User) })
	byUser := indexLimits(limits)
	for i := range summary.Rows {
		row := &summary.Rows[i]
		row.MonthToDate = billing.Money{Amount: spent[counterKey{window, billing.ScopeUser, row.User}], Currency: org.Currency}
		row.Binding = billing.Binding(org.LimitRule, byUser.standings(row.User, window, spent, chart, org.Now))
	}
	return nil
}

// limitIndex finds the limits of a user without looking through everybody's.
type limitIndex struct {
	wide  []billing.Limit // of the organisation and its tiers
	users map[string]billing.Limit
}

func indexLimits(limits []billing.Limit) limitIndex {
	index := limitIndex{users: map[string]billing.Limit{}}
	for _, l := range limits {
		if l.Scope == billing.ScopeUser {
			index.users[l.Subject] = l
		} else {
			index.wide = append(index.wide, l)
		}
	}
	return index
}

// counting lists the limits that a counter may count towards.
func (x limitIndex) counting(key counterKey) []billing.Limit {
	own, ok := x.users[key.subject]
	if !ok || key.scope != billing.ScopeUser {
		return x.wide
	}
	return append(x.wide[:len(x.wide):len(x.wide)], own)
}

func (x limitIndex) standings(user string, window time.Time, spent map[counterKey]decimal.Decimal, chart *seatChart, now time.Time) []billing.Standing {
	limits := x.wide
	if own, ok := x.users[user]; ok && user != "" {
		limits = append(slices.Clone(x.wide), own)
	}
	held, _ := chart.at(user, now)
	var standings []billing.Standing
	for _, counter := range []counterKey{
		{window, billing.ScopeOrganization, ""}, {window, billing.ScopeSeatTier, held.Tier}, {window, billing.ScopeUser, user},
	} {
		if counter.scope != billing.ScopeOrganization && counter.subject == "" {
			continue
		}
		for _, l := range limitsOn(limits, counter.scope, counter.subject, chart, now) {
			standings = append(standings, billing.Standing{Limit: l, Spent: spent[counter]})
		}
	}
	return standings
}

func readWindow(ctx context.Context, tx pgx.Tx, org string, window time.Time) (map[counterKey]decimal.Decimal, error) {
	const statement = `SELECT scope, subject, spend FROM spend_counters WHERE org_id = $1 AND window_start = $2`
	rows, err := tx.Query(ctx, statement, org, window)
	if err != nil {
		return nil, wrap("read the spend counters", err)
	}
	spent := map[counterKey]decimal.Decimal{}
	key := counterKey{window: window}
	var amount decimal.Decimal
	_, err = pgx.ForEachRow(rows, []any{&key.scope, &key.subject, &amount}, func() error {
		spent[key] = amount
		return nil
	})
	return spent, wrap("read the spend counters", err)
}
