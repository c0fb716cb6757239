// Package postgres keeps every fact of the bill: prices, organisations, seats,
// usage, spend, limits, notices, invoices and payments. Whatever must happen at
// most once is a constraint or a lock here; every exported method that writes is
// one transaction and may be called again.
//
// Locks, in the order in which they are taken: the price book (advisory), the
// organisation's terms (advisory), its issuing (advisory), its periods by start (advisory), usage rows by
// event id, its counting (advisory), totals by key, spend counters by scope and subject with the
// organisation's last. Advisory locks are shared to store usage and exclusive to
// change what usage is stored by; counting is taken alone, at the end.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Store is the database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool

	mu    sync.RWMutex
	books map[string]*billing.Rater // by name; checked against the stored revision inside each transaction
	seats map[string]*seatChart     // by organisation; likewise

	bookNames sync.Map // organisation -> name of its price book, which never changes
	repeats   sync.Map // organisations whose last batch of usage had ids that were known
	counting  sync.Map // organisation -> the queue of those that count its usage, a chan struct{}
	months    sync.Map // organisation -> the billing month it was last seen in, a monthOf

	checks coalescer[checkQuestion, *checkFacts] // limit checks
	keys   coalescer[[32]byte, *billing.APIKey]  // keys of requests, by their hash

	bounds billing.Bounds // of the installation, see SetBounds
}

// defaultMaxConns is how many connections one process opens at most, unless the
// URL says pool_max_conns. A transaction never waits for a second connection
// while it holds one, but for the relay's few, so the pool cannot lock itself up.
const defaultMaxConns = 16

// Open connects to the database at url and checks that its schema is the one
// that this program knows.
func Open(ctx context.Context, url string) (*Store, error) { return OpenTraced(ctx, url, nil) }

// OpenTraced is Open with somebody who follows every statement; nil is nobody.
func OpenTraced(ctx context.Context, url string, tracer pgx.QueryTracer) (*Store, error) {
	config, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.Tracer = tracer
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "arrears"
	}
	// Every statement is short; on tables that were never analysed the planner takes
	// some for so long that it would compile them, at a thousand times their cost.
	config.ConnConfig.RuntimeParams["jit"] = "off"
	boundIdling(config)
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = max(config.MaxConns, defaultMaxConns)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if err := checkSchema(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return New(pool), nil
}

// New returns a store on a pool whose database is migrated.
func New(pool *pgxpool.Pool) *Store {
	s := &Store{pool: pool, books: map[string]*billing.Rater{}, seats: map[string]*seatChart{}}
	s.checks.ask, s.keys.ask = s.checkLimits, s.readKeys
	return s
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

// Writers is how many transactions may store usage at once and leave connections
// for what is quick, such as limit checks.
func (s *Store) Writers() int { return max(1, int(s.pool.Config().MaxConns)/2) }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// Installation names this database to the payment provider.
func (s *Store) Installation(ctx context.Context) (id string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT id::text FROM installation`).Scan(&id)
	return id, wrap("read the installation", err)
}

// maxRetries bounds how often a transaction that lost a race is run again.
const maxRetries = 10

// inTx runs f in a transaction, again from the start where it lost a race to
// another (serialization failure, deadlock).
func (s *Store) inTx(ctx context.Context, f func(pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginFunc(ctx, s.pool, f)
		if err == nil || attempt == maxRetries || !lostRace(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause(attempt)):
		}
	}
}

// pause is how long a transaction waits that lost a race for so many times: longer
// each time, and by chance, so that those who lost the same one do not meet again.
func pause(attempt int) time.Duration {
	longest := time.Duration(attempt) * 10 * time.Millisecond
	return longest/4 + rand.N(longest*3/4) //nolint:gosec // only spreads who waits
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// errLostRace is a race to another transaction that only this program can see.
var errLostRace = errors.New("lost a race to another transaction")

func lostRace(err error) bool {
	if errors.Is(err, errLostRace) {
		return true
	}
	code := errorCode(err)
	return code == "40001" || code == "40P01"
}

func isUniqueViolation(err error) bool { return errorCode(err) == "23505" }

func errorCode(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// wrap says what was being done when err came, or returns nil.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// lockShared and lockExclusive take a transaction-level advisory lock by name.
// Storing usage shares it; whatever changes what usage is stored by takes it
// alone. A row lock would starve the changer; this one queues fairly.
func lockShared(ctx context.Context, tx querier, name string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))`, name)
	return wrap("lock "+name, err)
}

func lockExclusive(ctx context.Context, tx querier, name string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name)
	return wrap("lock "+name, err)
}

func bookLock(book string) string          { return "price-book/" + book }
func termsLock(org string) string          { return "terms/" + org }
func issueLock(org string) string          { return "issue/" + org }
func countLock(org string) string          { return "count/" + org }
func periodLock(org, period string) string { return "period/" + org + "/" + period }
