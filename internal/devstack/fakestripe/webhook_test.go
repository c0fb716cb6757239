package fakestripe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// inbox is an endpoint that verifies what it gets and refuses the first ones.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	refuse int
	got    []stripe.Event
	bad    []error
}

func newInbox(t *testing.T, secret string) *inbox {
	in := &inbox{secret: secret}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.refuse > 0 {
			in.refuse--
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		event, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), in.secret)
		if err != nil {
			in.bad = append(in.bad, err)
			return
		}
		in.got = append(in.got, event)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *inbox) types() map[string]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	types := map[string]int{}
	for _, e := range in.got {
		types[string(e.Type)]++
	}
	return types
}

func TestEventsAreDeliveredSignedAndAgainUntilTaken(t *testing.T) {
	t.Parallel()
	in := newInbox(t, "whsec_test")
	in.refuse = 2
	l := startWith(t, fakestripe.Options{WebhookURL: in.URL, WebhookSecret: "whsec_test"})
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 1000)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.NoError(t, err)
	want := map[string]int{
		"customer.created": 1, "payment_method.attached": 1, "invoice.created": 1, "invoice.finalized": 1,
		"invoice.updated": 2, "payment_intent.created": 1, "payment_intent.succeeded": 1, "charge.succeeded": 1,
		"invoice.paid": 1, "invoice.payment_succeeded": 1,
	}
	require.Eventually(t, func() bool { return len(in.types()) == len(want) }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, want, in.types())
	in.mu.Lock()
	require.Empty(t, in.bad)
	require.Equal(t, stripe.APIVersion, in.got[0].APIVersion)
	in.mu.Unlock()
	require.Eventually(t, func() bool {
		it := l.Events.List(&stripe.EventListParams{DeliverySuccess: stripe.Bool(false)})
		return !it.Next() && it.Err() == nil
	}, 5*time.Second, 10*time.Millisecond)
}

func TestAnEndpointGetsWhatItAskedFor(t *testing.T) {
	t.Parallel()
	l := start(t)
	in := newInbox(t, "")
	w, err := l.WebhookEndpoints.New(&stripe.WebhookEndpointParams{
		URL: &in.URL, EnabledEvents: stripe.StringSlice([]string{"invoice.finalized"}),
	})
	require.NoError(t, err)
	require.NotEmpty(t, w.Secret)
	in.mu.Lock()
	in.secret = w.Secret
	in.mu.Unlock()
	shown, err := l.WebhookEndpoints.Get(w.ID, nil)
	require.NoError(t, err)
	require.Empty(t, shown.Secret)
	l.finalized(t, l.customer(t, "").ID, 1000)
	require.Eventually(t, func() bool { return in.types()["invoice.finalized"] == 1 }, 5*time.Second, time.Millisecond)
	_, err = l.WebhookEndpoints.Del(w.ID, nil)
	require.NoError(t, err)
	l.finalized(t, l.customer(t, "").ID, 1000)
	require.Len(t, in.types(), 1)
}

func TestADeadEndpointHoldsNobodyUpAndIsServedAfterARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	dead := httptest.NewServer(nil)
	dead.Close()
	first, err := fakestripe.New(fakestripe.Options{StateFile: file, WebhookURL: dead.URL, WebhookSecret: "s", Log: quiet()})
	require.NoError(t, err)
	listener := httptest.NewServer(first)
	begun := time.Now()
	_, err = clientOf(listener.URL, "sk_test_1").Customers.New(nil)
	require.NoError(t, err)
	require.Less(t, time.Since(begun), time.Second)
	listener.Close()
	require.NoError(t, first.Close())

	in := newInbox(t, "whsec_new")
	startWith(t, fakestripe.Options{StateFile: file, WebhookURL: in.URL, WebhookSecret: "whsec_new"})
	require.Eventually(t, func() bool { return in.types()["customer.created"] == 1 }, 5*time.Second, time.Millisecond)
}
