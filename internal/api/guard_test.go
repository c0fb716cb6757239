package api

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// UseKey knows the keys that the test made.
func (f *fakeStore) UseKey(_ context.Context, hash [32]byte) (Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return Key{}, f.broken
	}
	key, ok := f.keys[hash]
	if !ok {
		return Key{}, billing.NotFound("the key does not exist")
	}
	return key, nil
}

// made makes a key for scopes, of an organisation or ("") all.
func (f *fakeStore) made(organization string, scopes ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	secret, id, _ := NewKey()
	if f.keys == nil {
		f.keys = map[[32]byte]Key{}
	}
	f.keys[HashKey(secret)] = Key{ID: id, Organization: organization, Scopes: scopes, Role: "owner"}
	return secret
}

// madeFor makes a key of one member.
func (f *fakeStore) madeFor(organization, member string, scopes ...string) string {
	secret := f.made(organization, scopes...)
	f.mu.Lock()
	defer f.mu.Unlock()
	key := f.keys[HashKey(secret)]
	key.Member = member
	f.keys[HashKey(secret)] = key
	return secret
}

func (f *fakeStore) revoke(secret string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, HashKey(secret))
}

func (f *fakeStore) breakDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

// open are the routes that want no key.
var open = map[string]bool{"GET /healthz": true, "GET /readyz": true, "POST /v1/webhooks/stripe": true}

// guarded are the other routes: which scope they want, and a request about acme.
// Usage names its organisations event by event, and answers so.
var guarded = map[string]struct {
	scope string
	request
}{
	"POST /v1/usage":                                           {ScopeUsageWrite, request{path: "/v1/usage", contentType: ndjson, body: line("1", "acme")}},
	"POST /v1/logs":                                            {ScopeUsageWrite, request{path: "/v1/logs", contentType: "application/json", body: exportOf("acme", "", requestRecord("1"))}},
	"POST /v1/limits/check":                                    {ScopeLimitsRead, checkOf(`{"organization":"acme","product":"chat"}`)},
	"GET /v1/organizations/{org}/invoices":                     {ScopeSpendRead, request{path: "/v1/organizations/acme/invoices"}},
	"GET /v1/organizations/{org}/invoices/{period}":            {ScopeSpendRead, request{path: "/v1/organizations/acme/invoices/2026-10-01.html"}},
	"GET /v1/organizations/{org}/invoices/{period}/{revision}": {ScopeSpendRead, request{path: "/v1/organizations/acme/invoices/2026-10-01/2.csv"}},
	"GET /v1/organizations/{org}/spend":                        {ScopeSpendRead, request{path: "/v1/organizations/acme/spend"}},
	"GET /v1/organizations/{org}/limits":                       {ScopeLimitsRead, request{path: "/v1/organizations/acme/limits"}},
	"GET /v1/organizations/{org}/spend.csv":                    {ScopeSpendRead, request{path: "/v1/organizations/acme/spend.csv"}},
	"PUT /v1/organizations/{org}/limits": {ScopeLimitsWrite, request{
		path: "/v1/organizations/acme/limits", contentType: "application/json", body: `{"scope":"organization","amount":"1.00"}`,
	}},
	"DELETE /v1/organizations/{org}/limits": {ScopeLimitsWrite, request{path: "/v1/organizations/acme/limits?scope=organization"}},
	"GET /v1/organizations/{org}/notices":   {ScopeSpendRead, request{path: "/v1/organizations/acme/notices"}},
}

