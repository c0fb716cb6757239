package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// keyTimeout bounds how long a key is looked up.
	keyTimeout = time.Second
	// outageGrace is how long a key that was good is taken for good while the
	// database is away: long enough that a limit check can still fail open.
	outageGrace = time.Hour
)

// authenticator knows who is who.
type authenticator struct {
	keys  Keys
	own   string // the operator's own key, of the environment: it opens everything; "" = none
	rate  rate.Limit
	burst int

	throttle *authThrottle

	mu    sync.Mutex
	known map[[32]byte]*knownKey // keys that were good; nobody gets in here by guessing
}

// knownKey is a key that was good, and how fast it sends.
type knownKey struct {
	key     Key
	seen    time.Time
	limiter *rate.Limiter
}

// denial is why somebody is not let in: their key sent too much, their address
// presented too many wrong ones, the keys cannot be read, or (none of these)
// their key is none.
type denial struct {
	wait    time.Duration
	address bool // it is the address that has to wait
	err     error
}

// newAuthenticator lets each key send so many requests a second, as many at once; 0 = any
// number.
func newAuthenticator(o Options) *authenticator {
	a := &authenticator{keys: o.Keys, own: o.Key, rate: rate.Inf, throttle: newAuthThrottle(o.Proxies), known: map[[32]byte]*knownKey{}}
	if o.Rate > 0 {
		a.rate, a.burst = rate.Limit(o.Rate), o.Rate
	}
	return a
}

// authenticate finds out who sends a request. An address that presented too many wrong
// keys is not even told whether this one is right, unless it is one of ours that
// was used here before: those are random, and nobody guesses one at any speed,
// while the operator's own may be anything.
func (a *authenticator) authenticate(r *http.Request) (*Key, *denial) {
	secret, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return nil, &denial{}
	}
	hash, from := HashKey(secret), a.throttle.address(r)
	if wait := a.throttle.wait(from); wait > 0 && a.remembered(hash) == nil {
		return nil, &denial{wait: wait, address: true}
	}
	key, refused := a.find(r, secret, hash)
	if refused != nil && *refused == (denial{}) {
		a.throttle.note(from)
	}
	return key, refused
}

// find looks a key up.
func (a *authenticator) find(r *http.Request, secret string, hash [32]byte) (*Key, *denial) {
	if own := HashKey(a.own); a.own != "" && subtle.ConstantTimeCompare(hash[:], own[:]) == 1 {
		return &Key{ID: "environment", Scopes: []string{ScopeAdmin}, Role: Roles()[0]}, nil
	}
	if !strings.HasPrefix(secret, keyMark) || len(secret) > 100 || a.keys == nil {
		return nil, &denial{}
	}
	known := a.remembered(hash)
	if known != nil {
		if wait := known.pass(); wait > 0 {
			return nil, &denial{wait: wait}
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), keyTimeout)
	defer cancel()
	key, err := a.keys.UseKey(ctx, hash)
	switch {
	case errors.Is(err, billing.ErrNotFound):
		a.forget(hash)
		return nil, &denial{}
	case err != nil && known != nil && time.Since(known.seen) < outageGrace:
		return &known.key, nil
	case err != nil:
		return nil, &denial{err: err}
	}
	if first := a.remember(hash, key); known == nil {
		if wait := first.pass(); wait > 0 {
			return nil, &denial{wait: wait}
		}
	}
	return &key, nil
}

// pass counts a request, or says how long it would have to wait.
func (k *knownKey) pass() time.Duration {
	turn := k.limiter.Reserve()
	wait := turn.Delay()
	if wait > 0 {
		turn.Cancel()
	}
	return wait
}

// remembered returns a copy of what is known of a key, or nil.
func (a *authenticator) remembered(hash [32]byte) *knownKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[hash]
	if known == nil {
		return nil
	}
	copied := *known
	return &copied
}

func (a *authenticator) remember(hash [32]byte, key Key) *knownKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.known[hash]
	if known == nil {
		known = &knownKey{limiter: rate.NewLimiter(a.rate, a.burst)}
		a.known[hash] = known
	}
	known.key, known.seen = key, time.Now()
	return &knownKey{limiter: known.limiter}
}

func (a *authenticator) forget(hash [32]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, hash)
}
