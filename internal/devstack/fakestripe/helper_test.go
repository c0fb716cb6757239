package fakestripe_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

const day = 24 * time.Hour

// wall is a clock that tests move.
type wall struct{ at atomic.Int64 }

func newWall() *wall {
	w := &wall{}
	w.at.Store(time.Now().Unix())
	return w
}

func (w *wall) now() time.Time        { return time.Unix(w.at.Load(), 0) }
func (w *wall) pass(d time.Duration)  { w.at.Add(int64(d / time.Second)) }
func quiet() *slog.Logger             { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
func code(err error) stripe.ErrorCode { return problem(err).Code }
func status(err error) int            { return problem(err).HTTPStatusCode }
func kind(err error) stripe.ErrorType { return problem(err).Type }
func keyed(key string) stripe.Params  { return stripe.Params{IdempotencyKey: &key} }
func str(s string) *string            { return stripe.String(s) }

// problem is the Stripe error in err, empty if there is none.
func problem(err error) *stripe.Error {
	if e := new(stripe.Error); errors.As(err, &e) {
		return e
	}
	return &stripe.Error{}
}

// local is a running server with an unmodified Stripe client on it.
type local struct {
	*client.API
	server *fakestripe.Server
	url    string
	wall   *wall
}

func start(t *testing.T) *local { return startWith(t, fakestripe.Options{}) }

func startWith(t *testing.T, o fakestripe.Options) *local {
	t.Helper()
	w := newWall()
	if o.Now == nil {
		o.Now = w.now
	}
	o.Log = quiet()
	server, err := fakestripe.New(o)
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		listener.Close()
		require.NoError(t, server.Close())
	})
	return &local{API: clientOf(listener.URL, "sk_test_local"), server: server, url: listener.URL, wall: w}
}

func clientOf(url, key string) *client.API {
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: &url, MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return client.New(key, &stripe.Backends{API: backend, Connect: backend, Uploads: backend})
}

// customer has the test payment method as its default; "" gives it none.
func (l *local) customer(t *testing.T, method string) *stripe.Customer {
	t.Helper()
	return l.customerOn(t, method, "")
}

func (l *local) customerOn(t *testing.T, method, clock string) *stripe.Customer {
	t.Helper()
	p := &stripe.CustomerParams{Name: str("Acme"), Email: str("billing@acme.example")}
	if method != "" {
		p.PaymentMethod = str(method)
		p.InvoiceSettings = &stripe.CustomerInvoiceSettingsParams{DefaultPaymentMethod: str(method)}
	}
	if clock != "" {
		p.TestClock = str(clock)
	}
	c, err := l.Customers.New(p)
	require.NoError(t, err)
	return c
}

// draft is an invoice with one item per amount.
func (l *local) draft(t *testing.T, customer string, amounts ...int64) *stripe.Invoice {
	t.Helper()
	inv, err := l.Invoices.New(&stripe.InvoiceParams{
		Customer: str(customer), Currency: str("usd"), AutoAdvance: stripe.Bool(false),
	})
	require.NoError(t, err)
	for _, amount := range amounts {
		_, err := l.InvoiceItems.New(&stripe.InvoiceItemParams{
			Customer: str(customer), Invoice: &inv.ID, Amount: stripe.Int64(amount), Currency: str("usd"),
		})
		require.NoError(t, err)
	}
	return inv
}

func (l *local) finalized(t *testing.T, customer string, amounts ...int64) *stripe.Invoice {
	t.Helper()
	inv, err := l.Invoices.FinalizeInvoice(l.draft(t, customer, amounts...).ID, nil)
	require.NoError(t, err)
	return inv
}

func (l *local) invoice(t *testing.T, id string) *stripe.Invoice {
	t.Helper()
	inv, err := l.Invoices.Get(id, nil)
	require.NoError(t, err)
	return inv
}

func (l *local) intent(t *testing.T, inv *stripe.Invoice) *stripe.PaymentIntent {
	t.Helper()
	require.NotNil(t, inv.PaymentIntent)
	pi, err := l.PaymentIntents.Get(inv.PaymentIntent.ID, nil)
	require.NoError(t, err)
	return pi
}

func (l *local) charges(t *testing.T, customer string) []*stripe.Charge {
	t.Helper()
	var all []*stripe.Charge
	for it := l.Charges.List(&stripe.ChargeListParams{Customer: str(customer)}); it.Next(); {
		all = append(all, it.Charge())
	}
	return all
}

// events are the types of what happened, oldest first.
func (l *local) events(t *testing.T, types ...string) []string {
	t.Helper()
	var all []string
	it := l.Events.List(&stripe.EventListParams{Types: stripe.StringSlice(types)})
	for it.Next() {
		all = append([]string{string(it.Event().Type)}, all...)
	}
	require.NoError(t, it.Err())
	return all
}
