package postgres

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// StripeEvent is what the provider told us of, as far as it counts.
type StripeEvent = billing.ProviderEvent

// What became of an event of the provider's.
const (
	eventNews        = "news"        // of an invoice that is being collected: to be looked into
	eventLooking     = "looking"     // the provider is being asked
	eventLooked      = "looked"      // it was asked
	eventNoted       = "noted"       // of an invoice of ours, and nothing to be done
	eventIgnored     = "ignored"     // of no invoice of ours
	eventQuarantined = "quarantined" // of an invoice of ours, under another customer
)

// echoes are the types of events by which the provider repeats what we told it.
var echoes = []string{"invoice.created", "invoice.updated", "invoice.finalized", "invoice.sent", "invoice.upcoming"}

// tellsOfInvoice reports whether events of a type are worth a look at the invoice.
// Whatever happens to an invoice's payment shows as an event of the invoice, but
// that money is on its way, or came in part.
func tellsOfInvoice(eventType string) bool {
	return strings.HasPrefix(eventType, "invoice.") && !slices.Contains(echoes, eventType) ||
		slices.Contains([]string{"payment_intent.processing", "payment_intent.partially_funded"}, eventType)
}

// returnTypes matches the types of events of refunds and disputes, here and in SQL.
const returnTypes = `^(charge\.(refund|dispute)|refund\.)`

var ofReturn = regexp.MustCompile(returnTypes)

// tellsOfReturn reports whether events of a type are worth asking what of a
// payment was refunded or disputed.
func tellsOfReturn(eventType string) bool { return ofReturn.MatchString(eventType) }

// RecordStripeEvent stores an event of the provider's once, by its id, and tells
// whether it is new. In the same transaction the collection of its invoice is
// nudged, if that is ours by its id and its customer and still to be paid, or if
// something of what was paid for it may have gone back.
func (s *Store) RecordStripeEvent(ctx context.Context, event StripeEvent) (isNew bool, err error) {
	const insert = `
INSERT INTO stripe_events (id, type, object_id, customer_id, stripe_invoice_id, payment_intent_id, invoice_id, created_at,
                           processed_at, outcome)
VALUES (@id, @type, @object, @customer, @stripe_invoice, @intent, @invoice, @created,
        CASE WHEN @outcome <> 'news' THEN now() END, @outcome)
    ON CONFLICT (id) DO NOTHING`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		isNew = false
		invoice, org, outcome, err := matchStripeEvent(ctx, tx, event)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, insert, pgx.NamedArgs{
			"id": event.ID, "type": event.Type, "object": event.ObjectID, "customer": event.CustomerID,
			"stripe_invoice": event.StripeInvoiceID, "intent": event.PaymentIntentID, "invoice": invoice, "created": event.Created, "outcome": outcome,
		})
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		isNew = true
		if outcome != eventNews {
			return nil
		}
		return nudge(ctx, tx, org, "collect/"+*invoice)
	})
	return isNew, wrap("record event "+event.ID, err)
}

// matchStripeEvent finds the invoice that an event tells of; nil = none of ours.
// An event of a refund or dispute may name nothing but the payment: that is of
// an invoice if it is recorded as its payment.
func matchStripeEvent(ctx context.Context, tx pgx.Tx, event StripeEvent) (invoice *string, org, outcome string, err error) {
	const statement = `
SELECT i.id, i.org_id, coalesce(o.stripe_customer_id, ''), i.stripe_finalized_at IS NOT NULL OR i.part > 1,
       i.status IN ('open', 'past_due', 'written_off') AND i.stripe_invoice_id = @stripe_invoice
  FROM invoices i
  JOIN organizations o ON o.id = i.org_id
 WHERE i.id = (SELECT v.invoice_id FROM provider_invoices v WHERE v.stripe_invoice_id = @stripe_invoice)
    OR @of_return AND @stripe_invoice = ''
       AND i.id = (SELECT p.invoice_id FROM payments p
                    WHERE p.stripe_payment_intent_id = @intent AND p.stripe_payment_intent_id <> '' LIMIT 1)
   FOR SHARE OF i` // whoever settles it at this moment has seen all news of it, or this is no news
	var customer string
	var published, unsettled bool
	ofReturn := tellsOfReturn(event.Type)
	err = tx.QueryRow(ctx, statement, pgx.NamedArgs{
		"stripe_invoice": event.StripeInvoiceID, "intent": event.PaymentIntentID, "of_return": ofReturn,
	}).Scan(&invoice, &org, &customer, &published, &unsettled)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, "", eventIgnored, nil
	case err != nil:
		return nil, "", "", err
	case customer != event.CustomerID && !(ofReturn && event.CustomerID == ""):
		return nil, "", eventQuarantined, nil
	case published && (ofReturn || unsettled && tellsOfInvoice(event.Type)):
		return invoice, org, eventNews, nil
	}
	return invoice, org, eventNoted, nil
}

