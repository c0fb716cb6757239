package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/api"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/faultpoint"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/stripe"
)

func newServeCmd(a *app) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP gateway: usage in, Stripe's webhooks in, simple questions",
		Long: `Serve the HTTP gateway until interrupted:

  GET  /healthz, /readyz
  POST /v1/usage                  events as NDJSON or a JSON array, gzipped or not
  POST /v1/limits/check           may this request run? {"organization","user","product"}
  POST /v1/webhooks/stripe
  GET  /v1/organizations/ORG/invoices, /spend, /limits, /notices
  GET  /v1/organizations/ORG/invoices/PERIOD, .csv or .html, ?members=true; or preview
  GET  /v1/organizations/ORG/spend.csv?period=P, or ?from=D&to=D, &by=cost_center
  PUT  /v1/organizations/ORG/limits, and DELETE

Everything but health and the webhook wants Authorization: Bearer with a key of
"starter keys create", or the operator's own of ARREARS_API_KEY, which opens
everything. An answer of 200 comes after commit; after any other, or none,
the same request may be sent again.`,
		Example: `  starter serve --listen 127.0.0.1:8080
  curl -s "$ARREARS_GATEWAY_URL/v1/usage" -H "Authorization: Bearer $ARREARS_API_KEY" \
    -H 'Content-Type: application/x-ndjson' --data-binary @usage.ndjson`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), a, listen) },
	}
	cmd.Flags().StringVar(&listen, "listen", "", "host:port to listen on (default ARREARS_LISTEN, or 127.0.0.1:8080)")
	return cmd
}

func runServe(ctx context.Context, a *app, listen string) error {
	cfg, err := a.config(config.Database, config.Stripe, config.Webhook)
	if err != nil {
		return err
	}
	if listen == "" {
		listen = cfg.Listen
	}
	log := cfg.Logger(a.stderr)
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	gateway, err := stripe.New(stripe.Options{
		Key: string(cfg.StripeSecretKey), APIBase: cfg.StripeAPIBase, WebhookSecrets: secrets(cfg.StripeWebhookSecrets), Log: log,
	})
	if err != nil {
		return err
	}
	if err := store.UseProviderMode(ctx, gateway.Live()); err != nil {
		return fmt.Errorf("STRIPE_SECRET_KEY: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return withHint(err, "Choose another address with --listen or ARREARS_LISTEN.")
	}
	relaxGC(collectRoom * api.MemoryBudget(cfg.MaxBody))
	a.note("The gateway listens on http://%s", listener.Addr())
	refused := &refusals{store: store.CountWebhookRefusals, log: log}
	defer refused.flush()
	return api.Serve(ctx, listener, faultpoint.Handler(newGatewayHandler(store, gateway, refused, cfg, log)), log)
}

// collectRoom is how many times the room of all bodies a gateway's heap may take.
const collectRoom = 4

func newGatewayHandler(store *postgres.Store, gateway *stripe.Gateway, refused *refusals, cfg config.Config, log *slog.Logger) http.Handler {
	return api.New(api.Options{
		Usage: gatewayUsage{store, log}, Checks: store, Inbox: gatewayInbox{gateway, store, refused}, Reads: gatewayReads{store}, Limits: gatewayLimits{store}, Exports: store, Documents: documents{store, sellerOf(cfg)},
		Ping: store.Ping, Behind: store.RecoveryPending, Keys: gatewayKeys{store}, Key: string(cfg.APIKey), Rate: cfg.RateLimit, MaxBody: cfg.MaxBody, Log: log,
		Writers: store.Writers(), Proxies: cfg.Proxies,
		FailClosed: cfg.LimitFail == "closed", ActionURL: cmp.Or(cfg.ActionURL, cfg.GatewayURL+"/v1/organizations/{organization}/limits"),
	})
}

func secrets(configured []config.Secret) []string {
	plain := make([]string, len(configured))
	for i, secret := range configured {
		plain[i] = string(secret)
	}
	return plain
}

// gatewayUsage stores what the gateway was sent.
type gatewayUsage struct {
	store *postgres.Store
	log   *slog.Logger
}

// StoreUsage implements api.Usage.
func (g gatewayUsage) StoreUsage(ctx context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error) {
	answers, err := g.store.StoreUsage(ctx, organization, events)
	if errors.Is(err, context.DeadlineExceeded) {
		g.nameHolders(ctx, organization)
	}
	return answers, err
}

// idleLong is from where on a session that stands still in a transaction is worth
// naming, and namingTimeout how long that may take.
const (
	idleLong      = time.Second
	namingTimeout = 2 * time.Second
)

// nameHolders tells the log what usage may have waited for in vain.
func (g gatewayUsage) nameHolders(ctx context.Context, organization string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), namingTimeout)
	defer cancel()
	holders, err := g.store.BlockingSessions(ctx, idleLong)
	if err != nil {
		return // the database is away altogether
	}
	for _, h := range holders {
		g.log.Warn("a session stands still in a transaction", "organization", organization, "pid", h.PID, "application", h.Application,
			"user", h.User, "address", h.Address, "since", h.Since, "waiters", h.Waiters)
	}
}

// gatewayKeys knows the keys that open the gateway.
type gatewayKeys struct{ store *postgres.Store }

// UseKey implements api.Keys.
func (g gatewayKeys) UseKey(ctx context.Context, hash [32]byte) (api.Key, error) {
	key, err := g.store.UseAPIKey(ctx, hash)
	return api.Key{ID: key.ID, Organization: key.Organization, Member: key.Member, Scopes: key.Scopes, Role: key.Role}, err
}

// gatewayInbox takes Stripe's webhooks.
type gatewayInbox struct {
	gateway *stripe.Gateway
	store   *postgres.Store
	refused *refusals
}

// Receive implements api.Inbox.
func (g gatewayInbox) Receive(ctx context.Context, body []byte, signature string, now time.Time) (isNew bool, err error) {
	event, err := g.gateway.Webhook(body, signature, now)
	if refusal := (*stripe.Refusal)(nil); errors.As(err, &refusal) {
		g.refused.count(refusal.Reason)
	}
	if err != nil {
		return false, err
	}
	return g.store.RecordStripeEvent(ctx, postgres.StripeEvent{
		ID: event.ID, Type: event.Type, ObjectID: event.ObjectID, CustomerID: event.CustomerID,
		StripeInvoiceID: event.InvoiceID, PaymentIntentID: event.IntentID, Created: event.Created,
	})
}

const (
	// refusalsPause is how long refused deliveries are counted before the count is
	// stored: a flood of them costs one small transaction each second.
	refusalsPause   = time.Second
	refusalsTimeout = 5 * time.Second
)

// refusals counts deliveries that were refused.
type refusals struct {
	store func(context.Context, map[string]int64) error
	log   *slog.Logger

	mu      sync.Mutex
	counted map[string]int64 // since the last time they were stored; nil = none
}

func (r *refusals) count(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted == nil {
		r.counted = map[string]int64{}
		time.AfterFunc(refusalsPause, r.flush)
	}
	r.counted[reason]++
}

// flush stores what was counted. What cannot be stored is told in the log.
func (r *refusals) flush() {
	r.mu.Lock()
	counted := r.counted
	r.counted = nil
	r.mu.Unlock()
	if counted == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refusalsTimeout)
	defer cancel()
	if err := r.store(ctx, counted); err != nil {
		r.log.Error("refused webhooks could not be counted", "refused", counted, "error", err)
	}
}
