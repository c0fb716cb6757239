package postgres_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// appRole is what the stores of the tests connect as: what works here works
// without owning anything.
const appRole = "arrears_test_app"

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, migrateAndGrant)) }

func migrateAndGrant(ctx context.Context, url string) error {
	if err := postgres.Migrate(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// Roles are the server's, which other tests may use, too. It has the owner's password.
	password := "'" + strings.ReplaceAll(conn.Config().Password, "'", "''") + "'"
	if _, err := conn.Exec(ctx, `CREATE ROLE `+appRole+` LOGIN PASSWORD `+password); err != nil {
		if _, err := conn.Exec(ctx, `ALTER ROLE `+appRole+` PASSWORD `+password); err != nil {
			return err
		}
	}
	return postgres.GrantAccess(ctx, url, appRole)
}

// asApp returns a pool of connections to a test's database by the role that the
// product runs as. Where the server wants a password of it, the owner's pool has
// to do.
func asApp(t testing.TB, owner *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	config := owner.Config()
	config.ConnConfig.User = appRole
	app, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(app.Close)
	if err := app.Ping(context.Background()); err != nil {
		t.Logf("as %s: %v", appRole, err)
		return owner
	}
	return app
}
