package fakestripe

import (
	"net/http"
	"sync"
	"time"
)

// Limits are how many requests are answered within one second; 0 is any number.
// Stripe itself takes 100 of a live account, 25 of a test account, and 25 on each
// endpoint, that is method and path without its ids.
type Limits struct {
	PerSecond   int `json:"per_second"`
	PerEndpoint int `json:"per_endpoint"`
}

// LiveLimits are Stripe's own for an account in live mode.
func LiveLimits() Limits { return Limits{PerSecond: 100, PerEndpoint: 25} }

// searchesPerSecond is what Stripe takes on search endpoints wherever limits hold.
const searchesPerSecond = 20

// limiter counts the requests of the last second, in all and on each endpoint.
type limiter struct {
	mu     sync.Mutex
	limits Limits
	all    window
	each   map[string]*window
	Refused
}

// Refused counts what the limits turned away.
type Refused struct {
	Account  int `json:"by_account"`
	Endpoint int `json:"by_endpoint"`
}

// window holds when the last requests came, oldest first.
type window []time.Time

// takes reports whether one more within a second stays within the limit.
func (w *window) takes(now time.Time, limit int) bool {
	for len(*w) > 0 && now.Sub((*w)[0]) >= time.Second {
		*w = (*w)[1:]
	}
	return limit == 0 || len(*w) < limit
}

func newLimiter(limits Limits) *limiter { return &limiter{limits: limits, each: map[string]*window{}} }

// admit counts a request, or says by which limit it is too many.
func (l *limiter) admit(endpoint string, search bool, now time.Time) (reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limits == (Limits{}) {
		return ""
	}
	own := l.each[endpoint]
	if own == nil {
		own = &window{}
		l.each[endpoint] = own
	}
	limit := l.limits.PerEndpoint
	if search && limit > searchesPerSecond {
		limit = searchesPerSecond
	}
	switch {
	case !l.all.takes(now, l.limits.PerSecond):
		l.Account++
		return "global-rate"
	case !own.takes(now, limit):
		l.Endpoint++
		return "endpoint-rate"
	}
	l.all, *own = append(l.all, now), append(*own, now)
	return ""
}

// SetLimits changes the limits from now on.
func (s *Server) SetLimits(limits Limits) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	s.limiter.limits = limits
}

// Limits are those that hold, and what they have turned away so far.
func (s *Server) Limits() (Limits, Refused) {
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	return s.limiter.limits, s.limiter.Refused
}

func rateLimited() *apiError {
	return &apiError{
		Status: http.StatusTooManyRequests, Unsaved: true, Type: "invalid_request_error", Code: "rate_limit",
		Message: "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
	}
}

func lockTimeout() *apiError {
	return &apiError{
		Status: http.StatusTooManyRequests, Unsaved: true, Type: "invalid_request_error", Code: "lock_timeout",
		Message: "This object cannot be accessed right now because another API request or Stripe process is currently " +
			"accessing it. If you see this error intermittently, retry the request.",
	}
}
