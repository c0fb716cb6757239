package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/devstack"
)

// patience is how long the servers of a pair may take for anything.
const patience = 20 * time.Second

// Pair is a PostgreSQL server of its own and a standby that follows it.
type Pair struct {
	t                testing.TB
	primary, standby *devstack.Postgres
}

// StartPair runs both until the test ends, with an empty database. It skips the
// test under -short.
func StartPair(t testing.TB, database string) *Pair {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := t.TempDir()
	p := &Pair{t: t}
	p.primary = p.start(filepath.Join(dir, "primary"))
	p.exec(p.primary, "CREATE DATABASE "+database)
	if err := p.primary.CopyTo(t.Context(), filepath.Join(dir, "standby"), true); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	p.standby = p.start(filepath.Join(dir, "standby"))
	return p
}

func (p *Pair) start(dir string) *devstack.Postgres {
	p.t.Helper()
	server, err := devstack.StartPostgres(p.t.Context(), devstack.PostgresOptions{DataDir: dir})
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
	p.t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			p.t.Errorf("pgtest: %v", err)
		}
	})
	return server
}

// URL names both servers, the standby first: whoever wants the primary looks for it.
func (p *Pair) URL(database string) string {
	primary, err := url.Parse(p.primary.URL(database))
	if err != nil {
		p.t.Fatal(err)
	}
	standby, err := url.Parse(p.standby.URL(database))
	if err != nil {
		p.t.Fatal(err)
	}
	primary.Host = standby.Host + "," + primary.Host
	return primary.String()
}

// StandbyURL names the standby only.
func (p *Pair) StandbyURL(database string) string { return p.standby.URL(database) }

// Synchronize has a commit answered only once the standby has it, too.
func (p *Pair) Synchronize() {
	p.t.Helper()
	p.exec(p.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	p.exec(p.primary, "SELECT pg_reload_conf()")
	p.until("the standby is synchronous", p.primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
}

// Detach waits until the standby has everything, and has it receive nothing more.
func (p *Pair) Detach() {
	p.t.Helper()
	at := p.exec(p.primary, "SELECT pg_current_wal_lsn()::text")
	p.until("the standby has everything", p.standby, "SELECT pg_last_wal_replay_lsn() >= '"+at+"'::pg_lsn")
	p.exec(p.standby, "ALTER SYSTEM SET primary_conninfo = ''")
	p.exec(p.standby, "SELECT pg_reload_conf()")
	p.until("the standby receives nothing", p.standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
}

// FailOver loses the primary at once, with all that the standby has not received,
// and promotes the standby.
func (p *Pair) FailOver() {
	p.t.Helper()
	if err := p.primary.Crash(); err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
	p.exec(p.standby, "SELECT pg_promote()")
	p.until("the standby is promoted", p.standby, "SELECT NOT pg_is_in_recovery()")
}

func (p *Pair) until(what string, on *devstack.Postgres, question string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); p.exec(on, question) != "true"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("pgtest: not within %s: %s", patience, what)
		}
	}
}

// exec runs one statement and returns its first value.
func (p *Pair) exec(on *devstack.Postgres, statement string) (value string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, on.URL("postgres"))
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, statement)
	if err != nil {
		p.t.Fatalf("pgtest: %s: %v", statement, err)
	}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			p.t.Fatalf("pgtest: %s: %v", statement, err)
		}
		value = fmt.Sprint(values[0])
	}
	if err := rows.Err(); err != nil {
		p.t.Fatalf("pgtest: %s: %v", statement, err)
	}
	return value
}
