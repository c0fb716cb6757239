package fakestripe

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"
)

const bodyLimit = 1 << 20

// request is one API request with its parameters.
type request struct {
	params
	http *http.Request
	url  string
	key  string // the idempotency key
}

// id is the object that the path names.
func (r *request) id() string { return r.http.PathValue("id") }

// reply is what goes back.
type reply struct {
	status   int
	body     []byte
	id       string
	original string // of a replayed reply: the first request's id
}

// ServeHTTP answers one request of Stripe's API, or of the local control paths.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

// serve is the way of every API request: who asks, what goes wrong on order,
// what is asked, the work, the answer.
func (s *Server) serve(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := newID("req")
		if err := authorize(r); err != nil {
			write(w, r, failed(id, err))
			return
		}
		fault := s.plan.strike(r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"))
		err, cut := fault.refusal()
		if cut {
			hangUp()
		}
		if reason := s.limiter.admit(to.pattern, to.search, s.now()); reason != "" && err == nil {
			w.Header().Set("Stripe-Rate-Limited-Reason", reason)
			err = rateLimited()
		}
		if err != nil {
			write(w, r, failed(id, err))
			return
		}
		req, err := read(r)
		if err != nil {
			write(w, r, failed(id, err))
			return
		}
		out := s.answer(to, req, fault, id)
		if !s.spoil(w, r, fault, req.key, out) {
			write(w, r, out)
		}
	}
}

func read(r *http.Request) (*request, *apiError) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		return nil, invalid("", "", "The request body could not be read: %v", err)
	}
	if len(raw) > bodyLimit {
		return nil, invalid("", "", "The request body is too large.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("", "", "Invalid query: %v", err)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, invalid("", "", "Invalid form: %v", err)
	}
	for name, values := range query {
		form[name] = append(form[name], values...)
	}
	req := &request{params: params{form}, http: r, url: r.URL.Path}
	if r.Method == http.MethodPost {
		req.key = r.Header.Get("Idempotency-Key")
	}
	if len(req.key) > idempotencyKeyMost {
		return nil, invalid("", "", "Idempotency keys must be at most %d characters.", idempotencyKeyMost)
	}
	return req, nil
}

// answer gives the stored reply of an idempotency key, or does the work and
// stores its reply, in one step under the server's lock.
func (s *Server) answer(to route, r *request, fault *Fault, id string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return failed(id, internalError("the state file cannot be written: %v", s.broken))
	}
	if old, err := s.state.replies.find(r, s.now()); err != nil {
		return failed(id, err)
	} else if old != nil {
		return reply{status: old.Status, body: old.Body, id: id, original: old.RequestID}
	}
	if err := to.fields.validate(r.params); err != nil {
		return failed(id, err)
	}
	t := s.begin(eventRequest{ID: text(id), IdempotencyKey: text(r.key)}, fault)
	t.settlePassing()
	out, saved := s.work(t, to, r, id)
	var keep *savedReply
	if r.key != "" && saved {
		keep = s.state.replies.save(r, out, s.now())
		s.state.replies.busy[r.key] = fault.slow()
	}
	if err := s.commit(t, keep); err != nil {
		return failed(id, internalError("the state file cannot be written: %v", err))
	}
	s.hook.send(t.emitted)
	return out
}

func failed(id string, err *apiError) reply {
	return reply{status: err.Status, body: err.body(), id: id}
}

// work runs the handler. A panic is a 500 like Stripe's own, and stored.
func (s *Server) work(t *tx, to route, r *request, id string) (out reply, saved bool) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request failed", "method", r.http.Method, "path", r.url, "panic", p, "stack", string(debug.Stack()))
			out, saved = failed(id, internalError("An unknown error occurred")), true
		}
	}()
	result, err := to.handler(t, r)
	if fault := t.fault; fault != nil && fault.Kind == FaultError500 && (err == nil || !err.Unsaved) {
		return failed(id, internalError("An unknown error occurred")), true
	}
	if err != nil {
		return failed(id, err), !err.Unsaved
	}
	body, err := s.encode(t, r, result)
	if err != nil {
		return failed(id, err), true // the work is done
	}
	return reply{status: http.StatusOK, body: body, id: id}, true
}

func (s *Server) encode(t *tx, r *request, result any) ([]byte, *apiError) {
	var body []byte
	if o, ok := result.(object); ok {
		body = t.render(o)
	} else {
		raw, err := json.Marshal(result)
		if err != nil {
			panic(fmt.Sprintf("encode answer: %v", err))
		}
		body = raw
	}
	return t.expand(body, r.list("expand"))
}

func write(w http.ResponseWriter, r *http.Request, out reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Request-Id", out.id)
	h.Set("Stripe-Version", apiVersion)
	if key := r.Header.Get("Idempotency-Key"); key != "" && r.Method == http.MethodPost {
		h.Set("Idempotency-Key", key)
	}
	if out.original != "" {
		h.Set("Idempotent-Replayed", "true")
		h.Set("Original-Request", out.original)
	}
	if out.status == http.StatusConflict || out.status == http.StatusServiceUnavailable {
		h.Set("Stripe-Should-Retry", "true")
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body) // the client may have left; the work is done
}

// begin opens the work of one request; s.mu is held until its commit.
func (s *Server) begin(from eventRequest, fault *Fault) *tx {
	return &tx{
		state: s.state, wall: s.now().Truncate(time.Second), request: from, fault: fault,
		hookIDs: s.hooksFor, rendered: map[object]json.RawMessage{},
	}
}

// commit makes the work survive a restart.
func (s *Server) commit(t *tx, keep *savedReply) error {
	if err := s.journal.append(entryOf(t, keep)); err != nil {
		s.broken = err
		return err
	}
	return nil
}
