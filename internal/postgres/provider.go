package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The keys under which the payment provider does a thing at most once. They are
// made of what the thing is, never of a clock, a run or a try.

func providerInvoiceKey(installation, org, period string, revision, part, withdrawn int) string {
	key := fmt.Sprintf("inv/%s/%s/%s/%d", installation, org, period, revision)
	if part > 1 {
		key += fmt.Sprintf("/%d", part)
	}
	return key + remadeSuffix(withdrawn)
}

func providerItemKey(installation, org, period string, revision, number, withdrawn int) string {
	return fmt.Sprintf("item/%s/%s/%s/%d/%d", installation, org, period, revision, number) + remadeSuffix(withdrawn)
}

// withdrawnTwins counts the invoices that were seen at the provider under the mark
// of an invoice i and are not it: where it is made, somebody has withdrawn them to
// have it made anew, and their keys are kept for a day.
const withdrawnTwins = `
(SELECT count(*) FROM provider_orphans o WHERE o.invoice_id = i.id AND ` + isUnknown + `)`

func remadeSuffix(withdrawn int) string {
	if withdrawn == 0 {
		return ""
	}
	return fmt.Sprintf("/anew/%d", withdrawn)
}

func paymentKey(installation, invoice string, attempt, withdrawn int) string {
	return fmt.Sprintf("pay/%s/%s/%d", installation, invoice, attempt) + remadeSuffix(withdrawn)
}

// BeginProviderInvoice returns what the provider is to be told about an invoice,
// and records that it is about to be. TriedAt is when that was first recorded,
// before this call.
func (s *Store) BeginProviderInvoice(ctx context.Context, invoice string) (p billing.ProviderInvoice, err error) {
	const tried = `UPDATE invoices SET stripe_tried_at = coalesce(stripe_tried_at, now()) WHERE id = $1`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if p, err = lockProviderInvoice(ctx, tx, invoice); err != nil || p.StripeID != "" {
			return err
		}
		_, err := tx.Exec(ctx, tried, invoice)
		return err
	})
	return p, wrap("prepare "+invoice+" for the provider", err)
}

// BeginProviderFinalize returns what the provider is told when its invoice is
// finalised, and records that it is about to be. FinalizeTried reports whether that
// was recorded before this call. The key is the invoice's own.
func (s *Store) BeginProviderFinalize(ctx context.Context, invoice string) (p billing.ProviderInvoice, err error) {
	const tried = `
UPDATE invoices
   SET stripe_finalize_tried_at = coalesce(stripe_finalize_tried_at, now())
 WHERE id = $1`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if p, err = lockProviderInvoice(ctx, tx, invoice); err != nil || p.Finalized {
			return err
		}
		if p.StripeID == "" {
			return billing.Conflict("invoice %q is not at the provider yet", invoice)
		}
		_, err := tx.Exec(ctx, tried, invoice)
		return err
	})
	return p, wrap("prepare to finalise "+invoice, err)
}

