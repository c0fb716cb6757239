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
	Provisional billing.Money     // of the month, usage without a price at the fallback price
	Binding     *billing.Standing // the limit that binds the user; nil = none
}

// UsageSummary is the usage that a period bills.
type UsageSummary struct {
	Organization string
	Period       string
	Start, End   time.Time
	AsOf         time.Time
	Rows         []UsageRow
	Spellings    map[string][]string // model -> the other names under which its usage arrived, where it is broken down by model
}

// UsageSummary sums up a period's usage ("" = the running one), broken down by
// any of user, product and model.
func (s *Store) UsageSummary(ctx context.Context, orgID, periodID string, by []string) (summary UsageSummary, err error) {
	for _, column := range by {
		if !slices.Contains([]string{"user", "product", "model"}, column) {
			return summary, billing.Invalid("by: %q; accepted: user, product, model, separated by commas", column)
		}
	}
	err = s.inPeriod(ctx, orgID, periodID, func(tx pgx.Tx, org billing.Organization, p period) (err error) {
		summary = UsageSummary{Organization: orgID, Period: p.ID, Start: p.Start, End: p.End, AsOf: org.Now}
		if summary.Rows, err = sumUsage(ctx, tx, org, p.ID, by, nil); err != nil {
			return err
		}
		if slices.Contains(by, "model") {
			if summary.Spellings, err = readSpellings(ctx, tx, orgID, p.ID); err != nil {
				return err
			}
		}
		if len(by) == 1 && by[0] == "user" {
			return addStandings(ctx, tx, org, p, &summary, nil)
		}
		return nil
	})
	return summary, wrap("sum up the usage of "+orgID, err)
}

// MembersAfter sums up a period's usage ("" = the running one) by user as UsageSummary does,
// of those who follow a user in the order of their ids (nil = from the start), at
// most limit of them. It reads nobody else's usage.
func (s *Store) MembersAfter(ctx context.Context, orgID, periodID string, after *string, limit int) (summary UsageSummary, err error) {
	err = s.inPeriod(ctx, orgID, periodID, func(tx pgx.Tx, org billing.Organization, p period) (err error) {
		summary = UsageSummary{Organization: orgID, Period: p.ID, Start: p.Start, End: p.End, AsOf: org.Now}
		users, err := readMembers(ctx, tx, org, p.ID, after, limit)
		if err != nil {
			return err
		}
		if summary.Rows, err = sumUsage(ctx, tx, org, p.ID, []string{"user"}, users); err != nil {
			return err
		}
		return addStandings(ctx, tx, org, p, &summary, users)
	})
	return summary, wrap("sum up the usage of "+orgID, err)
}

// readMembers lists those who used anything in a period or hold a seat now; ""
// is service usage.
func readMembers(ctx context.Context, tx pgx.Tx, org billing.Organization, periodID string, after *string, limit int) ([]string, error) {
	const statement = `
(SELECT DISTINCT user_id
   FROM usage_totals
  WHERE org_id = @org AND period_id = @period
    AND (@after::text IS NULL OR user_id > @after)
    AND (events, input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution) <> (0, 0, 0, 0, 0, 0, 0, 0)
  ORDER BY user_id
  LIMIT @limit)
 UNION
(SELECT DISTINCT user_id
   FROM seat_assignments
  WHERE org_id = @org AND valid_from <= @now AND (valid_to IS NULL OR valid_to > @now)
    AND (@after::text IS NULL OR user_id > @after)
  ORDER BY user_id
  LIMIT @limit)
 ORDER BY user_id
 LIMIT @limit`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{"org": org.ID, "period": periodID, "after": after, "now": org.Now, "limit": limit})
	if err != nil {
		return nil, wrap("list the members", err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return users, wrap("list the members", err)
}

// inPeriod reads of one period of an organisation ("" = the running one), in one
// snapshot. billing.ErrNotFound is an organisation or a period that does not exist.
func (s *Store) inPeriod(ctx context.Context, orgID, periodID string, read func(tx pgx.Tx, org billing.Organization, p period) error) error {
	return s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, err := periodOrCurrent(ctx, tx, org, periodID)
		if err != nil {
			return err
		}
		return read(tx, org, p)
	})
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

