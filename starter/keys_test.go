package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysOpenWhatTheyWereMadeFor(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.ok("org", "create", "globex", "--start", "2026-10-01")
	server := newTestGateway(t, s)
	get := func(key, path string) int {
		status, _ := call(t, http.MethodGet, server.URL+path, "", "Authorization", "Bearer "+key)
		return status
	}
	acme := into[createdKey](s, "keys", "create", "--scopes", "spend:read,limits:read", "--org", "acme")
	all := into[createdKey](s, "keys", "create", "--scopes", "spend:read", "--all", "--as", "ops", "--reason", "reports")
	require.Equal(t, http.StatusOK, get(acme.Key, "/v1/organizations/acme/spend"))
	require.Equal(t, http.StatusNotFound, get(acme.Key, "/v1/organizations/globex/spend"))
	require.Equal(t, http.StatusNotFound, get(acme.Key, "/v1/organizations/nobody/spend"))
	require.Equal(t, http.StatusOK, get(all.Key, "/v1/organizations/globex/spend"))
	require.Equal(t, http.StatusForbidden, get(all.Key, "/v1/organizations/globex/limits"))
	require.Equal(t, http.StatusUnauthorized, get(acme.Prefix, "/v1/organizations/acme/spend"))

	status, answer := call(t, http.MethodPost, server.URL+"/v1/usage", usageLine("1", "alice", "claude-sonnet-4-5", 1), "Content-Type", "application/x-ndjson",
		"Authorization", "Bearer "+into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "globex").Key)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, answer, `"rejected"`)

	listed := into[[]keyView](s, "keys", "list", "--org", "acme")
	require.Len(t, listed, 2, "its own and the one that opens all")
	require.NotNil(t, listed[0].LastUsedAt)
	require.NotContains(t, s.ok("keys", "list"), acme.Key, "shown once")
	for _, trail := range []string{"audit acme", "audit globex", "audit"} {
		shown := s.ok(strings.Fields(trail)...)
		require.Contains(t, shown, all.ID, "who let the key for all in, and why, %s", trail)
		require.Contains(t, shown, "reports")
		require.Equal(t, trail == "audit acme", strings.Contains(shown, acme.ID), trail)
		require.Equal(t, trail == "audit", strings.Contains(shown, "prices.load"), trail)
	}

	require.True(t, into[revokedKey](s, "keys", "revoke", acme.ID).Revoked)
	require.Equal(t, http.StatusUnauthorized, get(acme.Key, "/v1/organizations/acme/spend"), "at once")
	require.Contains(t, s.ok("keys", "revoke", acme.ID), "nothing changed")
	require.NotNil(t, into[[]keyView](s, "keys", "list")[0].RevokedAt)
}

func TestKeysThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	for says, args := range map[string][]string{
		"--scopes is missing":             {"--all"},
		`--scopes "everything"; accepted`: {"--scopes", "everything", "--all"},
		"exactly one of --org, --all":     {"--scopes", "admin"},
		`--role "janitor"; accepted`:      {"--scopes", "admin", "--all", "--role", "janitor"},
		"--org is empty":                  {"--scopes", "admin", "--org", ""},
	} {
		require.Contains(t, s.fails(exitUsage, append([]string{"keys", "create"}, args...)...), says)
	}
	require.Contains(t, s.fails(exitFailed, "keys", "create", "--scopes", "admin", "--org", "nobody"), "does not exist")
	require.Contains(t, s.fails(exitFailed, "keys", "revoke", "key_none"), "starter keys list")
	require.Contains(t, s.ok("keys", "list"), "There are no keys")
}
