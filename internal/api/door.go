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

// door knows who is who.
type door struct {
	keys  Keys
	own   string // the operator's own key, of the environment: it opens everything; "" = none
	rate  rate.Limit
	burst int

	strangers *strangers

	mu    sync.Mutex
	known map[[32]byte]*knownKey // keys that were good; nobody gets in here by guessing
}

// knownKey is a key that was good, and how fast it sends.
type knownKey struct {
	key     Key
	seen    time.Time
	limiter *rate.Limiter
}

// shut is why somebody is not let in: their key sent too much, their address
// presented too many wrong ones, the keys cannot be read, or (none of these)
// their key is none.
type shut struct {
	wait    time.Duration
	address bool // it is the address that has to wait
	err     error
}

// newDoor lets each key send so many requests a second, as many at once; 0 = any
// number.
func newDoor(o Options) *door {
	d := &door{keys: o.Keys, own: o.Key, rate: rate.Inf, strangers: newStrangers(o.Proxies), known: map[[32]byte]*knownKey{}}
	if o.Rate > 0 {
		d.rate, d.burst = rate.Limit(o.Rate), o.Rate
	}
	return d
}

// open finds out who sends a request. An address that presented too many wrong
// keys is not even told whether this one is right, unless it is one of ours that
// was used here before: those are random, and nobody guesses one at any speed,
// while the operator's own may be anything.
func (d *door) open(r *http.Request) (*Key, *shut) {
	secret, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return nil, &shut{}
	}
	hash, from := HashKey(secret), d.strangers.address(r)
	if wait := d.strangers.wait(from); wait > 0 && d.remembered(hash) == nil {
		return nil, &shut{wait: wait, address: true}
	}
	key, refused := d.find(r, secret, hash)
	if refused != nil && *refused == (shut{}) {
		d.strangers.note(from)
	}
	return key, refused
}

// find looks a key up.
func (d *door) find(r *http.Request, secret string, hash [32]byte) (*Key, *shut) {
	if own := HashKey(d.own); d.own != "" && subtle.ConstantTimeCompare(hash[:], own[:]) == 1 {
		return &Key{ID: "environment", Scopes: []string{ScopeAdmin}, Role: Roles()[0]}, nil
	}
	if !strings.HasPrefix(secret, keyMark) || len(secret) > 100 || d.keys == nil {
		return nil, &shut{}
	}
	known := d.remembered(hash)
	if known != nil {
		if wait := known.pass(); wait > 0 {
			return nil, &shut{wait: wait}
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), keyTimeout)
	defer cancel()
	key, err := d.keys.UseKey(ctx, hash)
	switch {
	case errors.Is(err, billing.ErrNotFound):
		d.forget(hash)
		return nil, &shut{}
	case err != nil && known != nil && time.Since(known.seen) < outageGrace:
		return &known.key, nil
	case err != nil:
		return nil, &shut{err: err}
	}
	if first := d.remember(hash, key); known == nil {
		if wait := first.pass(); wait > 0 {
			return nil, &shut{wait: wait}
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
func (d *door) remembered(hash [32]byte) *knownKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.known[hash]
	if known == nil {
		return nil
	}
	copied := *known
	return &copied
}

func (d *door) remember(hash [32]byte, key Key) *knownKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.known[hash]
	if known == nil {
		known = &knownKey{limiter: rate.NewLimiter(d.rate, d.burst)}
		d.known[hash] = known
	}
	known.key, known.seen = key, time.Now()
	return &knownKey{limiter: known.limiter}
}

func (d *door) forget(hash [32]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, hash)
}
