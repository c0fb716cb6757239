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
	// maxStrangers is how many addresses are remembered.
	maxStrangers = 10_000
)

// strangers are the addresses that presented wrong keys. They are slowed down, so
// that nobody guesses keys as fast as the line carries them.
type strangers struct {
	proxies []netip.Prefix // whose X-Forwarded-For is believed

	mu    sync.Mutex
	wrong map[netip.Addr]*rate.Limiter
}

func newStrangers(proxies []netip.Prefix) *strangers {
	return &strangers{proxies: proxies, wrong: map[netip.Addr]*rate.Limiter{}}
}

// wait is how long an address has to wait before it may try another key; 0 = it
// may now.
func (s *strangers) wait(from netip.Addr) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter := s.wrong[from]
	if limiter == nil {
		return 0
	}
	return time.Duration(max(0, 1-limiter.Tokens()) * float64(wrongKeyPause))
}

// note remembers a wrong key.
func (s *strangers) note(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limiter := s.wrong[from]
	if limiter == nil {
		s.makeRoom()
		limiter = rate.NewLimiter(rate.Every(wrongKeyPause), wrongKeys)
		s.wrong[from] = limiter
	}
	limiter.Allow()
}

// makeRoom forgets those who have not tried for a while, or else anybody: a
// flood from everywhere is no guessing from one place.
func (s *strangers) makeRoom() {
	if len(s.wrong) < maxStrangers {
		return
	}
	for address, limiter := range s.wrong {
		if limiter.Tokens() >= wrongKeys {
			delete(s.wrong, address)
		}
	}
	for address := range s.wrong {
		if len(s.wrong) < maxStrangers/10*9 { // and not again for the next one
			return
		}
		delete(s.wrong, address)
	}
}

// address is where a request comes from: the nearest address that is no trusted
// proxy's. Of what the sender may have written into X-Forwarded-For nothing is
// believed. An IPv6 address stands for its network of 64 bits, which one sender
// may have all to themselves.
func (s *strangers) address(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusts(from); i-- {
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

func (s *strangers) trusts(address netip.Addr) bool {
	for _, proxy := range s.proxies {
		if proxy.Contains(address) {
			return true
		}
	}
	return false
}
