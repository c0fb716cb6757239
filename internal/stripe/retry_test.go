package stripe_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/stripe"
)

func TestACommandWaitsWhereItsCallsAreTooMany(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.Header.Get("Idempotency-Key")+" "+string(body))
		if calls.Add(1) <= 2 {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"slow down"}}`)
			return
		}
		fmt.Fprint(w, `{"id":"in_1","object":"invoice","status":"open","currency":"usd"}`)
	}))
	defer server.Close()
	invoice := billing.ProviderInvoice{Organization: "acme", Invoice: "acme/2026-10-01", Customer: "cus_1", IdempotencyKey: "inv/1"}

	hasty, err := stripe.New(stripe.Options{Key: testKey, APIBase: server.URL, Log: quiet()})
	require.NoError(t, err)
	_, err = hasty.CreateInvoice(t.Context(), invoice)
	require.ErrorContains(t, err, "429", "a worker's call is made again by Temporal")

	calls.Store(0)
	bodies = nil
	patient, err := stripe.New(stripe.Options{Key: testKey, APIBase: server.URL, Log: quiet(), RetryRateLimit: true})
	require.NoError(t, err)
	id, err := patient.CreateInvoice(t.Context(), invoice)
	require.NoError(t, err)
	require.Equal(t, "in_1", id)
	require.Len(t, bodies, 3)
	require.Equal(t, bodies[0], bodies[2], "the same call under the same key")
	require.Contains(t, bodies[0], "customer=cus_1")
}
