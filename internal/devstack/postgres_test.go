package devstack

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	ctx := t.Context()

	t.Run("two clusters run side by side and leave nothing behind", func(t *testing.T) {
		t.Parallel()
		first := startPostgres(t, PostgresOptions{})
		second := startPostgres(t, PostgresOptions{})
		require.NotEqual(t, first.port, second.port)
		query(t, first, "CREATE TABLE only_here (id int)")
		require.Equal(t, "f", query(t, second, "SELECT to_regclass('only_here') IS NOT NULL"))

		require.NoError(t, first.Stop())
		require.NoDirExists(t, first.folder.path)
		require.Equal(t, "1", query(t, second, "SELECT 1"))
	})

	t.Run("it is safe when kept, fast when thrown away, and only local", func(t *testing.T) {
		t.Parallel()
		kept := startPostgres(t, PostgresOptions{DataDir: t.TempDir()})
		require.Equal(t, "on", query(t, kept, "SHOW fsync"))
		thrown := startPostgres(t, PostgresOptions{})
		require.Equal(t, "off", query(t, thrown, "SHOW fsync"))
		require.Equal(t, "127.0.0.1", query(t, thrown, "SHOW listen_addresses"))
		require.Empty(t, query(t, thrown, "SHOW unix_socket_directories"))

		_, err := pgx.Connect(ctx, strings.Replace(thrown.URL("postgres"), thrown.password, "guess", 1))
		require.ErrorContains(t, err, "password authentication failed")
	})

	t.Run("a kept folder keeps its tables", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		first := startPostgres(t, PostgresOptions{DataDir: dir})
		query(t, first, "CREATE TABLE kept AS SELECT 42 AS answer")
		_, err := StartPostgres(ctx, PostgresOptions{DataDir: dir})
		require.ErrorIs(t, err, errInUse)
		require.NoError(t, first.Stop())

		second := startPostgres(t, PostgresOptions{DataDir: dir})
		require.Equal(t, "42", query(t, second, "SELECT answer FROM kept"))
	})

	t.Run("a kept folder survives SIGKILL, whoever has the server's number now", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		first := startPostgres(t, PostgresOptions{DataDir: dir})
		query(t, first, "CREATE TABLE kept AS SELECT 42 AS answer")
		pidFile := filepath.Join(dir, "data", "postmaster.pid")
		stale, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		require.NoError(t, first.process.cmd.Process.Kill())
		<-first.process.done
		require.NoError(t, first.folder.close())

		_, rest, _ := strings.Cut(string(stale), "\n")
		mine := strconv.Itoa(os.Getpid()) + "\n" + rest // this test's own process
		require.NoError(t, os.WriteFile(pidFile, []byte(mine), 0o600))
		second := startPostgres(t, PostgresOptions{DataDir: dir})
		require.Equal(t, "42", query(t, second, "SELECT answer FROM kept"))
	})

	t.Run("sessions that outlive a killed server are waited for", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		first := startPostgres(t, PostgresOptions{DataDir: dir})
		conn, err := pgx.Connect(ctx, first.URL("postgres"))
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		go func() { // which looks up only at its end
			_, _ = conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 4000000)")
		}()
		require.Eventually(t, func() bool {
			return query(t, first, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series%'") == "2"
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, first.process.cmd.Process.Kill())
		<-first.process.done
		require.NoError(t, first.folder.close())

		second := startPostgres(t, PostgresOptions{DataDir: dir})
		require.Equal(t, "1", query(t, second, "SELECT 1"))
	})

	t.Run("a server that outlived its run is ended first", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		orphan := startPostgres(t, PostgresOptions{DataDir: dir})
		require.NoError(t, orphan.folder.lock.Close()) // as if its parent had died

		next := startPostgres(t, PostgresOptions{DataDir: dir})
		<-orphan.process.done
		require.Equal(t, "1", query(t, next, "SELECT 1"))
	})

	t.Run("an interrupted initdb is done again", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for _, half := range []string{"data", "data.new"} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, half, "base"), 0o700))
		}
		pg := startPostgres(t, PostgresOptions{DataDir: dir})
		require.Equal(t, "1", query(t, pg, "SELECT 1"))
	})

	t.Run("root's own folders will do", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		closed := t.TempDir()
		require.NoError(t, os.Chmod(closed, 0o700))
		dir := filepath.Join(closed, "data")
		for range 2 { // made, then found again
			pg := startPostgres(t, PostgresOptions{DataDir: dir})
			require.Equal(t, "t", query(t, pg, "SELECT count(*) = 10000 FROM generate_series(1, 10000)"))
			require.NoError(t, pg.Stop())
		}
		info, err := os.Stat(closed)
		require.NoError(t, err)
		require.EqualValues(t, 0o700, info.Mode().Perm(), "not ours to open")
	})

	t.Run("a port that is taken is named with the server's own words", func(t *testing.T) {
		t.Parallel()
		first := startPostgres(t, PostgresOptions{})
		_, err := StartPostgres(ctx, PostgresOptions{Port: first.port})
		require.ErrorContains(t, err, "Address already in use")
	})
}

