package fakestripe

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// controls are the paths that Stripe does not have. They ask for no key: the
// server listens for the development stack alone.
func (s *Server) controls(mux *http.ServeMux) {
	mux.HandleFunc("GET /_local/faults", func(w http.ResponseWriter, _ *http.Request) { show(w, s.Faults()) })
	mux.HandleFunc("POST /_local/faults", func(w http.ResponseWriter, r *http.Request) {
		order(w, r, "faults", Fault.Check, s.Inject)
	})
	mux.HandleFunc("DELETE /_local/faults", func(w http.ResponseWriter, _ *http.Request) { done(w, s.ClearFaults) })
	mux.HandleFunc("POST /_local/release", func(w http.ResponseWriter, _ *http.Request) { done(w, s.Release) })

	mux.HandleFunc("GET /_local/webhooks", func(w http.ResponseWriter, _ *http.Request) { show(w, s.Webhooks()) })
	mux.HandleFunc("POST /_local/webhooks", func(w http.ResponseWriter, r *http.Request) {
		order(w, r, "webhook faults", WebhookFault.Check, s.InjectWebhooks)
	})
	mux.HandleFunc("DELETE /_local/webhooks", func(w http.ResponseWriter, _ *http.Request) { done(w, s.ClearWebhooks) })
	mux.HandleFunc("POST /_local/webhooks/redeliver", s.redeliver)

	mux.HandleFunc("GET /_local/limits", func(w http.ResponseWriter, _ *http.Request) { show(w, s.limitsView()) })
	mux.HandleFunc("PUT /_local/limits", s.changeLimits)

	mux.HandleFunc("POST /_local/payment_intents/{id}/authenticate", s.serve(route{
		handler: authenticate, fields: fields{"outcome": oneOf("success", "failure")},
	}))
}

func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(mustEncode(v))
}

func done(w http.ResponseWriter, do func()) {
	do()
	w.WriteHeader(http.StatusNoContent)
}

// receive reads a JSON body strictly; it has answered if it returns false.
func receive(w http.ResponseWriter, r *http.Request, wanted string, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		http.Error(w, wanted+" is wanted: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// order takes a JSON array of faults, all of them or none.
func order[T any](w http.ResponseWriter, r *http.Request, what string, check func(T) error, inject func(...T)) {
	var faults []T
	if !receive(w, r, "a JSON array of "+what, &faults) {
		return
	}
	for i, f := range faults {
		if err := check(f); err != nil {
			http.Error(w, fmt.Sprintf("fault %d: %v", i+1, err), http.StatusBadRequest)
			return
		}
	}
	inject(faults...)
	w.WriteHeader(http.StatusNoContent)
}

// redeliver answers with how many deliveries it has begun.
func (s *Server) redeliver(w http.ResponseWriter, r *http.Request) {
	var wanted Redelivery
	if receive(w, r, "a JSON object with events, since or all", &wanted) {
		show(w, map[string]int{"deliveries": s.Redeliver(wanted)})
	}
}

// LimitsView are the limits that hold, with what they have turned away.
type LimitsView struct {
	Limits
	Refused Refused `json:"refused"`
}

func (s *Server) limitsView() LimitsView {
	limits, refused := s.Limits()
	return LimitsView{limits, refused}
}

func (s *Server) changeLimits(w http.ResponseWriter, r *http.Request) {
	var wanted Limits
	if !receive(w, r, "a JSON object with per_second and per_endpoint", &wanted) {
		return
	}
	if wanted.PerSecond < 0 || wanted.PerEndpoint < 0 {
		http.Error(w, "per_second and per_endpoint; accepted: 0 (any number) and above", http.StatusBadRequest)
		return
	}
	s.SetLimits(wanted)
	w.WriteHeader(http.StatusNoContent)
}
