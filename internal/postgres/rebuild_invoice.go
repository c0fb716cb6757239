package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Rebuilt says what came of making an issued invoice again.
type Rebuilt struct {
	Invoice     string              `json:"invoice"`
	Events      int64               `json:"events"`  // that were rated anew
	Unrated     int64               `json:"unrated"` // of them, those for which there is no price; they are left out
	Differences []RebuildDifference `json:"differences"`
}

// RebuildDifference is a line, a member's part of one, or a sum that is not as it
// was issued.
type RebuildDifference struct {
	Line    string  `json:"line"`    // its key, or subtotal, discount, total, content_hash
	Member  *string `json:"member"`  // null = the line as a whole; "" = what no member used
	Issued  *string `json:"issued"`  // null = there is none
	Rebuilt *string `json:"rebuilt"` // null = there is none
}

// RebuildInvoice makes an issued invoice again and compares: from the raw events,
// each rated anew by the prices as they stood when its period was billed, and from
// the seats as they were held; discounts and what was carried are taken as they
// were recorded, and lines that no usage or seat decides, such as credits, are
// left alone. It changes nothing, and reads one snapshot. Events and issued lines
// are read one by one; in memory are the totals and the rebuilt lines, whose
// number grows with members times models, and not with events.
func (s *Store) RebuildInvoice(ctx context.Context, id string) (result Rebuilt, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		result = Rebuilt{Invoice: id, Differences: []RebuildDifference{}}
		issued, err := readInvoice(ctx, tx, id)
		if err != nil {
			return err
		}
		if issued.Status == billing.StatusVoid {
			return billing.Conflict("invoice %q is withdrawn: its period is billed by a later revision; accepted: that one", id)
		}
		r := &rebuild{tx: tx, issued: issued, result: &result, raters: map[int64]*billing.Rater{}}
		lines, err := r.lines(ctx)
		if err != nil {
			return err
		}
		return r.compare(ctx, lines)
	})
	return result, wrap("rebuild invoice "+id, err)
}

// rebuild is the making of one invoice again.
type rebuild struct {
	tx     pgx.Tx
	issued billing.Invoice
	org    billing.Organization
	result *Rebuilt
	raters map[int64]*billing.Rater // by the revision of the price book
}

// lines computes the lines anew.
func (r *rebuild) lines(ctx context.Context) (lines []billing.Line, err error) {
	if r.org, err = readOrganization(ctx, r.tx, r.issued.Organization); err != nil {
		return nil, err
	}
	calendar, err := r.org.Calendar()
	if err != nil {
		return nil, err
	}
	var revision int64
	const billedBy = `SELECT price_revision FROM periods WHERE org_id = $1 AND id = $2`
	if err := r.tx.QueryRow(ctx, billedBy, r.org.ID, r.issued.PeriodID).Scan(&revision); err != nil {
		return nil, wrap("read the period", err)
	}
	rater, err := r.rater(ctx, revision)
	if err != nil {
		return nil, err
	}
	span := billing.Period{Start: r.issued.PeriodStart, End: r.issued.PeriodEnd}
	statement := billing.Statement{
		PeriodID: r.issued.PeriodID, Period: span, Month: calendar.Month(span.Start), Calendar: calendar, Book: rater.Book,
	}
	if statement.Seats, err = readSeats(ctx, r.tx, r.org.ID); err != nil {
		return nil, err
	}
	if statement.Usage, err = r.usage(ctx, revision); err != nil {
		return nil, err
	}
	p, err := readPeriod(ctx, r.tx, r.org.ID, r.issued.PeriodID)
	if err != nil {
		return nil, err
	}
	if statement.Free, err = readFreeUse(ctx, r.tx, r.org, p, &statement); err != nil {
		return nil, err
	}
	if statement.Carried, err = r.carried(ctx); err != nil {
		return nil, err
	}
	if statement.EarlierDiscounts, err = readDiscounts(ctx, r.tx, r.org.ID); err != nil {
		return nil, err
	}
	statement.Discount = statement.EarlierDiscounts[statement.PeriodID]
	return statement.Lines()
}

