package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// MonthSpend is what an organisation has spent in a billing month, at list price.
type MonthSpend struct {
	Spend    billing.Money
	Standing *billing.Standing // under the organisation's own limit, as it is now; nil = none
}

// MonthSpend returns what an organisation has spent in the whole billing month of
// a period ("" = the running one), whatever pieces the month is billed in.
// billing.ErrNotFound is an organisation or a period that does not exist.
func (s *Store) MonthSpend(ctx context.Context, orgID, periodID string) (m MonthSpend, err error) {
	err = s.inPeriod(ctx, orgID, periodID, func(tx pgx.Tx, org billing.Organization, p period) (err error) {
		calendar, err := org.Calendar()
		if err != nil {
			return err
		}
		window := calendar.Month(p.Start).Start
		spent, err := readCounter(ctx, tx, orgID, counterKey{window, billing.ScopeOrganization, ""})
		if err != nil {
			return err
		}
		m.Spend = billing.Money{Amount: spent.priced, Currency: org.Currency}
		limits, err := readLimits(ctx, tx, orgID, []string{})
		if err != nil {
			return err
		}
		before, err := readLimitBaselines(ctx, tx, orgID, window, []string{})
		if err != nil {
			return err
		}
		for _, l := range limits {
			if l.Scope == billing.ScopeOrganization {
				standing := spent.standing(l, before[beforeKey{l.ID, ""}])
				m.Standing = &standing
			}
		}
		return nil
	})
	return m, wrap("read the spend of "+orgID, err)
}
