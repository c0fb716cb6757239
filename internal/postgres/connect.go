package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/arrears-dev/arrears/internal/billing"
)

// sessionAttrs is the setting of a database's URL by which a server is chosen.
const sessionAttrs = "target_session_attrs"

// writable are the values of sessionAttrs that mean a server that takes writes.
var writable = []string{"", "read-write", "primary"}

// errReadOnly tells of a server that takes no writes. It is nobody's fault and not
// final: during a failover there is no other for a while.
var errReadOnly = errors.New("DATABASE_URL: no server that it names takes writes, as " + sessionAttrs + "=read-write demands: " +
	"they are standbys or read-only; accepted: the primary, or all servers with commas between")

// poolConfig reads the database's URL. Every connection is to a server that takes
// writes: what decides about money is never read from a standby, which lags. Of
// several hosts the primary is found, also after a failover.
func poolConfig(databaseURL string) (*pgxpool.Config, error) {
	if u, err := url.Parse(databaseURL); err == nil {
		if asked := u.Query().Get(sessionAttrs); !slices.Contains(writable, asked) {
			return nil, billing.Invalid("DATABASE_URL: %s=%s may lead to a server that lags, and what is read decides about money; "+
				"accepted: read-write, primary, or nothing", sessionAttrs, asked)
		}
	}
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	config.ConnConfig.ValidateConnect = takesWrites
	return config, nil
}

// connect makes one connection to the database.
func connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	config, err := poolConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	return conn, connectError(err)
}

func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	result, err := conn.Exec(ctx, "SHOW transaction_read_only").ReadAll()
	if err != nil {
		return err
	}
	if string(result[0].Rows[0][0]) == "on" {
		return errReadOnly
	}
	return nil
}

// connectError says what is wrong with the URL, where that is it.
func connectError(err error) error {
	if errors.Is(err, errReadOnly) {
		return errReadOnly
	}
	return wrap("connect to the database", err)
}