// lockProviderInvoice reads what the provider is told about an invoice, and keeps
// the invoice from changing until the transaction ends. Only an open invoice is
// made known to the provider; one that is known there already may stand anyhow.
func lockProviderInvoice(ctx context.Context, tx pgx.Tx, invoice string) (p billing.ProviderInvoice, err error) {
	const statement = `
SELECT i.id, i.number, i.org_id, (SELECT id::text FROM installation), coalesce(o.stripe_customer_id, ''),
       CASE WHEN i.parts > 1 THEN (SELECT p.amount FROM provider_items p WHERE p.invoice_id = i.id AND p.n = i.part) ELSE i.total END, i.currency,
       i.collection, i.net_days, i.period_start, i.period_end, i.period_id, i.revision, i.status, i.stripe_tried_at,
       coalesce(i.stripe_invoice_id, ''), i.stripe_finalize_tried_at IS NOT NULL, i.stripe_finalized_at IS NOT NULL,
       i.collection = 'charge_automatically' AND i.parts = 1 AND i.total >= o.card_ceiling IS TRUE, i.part, i.parts, ` + mayBeThere + `, ` + withdrawnTwins + `
  FROM invoices i
  JOIN organizations o ON o.id = i.org_id
 WHERE i.id = $1
   FOR NO KEY UPDATE OF i`
	var period string
	var revision, withdrawn int
	var status billing.InvoiceStatus
	var triedAt *time.Time
	err = tx.QueryRow(ctx, statement, invoice).Scan(&p.Invoice, &p.Number, &p.Organization, &p.Installation, &p.Customer,
		&p.Total.Amount, &p.Total.Currency, &p.Collection, &p.NetDays, &p.PeriodStart, &p.PeriodEnd, &period, &revision, &status,
		&triedAt, &p.StripeID, &p.FinalizeTried, &p.Finalized, &p.CardRefused, &p.Part, &p.Parts, &p.MayBeThere, &withdrawn)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return p, billing.NotFound("invoice %q does not exist", invoice)
	case err != nil:
		return p, err
	case status != billing.StatusOpen && !p.Finalized:
		return p, billing.Conflict("invoice %q is %s and no business of the provider", invoice, status)
	}
	p.PeriodStart, p.PeriodEnd, p.TriedAt = p.PeriodStart.UTC(), p.PeriodEnd.UTC(), instant(triedAt)
	p.IdempotencyKey = providerInvoiceKey(p.Installation, p.Organization, period, revision, p.Part, withdrawn)
	return p, nil
}

// SwitchToSentInvoice has an invoice that would be charged sent to be paid by bank
// transfer, with the organisation's days to pay it, before the provider is told
// of it. Doing it again changes nothing.
func (s *Store) SwitchToSentInvoice(ctx context.Context, invoice, reason string) error {
	const statement = `
UPDATE invoices i
   SET collection = 'send_invoice', collection_reason = @reason
  FROM organizations o
 WHERE i.id = @invoice AND o.id = i.org_id AND i.collection = 'charge_automatically' AND i.stripe_invoice_id IS NULL
RETURNING o.id, o.email, o.timezone, o.anchor_day, i.finalized_at, i.net_days`
	const setDue = `UPDATE invoices SET due_at = $2 WHERE id = $1`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var org, email, timezone string
		var anchorDay, netDays int
		var issued time.Time
		err := tx.QueryRow(ctx, statement, pgx.NamedArgs{"invoice": invoice, "reason": reason}).
			Scan(&org, &email, &timezone, &anchorDay, &issued, &netDays)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return nil
		case err != nil:
			return err
		case email == "":
			return billing.Conflict("%s, and organization %q has no address that the invoice could be sent to: starter org set %s --email ADDRESS", reason, org, org)
		}
		calendar, err := billing.NewCalendar(timezone, anchorDay)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, setDue, invoice, calendar.DueAt(issued, netDays)); err != nil {
			return err
		}
		before := map[string]any{"collection": billing.ChargeAutomatically}
		_, err = audit(ctx, tx, org, itself(reason), "invoices.send_instead", invoice, before, map[string]any{"collection": billing.SendInvoice})
		return err
	})
	return wrap("send "+invoice+" instead of charging it", err)
}

// RecordProviderInvoice records the provider's id of an invoice. News that came
// under that id before we knew it is taken up.
func (s *Store) RecordProviderInvoice(ctx context.Context, invoice, stripeID string) error {
	return s.recordProviderInvoice(ctx, invoice, stripeID, false)
}

// AdoptProviderInvoice records the id of an invoice that was found at the
// provider. Each of its items may be there, too, and is looked for.
func (s *Store) AdoptProviderInvoice(ctx context.Context, invoice, stripeID string) error {
	return s.recordProviderInvoice(ctx, invoice, stripeID, true)
}

