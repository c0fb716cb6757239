package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// idleInTransaction is after how long the database ends a session of ours that
// stands still in a transaction: a program that was stopped, or is cut off, would
// hold its organisation's locks for ever. Nothing of ours thinks that long.
const idleInTransaction = "5min"

// boundIdling bounds sessions, unless the URL does.
func boundIdling(config *pgxpool.Config) {
	const setting = "idle_in_transaction_session_timeout"
	if _, given := config.ConnConfig.RuntimeParams[setting]; !given {
		config.ConnConfig.RuntimeParams[setting] = idleInTransaction
	}
}

// BlockingSession is a session that stands still in a transaction, and may hold what others
// wait for. It may be anybody's; those of other users are seen by a role with
// pg_read_all_stats only.
type BlockingSession struct {
	PID         uint32
	Application string
	User        string
	Address     string // "" = on the database's own machine
	Since       time.Duration
	Waiters     int // sessions that wait for it
}

// BlockingSessions lists who stands still in a transaction for at least so long, those who
// keep the most waiting first: for the log, when something waited in vain.
func (s *Store) BlockingSessions(ctx context.Context, atLeast time.Duration) ([]BlockingSession, error) {
	const statement = `
SELECT h.pid, h.application_name, h.usename, coalesce(host(h.client_addr), ''), clock_timestamp() - h.state_change, waiting.sessions
  FROM pg_stat_activity h,
       LATERAL (SELECT count(*) AS sessions
                  FROM pg_stat_activity w
                 WHERE w.wait_event_type = 'Lock' AND h.pid = ANY(pg_blocking_pids(w.pid))) waiting
 WHERE h.datname = current_database()
   AND h.state LIKE 'idle in transaction%'
   AND clock_timestamp() - h.state_change >= $1
 ORDER BY waiting.sessions DESC, h.state_change
 LIMIT 10`
	rows, err := s.pool.Query(ctx, statement, atLeast)
	if err != nil {
		return nil, wrap("list who holds locks", err)
	}
	holders, err := pgx.CollectRows(rows, pgx.RowToStructByPos[BlockingSession])
	return holders, wrap("list who holds locks", err)
}