// adoptStripeEvents takes up events that came before their invoice was known
// under the provider's id: its collection will look into them first.
func adoptStripeEvents(ctx context.Context, tx pgx.Tx, invoice, stripeID string) error {
	const unmatched = `
SELECT e.id, e.type
  FROM stripe_events e
  JOIN invoices i ON i.id = @invoice
  JOIN organizations o ON o.id = i.org_id
 WHERE e.stripe_invoice_id = @stripe_id AND e.invoice_id IS NULL AND e.customer_id = o.stripe_customer_id`
	const adopt = `
UPDATE stripe_events
   SET invoice_id = $2, outcome = $3, processed_at = CASE WHEN $3 <> 'news' THEN now() END
 WHERE id = $1`
	rows, err := tx.Query(ctx, unmatched, pgx.NamedArgs{"invoice": invoice, "stripe_id": stripeID})
	if err != nil {
		return err
	}
	type row struct{ ID, Type string }
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	for _, event := range events {
		outcome := eventNoted
		if tellsOfInvoice(event.Type) {
			outcome = eventNews
		}
		if _, err := tx.Exec(ctx, adopt, event.ID, invoice, outcome); err != nil {
			return err
		}
	}
	return nil
}

// claimEvents marks the news that are there before the provider is asked: only they
// are answered by what it says. A look that is never recorded leaves them open.
func (c *collecting) claimEvents(ctx context.Context) error {
	return c.markNews(ctx, eventNews, eventLooking, false, false)
}

// completeEvents marks the news of before the provider was asked as looked into.
func (c *collecting) completeEvents(ctx context.Context) error {
	return c.markNews(ctx, eventLooking, eventLooked, true, false)
}

// dismissEvents marks news of an invoice that is settled.
func (c *collecting) dismissEvents(ctx context.Context) error {
	if err := c.markNews(ctx, eventNews, eventNoted, true, false); err != nil {
		return err
	}
	return c.markNews(ctx, eventLooking, eventNoted, true, false)
}

// takeReturnNews and returnNewsRead are the same for news of refunds and
// disputes, which are asked for by themselves.
func (c *collecting) takeReturnNews(ctx context.Context) error {
	return c.markNews(ctx, eventNews, eventLooking, false, true)
}

func (c *collecting) returnNewsRead(ctx context.Context) error {
	const left = `
SELECT EXISTS (SELECT FROM stripe_events WHERE invoice_id = $1 AND processed_at IS NULL AND type ~ '` + returnTypes + `')`
	if err := c.markNews(ctx, eventLooking, eventLooked, true, true); err != nil {
		return err
	}
	return wrap("read the provider's news", c.tx.QueryRow(ctx, left, c.ID).Scan(&c.ReturnNews))
}

func (c *collecting) markNews(ctx context.Context, from, to string, done, ofReturns bool) error {
	const statement = `
UPDATE stripe_events
   SET outcome = @to, processed_at = CASE WHEN @done THEN now() END
 WHERE invoice_id = @invoice AND outcome = @from AND processed_at IS NULL AND (type ~ '` + returnTypes + `') = @of_returns`
	_, err := c.tx.Exec(ctx, statement, pgx.NamedArgs{"invoice": c.ID, "from": from, "to": to, "done": done, "of_returns": ofReturns})
	return wrap("mark the provider's news", err)
}

// StripeEventRow is one row of a list of the provider's events.
type StripeEventRow struct {
	ID          string     `json:"id"`
	Type        string     `json:"type"`
	ObjectID    string     `json:"object_id"`
	Invoice     string     `json:"invoice"` // "" = none of ours
	Outcome     string     `json:"outcome"` // news, looking, looked, noted, ignored, quarantined
	CreatedAt   time.Time  `json:"created_at"`
	ReceivedAt  time.Time  `json:"received_at"`
	ProcessedAt *time.Time `json:"processed_at"`
}

// StripeEvents lists what the provider told us, newest first.
func (s *Store) StripeEvents(ctx context.Context, limit int) ([]StripeEventRow, error) {
	const statement = `
SELECT id, type, object_id, coalesce(invoice_id, ''), outcome, created_at, received_at, processed_at
  FROM stripe_events
 ORDER BY received_at DESC, id
 LIMIT $1`
	if limit < 1 {
		return nil, billing.Invalid("limit: %d; accepted: 1 or more", limit)
	}
	rows, err := s.pool.Query(ctx, statement, limit)
	if err != nil {
		return nil, wrap("list the provider's events", err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StripeEventRow])
	for i := range events {
		e := &events[i]
		e.CreatedAt, e.ReceivedAt = e.CreatedAt.UTC(), e.ReceivedAt.UTC()
		if e.ProcessedAt != nil {
			*e.ProcessedAt = e.ProcessedAt.UTC()
		}
	}
	return events, wrap("list the provider's events", err)
}
