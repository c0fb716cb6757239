package notify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	secret      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func TestWebhooksAreSignedByTheConvention(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 10, 2, 8, 0, 0, 0, time.UTC)
	var bodies [][]byte
	var headers []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies, headers = append(bodies, body), append(headers, r.Header)
	}))
	defer server.Close()
	channel, err := OpenWebhook(server.URL, secret, otherSecret)
	require.NoError(t, err)
	money := func(amount int64) billing.Money { return billing.FromMinor(amount*100, "USD") }
	message := Spend(SpendNotice{
		ID: "40", Organization: "acme", Scope: billing.ScopeUser, Subject: "u1", LimitID: "7", LimitVersion: 1, Threshold: 75, Percent: "80",
		Limit: money(10), Spent: money(8), PeriodStart: at.AddDate(0, 0, -1).Truncate(24 * time.Hour), ResetsAt: at.AddDate(0, 0, 30).Truncate(24 * time.Hour), At: at,
	})
	require.NoError(t, channel.Deliver(t.Context(), message))
	require.NoError(t, channel.Deliver(t.Context(), message))
	message.Key = "notice/41"
	require.NoError(t, channel.Deliver(t.Context(), message))

	for _, s := range []string{secret, otherSecret} {
		verifier, err := standardwebhooks.NewWebhook(s)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(bodies[0], headers[0]))
		require.Error(t, verifier.Verify(append(bodies[0], ' '), headers[0]))
	}
	require.JSONEq(t, `{"type":"spend.threshold_reached","timestamp":"2026-10-02T08:00:00Z","data":{
		"id":"40","organization":"acme","scope":"user","subject":"u1","limit_id":"7","limit_version":1,"threshold":75,"percent":"80",
		"limit":{"amount":"10.00","currency":"USD"},"spent":{"amount":"8.00","currency":"USD"},
		"period_start":"2026-10-01T00:00:00Z","resets_at":"2026-11-01T00:00:00Z","at":"2026-10-02T08:00:00Z","late":false}}`, string(bodies[0]))
	id := func(n int) string { return headers[n].Get("webhook-id") }
	require.Equal(t, id(0), id(1), "a repeat is recognisable")
	require.NotEqual(t, id(0), id(2))
}

func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	status, asked := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	channel, err := OpenWebhook(server.URL+"/hook?token=canary", secret)
	require.NoError(t, err)
	for _, status = range []int{200, 204, 302, 400, 404, 410, 500} {
		asked = 0
		err := channel.Deliver(t.Context(), Message{Key: "k"})
		require.Equal(t, 1, asked, "redirects are not followed")
		require.Equal(t, status < 300, err == nil, status)
		if status == 410 {
			require.ErrorIs(t, err, ErrRefused)
		} else if err != nil {
			require.NotErrorIs(t, err, ErrRefused)
		}
	}
	server.Close()
	err = channel.Deliver(t.Context(), Message{Key: "k"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "canary")
}

func TestWebhookEndpointsAreChecked(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"", "http://hooks.example/x", "ftp://localhost/", "https://", "https://u:p@hooks.example/", "http://10.0.0.1/"} {
		_, err := OpenWebhook(endpoint, secret)
		require.ErrorIs(t, err, billing.ErrInvalid, endpoint)
	}
	for _, bad := range []string{"", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		_, err := OpenWebhook("https://hooks.example/x", bad)
		require.ErrorContains(t, err, "ARREARS_NOTIFY_SECRET")
	}
	for _, endpoint := range []string{"https://hooks.example/x", "http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost:9"} {
		_, err := OpenWebhook(endpoint, secret)
		require.NoError(t, err)
	}
}
