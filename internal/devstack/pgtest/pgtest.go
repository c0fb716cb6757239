// Package pgtest gives each test a PostgreSQL database of its own. One
// throwaway cluster serves a test binary, started by the first test that asks;
// the schema is migrated once, into a template that is cloned in some 20 ms.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, postgres.Migrate)) }
//
//	func TestStore(t *testing.T) {
//		t.Parallel()
//		pool := pgtest.New(t)
//
// ARREARS_TEST_DATABASE_URL names a server to use instead of a private one;
// its user must be allowed to create databases.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/arrears-dev/arrears/internal/devstack"
)

// databaseEnv names a server to use instead of a private one.
const databaseEnv = "ARREARS_TEST_DATABASE_URL"

// maxConns is small, because many tests share one server's connections.
const maxConns = 8

// shared is what the tests of one binary share.
var shared struct {
	migrate func(ctx context.Context, databaseURL string) error
	start   sync.Once
	server  *server
	err     error
}

// Main runs a test binary's tests and then stops the cluster, if any of them
// asked for one. migrate brings an empty database to the schema that tests
// want; nil leaves it empty.
func Main(m *testing.M, migrate func(ctx context.Context, databaseURL string) error) int {
	shared.migrate = migrate
	code := m.Run()
	if shared.server == nil {
		return code
	}
	if err := shared.server.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

// New returns a pool of connections to a new, migrated database that is
// dropped when the test ends. It skips the test under -short.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(NewURL(t))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	config.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// NewURL is New for those who make their own connections.
func NewURL(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	shared.start.Do(func() { shared.server, shared.err = start(context.Background(), shared.migrate) })
	if shared.err != nil {
		t.Fatalf("pgtest: %v", shared.err)
	}
	database, err := shared.server.clone(context.Background())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := shared.server.drop(context.Background(), database); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return shared.server.url(database)
}

// URL is the connection string of a pool made by New.
func URL(pool *pgxpool.Pool) string {
	return pool.Config().ConnString()
}

// server is where the databases are made.
type server struct {
	base     url.URL
	template string
	strategy string // of CREATE DATABASE
	private  *devstack.Postgres
	mu       sync.Mutex
	admin    *pgx.Conn
	made     int
}

// start finds or starts a server and makes the template.
func start(ctx context.Context, migrate func(context.Context, string) error) (_ *server, err error) {
	s := &server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	address := os.Getenv(databaseEnv)
	if address == "" {
		if s.private, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{Throwaway: true, Log: os.Stderr}); err != nil {
			return nil, err
		}
		address = s.private.URL("postgres")
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%s: want postgres://…: %w", databaseEnv, err)
	}
	s.base = *base
	if s.admin, err = pgx.Connect(ctx, address); err != nil {
		return nil, err
	}
	var version int
	if err := s.admin.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, err
	}
	if version >= 15_00_00 {
		s.strategy = "STRATEGY file_copy" // half the time of the default, for small databases
	}
	return s, s.makeTemplate(ctx, migrate)
}

// makeTemplate migrates the database that clone copies. Nobody may connect to
// it afterwards, because one connection would make copying fail.
func (s *server) makeTemplate(ctx context.Context, migrate func(context.Context, string) error) error {
	name := "arrears_test_" + strings.ToLower(rand.Text()[:10])
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return fmt.Errorf("make the template database: %w", err)
	}
	s.template = name
	if migrate != nil {
		if err := migrate(ctx, s.url(name)); err != nil {
			return fmt.Errorf("migrate the template database: %w", err)
		}
	}
	if _, err := s.admin.Exec(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false"); err != nil {
		return fmt.Errorf("close the template database: %w", err)
	}
	return nil
}

func (s *server) url(database string) string {
	u := s.base
	u.Path = "/" + database
	return u.String()
}

func (s *server) clone(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	database := fmt.Sprintf("%s_%d", s.template, s.made)
	statement := strings.Join([]string{"CREATE DATABASE", database, "TEMPLATE", s.template, s.strategy}, " ")
	if _, err := s.admin.Exec(ctx, statement); err != nil {
		return "", fmt.Errorf("clone the template database: %w", err)
	}
	return database, nil
}

func (s *server) drop(ctx context.Context, database string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+database+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop %s: %w", database, err)
	}
	return nil
}

// stop leaves nothing of this run on the server.
func (s *server) stop() error {
	var errs []error
	ctx := context.Background()
	if s.template != "" && s.private == nil {
		errs = append(errs, s.drop(ctx, s.template))
	}
	if s.admin != nil {
		errs = append(errs, s.admin.Close(ctx))
	}
	if s.private != nil {
		errs = append(errs, s.private.Stop())
	}
	return errors.Join(errs...)
}