// sumUsage sums up the usage of users; nil = everybody's.
func sumUsage(ctx context.Context, tx pgx.Tx, org billing.Organization, periodID string, by, users []string) ([]UsageRow, error) {
	const statement = `
SELECT CASE WHEN @by_user    THEN s.user_id ELSE '' END,
       CASE WHEN @by_product THEN s.product ELSE '' END,
       CASE WHEN @by_model   THEN s.model   ELSE '' END,
       sum(s.events)::bigint,
       sum(s.input), sum(s.output), sum(s.cache_write_5m), sum(s.cache_write_1h), sum(s.cache_read), sum(s.web_search), sum(s.code_execution),
       sum(` + listPrice + `)
  FROM usage_totals s
  JOIN rates r ON r.id = s.rate_id
 WHERE s.org_id = @org AND s.period_id = @period
   AND (s.events, s.input, s.output, s.cache_write_5m, s.cache_write_1h, s.cache_read, s.web_search, s.code_execution)
           <> (0, 0, 0, 0, 0, 0, 0, 0) -- all of it was retracted
   AND (@users::text[] IS NULL OR s.user_id = ANY(@users))
 GROUP BY 1, 2, 3
 ORDER BY 1, 2, 3`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{
		"org": org.ID, "period": periodID, "by_user": slices.Contains(by, "user"),
		"by_product": slices.Contains(by, "product"), "by_model": slices.Contains(by, "model"),
		"users": users,
	})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (u UsageRow, err error) {
		c := &u.Counts
		err = row.Scan(&u.User, &u.Product, &u.Model, &u.Events,
			&c[billing.Input], &c[billing.Output], &c[billing.CacheWrite5m], &c[billing.CacheWrite1h], &c[billing.CacheRead], &c[billing.WebSearch], &c[billing.CodeExecution],
			&u.Spend.Amount)
		u.Spend.Currency = org.Currency
		return u, err
	})
}

// addStandings adds to each user's row what they have spent in the billing
// month, and the limit that binds them; members without usage get a row too. Of
// others than the given users (nil = all) nothing is read.
func addStandings(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, summary *UsageSummary, users []string) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	window := calendar.Month(p.Start).Start
	all, err := readSeatsOf(ctx, tx, org.ID, users)
	if err != nil {
		return err
	}
	chart := newSeatChart(0, all)
	limits, err := readLimits(ctx, tx, org.ID, users)
	if err != nil {
		return err
	}
	spent, err := readWindow(ctx, tx, org.ID, window, users)
	if err != nil {
		return err
	}
	before, err := readLimitBaselines(ctx, tx, org.ID, window, nil)
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
		row.MonthToDate = billing.Money{Amount: spent[counterKey{window, billing.ScopeUser, row.User}].priced, Currency: org.Currency}
		row.Provisional = billing.Money{Amount: spent[counterKey{window, billing.ScopeUser, row.User}].provisional, Currency: org.Currency}
		row.Binding = billing.Binding(org.LimitRule, byUser.standings(row.User, window, spent, before, chart, org.Now))
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

func (x limitIndex) standings(
	user string, window time.Time, spent map[counterKey]counterValue, before map[beforeKey]decimal.Decimal, chart *seatChart, now time.Time,
) []billing.Standing {
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
			standings = append(standings, spent[counter].standing(l, before[beforeKey{l.ID, counter.subject}]))
		}
	}
	return standings
}

// readWindow reads the counters of a month: the organisation's, its tiers', and
// those of users; nil = everybody's.
func readWindow(ctx context.Context, tx pgx.Tx, org string, window time.Time, users []string) (map[counterKey]counterValue, error) {
	const statement = `
SELECT scope, subject, spend, provisional
  FROM spend_counters
 WHERE org_id = $1 AND window_start = $2
   AND (scope <> 'user' OR $3::text[] IS NULL OR subject = ANY($3))`
	rows, err := tx.Query(ctx, statement, org, window, users)
	if err != nil {
		return nil, wrap("read the spend counters", err)
	}
	counters := map[counterKey]counterValue{}
	key := counterKey{window: window}
	var amount counterValue
	_, err = pgx.ForEachRow(rows, []any{&key.scope, &key.subject, &amount.priced, &amount.provisional}, func() error {
		counters[key] = amount
		return nil
	})
	return counters, wrap("read the spend counters", err)
}
