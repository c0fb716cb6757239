package fakestripe

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
	// deliveryLag is how long after it has happened an event is sent, where nothing
	// else was ordered: Stripe's own come a moment after the answer to the call that
	// they tell of, too, and not in front of it.
	deliveryLag     = 100 * time.Millisecond
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
	plan    *webhookPlan
	made    []Delivery
}

// Delivery is one try to deliver an event, and what came of it.
type Delivery struct {
	Event    string           `json:"event"`
	Type     string           `json:"type"`
	Endpoint string           `json:"endpoint"`
	Fault    WebhookFaultKind `json:"fault,omitempty"`
	Status   int              `json:"status,omitempty"` // of the answer
	Error    string           `json:"error,omitempty"`  // why there is none
	At       time.Time        `json:"at"`
}

// Webhooks are the faults of deliveries still to come, and the deliveries made (the
// last 10,000), oldest first.
type Webhooks struct {
	Faults     []OrderedWebhook `json:"faults"`
	Deliveries []Delivery       `json:"deliveries"`
}

const deliveriesKept = 10_000

// Webhooks shows the plan and what was delivered.
func (s *Server) Webhooks() Webhooks {
	s.hook.mu.Lock()
	defer s.hook.mu.Unlock()
	return Webhooks{Faults: s.hook.plan.shown(), Deliveries: append([]Delivery{}, s.hook.made...)}
}

func (d *dispatcher) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = nil
}

func (d *dispatcher) note(made Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = append(d.made, made)
	d.made = d.made[max(0, len(d.made)-deliveriesKept):]
}

func newDispatcher(
	log *slog.Logger, compose func(*event, string) (string, string, []byte), delivered func(*event, string, bool),
) *dispatcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &dispatcher{
		log: log, client: &http.Client{Timeout: deliveryLimit}, compose: compose, delivered: delivered,
		closing: make(chan struct{}), ctx: ctx, cancel: cancel, slots: make(chan struct{}, deliveriesOpen),
		under: map[string]bool{}, plan: &webhookPlan{},
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
				d.begin(e, endpoint, d.plan.strike(e.Type))
			}
		}
	}
}

// begin starts one delivery as it is to be treated.
func (d *dispatcher) begin(e *event, endpoint string, as treatment) {
	job := func(tried func()) {
		defer tried()
		d.deliver(e, endpoint, as, tried)
	}
	if as.batch != nil {
		as.batch.add(job)
		return
	}
	d.open.Go(func() { job(func() {}) })
}

// deliver does first what was ordered to go wrong, and then tries until the
// endpoint takes the event, is given up, or the server closes; in the last case
// the event stays undelivered for the next run.
func (d *dispatcher) deliver(e *event, endpoint string, as treatment, tried func()) {
	defer func() {
		d.mu.Lock()
		delete(d.under, e.ID+" "+endpoint)
		d.mu.Unlock()
	}()
	switch as.kind {
	case WebhookDrop:
		d.note(Delivery{Event: e.ID, Type: e.Type, Endpoint: endpoint, Fault: WebhookDrop, At: time.Now().UTC()})
		d.delivered(e, endpoint, false)
		return
	case WebhookDelay:
		if !d.pause(as.delay) {
			return
		}
	case "":
		if !d.pause(deliveryLag) {
			return
		}
	case WebhookDuplicate:
		for range max(2, as.copies) - 1 {
			d.open.Go(func() { _, _ = d.try(e, endpoint, as.kind) }) // the true one is tried until it is taken
		}
	default:
	}
	if as.kind.extra() {
		_, _ = d.try(e, endpoint, as.kind) // nobody waits for it to be taken
		as.kind = ""
	}
	d.persist(e, endpoint, as.kind, tried)
}

// persist tries until the endpoint takes the event, or is given up.
func (d *dispatcher) persist(e *event, endpoint string, kind WebhookFaultKind, tried func()) {
	pause := firstPause
	for try := 1; ; try++ {
		taken, err := d.try(e, endpoint, kind)
		tried()
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
		if !d.pause(pause) {
			return
		}
		pause = min(3*pause, longestPause)
	}
}

// pause waits, unless the server closes.
func (d *dispatcher) pause(t time.Duration) bool {
	select {
	case <-d.closing:
		return false
	case <-time.After(t):
		return true
	}
}

// try posts the event once, forged where that was ordered. No error and not taken
// means no URL, or closing.
func (d *dispatcher) try(e *event, endpoint string, kind WebhookFaultKind) (taken bool, err error) {
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
	made := Delivery{Event: e.ID, Type: e.Type, Endpoint: endpoint, Fault: kind, At: time.Now().UTC()}
	body, signature := prepare(kind, body, secret, time.Now())
	made.Status, err = d.post(url, body, signature)
	if err == nil && made.Status/100 != 2 {
		err = fmt.Errorf("endpoint answered %d", made.Status)
	} else if err != nil {
		made.Error = err.Error()
	}
	d.note(made)
	return err == nil, err
}

func (d *dispatcher) post(url string, body []byte, signature string) (status int, err error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	if signature != "" {
		req.Header.Set("Stripe-Signature", signature)
	}
	answer, err := d.client.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, bodyLimit)) // lets the connection be used again
	_ = answer.Body.Close()                                            // its content does not matter
	return answer.StatusCode, nil
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
