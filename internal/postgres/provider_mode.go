package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// UseProviderMode binds the database to the payment provider's live or test mode,
// and refuses the other one once an organisation has a customer there: ids of one
// mode mean nothing in the other, and a bill would be charged in neither or both.
func (s *Store) UseProviderMode(ctx context.Context, live bool) error {
	const current = `SELECT coalesce(stripe_live = $1, false) FROM installation`
	const bind = `
UPDATE installation
   SET stripe_live = @live
 WHERE stripe_live IS NULL
    OR stripe_live = @live
    OR NOT EXISTS (SELECT FROM organizations WHERE stripe_customer_id IS NOT NULL)`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var bound bool
		if err := tx.QueryRow(ctx, current, live).Scan(&bound); err != nil || bound {
			return err
		}
		tag, err := tx.Exec(ctx, bind, pgx.NamedArgs{"live": live})
		if err == nil && tag.RowsAffected() == 0 {
			return errOtherMode(live)
		}
		return err
	})
	return wrap("bind the database to the provider's mode", err)
}

func errOtherMode(live bool) error {
	have, want := "test", "live"
	if live {
		have, want = want, have
	}
	return billing.Conflict("the Stripe key is of %s mode, and this database's customers are in %s mode; "+
		"accepted: a key of %s mode, or another database", have, want, want)
}
