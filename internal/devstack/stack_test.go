package devstack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

const testQueue = "devstack-test"

// fakeProgramEnv makes this test binary act as the worker, and the argument
// serve makes it act as the gateway.
const fakeProgramEnv = "DEVSTACK_TEST_PROGRAM"

// beProgram stands in for the product's programs.
func beProgram() {
	fmt.Println("fake program", os.Args[1:])
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		listener, err := net.Listen("tcp", os.Args[3])
		must(err)
		must(http.Serve(listener, http.NotFoundHandler()))
	}
	c, err := client.Dial(client.Options{HostPort: os.Getenv(temporalEnv), Namespace: os.Getenv(namespaceEnv)})
	must(err)
	must(worker.New(c, testQueue, worker.Options{}).Run(worker.InterruptCh()))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestStack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole stack")
	}
	t.Setenv(fakeProgramEnv, "1")
	var log strings.Builder
	envFile := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, WriteEnvFile(envFile, map[string]string{"OF": "an earlier stack"}))
	options := stackOptions(t.TempDir())
	options.EnvFile, options.Log = envFile, &log
	migrated := 0
	options.Migrate = func(ctx context.Context, databaseURL string) error {
		require.NoFileExists(t, envFile, "written when everything is ready, not before")
		migrated++
		return inDatabase(ctx, databaseURL, "CREATE TABLE IF NOT EXISTS kept (id int); INSERT INTO kept VALUES (1)")
	}
	first := startStack(t, options)
	for _, part := range []string{"PostgreSQL", "Temporal", "local Stripe", "gateway", "worker"} {
		require.Regexp(t, `(?m)^`+part+` .*ready in`, log.String())
	}
	require.NotContains(t, log.String(), first.Env()[databaseEnv], "no password")
	requireEnv(t, envFile, first.Env())

	second := startStack(t, stackOptions("")) // side by side
	for name, value := range second.Env() {
		if name != namespaceEnv {
			require.NotEqual(t, value, first.Env()[name], name)
		}
	}
	require.NoError(t, second.Stop())
	require.NoDirExists(t, second.folder.path)
	require.NoError(t, second.Wait(t.Context()), "it was stopped, it did not fail")

	require.NoError(t, first.Stop())
	require.NoFileExists(t, envFile, "it describes nothing any more")
	again := startStack(t, options)
	require.Equal(t, 2, migrated)
	require.NoError(t, WriteEnvFile(envFile, map[string]string{"OF": "another stack"}))
	defer func() { require.FileExists(t, envFile, "not ours") }()
	defer func() { require.NoError(t, again.Stop()) }()
	require.ErrorContains(t, inDatabase(t.Context(), again.Env()[databaseEnv],
		"SELECT 1 / (count(*) - 2) FROM kept"), "division by zero", "two rows, one from each run")
}

func TestStackFails(t *testing.T) {
	if testing.Short() {
		t.Skip("starts stacks")
	}
	t.Setenv(fakeProgramEnv, "1")

	t.Run("a part that dies later is named with the end of its log", func(t *testing.T) {
		options := stackOptions("")
		var log strings.Builder
		options.Log = &log
		s := startStack(t, options)
		require.NoError(t, syscall.Kill(workerOf(t, log.String()), syscall.SIGKILL))
		err := s.Wait(t.Context())
		require.ErrorContains(t, err, "worker ended: signal: killed")
		require.ErrorContains(t, err, "fake program")
		require.NoError(t, s.Stop())
	})

	t.Run("a part that cannot start takes the others down", func(t *testing.T) {
		options := stackOptions(t.TempDir())
		options.WorkerPath = script(t, "worker", "echo no such configuration; exit 1")
		options.EnvFile = filepath.Join(t.TempDir(), ".env")
		_, err := Start(t.Context(), options)
		require.ErrorContains(t, err, "worker ended: exit status 1")
		require.ErrorContains(t, err, "no such configuration")
		require.NoFileExists(t, options.EnvFile)

		options.WorkerPath = filepath.Join(t.TempDir(), "worker")
		_, err = Start(t.Context(), options) // the data folder is free again
		require.ErrorContains(t, err, "run make build")
	})

	t.Run("an end of the context while starting leaves nothing behind", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		options := stackOptions("")
		options.TaskQueues = []string{"nobody polls this"}
		options.LogDir = t.TempDir()
		time.AfterFunc(3*time.Second, cancel)
		_, err := Start(ctx, options)
		require.ErrorIs(t, err, context.Canceled)
	})

	t.Run("live keys and unknown parts are refused", func(t *testing.T) {
		options := stackOptions("")
		options.Without = []string{"stripe"}
		_, err := Start(t.Context(), options)
		require.ErrorContains(t, err, `without "stripe"`)

		options = stackOptions("")
		options.Getenv = func(name string) string {
			return map[string]string{databaseEnv: "postgres://x", temporalEnv: "127.0.0.1:1", stripeKeyEnv: "sk_live_x"}[name]
		}
		_, err = Start(t.Context(), options)
		require.ErrorContains(t, err, "real money")
	})
}

