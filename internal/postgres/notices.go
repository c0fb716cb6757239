package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// States of a notice.
const (
	noticePending    = "pending"    // to be sent
	noticeRecorded   = "recorded"   // passed together with a higher one, which was sent
	noticeSuppressed = "suppressed" // passed already when the limit was raised
)

// crossing is a limit of which a subject's spend has passed thresholds.
type crossing struct {
	limit      billing.Limit
	subject    string
	spent      decimal.Decimal
	thresholds []int // ascending, at least one
	window     billing.Period
	late       bool
	lead       string // status of the highest; the others are recorded
}

// recordNotices writes down crossings, each threshold once per limit version,
// window and subject, ever, and nudges the cycle where one is to be sent.
func recordNotices(ctx context.Context, tx pgx.Tx, org billing.Organization, crossings []crossing) error {
	const insert = `
INSERT INTO notices (org_id, limit_id, limit_version, threshold, window_start, window_end, scope, subject,
                     amount, spent, late, status, at)
VALUES (@org, @limit, @version, @threshold, @window_start, @window_end, @scope, @subject,
        @amount, @spent, @late, @status, @at)
    ON CONFLICT (limit_id, limit_version, threshold, window_start, subject) DO NOTHING`
	batch := &pgx.Batch{}
	pending := 0
	for _, c := range crossings {
		for i, threshold := range c.thresholds {
			status := c.lead
			if i < len(c.thresholds)-1 && c.lead == noticePending {
				status = noticeRecorded
			}
			args := pgx.NamedArgs{
				"org": org.ID, "limit": c.limit.ID, "version": c.limit.Version, "threshold": threshold,
				"window_start": c.window.Start, "window_end": c.window.End, "scope": c.limit.Scope, "subject": c.subject,
				"amount": c.limit.Amount, "spent": c.spent, "late": c.late, "status": status, "at": org.Now,
			}
			queued := batch.Queue(insert, args)
			if status == noticePending {
				queued.Exec(func(tag pgconn.CommandTag) error {
					pending += int(tag.RowsAffected())
					return nil
				})
			}
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return wrap("record notices", err)
	}
	if pending == 0 {
		return nil
	}
	return nudge(ctx, tx, org.ID, "billing-cycle/"+org.ID)
}

// reachedBy says whose standing changed without any usage: that of everybody
// under a limit, or of some users under their tiers' limits.
type reachedBy struct {
	limit  *billing.Limit
	users  []string
	chart  *seatChart
	silent bool // suppressed: only what lies above may speak
}

// noticeReached records every threshold that is passed in the running window by
// those whose standing changed.
func noticeReached(ctx context.Context, tx pgx.Tx, org billing.Organization, changed reachedBy) error {
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	window := calendar.Month(org.Now)
	limits := []billing.Limit{}
	if changed.limit != nil {
		limits = append(limits, *changed.limit)
	} else if limits, err = readLimits(ctx, tx, org.ID, []string{}); err != nil {
		return err
	}
	own, err := readReplacing(ctx, tx, org, changed.users)
	if err != nil {
		return err
	}
	const statement = `
SELECT scope, subject, spend + provisional
  FROM spend_counters
 WHERE org_id = @org
   AND window_start = @window
   AND (@users::text[] IS NULL OR (scope = 'user' AND subject = ANY(@users)))
 ORDER BY scope, subject`
	rows, err := tx.Query(ctx, statement, pgx.NamedArgs{"org": org.ID, "window": window.Start, "users": changed.users})
	if err != nil {
		return wrap("read the spend counters", err)
	}
	var crossings []crossing
	var scope billing.Scope
	var subject string
	var spent decimal.Decimal
	_, err = pgx.ForEachRow(rows, []any{&scope, &subject, &spent}, func() error {
		for _, l := range limitsOn(limits, scope, subject, changed.chart, org.Now) {
			if changed.limit == nil && l.Scope != billing.ScopeSeatTier {
				continue // only the tier's limit is new to the user
			}
			if own.replace(l, subject) {
				continue
			}
			if reached := l.Reached(spent); len(reached) > 0 {
				c := crossing{limit: l, subject: subject, spent: spent, thresholds: reached, window: window, lead: noticePending}
				if changed.silent {
					c.lead = noticeSuppressed
				}
				crossings = append(crossings, c)
			}
		}
		return nil
	})
	if err != nil {
		return wrap("read the spend counters", err)
	}
	return recordNotices(ctx, tx, org, crossings)
}

const noticeColumns = `
       n.id, n.org_id, n.scope, n.subject, CASE WHEN n.scope = 'seat_tier' THEN l.subject ELSE '' END, n.limit_id, n.limit_version, n.threshold, n.amount, n.spent, o.currency,
       n.window_start, n.window_end, n.at, n.late, n.attempts`

func noticeTargets(n *billing.Notice) []any {
	return []any{
		&n.ID, &n.Organization, &n.Scope, &n.Subject, &n.Tier, &n.LimitID, &n.LimitVersion, &n.Threshold,
		&n.Limit.Amount, &n.Spent.Amount, &n.Limit.Currency, &n.Window.Start, &n.Window.End, &n.At, &n.Late, &n.Attempts,
	}
}

func finishNotice(n *billing.Notice) {
	n.Spent.Currency = n.Limit.Currency
	n.Window.Start, n.Window.End, n.At = n.Window.Start.UTC(), n.Window.End.UTC(), n.At.UTC()
}

// PendingNotices lists undelivered spend notices that are due for a try, oldest
// first.
func (s *Store) PendingNotices(ctx context.Context, org string, limit int) ([]billing.Notice, error) {
	const statement = `
SELECT` + noticeColumns + `, o.email
  FROM notices n
  JOIN organizations o ON o.id = n.org_id
  JOIN limits l ON l.id = n.limit_id
 WHERE n.org_id = $1
   AND n.status = 'pending'
   AND (n.retry_at IS NULL OR n.retry_at <= coalesce(o.clock_at, now()))
 ORDER BY n.id
 LIMIT $2`
	rows, err := s.pool.Query(ctx, statement, org, limit)
	if err != nil {
		return nil, wrap("list pending notices", err)
	}
	notices, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n billing.Notice, err error) {
		err = row.Scan(append(noticeTargets(&n), &n.Email)...)
		finishNotice(&n)
		return n, err
	})
	return notices, wrap("list pending notices", err)
}

