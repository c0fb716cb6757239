package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// paymentNews is what a payment notice says.
type paymentNews struct {
	kind    billing.PaymentNoticeKind
	attempt int // 0 = of no attempt
	amount  decimal.Decimal
	failure string
	nextAt  *time.Time
	day     int // of a reminder
}

// notice writes down news for the billing contact, each kind once per attempt.
func (c *collecting) notice(ctx context.Context, news paymentNews) error {
	const statement = `
INSERT INTO payment_notices (org_id, invoice_id, attempt, kind, amount, failure_code, next_at, day, status, at)
VALUES (@org, @invoice, @attempt, @kind, @amount, @failure, @next_at, @day, 'pending', @now)
    ON CONFLICT (invoice_id, attempt, kind, day) DO NOTHING`
	_, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{
		"org": c.Org, "invoice": c.ID, "attempt": news.attempt, "kind": news.kind, "amount": news.amount,
		"failure": news.failure, "next_at": news.nextAt, "day": news.day, "now": c.Now,
	})
	return wrap("write a payment notice", err)
}

// noticeUnlessSaid writes news of which one notice is enough: the attempt before
// had it already.
func (c *collecting) noticeUnlessSaid(ctx context.Context, news paymentNews) error {
	before, found, err := c.payment(ctx, news.attempt-1)
	if err != nil || news.attempt > 1 && found && before.FailureCode == news.failure {
		return err
	}
	return c.notice(ctx, news)
}

// noticeIfWritten writes news that only concerns somebody who had news of the
// invoice before: that a card was charged at the first try is told by its
// receipt.
func (c *collecting) noticeIfWritten(ctx context.Context, news paymentNews) error {
	var written bool
	err := c.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM payment_notices WHERE invoice_id = $1)`, c.ID).Scan(&written)
	if err != nil || !written {
		return wrap("look for payment notices", err)
	}
	return c.notice(ctx, news)
}

// PendingPaymentNotices lists the undelivered payment notices of an invoice that
// are due for a try, oldest first.
func (s *Store) PendingPaymentNotices(ctx context.Context, invoice string) ([]billing.PaymentNotice, error) {
	const statement = `
SELECT n.id, n.org_id, n.invoice_id, i.number, n.kind, n.attempt, n.amount, i.currency, n.failure_code, n.next_at, n.day, o.email,
       i.stripe_hosted_url, o.timezone
  FROM payment_notices n
  JOIN invoices i ON i.id = n.invoice_id
  JOIN organizations o ON o.id = n.org_id
 WHERE n.invoice_id = $1
   AND n.status = 'pending'
   AND (n.retry_at IS NULL OR n.retry_at <= coalesce(o.clock_at, now()))
 ORDER BY n.id`
	rows, err := s.pool.Query(ctx, statement, invoice)
	if err != nil {
		return nil, wrap("list the payment notices of "+invoice, err)
	}
	notices, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n billing.PaymentNotice, err error) {
		var next *time.Time
		var timezone string
		err = row.Scan(&n.ID, &n.Organization, &n.Invoice, &n.Number, &n.Kind, &n.Attempt, &n.Amount.Amount,
			&n.Amount.Currency, &n.FailureCode, &next, &n.Day, &n.Email, &n.URL, &timezone)
		n.NextAt = instant(next)
		if err == nil && next != nil && (n.Kind == billing.NoticeInvoiceSent || n.Kind == billing.NoticeReminder) {
			n.DueDate, err = dueDateIn(timezone, n.NextAt)
		}
		return n, err
	})
	return notices, wrap("list the payment notices of "+invoice, err)
}

// PendingPaymentNoticeCount says how many payment notices of an invoice are
// undelivered, and when the next one is due for a try; the zero time = at once.
func (s *Store) PendingPaymentNoticeCount(ctx context.Context, invoice string) (pending int, retryAt time.Time, err error) {
	const statement = `
