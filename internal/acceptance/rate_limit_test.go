package acceptance

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Many organisations end their month at the same instant, with two workers and
// Stripe's own limits: the queues' rates keep the calls within them, and what is
// turned away all the same is late and never fails.
func TestManyMonthsThatEndAtOnceStayWithinStripesLimits(t *testing.T) {
	t.Parallel()
	const organizations = 40
	s := startStack(t)
	second := exec.CommandContext(t.Context(), filepath.Join(programs, "worker"))
	second.Env = s.env
	require.NoError(t, second.Start())
	defer func() { _ = second.Process.Kill(); _ = second.Wait() }()

	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	var lines []map[string]any
	for i := range organizations {
		lines = append(lines, map[string]any{
			"id": fmt.Sprintf("org-%02d", i), "start": "2026-10-01T00:00:00Z", "test_clock": "2026-10-31T00:00:00Z",
			"payment_method": "pm_card_visa", "draft_window": "0s",
		})
	}
	s.must("org", "import", writeLines(t, "orgs.ndjson", lines))
	for i := range organizations {
		s.must("seats", "assign", fmt.Sprintf("org-%02d", i), "ada", "--tier", "chat", "--at", "2026-10-01T00:00:00Z")
	}
	s.must("cycle", "start", "--all")
	s.must("dev", "stripe", "limits", "--live-limits")
	start := time.Now()
	s.must("clock", "advance", "--all", "--to", "2026-11-01T01:00:00Z", "--timeout", "2m")
	var limits struct {
		Refused struct {
			ByAccount  int `json:"by_account"`
			ByEndpoint int `json:"by_endpoint"`
		}
	}
	s.read(&limits, "dev", "stripe", "limits")
	t.Logf("%d months in %s; turned away: %+v", organizations, time.Since(start).Round(time.Second), limits.Refused)
	require.Equal(t, organizations, s.charges())
	s.must("verify")
}