// NoticeDelivered records that a notice was handed to its channel.
func (s *Store) NoticeDelivered(ctx context.Context, id int64) error {
	const statement = `
UPDATE notices
   SET status = 'sent', attempts = attempts + 1, delivered_at = now(), retry_at = NULL, failure = ''
 WHERE id = $1 AND status = 'pending'`
	_, err := s.pool.Exec(ctx, statement, id)
	return wrap("record a delivered notice", err)
}

// retryPause is how long delivery waits after so many failures in a row, and
// giveUpAfter how long it is tried at all, if only it was tried with each pause;
// then the notice shows as failed. One that nobody could try to send for days, with
// all workers down, is not given up at the first failure.
const giveUpAfter = 72 * time.Hour

func retryPause(failures int) time.Duration {
	pauses := []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour}
	return pauses[min(failures, len(pauses)-1)]
}

// NoticeFailed records a failed delivery: the notice is tried again after a
// growing pause, and shows as failed after three days and five tries.
func (s *Store) NoticeFailed(ctx context.Context, id int64, reason string) error {
	const statement = `
UPDATE notices n
   SET attempts = attempts + 1,
       failure  = left($2, 500),
       retry_at = coalesce(o.clock_at, now()) + ($3::interval[])[least(n.attempts + 1, cardinality($3::interval[]))],
       status   = CASE WHEN coalesce(o.clock_at, now()) > n.at + $4 AND n.attempts + 1 >= cardinality($3::interval[]) THEN 'failed' ELSE status END
  FROM organizations o
 WHERE n.id = $1 AND o.id = n.org_id AND n.status = 'pending'`
	pauses := make([]time.Duration, 5)
	for i := range pauses {
		pauses[i] = retryPause(i)
	}
	_, err := s.pool.Exec(ctx, statement, id, reason, pauses, giveUpAfter)
	return wrap("record a failed notice", err)
}

// PendingNoticeCount says how many spend notices are undelivered, and when the
// next one is due for a try; the zero time = at once.
func (s *Store) PendingNoticeCount(ctx context.Context, org string) (pending int, retryAt time.Time, err error) {
	const statement = `
SELECT count(*), CASE WHEN bool_or(retry_at IS NULL) THEN NULL ELSE min(retry_at) END
  FROM notices
 WHERE org_id = $1 AND status = 'pending'`
	var retry *time.Time
	err = s.pool.QueryRow(ctx, statement, org).Scan(&pending, &retry)
	return pending, instant(retry), wrap("count pending notices", err)
}

// NoticeRow is one row of a list of notices.
type NoticeRow struct {
	billing.Notice
	Status  string
	Failure string
	// Deliveries says how it went at each channel that was tried.
	Deliveries []Delivery
}

// NoticePosition is a notice's place in the list; the zero value is before all.
type NoticePosition struct {
	At time.Time
	ID int64
}

// Notices lists an organisation's spend notices in the order in which they were
// recorded; those suppressed only where all are asked for.
func (s *Store) Notices(ctx context.Context, org string, all bool) ([]NoticeRow, error) {
	return s.NoticesAfter(ctx, org, all, NoticePosition{}, 0)
}

// NoticesAfter lists the notices that follow one, at most limit of them; 0 = all.
func (s *Store) NoticesAfter(ctx context.Context, org string, all bool, after NoticePosition, limit int) ([]NoticeRow, error) {
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	const statement = `
SELECT` + noticeColumns + `, n.status, n.failure
  FROM notices n
  JOIN organizations o ON o.id = n.org_id
  JOIN limits l ON l.id = n.limit_id
 WHERE n.org_id = @org
   AND (@all OR n.status <> 'suppressed')
   AND (n.at, n.id) > (@at, @id)
 ORDER BY n.at, n.id
 LIMIT nullif(@limit::int, 0)`
	rows, err := s.pool.Query(ctx, statement, pgx.NamedArgs{"org": org, "all": all, "at": after.At, "id": after.ID, "limit": limit})
	if err != nil {
		return nil, wrap("list notices", err)
	}
	var ids []int64
	notices, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n NoticeRow, err error) {
		err = row.Scan(append(noticeTargets(&n.Notice), &n.Status, &n.Failure)...)
		finishNotice(&n.Notice)
		ids = append(ids, n.ID)
		return n, err
	})
	if err != nil {
		return nil, wrap("list notices", err)
	}
	deliveries, err := s.noticeDeliveries(ctx, ids)
	for i := range notices {
		notices[i].Deliveries = deliveries[notices[i].ID]
	}
	return notices, err
}