func TestStackFromEnvironment(t *testing.T) {
	t.Parallel()
	named := map[string]string{
		databaseEnv:      "postgres://billing:secret@db.example/arrears",
		temporalEnv:      "temporal.example:7233",
		namespaceEnv:     "billing",
		stripeBaseEnv:    "http://stripe.example",
		stripeKeyEnv:     "sk_test_mine",
		webhookSecretEnv: "whsec_mine",
		gatewayEnv:       "http://gateway.example:8080",
	}
	options := stackOptions("")
	options.Getenv = func(name string) string { return named[name] }
	options.Without = []string{Worker, Gateway}
	var log strings.Builder
	options.Log = &log
	s, err := Start(t.Context(), options)
	require.NoError(t, err)
	require.Empty(t, s.parts, "there is nothing left to start")
	env := s.Env()
	for name, value := range named {
		require.Equal(t, value, env[name], name)
	}
	require.NotEmpty(t, env[apiKeyEnv])
	require.NotContains(t, log.String(), "secret@")
	require.NoError(t, s.Stop())
}

func TestEnvFile(t *testing.T) {
	t.Parallel()
	env := map[string]string{"PLAIN": "http://127.0.0.1:1/a?b=c", "SPACE": "a b", "QUOTE": `it's "$HOME" \ ` + "`x`", "EMPTY": "", "LINES": "a\nb"}

	t.Run("a shell reads what was meant, the owner alone may read it", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), ".env")
		require.NoError(t, WriteEnvFile(path, env))
		requireEnv(t, path, env)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
	})

	t.Run("it is never seen torn", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, ".env")
		long := map[string]string{}
		for i := range 2000 {
			long[fmt.Sprintf("NAME_%04d", i)] = strings.Repeat("x", 100)
		}
		require.NoError(t, WriteEnvFile(path, long))
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 50 {
				_ = WriteEnvFile(path, long)
			}
		}()
		for reading := true; reading; {
			select {
			case <-done:
				reading = false
			default:
			}
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Len(t, got, len(want))
		}
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1)
	})

	t.Run("somebody else's file is not removed before there is a better one", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), ".env")
		require.NoError(t, removeEnvFile(path, writtenByUs))
		require.NoError(t, os.WriteFile(path, []byte("MINE=1\n"), 0o600))
		require.NoError(t, removeEnvFile(path, writtenByUs))
		require.FileExists(t, path)
		require.NoError(t, WriteEnvFile(path, env))
		require.NoError(t, removeEnvFile(path, writtenByUs))
		require.NoFileExists(t, path)
	})

	t.Run("a folder that is not there is named", func(t *testing.T) {
		t.Parallel()
		require.ErrorContains(t, WriteEnvFile(filepath.Join(t.TempDir(), "no", ".env"), env), "write the environment")
	})
}

// stackOptions describes a stack whose programs are this test binary.
func stackOptions(dataDir string) Options {
	return Options{
		DataDir:          dataDir,
		SearchAttributes: map[string]enumspb.IndexedValueType{"Organization": enumspb.INDEXED_VALUE_TYPE_KEYWORD},
		TaskQueues:       []string{testQueue},
		WorkerPath:       os.Args[0],
		StarterPath:      os.Args[0],
		Getenv:           environment,
	}
}

func startStack(t *testing.T, options Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

// workerOf is the worker's process number, as the log tells it.
func workerOf(t *testing.T, log string) int {
	t.Helper()
	_, after, found := strings.Cut(log, "process ")
	require.True(t, found)
	pid, err := strconv.Atoi(strings.TrimSpace(after))
	require.NoError(t, err)
	return pid
}

// requireEnv has a shell read an environment file.
func requireEnv(t *testing.T, path string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		out, err := exec.Command("sh", "-c", `set -a; . "$1"; sh -c 'printf %s "$`+name+`"'`, "sh", path).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, value, string(out), name)
	}
}

func inDatabase(ctx context.Context, databaseURL, sql string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}
