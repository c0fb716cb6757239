package api

import (
	"context"
	"fmt"
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
	query := r.URL.Query()
	asked := SpendQuery{Period: query.Get("period")}
	if user := query.Get("user"); user != "" {
		var err error
		if asked.User, err = billing.NormalizeID(user, billing.MaxID); err != nil {
			return nil, "", fmt.Errorf("user: %w", err)
		}
		if asked.Period != "" {
			return nil, "", billing.Invalid("period: accepted: without user, whose spend is the running month's; spend.csv has a period's by user")
		}
	}
	return s.Reads.Spend(ctx, organization, asked, page)
}

func (s *server) limits(ctx context.Context, organization string, _ *http.Request, page Page) (any, string, error) {
	return s.Reads.Limits(ctx, organization, page)
}

func (s *server) notices(ctx context.Context, organization string, r *http.Request, page Page) (any, string, error) {
	all, err := flag(r, "all")
	if err != nil {
		return nil, "", err
	}
	return s.Reads.Notices(ctx, organization, all, page)
}

// flag reads a parameter that is true or false; absent is false.
func flag(r *http.Request, name string) (bool, error) {
	switch value := r.URL.Query().Get(name); value {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, billing.Invalid("%s: %q; accepted: true, false", name, value)
	}
}
