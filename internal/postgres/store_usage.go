package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Flags of a stored event.
const (
	flagCacheSplitAssumed = 1 << iota
	flagOutsideSeat       // the member's tier does not include the product
	flagNoSeat            // the member held no seat
)

// placedEvent is an event with everything that storing it decides: one row, of one
// of its samplings where it has several.
type placedEvent struct {
	index       int // of its item
	event       *billing.Event
	part        int16    // which of its samplings
	parts       int16    // how many it has, told by the first; 0 = one
	fingerprint [16]byte // once printed: see print
	printed     bool
	period      string
	origin      string // the earlier period in which it happened; "" = the same
	window      time.Time
	rate        *billing.Rate   // nil = parked
	model       string          // the priced one, or the sender's name while it has no price
	parked      string          // why
	free        bool            // it costs nothing at any price, so it waits for none
	provisional decimal.Decimal // what it counts against limits while it is parked
	tier        string
	flags       int16
}

// sentModel is the sender's name of the model, where the price book has another.
func (p *placedEvent) sentModel() string {
	if p.model == p.event.Model {
		return ""
	}
	return p.event.Model
}

// StoreUsage stores events of one organisation, each exactly once by its id, in
// one transaction with everything that they move: the running totals of their
// period, the spend counters of user, seat tier and organisation, and a notice
// for every threshold they cross. It answers each event, in order, and only
// after commit.
func (s *Store) StoreUsage(ctx context.Context, orgID string, items []billing.UsageItem) (answers []billing.UsageAnswer, err error) {
	return s.StoreUsageInOrder(ctx, orgID, items, NextTicket(nil))
}

// StoreUsageInOrder stores events as StoreUsage does, after those of the ticket
// before. It is called in the order of the tickets, each once the one before the
// last is answered, so that two are under way at most. Where a batch fails, or
// loses a race and is tried again, the one behind it may come first.
func (s *Store) StoreUsageInOrder(ctx context.Context, orgID string, items []billing.UsageItem, ticket *Ticket) (answers []billing.UsageAnswer, err error) {
	defer ticket.End()
	retracts := slices.ContainsFunc(items, func(item billing.UsageItem) bool { return item.Event.Retracts != "" })
	if err := ticket.Begin(ctx, retracts); err != nil {
		return nil, err
	}
	book, err := s.bookOf(ctx, orgID)
	if err != nil {
		return nil, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) (err error) {
		defer func() {
			if err != nil { // before another try, which needs a connection again
				ticket.copied.reach()
			}
		}()
		answers = make([]billing.UsageAnswer, len(items))
		intake, err := s.openIntake(ctx, tx, orgID, book, items)
		if err != nil {
			return err
		}
		placed, refused := intake.assignPeriods(items, answers)
		if err := answerRefused(ctx, tx, orgID, refused, answers); err != nil {
			return err
		}
		sortByID(placed)
		if err := ticket.copy(ctx); err != nil {
			return err
		}
		placed, used, err := s.insertEvents(ctx, tx, intake, placed, items, answers)
		if err != nil {
			return err
		}
		if _, repeats := s.repeats.Load(orgID); !repeats && !retracts {
			ticket.copied.reach()
		}
		retracted, err := intake.retract(ctx, tx, items, answers, placed)
		if err != nil {
			return err
		}
		for i := range retracted {
			used.add(&retracted[i])
		}
		if err := writeSpellings(ctx, tx, orgID, placed); err != nil {
			return err
		}
		return intake.count(ctx, tx, used)
	})
	return answers, wrap("store usage of "+orgID, err)
}

// bookOf returns the name of an organisation's price book, which never changes.
func (s *Store) bookOf(ctx context.Context, orgID string) (string, error) {
	if name, ok := s.bookNames.Load(orgID); ok {
		return name.(string), nil
	}
	org, err := s.Organization(ctx, orgID)
	if err != nil {
		return "", err
	}
	s.bookNames.Store(orgID, org.PriceBook)
	return org.PriceBook, nil
}

// intake is what a batch of events is stored by, kept from changing by shared
// locks until the transaction ends.
type intake struct {
	org      billing.Organization
	rater    *billing.Rater
	seats    *seatChart
	periods  []period
	current  period
	running  bool // whether there is a current period
	months   map[string]billing.Period
	held     []string              // the periods whose locks are held
	undone   map[string]*retracted // the events that the batch retracts, as they stood before any lock
	counting chan struct{}         // has room for the one of this process that counts
	stored   bool                  // the events were taken when they arrived: they are not refused by age now
}

