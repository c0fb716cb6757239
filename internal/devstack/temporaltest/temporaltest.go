// Package temporaltest gives tests a real Temporal server: one per test
// binary, in memory, started by the first test that asks.
//
//	func TestMain(m *testing.M) { os.Exit(temporaltest.Main(m, workflows.SearchAttributes)) }
//
//	func TestCycle(t *testing.T) {
//		t.Parallel()
//		c := temporaltest.Dial(t)
//		queue := temporaltest.Unique(t)
//
// Tests share the server and its one namespace: give task queues, workflow
// IDs and the like names of their own, with Unique.
//
// ARREARS_TEST_TEMPORAL_ADDRESS names a server to use instead.
package temporaltest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/arrears-dev/arrears/internal/devstack"
)

// addressEnv names a server to use instead of a private one.
const addressEnv = "ARREARS_TEST_TEMPORAL_ADDRESS"

// shared is what the tests of one binary share.
var shared struct {
	attributes map[string]enumspb.IndexedValueType
	start      sync.Once
	server     *devstack.Temporal
	err        error
}

// Main runs a test binary's tests and then stops the server, if any of them
// asked for one. attributes are the search attributes to register.
func Main(m *testing.M, attributes map[string]enumspb.IndexedValueType) int {
	return Run(m.Run, attributes)
}

// Run is Main for a binary that shares more than this server: run runs the
// tests, for one by pgtest.Main.
func Run(run func() int, attributes map[string]enumspb.IndexedValueType) int {
	shared.attributes = attributes
	code := run()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "temporaltest:", err)
		return max(code, 1)
	}
	return code
}

// Start returns the server's address, and starts it the first time. It skips
// the test under -short.
func Start(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Temporal server")
	}
	if address := os.Getenv(addressEnv); address != "" {
		return address
	}
	shared.start.Do(func() {
		// Without Main nobody stops it, but it ends with this process.
		shared.server, shared.err = devstack.StartTemporal(context.Background(), devstack.TemporalOptions{
			NoUI:             true,
			SearchAttributes: shared.attributes,
			Log:              os.Stderr,
		})
	})
	if shared.err != nil {
		t.Fatalf("temporaltest: %v", shared.err)
	}
	return shared.server.Address()
}

// Dial returns a client that is closed when the test ends. It logs nothing.
func Dial(t testing.TB) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: Start(t),
		Logger:   sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatalf("temporaltest: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// Unique is a name that no other test uses, for a task queue or a workflow.
func Unique(t testing.TB) string {
	return t.Name() + "-" + strings.ToLower(rand.Text()[:10])
}