func TestPostgresBinaries(t *testing.T) {
	t.Parallel()
	ctx := t.Context()

	t.Run("PGBIN decides alone", func(t *testing.T) {
		t.Parallel()
		getenv := func(name string) string {
			return map[string]string{"PGBIN": t.TempDir(), "PATH": os.Getenv("PATH")}[name]
		}
		_, err := findPostgres(ctx, getenv, nil, 0, io.Discard)
		require.ErrorContains(t, err, "PGBIN=")
	})

	t.Run("the newest version comes first", func(t *testing.T) {
		t.Parallel()
		require.Negative(t, newerFirst("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/9/bin"))
	})

	t.Run("programs that are missing or too old will not do", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.Zero(t, versionIn(ctx, dir, nil))
		fake := func(version string) {
			for _, name := range []string{"initdb", "postgres"} {
				text := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
			}
		}
		getenv := func(name string) string { return map[string]string{"PGBIN": dir}[name] }
		fake("13.9")
		_, err := findPostgres(ctx, getenv, nil, 0, io.Discard)
		require.ErrorContains(t, err, "14 or newer")

		fake("16.4 (Debian 16.4-1)")
		found, err := findPostgres(ctx, getenv, nil, 16, io.Discard)
		require.NoError(t, err)
		require.Equal(t, dir, found)
		_, err = findPostgres(ctx, getenv, nil, 15, io.Discard)
		require.ErrorContains(t, err, "made by PostgreSQL 15, and here is only 16 in "+dir)
	})

	t.Run("a fetch that fails says what to install instead", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.NotFoundHandler())
		defer server.Close()
		var log strings.Builder
		_, err := fetchPostgres(ctx, t.TempDir(), server.URL, nil, &log)
		require.Contains(t, log.String(), "fetching version 16", "it says so first")
		for _, advice := range []string{"apt-get install postgresql", "dnf install postgresql-server", "brew install postgresql@16", "PGBIN", "DATABASE_URL"} {
			require.ErrorContains(t, err, advice)
		}
	})
}

func TestClosedParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	mine := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	stranger := &syscall.Credential{Uid: mine.Uid + 4711, Gid: mine.Gid + 4711}

	closed, err := closedParent(filepath.Join(dir, "data"), stranger)
	require.NoError(t, err)
	require.Equal(t, dir, closed)
	closed, err = closedParent(filepath.Join(dir, "data"), nil)
	require.NoError(t, err)
	require.Empty(t, closed)
}

// startPostgres starts a cluster that ends with the test.
func startPostgres(t *testing.T, opts PostgresOptions) *Postgres {
	t.Helper()
	pg, err := StartPostgres(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = pg.Stop() })
	return pg
}

// query runs one statement and returns its first value as text, if any.
func query(t *testing.T, pg *Postgres, sql string) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, pg.URL("postgres"))
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	require.NoError(t, err)
	if last := results[len(results)-1]; len(last.Rows) > 0 {
		return string(last.Rows[0][0])
	}
	return ""
}
