package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Accrue reads how a period stands; period "" is the one that is due. Once it is
// over, and the cycle is not paused, it is moved into its draft window and the
// next one is opened.
func (s *Store) Accrue(ctx context.Context, orgID, periodID string) (a billing.Accrual, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		a = billing.Accrual{Organization: orgID}
		if a.Seen, err = seen(ctx, tx, "billing-cycle/"+orgID); err != nil {
			return err
		}
		org, err := lockOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, err := duePeriod(ctx, tx, org, periodID)
		if err != nil {
			return err
		}
		a.Period, a.Start, a.End = p.ID, p.Start, p.End
		a.Now, a.TestClock, a.Paused, a.Suspended = org.Now, org.TestClock, !org.PausedAt.IsZero(), org.Suspended
		if !a.Now.Before(p.End) && !a.Paused {
			if a.Ended, err = endPeriod(ctx, tx, org, p); err != nil {
				return err
			}
		}
		return readStanding(ctx, tx, org, p, &a)
	})
	return a, wrap("accrue "+orgID, err)
}

// duePeriod returns the named period, or the first that has not been ended. One
// before the named that was not ended comes first: it was, and the database has
// gone back since.
func duePeriod(ctx context.Context, tx pgx.Tx, org billing.Organization, id string) (period, error) {
	periods, err := ensurePeriod(ctx, tx, org, maxTime(org.Now, org.StartsAt))
	if err != nil {
		return period{}, err
	}
	for _, p := range periods {
		if p.ID == id || p.DraftUntil.IsZero() {
			return p, nil
		}
	}
	return period{}, billing.NotFound("organization %q has no period %q", org.ID, id)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// endPeriod starts the draft window of a period that is over and opens the next
// one. Doing it again changes nothing.
func endPeriod(ctx context.Context, tx pgx.Tx, org billing.Organization, p period) (*billing.PeriodEnd, error) {
	if p.DraftUntil.IsZero() {
		p.DraftUntil = p.End.Add(org.DraftWindow)
		const statement = `UPDATE periods SET draft_until = $3 WHERE org_id = $1 AND id = $2`
		if _, err := tx.Exec(ctx, statement, org.ID, p.ID, p.DraftUntil); err != nil {
			return nil, wrap("end period "+p.ID, err)
		}
	}
	end := &billing.PeriodEnd{DraftUntil: p.DraftUntil, Revision: p.Revision, Unbilled: p.ClosedAt.IsZero()}
	if !org.ClosedAt.IsZero() && !p.End.Before(org.ClosedAt) {
		return end, nil
	}
	periods, err := ensurePeriod(ctx, tx, org, p.End)
	if err != nil {
		return nil, err
	}
	if next, ok := find(periods, p.End); ok {
		end.Next = next.ID
	}
	return end, nil
}

// readStanding fills in what has been spent, under what limit, and what waits.
func readStanding(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, a *billing.Accrual) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	window := calendar.Month(p.Start).Start
	spent, err := readCounter(ctx, tx, org.ID, counterKey{window, billing.ScopeOrganization, ""})
	if err != nil {
		return err
	}
	a.Spend = billing.Money{Amount: spent.priced, Currency: org.Currency}
	const statement = `
SELECT (SELECT amount FROM limits WHERE org_id = @org AND scope = 'organization' AND removed_at IS NULL),
       (SELECT count(*) FROM limits WHERE org_id = @org AND scope <> 'organization' AND removed_at IS NULL),
       (SELECT count(*) FROM notices WHERE org_id = @org AND status = 'pending'),
       (SELECT count(*) FROM usage_events WHERE org_id = @org AND rate_id IS NULL AND NOT void AND part = 0),
       EXISTS (SELECT FROM billing_stop)`
	var limit decimal.NullDecimal
	err = tx.QueryRow(ctx, statement, pgx.NamedArgs{"org": org.ID}).Scan(&limit, &a.Limits, &a.Notices, &a.Parked, &a.Stopped)
	if err != nil {
		return wrap("read the standing of "+org.ID, err)
	}
	if limit.Valid {
		a.Limit = &billing.Money{Amount: limit.Decimal, Currency: org.Currency}
	}
	return nil
}

// PauseCycle keeps the organisation's cycle from ending periods, closing them
// and sending notices until it is resumed. Usage accrues all the while. The
// request was written to the audit trail by whoever made it.
func (s *Store) PauseCycle(ctx context.Context, orgID string, _ int64) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		const statement = `UPDATE organizations SET paused_at = coalesce(paused_at, coalesce(clock_at, now())) WHERE id = $1`
		if err := mustChange(tx.Exec(ctx, statement, orgID))(orgID); err != nil {
			return err
		}
		return nudge(ctx, tx, orgID, "billing-cycle/"+orgID)
	})
}

// ResumeCycle lets a paused cycle go on, its invoices in waiting included.
func (s *Store) ResumeCycle(ctx context.Context, orgID string, _ int64) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		const statement = `UPDATE organizations SET paused_at = NULL WHERE id = $1`
		if err := mustChange(tx.Exec(ctx, statement, orgID))(orgID); err != nil {
			return err
		}
		if err := nudgeDrafts(ctx, tx, orgID); err != nil {
			return err
		}
		return nudge(ctx, tx, orgID, "billing-cycle/"+orgID)
	})
}

func mustChange(tag commandTag, err error) func(org string) error {
	return func(org string) error {
		if err == nil && tag.RowsAffected() == 0 {
			return billing.NotFound("organization %q does not exist", org)
		}
		return wrap("change organization "+org, err)
	}
}

