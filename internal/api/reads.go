package api

import (
	"context"
	"net/http"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// readTimeout bounds one question to the database.
const readTimeout = 10 * time.Second

// read answers a question about the organisation of the path.
func (s *server) read(ask func(ctx context.Context, organization string, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		organization := r.PathValue("org")
		if !billing.ValidSlug(organization) {
			s.fail(w, r, http.StatusNotFound, "there is no such organization", "")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		value, err := ask(ctx, organization, r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, value)
	}
}

func (s *server) invoices(ctx context.Context, organization string, _ *http.Request) (any, error) {
	return s.Reads.Invoices(ctx, organization)
}

func (s *server) spend(ctx context.Context, organization string, r *http.Request) (any, error) {
	return s.Reads.Spend(ctx, organization, r.URL.Query().Get("user"))
}

func (s *server) limits(ctx context.Context, organization string, _ *http.Request) (any, error) {
	return s.Reads.Limits(ctx, organization)
}

func (s *server) notices(ctx context.Context, organization string, r *http.Request) (any, error) {
	return s.Reads.Notices(ctx, organization, r.URL.Query().Get("all") == "true")
}
