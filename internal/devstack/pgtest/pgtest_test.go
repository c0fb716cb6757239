package pgtest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	os.Exit(Main(m, func(ctx context.Context, databaseURL string) error {
		conn, err := pgx.Connect(ctx, databaseURL)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE TABLE migrated (id int)")
		return errors.Join(err, conn.Close(ctx))
	}))
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"every test has a migrated database", "and it is its own"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := New(t)
			_, err := pool.Exec(t.Context(), "INSERT INTO migrated VALUES (1)")
			require.NoError(t, err)
			var rows int
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM migrated").Scan(&rows))
			require.Equal(t, 1, rows)

			conn, err := pgx.Connect(t.Context(), URL(pool))
			require.NoError(t, err)
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM migrated").Scan(&rows))
			require.Equal(t, 1, rows)
		}) // the connection left open must not keep the database from being dropped
	}
}

// TestNamedServer uses the private server as if it were somebody's own.
func TestNamedServer(t *testing.T) {
	own := New(t)
	t.Setenv(databaseEnv, URL(own))
	s, err := start(t.Context(), nil)
	require.NoError(t, err)
	require.Nil(t, s.private)
	require.NotEmpty(t, s.strategy)
	require.NoError(t, s.stop())
}
