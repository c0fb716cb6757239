package fakestripe

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options say where a server keeps its state and whom it tells of events.
type Options struct {
	StateFile     string // "" keeps everything in memory only
	WebhookURL    string // "" delivers no webhooks; events stay readable
	WebhookSecret string
	Limits        Limits           // none by default: tests send hundreds of requests a second
	Now           func() time.Time // nil is time.Now
	Log           *slog.Logger     // nil is slog.Default
}

// Server is one Stripe account in test mode. It is an http.Handler, safe for
// concurrent use.
type Server struct {
	now  func() time.Time
	log  *slog.Logger
	mux  *http.ServeMux
	plan *faultPlan
	hook *dispatcher

	limiter *limiter

	mu      sync.Mutex
	state   *state
	journal *journal
	local   *webhookEndpoint // from Options and SetWebhook
	broken  error            // the journal could not be written

	stop    context.CancelFunc
	stopped <-chan struct{}
	sweeper sync.WaitGroup
}

// New returns a server with the state that StateFile holds, if it exists. Only
// one server may use a StateFile at a time.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	state := newState()
	journal, err := openJournal(o.StateFile, state, o.Now())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		now: o.Now, log: o.Log, plan: newFaultPlan(o.Now), limiter: newLimiter(o.Limits), state: state, journal: journal,
		local: &webhookEndpoint{ID: localEndpoint}, stop: stop, stopped: ctx.Done(),
	}
	s.hook = newDispatcher(s.log, s.webhook, s.delivered)
	s.mux = s.routes()
	s.SetWebhook(o.WebhookURL, o.WebhookSecret)
	s.sweeper.Go(func() { s.sweep(ctx) })
	return s, nil
}

// SetWebhook changes where events are delivered from now on, the undelivered
// ones included. An empty url ends delivery.
func (s *Server) SetWebhook(url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local.URL, s.local.Secret = url, text(secret)
	s.hook.send(s.undelivered())
}

// undelivered lists the events that an earlier run, or an endpoint without a
// URL, left behind.
func (s *Server) undelivered() []*event {
	var waiting []*event
	for _, e := range s.state.events.list {
		if len(e.Waiting) > 0 {
			waiting = append(waiting, e)
		}
	}
	return waiting
}

// Close ends webhook deliveries, giving those under way a moment, and closes the
// journal. What was not delivered is delivered by the next server on the file.
func (s *Server) Close() error {
	s.stop()
	s.sweeper.Wait()
	s.hook.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.close()
}

// sweep lets time pass for what waits for the wall clock when nobody asks.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.settle()
		}
	}
}

// settle does what has become due, in a transaction of its own.
func (s *Server) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.begin(eventRequest{}, nil)
	t.settlePassing()
	if err := s.commit(t, nil); err != nil {
		s.log.Error("settle what is due", "error", err)
	}
	s.hook.send(t.emitted)
}
