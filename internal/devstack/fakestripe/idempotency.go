package fakestripe

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

const (
	idempotencyKeyMost = 255
	repliesKept        = 24 * time.Hour
)

// savedReply is the first answer under an idempotency key.
type savedReply struct {
	Key       string    `json:"key"`
	Request   string    `json:"request"` // fingerprint of method, path and parameters
	RequestID string    `json:"request_id"`
	Status    int       `json:"status"`
	Body      []byte    `json:"body"`
	At        time.Time `json:"at"`
}

// replies are the answers of the last 24 hours, and the keys whose answer is
// still on its way.
type replies struct {
	saved map[string]*savedReply
	order []*savedReply
	busy  map[string]bool
}

func newReplies() replies {
	return replies{saved: map[string]*savedReply{}, busy: map[string]bool{}}
}

// find returns the reply to give again, nil if the key is new, or the refusal of
// a key that is in use or was used for something else.
func (s *replies) find(r *request, now time.Time) (*savedReply, *apiError) {
	if r.key == "" {
		return nil, nil
	}
	s.prune(now)
	if s.busy[r.key] {
		return nil, &apiError{
			Status: http.StatusConflict, Unsaved: true, Type: "invalid_request_error", Code: "idempotency_key_in_use",
			Message: "There is currently another in-progress request using this Idempotent Key (that probably means " +
				"you submitted twice, and the other request is still going through): " + r.key + ". Please try again later.",
		}
	}
	old, ok := s.saved[r.key]
	if !ok {
		return nil, nil
	}
	if old.Request != r.fingerprint() {
		return nil, &apiError{
			Status: http.StatusBadRequest, Unsaved: true, Type: "idempotency_error",
			Message: "Keys for idempotent requests can only be used with the same parameters they were first used " +
				"with. Try using a key other than '" + r.key + "' if you meant to execute a different request.",
		}
	}
	return old, nil
}

func (s *replies) save(r *request, out reply, now time.Time) *savedReply {
	saved := &savedReply{
		Key: r.key, Request: r.fingerprint(), RequestID: out.id, Status: out.status, Body: out.body, At: now,
	}
	s.put(saved)
	return saved
}

func (s *replies) put(saved *savedReply) {
	s.saved[saved.Key] = saved
	s.order = append(s.order, saved)
}

// prune forgets what is 24 hours old. A key may since have been saved anew.
func (s *replies) prune(now time.Time) {
	for len(s.order) > 0 && now.Sub(s.order[0].At) >= repliesKept {
		if old := s.order[0]; s.saved[old.Key] == old {
			delete(s.saved, old.Key)
		}
		s.order = s.order[1:]
	}
}

// fingerprint tells requests apart by method, path and sorted parameters.
func (r *request) fingerprint() string {
	sum := sha256.Sum256([]byte(r.http.Method + " " + r.url + "\n" + r.values.Encode()))
	return hex.EncodeToString(sum[:])
}
