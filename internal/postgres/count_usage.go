package postgres

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// totalKey names one running total.
type totalKey struct {
	period, origin, user, product, model string
	rate                                 int64
}

func (k totalKey) compare(z totalKey) int {
	return cmp.Or(strings.Compare(k.period, z.period), strings.Compare(k.user, z.user),
		strings.Compare(k.product, z.product), strings.Compare(k.model, z.model),
		cmp.Compare(k.rate, z.rate), strings.Compare(k.origin, z.origin))
}

// counted is how much a batch adds to one total.
type counted struct {
	events     int64
	quantities billing.Quantities
}

// usedUp is what stored events used, added up by what the totals and the
// counters need to tell apart.
type usedUp map[useKey]*use

// useKey is a total, and the tier that its user held.
type useKey struct {
	period, origin, user, product, model, tier string
	rate                                       *billing.Rate // nil = usage without a price
	window                                     time.Time     // the billing month, of usage without a price alone: it has no period
}

type use struct {
	counted
	window      time.Time       // the billing month that period and origin lie in
	provisional decimal.Decimal // what usage without a price counts against limits
}

// add adds a row of a stored event, or takes away what a retraction cancels: its
// quantities lie below zero. An event counts once, whatever it sampled. A parked
// one has no total; it counts against limits alone.
func (u usedUp) add(p *placedEvent) {
	if p.rate == nil {
		u.addProvisional(p.window, p.event.User, p.tier, p.provisional)
		return
	}
	key := useKey{p.period, p.origin, p.event.User, p.event.Product, p.model, p.tier, p.rate, time.Time{}}
	sum := u[key]
	if sum == nil {
		sum = &use{window: p.window}
		u[key] = sum
	}
	switch {
	case p.part > 0:
	case p.event.Retracts == "":
		sum.events++
	default:
		sum.events--
	}
	sum.quantities.Add(&p.event.Quantities)
}

// addProvisional adds what usage of a member without a price counts against limits.
func (u usedUp) addProvisional(window time.Time, user, tier string, amount decimal.Decimal) {
	if amount.IsZero() {
		return
	}
	key := useKey{user: user, tier: tier, window: window}
	if u[key] == nil {
		u[key] = &use{window: window}
	}
	u[key].provisional = u[key].provisional.Add(amount)
}

// totals lists what is added to each total, in the order in which they are locked.
func (u usedUp) totals() []totalRow {
	rows := make([]totalRow, 0, len(u))
	for key, sum := range u {
		if key.rate == nil {
			continue
		}
		rows = append(rows, totalRow{totalKey{key.period, key.origin, key.user, key.product, key.model, key.rate.ID}, sum.counted})
	}
	slices.SortFunc(rows, func(a, z totalRow) int { return a.compare(z.totalKey) })
	distinct := rows[:0]
	for _, row := range rows { // a user who changed tiers has two of one key
		if n := len(distinct); n > 0 && distinct[n-1].totalKey == row.totalKey {
			distinct[n-1].events += row.events
			distinct[n-1].quantities.Add(&row.quantities)
			continue
		}
		distinct = append(distinct, row)
	}
	return distinct
}

// counterValue is what a counter says, or moves by: what was spent at list price, and
// what usage without a price counts beside it until it has one.
type counterValue struct {
	priced, provisional decimal.Decimal
}

func (s counterValue) add(other counterValue) counterValue {
	return counterValue{s.priced.Add(other.priced), s.provisional.Add(other.provisional)}
}

// counted is what limits compare.
func (s counterValue) counted() decimal.Decimal { return s.priced.Add(s.provisional) }

// deltas returns what each counter moves by, exactly and at list price. What
// many members used under one rate is priced once for their tier and
// organisation.
func (u usedUp) deltas() map[counterKey]counterValue {
	type wideKey struct {
		window time.Time
		tier   string
		rate   *billing.Rate
	}
	wide := map[wideKey]*billing.Quantities{}
	deltas := make(map[counterKey]counterValue, len(u))
	add := func(window time.Time, scope billing.Scope, subject string, moved counterValue) {
		if subject == "" && scope != billing.ScopeOrganization {
			return // a service, or no seat
		}
		counter := counterKey{window, scope, subject}
		deltas[counter] = deltas[counter].add(moved)
	}
	for key, sum := range u {
		if key.rate == nil {
			moved := counterValue{provisional: sum.provisional}
			add(sum.window, billing.ScopeUser, key.user, moved)
			add(sum.window, billing.ScopeSeatTier, key.tier, moved)
			add(sum.window, billing.ScopeOrganization, "", moved)
			continue
		}
		if key.user != "" {
			totals := sum.quantities.Totals()
			add(sum.window, billing.ScopeUser, key.user, counterValue{priced: key.rate.Cost(&totals)})
		}
		under := wideKey{sum.window, key.tier, key.rate}
		if wide[under] == nil {
			wide[under] = &billing.Quantities{}
		}
		wide[under].Add(&sum.quantities)
	}
	for key, quantities := range wide {
		totals := quantities.Totals()
		cost := counterValue{priced: key.rate.Cost(&totals)}
		add(key.window, billing.ScopeOrganization, "", cost)
		add(key.window, billing.ScopeSeatTier, key.tier, cost)
	}
	return deltas
}