// rater rates by a revision of the organisation's price book.
func (r *rebuild) rater(ctx context.Context, revision int64) (*billing.Rater, error) {
	if known := r.raters[revision]; known != nil {
		return known, nil
	}
	book, err := readPriceBookAt(ctx, r.tx, r.org.PriceBook, revision)
	if err != nil {
		return nil, err
	}
	r.raters[revision] = billing.NewRater(book, book.Rates())
	return r.raters[revision], nil
}

// carried is what was carried into the invoice.
func (r *rebuild) carried(ctx context.Context) ([]billing.Carried, error) {
	const statement = `SELECT id, number, total FROM invoices WHERE carried_into = $1 ORDER BY id`
	rows, err := r.tx.Query(ctx, statement, r.issued.ID)
	if err != nil {
		return nil, wrap("read carried invoices", err)
	}
	carried, err := pgx.CollectRows(rows, pgx.RowToStructByPos[billing.Carried])
	return carried, wrap("read carried invoices", err)
}

// rawEvent is an event as it was stored, to be rated anew.
type rawEvent struct {
	billing.Event
	origin   string
	part     int16 // which of its samplings
	retracts bool
	revision int64 // by which the event was billed that a retraction takes back
}

// usageKey is what usage is added up by.
type usageKey struct {
	origin, user, product, model string
	rate                         *billing.Rate
}

// usage rates the events that the period bills and adds them up. A retraction has
// the price of its event, by the revision that billed that one.
func (r *rebuild) usage(ctx context.Context, revision int64) ([]billing.UsageTotal, error) {
	const statement = `
SELECT coalesce(e.origin_id, ''), e.user_id, e.occurred_at, e.product, coalesce(e.sent_model, e.model),
       e.part, e.input, e.output, e.cache_write_5m, e.cache_write_1h, e.cache_read, e.web_search, e.code_execution,
       coalesce(e.service_tier, 'standard'), coalesce(e.speed, 'standard'), coalesce(e.inference_geo, 'global'),
       e.retracts IS NOT NULL, coalesce(p.price_revision, $3)
  FROM usage_events e
  LEFT JOIN usage_events x ON x.org_id = e.org_id AND x.event_id = e.retracts AND x.part = e.part
  LEFT JOIN periods p ON p.org_id = x.org_id AND p.id = x.period_id
 WHERE e.org_id = $1 AND e.period_id = $2 AND e.rate_id IS NOT NULL`
	rows, err := r.tx.Query(ctx, statement, r.org.ID, r.issued.PeriodID, revision)
	if err != nil {
		return nil, wrap("read the events", err)
	}
	var e rawEvent
	q := &e.Quantities
	sums := map[usageKey]*billing.UsageTotal{}
	retracted := map[int64][]rawEvent{}
	_, err = pgx.ForEachRow(rows, []any{
		&e.origin, &e.User, &e.OccurredAt, &e.Product, &e.Model, &e.part,
		&q[billing.Input], &q[billing.Output], &q[billing.CacheWrite5m], &q[billing.CacheWrite1h], &q[billing.CacheRead], &q[billing.WebSearch],
		&q[billing.CodeExecution],
		&e.ServiceTier, &e.Speed, &e.InferenceGeo, &e.retracts, &e.revision,
	}, func() error {
		if e.retracts && e.revision != revision {
			retracted[e.revision] = append(retracted[e.revision], e) // its prices are read once these rows are
			return nil
		}
		r.count(&e, r.raters[revision], sums)
		return nil
	})
	if err != nil {
		return nil, wrap("read the events", err)
	}
	for revision, events := range retracted {
		rater, err := r.rater(ctx, revision)
		if err != nil {
			return nil, err
		}
		for i := range events {
			r.count(&events[i], rater, sums)
		}
	}
	usage := make([]billing.UsageTotal, 0, len(sums))
	for _, total := range sums {
		usage = append(usage, *total)
	}
	return usage, nil
}

// count rates an event and adds it to the sums. A retraction is rated as its event
// was, whose quantities it has below zero.
func (r *rebuild) count(e *rawEvent, rater *billing.Rater, sums map[usageKey]*billing.UsageTotal) {
	if e.part == 0 {
		r.result.Events++
	}
	counts := e.Quantities.Totals()
	if e.retracts {
		for class := range e.Quantities {
			e.Quantities[class] = -e.Quantities[class]
		}
	}
	rate, _ := rater.Rate(&e.Event)
	if rate == nil {
		r.result.Unrated++
		return
	}
	key := usageKey{e.origin, e.User, e.Product, rate.Key.Model, rate}
	total := sums[key]
	if total == nil {
		total = &billing.UsageTotal{Origin: e.origin, User: e.User, Product: e.Product, Model: key.model, Rate: rate}
		sums[key] = total
	}
	for class := range counts {
		total.Counts[class] = total.Counts[class].Add(counts[class])
	}
}