SELECT count(*), CASE WHEN bool_or(retry_at IS NULL) THEN NULL ELSE min(retry_at) END
  FROM payment_notices
 WHERE invoice_id = $1 AND status = 'pending'`
	var retry *time.Time
	err = s.pool.QueryRow(ctx, statement, invoice).Scan(&pending, &retry)
	return pending, instant(retry), wrap("count the payment notices of "+invoice, err)
}

// PaymentNoticeDelivered records that a payment notice was taken by its channel.
func (s *Store) PaymentNoticeDelivered(ctx context.Context, id int64) error {
	const statement = `
UPDATE payment_notices
   SET status = 'sent', attempts = attempts + 1, retry_at = NULL, failure = '', delivered_at = now()
 WHERE id = $1 AND status <> 'sent'`
	_, err := s.pool.Exec(ctx, statement, id)
	return wrap("record a delivered payment notice", err)
}

// PaymentNoticeFailed records a failed delivery: the notice is tried again after
// a pause that doubles from one minute to six hours, in the organisation's time,
// and shows as failed once it has been tried for three days.
func (s *Store) PaymentNoticeFailed(ctx context.Context, id int64, reason string) error {
	const statement = `
UPDATE payment_notices n
   SET attempts = n.attempts + 1,
       failure  = left(@reason, 500),
       retry_at = o.now + least(interval '1 minute' * 2 ^ least(n.attempts, 20), interval '6 hours'),
       status   = CASE WHEN o.now >= n.at + interval '3 days' AND n.attempts + 1 >= 5 THEN 'failed' ELSE 'pending' END
  FROM (SELECT id, coalesce(clock_at, now()) AS now FROM organizations) o
 WHERE n.id = @id AND o.id = n.org_id AND n.status = 'pending'`
	_, err := s.pool.Exec(ctx, statement, pgx.NamedArgs{"id": id, "reason": reason})
	return wrap("record a failed payment notice", err)
}

// PaymentNoticeRow is one row of a list of payment notices.
type PaymentNoticeRow struct {
	ID           int64                     `json:"id"`
	Organization string                    `json:"organization"`
	Invoice      string                    `json:"invoice"`
	Kind         billing.PaymentNoticeKind `json:"kind"`
	Attempt      int                       `json:"attempt"`
	Amount       billing.Money             `json:"amount"`
	FailureCode  string                    `json:"failure_code"`
	NextAt       *time.Time                `json:"next_at"`
	Day          int                       `json:"day"`    // of a reminder: days after the due date
	Status       string                    `json:"status"` // pending, sent, failed
	Failure      string                    `json:"failure"`
	At           time.Time                 `json:"at"`
}

// PaymentNotices lists an organisation's payment notices in the order in which
// they were written.
func (s *Store) PaymentNotices(ctx context.Context, org string) ([]PaymentNoticeRow, error) {
	const statement = `
SELECT n.id, n.org_id, n.invoice_id, n.kind, n.attempt, n.amount, i.currency, n.failure_code, n.next_at, n.day, n.status, n.failure, n.at
  FROM payment_notices n
  JOIN invoices i ON i.id = n.invoice_id
 WHERE n.org_id = $1
 ORDER BY n.id`
	if _, err := s.Organization(ctx, org); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, statement, org)
	if err != nil {
		return nil, wrap("list the payment notices of "+org, err)
	}
	notices, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n PaymentNoticeRow, err error) {
		err = row.Scan(&n.ID, &n.Organization, &n.Invoice, &n.Kind, &n.Attempt, &n.Amount.Amount, &n.Amount.Currency,
			&n.FailureCode, &n.NextAt, &n.Day, &n.Status, &n.Failure, &n.At)
		n.At = n.At.UTC()
		if n.NextAt != nil {
			*n.NextAt = n.NextAt.UTC()
		}
		return n, err
	})
	return notices, wrap("list the payment notices of "+org, err)
}
