package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// newStripeShell has a local Stripe alone, and an ordinary client beside it.
func newStripeShell(t *testing.T) (*shell, *client.API) {
	var posted http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	hook := httptest.NewServer(posted)
	t.Cleanup(hook.Close)
	local, err := fakestripe.New(fakestripe.Options{Log: slog.New(slog.DiscardHandler), WebhookURL: hook.URL, WebhookSecret: "whsec_1"})
	require.NoError(t, err)
	server := httptest.NewServer(local)
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, local.Close())
	})
	backend := stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: &server.URL, MaxNetworkRetries: stripe.Int64(0), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return newShell(t, "STRIPE_API_BASE="+server.URL), client.New("sk_test_1", &stripe.Backends{API: backend})
}

func TestAnOperatorRehearsesStripesFaults(t *testing.T) {
	t.Parallel()
	s, sc := newStripeShell(t)
	require.Contains(t, s.ok("dev", "stripe", "faults"), "No faults are ordered")
	s.ok("dev", "stripe", "fault", "lock_timeout", "--method", "POST", "--path", "/v1/customers", "--nth", "2")
	require.Contains(t, s.ok("dev", "stripe", "fault", "outage", "--for", "6h", "--path", "/v1/charges"), "all  6h0m0s")
	_, err := sc.Customers.New(nil)
	require.NoError(t, err)
	_, err = sc.Customers.New(nil)
	require.ErrorContains(t, err, "lock_timeout")
	plan := into[fakestripe.Plan](s, "dev", "stripe", "faults")
	require.Len(t, plan.Faults, 1)
	require.Len(t, plan.Strikes, 1)
	require.Contains(t, s.ok("dev", "stripe", "faults"), "POST /v1/customers")
	require.Contains(t, s.ok("dev", "stripe", "faults", "--clear"), "No faults are ordered")
	require.Contains(t, s.ok("dev", "stripe", "release"), "Gave 0 answers.")
	require.Contains(t, s.ok("dev", "stripe", "release", "-o", "json"), `"released": 0`)

	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "fault", "nonsense"), "accepted: refuse, rate_limit,")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "fault", "drop", "--nth", "-1"), "--nth -1; accepted: 1 or more")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "fault", "drop", "--nth", "0"), "--nth 0; accepted: 1 or more")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "webhook", "drop", "--times", "0"), "--times 0; accepted: 1 or more, or -1")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "webhook", "duplicate", "--copies", "-1"), "--copies -1; accepted")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "fault", "drop", "--path", "invoices"), "a pattern such as /v1/invoices")
	require.Contains(t, s.ok("dev", "stripe", "faults", "-o", "json"), `"strikes": []`)
	require.Contains(t, newShell(t).fails(exitFailed, "dev", "stripe", "faults"), "STRIPE_API_BASE names no local Stripe")
}

func TestAnOperatorRehearsesWebhooks(t *testing.T) {
	t.Parallel()
	s, sc := newStripeShell(t)
	require.Contains(t, s.ok("dev", "stripe", "webhook", "drop", "--type", "customer.*"), "customer.*")
	s.ok("dev", "stripe", "webhook", "random", "--times", "-1", "--seed", "42", "--kinds", "duplicate,delay", "--type", "invoice.*")
	_, err := sc.Customers.New(nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return len(into[fakestripe.Webhooks](s, "dev", "stripe", "webhooks").Deliveries) == 1
	}, 5*time.Second, 10*time.Millisecond)
	require.Contains(t, s.ok("dev", "stripe", "redeliver"), "Began 1 delivery.")
	require.Eventually(t, func() bool {
		all := into[fakestripe.Webhooks](s, "dev", "stripe", "webhooks").Deliveries
		return len(all) == 2 && all[1].Status == http.StatusOK
	}, 5*time.Second, 10*time.Millisecond)
	require.Contains(t, s.ok("dev", "stripe", "redeliver"), "Began 0 deliveries.")
	require.Contains(t, s.ok("dev", "stripe", "redeliver", "-o", "json"), `"begun": 0`)
	require.NotContains(t, s.ok("dev", "stripe", "webhook", "drop", "--type", "charge.*"), "customer.created", "what was delivered is listed by webhooks")
	require.Contains(t, s.ok("dev", "stripe", "webhooks"), "customer.created")
	require.Contains(t, s.ok("dev", "stripe", "webhooks", "--clear"), "No faults of webhooks are ordered")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "webhook", "random", "--kinds", "shuffle"), "accepted")
}

func TestAnOperatorSetsStripesLimits(t *testing.T) {
	t.Parallel()
	s, sc := newStripeShell(t)
	require.Equal(t, fakestripe.LiveLimits(), into[fakestripe.LimitsView](s, "dev", "stripe", "limits", "--live-limits").Limits)
	require.Equal(t, fakestripe.Limits{PerEndpoint: 1}, into[fakestripe.LimitsView](s, "dev", "stripe", "limits", "--calls-per-endpoint", "1").Limits)
	var err error
	for range 3 {
		_, err = sc.Customers.New(nil)
	}
	require.ErrorContains(t, err, "rate_limit")
	require.Contains(t, s.ok("dev", "stripe", "limits"), "any")
	require.Positive(t, into[fakestripe.LimitsView](s, "dev", "stripe", "limits").Refused.Endpoint)
	require.Equal(t, fakestripe.Limits{}, into[fakestripe.LimitsView](s, "dev", "stripe", "limits", "--calls-per-second", "0").Limits)
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "limits", "--live-limits", "--calls-per-second", "3"), "accepted")
	require.Contains(t, s.fails(exitUsage, "dev", "stripe", "limits", "--calls-per-second", "-3"), "accepted")
}
