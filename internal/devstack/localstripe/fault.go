package localstripe

import (
	"net/http"
	"path"
	"sync"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

// The faults that can be ordered.
const (
	// FaultRefuse answers Status (503 by default) with Code before any work.
	FaultRefuse FaultKind = "refuse"
	// FaultDrop does the work and cuts the connection without an answer.
	FaultDrop FaultKind = "drop"
	// FaultError500 does the work, answers 500 and stores that under the key.
	FaultError500 FaultKind = "error500"
	// FaultDelay does the work and answers MS milliseconds later; until then
	// the key is in use.
	FaultDelay FaultKind = "delay"
	// FaultHold does the work and keeps the answer until it is released or the
	// client goes away; the key already replays.
	FaultHold FaultKind = "hold"
	// FaultDecline has the bank decline a charge with decline code Code.
	FaultDecline FaultKind = "decline"
)

// Fault strikes requests that match Method ("" is any) and Path, a path.Match
// pattern such as /v1/invoices/*/pay ("" is any). The Nth match from now is
// struck first (0 and 1: the next), and Times in all (0: once; below 0: always).
type Fault struct {
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Nth    int       `json:"nth"`
	Times  int       `json:"times"`
	Kind   FaultKind `json:"kind"`
	MS     int       `json:"ms"`
	Status int       `json:"status"`
	Code   string    `json:"code"`
}

type faultPlan struct {
	mu       sync.Mutex
	faults   []*Fault
	held     int
	released chan struct{}
}

func newFaultPlan() *faultPlan { return &faultPlan{released: make(chan struct{})} }

// Inject orders faults, after those already ordered.
func (s *Server) Inject(faults ...Fault) {
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	for _, f := range faults {
		s.plan.faults = append(s.plan.faults, &f)
	}
}

// Release answers every request that a FaultHold keeps.
func (s *Server) Release() {
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	close(s.plan.released)
	s.plan.released = make(chan struct{})
}

// Held is how many answers are being kept now.
func (s *Server) Held() int {
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	return s.plan.held
}

// strike returns the fault for this request, or nil.
func (p *faultPlan) strike(method, url string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range p.faults {
		if !f.matches(method, url) {
			continue
		}
		if f.Nth > 1 {
			f.Nth--
			continue
		}
		f.Times--
		if f.Times == 0 || f.Times == -1 {
			p.faults = append(p.faults[:i:i], p.faults[i+1:]...)
		}
		struck := *f
		return &struck
	}
	return nil
}

func (f *Fault) matches(method, url string) bool {
	match, err := path.Match(f.Path, url)
	return (f.Method == "" || f.Method == method) && (f.Path == "" || (err == nil && match))
}

// refusal is the answer of a request that is not even looked at.
func (f *Fault) refusal() *apiError {
	if f == nil || f.Kind != FaultRefuse {
		return nil
	}
	e := internalError("An error ordered by the fault plan")
	if e.Status = f.Status; e.Status == 0 {
		e.Status = http.StatusServiceUnavailable
	}
	if e.Code = f.Code; e.Status < http.StatusInternalServerError {
		e.Type = "invalid_request_error"
	}
	return e
}

func (f *Fault) slow() bool { return f != nil && f.Kind == FaultDelay }

// spoil does to an answer what was ordered, and tells whether to cut the
// connection instead of answering.
func (s *Server) spoil(r *http.Request, f *Fault, key string) (cut bool) {
	if f == nil {
		return false
	}
	switch f.Kind {
	case FaultDrop:
		return true
	case FaultDelay:
		// Stripe works on, whether or not the client still waits.
		time.Sleep(time.Duration(f.MS) * time.Millisecond)
		s.mu.Lock()
		delete(s.state.replies.busy, key)
		s.mu.Unlock()
	case FaultHold:
		return s.hold(r)
	default: // it has struck before or during the work
	}
	return false
}

// hold waits for release; a client that has gone needs no answer.
func (s *Server) hold(r *http.Request) (gone bool) {
	s.plan.mu.Lock()
	s.plan.held++
	released := s.plan.released
	s.plan.mu.Unlock()
	defer func() {
		s.plan.mu.Lock()
		s.plan.held--
		s.plan.mu.Unlock()
	}()
	select {
	case <-released:
		return false
	case <-s.stopped:
		return true
	case <-r.Context().Done():
		return true
	}
}
