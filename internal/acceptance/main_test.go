// Package acceptance drives the built programs as their users do: the command
// line, the real database, a real Temporal server and the local Stripe, and
// nothing inside.
package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programs is the folder in which TestMain builds starter and worker.
var programs string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "arrears-acceptance-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	programs = dir
	out, err := exec.Command("go", "build", "-o", dir, "../../starter", "../../worker").CombinedOutput()
	if err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	return m.Run(), nil
}

// stack is a running development stack.
type stack struct {
	t        *testing.T
	env      []string
	patience time.Duration // how long a command may take
}

// startStack runs `starter dev` until the test ends.
func startStack(t *testing.T, args ...string) *stack {
	t.Helper()
	return startStackIn(t, nil, args...)
}

// startStackIn is startStack in an environment that names some of its parts.
func startStackIn(t *testing.T, environ []string, args ...string) *stack {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the whole stack")
	}
	dir := t.TempDir()
	envFile := filepath.Join(dir, "stack.env")
	log, err := os.Create(filepath.Join(dir, "dev.log"))
	require.NoError(t, err)
	dev := exec.Command(filepath.Join(programs, "starter"), append([]string{"dev", "--env-file", envFile}, args...)...)
	dev.Stdout, dev.Stderr = log, log
	dev.Env = append(os.Environ(), environ...)
	require.NoError(t, dev.Start())
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	t.Cleanup(func() {
		require.NoError(t, dev.Process.Signal(syscall.SIGTERM))
		select {
		case err := <-ended:
			if err != nil {
				t.Logf("starter dev: %v", err)
			}
		case <-time.After(30 * time.Second):
			_ = dev.Process.Kill()
			t.Error("starter dev did not stop within 30 s")
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("starter dev said:\n%s", text)
		}
	})
	s := &stack{t: t, patience: 3 * time.Minute}
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(envFile)
		s.env = readEnv(string(text))
		return err == nil
	}, 2*time.Minute, 50*time.Millisecond, "the environment file appears once all parts are ready")
	return s
}

// readEnv reads KEY=value lines, quoted for a shell or not.
func readEnv(text string) []string {
	env := os.Environ()
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(name, "#") {
			env = append(env, name+"="+strings.Trim(value, `'"`))
		}
	}
	return env
}

func (s *stack) getenv(name string) string {
	value := ""
	for _, pair := range s.env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}

// run runs starter and returns what it printed and its exit code.
func (s *stack) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "starter"), args...)
	cmd.Env = s.env
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// must runs starter and fails the test unless it exits 0.
func (s *stack) must(args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.run(args...)
	require.Zero(s.t, code, "starter %s\n%s\n%s", strings.Join(args, " "), stdout, stderr)
	return stdout
}

// read runs starter with -o json and reads what it prints into target.
func (s *stack) read(target any, args ...string) {
	s.t.Helper()
	out := s.must(append(args, "-o", "json")...)
	require.NoError(s.t, json.Unmarshal([]byte(out), target), "%v printed %s", args, out)
}

// money is an amount in JSON.
type money struct{ Amount, Currency string }

type invoice struct {
	ID, Number, Status string
	PeriodStart        time.Time `json:"period_start"`
	PeriodEnd          time.Time `json:"period_end"`
	Total              money
	AmountPaid         money  `json:"amount_paid"`
	StripeInvoiceID    string `json:"stripe_invoice_id"`
	Lines              []line
}

type line struct {
	Key, Kind, Product, Model string
	TokenClass                string      `json:"token_class"`
	Quantity                  json.Number `json:"quantity"`
	Exact                     money       `json:"exact_amount"`
	Amount                    money
	Members                   []struct {
		User   string
		Amount money
	}
}