// TestEveryRouteIsGuarded walks through the routes that there are: no
// credential, another scope, another tenant, and the right key.
func TestEveryRouteIsGuarded(t *testing.T) {
	t.Parallel()
	for _, route := range newServer(Options{}).routes {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			c, known := guarded[route]
			if open[route] {
				return
			}
			require.True(t, known, "a route that this table does not know")
			server, store := newGateway(t, nil)
			c.method, _, _ = strings.Cut(route, " ")
			revoked := store.made("", ScopeAdmin)
			store.revoke(revoked)
			for _, none := range []string{"", "wrong", revoked, keyMark + strings.Repeat("x", 200)} {
				c.key = none
				status, header, _ := send(t, server, c.request)
				require.Equal(t, http.StatusUnauthorized, status, "no credential")
				require.NotEmpty(t, header.Get("WWW-Authenticate"))
			}
			for _, scope := range Scopes() {
				c.key = store.made("acme", scope)
				status, _, body := send(t, server, c.request)
				if scope == c.scope || scope == ScopeAdmin {
					require.Equal(t, http.StatusOK, status, body)
				} else {
					require.Equal(t, http.StatusForbidden, status, body)
					require.Contains(t, body, c.scope)
				}
			}
			c.key = store.made("globex", ScopeAdmin)
			calls := len(store.calls)
			status, _, body := send(t, server, c.request)
			switch route {
			case "POST /v1/usage":
				require.Contains(t, body, `"status":"rejected","field":"organization","reason":"\"acme\" does not exist"`)
			case "POST /v1/logs":
				require.Contains(t, body, `arrears.organization: is \"acme\", and the key opens \"globex\"`)
			default:
				require.Equal(t, http.StatusNotFound, status, body)
				require.Contains(t, body, `organization \"acme\" does not exist`, "as if it did not")
			}
			require.Len(t, store.calls, calls, "no row")
		})
	}
}

func TestAKeyThatSendsTooMuchWaits(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	server := httptest.NewServer(New(Options{Reads: store, Keys: store, Key: key, Rate: 2, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	ask := request{method: http.MethodGet, path: "/v1/organizations/acme/limits", key: store.made("", ScopeLimitsRead)}
	var seen []int
	var wait string
	for range 5 {
		status, header, _ := send(t, server, ask)
		seen = append(seen, status)
		wait += header.Get("Retry-After")
	}
	require.Equal(t, []int{200, 200, 429, 429, 429}, seen)
	require.Equal(t, "111", wait)
	for _, other := range []string{store.made("", ScopeLimitsRead), key, key, key} { // the operator's own has no rate
		ask.key = other
		status, _, _ := send(t, server, ask)
		require.Equal(t, http.StatusOK, status, "others are served")
	}
}

// TestAKnownKeyStillFailsOpen: while the database is away no key can be read
// either, and requests are not to stand still for that.
func TestAKnownKeyStillFailsOpen(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	known, unknown := store.made("acme", ScopeLimitsRead), store.made("acme", ScopeLimitsRead)
	ask := checkOf(`{"organization":"acme","product":"chat"}`)
	ask.key = known
	status, _, _ := send(t, server, ask)
	require.Equal(t, http.StatusOK, status)
	store.breakDown(errors.New("connection refused"))
	status, _, body := send(t, server, ask)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"degraded":true`)
	ask.key = unknown
	status, header, _ := send(t, server, ask)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, header.Get("Retry-After"))

	store.breakDown(nil)
	store.revoke(known)
	for _, broken := range []error{nil, errors.New("away again")} {
		store.breakDown(broken)
		ask.key = known
		status, _, _ = send(t, server, ask)
		require.NotEqual(t, http.StatusOK, status, "a key found revoked is forgotten")
	}
}

func TestKeysAreRandomAndKnownByTheirPrefix(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		secret, id, prefix := NewKey()
		require.True(t, strings.HasPrefix(secret, prefix+"_"))
		require.GreaterOrEqual(t, len(secret)-len(prefix)-1, 26, "130 bits")
		require.Equal(t, strings.TrimPrefix(id, "key_"), strings.TrimPrefix(prefix, keyMark))
		require.False(t, seen[secret] || seen[id])
		seen[secret], seen[id] = true, true
	}
}

func TestRefusedKeysAreLoggedWithoutTheKey(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	store := &fakeStore{known: map[string]bool{}}
	server := httptest.NewServer(New(Options{Reads: store, Keys: store, MaxBody: 4096, Log: slog.New(slog.NewTextHandler(&log, nil))}))
	secret := store.made("globex", ScopeLimitsRead)
	_, _, _ = send(t, server, request{method: http.MethodGet, path: "/v1/organizations/acme/limits", key: secret})
	server.Close()
	require.Contains(t, log.String(), "key refused")
	require.Contains(t, log.String(), "organization=acme")
	require.NotContains(t, log.String(), secret)
}
