package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// refusedAs asks for a path, which must be refused, and returns what is said of
// which field.
func refusedAs(t *testing.T, ask func(path string) (int, string), path string) (field, message string) {
	t.Helper()
	status, body := ask(path)
	require.Equal(t, http.StatusBadRequest, status, "%s: %s", path, body)
	var answer struct {
		Error struct {
			Message string  `json:"message"`
			Field   *string `json:"field"`
		} `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	if answer.Error.Field != nil {
		field = *answer.Error.Field
	}
	return field, answer.Error.Message
}

// asking is a gateway whose database refuses whatever reaches it, so that nothing
// which should be refused before can pass for refused.
func asking(t *testing.T) func(path string) (int, string) {
	t.Helper()
	server, store := newGateway(t, nil)
	store.broken = errors.New(`invalid byte sequence for encoding "UTF8": 0x00 (SQLSTATE 22021)`)
	return func(path string) (int, string) {
		status, _, body := send(t, server, request{method: http.MethodGet, path: path, key: key})
		return status, body
	}
}

func TestEveryReadRefusesParametersThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	ask := asking(t)
	routes := newServer(Options{Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)}).routes
	asked := 0
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet || !strings.HasPrefix(path, "/v1/") {
			continue
		}
		asked++
		path = strings.NewReplacer("{org}", "acme", "{period}", "2026-10-01", "{revision}", "2").Replace(path)
		field, message := refusedAs(t, ask, path+"?perriod=2026-10-01")
		require.Equal(t, "perriod", field, path)
		require.Contains(t, message, "perriod: accepted: ", path)
		require.NotContains(t, message, "no query parameters", path)
	}
	require.Equal(t, 7, asked)
}

func TestQueriesThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	ask := asking(t)
	const organization = "/v1/organizations/acme/"
	for path, c := range map[string]struct{ field, says string }{
		"spend?usr=alice":                        {"usr", "usr: accepted: user, period, limit, cursor"},
		"spend?from=2026-10-01":                  {"from", "from: accepted: user, period, limit, cursor"},
		"spend?user=%00":                         {"user", "user: accepted: 1 to 200 bytes of text without control characters"},
		"spend?user=a%0Ab":                       {"user", "user: accepted: "},
		"spend?user=%ff":                         {"user", "user: accepted: "},
		"spend?user=" + strings.Repeat("u", 201): {"user", "user: accepted: 1 to 200 bytes"},
		"spend?user=a&user=b":                    {"user", "user: it is given 2 times; accepted: once"},
		"spend?period=%00":                       {"period", "period: accepted: at most 1000 bytes of text without control characters"},
		"spend?period=2026-10-01&user=a":         {"", "period: accepted: without user"},
		"spend?user=%zz":                         {"", "the query cannot be read; accepted: name=value with %-escapes"},
		"spend?user=a;period=2026-10-01":         {"", "the query cannot be read"},
		"spend?%00=1":                            {"", `"\x00": accepted: user, period, limit, cursor`},
		"limits?user=alice":                      {"user", "user: accepted: limit, cursor"},
		"limits?limit=1&limit=2":                 {"limit", "limit: it is given 2 times"},
		"invoices?status=open":                   {"status", "status: accepted: limit, cursor"},
		"invoices/2026-10-01?user=alice":         {"user", "user: accepted: members"},
		"invoices/2026-10-01?members=all":        {"", `members: "all"; accepted: true, false`},
		"notices?all=yes":                        {"", `all: "yes"; accepted: true, false`},
		"notices?cursor=" + forgedCursor("/v1/organizations/acme/notices", "2026\x00"): {"", "cursor: it is not one of this list"},
		"spend.csv?since=2026-10-01":   {"since", "since: accepted: period, from, to, by"},
		"spend.csv?from=a&from=b&to=c": {"from", "from: it is given 2 times"},
		"spend.csv?period=%C3%28":      {"period", "period: accepted: "},
	} {
		field, message := refusedAs(t, ask, organization+path)
		require.Equal(t, c.field, field, path)
		require.Contains(t, message, c.says, path)
	}
	status, body := ask("/v1/organizations/acme/invoices/2026-10-01%00")
	require.Equal(t, http.StatusNotFound, status, body)
}

// forgedCursor is a cursor of a path that no answer gave.
func forgedCursor(path, position string) string {
	r, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		panic(err)
	}
	filters := filtersOf(r)
	return base64.RawURLEncoding.EncodeToString(append(filters[:filterBytes:filterBytes], position...))
}

func TestWritesTakeNoParametersButTheirOwn(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	for _, r := range []request{
		{method: http.MethodPost, path: "/v1/usage?dry_run=true", contentType: ndjson, body: line("1", "acme")},
		{method: http.MethodPost, path: "/v1/limits/check?user=alice", contentType: "application/json", body: `{"organization":"acme","product":"chat"}`},
		{method: http.MethodPut, path: "/v1/organizations/acme/limits?scope=user", contentType: "application/json", body: `{"scope":"organization","amount":"1"}`},
	} {
		r.key = key
		status, _, body := send(t, server, r)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, "accepted here: no query parameters")
	}
	require.Empty(t, store.calls, "nothing is stored")
	status, _, body := send(t, server, request{method: http.MethodDelete, path: "/v1/organizations/acme/limits?scope=user&subject=a&reason=left&user=a", key: key})
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "user: accepted: scope, subject, reason")
}

func TestAQueryIsLookedAtBehindTheKey(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	status, _, _ := send(t, server, request{method: http.MethodGet, path: "/v1/organizations/acme/spend?x=1"})
	require.Equal(t, http.StatusUnauthorized, status)
	for _, path := range []string{"/healthz?t=1", "/readyz?verbose"} {
		status, _, _ = send(t, server, request{method: http.MethodGet, path: path})
		require.Equal(t, http.StatusOK, status, "a probe that asks for nothing")
	}
}
