package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// SeatChange gives a user a seat from an instant on.
type SeatChange struct {
	User  string
	Tier  string
	HIPAA bool
	From  time.Time // zero = the organisation's now, or its start if that lies ahead
}

// SeatResult counts what assigning seats did.
type SeatResult struct {
	Assigned  int `json:"assigned"`  // users who had no seat
	Changed   int `json:"changed"`   // users whose seat is another now
	Unchanged int `json:"unchanged"` // users who hold it already
}

// AssignSeats assigns seats: all of them, or none and an error that names the
// user and what is accepted. A seat is kept from its instant on, in place of any
// that was assigned for later; what was held before stays in the history.
func (s *Store) AssignSeats(ctx context.Context, orgID string, changes []SeatChange, by billing.Actor) (result SeatResult, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		result = SeatResult{}
		org, chart, err := s.openSeats(ctx, tx, orgID)
		if err != nil {
			return err
		}
		book, err := readPriceBook(ctx, tx, org.PriceBook)
		if err != nil {
			return err
		}
		plan := &seatPlan{org: org, chart: chart}
		for _, change := range changes {
			if change.From.IsZero() {
				change.From = maxTime(org.Now, org.StartsAt)
			}
			change.From = change.From.UTC().Truncate(time.Microsecond)
			if err := checkSeat(org, book, change); err != nil {
				return err
			}
			if err := refuseClosedPeriod(ctx, tx, org, change.From); err != nil {
				return err
			}
			plan.assign(change, &result)
		}
		return s.saveSeats(ctx, tx, plan, by, "seats.assign")
	})
	return result, err
}

// RemoveSeat ends a user's seat at an instant (zero = the organisation's now), and
// takes back what was assigned for later.
// A user without a seat is billed like any other, under no tier's limit.
func (s *Store) RemoveSeat(ctx context.Context, orgID, user string, at time.Time, by billing.Actor) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		org, chart, err := s.openSeats(ctx, tx, orgID)
		if err != nil {
			return err
		}
		if at.IsZero() {
			at = org.Now
		}
		at = at.UTC().Truncate(time.Microsecond)
		if len(chart.users[user]) == 0 {
			return billing.NotFound("user %q holds no seat of organization %q", user, orgID)
		}
		if last := chart.users[user][len(chart.users[user])-1]; !last.To.IsZero() && !last.To.After(at) {
			return nil // removed already
		}
		if err := refuseClosedPeriod(ctx, tx, org, at); err != nil {
			return err
		}
		plan := &seatPlan{org: org, chart: chart}
		plan.cut(user, at)
		return s.saveSeats(ctx, tx, plan, by, "seats.remove")
	})
}

// Seats lists the seats held at an instant; of none (zero), those held at the
// organisation's now and those that begin later.
func (s *Store) Seats(ctx context.Context, orgID string, at time.Time) ([]billing.SeatAssignment, error) {
	org, err := s.Organization(ctx, orgID)
	if err != nil {
		return nil, err
	}
	all, err := readSeats(ctx, s.pool, orgID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a billing.SeatAssignment) bool {
		if at.IsZero() {
			return !a.Holds(org.Now) && !a.From.After(org.Now)
		}
		return !a.Holds(at)
	}), nil
}

// openSeats takes the organisation's terms alone, so that no usage is stored
// while seats change.
func (s *Store) openSeats(ctx context.Context, tx pgx.Tx, orgID string) (org billing.Organization, chart *seatChart, err error) {
	if err := lockExclusive(ctx, tx, termsLock(orgID)); err != nil {
		return org, nil, err
	}
	if org, err = lockOrganization(ctx, tx, orgID); err != nil {
		return org, nil, err
	}
	all, err := readSeats(ctx, tx, orgID)
	return org, newSeatChart(0, all), err
}