func (s *Store) openIntake(ctx context.Context, tx pgx.Tx, orgID, book string, items []billing.UsageItem) (*intake, error) {
	if err := lockShared(ctx, tx, bookLock(book)); err != nil {
		return nil, err
	}
	if err := lockShared(ctx, tx, termsLock(orgID)); err != nil {
		return nil, err
	}
	org, err := readOrganization(ctx, tx, orgID)
	if err != nil {
		return nil, err
	}
	in := &intake{org: org, counting: s.countingOf(orgID)}
	if in.rater, err = s.rater(ctx, tx, book); err != nil {
		return nil, err
	}
	var revision int64
	if err := tx.QueryRow(ctx, `SELECT seats_revision FROM organizations WHERE id = $1`, orgID).Scan(&revision); err != nil {
		return nil, err
	}
	if in.seats, err = s.seatsOf(ctx, tx, orgID, revision); err != nil {
		return nil, err
	}
	if in.undone, err = readRetracted(ctx, tx, orgID, retractedIDs(items), false); err != nil {
		return nil, err
	}
	if err := in.lockPeriods(ctx, tx, items); err != nil {
		return nil, err
	}
	return in, in.findMonths()
}

func (s *Store) countingOf(org string) chan struct{} {
	if queue, ok := s.counting.Load(org); ok {
		return queue.(chan struct{})
	}
	queue, _ := s.counting.LoadOrStore(org, make(chan struct{}, 1))
	return queue.(chan struct{})
}

// lockPeriods shares the locks of every period that the items may land in, so
// that none of them closes meanwhile, and reads the periods again once they are
// held: what was read before may have closed.
func (in *intake) lockPeriods(ctx context.Context, tx pgx.Tx, items []billing.UsageItem) (err error) {
	latest := in.org.Now
	for i := range items {
		at := items[i].Event.OccurredAt
		if items[i].Event.Retracts == "" && at.After(latest) && !at.After(in.org.Now.Add(billing.FutureTolerance)) {
			latest = at
		}
	}
	if in.periods, err = ensurePeriod(ctx, tx, in.org, latest); err != nil {
		return err
	}
	for {
		in.current, in.running = current(in.periods, in.org.Now)
		wanted := in.wanted(items)
		missing := slices.DeleteFunc(wanted, func(id string) bool { return slices.Contains(in.held, id) })
		if len(missing) == 0 {
			return nil
		}
		for _, id := range missing {
			if err := lockShared(ctx, tx, periodLock(in.org.ID, id)); err != nil {
				return err
			}
			in.held = append(in.held, id)
		}
		if in.periods, err = readPeriods(ctx, tx, in.org.ID); err != nil {
			return err
		}
	}
}