// decided reports whether usage, seats and what was recorded with them decide a line.
func decided(kind billing.LineKind) bool {
	switch kind {
	case billing.KindSeat, billing.KindSurcharge, billing.KindUsage, billing.KindDiscount, billing.KindCarriedForward:
		return true
	default:
		return false
	}
}

// compare reads the issued lines one by one and holds each against the rebuilt one
// of its key; then the sums and the content hash.
func (r *rebuild) compare(ctx context.Context, lines []billing.Line) error {
	rebuilt := make(map[string]*billing.Line, len(lines))
	for i := range lines {
		rebuilt[lines[i].Key] = &lines[i]
	}
	again := billing.Invoice{Currency: r.issued.Currency, Lines: lines}
	hash := billing.NewContentHash()
	for line, err := range readLines(ctx, r.tx, r.issued.ID, true) {
		if err != nil {
			return err
		}
		hash.Line(&line)
		if !decided(line.Kind) {
			again.Lines = append(again.Lines, line)
			continue
		}
		r.compareLine(&line, rebuilt[line.Key])
		delete(rebuilt, line.Key)
	}
	for i := range lines {
		if missing := rebuilt[lines[i].Key]; missing != nil {
			r.differ(missing.Key, nil, "", lineInWords(missing))
		}
	}
	again.AddUp()
	for _, sum := range []struct {
		name            string
		issued, rebuilt billing.Money
	}{
		{"subtotal", r.issued.Subtotal, again.Subtotal}, {"discount", r.issued.Discount, again.Discount}, {"total", r.issued.Total, again.Total},
	} {
		r.differ(sum.name, nil, sum.issued.String(), sum.rebuilt.String())
	}
	r.differ("content_hash", nil, r.issued.ContentHash, hash.Sum(&r.issued))
	return nil
}

// compareLine holds an issued line and its parts against the rebuilt one, nil =
// there is none. Parts are in the order of their users on both sides.
func (r *rebuild) compareLine(issued, rebuilt *billing.Line) {
	if rebuilt == nil {
		r.differ(issued.Key, nil, lineInWords(issued), "")
		return
	}
	r.differ(issued.Key, nil, lineInWords(issued), lineInWords(rebuilt))
	theirs := rebuilt.Members
	for i := range issued.Members {
		part := &issued.Members[i]
		for len(theirs) > 0 && theirs[0].User < part.User {
			r.differ(issued.Key, &theirs[0].User, "", partInWords(&theirs[0]))
			theirs = theirs[1:]
		}
		if len(theirs) > 0 && theirs[0].User == part.User {
			r.differ(issued.Key, &part.User, partInWords(part), partInWords(&theirs[0]))
			theirs = theirs[1:]
			continue
		}
		r.differ(issued.Key, &part.User, partInWords(part), "")
	}
	for i := range theirs {
		r.differ(issued.Key, &theirs[i].User, "", partInWords(&theirs[i]))
	}
}

// differ notes a difference, where there is one; "" = there is nothing.
func (r *rebuild) differ(line string, member *string, issued, rebuilt string) {
	if issued == rebuilt {
		return
	}
	d := RebuildDifference{Line: line, Member: member}
	if issued != "" {
		d.Issued = &issued
	}
	if rebuilt != "" {
		d.Rebuilt = &rebuilt
	}
	r.result.Differences = append(r.result.Differences, d)
}

func lineInWords(l *billing.Line) string {
	return fmt.Sprintf("%s: %s x %s / %d = %s, %s", l.Description, l.Quantity, l.UnitPrice.Amount, l.Per, l.Exact.Amount, l.Amount)
}

func partInWords(m *billing.Allocation) string {
	return fmt.Sprintf("%s = %s, %s", m.Quantity, m.Exact.Amount, m.Amount)
}
