//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// smallDisk is a server of which one folder lies on a volume of 64 MB.
type smallDisk struct {
	t      *testing.T
	dir    string // of the cluster
	volume string
	port   int
	server *devstack.Postgres
}

func startOnSmallDisk(t *testing.T, folder string) *smallDisk {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := filepath.Join(t.TempDir(), "cluster")
	d := &smallDisk{t: t, dir: dir, volume: filepath.Join(dir, "data", folder)}
	d.start() // which makes the cluster
	require.NoError(t, d.server.Stop())
	aside := d.volume + ".aside"
	require.NoError(t, os.Rename(d.volume, aside))
	info, err := os.Stat(aside)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	require.NoError(t, os.Mkdir(d.volume, 0o700))
	options := fmt.Sprintf("size=64m,mode=0700,uid=%d,gid=%d", owner.Uid, owner.Gid)
	if err := syscall.Mount("tmpfs", d.volume, "tmpfs", 0, options); err != nil {
		t.Skipf("a volume of its own cannot be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(d.volume, 0)) })
	require.NoError(t, os.CopyFS(d.volume, os.DirFS(aside)))
	require.NoError(t, filepath.WalkDir(d.volume, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if entry.IsDir() {
			mode = 0o700
		}
		return errors.Join(os.Chmod(path, mode), os.Chown(path, int(owner.Uid), int(owner.Gid)))
	}))
	d.start()
	t.Cleanup(func() { require.NoError(t, d.server.Stop()) })
	return d
}

// start runs the server, each time at the same address.
func (d *smallDisk) start() {
	d.t.Helper()
	var err error
	d.server, err = devstack.StartPostgres(d.t.Context(), devstack.PostgresOptions{DataDir: d.dir, Port: d.port})
	require.NoError(d.t, err)
	at, err := url.Parse(d.server.URL("postgres"))
	require.NoError(d.t, err)
	d.port, err = strconv.Atoi(at.Port())
	require.NoError(d.t, err)
}

func (d *smallDisk) ballast() string { return filepath.Join(d.volume, "ballast") }

// fill leaves no room on the volume.
func (d *smallDisk) fill() {
	d.t.Helper()
	file, err := os.Create(d.ballast())
	require.NoError(d.t, err)
	defer file.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			require.ErrorIs(d.t, err, syscall.ENOSPC)
			block = block[:len(block)/2]
		}
	}
}

// free makes the room again.
func (d *smallDisk) free() {
	d.t.Helper()
	require.NoError(d.t, os.Remove(d.ballast()))
}

// newGatewayOn is acme, and a gateway, on the server.
func (d *smallDisk) newGatewayOn() (s *shell, server string) {
	d.t.Helper()
	address := d.server.URL("postgres")
	require.NoError(d.t, postgres.Migrate(d.t.Context(), address))
	s = onDatabase(d.t, address)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10T00:00:00Z", "--start", "2026-10-01")
	return s, newTestGateway(d.t, s).URL
}

func TestTheVolumeOfTheWriteAheadLogIsFull(t *testing.T) {
	t.Parallel()
	d := startOnSmallDisk(t, "pg_wal")
	s, gateway := d.newGatewayOn()
	writers := startWriters(t, gateway, 4)
	writers.until(20)
	d.fill()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.server.URL("postgres"))
	require.NoError(t, err)
	for err == nil { // until no segment is left
		_, err = conn.Exec(ctx, "SELECT pg_switch_wal(), txid_current()")
	}
	select {
	case <-d.server.Ended():
	case <-ctx.Done():
		require.Fail(t, "PostgreSQL goes on without a log")
	}
	stored := writers.stored()
	away := post(t.Context(), gateway, usageLine("away", "alice", "claude-sonnet-4-5", 900))
	require.Equal(t, http.StatusServiceUnavailable, away.status)
	require.NotEmpty(t, away.retryAfter)
	require.Equal(t, stored, writers.stored(), "nothing is acknowledged that cannot be stored")

	d.free()
	require.NoError(t, d.server.Stop())
	d.start()
	writers.until(stored + 20)
	acknowledged := writers.stop()
	require.Equal(t, strconv.Itoa(acknowledged), s.sql(`SELECT count(*) FROM usage_events WHERE event_id <> 'away'`))
	require.Equal(t, "0", s.sql(`SELECT count(*) FROM unnest($1::text[]) id WHERE NOT EXISTS (SELECT FROM usage_events WHERE event_id = id)`, writers.ids()))
	require.Zero(t, writers.others.Load(), "answers are 200, 503 with Retry-After, or none")
	s.ok("verify", "acme")
}

func TestTheVolumeOfTheDataIsFull(t *testing.T) {
	t.Parallel()
	d := startOnSmallDisk(t, "base")
	s, gateway := d.newGatewayOn()
	writers := startWriters(t, gateway, 4)
	writers.until(20)
	d.fill()
	var large strings.Builder
	for i := range 2000 {
		large.WriteString(usageLine(fmt.Sprintf("large-%d", i), "alice", "claude-sonnet-4-5", 900))
	}
	full := post(t.Context(), gateway, large.String())
	require.Equal(t, http.StatusServiceUnavailable, full.status)
	require.NotEmpty(t, full.retryAfter)
	require.Equal(t, "0", s.sql(`SELECT count(*) FROM usage_events WHERE event_id LIKE 'large-%'`), "all of a post, or nothing")
	status, body := call(t, http.MethodPost, gateway+"/v1/limits/check", `{"organization":"acme","user":"alice","product":"chat"}`,
		"Authorization", "Bearer "+gatewayKey, "Content-Type", "application/json")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"degraded":false`, "what is there can be read")
	s.ok("usage", "summary", "acme", "--by", "user")
	s.ok("invoices", "preview", "acme")

	d.free()
	writers.until(writers.stored() + 20)
	writers.stop()
	again := post(t.Context(), gateway, large.String())
	require.Equal(t, http.StatusOK, again.status)
	require.Len(t, again.events, 2000)
	require.Equal(t, strconv.Itoa(writers.stored()+2000), s.sql(`SELECT count(*) FROM usage_events`))
	require.Zero(t, writers.others.Load(), "answers are 200, 503 with Retry-After, or none")
	s.ok("verify", "acme")
}
