package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// DiscountChange says what changing a negotiated discount did; both in percent.
type DiscountChange struct {
	Before  decimal.Decimal
	After   decimal.Decimal
	Changed bool
}

// SetDiscount changes an organisation's negotiated discount, in percent. It holds
// for the periods that close after the change, drafts included; what was issued
// stays. The same one again changes nothing.
func (s *Store) SetDiscount(ctx context.Context, orgID string, percent decimal.Decimal, by billing.Actor) (change DiscountChange, err error) {
	if err := billing.CheckDiscount(percent); err != nil {
		return change, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := lockExclusive(ctx, tx, termsLock(orgID)); err != nil {
			return err
		}
		org, err := lockOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		change = DiscountChange{org.Discount, percent, !org.Discount.Equal(percent)}
		if !change.Changed {
			return nil
		}
		const statement = `UPDATE organizations SET discount = $2 WHERE id = $1`
		if _, err := tx.Exec(ctx, statement, orgID, percent); err != nil {
			return err
		}
		_, err = audit(ctx, tx, orgID, by, "organization.discount", orgID,
			map[string]any{"discount": change.Before}, map[string]any{"discount": change.After})
		return err
	})
	return change, wrap("change the discount of "+orgID, err)
}

// readDiscounts returns by which discount, in percent, each period was billed
// that had one.
func readDiscounts(ctx context.Context, q querier, org string) (map[string]decimal.Decimal, error) {
	rows, err := q.Query(ctx, `SELECT id, discount FROM periods WHERE org_id = $1 AND discount <> 0`, org)
	if err != nil {
		return nil, wrap("read the discounts", err)
	}
	discounts := map[string]decimal.Decimal{}
	var id string
	var percent decimal.Decimal
	_, err = pgx.ForEachRow(rows, []any{&id, &percent}, func() error {
		discounts[id] = percent
		return nil
	})
	return discounts, wrap("read the discounts", err)
}

// discountOf returns by which discount, in percent, a period is billed that is
// not closed: the organisation's. One that is billed anew keeps the discount that
// it had where another invoice has charged or given back late usage of it by that.
func discountOf(ctx context.Context, q querier, org billing.Organization, p period) (percent decimal.Decimal, err error) {
	const statement = `
SELECT discount
  FROM periods p
 WHERE p.org_id = $1 AND p.id = $2
   AND EXISTS (SELECT
                 FROM invoices i
                 JOIN invoice_lines l ON l.invoice_id = i.id AND l.origin_id = p.id
                WHERE i.org_id = p.org_id AND i.period_id <> p.id AND i.status <> 'void')`
	if p.Revision == 1 {
		return org.Discount, nil
	}
	err = q.QueryRow(ctx, statement, org.ID, p.ID).Scan(&percent)
	if errors.Is(err, pgx.ErrNoRows) {
		return org.Discount, nil
	}
	return percent, wrap("read the discount of "+p.ID, err)
}
