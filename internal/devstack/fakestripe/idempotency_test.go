package fakestripe_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// answer is what a request got.
type answer struct {
	StatusCode int
	Header     http.Header
}

// post sends a form as curl would.
func (l *local) post(t *testing.T, path, form string, headers ...string) (answer, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, l.url+path, strings.NewReader(form))
	require.NoError(t, err)
	req.SetBasicAuth("sk_test_local", "")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	got, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	return answer{got.StatusCode, got.Header}, string(body)
}

func TestAKeyReplaysItsFirstAnswer(t *testing.T) {
	t.Parallel()
	l := start(t)
	first, body := l.post(t, "/v1/customers", "name=Acme", "Idempotency-Key", "k1")
	require.Equal(t, http.StatusOK, first.StatusCode)
	require.Empty(t, first.Header.Get("Idempotent-Replayed"))
	again, replayed := l.post(t, "/v1/customers", "name=Acme", "Idempotency-Key", "k1")
	require.Equal(t, body, replayed)
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	require.Equal(t, first.Header.Get("Request-Id"), again.Header.Get("Original-Request"))
	require.Len(t, l.events(t, "customer.created"), 1)
}

func TestAKeyIsGoodForOneRequestOnly(t *testing.T) {
	t.Parallel()
	l := start(t)
	c, err := l.Customers.New(&stripe.CustomerParams{Params: keyed("k1"), Name: str("Acme")})
	require.NoError(t, err)
	_, err = l.Customers.New(&stripe.CustomerParams{Params: keyed("k1"), Name: str("Other")})
	require.Equal(t, http.StatusBadRequest, status(err))
	require.Equal(t, stripe.ErrorTypeIdempotency, kind(err))
	_, err = l.Customers.Update(c.ID, &stripe.CustomerParams{Params: keyed("k1"), Name: str("Acme")})
	require.Equal(t, stripe.ErrorTypeIdempotency, kind(err), "another path")
}

func TestADeclineIsStoredUnderItsKey(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_chargeCustomerFail")
	inv := l.finalized(t, c.ID, 1000)
	for range 3 {
		_, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
		require.Equal(t, stripe.ErrorCodeCardDeclined, code(err))
	}
	require.Len(t, l.charges(t, c.ID), 1)
}

func TestA500IsStoredUnderItsKeyAndTheWorkIsDone(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 1000)
	l.server.Inject(fakestripe.Fault{Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultError500})
	for range 2 {
		_, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
		require.Equal(t, http.StatusInternalServerError, status(err))
		require.Equal(t, stripe.ErrorTypeAPI, kind(err))
	}
	require.True(t, l.invoice(t, inv.ID).Paid)
	require.Len(t, l.charges(t, c.ID), 1)
}

func TestWhatFailsValidationIsNotStored(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, bad := range []string{"nme=Acme", "metadata[" + strings.Repeat("k", 41) + "]=v", "balance=much"} {
		answer, _ := l.post(t, "/v1/customers", bad, "Idempotency-Key", "k1")
		require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	}
	answer, _ := l.post(t, "/v1/customers", "name=Acme", "Idempotency-Key", "k1", "Authorization", "Bearer nonsense")
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	l.server.Inject(fakestripe.Fault{Kind: fakestripe.FaultRefuse, Status: 429, Code: "rate_limit"})
	answer, _ = l.post(t, "/v1/customers", "name=Acme", "Idempotency-Key", "k1")
	require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
	answer, _ = l.post(t, "/v1/customers", "name=Acme", "Idempotency-Key", "k1")
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Empty(t, answer.Header.Get("Idempotent-Replayed"))
}

func TestAKeyIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	l := start(t)
	create := func() string {
		c, err := l.Customers.New(&stripe.CustomerParams{Params: keyed("k1"), Name: str("Acme")})
		require.NoError(t, err)
		return c.ID
	}
	first := create()
	l.wall.pass(day - time.Second)
	require.Equal(t, first, create())
	l.wall.pass(time.Second)
	second := create()
	require.NotEqual(t, first, second)
	l.wall.pass(time.Hour)
	require.Equal(t, second, create())
}

func TestAKeyInUseIsRefused(t *testing.T) {
	t.Parallel()
	l := start(t)
	l.server.Inject(fakestripe.Fault{Path: "/v1/customers", Kind: fakestripe.FaultDelay, MS: 500})
	var slow sync.WaitGroup
	slow.Go(func() {
		_, err := l.Customers.New(&stripe.CustomerParams{Params: keyed("k1")})
		if err != nil {
			t.Errorf("the slow request: %v", err)
		}
	})
	require.Eventually(t, func() bool { return len(l.events(t, "customer.created")) == 1 }, 5*time.Second, time.Millisecond)
	_, err := l.Customers.New(&stripe.CustomerParams{Params: keyed("k1")})
	require.Equal(t, http.StatusConflict, status(err))
	require.Equal(t, stripe.ErrorCodeIdempotencyKeyInUse, code(err))
	slow.Wait()
	_, err = l.Customers.New(&stripe.CustomerParams{Params: keyed("k1")})
	require.NoError(t, err)
	require.Len(t, l.events(t, "customer.created"), 1)
}

func TestManyAtOnceUnderOneKeyMakeOneObject(t *testing.T) {
	t.Parallel()
	l := start(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { _, _ = l.Customers.New(&stripe.CustomerParams{Params: keyed("k1"), Name: str("Acme")}) })
	}
	all.Wait()
	require.Len(t, l.events(t, "customer.created"), 1)
}

func TestAKeyHasAtMost255Characters(t *testing.T) {
	t.Parallel()
	l := start(t)
	answer, _ := l.post(t, "/v1/customers", "", "Idempotency-Key", strings.Repeat("k", 256))
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	answer, _ = l.post(t, "/v1/customers", "", "Idempotency-Key", strings.Repeat("k", 255))
	require.Equal(t, http.StatusOK, answer.StatusCode)
}