// counterKey names one spend counter.
type counterKey struct {
	window  time.Time
	scope   billing.Scope
	subject string
}

// compare orders counters as they are locked: users, then tiers, the
// organisation's last, since every writer needs that one.
func (k counterKey) compare(z counterKey) int {
	return cmp.Or(cmp.Compare(rank(k.scope), rank(z.scope)), k.window.Compare(z.window), strings.Compare(k.subject, z.subject))
}

func rank(scope billing.Scope) int {
	switch scope {
	case billing.ScopeUser:
		return 0
	case billing.ScopeSeatTier:
		return 1
	default:
		return 2
	}
}

// count adds what was used to the totals of its period, moves the spend
// counters, and writes down every threshold that was crossed.
func (in *intake) count(ctx context.Context, tx pgx.Tx, u usedUp) error {
	if len(u) == 0 {
		return nil
	}
	deltas := make(chan map[counterKey]counterValue, 1)
	go func() { deltas <- u.deltas() }() // while PostgreSQL moves the totals
	totals := u.totals()
	// One writer of an organisation counts at a time. They would wait for each
	// other at the first row that both move anyway; here they queue once. Those of
	// this process queue outside the database first: a session that waits inside
	// keeps the old versions of the rows from being cleared away.
	select {
	case in.counting <- struct{}{}:
		defer func() { <-in.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := lockExclusive(ctx, tx, countLock(in.org.ID)); err != nil {
		return err
	}
	if len(totals) > 0 {
		if err := addTotals(ctx, tx, in.org.ID, totals); err != nil {
			return err
		}
	}
	return in.spend(ctx, tx, <-deltas)
}

// totalRow is one total and what is added to it.
type totalRow struct {
	totalKey
	counted
}

// column lists one value of each row, as unnest takes them.
func column[Row, Value any](rows []Row, value func(Row) Value) []Value {
	values := make([]Value, len(rows))
	for i, row := range rows {
		values[i] = value(row)
	}
	return values
}

// addedToTotals ends an INSERT into usage_totals AS t: what is there is added to.
const addedToTotals = `
    ON CONFLICT (org_id, period_id, user_id, product, model, rate_id, origin_id) DO UPDATE
   SET events         = t.events         + excluded.events,
       input          = t.input          + excluded.input,
       output         = t.output         + excluded.output,
       cache_write_5m = t.cache_write_5m + excluded.cache_write_5m,
       cache_write_1h = t.cache_write_1h + excluded.cache_write_1h,
       cache_read     = t.cache_read     + excluded.cache_read,
       web_search     = t.web_search     + excluded.web_search,
       code_execution = t.code_execution + excluded.code_execution`

func addTotals(ctx context.Context, tx pgx.Tx, org string, rows []totalRow) error {
	const statement = `
INSERT INTO usage_totals AS t (org_id, period_id, origin_id, user_id, product, model, rate_id, events,
                               input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution)
SELECT @org, *
  FROM unnest(@periods::text[], @origins::text[], @users::text[], @products::text[], @models::text[], @rates::bigint[], @events::bigint[],
              @input::bigint[], @output::bigint[], @cache_write_5m::bigint[], @cache_write_1h::bigint[], @cache_read::bigint[], @web_search::bigint[], @code_execution::bigint[])` + addedToTotals
	args := pgx.NamedArgs{
		"org":      org,
		"periods":  column(rows, func(t totalRow) string { return t.period }),
		"origins":  column(rows, func(t totalRow) string { return t.origin }),
		"users":    column(rows, func(t totalRow) string { return t.user }),
		"products": column(rows, func(t totalRow) string { return t.product }),
		"models":   column(rows, func(t totalRow) string { return t.model }),
		"rates":    column(rows, func(t totalRow) int64 { return t.rate }),
		"events":   column(rows, func(t totalRow) int64 { return t.events }),
	}
	for _, class := range billing.Classes() {
		args[class.String()] = column(rows, func(t totalRow) int64 { return t.quantities[class] })
	}
	_, err := tx.Exec(ctx, statement, args)
	return wrap("add to the totals", err)
}

// spend moves the counters and records the thresholds that lie between their old
// and new values. The limits are read first: the terms' lock keeps them, and the
// organisation's counter is then held for as short a time as can be.
func (in *intake) spend(ctx context.Context, tx pgx.Tx, deltas map[counterKey]counterValue) error {
	keys := make([]counterKey, 0, len(deltas))
	var users []string
	for key := range deltas {
		keys = append(keys, key)
		if key.scope == billing.ScopeUser {
			users = append(users, key.subject)
		}
	}
	limits, err := readLimits(ctx, tx, in.org.ID, users)
	if err != nil {
		return err
	}
	slices.SortFunc(keys, counterKey.compare)
	after, err := moveCounters(ctx, tx, in.org.ID, keys, deltas)
	if err != nil {
		return err
	}
	calendar, err := in.org.Calendar()
	if err != nil {
		return err
	}
	own, index := replacing(in.org, limits), indexLimits(limits)
	var crossings []crossing
	for i, key := range keys {
		if len(index.counting(key)) == 0 {
			continue
		}
		counted := after[i].counted()
		crossings = append(crossings, in.crossings(index, own, key, calendar.Month(key.window), counted.Sub(deltas[key].counted()), counted)...)
	}
	return recordNotices(ctx, tx, in.org, crossings)
}

// crossings lists what a counter crossed on its way from one spend to another.
func (in *intake) crossings(limits limitIndex, own ownLimits, key counterKey, month billing.Period, before, after decimal.Decimal) (crossings []crossing) {
	for _, limit := range in.limitsOn(limits, key) {
		if own.replace(limit, key.subject) {
			continue
		}
		crossed := limit.Crossed(before, after)
		if in.newUnder(limit, key.subject, month) {
			crossed = limit.Reached(after)
		}
		if len(crossed) == 0 {
			continue
		}
		c := crossing{limit: limit, subject: key.subject, spent: after, thresholds: crossed, window: month, lead: noticePending}
		if !month.Contains(in.org.Now) && !month.Start.After(in.org.Now) {
			c.late = true
			if !in.org.Now.Before(month.End.Add(in.org.DraftWindow)) {
				c.lead = noticeRecorded // no alarm about a month that is billed
			}
		}
		crossings = append(crossings, c)
	}
	return crossings
}

// newUnder reports whether a member came under a tier's limit within the month: a
// seat that was assigned for later has begun since, perhaps with thresholds
// passed already.
func (in *intake) newUnder(limit billing.Limit, user string, month billing.Period) bool {
	if limit.Scope != billing.ScopeSeatTier || limit.Mode != billing.PerMember {
		return false
	}
	held, ok := in.seats.at(user, in.org.Now)
	return ok && month.Contains(held.From)
}

// limitsOn lists the limits that a counter counts towards. A per-member tier
// limit holds against the whole spend of each user who is on the tier now.
func (in *intake) limitsOn(limits limitIndex, key counterKey) []billing.Limit {
	some := limits.counting(key)
	if len(some) == 0 {
		return nil
	}
	return limitsOn(some, key.scope, key.subject, in.seats, in.org.Now)
}

// moveCounters returns where each counter stands then.
func moveCounters(ctx context.Context, tx pgx.Tx, org string, keys []counterKey, deltas map[counterKey]counterValue) ([]counterValue, error) {
	const statement = `
INSERT INTO spend_counters AS c (org_id, window_start, scope, subject, spend, provisional, provisional_ended)
SELECT @org, u.window_start, u.scope, u.subject, u.delta::numeric, u.provisional::numeric, greatest(-u.provisional::numeric, 0)
  FROM unnest(@windows::timestamptz[], @scopes::text[], @subjects::text[], @deltas::text[], @provisional::text[])
       WITH ORDINALITY AS u (window_start, scope, subject, delta, provisional, n)
 ORDER BY u.n
    ON CONFLICT (org_id, window_start, scope, subject) DO UPDATE
   SET spend = c.spend + excluded.spend, provisional = c.provisional + excluded.provisional,
       provisional_ended = c.provisional_ended + excluded.provisional_ended
RETURNING spend::text, provisional::text`
	// Amounts travel as text: pgx takes a detour over it for this type anyway.
	args := pgx.NamedArgs{
		"org":         org,
		"windows":     column(keys, func(k counterKey) time.Time { return k.window }),
		"scopes":      column(keys, func(k counterKey) string { return string(k.scope) }),
		"subjects":    column(keys, func(k counterKey) string { return k.subject }),
		"deltas":      column(keys, func(k counterKey) string { return deltas[k].priced.String() }),
		"provisional": column(keys, func(k counterKey) string { return deltas[k].provisional.String() }),
	}
	rows, err := tx.Query(ctx, statement, args)
	if err != nil {
		return nil, wrap("move the spend counters", err)
	}
	after := make([]counterValue, 0, len(keys))
	var priced, provisional string
	_, err = pgx.ForEachRow(rows, []any{&priced, &provisional}, func() error {
		var s counterValue
		var err, other error
		s.priced, err = decimal.NewFromString(priced)
		s.provisional, other = decimal.NewFromString(provisional)
		after = append(after, s)
		return cmp.Or(err, other)
	})
	return after, wrap("move the spend counters", err)
}
