package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// authenticated lets only those in who know the key.
func (s *server) authenticated(handle http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(s.Key))
	return func(w http.ResponseWriter, r *http.Request) {
		key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(key)) // of equal length, so that comparing takes equally long
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !bearer || s.Key == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="arrears"`)
			s.fail(w, r, http.StatusUnauthorized, "accepted: Authorization: Bearer KEY, with the key of ARREARS_API_KEY", "")
			return
		}
		handle(w, r)
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
	default:
		s.Log.Error("request failed", "request_id", requestID(r), "path", r.URL.Path, "error", err)
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
	p := problem{Message: message, RequestID: requestID(r)}
	if field != "" {
		p.Field = &field
	}
	writeJSON(w, status, map[string]problem{"error": p})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the reader is gone, and so is nobody else
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
