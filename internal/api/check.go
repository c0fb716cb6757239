package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// maxCheck is the largest limit check that is read, in bytes.
	maxCheck = 8 << 10
	// checkTimeout is how long a limit check may keep somebody's request waiting;
	// a database that takes longer is as good as gone.
	checkTimeout = time.Second
)

// Checks decides whether a request may run.
type Checks interface {
	// CheckLimit says how a user stands; user "" is a service.
	// billing.ErrNotFound is an organisation that does not exist.
	CheckLimit(ctx context.Context, organization, user string) (billing.LimitCheck, error)
}

// checkRequest is what a caller is about to run. Limits count all products and
// models alike, so these two are taken for the caller's log and ours.
type checkRequest struct {
	Organization *string `json:"organization"`
	User         *string `json:"user"` // absent = a service
	Product      *string `json:"product"`
	Model        *string `json:"model"`
}

// decision is the answer. Where nothing is limited, or nothing is known
// (degraded), there is no limit and nothing that remains: null, never 0.
type decision struct {
	Decision string         `json:"decision"` // allowed or blocked
	Scope    *billing.Scope `json:"scope"`    // of the limit that binds
	Subject  *string        `json:"subject"`  // its tier or user
	LimitID  *int64         `json:"limit_id"`
	Limit    *billing.Money `json:"limit"`
	Spent    *billing.Money `json:"spent"`        // of the billing month, at list price
	Before   *billing.Money `json:"spent_before"` // of it, before the limit got its amount
	// Provisional is what usage without a price counts beside what is spent.
	Provisional *billing.Money `json:"provisional"`
	Remaining   *billing.Money `json:"remaining"`
	AsOf        *time.Time     `json:"as_of"`
	ResetsAt    *time.Time     `json:"resets_at"`
	Degraded    bool           `json:"degraded"` // decided by configuration: the limits could not be read
	*block
}

// block is what somebody who was blocked needs to know.
type block struct {
	Reason      string   `json:"reason"` // limit_reached, unknown, or what stops the organization
	Message     string   `json:"message"`
	WhoCanRaise []string `json:"who_can_raise"`
	ActionURL   string   `json:"action_url"`
	Retry       bool     `json:"retry"` // false: the same answer comes until the limit is raised or the month ends
}