func checkSeat(org billing.Organization, book *billing.PriceBook, change SeatChange) error {
	switch {
	case change.User == "" || len(change.User) > 200 || strings.TrimSpace(change.User) != change.User:
		return billing.Invalid("user: %q; accepted: 1 to 200 bytes without spaces at the ends", change.User)
	case change.From.Before(org.StartsAt):
		return billing.Invalid("user %s: from: %s is before the organization's start; accepted: %s or later",
			change.User, change.From.Format(time.RFC3339), org.StartsAt.Format(time.RFC3339))
	}
	if _, ok := book.Seat(change.Tier, change.From); !ok {
		return billing.Invalid("user %s: tier: %q has no price in price book %s; accepted: %s",
			change.User, change.Tier, book.Name, strings.Join(book.Tiers(), ", "))
	}
	if !change.HIPAA {
		return nil
	}
	if _, ok := book.Surcharge(billing.HIPAA, change.Tier, change.From); !ok {
		return billing.Invalid("user %s: hipaa: price book %s has no hipaa surcharge for tier %s", change.User, book.Name, change.Tier)
	}
	return nil
}

// refuseClosedPeriod refuses to change seats in a period that is billed already.
func refuseClosedPeriod(ctx context.Context, tx pgx.Tx, org billing.Organization, at time.Time) error {
	periods, err := readPeriods(ctx, tx, org.ID)
	if err != nil {
		return err
	}
	for _, p := range periods {
		if !p.ClosedAt.IsZero() && at.Before(p.End) {
			return billing.Conflict("seats cannot change from %s: the period %s is closed; accepted: %s or later",
				at.Format(time.RFC3339), p.ID, p.End.Format(time.RFC3339))
		}
	}
	return nil
}

// seatChart is an organisation's seat assignments by user, in order of time.
type seatChart struct {
	revision int64
	users    map[string][]billing.SeatAssignment
}

func newSeatChart(revision int64, all []billing.SeatAssignment) *seatChart {
	chart := &seatChart{revision: revision, users: make(map[string][]billing.SeatAssignment, len(all))}
	for _, a := range all {
		chart.users[a.User] = append(chart.users[a.User], a)
	}
	return chart
}

// at returns the seat that a user held at an instant.
func (c *seatChart) at(user string, at time.Time) (billing.SeatAssignment, bool) {
	for _, a := range c.users[user] {
		if a.Holds(at) {
			return a, true
		}
	}
	return billing.SeatAssignment{}, false
}

// seatPlan is a change of seats in the making.
type seatPlan struct {
	org     billing.Organization
	chart   *seatChart
	touched []string
}

func (p *seatPlan) assign(change SeatChange, result *SeatResult) {
	held, has := p.chart.at(change.User, change.From)
	last := p.chart.users[change.User]
	switch {
	case has && held.Tier == change.Tier && held.HIPAA == change.HIPAA && held.To.IsZero() && len(last) > 0 && last[len(last)-1] == held:
		result.Unchanged++
		return
	case has:
		result.Changed++
	default:
		result.Assigned++
	}
	p.cut(change.User, change.From)
	p.chart.users[change.User] = append(p.chart.users[change.User], billing.SeatAssignment{
		User: change.User, Tier: change.Tier, HIPAA: change.HIPAA, From: change.From,
	})
}

// cut ends whatever the user holds at an instant, and drops what was to begin
// at or after it.
func (p *seatPlan) cut(user string, at time.Time) {
	var kept []billing.SeatAssignment
	for _, a := range p.chart.users[user] {
		if !a.From.Before(at) {
			continue
		}
		if a.To.IsZero() || a.To.After(at) {
			a.To = at
		}
		kept = append(kept, a)
	}
	p.chart.users[user] = kept
	p.touched = append(p.touched, user)
}

