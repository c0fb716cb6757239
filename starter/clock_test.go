package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at makes a usage line of an organisation at a time.
func at(id, organization, occurred string) string {
	line := strings.Replace(usageLine(id, "alice", "claude-sonnet-4-5", 100_000), `"acme"`, `"`+organization+`"`, 1)
	return strings.Replace(line, "2026-10-09T12:00:00Z", occurred, 1)
}

// relayToNobody does the relay's part where no workflow runs: news is dropped.
func relayToNobody(t *testing.T, s *shell) {
	t.Helper()
	a, _, _ := s.app()
	store, err := a.Store(t.Context())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var relaying sync.WaitGroup
	relaying.Go(func() {
		for ctx.Err() == nil {
			_, _ = store.RelayNudges(ctx, 100, func(context.Context, string) error { return nil })
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		relaying.Wait()
		a.close()
	})
}

func TestUsageIsPlayedWhileTimePasses(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	relayToNobody(t, s)
	s.ok("org", "create", "globex", "--test-clock", "2026-10-12T00:00:00Z")
	s.ok("org", "create", "realtime")
	s.ok("limits", "set", "acme", "--org", "--amount", "1.00", "--thresholds", "50,100")
	file := s.file("usage.ndjson", at("late", "acme", "2026-10-20T00:00:01Z")+ // in any order
		at("1", "acme", "2026-10-11T00:00:00Z")+at("2", "acme", "2026-10-11T00:14:59Z")+
		at("3", "acme", "2026-10-15T08:00:00Z")+at("before", "acme", "2026-10-02T00:00:00Z")+
		at("4", "globex", "2026-10-13T00:00:00Z")+at("end", "acme", "2026-10-20T00:00:00Z")+
		at("5", "realtime", "2026-10-13T00:00:00Z")+"torn\n")

	var view advancedView
	out := s.ok("clock", "advance", "--all", "--to", "2026-10-20", "--usage", file, "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(out), &view))
	require.EqualValues(t, 6, view.Usage.Accepted)
	require.EqualValues(t, 2, view.Usage.Rejected, "a torn line, and an organization that is not moved")
	require.EqualValues(t, 1, view.Usage.Later)
	require.Len(t, view.Organizations, 2)
	for _, org := range view.Organizations {
		require.Equal(t, time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC), org.To)
	}
	require.Len(t, view.Events, 2)
	require.Equal(t, "2026-10-11T00:14:59Z", view.Events[0].At.Format(time.RFC3339), "just after it happened")
	require.Equal(t, "2026-10-15T08:00:00Z", view.Events[1].At.Format(time.RFC3339))
	require.Equal(t, "notice", view.Events[0].Kind)

	again := s.ok("clock", "advance", "acme", "--to", "2026-10-20", "--usage", file)
	require.Contains(t, again, "Nothing else happened")
	require.Contains(t, again, "duplicates  5")
}

func TestClocksThatCannotBeMoved(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	require.Contains(t, s.fails(exitFailed, "clock", "advance", "acme", "--to", "2026-10-09"), "a clock only moves forward")
	require.Contains(t, s.fails(exitFailed, "clock", "advance", "nobody", "--to", "2026-10-09"), "does not exist")
	s.ok("org", "create", "realtime")
	require.Contains(t, s.fails(exitFailed, "clock", "advance", "realtime", "--to", "2099-01-01"), "lives in real time")
	require.Contains(t, s.fails(exitFailed, "clock", "advance", "acme", "--to", "2026-10-11", "--usage", "/no/such"), "no such file")

	other := newDatabaseShell(t)
	require.Contains(t, other.fails(exitFailed, "clock", "advance", "--all", "--to", "2026-10-11"), "no organization is on a test clock")
}

func TestWhoeverKeepsAClockFromRestingIsNamed(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	a, _, _ := s.app()
	defer a.close()
	store, err := a.Store(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.StartCycle(t.Context(), "acme", a.by())) // and nobody runs it
	complaint := s.fails(exitFailed, "clock", "advance", "acme", "--to", "2026-11-11", "--timeout", "100ms")
	require.Contains(t, complaint, "acme did not come to a rest within 100ms: billing-cycle/acme")
	require.Contains(t, complaint, "starter cycle start acme")
}
