package fakestripe

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

// The faults that can be ordered.
const (
	// FaultRefuse answers Status (503 by default) with Code before any work.
	FaultRefuse FaultKind = "refuse"
	// FaultRateLimit answers 429 rate_limit before any work.
	FaultRateLimit FaultKind = "rate_limit"
	// FaultLockTimeout answers 429 lock_timeout before any work: the object is
	// just being changed by somebody else.
	FaultLockTimeout FaultKind = "lock_timeout"
	// FaultOutage cuts connections before any work, or answers Status where one
	// is given, for MS milliseconds from its order (0: until it is cleared). It
	// strikes every match in that time; Nth and Times do not count.
	FaultOutage FaultKind = "outage"
	// FaultDrop does the work and cuts the connection without an answer.
	FaultDrop FaultKind = "drop"
	// FaultHalf does the work and ends the connection in the middle of the answer.
	FaultHalf FaultKind = "half"
	// FaultReset does the work and resets the connection in the middle of the answer.
	FaultReset FaultKind = "reset"
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

// FaultKinds are all kinds of faults.
func FaultKinds() []FaultKind {
	return []FaultKind{
		FaultRefuse, FaultRateLimit, FaultLockTimeout, FaultOutage, FaultDrop, FaultHalf, FaultReset,
		FaultError500, FaultDelay, FaultHold, FaultDecline,
	}
}

// Fault strikes requests that match Method ("" is any) and Path, a path.Match
// pattern such as /v1/invoices/*/pay ("" is any). The Nth match from its order on
// is struck first (0 and 1: the next), and Times in all (0: once; below 0: always).
// Requests without a valid key count for no fault.
type Fault struct {
	Kind   FaultKind `json:"kind"`
	Method string    `json:"method,omitempty"`
	Path   string    `json:"path,omitempty"`
	Nth    int       `json:"nth,omitempty"`
	Times  int       `json:"times,omitempty"`
	MS     int       `json:"ms,omitempty"`
	Status int       `json:"status,omitempty"`
	Code   string    `json:"code,omitempty"`
}

// On returns the fault for one endpoint, such as POST and /v1/invoices/*/pay.
func (f Fault) On(method, path string) Fault { f.Method, f.Path = method, path; return f }

// At returns the fault for the nth match from its order on, counted from 1.
func (f Fault) At(nth int) Fault { f.Nth = nth; return f }

// Repeat returns the fault for so many matches; below 0 is for ever.
func (f Fault) Repeat(times int) Fault { f.Times = times; return f }

// Outage is a Stripe that nobody reaches for as long by the server's clock.
func Outage(d time.Duration) Fault {
	return Fault{Kind: FaultOutage, MS: int(d.Milliseconds())}
}

// Scatter draws count different requests among the next span ones and a fault for
// each of them from kinds. The same seed gives the same plan.
func Scatter(seed uint64, span, count int, kinds ...FaultKind) []Fault {
	random := rand.New(rand.NewPCG(seed, 0))
	faults := make([]Fault, 0, count)
	at := random.Perm(span)[:min(count, span)]
	slices.Sort(at)
	for _, i := range at {
		faults = append(faults, Fault{Kind: kinds[random.IntN(len(kinds))], Nth: i + 1, MS: 50})
	}
	return faults
}

// listed names what is accepted.
func listed[T ~string](values []T) string {
	names := make([]string, len(values))
	for i, value := range values {
		names[i] = string(value)
	}
	return strings.Join(names, ", ")
}

// Check says what is wrong with a fault, and what is accepted.
func (f Fault) Check() error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("kind %q; accepted: %s", f.Kind, listed(FaultKinds()))
	}
	if _, err := path.Match(f.Path, ""); err != nil || (f.Path != "" && f.Path[0] != '/') {
		return fmt.Errorf("path %q; accepted: a pattern such as /v1/invoices/*/pay", f.Path)
	}
	if f.Nth < 0 || f.MS < 0 {
		return fmt.Errorf("nth %d, ms %d; accepted: 0 and above", f.Nth, f.MS)
	}
	if f.Status != 0 && (f.Status < 400 || f.Status > 599) {
		return fmt.Errorf("status %d; accepted: 400 to 599", f.Status)
	}
	return nil
}

