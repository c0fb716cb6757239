package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// organizationColumns is what scanOrganization reads. The organisation's time is
// its test clock's, else the database's: no worker's clock decides a boundary.
const organizationColumns = `
       id, plan, currency, timezone, anchor_day, price_book, starts_at, collection, net_days, payment_method,
       draft_window, late_window, limit_rule, discount, email, dunning, paused_at, closed_at, created_at,
       clock_at IS NOT NULL, coalesce(clock_at, now()),
       coalesce(stripe_customer_id, ''), coalesce(stripe_clock_id, ''),
       coalesce(CASE WHEN stripe_customer_id IS NULL THEN (SELECT c.stripe_customer_id` + foundCustomer + `) END, ''),
       coalesce(CASE WHEN stripe_customer_id IS NULL THEN (SELECT c.stripe_clock_id` + foundCustomer + `) END, ''),
       approval, bound_growth, bound_floor, bound_total, bound_credit,
       suspend_after, reminders, card_ceiling, usage_sources, ` + suspendedSince + `, coalesce(` + suspendedWhy + `, '')`

// foundCustomer is the customer that the provider has of an organisation which
// names none: the first, since that is what its invoices are of.
const foundCustomer = `
  FROM provider_customers c WHERE c.org_id = organizations.id ORDER BY c.made_at, c.stripe_customer_id LIMIT 1`

func scanOrganization(row pgx.CollectableRow) (org billing.Organization, err error) {
	var paused, closed, suspended *time.Time
	var ceiling decimal.NullDecimal
	err = row.Scan(&org.ID, &org.Plan, &org.Currency, &org.Timezone, &org.AnchorDay, &org.PriceBook, &org.StartsAt,
		&org.Collection, &org.NetDays, &org.PaymentMethod, &org.DraftWindow, &org.LateWindow, &org.LimitRule, &org.Discount, &org.Email, &org.Dunning,
		&paused, &closed, &org.CreatedAt, &org.TestClock, &org.Now, &org.StripeCustomerID, &org.StripeClockID, &org.FoundCustomerID, &org.FoundClockID,
		&org.Approval, &org.Bounds.Growth, &org.Bounds.Floor, &org.Bounds.Total, &org.Bounds.Credit,
		&org.SuspendAfter, &org.Reminders, &ceiling, &org.UsageSources, &suspended, &org.Suspended)
	org.CardCeiling, org.CardExempt = ceiling.Decimal, !ceiling.Valid
	org.PausedAt, org.ClosedAt, org.SuspendedAt = instant(paused), instant(closed), instant(suspended)
	org.StartsAt, org.Now, org.CreatedAt = org.StartsAt.UTC(), org.Now.UTC(), org.CreatedAt.UTC()
	return org, err
}

// instant returns a nullable time as a value, in UTC; null is the zero time.
func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// nullable returns a time for a nullable column; the zero time is null.
func nullable(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Organization returns an organisation with its present terms and time.
func (s *Store) Organization(ctx context.Context, id string) (billing.Organization, error) {
	return readOrganization(ctx, s.pool, id)
}

func readOrganization(ctx context.Context, q querier, id string) (billing.Organization, error) {
	return oneOrganization(ctx, q, `SELECT`+organizationColumns+` FROM organizations WHERE id = $1`, id)
}

// lockOrganization reads an organisation and keeps its row from changing until
// the transaction ends.
func lockOrganization(ctx context.Context, tx querier, id string) (billing.Organization, error) {
	return oneOrganization(ctx, tx, `SELECT`+organizationColumns+` FROM organizations WHERE id = $1 FOR NO KEY UPDATE`, id)
}

func oneOrganization(ctx context.Context, q querier, statement, id string) (billing.Organization, error) {
	rows, err := q.Query(ctx, statement, id)
	if err != nil {
		return billing.Organization{}, wrap("read organization "+id, err)
	}
	org, err := pgx.CollectExactlyOneRow(rows, scanOrganization)
	if errors.Is(err, pgx.ErrNoRows) {
		return org, billing.NotFound("organization %q does not exist", id)
	}
	return org, wrap("read organization "+id, err)
}

// Organizations lists all organisations by id.
func (s *Store) Organizations(ctx context.Context) ([]billing.Organization, error) {
	rows, err := s.pool.Query(ctx, `SELECT`+organizationColumns+` FROM organizations ORDER BY id`)
	if err != nil {
		return nil, wrap("list organizations", err)
	}
	orgs, err := pgx.CollectRows(rows, scanOrganization)
	return orgs, wrap("list organizations", err)
}

// CreateOrganizations takes organisations under contract: all of them, or none
// and an error that names the one at fault. One that exists with the same terms
// stays as it is; with other terms it is a conflict. It returns how many are new.
func (s *Store) CreateOrganizations(ctx context.Context, orgs []billing.Organization, by billing.Actor) (created int, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		created = 0
		for _, org := range orgs {
			isNew, err := createOrganization(ctx, tx, org, by)
			if err != nil {
				return err
			}
			if isNew {
				created++
			}
		}
		return nil
	})
	return created, err
}

