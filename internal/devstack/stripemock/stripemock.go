// Package stripemock runs Stripe's own stripe-mock for tests: made from today's
// schema of the API, it checks parameters and keeps no state.
package stripemock

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Key is one that stripe-mock takes.
const Key = "sk_test_123"

// Start runs bin/stripe-mock of the repository at root on a free port until the
// test ends, and returns its URL. Without the program the test is skipped.
func Start(t *testing.T, root string) string {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, "bin", "stripe-mock"))
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("no bin/stripe-mock: the Makefile builds it")
	}
	// Without an address for HTTPS it would listen on a fixed port of all interfaces.
	mock := exec.CommandContext(t.Context(), binary, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	out, err := mock.StdoutPipe()
	require.NoError(t, err)
	mock.Stderr = os.Stderr
	require.NoError(t, mock.Start())
	t.Cleanup(func() {
		_ = mock.Process.Kill()
		_ = mock.Wait()
	})
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, address, ok := strings.Cut(lines.Text(), "Listening for HTTP at address: "); ok {
				found <- "http://" + address
			}
		}
	}()
	select {
	case base := <-found:
		return base
	case <-time.After(30 * time.Second):
		t.Fatal("stripe-mock did not say where it listens within 30 s")
		return ""
	}
}
