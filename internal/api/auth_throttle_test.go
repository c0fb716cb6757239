package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func serving(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// ask sends a request for acme's limits from an address.
func ask(handler http.Handler, address, forwarded, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/v1/organizations/acme/limits", nil)
	r.RemoteAddr = address
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestKeysAreNotGuessedAtLineSpeed(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	gateway := New(Options{Reads: store, Keys: store, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)})
	const here, there = "203.0.113.7:4000", "203.0.113.8:4000"
	used, unused := store.made("acme", ScopeLimitsRead), store.made("acme", ScopeLimitsRead)
	require.Equal(t, http.StatusOK, ask(gateway, here, "", used).Code)
	for range 3 * wrongKeys {
		require.Equal(t, http.StatusUnauthorized, ask(gateway, here, "", "").Code, "no key is no guess")
	}
	var refused []int
	for i := range wrongKeys + 5 {
		guess := keyMark + fmt.Sprint(i)
		if i%2 == 0 {
			guess = fmt.Sprint("chosen by a person ", i)
		}
		refused = append(refused, ask(gateway, here, "", guess).Code)
	}
	require.Equal(t, http.StatusUnauthorized, refused[wrongKeys-1])
	require.Equal(t, []int{429, 429, 429, 429, 429}, refused[wrongKeys:])

	slowed := ask(gateway, here, "", key)
	require.Equal(t, http.StatusTooManyRequests, slowed.Code, "not told that it is the operator's own")
	require.NotEmpty(t, slowed.Header().Get("Retry-After"))
	require.Equal(t, http.StatusTooManyRequests, ask(gateway, here, "", unused).Code)
	require.Equal(t, http.StatusOK, ask(gateway, here, "", used).Code, "who was let in before still is")
	for _, right := range []string{key, unused} {
		require.Equal(t, http.StatusOK, ask(gateway, there, "", right).Code, "another address")
	}
}

func TestForwardedAddressesAreBelievedFromListedProxiesOnly(t *testing.T) {
	t.Parallel()
	s := newAuthThrottle([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	for _, c := range []struct{ remote, forwarded, want string }{
		{"203.0.113.7:1", "", "203.0.113.7"},
		{"203.0.113.7:1", "198.51.100.1", "203.0.113.7"},                     // not a proxy of ours
		{"10.0.0.1:1", "198.51.100.1", "198.51.100.1"},                       // one proxy
		{"10.0.0.1:1", "192.0.2.99, 198.51.100.1, 10.0.0.2", "198.51.100.1"}, // two; what the sender wrote before is not believed
		{"10.0.0.1:1", "198.51.100.1, nonsense", "10.0.0.1"},                 // a proxy that says nothing usable
		{"10.0.0.1:1", "", "10.0.0.1"},                                       //
		{"[::ffff:203.0.113.7]:1", "", "203.0.113.7"},                        //
		{"[2001:db8:1:2:3:4:5:6]:1", "", "2001:db8:1:2::"},                   // one sender has the network
		{"[fd00::1]:1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::"},            //
		{"@", "198.51.100.1", "invalid IP"},                                  // a socket
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		require.Equal(t, c.want, s.address(r).String(), "%+v", c)
	}
}

func TestStrangersFromEverywhereTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s := newAuthThrottle(nil)
	address := netip.MustParseAddr("10.0.0.0")
	for range maxThrottled + 500 {
		s.note(address)
		address = address.Next()
	}
	require.LessOrEqual(t, len(s.wrong), maxThrottled)
}

func TestAnswersCarrySecurityHeaders(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	gateway := New(Options{Reads: store, Keys: store, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)})
	for _, presented := range []string{key, "wrong"} {
		header := ask(gateway, "203.0.113.7:4000", "", presented).Header()
		require.Equal(t, "no-store", header.Get("Cache-Control"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
		require.NotEmpty(t, header.Get("X-Request-Id"))
		require.Empty(t, header.Get("Server"))
	}
}