func (s *Store) recordProviderInvoice(ctx context.Context, invoice, stripeID string, found bool) error {
	const statement = `
UPDATE invoices
   SET stripe_invoice_id = @stripe_id
 WHERE id = @invoice AND coalesce(stripe_invoice_id, @stripe_id) = @stripe_id`
	const recorded = `SELECT coalesce(stripe_invoice_id, '') FROM invoices WHERE id = $1`
	const lock = `SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE`
	const earlier = `SELECT EXISTS (SELECT FROM provider_parts WHERE stripe_invoice_id = $1)`
	const items = `
UPDATE provider_items p
   SET tried_at = coalesce(p.tried_at, now())
  FROM invoices i
 WHERE i.id = $1 AND p.invoice_id = i.id AND (i.parts = 1 OR p.n = i.part)`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lock, invoice); err != nil {
			return err
		}
		var known bool // of a part before the one in hand: a call that outlived its own retry
		if err := tx.QueryRow(ctx, earlier, stripeID).Scan(&known); err != nil {
			return err
		}
		if known {
			return billing.Conflict("%s is recorded as the provider's invoice of a part that is paid", stripeID)
		}
		tag, err := tx.Exec(ctx, statement, pgx.NamedArgs{"invoice": invoice, "stripe_id": stripeID})
		if isUniqueViolation(err) {
			return billing.Conflict("%s is recorded as the provider's invoice of another one", stripeID)
		}
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return otherThanRecorded(tx.QueryRow(ctx, recorded, invoice), "invoice "+invoice, stripeID)
		}
		if found {
			if _, err := tx.Exec(ctx, items, invoice); err != nil {
				return err
			}
		}
		return adoptStripeEvents(ctx, tx, invoice, stripeID)
	})
	return wrap("record the provider's invoice of "+invoice, err)
}

// otherThanRecorded says why an id of the provider's could not be recorded: the
// thing does not exist, or has another one.
func otherThanRecorded(row pgx.Row, what, id string) error {
	var recorded string
	err := row.Scan(&recorded)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return billing.NotFound("%s does not exist", what)
	case err != nil:
		return err
	}
	return billing.Conflict("%s is %s at the provider, not %s", what, recorded, id)
}

// RecordCustomer records the provider's customer of an organisation, and the
// provider's test clock that it lives on ("" without one).
func (s *Store) RecordCustomer(ctx context.Context, organization, customer, clock string) error {
	const statement = `
UPDATE organizations
   SET stripe_customer_id = @customer,
       stripe_clock_id    = coalesce(nullif(@clock, ''), stripe_clock_id)
 WHERE id = @org
   AND coalesce(stripe_customer_id, @customer) = @customer
   AND (@clock = '' OR coalesce(stripe_clock_id, @clock) = @clock)`
	const recorded = `
SELECT coalesce(stripe_customer_id, 'no customer') || coalesce(' on clock ' || stripe_clock_id, '')
  FROM organizations
 WHERE id = $1`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, statement, pgx.NamedArgs{"org": organization, "customer": customer, "clock": clock})
		if isUniqueViolation(err) {
			return billing.Conflict("%s is recorded as the provider's customer of another organization", customer)
		}
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
		return otherThanRecorded(tx.QueryRow(ctx, recorded, organization), "organization "+organization, customer)
	})
	return wrap("record the provider's customer of "+organization, err)
}

// BeginProviderItem returns an item of the provider's invoice, and records that
// it is about to be added. Tried reports whether that was recorded before this call,
// or may have been, since the invoice was begun before the database went back.
func (s *Store) BeginProviderItem(ctx context.Context, invoice string, number int) (item billing.ProviderItem, err error) {
	const tried = `UPDATE provider_items SET tried_at = coalesce(tried_at, now()) WHERE invoice_id = $1 AND n = $2`
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if item, err = lockProviderItem(ctx, tx, invoice, number); err != nil || item.StripeID != "" {
			return err
		}
		_, err := tx.Exec(ctx, tried, invoice, number)
		return err
	})
	return item, wrap(fmt.Sprintf("prepare item %d of %s for the provider", number, invoice), err)
}