// nudgeDrafts has every invoice that is waiting to be issued look again.
func nudgeDrafts(ctx context.Context, tx pgx.Tx, org string) error {
	periods, err := readPeriods(ctx, tx, org)
	if err != nil {
		return err
	}
	for _, p := range periods {
		if !p.DraftUntil.IsZero() && p.ClosedAt.IsZero() {
			if err := nudge(ctx, tx, org, "invoice/"+billing.InvoiceID(org, p.ID, p.Revision)); err != nil {
				return err
			}
		}
	}
	return nil
}

// EndPeriodNow ends the running period at the organisation's now; the next piece
// runs to the same anchored boundary. Usage that is stored already stays in the
// period that took it, so the end lies after the last of it. The request's audit
// entry makes it happen once, however often it is carried out.
func (s *Store) EndPeriodNow(ctx context.Context, orgID string, auditEntry int64) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		org, err := lockOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		var done bool
		const before = `SELECT EXISTS (SELECT FROM periods WHERE org_id = $1 AND ended_by = $2)`
		if err := tx.QueryRow(ctx, before, orgID, auditEntry).Scan(&done); err != nil || done {
			return wrap("look for the request", err)
		}
		running, err := runningPeriod(ctx, tx, org)
		if err != nil {
			return err
		}
		if err := lockExclusive(ctx, tx, periodLock(orgID, running.ID)); err != nil {
			return err
		}
		const last = `
SELECT greatest($3, max(occurred_at) + interval '1 microsecond')
  FROM usage_events
 WHERE org_id = $1 AND period_id = $2 AND origin_id IS NULL AND occurred_at >= $3`
		var end time.Time
		if err := tx.QueryRow(ctx, last, orgID, running.ID, org.Now).Scan(&end); err != nil {
			return wrap("find the last usage", err)
		}
		if !end.After(running.Start) || !end.Before(running.End) {
			return billing.Conflict("period %s of %q cannot end now: it runs from %s to %s", running.ID, orgID,
				running.Start.Format(time.RFC3339), running.End.Format(time.RFC3339))
		}
		return splitPeriod(ctx, tx, org, running, end.UTC(), auditEntry)
	})
}

func runningPeriod(ctx context.Context, tx pgx.Tx, org billing.Organization) (period, error) {
	periods, err := ensurePeriod(ctx, tx, org, org.Now)
	if err != nil {
		return period{}, err
	}
	running, ok := find(periods, org.Now)
	if !ok || !running.DraftUntil.IsZero() {
		return period{}, billing.Conflict("organization %q has no running period", org.ID)
	}
	return running, nil
}

func splitPeriod(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, at time.Time, auditEntry int64) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	const shorten = `UPDATE periods SET ends_at = $3, ended_by = $4 WHERE org_id = $1 AND id = $2`
	if _, err := tx.Exec(ctx, shorten, org.ID, p.ID, at, auditEntry); err != nil {
		return wrap("end period "+p.ID, err)
	}
	periods, err := readPeriods(ctx, tx, org.ID)
	if err != nil {
		return err
	}
	if err := insertPeriod(ctx, tx, org.ID, newPeriodID(calendar, periods, at), at, p.End); err != nil {
		return err
	}
	return nudge(ctx, tx, org.ID, "billing-cycle/"+org.ID)
}

// CycleState is how an organisation's cycle stands by the database's facts.
type CycleState struct {
	Organization string
	Period       string
	Start, End   time.Time
	Stage        string // not_started, accruing, paused, ended
	NextWakeAt   time.Time
	NextWhat     string
	Spend        billing.Money
	Limit        *billing.Money
	Notices      int
	Parked       int
	Stopped      bool // all billing is
	Now          time.Time
}

// Cycle returns how an organisation's cycle stands.
func (s *Store) Cycle(ctx context.Context, orgID string) (c CycleState, err error) {
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		periods, err := readPeriods(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p := periods[len(periods)-1]
		for _, candidate := range periods {
			if candidate.DraftUntil.IsZero() {
				p = candidate
				break
			}
		}
		a := billing.Accrual{}
		if err := readStanding(ctx, tx, org, p, &a); err != nil {
			return err
		}
		c = CycleState{
			Organization: orgID, Period: p.ID, Start: p.Start, End: p.End, Spend: a.Spend, Limit: a.Limit,
			Notices: a.Notices, Parked: a.Parked, Stopped: a.Stopped, Now: org.Now, NextWakeAt: p.End, NextWhat: "the period ends",
		}
		return cycleStage(ctx, tx, org, p, &c)
	})
	return c, wrap("read the cycle of "+orgID, err)
}

func cycleStage(ctx context.Context, tx pgx.Tx, org billing.Organization, p period, c *CycleState) error {
	var started bool
	if err := tx.QueryRow(ctx, `SELECT cycle_started_at IS NOT NULL FROM organizations WHERE id = $1`, org.ID).Scan(&started); err != nil {
		return err
	}
	switch {
	case !started:
		c.Stage, c.NextWakeAt, c.NextWhat = "not_started", time.Time{}, "starter cycle start "+org.ID
	case !org.PausedAt.IsZero():
		c.Stage, c.NextWakeAt, c.NextWhat = "paused", time.Time{}, "starter cycle resume "+org.ID
	case !p.DraftUntil.IsZero():
		c.Stage, c.NextWakeAt, c.NextWhat = "ended", time.Time{}, "the contract has ended"
	default:
		c.Stage = "accruing"
		var wake *time.Time
		err := tx.QueryRow(ctx, `SELECT wake_at FROM waits WHERE workflow_id = $1`, "billing-cycle/"+org.ID).Scan(&wake)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if wake != nil {
			c.NextWakeAt = wake.UTC()
		}
	}
	return nil
}
