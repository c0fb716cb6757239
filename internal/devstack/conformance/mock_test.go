package conformance

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

// startMock runs stripe-mock on a free port until the test ends.
func startMock(t *testing.T) *account {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/stripe-mock")
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("no bin/stripe-mock: the Makefile builds it")
	}
	// Without an address for HTTPS it would listen on a fixed port of all interfaces.
	mock := exec.Command(binary, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
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
		return &account{base: base, key: "sk_test_123"}
	case <-time.After(30 * time.Second):
		t.Fatal("stripe-mock did not say where it listens within 30 s")
		return nil
	}
}
