package fakestripe

import (
	"net/http"
	"slices"
)

type handler func(*tx, *request) (any, *apiError)

// route is one endpoint with every parameter that it takes.
type route struct {
	pattern string
	handler handler
	fields  fields
	search  bool // lags behind writes, and has a rate of its own
}

func get(path string, h handler, f fields) route {
	return route{pattern: "GET " + path, handler: h, fields: f}
}

func post(path string, h handler, f fields) route {
	return route{pattern: "POST " + path, handler: h, fields: f}
}

func del(path string, h handler) route {
	return route{pattern: "DELETE " + path, handler: h, fields: fields{}}
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	all := slices.Concat(
		accountRoutes(), customerRoutes(), paymentMethodRoutes(), invoiceRoutes(), invoiceItemRoutes(),
		paymentIntentRoutes(), chargeRoutes(), refundRoutes(), creditNoteRoutes(), eventRoutes(),
		testClockRoutes(), webhookEndpointRoutes(), disputeRoutes(), cashBalanceRoutes(),
	)
	for _, r := range all {
		mux.HandleFunc(r.pattern, s.serve(r))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, r, failed(newID("req"), unrecognized(r.Method, r.URL.Path)))
	})
	s.controls(mux)
	return mux
}
