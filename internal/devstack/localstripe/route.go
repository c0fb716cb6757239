package localstripe

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
}

func get(path string, h handler, f fields) route  { return route{"GET " + path, h, f} }
func post(path string, h handler, f fields) route { return route{"POST " + path, h, f} }
func del(path string, h handler) route            { return route{"DELETE " + path, h, fields{}} }

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	all := slices.Concat(
		accountRoutes(), customerRoutes(), paymentMethodRoutes(), invoiceRoutes(), invoiceItemRoutes(),
		paymentIntentRoutes(), chargeRoutes(), refundRoutes(), creditNoteRoutes(), eventRoutes(),
		testClockRoutes(), webhookEndpointRoutes(),
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
