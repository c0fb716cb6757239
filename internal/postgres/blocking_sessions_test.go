package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

func TestOurOwnSessionsMayNotStandStillForEver(t *testing.T) {
	t.Parallel()
	const setting = "idle_in_transaction_session_timeout"
	for url, want := range map[string]string{
		"postgres://u:p@h/d": idleInTransaction,
		"postgres://u:p@h/d?idle_in_transaction_session_timeout=9000": "9000",
	} {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		boundIdling(config)
		require.Equal(t, want, config.ConnConfig.RuntimeParams[setting], url)
	}
}
