package api

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Limits changes spend limits, each change in one transaction with its entry in
// the audit trail, and answers with a value that is written as JSON.
type Limits interface {
	SetLimit(ctx context.Context, organization string, change LimitChange) (any, error)
	RemoveLimit(ctx context.Context, organization string, change LimitChange) (any, error)
}

// LimitChange sets or removes a limit.
type LimitChange struct {
	billing.LimitChange
	By billing.Actor // by the id of the key
}

// limitRequest is the body of a PUT. The amount is required, since null means
// unlimited and not "as before".
type limitRequest struct {
	Scope      billing.Scope  `json:"scope"`
	Subject    string         `json:"subject"`
	Amount     jsontext.Value `json:"amount"`
	Mode       string         `json:"mode"`
	Thresholds []int          `json:"thresholds"`
	Reason     string         `json:"reason"`
}

// largestLimit keeps typing errors out.
var largestLimit = decimal.New(1, 12)

// changing lets only those change limits whose key has a role that may,
// and reads what they want.
func (s *server) changing(read func(w http.ResponseWriter, r *http.Request) (LimitChange, error),
	change func(ctx context.Context, organization string, change LimitChange) (any, error),
) http.HandlerFunc {
	return s.guard(ScopeLimitsWrite, func(w http.ResponseWriter, r *http.Request) {
		key := keyOf(r.Context())
		if !slices.Contains(Roles(), key.Role) && !slices.Contains(key.Scopes, ScopeAdmin) {
			s.fail(w, r, http.StatusForbidden, "the key may not change limits; accepted: one with the role "+strings.Join(Roles(), ", "), "")
			return
		}
		organization := r.PathValue("org")
		if !billing.ValidSlug(organization) {
			s.refuse(w, r, noOrganization(organization))
			return
		}
		asked, err := read(w, r)
		if err == nil {
			err = checkSubject(&asked)
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		asked.By.Name = key.ID
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		changed, err := change(ctx, organization, asked)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, changed)
	})
}

func (s *server) setLimit(ctx context.Context, organization string, change LimitChange) (any, error) {
	return s.Limits.SetLimit(ctx, organization, change)
}

func (s *server) removeLimit(ctx context.Context, organization string, change LimitChange) (any, error) {
	return s.Limits.RemoveLimit(ctx, organization, change)
}

func readLimitChange(w http.ResponseWriter, r *http.Request) (change LimitChange, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return change, billing.Invalid("Content-Type: accepted: application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheck))
	if err != nil {
		return change, billing.Invalid("the body cannot be read; accepted: at most %d bytes", maxCheck)
	}
	var asked limitRequest
	if err := json.Unmarshal(body, &asked, json.RejectUnknownMembers(true)); err != nil {
		return change, billing.Invalid(`accepted: one JSON object {"scope":"user","subject":"alice","amount":"500.00"}, and "mode", "thresholds", "reason"; each key once`)
	}
	change.LimitChange = billing.LimitChange{Scope: asked.Scope, Subject: asked.Subject, Mode: asked.Mode, Thresholds: asked.Thresholds}
	change.By.Reason = asked.Reason
	change.Amount, err = readAmount(asked.Amount)
	return change, err
}

func readAmount(value jsontext.Value) (decimal.NullDecimal, error) {
	var text *string
	refused := billing.Invalid(`amount: accepted: text like "500.00" that is not negative, "0" to block, or null for unlimited`)
	if value == nil || json.Unmarshal(value, &text) != nil {
		return decimal.NullDecimal{}, refused
	}
	if text == nil {
		return decimal.NullDecimal{}, nil
	}
	amount, err := decimal.NewFromString(*text)
	if err != nil || len(*text) > 40 || strings.ContainsAny(*text, "eE") || amount.IsNegative() || amount.GreaterThan(largestLimit) {
		return decimal.NullDecimal{}, refused
	}
	return decimal.NewNullDecimal(amount), nil
}

func readLimitRemoval(_ http.ResponseWriter, r *http.Request) (LimitChange, error) {
	query := r.URL.Query()
	change := billing.LimitChange{Scope: billing.Scope(query.Get("scope")), Subject: query.Get("subject")}
	return LimitChange{change, billing.Actor{Reason: query.Get("reason")}}, nil
}

// checkSubject checks whose limit is asked for, and normalizes the id of who it is.
func checkSubject(c *LimitChange) (err error) {
	if !slices.Contains([]billing.Scope{billing.ScopeOrganization, billing.ScopeSeatTier, billing.ScopeUser}, c.Scope) {
		return billing.Invalid("scope: %q; accepted: organization, seat_tier, user", c.Scope)
	}
	if c.Scope == billing.ScopeOrganization && c.Subject != "" {
		return billing.Invalid("subject: accepted: none, for the limit of the organization")
	}
	if c.Scope != billing.ScopeOrganization {
		if c.Subject, err = billing.NormalizeID(c.Subject, billing.MaxID); err != nil {
			return fmt.Errorf("subject: the user or the seat tier %w", err)
		}
	}
	if c.By.Reason != "" && (len(c.By.Reason) > 500 || !isPlain(c.By.Reason)) {
		return billing.Invalid("reason: accepted: up to 500 bytes of text without control characters")
	}
	return nil
}
