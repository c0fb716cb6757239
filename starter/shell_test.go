package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

var update = flag.Bool("update", false, "write what the commands print to testdata/json")

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, postgres.Migrate)) }

// shell runs command lines as a terminal would, in an environment of its own.
type shell struct {
	t       *testing.T
	environ []string
	stdin   string
	dir     string
}

// newShell has no part of the system.
func newShell(t *testing.T, environ ...string) *shell {
	return &shell{t: t, environ: environ, dir: t.TempDir()}
}

// newDatabaseShell has a database and a local Stripe, and no Temporal.
func newDatabaseShell(t *testing.T) *shell {
	stripe, err := fakestripe.New(fakestripe.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stripe.Close()) })
	server := httptest.NewServer(stripe)
	t.Cleanup(server.Close)
	return newShell(t, "DATABASE_URL="+pgtest.NewURL(t), "STRIPE_API_BASE="+server.URL, "STRIPE_SECRET_KEY=sk_test_local")
}

// app is what main makes of the process, with this shell's.
func (s *shell) app() (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &app{
		stdin: strings.NewReader(s.stdin), stdout: stdout, stderr: stderr, environ: s.environ,
		format: formatTable, actor: "tester", connections: &connections{},
	}, stdout, stderr
}

func (s *shell) run(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	a, out, errs := s.app()
	code = run(s.t.Context(), args, a)
	return code, out.String(), errs.String()
}

// ok runs a command that must be done, and returns what it printed.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	code, stdout, stderr := s.run(args...)
	require.Equal(s.t, exitDone, code, "starter %s\n%s", strings.Join(args, " "), stderr)
	return stdout
}

// fails runs a command that must fail, and returns what it complained of.
func (s *shell) fails(want int, args ...string) string {
	s.t.Helper()
	code, stdout, stderr := s.run(args...)
	require.Equal(s.t, want, code, "starter %s\n%s%s", strings.Join(args, " "), stdout, stderr)
	return stderr
}

// file writes a file and returns its path.
func (s *shell) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// into runs a command with -o json and reads what it printed.
func into[T any](s *shell, args ...string) (value T) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(s.ok(append(args, "-o", "json")...)), &value))
	return value
}

// volatile are values that differ from run to run.
var volatile = regexp.MustCompile(`"(created_at|loaded_at|stripe_customer_id|stripe_clock_id)": "[^"]+"`)

// golden holds what a command prints as JSON against testdata/json/NAME.json.
func (s *shell) golden(name string, args ...string) {
	s.t.Helper()
	got := volatile.ReplaceAllString(s.ok(append(args, "-o", "json")...), `"$1": "…"`)
	path := filepath.Join("testdata", "json", name+".json")
	if *update {
		require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(s.t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(s.t, err)
	require.Equal(s.t, string(want), got, "starter %s; go test ./starter -update takes it over", strings.Join(args, " "))
}
