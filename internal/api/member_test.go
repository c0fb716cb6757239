package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// do sends a request and returns status, headers and body.
func do(t *testing.T, client *http.Client, r *http.Request) (int, http.Header, string) {
	t.Helper()
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(body)
}

func inBase64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func resultsOf(t *testing.T, body string) []result {
	t.Helper()
	var answer struct{ Results []result }
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	return answer.Results
}

func TestAKeyOfOneMemberReportsThatMembersUsage(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	of := func(user string) string { return line("1", "acme")[:1] + user + line("1", "acme")[1:] }
	send := func(key, body string) result {
		_, _, answer := send(t, server, request{method: http.MethodPost, path: "/v1/usage", key: key, contentType: ndjson, body: body})
		return resultsOf(t, answer)[0]
	}
	alice := store.madeFor("acme", "alice", ScopeUsageWrite)
	require.Equal(t, "accepted", send(alice, of("")).Status)
	require.Equal(t, "alice", store.stored[0].Event.User, "whoever it left open")
	require.Equal(t, "duplicate", send(alice, of(`"user":"alice",`)).Status)
	for name, body := range map[string]string{
		"user":         of(`"user":"bob",`),
		"retracts":     `{"id":"2","organization":"acme","occurred_at":"2026-10-01T00:00:00Z","retracts":"1"}`,
		"organization": line("1", "globex"),
	} {
		refused := send(alice, body)
		require.Equal(t, "rejected", refused.Status, name)
		require.Equal(t, name, *refused.Field)
	}
	require.Len(t, store.stored, 2)
	require.Equal(t, "duplicate", send(store.made("acme", ScopeUsageWrite), of(`"user":"bob",`)).Status, "a key without a member reports for anybody")
}

func TestAKeyOfOneMemberAsksForThatMemberOnly(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	ask := checkOf("")
	ask.key = store.madeFor("acme", "saver", ScopeLimitsRead)
	for body, want := range map[string]int{
		`{"organization":"acme","user":"saver","product":"chat"}`:   http.StatusOK,
		`{"organization":"acme","product":"chat"}`:                  http.StatusOK,
		`{"organization":"acme","user":"spender","product":"chat"}`: http.StatusForbidden,
	} {
		ask.body = body
		status, _, answer := send(t, server, ask)
		require.Equal(t, want, status, answer)
	}
	require.Equal(t, []string{"saver", "saver"}, store.asked)
	status, _, answer := send(t, server, request{method: http.MethodGet, path: "/v1/organizations/acme/limits", key: ask.key})
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, answer, "the key is of one member")
}
