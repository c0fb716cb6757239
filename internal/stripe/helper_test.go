package stripe_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/stripe"
)

var _ activities.Provider = (*stripe.Gateway)(nil)

const (
	installation = "0d9f3c1e-5c0e-4a5e-9c7b-2f6a1c1b7a11"
	testKey      = "sk_test_local"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func money(amount string, c billing.Currency) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: c}
}

func usd(amount string) billing.Money { return money(amount, "USD") }

// requireMoney compares values and not the spelling of decimals.
func requireMoney(t *testing.T, want string, got billing.Money) {
	t.Helper()
	require.Equal(t, want, got.String())
}

// script is a Stripe that answers what it is told to, and keeps what it was asked.
type script struct {
	*stripe.Gateway
	mu       sync.Mutex
	requests []*http.Request
	forms    []string
}

type answer func(w http.ResponseWriter, r *http.Request, n int)

func scripted(t *testing.T, answer answer, options ...func(*stripe.Options)) *script {
	t.Helper()
	s := &script{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests, s.forms = append(s.requests, r), append(s.forms, string(body))
		n := len(s.requests)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Request-Id", "req_1")
		answer(w, r, n)
	}))
	t.Cleanup(server.Close)
	o := stripe.Options{Key: testKey, APIBase: server.URL, Log: quiet()}
	for _, set := range options {
		set(&o)
	}
	gateway, err := stripe.New(o)
	require.NoError(t, err)
	s.Gateway = gateway
	return s
}

func (s *script) keys() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
	}
	return keys
}

// reply answers every request alike.
func reply(status int, body string, headers ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// local is a gateway to the local Stripe, with an ordinary client beside it to
// see what the gateway did.
type local struct {
	*stripe.Gateway
	api    *client.API
	server *fakestripe.Server
	url    string
	wall   atomic.Int64
}

func start(t *testing.T, options ...func(*stripe.Options)) *local {
	t.Helper()
	l := &local{}
	l.wall.Store(time.Now().Unix())
	server, err := fakestripe.New(fakestripe.Options{
		Log: quiet(), Now: func() time.Time { return time.Unix(l.wall.Load(), 0) },
	})
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		server.Release()
		listener.Close()
		require.NoError(t, server.Close())
	})
	o := stripe.Options{Key: testKey, APIBase: listener.URL, Log: quiet()}
	for _, set := range options {
		set(&o)
	}
	gateway, err := stripe.New(o)
	require.NoError(t, err)
	backend := sdk.GetBackendWithConfig(sdk.APIBackend, &sdk.BackendConfig{
		URL: &listener.URL, LeveledLogger: &sdk.LeveledLogger{Level: sdk.LevelNull},
	})
	l.Gateway, l.server, l.url = gateway, server, listener.URL
	l.api = client.New(testKey, &sdk.Backends{API: backend, Connect: backend, Uploads: backend})
	return l
}

func (l *local) pass(d time.Duration) { l.wall.Add(int64(d / time.Second)) }

func (l *local) customer(t *testing.T, method string) string {
	t.Helper()
	customer, _, err := l.EnsureCustomer(context.Background(), installation, billing.Organization{ID: "acme", PaymentMethod: method})
	require.NoError(t, err)
	return customer
}

func draftOf(customer, invoice string) billing.ProviderInvoice {
	return billing.ProviderInvoice{
		Invoice: invoice, Number: "ACME-2026-10", Organization: "acme", Installation: installation, Customer: customer,
		Total: usd("100.00"), Collection: billing.ChargeAutomatically,
		IdempotencyKey: "inv/" + installation + "/" + invoice + "/1",
	}
}

func itemOf(draft billing.ProviderInvoice, stripeInvoice, key, amount string) billing.ProviderItem {
	return billing.ProviderItem{
		Invoice: draft.Invoice, Number: 1, Key: key, Description: "Claude Sonnet 4.5 input",
		Amount: money(amount, draft.Total.Currency), Installation: installation, Customer: draft.Customer, StripeInvoice: stripeInvoice,
		PeriodStart:    time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		PeriodEnd:      time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		IdempotencyKey: draft.IdempotencyKey + "/item/" + key,
	}
}

// open is a finalised invoice of 100.00 USD.
func (l *local) open(t *testing.T, customer string) billing.ProviderInvoice {
	t.Helper()
	ctx := context.Background()
	draft := draftOf(customer, "acme/2026-10-01")
	id, err := l.CreateInvoice(ctx, draft)
	require.NoError(t, err)
	_, err = l.AddItem(ctx, itemOf(draft, id, "usage", "100.00"))
	require.NoError(t, err)
	draft.StripeID = id
	state, err := l.FinalizeInvoice(ctx, draft)
	require.NoError(t, err)
	require.Equal(t, "open", state.Status)
	return draft
}

func attempt(inv billing.ProviderInvoice, n int, before int64) billing.ChargeStep {
	return billing.ChargeStep{
		Do: billing.StepCharge, Invoice: inv.Invoice, Attempt: n, StripeInvoice: inv.StripeID, Total: inv.Total,
		IdempotencyKey: "pay/" + installation + "/" + inv.Invoice + "/" + string(rune('0'+n)), AttemptsBefore: before,
	}
}

func (l *local) charges(t *testing.T, customer string) (all []*sdk.Charge) {
	t.Helper()
	list := l.api.Charges.List(&sdk.ChargeListParams{Customer: &customer})
	for list.Next() {
		all = append(all, list.Charge())
	}
	require.NoError(t, list.Err())
	return all
}

func (l *local) invoices(t *testing.T, customer string) (all []*sdk.Invoice) {
	t.Helper()
	list := l.api.Invoices.List(&sdk.InvoiceListParams{Customer: &customer})
	for list.Next() {
		all = append(all, list.Invoice())
	}
	require.NoError(t, list.Err())
	return all
}

func requireFinal(t *testing.T, want, err error) {
	t.Helper()
	for _, kind := range []error{billing.ErrNotFound, billing.ErrConflict, billing.ErrInvalid} {
		if want != nil && errors.Is(kind, want) {
			require.ErrorIs(t, err, kind)
		} else {
			require.NotErrorIs(t, err, kind)
		}
	}
}
