package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// guard lets only those requests in whose key is known, was made for the scope,
// opens the organisation of the path, and has not sent too many; and whose query
// the route takes.
func (s *server) guard(scope string, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, refused := s.auth.authenticate(r)
		if refused != nil {
			s.turnAway(w, r, refused)
			return
		}
		organization := r.PathValue("org")
		switch {
		case !key.may(scope):
			s.Log.Warn("key refused", "request_id", requestID(r), "key", key.ID, "scope", scope)
			s.fail(w, r, http.StatusForbidden, "the key was not made for this; accepted: one with the scope "+scope, "")
		case organization != "" && !key.opens(organization):
			s.Log.Warn("key refused", "request_id", requestID(r), "key", key.ID, "organization", organization)
			s.refuse(w, r, noOrganization(organization))
		default:
			if refused := s.checkQuery(r); refused != nil {
				s.fail(w, r, refused.status, refused.message, refused.field)
				return
			}
			handle(w, r.WithContext(context.WithValue(r.Context(), keyOfRequest{}, key)))
		}
	}
}

// noOrganization is said of an organisation that does not exist, and of one that
// exists for others.
func noOrganization(id string) error { return billing.NotFound("organization %q does not exist", id) }

// turnAway answers a request that is not authenticated.
func (s *server) turnAway(w http.ResponseWriter, r *http.Request, refused *denial) {
	switch {
	case refused.err != nil:
		s.refuse(w, r, refused.err)
	case refused.wait > 0:
		message := "the key has sent too many requests; try again later"
		if refused.address {
			message = "too many wrong keys came from this address; try again later"
			s.Log.Warn("too many wrong keys", "request_id", requestID(r), "address", s.auth.throttle.address(r))
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.wait.Seconds()))))
		s.fail(w, r, http.StatusTooManyRequests, message, "")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="arrears"`)
		s.fail(w, r, http.StatusUnauthorized, "accepted: Authorization: Bearer KEY, with a key of starter keys create", "")
	}
}

// retryAfter is when those who met an outage may come again, in seconds.
const retryAfter = "5"

// refuse answers an error by its kind. What nobody planned is told to the log,
// and to the caller only that it may be tried again.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, billing.ErrNotFound):
		s.fail(w, r, http.StatusNotFound, err.Error(), "")
	case errors.Is(err, billing.ErrInvalid):
		s.fail(w, r, http.StatusBadRequest, err.Error(), "")
	case errors.Is(err, billing.ErrConflict):
		s.fail(w, r, http.StatusConflict, err.Error(), "")
	case r.Context().Err() != nil: // nobody reads the answer
		s.Log.Info("the caller went away", "request_id", requestID(r), "path", r.URL.Path)
		s.fail(w, r, http.StatusServiceUnavailable, "the request was given up", "")
	default:
		s.Log.Error("request failed", "request_id", requestID(r), "path", r.URL.Path, "error", err)
		s.noteDegraded(err)
		w.Header().Set("Retry-After", retryAfter)
		s.fail(w, r, http.StatusServiceUnavailable, "the gateway cannot do this now; try again, nothing is stored twice", "")
	}
}

// problem is the body of every error.
type problem struct {
	Message   string  `json:"message"`
	Field     *string `json:"field"`
	RequestID string  `json:"request_id"`
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, status int, message, field string) {
	if r.URL.Path == logsPath {
		writeStatus(w, r, status, message, field)
		return
	}
	p := problem{Message: message, RequestID: requestID(r)}
	if field != "" {
		p.Field = &field
	}
	writeJSON(w, status, map[string]problem{"error": p})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the reader is gone, and so is nobody else
}

// secure keeps answers, which are for programs, out of caches and off pages.
func secure(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
}

type requestIDKey struct{}

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// logged writes one line for each request, and survives what goes wrong in it.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := rand.Text()[:16]
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		w.Header().Set("X-Request-Id", id)
		secure(w.Header())
		seen := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.Log.Error("request panicked", "request_id", id, "panic", p)
				if seen.status == 0 {
					s.fail(seen, r, http.StatusInternalServerError, "the gateway failed", "")
				}
			}
			s.Log.Log(r.Context(), level(r, seen.status), "request", "request_id", id, "method", r.Method, "route", r.Pattern,
				"status", seen.status, "took", time.Since(start))
		}()
		next.ServeHTTP(seen, r)
	})
}

// level keeps probes out of the ordinary log and puts refusals into view.
func level(r *http.Request, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError, status == http.StatusUnauthorized:
		return slog.LevelWarn
	case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}

// recorder remembers the status that was answered.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the writer below.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
