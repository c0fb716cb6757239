package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// haiku is a file with one price of Haiku 4.5.
func haiku(from, output string) string {
	return `{name: anthropic-2026-01, currency: USD, models: [{model: claude-haiku-4-5, batch: "0.5", prices: [
  {effective_from: ` + from + `, input: "1", output: "` + output + `", cache_write_5m: "1.25", cache_write_1h: "2", cache_read: "0.10"}]}]}`
}

func TestWithdrawingAPriceOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	file := s.file("prices.yaml", haiku("2099-01-01T00:00:00Z", "50"))
	s.ok("prices", "load", file)
	withdraw := []string{"prices", "withdraw", "anthropic-2026-01", "--model", "claude-haiku-4-5", "--from", "2099-01-01", "--reason", "cancelled"}
	require.Contains(t, s.ok("prices", "show", "anthropic-2026-01"), "2099-01-01")
	require.Contains(t, s.ok(withdraw...), "Withdrawn: 1 row of model claude-haiku-4-5 from 2099-01-01T00:00:00Z")
	require.NotContains(t, s.ok("prices", "show", "anthropic-2026-01"), "2099-01-01")
	require.Contains(t, s.ok(withdraw...), "there is nothing to withdraw")
	require.Contains(t, s.ok("prices", "load", file), "1 row added", "the file still has it")

	require.Contains(t, s.fails(exitFailed, "prices", "withdraw", "nobody", "--model", "m", "--from", "2099-01-01"), `price book "nobody" does not exist`)
	require.Contains(t, s.fails(exitUsage, "prices", "withdraw", "anthropic-2026-01", "--from", "2099-01-01"), "exactly one of")
	require.Contains(t, s.fails(exitUsage, "prices", "withdraw", "anthropic-2026-01", "--model", "m", "--tier", "chat", "--from", "2099-01-01"), "exactly one of")
}

func TestCorrectingAPriceOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", "alice", "claude-haiku-4-5", 1_000_000)))
	file := s.file("prices.yaml", haiku("2025-10-01T00:00:00Z", "10000"))
	require.Contains(t, s.fails(exitUsage, "prices", "reprice", file), "--reason is missing")
	rehearsed := s.ok("prices", "reprice", file, "--dry-run")
	require.Contains(t, rehearsed, "A dry run: nothing was changed. 1 row of price book anthropic-2026-01 would be corrected")
	require.Contains(t, rehearsed, "output 5 → 10000")
	require.Contains(t, rehearsed, "0.9995 USD")
	done := into[repricingView](s, "prices", "reprice", file, "--reason", "a typing error")
	require.Equal(t, []repricedView{{"acme", 1, done.Organizations[0].Difference}}, done.Organizations)
	require.Equal(t, "0.9995 USD", done.Organizations[0].Difference.String())
	require.Contains(t, s.ok("prices", "reprice", file, "--reason", "again"), "nothing changed")
	require.Contains(t, s.ok("audit", "acme"), "a typing error")
	require.Contains(t, s.fails(exitFailed, "prices", "load", s.file("old.yaml", haiku("2025-10-01T00:00:00Z", "5"))), "prices reprice")
	s.ok("verify", "acme")
}