func lockProviderItem(ctx context.Context, tx pgx.Tx, invoice string, number int) (item billing.ProviderItem, err error) {
	const statement = `
SELECT p.invoice_id, p.n, p.key, p.description, p.amount, i.currency, (SELECT id::text FROM installation), coalesce(o.stripe_customer_id, ''),
       coalesce(i.stripe_invoice_id, ''), i.period_start, i.period_end, i.org_id, i.period_id, i.revision,
       p.tried_at IS NOT NULL OR coalesce(i.stripe_tried_at <= (SELECT caught_up_at FROM database_incarnation), false), coalesce(p.stripe_item_id, ''), i.parts > 1 AND p.n <> i.part, ` + withdrawnTwins + `
  FROM provider_items p
  JOIN invoices i ON i.id = p.invoice_id
  JOIN organizations o ON o.id = i.org_id
 WHERE p.invoice_id = $1 AND p.n = $2
   FOR NO KEY UPDATE OF p`
	var org, period string
	var revision, withdrawn int
	var otherPart bool
	err = tx.QueryRow(ctx, statement, invoice, number).Scan(&item.Invoice, &item.Number, &item.Key, &item.Description,
		&item.Amount.Amount, &item.Amount.Currency, &item.Installation, &item.Customer, &item.StripeInvoice,
		&item.PeriodStart, &item.PeriodEnd, &org, &period, &revision, &item.Tried, &item.StripeID, &otherPart, &withdrawn)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return item, billing.NotFound("invoice %q has no item %d", invoice, number)
	case err != nil:
		return item, err
	case otherPart:
		return item, billing.Conflict("invoice %q: part %d is not the one that is being collected", invoice, number)
	case item.StripeInvoice == "":
		return item, billing.Conflict("invoice %q is not at the provider yet", invoice)
	}
	item.PeriodStart, item.PeriodEnd = item.PeriodStart.UTC(), item.PeriodEnd.UTC()
	item.IdempotencyKey = providerItemKey(item.Installation, org, period, revision, number, withdrawn)
	return item, nil
}

// RecordProviderItem records the provider's id of an item.
func (s *Store) RecordProviderItem(ctx context.Context, invoice string, number int, stripeID string) error {
	const statement = `
UPDATE provider_items
   SET stripe_item_id = @stripe_id
 WHERE invoice_id = @invoice AND n = @n AND coalesce(stripe_item_id, @stripe_id) = @stripe_id`
	const recorded = `SELECT coalesce(stripe_item_id, '') FROM provider_items WHERE invoice_id = $1 AND n = $2`
	what := fmt.Sprintf("item %d of %s", number, invoice)
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, statement, pgx.NamedArgs{"invoice": invoice, "n": number, "stripe_id": stripeID})
		if isUniqueViolation(err) {
			return billing.Conflict("%s is recorded as the provider's item of another line", stripeID)
		}
		if err != nil || tag.RowsAffected() > 0 {
			return err
		}
		return otherThanRecorded(tx.QueryRow(ctx, recorded, invoice, number), what, stripeID)
	})
	return wrap("record the provider's "+what, err)
}

// RecordProviderFinalized records that the provider's invoice is final: what it
// says of the due date, and, where that is so, that it is paid, void or given up
// already. That its total is ours is for the caller to see to.
func (s *Store) RecordProviderFinalized(ctx context.Context, invoice string, state billing.ProviderInvoiceState) error {
	const statement = `
UPDATE invoices
   SET stripe_finalized_at = coalesce(stripe_finalized_at, now()),
       stripe_hosted_url   = @hosted_url
 WHERE id = @invoice`
	const corrected = `
SELECT EXISTS (SELECT FROM invoice_corrections WHERE invoice_id = $1)
    OR EXISTS (SELECT FROM provider_orphans WHERE invoice_id = $1)`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openStanding(ctx, tx, invoice, state)
		if err != nil {
			return err
		}
		switch {
		case c.StripeInvoiceID != state.StripeID:
			return billing.Conflict("invoice %q is %q at the provider, not %s", invoice, c.StripeInvoiceID, state.StripeID)
		case state.Status == providerDraft:
			return fmt.Errorf("%s is still a draft at the provider", state.StripeID)
		}
		if _, err := tx.Exec(ctx, statement, pgx.NamedArgs{"invoice": invoice, "hosted_url": state.HostedURL}); err != nil {
			return err
		}
		if err := c.published(ctx, state); err != nil {
			return err
		}
		var started bool // its collection was, to correct it or before the database went back, and waits for this
		if err := tx.QueryRow(ctx, corrected, invoice).Scan(&started); err != nil {
			return err
		}
		if started || c.Part > 1 {
			if err := nudge(ctx, tx, c.Org, "collect/"+invoice); err != nil {
				return err
			}
		}
		return c.save(ctx)
	})
	return wrap("record that "+invoice+" is final at the provider", err)
}
