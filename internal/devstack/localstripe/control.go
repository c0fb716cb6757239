package localstripe

import (
	"encoding/json"
	"net/http"
)

// controls are the paths that Stripe does not have. They ask for no key: the
// server listens for the development stack alone.
func (s *Server) controls(mux *http.ServeMux) {
	mux.HandleFunc("GET /_local/faults", s.showFaults)
	mux.HandleFunc("POST /_local/faults", s.orderFaults)
	mux.HandleFunc("DELETE /_local/faults", s.clearFaults)
	mux.HandleFunc("POST /_local/release", func(w http.ResponseWriter, _ *http.Request) {
		s.Release()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_local/payment_intents/{id}/authenticate", s.serve(route{
		handler: authenticate, fields: fields{"outcome": oneOf("success", "failure")},
	}))
}

func (s *Server) showFaults(w http.ResponseWriter, _ *http.Request) {
	s.plan.mu.Lock()
	body, err := json.Marshal(map[string]any{"faults": s.plan.faults, "held": s.plan.held})
	s.plan.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// orderFaults takes a JSON array of faults.
func (s *Server) orderFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		http.Error(w, "a JSON array of faults is wanted: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.Inject(faults...)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) clearFaults(w http.ResponseWriter, _ *http.Request) {
	s.plan.mu.Lock()
	s.plan.faults = nil
	s.plan.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
