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

// usedUp is what stored events used, added up for the totals and the counters.
type usedUp struct {
	totals map[totalKey]*counted
	spends map[spendKey]*billing.Quantities
}

// spendKey names what a user on a tier spends at a rate in a window.
type spendKey struct {
	window     time.Time
	user, tier string
	rate       *billing.Rate
}

func newUsedUp() *usedUp {
	return &usedUp{totals: map[totalKey]*counted{}, spends: map[spendKey]*billing.Quantities{}}
}

// add adds a stored event, or takes away what a retraction cancels: its
// quantities lie below zero. A parked event counts nothing.
func (u *usedUp) add(p *placedEvent) {
	if p.rate == nil {
		return
	}
	key := totalKey{p.period, p.origin, p.event.User, p.event.Product, p.event.Model, p.rate.ID}
	total := u.totals[key]
	if total == nil {
		total = &counted{}
		u.totals[key] = total
	}
	if p.event.Retracts == "" {
		total.events++
	} else {
		total.events--
	}
	total.quantities.Add(&p.event.Quantities)

	spent := spendKey{p.window, p.event.User, p.tier, p.rate}
	quantities := u.spends[spent]
	if quantities == nil {
		quantities = &billing.Quantities{}
		u.spends[spent] = quantities
	}
	quantities.Add(&p.event.Quantities)
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
	rank := func(s billing.Scope) int {
		return slices.Index([]billing.Scope{billing.ScopeUser, billing.ScopeSeatTier, billing.ScopeOrganization}, s)
	}
	return cmp.Or(cmp.Compare(rank(k.scope), rank(z.scope)), k.window.Compare(z.window), strings.Compare(k.subject, z.subject))
}

// count adds what was used to the totals of its period, moves the spend
// counters, and writes down every threshold that was crossed.
func (in *intake) count(ctx context.Context, tx pgx.Tx, u *usedUp) error {
	if len(u.totals) == 0 {
		return nil
	}
	if err := addTotals(ctx, tx, in.org.ID, u.totals); err != nil {
		return err
	}
	return in.spend(ctx, tx, spendDeltas(u.spends))
}

// spendDeltas turns what was used into what each counter moves by, exactly and
// at list price.
func spendDeltas(spends map[spendKey]*billing.Quantities) map[counterKey]decimal.Decimal {
	deltas := map[counterKey]decimal.Decimal{}
	for key, quantities := range spends {
		totals := quantities.Totals()
		cost := key.rate.Cost(&totals)
		add := func(scope billing.Scope, subject string) {
			counter := counterKey{key.window, scope, subject}
			deltas[counter] = deltas[counter].Add(cost)
		}
		add(billing.ScopeOrganization, "")
		if key.user != "" {
			add(billing.ScopeUser, key.user)
		}
		if key.tier != "" {
			add(billing.ScopeSeatTier, key.tier)
		}
	}
	return deltas
}

// totalRow is one total and what is added to it.
type totalRow struct {
	totalKey
	*counted
}

// column lists one value of each row, as unnest takes them.
func column[Row, Value any](rows []Row, value func(Row) Value) []Value {
	values := make([]Value, len(rows))
	for i, row := range rows {
		values[i] = value(row)
	}
	return values
}

func addTotals(ctx context.Context, tx pgx.Tx, org string, totals map[totalKey]*counted) error {
	const statement = `
INSERT INTO usage_totals AS t (org_id, period_id, origin_id, user_id, product, model, rate_id, events,
                               input, output, cache_write_5m, cache_write_1h, cache_read, web_search)
SELECT @org, *
  FROM unnest(@periods::text[], @origins::text[], @users::text[], @products::text[], @models::text[], @rates::bigint[], @events::bigint[],
              @input::bigint[], @output::bigint[], @cache_write_5m::bigint[], @cache_write_1h::bigint[], @cache_read::bigint[], @web_search::bigint[])
    ON CONFLICT (org_id, period_id, user_id, product, model, rate_id, origin_id) DO UPDATE
   SET events         = t.events         + excluded.events,
       input          = t.input          + excluded.input,
       output         = t.output         + excluded.output,
       cache_write_5m = t.cache_write_5m + excluded.cache_write_5m,
       cache_write_1h = t.cache_write_1h + excluded.cache_write_1h,
       cache_read     = t.cache_read     + excluded.cache_read,
       web_search     = t.web_search     + excluded.web_search`
	rows := make([]totalRow, 0, len(totals))
	for key, total := range totals {
		rows = append(rows, totalRow{key, total})
	}
	slices.SortFunc(rows, func(a, z totalRow) int { return a.compare(z.totalKey) })
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
func (in *intake) spend(ctx context.Context, tx pgx.Tx, deltas map[counterKey]decimal.Decimal) error {
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
		crossings = append(crossings, in.crossings(index, own, key, calendar.Month(key.window), after[i].Sub(deltas[key]), after[i])...)
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

// newUnder tells whether a member came under a tier's limit within the month: a
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

func moveCounters(ctx context.Context, tx pgx.Tx, org string, keys []counterKey, deltas map[counterKey]decimal.Decimal) ([]decimal.Decimal, error) {
	const statement = `
INSERT INTO spend_counters AS c (org_id, window_start, scope, subject, spend)
SELECT @org, u.window_start, u.scope, u.subject, u.delta::numeric
  FROM unnest(@windows::timestamptz[], @scopes::text[], @subjects::text[], @deltas::text[])
       WITH ORDINALITY AS u (window_start, scope, subject, delta, n)
 ORDER BY u.n
    ON CONFLICT (org_id, window_start, scope, subject) DO UPDATE SET spend = c.spend + excluded.spend
RETURNING spend::text`
	// Amounts travel as text: pgx takes a detour over it for this type anyway.
	args := pgx.NamedArgs{
		"org":      org,
		"windows":  column(keys, func(k counterKey) time.Time { return k.window }),
		"scopes":   column(keys, func(k counterKey) string { return string(k.scope) }),
		"subjects": column(keys, func(k counterKey) string { return k.subject }),
		"deltas":   column(keys, func(k counterKey) string { return deltas[k].String() }),
	}
	rows, err := tx.Query(ctx, statement, args)
	if err != nil {
		return nil, wrap("move the spend counters", err)
	}
	after := make([]decimal.Decimal, 0, len(keys))
	var spend string
	_, err = pgx.ForEachRow(rows, []any{&spend}, func() error {
		exact, err := decimal.NewFromString(spend)
		after = append(after, exact)
		return err
	})
	return after, wrap("move the spend counters", err)
}
