package api

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// wrongKeys is how many wrong keys an address may present at once, and one
	// more after each wrongKeyPause.
	wrongKeys     = 20
	wrongKeyPause = 3 * time.Second
	// maxThrottled is how many addresses are remembered.
	maxThrottled = 10_000
)

// authThrottle are the addresses that presented wrong keys. They are slowed down, so
// that nobody guesses keys as fast as the line carries them.
type authThrottle struct {
	proxies []netip.Prefix // whose X-Forwarded-For is believed

	mu    sync.Mutex
	wrong map[netip.Addr]*rate.Limiter
}

func newAuthThrottle(proxies []netip.Prefix) *authThrottle {
	return &authThrottle{proxies: proxies, wrong: map[netip.Addr]*rate.Limiter{}}
}

// wait is how long an address has to wait before it may try another key; 0 = it
// may now.
func (t *authThrottle) wait(from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	limiter := t.wrong[from]
	if limiter == nil {
		return 0
	}
	return time.Duration(max(0, 1-limiter.Tokens()) * float64(wrongKeyPause))
}

// note remembers a wrong key.
func (t *authThrottle) note(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limiter := t.wrong[from]
	if limiter == nil {
		t.evict()
		limiter = rate.NewLimiter(rate.Every(wrongKeyPause), wrongKeys)
		t.wrong[from] = limiter
	}
	limiter.Allow()
}

// evict forgets those who have not tried for a while, or else anybody: a
// flood from everywhere is no guessing from one place.
func (t *authThrottle) evict() {
	if len(t.wrong) < maxThrottled {
		return
	}
	for address, limiter := range t.wrong {
		if limiter.Tokens() >= wrongKeys {
			delete(t.wrong, address)
		}
	}
	for address := range t.wrong {
		if len(t.wrong) < maxThrottled/10*9 { // and not again for the next one
			return
		}
		delete(t.wrong, address)
	}
}

// address is where a request comes from: the nearest address that is no trusted
// proxy's. Of what the sender may have written into X-Forwarded-For nothing is
// believed. An IPv6 address stands for its network of 64 bits, which one sender
// may have all to themselves.
func (t *authThrottle) address(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && t.trusts(from); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		from = hop.Unmap()
	}
	if from.Is6() {
		network, err := from.WithZone("").Prefix(64)
		if err == nil {
			return network.Addr()
		}
	}
	return from
}

func (t *authThrottle) trusts(address netip.Addr) bool {
	for _, proxy := range t.proxies {
		if proxy.Contains(address) {
			return true
		}
	}
	return false
}
