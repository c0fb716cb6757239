package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestTheRoleOfTheProductCanOnlyAddToWhatIsFinal(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	app := asApp(t, f.pool)
	if app == f.pool {
		t.Skip("this server wants a password of the role")
	}
	for _, table := range []string{
		"ledger_entries", "ledger_transactions", "invoice_lines", "invoice_line_members", "invoice_releases",
		"audit_log", "provider_settlements", "refunds", "disputes",
	} {
		for _, privilege := range []string{"UPDATE", "DELETE", "TRUNCATE", "TRIGGER"} {
			var may bool
			require.NoError(t, app.QueryRow(f.ctx, `SELECT has_table_privilege($1, $2)`, table, privilege).Scan(&may))
			require.False(t, may, "%s %s", privilege, table)
		}
		var may bool
		require.NoError(t, app.QueryRow(f.ctx, `SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, 'INSERT')`, table).Scan(&may))
		require.True(t, may, table)
	}
	for _, statement := range []string{
		`UPDATE ledger_entries SET amount = amount + 1`,
		`DELETE FROM invoices`,
		`DELETE FROM usage_events`,
		`UPDATE schema_version SET version = 1`,
		`SET session_replication_role = replica`,
	} {
		_, err := app.Exec(f.ctx, statement)
		require.ErrorContains(t, err, "permission denied", statement)
	}
	_, err := app.Exec(f.ctx, `ALTER TABLE ledger_entries DISABLE TRIGGER ALL`)
	require.ErrorContains(t, err, "must be owner")
}

func TestAccessIsGrantedToARoleThatGrantsCanHoldBack(t *testing.T) {
	t.Parallel()
	url := pgtest.NewURL(t)
	require.NoError(t, postgres.GrantAccess(t.Context(), url, appRole), "once more changes nothing")
	err := postgres.GrantAccess(t.Context(), url, `nobody"; DROP TABLE invoices; --`)
	require.ErrorIs(t, err, billing.ErrNotFound)
	require.ErrorContains(t, err, "CREATE ROLE")
	owner := pgtest.New(t).Config().ConnConfig.User
	require.ErrorIs(t, postgres.GrantAccess(t.Context(), url, owner), billing.ErrInvalid)
}
