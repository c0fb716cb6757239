// Package api is the HTTP gateway: it takes usage events and the payment
// provider's webhooks, and answers simple questions.
//
//	GET  /healthz                               alive
//	GET  /readyz                                the database answers
//	POST /v1/usage                              events, as NDJSON, a JSON array or CloudEvents, gzipped or not
//	POST /v1/logs                               OpenTelemetry log records (OTLP over HTTP, JSON or protobuf)
//	POST /v1/limits/check                       may this request run?
//	POST /v1/webhooks/stripe                    signed by Stripe
//	GET  /v1/organizations/{org}/invoices       and /spend, /limits, /notices, page by page
//	GET  /v1/organizations/{org}/spend.csv      by member, product and model
//	GET  /v1/organizations/{org}/invoices/{period}[.csv|.html], or preview, ?members=true
//	PUT  /v1/organizations/{org}/limits         set a limit; DELETE removes one
//
// Health says "degraded" where requests were turned away a moment ago. Too many
// at once, or a database that is away, is 503 with Retry-After.
//
// Everything but health and the webhook wants Authorization: Bearer KEY, with a
// key that was made for it: 403 where it was not, 404 where the organisation is
// another's, 429 where it sends too many requests. An
// answer of 200 comes after commit; any other, or none, may be tried again,
// because every event is stored exactly once. Errors are
// {"error":{"message":"…","field":null,"request_id":"…"}}, and for /v1/logs what
// OTLP wants.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Usage stores events.
type Usage interface {
	// StoreUsage stores events of one organisation in one transaction and answers
	// each, in order. billing.ErrNotFound is an organisation that does not exist.
	StoreUsage(ctx context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error)
}

// Inbox takes what the payment provider sends.
type Inbox interface {
	// Receive checks the signature, age and mode of a delivery and stores its event
	// once. billing.ErrInvalid is one that is refused.
	Receive(ctx context.Context, body []byte, signature string, now time.Time) (isNew bool, err error)
}

// Reads answers questions with values that are written as JSON, page by page:
// last is the position of the page's last row where more rows follow.
// billing.ErrNotFound is an organisation that does not exist.
type Reads interface {
	Invoices(ctx context.Context, organization string, page Page) (rows any, last string, err error)
	Spend(ctx context.Context, organization string, asked SpendQuery, page Page) (rows any, last string, err error)
	Limits(ctx context.Context, organization string, page Page) (rows any, last string, err error)
	Notices(ctx context.Context, organization string, all bool, page Page) (rows any, last string, err error)
}

// SpendQuery is whose spend of when is asked for; at most one of the two is given.
type SpendQuery struct {
	User   string // "" = everybody's
	Period string // "" = the running one's
}

// Options are what the gateway works with.
type Options struct {
	Usage     Usage
	Checks    Checks
	Inbox     Inbox
	Reads     Reads
	Limits    Limits
	Exports   Exports
	Documents Documents
	Ping      func(context.Context) error // reports whether the database answers
	// Behind tells that billing waits, since the database may have gone back in time.
	Behind  func(context.Context) (incarnation string, err error)
	Keys    Keys
	Key     string         // the operator's own, which opens everything; "" = none
	Rate    int            // requests per second of each other key; 0 = any number
	MaxBody int64          // of a request, in bytes, before and after unzipping
	Writers int            // transactions that store usage at once; 0 = 8
	Proxies []netip.Prefix // whose X-Forwarded-For is believed
	Log     *slog.Logger
	Now     func() time.Time // nil = time.Now

	FailClosed bool   // block requests while their limits cannot be read
	ActionURL  string // where a person has a limit raised; {organization} stands for its id
}

// server is one gateway.
type server struct {
	Options
	mux      *http.ServeMux
	auth     *authenticator
	budget   *budget
	posts    *batcher
	degraded degraded
	routes   []string            // METHOD PATH of each
	allow    map[string][]string // methods by path

	parameters map[string][]string // those that a route's query may have, by METHOD PATH

	inboxRate *knownKey // of all webhooks together
}

// New returns the gateway's handler.
func New(o Options) http.Handler {
	s := newServer(o)
	return s.logged(s.mux)
}

func newServer(o Options) *server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{
		Options: o, mux: http.NewServeMux(), auth: newAuthenticator(o), budget: newBudget(o.MaxBody),
		posts: newBatcher(o.Usage, o.Writers, o.Log), allow: map[string][]string{},
		parameters: map[string][]string{},
	}
	s.inboxRate = &knownKey{limiter: rate.NewLimiter(deliveriesPerSecond, deliveriesPerSecond)}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, "there is nothing at this path", "")
	})
	s.route(http.MethodGet, "/healthz", s.health)
	s.route(http.MethodGet, "/readyz", s.ready)
	s.route(http.MethodPost, "/v1/webhooks/stripe", s.webhook)
	s.route(http.MethodPost, "/v1/usage", s.guard(ScopeUsageWrite, s.usage))
	s.route(http.MethodPost, logsPath, s.guard(ScopeUsageWrite, s.logs))
	s.route(http.MethodPost, "/v1/limits/check", s.guard(ScopeLimitsRead, s.check))
	s.route(http.MethodGet, "/v1/organizations/{org}/invoices", s.guard(ScopeSpendRead, s.read(s.invoices)), "limit", "cursor")
	s.route(http.MethodGet, "/v1/organizations/{org}/invoices/{period}", s.guard(ScopeSpendRead, s.document), "members")
	s.route(http.MethodGet, "/v1/organizations/{org}/invoices/{period}/{revision}", s.guard(ScopeSpendRead, s.document), "members")
	s.route(http.MethodGet, "/v1/organizations/{org}/spend", s.guard(ScopeSpendRead, s.read(s.spend)), "user", "period", "limit", "cursor")
	s.route(http.MethodGet, "/v1/organizations/{org}/limits", s.guard(ScopeLimitsRead, s.read(s.limits)), "limit", "cursor")
	s.route(http.MethodGet, "/v1/organizations/{org}/spend.csv", s.guard(ScopeSpendRead, s.spendCSV), "period", "from", "to", "by")
	s.route(http.MethodPut, "/v1/organizations/{org}/limits", s.changing(readLimitChange, s.setLimit))
	s.route(http.MethodDelete, "/v1/organizations/{org}/limits", s.changing(readLimitRemoval, s.removeLimit), "scope", "subject", "reason")
	s.route(http.MethodGet, "/v1/organizations/{org}/notices", s.guard(ScopeSpendRead, s.read(s.notices)), "all", "limit", "cursor")
	return s
}

// route serves a method at a path; those who try another are told which there are.
// Of a guarded route, the query may have the parameters named here and no others.
func (s *server) route(method, path string, handle http.HandlerFunc, parameters ...string) {
	s.routes = append(s.routes, method+" "+path)
	s.parameters[method+" "+path] = parameters
	s.mux.HandleFunc(method+" "+path, handle)
	s.allow[path] = append(s.allow[path], method)
	if len(s.allow[path]) > 1 {
		return
	}
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		methods := strings.Join(s.allow[path], ", ")
		w.Header().Set("Allow", methods)
		s.fail(w, r, http.StatusMethodNotAllowed, "accepted here: "+methods, "")
	})
}
