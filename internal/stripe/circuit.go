package stripe

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// circuitPause is how long Stripe is left alone after it has refused the key.
const circuitPause = time.Minute

// circuit stops all calls for a while once Stripe refuses the key (401) or what it
// may do (403): it would refuse the next ones as well, and only a person can help.
// One call then tries whether somebody has.
type circuit struct {
	next  http.RoundTripper
	log   *slog.Logger
	pause time.Duration
	now   func() time.Time

	mu      sync.Mutex
	until   time.Time // no calls before; zero = closed
	status  int       // what opened it
	probing bool
}

// keyRefused is a call that was not made, because Stripe refuses the key.
type keyRefused struct {
	status int
	wait   time.Duration
}

func (e *keyRefused) Error() string {
	return fmt.Sprintf("Stripe refuses STRIPE_SECRET_KEY (%d): not asked again for %s; give it a key that is good, with the rights it needs",
		e.status, e.wait.Round(time.Second))
}

// RoundTrip implements http.RoundTripper.
func (c *circuit) RoundTrip(r *http.Request) (*http.Response, error) {
	if wait, status := c.rests(); wait > 0 {
		if r.Body != nil {
			_ = r.Body.Close() // as a RoundTripper must
		}
		return nil, &keyRefused{status, wait}
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		c.settle(0)
		return nil, err
	}
	c.settle(answer.StatusCode)
	return answer, nil
}

// rests tells how long calls still rest, and lets one through when they no longer
// do.
func (c *circuit) rests() (time.Duration, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.IsZero() {
		return 0, 0
	}
	if wait := c.until.Sub(c.now()); wait > 0 {
		return wait, c.status
	}
	if c.probing {
		return time.Second, c.status
	}
	c.probing = true
	return 0, 0
}

// settle opens the circuit on a refused key, and closes it on any other answer.
// No answer at all leaves it to the next call.
func (c *circuit) settle(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden
	switch {
	case refused && c.until.IsZero():
		c.log.Error("Stripe refuses the key: nothing is invoiced or collected until it has a good one", "status", status)
	case status != 0 && !refused && !c.until.IsZero():
		c.log.Info("Stripe takes the key again")
	}
	switch {
	case refused:
		c.until, c.status = c.now().Add(c.pause), status
	case status != 0:
		c.until = time.Time{}
	}
	c.probing = false
}
