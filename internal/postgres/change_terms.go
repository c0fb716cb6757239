package postgres

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// ChangeTerms changes what of a contract may change while it runs, and returns
// the names of the terms that are different now. Whatever waits for one of them
// looks at it again.
func (s *Store) ChangeTerms(ctx context.Context, org string, change billing.TermsChange, by billing.Actor) (changed []string, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		before, err := lockOrganization(ctx, tx, org)
		if err != nil {
			return err
		}
		after, err := before.Change(change)
		if err != nil {
			return err
		}
		was, is := differing(before.Terms(), after.Terms())
		if changed = slices.Sorted(maps.Keys(is)); len(changed) == 0 {
			return nil
		}
		if err := storeTerms(ctx, tx, &after); err != nil {
			return err
		}
		if _, err := audit(ctx, tx, org, by, "organization.change", org, was, is); err != nil {
			return err
		}
		return replan(ctx, tx, org)
	})
	return changed, wrap("change the terms of "+org, err)
}

func storeTerms(ctx context.Context, tx pgx.Tx, org *billing.Organization) error {
	const statement = `
UPDATE organizations
   SET email         = @email,
       collection    = @collection,
       net_days      = @net_days,
       dunning       = @dunning,
       reminders     = @reminders,
       suspend_after = @suspend_after,
       card_ceiling  = @card_ceiling,
       approval      = @approval,
       bound_growth  = @bound_growth,
       bound_floor   = @bound_floor,
       bound_total   = @bound_total,
       bound_credit  = @bound_credit,
       usage_sources = @usage_sources
 WHERE id = @org`
	_, err := tx.Exec(ctx, statement, pgx.NamedArgs{
		"org": org.ID, "email": org.Email, "collection": org.Collection, "net_days": org.NetDays, "dunning": org.Dunning,
		"reminders": org.Reminders, "suspend_after": org.SuspendAfter, "card_ceiling": ceilingOf(*org),
		"approval": org.Approval, "bound_growth": org.Bounds.Growth, "bound_floor": org.Bounds.Floor,
		"bound_total": org.Bounds.Total, "bound_credit": org.Bounds.Credit, "usage_sources": sourcesOf(*org),
	})
	return err
}

// ceilingOf is the card ceiling as it is stored: null = none.
func ceilingOf(org billing.Organization) decimal.NullDecimal {
	return decimal.NullDecimal{Decimal: org.CardCeiling, Valid: !org.CardExempt}
}

// sourcesOf are the bindings of products to sources as they are stored: none is {}.
func sourcesOf(org billing.Organization) map[string]billing.UsageSource {
	if org.UsageSources == nil {
		return map[string]billing.UsageSource{}
	}
	return org.UsageSources
}

// differing returns the entries in which two sets of terms differ.
func differing(before, after map[string]any) (was, is map[string]any) {
	was, is = map[string]any{}, map[string]any{}
	for name, value := range after {
		if !reflect.DeepEqual(before[name], value) {
			was[name], is[name] = before[name], value
		}
	}
	return was, is
}

// replan has every unpaid invoice go by its organisation's terms as they are
// now; one that could not be published, or is parked, is tried again.
func replan(ctx context.Context, tx pgx.Tx, org string) error {
	const unpaid = `SELECT id FROM invoices WHERE org_id = $1 AND status IN ('open', 'past_due') ORDER BY id`
	rows, err := tx.Query(ctx, unpaid, org)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, err := openCollection(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := c.save(ctx); err != nil { // it computes when to follow up
			return err
		}
		workflow := "collect/" + id
		if !c.Published {
			workflow = "invoice/" + id
		}
		if err := nudge(ctx, tx, org, workflow); err != nil {
			return err
		}
	}
	return nudgeDrafts(ctx, tx, org)
}