// wanted lists the periods that the items, the events they retract and the
// organisation's now lie in, in order of time.
func (in *intake) wanted(items []billing.UsageItem) []string {
	used := make([]bool, len(in.periods))
	last := 0
	for i := range items {
		at := items[i].Event.OccurredAt
		if undone := in.undone[items[i].Event.Retracts]; undone != nil {
			at = undone.event.OccurredAt
		}
		if last < len(in.periods) && in.periods[last].span().Contains(at) {
			used[last] = true
			continue
		}
		for n := range in.periods {
			if in.periods[n].span().Contains(at) {
				last = n
				used[n] = true
				break
			}
		}
	}
	for _, undone := range in.undone {
		n := slices.IndexFunc(in.periods, func(p period) bool { return p.ID == undone.period })
		if n >= 0 {
			used[n] = true
		}
	}
	var ids []string
	for n, p := range in.periods {
		if (used[n] && p.ClosedAt.IsZero()) || (in.running && p.ID == in.current.ID) {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

func (in *intake) findMonths() error {
	calendar, err := in.org.Calendar()
	if err != nil {
		return err
	}
	in.months = make(map[string]billing.Period, len(in.periods))
	for _, p := range in.periods {
		in.months[p.ID] = calendar.Month(p.Start)
	}
	return nil
}

// assignPeriods decides for each event its period. Those that cannot be taken are
// answered and returned apart.
func (in *intake) assignPeriods(items []billing.UsageItem, answers []billing.UsageAnswer) (placed, refused []placedEvent) {
	placed = make([]placedEvent, 0, len(items))
	home := 0 // the period of the event before: most follow it there
	for i := range items {
		event := &items[i].Event
		if event.Retracts != "" {
			continue // its event is found once the batch's own are stored
		}
		if home < 0 || home >= len(in.periods) || !in.periods[home].span().Contains(event.OccurredAt) {
			home = slices.IndexFunc(in.periods, func(p period) bool { return p.span().Contains(event.OccurredAt) })
		}
		if reason := in.refuseSource(&items[i]); reason != "" {
			answers[i] = billing.UsageAnswer{Status: billing.UsageRejected, Field: "product", Reason: reason}
			refused = append(refused, placedEvent{index: i, event: event})
			continue
		}
		if reason := in.reject(event, home); reason != "" {
			answers[i] = billing.UsageAnswer{Status: billing.UsageRejected, Field: "occurred_at", Reason: reason}
			refused = append(refused, placedEvent{index: i, event: event})
			continue
		}
		p := placedEvent{index: i, event: event, period: in.periods[home].ID}
		p.window = in.months[p.period].Start
		if !in.periods[home].ClosedAt.IsZero() {
			p.origin, p.period = p.period, in.current.ID
		}
		placed = append(placed, p)
	}
	return placed, refused
}

// rate decides the rest that storing an event takes: the rates of its samplings,
// which it has for all of them or for none, and its seat.
func (in *intake) rate(event []placedEvent) {
	var parked string
	for i := range event {
		p := &event[i]
		in.seat(p)
		p.print() // of what was sent
		if p.rate, p.parked = in.rater.Rate(p.event); p.rate == nil && parked == "" {
			parked = p.parked
		}
	}
	for i := range event {
		p := &event[i]
		if parked != "" {
			p.rate, p.parked, p.model = nil, parked, p.event.Model
			if p.free = len(event) == 1 && p.event.CostsNothing(); !p.free {
				p.provisional = in.rater.Provisional(p.event)
			}
			continue
		}
		p.model = p.rate.Key.Model
		p.event = p.rate.Metered(in.splitWrites(p.event, p.rate))
	}
}

// print returns the fingerprint of the event, taken once: it is read wherever an
// id is met again.
func (p *placedEvent) print() []byte {
	if !p.printed {
		p.fingerprint, p.printed = p.event.Fingerprint(), true
	}
	return p.fingerprint[:]
}

// answerRefused answers those of the refused events that were stored while they
// could be: they are duplicates for as long as anybody sends them.
func answerRefused(ctx context.Context, tx pgx.Tx, orgID string, refused []placedEvent, answers []billing.UsageAnswer) error {
	if len(refused) == 0 {
		return nil
	}
	return keepSourceRefusals(answers, func() error {
		_, err := answerKnown(ctx, tx, orgID, refused, nil, answers)
		return err
	})
}

// reject says why an event cannot be taken by its time, or "".
func (in *intake) reject(event *billing.Event, home int) string {
	now, at := in.org.Now, event.OccurredAt
	switch {
	case at.After(now.Add(billing.FutureTolerance)):
		return fmt.Sprintf("lies in the future: accepted up to 5 minutes after the organization's time %s", now.Format(time.RFC3339))
	case at.Before(in.org.StartsAt):
		return fmt.Sprintf("lies before the organization's start %s", in.org.StartsAt.Format(time.RFC3339))
	case !in.org.ClosedAt.IsZero() && !at.Before(in.org.ClosedAt):
		return fmt.Sprintf("lies after the end of the organization's contract %s", in.org.ClosedAt.Format(time.RFC3339))
	case home < 0:
		return "lies in no billing period of the organization"
	case in.periods[home].ClosedAt.IsZero():
		return ""
	case !in.stored && at.Before(now.Add(-in.org.LateWindow)):
		return fmt.Sprintf("its period %s is closed and it is older than the late window of %s", in.periods[home].ID, in.org.LateWindow)
	case !in.running:
		return fmt.Sprintf("its period %s is closed and the organization has no open one", in.periods[home].ID)
	}
	return ""
}

// seat notes the tier that the user held when the event occurred, and flags what
// the seat does not cover: that is billed all the same.
func (in *intake) seat(p *placedEvent) {
	if p.event.CacheSplitAssumed {
		p.flags |= flagCacheSplitAssumed
	}
	if p.event.User == "" {
		return
	}
	seat, ok := in.seats.at(p.event.User, p.event.OccurredAt)
	switch {
	case !ok:
		p.flags |= flagNoSeat
	case !in.rater.Book.Includes(seat.Tier, p.event.Product, p.event.OccurredAt):
		p.flags |= flagOutsideSeat
	}
	p.tier = seat.Tier
}
