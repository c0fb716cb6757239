package fakestripe

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// spoil does to an answer what was ordered, and reports whether nothing is left to
// be written.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, f *Fault, key string, out reply) (done bool) {
	if f == nil {
		return false
	}
	switch f.Kind {
	case FaultDrop:
		hangUp()
	case FaultHalf:
		writeHalf(w, r, out)
		hangUp()
	case FaultReset:
		writeHalf(w, r, out)
		reset(w)
		return true
	case FaultDelay:
		// Stripe works on, whether or not the client still waits.
		time.Sleep(time.Duration(f.MS) * time.Millisecond)
		s.mu.Lock()
		delete(s.state.replies.busy, key)
		s.mu.Unlock()
	case FaultHold:
		if s.hold(r) {
			hangUp()
		}
	default: // it has struck before or during the work
	}
	return false
}

// hangUp cuts the connection without an answer, or without the rest of it.
func hangUp() { panic(http.ErrAbortHandler) }

// writeHalf announces the whole answer and sends half of it.
func writeHalf(w http.ResponseWriter, r *http.Request, out reply) {
	w.Header().Set("Content-Length", fmt.Sprint(len(out.body)))
	out.body = out.body[:len(out.body)/2]
	write(w, r, out)
	_ = http.NewResponseController(w).Flush() // the client may have left
}

// reset closes the connection as a crashed machine in between would: unlike an
// end, it takes away what the client has not read yet.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		hangUp()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // Close then resets; if it cannot, it ends the connection
	}
	_ = conn.Close() // it is gone either way
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