// check answers, before a request, whether it may run.
func (s *server) check(w http.ResponseWriter, r *http.Request) {
	asked, refused := readCheck(w, r)
	if refused != nil {
		s.fail(w, r, refused.status, refused.message, refused.field)
		return
	}
	if !keyOf(r.Context()).opens(*asked.Organization) {
		s.refuse(w, r, noOrganization(*asked.Organization))
		return
	}
	var user string
	if asked.User != nil {
		user = *asked.User
	}
	user, reason := keyOf(r.Context()).speaksFor(user)
	if reason != "" {
		s.fail(w, r, http.StatusForbidden, reason, "user")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	found, err := s.Checks.CheckLimit(ctx, *asked.Organization, user)
	switch {
	case errors.Is(err, billing.ErrNotFound), errors.Is(err, billing.ErrInvalid):
		s.refuse(w, r, err)
	case err != nil:
		s.Log.Error("limits could not be checked", "request_id", requestID(r), "organization", *asked.Organization,
			"fail_closed", s.FailClosed, "error", err)
		s.noteDegraded(err)
		s.decideBlindly(w)
	default:
		writeJSON(w, http.StatusOK, s.decide(*asked.Organization, &found))
	}
}

func (s *server) decide(organization string, found *billing.LimitCheck) decision {
	d := decision{Decision: "allowed", AsOf: &found.AsOf, ResetsAt: &found.Window.End}
	if binding := found.Binding; binding != nil {
		money := func(amount billing.Money) *billing.Money { return &amount }
		remaining, _ := binding.Remaining()
		d.Scope, d.Subject, d.LimitID = &binding.Limit.Scope, nonEmpty(binding.Limit.Subject), &binding.Limit.ID
		d.Limit = money(billing.Money{Amount: binding.Limit.Amount.Decimal, Currency: found.Currency})
		d.Spent = money(billing.Money{Amount: binding.Spent, Currency: found.Currency})
		d.Before = money(billing.Money{Amount: binding.Before(), Currency: found.Currency})
		d.Provisional = money(billing.Money{Amount: binding.Provisional, Currency: found.Currency})
		d.Remaining = money(billing.Money{Amount: remaining, Currency: found.Currency})
	}
	switch {
	case found.Stop != "":
		d.stop(found, s.actionURL(organization))
	case !found.Allowed():
		d.Decision = "blocked"
		d.block = &block{
			Reason: limitReached,
			Message: fmt.Sprintf("%s of the limit of %s is spent (%s)%s; it starts again at %s, or when the limit is raised",
				d.Spent, whose(d), d.Limit, beside(d.Provisional), found.Window.End.Format(time.RFC3339)),
			WhoCanRaise: Roles(),
			ActionURL:   s.actionURL(organization),
		}
	}
	return d
}

// beside says what else counts against a limit.
func beside(provisional *billing.Money) string {
	if provisional.Amount.IsZero() {
		return ""
	}
	return fmt.Sprintf(", and usage without a price counts %s", provisional)
}

// Why a request is blocked, beside what a billing.Stop says.
const (
	limitReached = "limit_reached"
	stopUnknown  = "unknown"
)

func (s *server) actionURL(organization string) string {
	return strings.ReplaceAll(s.ActionURL, "{organization}", url.PathEscape(organization))
}

// stop blocks a request of an organisation of which nothing may run. What is left
// of a limit has no part in that, so none is shown, and no limit that is raised
// changes it.
func (d *decision) stop(found *billing.LimitCheck, actionURL string) {
	b := &block{Reason: string(found.Stop), WhoCanRaise: []string{}}
	switch found.Stop {
	case billing.StopContractEnded:
		b.Message = "the organization's contract ended at " + found.StopAt.Format(time.RFC3339)
	case billing.SuspendedOverdue:
		b.Message = "the organization is suspended because a payment is overdue; requests run again as soon as it is paid"
	default:
		b.Message = "the organization is suspended; an operator can resume it"
	}
	var scope *billing.Scope
	if found.Stop != billing.StopContractEnded {
		organization := billing.ScopeOrganization
		scope, b.WhoCanRaise, b.ActionURL = &organization, Roles(), actionURL
	}
	*d = decision{Decision: "blocked", Scope: scope, AsOf: d.AsOf, block: b}
}

func whose(d decision) string {
	switch *d.Scope {
	case billing.ScopeUser:
		return "the user " + *d.Subject
	case billing.ScopeSeatTier:
		return "the seat tier " + *d.Subject
	default:
		return "the organization"
	}
}

// decideBlindly answers while the limits cannot be read: by default it lets
// requests run, since their usage is metered all the same; where that is not
// wanted, it blocks them and says that trying again helps.
func (s *server) decideBlindly(w http.ResponseWriter) {
	d := decision{Decision: "allowed", Degraded: true}
	if s.FailClosed {
		w.Header().Set("Retry-After", retryAfter)
		d.Decision = "blocked"
		d.block = &block{Reason: stopUnknown, Message: "the limits cannot be read now; try again", WhoCanRaise: []string{}, Retry: true}
	}
	writeJSON(w, http.StatusOK, d)
}

func readCheck(w http.ResponseWriter, r *http.Request) (asked checkRequest, refused *refusal) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return asked, &refusal{http.StatusUnsupportedMediaType, "accepted: application/json", "Content-Type"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCheck))
	if err != nil {
		tooLarge := &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxCheck), ""}
		return asked, unreadable(err, tooLarge)
	}
	if err := json.Unmarshal(body, &asked, json.RejectUnknownMembers(true)); err != nil {
		return asked, &refusal{http.StatusBadRequest, `accepted: one JSON object {"organization":"…","user":"…","product":"…","model":"…"}, each key once`, ""}
	}
	for _, field := range []struct {
		name     string
		value    *string
		required bool
	}{
		{"organization", asked.Organization, true},
		{"user", asked.User, false},
		{"product", asked.Product, true},
		{"model", asked.Model, false},
	} {
		switch {
		case field.value == nil && field.required:
			return asked, &refusal{http.StatusBadRequest, field.name + " is missing", field.name}
		case field.value == nil:
			continue
		}
		if *field.value, err = billing.NormalizeID(*field.value, billing.MaxID); err != nil {
			return asked, &refusal{http.StatusBadRequest, field.name + ": " + err.Error(), field.name}
		}
	}
	return asked, nil
}

func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