// Ordered is a fault of the plan with what it has done so far.
type Ordered struct {
	Fault
	Seen   int `json:"seen"`   // matching requests since its order
	Struck int `json:"struck"` // of these, how many it has struck

	from time.Time
}

// Strike is one request that a fault struck.
type Strike struct {
	Kind   FaultKind `json:"kind"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Key    string    `json:"idempotency_key,omitempty"`
	At     time.Time `json:"at"`
}

// Plan is the fault plan as it stands: what is still to come, what has struck
// (the last 1,000), and how many answers are held now.
type Plan struct {
	Faults  []Ordered `json:"faults"`
	Strikes []Strike  `json:"strikes"`
	Held    int       `json:"held"`
}

const strikesKept = 1000

type faultPlan struct {
	mu       sync.Mutex
	now      func() time.Time
	faults   []*Ordered
	strikes  []Strike
	held     int
	released chan struct{}
}

func newFaultPlan(now func() time.Time) *faultPlan {
	return &faultPlan{now: now, released: make(chan struct{})}
}

// Inject orders faults, after those already ordered. It panics on a fault that
// can never strike, which is a mistake of the caller's.
func (s *Server) Inject(faults ...Fault) {
	for _, f := range faults {
		if err := f.Check(); err != nil {
			panic("fakestripe: " + err.Error())
		}
	}
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	now := s.plan.now()
	for _, f := range faults {
		s.plan.faults = append(s.plan.faults, &Ordered{Fault: f, from: now})
	}
}

// Faults is the plan as it stands.
func (s *Server) Faults() Plan {
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	s.plan.expire()
	shown := Plan{Faults: []Ordered{}, Strikes: append([]Strike{}, s.plan.strikes...), Held: s.plan.held}
	for _, f := range s.plan.faults {
		shown.Faults = append(shown.Faults, *f)
	}
	return shown
}

// ClearFaults ends every fault and forgets what has struck. What is held stays
// held until it is released.
func (s *Server) ClearFaults() {
	s.plan.mu.Lock()
	defer s.plan.mu.Unlock()
	s.plan.faults, s.plan.strikes = nil, nil
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

// strike returns the fault for this request, or nil. Every fault counts every
// match, so that a plan by request index means what it says; where two are due at
// once, the second waits for the next match.
func (p *faultPlan) strike(method, url, key string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	var struck *Ordered
	for _, f := range p.faults {
		if !f.matches(method, url) {
			continue
		}
		f.Seen++
		if struck == nil && (f.Kind == FaultOutage || f.Seen >= f.Nth) {
			struck = f
		}
	}
	if struck == nil {
		return nil
	}
	struck.Struck++
	p.strikes = append(p.strikes, Strike{Kind: struck.Kind, Method: method, Path: url, Key: key, At: p.now().UTC()})
	p.strikes = p.strikes[max(0, len(p.strikes)-strikesKept):]
	fault := struck.Fault
	p.expire()
	return &fault
}

// expire drops what will never strike again.
func (p *faultPlan) expire() {
	p.faults = slices.DeleteFunc(p.faults, func(f *Ordered) bool {
		if f.Kind == FaultOutage {
			return f.MS > 0 && p.now().Sub(f.from) >= time.Duration(f.MS)*time.Millisecond
		}
		return f.Times >= 0 && f.Struck >= max(1, f.Times)
	})
}

func (f *Fault) matches(method, url string) bool {
	match, err := path.Match(f.Path, url)
	return (f.Method == "" || f.Method == method) && (f.Path == "" || (err == nil && match))
}

// refusal is the answer of a request that is not even looked at; cut tells that
// there is none.
func (f *Fault) refusal() (answer *apiError, cut bool) {
	if f == nil {
		return nil, false
	}
	switch f.Kind {
	case FaultRateLimit:
		return rateLimited(), false
	case FaultLockTimeout:
		return lockTimeout(), false
	case FaultOutage:
		if f.Status == 0 {
			return nil, true
		}
	case FaultRefuse:
	default:
		return nil, false
	}
	return f.unavailable(), false
}

func (f *Fault) unavailable() *apiError {
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
