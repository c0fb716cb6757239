package stripe

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	firstPatience = 100 * time.Millisecond
	lastPatience  = 2 * time.Second
)

// rateLimitRetry makes a call again that Stripe turned away for its rate alone, or since
// somebody else was just changing the object (429: nothing was done), for as long
// as the call may take. It is for commands, which no queue holds back and behind
// which a person waits; a worker's calls are made again by Temporal.
type rateLimitRetry struct{ next http.RoundTripper }

func (p rateLimitRetry) RoundTrip(request *http.Request) (*http.Response, error) {
	for pause := firstPatience; ; pause = min(2*pause, lastPatience) {
		response, err := p.next.RoundTrip(request)
		repeatable := request.Body == nil || request.GetBody != nil
		if err != nil || response.StatusCode != http.StatusTooManyRequests || !repeatable {
			return response, err
		}
		wait := pause
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = time.Duration(seconds) * time.Second
		}
		if deadline, set := request.Context().Deadline(); set && time.Until(deadline) < wait {
			return response, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
		_ = response.Body.Close()
		select {
		case <-request.Context().Done():
			return nil, request.Context().Err()
		case <-time.After(wait):
		}
		if request.GetBody != nil {
			body, err := request.GetBody()
			if err != nil {
				return nil, err
			}
			request = request.Clone(request.Context())
			request.Body = body
		}
	}
}
