// Package stripe is the payment gateway: Stripe's customers, invoices, payments,
// test clocks and webhooks in the product's own terms.
//
// Every write carries a business key of ours, so that a call without an answer
// can be made again; no call is repeated here, because only the caller knows what
// to look at first. What went wrong is told by kind: billing.ErrNotFound,
// ErrConflict and ErrInvalid are final; anything else may have done its work.
package stripe

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	defaultTimeout = 30 * time.Second
	// readTimeout bounds what is read beside a write, so that both fit into the
	// time of one activity.
	readTimeout = 10 * time.Second
	pageSize    = 100
	keyLength   = 255
)

// Options say which Stripe account is used, and how.
type Options struct {
	Key            string        // a secret or restricted key; its prefix decides the mode
	APIBase        string        // "" is Stripe itself; another base takes keys of test mode only
	WebhookSecrets []string      // every secret that may sign now; two while one is being replaced
	Timeout        time.Duration // of one call; 0 is 30 s
	KeyPause       time.Duration // how long calls rest after Stripe has refused the key; 0 is a minute
	Log            *slog.Logger  // nil is slog.Default
	RetryRateLimit bool          // a call that was turned away for its rate alone is made again
	// Transport returns what carries the calls, given what would; nil leaves that.
	Transport func(http.RoundTripper) http.RoundTripper
}

// Gateway is one Stripe account in one mode. It is safe for concurrent use.
type Gateway struct {
	api     *client.API
	live    bool
	secrets []string
	log     *slog.Logger
}

// New returns a gateway; a key or base that cannot be right is refused.
func New(o Options) (*Gateway, error) {
	live, err := checkKey(o.Key)
	if err != nil {
		return nil, err
	}
	if err := checkBase(o.APIBase, live); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.KeyPause == 0 {
		o.KeyPause = circuitPause
	}
	config := &sdk.BackendConfig{
		HTTPClient:        httpClient(o),
		MaxNetworkRetries: sdk.Int64(0),
		EnableTelemetry:   sdk.Bool(false),
		LeveledLogger:     &sdk.LeveledLogger{Level: sdk.LevelNull},
	}
	if o.APIBase != "" {
		config.URL = sdk.String(o.APIBase)
	}
	backend := sdk.GetBackendWithConfig(sdk.APIBackend, config)
	return &Gateway{
		api:  client.New(o.Key, &sdk.Backends{API: backend, Connect: backend, Uploads: backend}),
		live: live,
		// An empty secret would accept what anybody signs.
		secrets: slices.DeleteFunc(slices.Clone(o.WebhookSecrets), func(s string) bool { return s == "" }),
		log:     o.Log,
	}, nil
}

// Live reports whether real money moves.
func (g *Gateway) Live() bool { return g.live }

func checkKey(key string) (live bool, err error) {
	for prefix, live := range map[string]bool{"sk_test_": false, "rk_test_": false, "sk_live_": true, "rk_live_": true} {
		if rest, ok := strings.CutPrefix(key, prefix); ok && rest != "" {
			return live, nil
		}
	}
	return false, billing.Invalid("the Stripe key: accepted: a secret or restricted key, " +
		"beginning with sk_test_, rk_test_, sk_live_ or rk_live_")
}

func checkBase(base string, live bool) error {
	if base == "" || strings.TrimSuffix(base, "/") == sdk.APIURL {
		return nil
	}
	u, err := url.Parse(base)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return billing.Invalid("the Stripe API base %q: accepted: a URL such as http://127.0.0.1:12111, or nothing for Stripe itself", base)
	case live:
		return billing.Invalid("the Stripe API base %s takes keys of test mode only, and the key is a live one", base)
	}
	return nil
}

// httpClient follows no redirects: the key goes to the configured host only.
func httpClient(o Options) *http.Client {
	direct := http.DefaultTransport.(*http.Transport).Clone()
	direct.MaxIdleConnsPerHost = 32
	transport := http.RoundTripper(direct)
	if o.Transport != nil {
		transport = o.Transport(direct)
	}
	if o.RetryRateLimit {
		transport = rateLimitRetry{transport}
	}
	return &http.Client{
		Timeout:       o.Timeout,
		Transport:     &circuit{next: transport, log: o.Log, pause: o.KeyPause, now: time.Now},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxKeys bounds how many keys in a row may be used up by errors.
const maxKeys = 5

// write makes a call under key. Stripe stores its answer under it, a refusal or a
// failure of its own too, and then only repeats that; such a key is used up, and
// the call is made under the next one. That may leave a second object behind if a
// failed call had done its work after all, so it is for drafts and settings only,
// and never for payments.
func write[T any](ctx context.Context, key string, call func(params sdk.Params) (T, error)) (out T, err error) {
	if key == "" || len(key) > keyLength-len("/9") {
		return out, billing.Invalid("idempotency key %q: accepted: 1 to %d characters", key, keyLength-len("/9"))
	}
	for n := 1; n <= maxKeys; n++ {
		next := key
		if n > 1 {
			next = fmt.Sprintf("%s/%d", key, n)
		}
		if out, err = call(keyed(ctx, next)); !repeated(err) {
			return out, err
		}
	}
	return out, err
}

func keyed(ctx context.Context, key string) sdk.Params {
	params := sdk.Params{Context: ctx}
	params.SetIdempotencyKey(key)
	return params
}

func listParams(ctx context.Context) sdk.ListParams {
	return sdk.ListParams{Context: ctx, Limit: sdk.Int64(pageSize)}
}

// The metadata by which our objects are found again at Stripe; ids only.
const (
	metaInstallation = "arrears_installation"
	metaOrganization = "arrears_organization"
	metaInvoice      = "arrears_invoice"
	metaPart         = "arrears_part"
	metaLine         = "arrears_line"
	metaCorrection   = "arrears_correction"
)

// carries reports whether an object's metadata names it as the one wanted.
func carries(have, want map[string]string) bool {
	for name, value := range want {
		if have[name] != value {
			return false
		}
	}
	return true
}
