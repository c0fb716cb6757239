package api

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// pingTimeout bounds how long the database may take to say that it is there.
	pingTimeout = 2 * time.Second
	// degradedLasts is for how long health speaks of a request that was turned away.
	degradedLasts = 15 * time.Second
)

// degraded remembers that requests were turned away for no fault of theirs.
type degraded struct{ last atomic.Pointer[turnedAway] }

type turnedAway struct {
	at  time.Time
	why string
}

// noteDegraded remembers why a request was turned away, without what is for the
// log alone.
func (s *server) noteDegraded(err error) {
	why := "the database did not do what it was asked; the log says why"
	if errors.Is(err, errBusy) {
		why = err.Error()
	}
	s.degraded.last.Store(&turnedAway{s.Now(), why})
}

// status is what health answers. The process is alive all the same, and it would
// help nobody to start it again.
type status struct {
	Status string `json:"status"` // ok or degraded
	Reason string `json:"reason,omitempty"`
}

func (s *server) status() status {
	if last := s.degraded.last.Load(); last != nil && s.Now().Sub(last.at) < degradedLasts {
		return status{"degraded", last.why}
	}
	return status{Status: "ok"}
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.status())
}

// ready asks the database, for those who decide whether to send requests here.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	if err := s.Ping(ctx); err != nil {
		s.Log.Warn("not ready", "error", err)
		writeJSON(w, http.StatusServiceUnavailable, status{"degraded", "the database does not answer"})
		return
	}
	if present, err := s.Behind(ctx); err == nil && present != "" { // requests are served all the while
		writeJSON(w, http.StatusOK, status{"degraded", "the database's server started anew or was replaced: billing waits until a worker knows what Stripe has since"})
		return
	}
	writeJSON(w, http.StatusOK, s.status())
}
