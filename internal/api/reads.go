package api

import (
	"context"
	"net/http"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// readTimeout bounds one question to the database.
const readTimeout = 10 * time.Second

// read answers a question about the organisation of the path, page by page.
func (s *server) read(ask func(ctx context.Context, organization string, r *http.Request, page Page) (rows any, last string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if keyOf(r.Context()).Member != "" {
			s.fail(w, r, http.StatusForbidden, "the key is of one member, and this list is of all; accepted: a key without a member", "")
			return
		}
		organization := r.PathValue("org")
		if !billing.ValidSlug(organization) {
			s.refuse(w, r, noOrganization(organization))
			return
		}
		page, err := pageOf(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		rows, last, err := ask(ctx, organization, r, page)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		linkNext(w, r, last)
		writeJSON(w, http.StatusOK, rows)
	}
}

func (s *server) invoices(ctx context.Context, organization string, _ *http.Request, page Page) (any, string, error) {
	return s.Reads.Invoices(ctx, organization, page)
}

func (s *server) spend(ctx context.Context, organization string, r *http.Request, page Page) (any, string, error) {
	return s.Reads.Spend(ctx, organization, r.URL.Query().Get("user"), page)
}

func (s *server) limits(ctx context.Context, organization string, _ *http.Request, page Page) (any, string, error) {
	return s.Reads.Limits(ctx, organization, page)
}

func (s *server) notices(ctx context.Context, organization string, r *http.Request, page Page) (any, string, error) {
	return s.Reads.Notices(ctx, organization, r.URL.Query().Get("all") == "true", page)
}