// saveSeats writes the touched users' seats, and every notice that falls due
// because a member now stands under another tier's limit.
func (s *Store) saveSeats(ctx context.Context, tx pgx.Tx, plan *seatPlan, by billing.Actor, action string) error {
	if len(plan.touched) == 0 {
		return nil
	}
	slices.Sort(plan.touched)
	touched := slices.Compact(plan.touched)
	const remove = `DELETE FROM seat_assignments WHERE org_id = $1 AND user_id = ANY($2)`
	if _, err := tx.Exec(ctx, remove, plan.org.ID, touched); err != nil {
		return wrap("save seats", err)
	}
	var rows [][]any
	for _, user := range touched {
		for _, a := range plan.chart.users[user] {
			rows = append(rows, []any{plan.org.ID, a.User, a.Tier, a.HIPAA, a.From, nullable(a.To)})
		}
	}
	columns := []string{"org_id", "user_id", "tier", "hipaa", "valid_from", "valid_to"}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"seat_assignments"}, columns, pgx.CopyFromRows(rows)); err != nil {
		return wrap("save seats", err)
	}
	const revise = `UPDATE organizations SET seats_revision = seats_revision + 1 WHERE id = $1`
	if _, err := tx.Exec(ctx, revise, plan.org.ID); err != nil {
		return wrap("save seats", err)
	}
	if err := noticeReached(ctx, tx, plan.org, reachedBy{users: touched, chart: plan.chart}); err != nil {
		return err
	}
	subject, after := seatsAudited(plan.chart, touched)
	_, err := audit(ctx, tx, plan.org.ID, by, action, subject, nil, after)
	return err
}

// seatsAudited names whose seats have changed, and to what; of many it says how
// many, and the file that was imported has the rest.
func seatsAudited(chart *seatChart, touched []string) (subject string, after map[string]any) {
	after = map[string]any{"users": len(touched)}
	if len(touched) > 1 {
		return "", after
	}
	seats := []map[string]any{}
	for _, a := range chart.users[touched[0]] {
		seats = append(seats, map[string]any{"tier": a.Tier, "hipaa": a.HIPAA, "from": a.From, "to": nullable(a.To)})
	}
	after["seats"] = seats
	return "user/" + touched[0], after
}

func readSeats(ctx context.Context, q querier, org string) ([]billing.SeatAssignment, error) {
	return readSeatsOf(ctx, q, org, nil)
}

// readSeatsOf lists the seats of users; nil = everybody's.
func readSeatsOf(ctx context.Context, q querier, org string, users []string) ([]billing.SeatAssignment, error) {
	const statement = `
SELECT user_id, tier, hipaa, valid_from, valid_to
  FROM seat_assignments
 WHERE org_id = @org
   AND (@users::text[] IS NULL OR user_id = ANY(@users))
 ORDER BY user_id, valid_from`
	return collectSeats(ctx, q, statement, pgx.NamedArgs{"org": org, "users": users})
}

// readSeatsWithin reads the seats that were held at any time within a period.
func readSeatsWithin(ctx context.Context, q querier, org string, within billing.Period) ([]billing.SeatAssignment, error) {
	const statement = `
SELECT user_id, tier, hipaa, valid_from, valid_to
  FROM seat_assignments
 WHERE org_id = @org AND valid_from < @end AND (valid_to IS NULL OR valid_to > @start)
 ORDER BY user_id, valid_from`
	return collectSeats(ctx, q, statement, pgx.NamedArgs{"org": org, "start": within.Start, "end": within.End})
}

func collectSeats(ctx context.Context, q querier, statement string, args pgx.NamedArgs) ([]billing.SeatAssignment, error) {
	rows, err := q.Query(ctx, statement, args)
	if err != nil {
		return nil, wrap("read the seats", err)
	}
	seats, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a billing.SeatAssignment, err error) {
		var to *time.Time
		err = row.Scan(&a.User, &a.Tier, &a.HIPAA, &a.From, &to)
		a.From, a.To = a.From.UTC(), instant(to)
		return a, err
	})
	return seats, wrap("read the seats", err)
}

// seatsOf returns the organisation's seats at its present revision. Inside a
// transaction that holds the terms' lock the answer stays true until it ends.
func (s *Store) seatsOf(ctx context.Context, q querier, org string, revision int64) (*seatChart, error) {
	s.mu.RLock()
	cached := s.seats[org]
	s.mu.RUnlock()
	if cached != nil && cached.revision == revision {
		return cached, nil
	}
	all, err := readSeats(ctx, q, org)
	if err != nil {
		return nil, err
	}
	fresh := newSeatChart(revision, all)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seats[org] == nil || s.seats[org].revision < revision {
		s.seats[org] = fresh
	}
	return fresh, nil
}
