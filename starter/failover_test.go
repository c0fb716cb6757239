package main

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// TestThePrimaryIsFoundAndWithASynchronousStandbyNothingIsLost: what
// decides about money is read where it is written, before and after the failover.
func TestThePrimaryIsFoundAndWithASynchronousStandbyNothingIsLost(t *testing.T) {
	t.Parallel()
	servers := pgtest.StartPair(t, "arrears")
	both := servers.URL("arrears")
	require.NoError(t, postgres.Migrate(t.Context(), both), "the standby is passed by")
	servers.Synchronize()
	s := onDatabase(t, both)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10T00:00:00Z", "--start", "2026-10-01")

	refused := s.at(servers.StandbyURL("arrears")).fails(exitFailed, "org", "list")
	require.Contains(t, refused, "DATABASE_URL")
	require.Contains(t, refused, "target_session_attrs=read-write")
	require.ErrorContains(t, postgres.Migrate(t.Context(), servers.StandbyURL("arrears")), "target_session_attrs=read-write")
	for _, lagging := range []string{"any", "standby", "prefer-standby", "read-only"} {
		refused := s.at(both+"&target_session_attrs="+lagging).fails(exitFailed, "org", "list")
		require.Contains(t, refused, "target_session_attrs="+lagging)
		require.Contains(t, refused, "accepted: read-write")
	}
	s.at(both+"&target_session_attrs=primary").ok("org", "list")

	server := newTestGateway(t, s)
	writers := startWriters(t, server.URL, 8)
	writers.until(50)
	servers.FailOver()
	writers.until(writers.stored() + 50)
	acknowledged := writers.stop()
	s = s.at(servers.StandbyURL("arrears")) // the primary now, alone
	require.Equal(t, strconv.Itoa(acknowledged), s.sql(`SELECT count(*) FROM usage_events`))
	require.Equal(t, "0", s.sql(`SELECT count(*) FROM unnest($1::text[]) id WHERE NOT EXISTS (SELECT 1 FROM usage_events WHERE event_id = id)`,
		writers.ids()))
	require.Zero(t, writers.others.Load(), "answers are 200, 503 with Retry-After, or none")
	status, _ := call(t, http.MethodGet, server.URL+"/readyz", "")
	require.Equal(t, http.StatusOK, status)
	s.ok("verify", "acme")
}
