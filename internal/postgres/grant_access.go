package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// finalTables only grow: what is written there is never changed nor deleted. The
// triggers of the schema see to it whoever asks; a role of GrantAccess cannot even
// ask.
var finalTables = []string{
	"audit_log", "disputes", "invoice_line_members", "invoice_lines", "invoice_releases",
	"ledger_entries", "ledger_transactions", "provider_settlements", "refunds",
}

// deletableTables are those of which rows are deleted: what is delivered, waited
// for or taken back before it counted.
var deletableTables = []string{
	"billing_stop", "limit_spent_before", "model_aliases", "model_prices", "outbox", "periods", "provider_orphans",
	"rates", "seat_assignments", "seat_prices", "service_tier_prices", "surcharge_prices", "tool_prices", "usage_totals", "waits",
}

// GrantAccess gives a role what worker, gateway and commands need of the
// database, and no more: it owns nothing, cannot change the schema nor switch off
// its triggers, and can only add to what is final. The database's own user, who
// migrates, runs it, after each migration. Doing it again changes nothing.
func GrantAccess(ctx context.Context, url, role string) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	const known = `
SELECT rolsuper OR rolbypassrls OR pg_has_role(oid, (SELECT relowner FROM pg_class WHERE oid = 'public.ledger_entries'::regclass), 'USAGE')
  FROM pg_roles
 WHERE rolname = $1`
	var mighty bool
	switch err := conn.QueryRow(ctx, known, role).Scan(&mighty); {
	case errors.Is(err, pgx.ErrNoRows):
		return billing.NotFound("role %q does not exist: CREATE ROLE it first, with LOGIN and a password", role)
	case err != nil:
		return wrap("look for role "+role, err)
	case mighty:
		return billing.Invalid("role: %q is a superuser or owns the tables, which no grant can hold back; accepted: another one", role)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		to := pgx.Identifier{role}.Sanitize()
		statements := []string{
			"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM " + to,
			"GRANT USAGE ON SCHEMA public TO " + to,
			"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO " + to,
			"REVOKE INSERT, UPDATE ON schema_version FROM " + to,
		}
		for _, table := range finalTables {
			statements = append(statements, "REVOKE UPDATE ON "+table+" FROM "+to)
		}
		for _, table := range deletableTables {
			statements = append(statements, "GRANT DELETE ON "+table+" TO "+to)
		}
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return wrap("grant access to "+role, err)
			}
		}
		return nil
	})
}
