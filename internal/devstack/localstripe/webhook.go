package localstripe

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	deliveryTries   = 10
	firstPause      = 200 * time.Millisecond
	longestPause    = time.Minute
	deliveryLimit   = 10 * time.Second
	deliveriesOpen  = 16
	closingPatience = 2 * time.Second
)

// dispatcher delivers events to endpoints: each at least once, in no order, and
// without anybody waiting for it.
type dispatcher struct {
	log       *slog.Logger
	client    *http.Client
	compose   func(e *event, endpoint string) (url, secret string, body []byte)
	delivered func(e *event, endpoint string, taken bool)

	mu      sync.Mutex
	closed  bool
	closing chan struct{} // no new tries
	ctx     context.Context
	cancel  context.CancelFunc
	slots   chan struct{}
	open    sync.WaitGroup
	under   map[string]bool // event and endpoint that already have a goroutine
}

func newDispatcher(
	log *slog.Logger, compose func(*event, string) (string, string, []byte), delivered func(*event, string, bool),
) *dispatcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &dispatcher{
		log: log, client: &http.Client{Timeout: deliveryLimit}, compose: compose, delivered: delivered,
		closing: make(chan struct{}), ctx: ctx, cancel: cancel, slots: make(chan struct{}, deliveriesOpen),
		under: map[string]bool{},
	}
}

// send starts the delivery of what waits, unless it is already under way. The
// caller holds the server's lock, which guards Waiting.
func (d *dispatcher) send(events []*event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	for _, e := range events {
		for _, endpoint := range e.Waiting {
			if name := e.ID + " " + endpoint; !d.under[name] {
				d.under[name] = true
				d.open.Go(func() { d.deliver(e, endpoint, name) })
			}
		}
	}
}

// deliver tries until the endpoint takes the event, is given up, or the server
// closes; in the last case the event stays undelivered for the next run.
func (d *dispatcher) deliver(e *event, endpoint, name string) {
	defer func() {
		d.mu.Lock()
		delete(d.under, name)
		d.mu.Unlock()
	}()
	pause := firstPause
	for try := 1; ; try++ {
		taken, err := d.try(e, endpoint)
		if taken || (err != nil && try == deliveryTries) {
			if err != nil {
				d.log.Warn("webhook given up", "event", e.ID, "type", e.Type, "endpoint", endpoint, "error", err)
			}
			d.delivered(e, endpoint, taken)
			return
		}
		if err == nil {
			return // nowhere to deliver now
		}
		select {
		case <-d.closing:
			return
		case <-time.After(pause):
		}
		pause = min(3*pause, longestPause)
	}
}

// try posts the event once. No error and not taken means no URL, or closing.
func (d *dispatcher) try(e *event, endpoint string) (taken bool, err error) {
	select {
	case <-d.closing:
		return false, nil
	case d.slots <- struct{}{}:
	}
	defer func() { <-d.slots }()
	url, secret, body := d.compose(e, endpoint)
	if url == "" {
		return false, nil
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	req.Header.Set("Stripe-Signature", sign(time.Now(), body, secret))
	answer, err := d.client.Do(req)
	if err != nil {
		return false, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, bodyLimit)) // lets the connection be used again
	_ = answer.Body.Close()                                            // its content does not matter
	if answer.StatusCode/100 != 2 {
		return false, fmt.Errorf("endpoint answered %s", answer.Status)
	}
	return true, nil
}

// sign makes the Stripe-Signature header. Its time is the real one whatever
// Options.Now says, since the receiver checks it against its own clock.
func sign(at time.Time, body []byte, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// close ends what waits for its next try and gives tries under way a moment.
func (d *dispatcher) close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	d.mu.Unlock()
	close(d.closing)
	patience := time.AfterFunc(closingPatience, d.cancel)
	d.open.Wait()
	patience.Stop()
	d.cancel()
}