func createOrganization(ctx context.Context, tx pgx.Tx, given billing.Organization, by billing.Actor) (isNew bool, err error) {
	org, err := completeTerms(ctx, tx, given)
	if err != nil {
		return false, err
	}
	const insert = `
INSERT INTO organizations (id, plan, currency, timezone, anchor_day, price_book, starts_at, collection, net_days,
                           payment_method, draft_window, late_window, limit_rule, discount, email, dunning, clock_at,
                           approval, bound_growth, bound_floor, bound_total, bound_credit, reminders, suspend_after, card_ceiling, usage_sources)
VALUES (@id, @plan, @currency, @timezone, @anchor_day, @price_book, @starts_at, @collection, @net_days,
        @payment_method, @draft_window, @late_window, @limit_rule, @discount, @email, @dunning, @clock_at,
        @approval, @bound_growth, @bound_floor, @bound_total, @bound_credit, @reminders, @suspend_after, @card_ceiling, @usage_sources)
    ON CONFLICT (id) DO NOTHING`
	args := pgx.NamedArgs{
		"id": org.ID, "plan": org.Plan, "currency": org.Currency, "timezone": org.Timezone,
		"anchor_day": org.AnchorDay, "price_book": org.PriceBook, "starts_at": org.StartsAt,
		"collection": org.Collection, "net_days": org.NetDays, "payment_method": org.PaymentMethod,
		"draft_window": org.DraftWindow, "late_window": org.LateWindow, "limit_rule": org.LimitRule, "discount": org.Discount, "email": org.Email, "dunning": org.Dunning,
		"reminders": org.Reminders, "suspend_after": org.SuspendAfter, "card_ceiling": ceilingOf(org),
		"usage_sources": sourcesOf(org),
		"clock_at":      nil,
		"approval":      org.Approval, "bound_growth": org.Bounds.Growth, "bound_floor": org.Bounds.Floor,
		"bound_total": org.Bounds.Total, "bound_credit": org.Bounds.Credit,
	}
	if org.TestClock {
		args["clock_at"] = org.Now
	}
	tag, err := tx.Exec(ctx, insert, args)
	if err != nil {
		return false, wrap("create organization "+org.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return false, sameTerms(ctx, tx, given, org)
	}
	if _, err := ensurePeriod(ctx, tx, org, org.StartsAt); err != nil {
		return false, err
	}
	_, err = audit(ctx, tx, org.ID, by, "organization.create", org.ID, nil, map[string]any{
		"plan": org.Plan, "currency": org.Currency, "timezone": org.Timezone, "anchor_day": org.AnchorDay,
		"prices": org.PriceBook, "start": org.StartsAt, "collection": org.Collection, "test_clock": org.TestClock,
		"limit_rule": org.LimitRule, "discount": org.Discount, "approval": org.Approval,
		"terms": org.Terms(),
	})
	return true, err
}

// completeTerms checks the terms of a new organisation and fills in those that
// were left open.
func completeTerms(ctx context.Context, tx pgx.Tx, org billing.Organization) (billing.Organization, error) {
	if !org.TestClock {
		if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&org.Now); err != nil {
			return org, wrap("read the time", err)
		}
	}
	if err := org.Complete(); err != nil {
		return org, err
	}
	const book = `
SELECT name, currency
  FROM price_books
 WHERE name = $1 OR $1 = ''
 ORDER BY loaded_at DESC, name
 LIMIT 1`
	var currency billing.Currency
	asked := org.PriceBook
	err := tx.QueryRow(ctx, book, asked).Scan(&org.PriceBook, &currency)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && asked == "":
		return org, billing.Invalid("prices: no price book is loaded yet; load one with starter prices load FILE")
	case errors.Is(err, pgx.ErrNoRows):
		return org, billing.Invalid("prices: there is no price book %q; load it with starter prices load FILE", asked)
	case err != nil:
		return org, wrap("read the price book", err)
	case currency != org.Currency:
		return org, billing.Invalid("currency: price book %s is in %s, not in %s", org.PriceBook, currency, org.Currency)
	}
	return org, nil
}

// sameTerms refuses to take a second contract under an id that is in use; the
// same one again is no change.
func sameTerms(ctx context.Context, tx pgx.Tx, given, org billing.Organization) error {
	stored, err := readOrganization(ctx, tx, org.ID)
	if err != nil {
		return err
	}
	if given.PriceBook == "" {
		org.PriceBook = stored.PriceBook
	}
	if given.StartsAt.IsZero() {
		org.StartsAt = stored.StartsAt
	}
	if given.Email == "" {
		org.Email = stored.Email
	}
	if given.Dunning == nil {
		org.Dunning = stored.Dunning
	}
	if given.Reminders == nil {
		org.Reminders = stored.Reminders
	}
	if given.SuspendAfter == nil {
		org.SuspendAfter = stored.SuspendAfter
	}
	if given.CardCeiling.IsZero() && !given.CardExempt {
		org.CardCeiling, org.CardExempt = stored.CardCeiling, stored.CardExempt
	}
	if given.UsageSources == nil {
		org.UsageSources = stored.UsageSources
	}
	if field := stored.Differs(org); field != "" {
		if !stored.ClosedAt.IsZero() {
			return billing.Conflict("organization %q had another %s, and its contract has ended; an id is never used again: take another one",
				org.ID, field)
		}
		return billing.Conflict("organization %q already exists with another %s", org.ID, field)
	}
	return nil
}
