package stripe_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/stripe"
)

func hangUp(http.ResponseWriter, *http.Request, int) { panic(http.ErrAbortHandler) }

func halfABody(w http.ResponseWriter, _ *http.Request, _ int) {
	w.Header().Set("Content-Length", "500")
	_, _ = io.WriteString(w, `{"id":"in_1","customer_email":"bob@exam`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestEachAnswerOfStripeHasItsKind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer     answer
		want       error // the final kind; nil = to be tried again
		wantText   string
		wantLater  time.Duration
		wantSpent  bool
		wantRepeat bool // the key is used up, the next one is tried at once
	}{
		"429 rate limit": {
			answer:   reply(429, `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Slow down"}}`, "Retry-After", "7"),
			wantText: "429 invalid_request_error rate_limit: Slow down (req_1)", wantLater: 7 * time.Second,
		},
		"429 lock timeout":            {answer: reply(429, `{"error":{"type":"invalid_request_error","code":"lock_timeout"}}`), wantText: "lock_timeout"},
		"429 without a code":          {answer: reply(429, `{"error":{"type":"invalid_request_error"}}`, "Retry-After", "soon"), wantText: "429"},
		"429 for very long":           {answer: reply(429, `{"error":{}}`, "Retry-After", "86400"), wantText: "429", wantLater: 10 * time.Minute},
		"400 lock timeout":            {answer: reply(400, `{"error":{"type":"invalid_request_error","code":"lock_timeout"}}`), wantText: "lock_timeout"},
		"400 idempotency error":       {answer: reply(400, `{"error":{"type":"idempotency_error","message":"Keys for idempotent requests"}}`), want: billing.ErrConflict, wantText: "idempotency_error"},
		"409 key in use":              {answer: reply(409, `{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use"}}`), wantText: "409"},
		"500":                         {answer: reply(500, `{"error":{"type":"api_error","message":"An unknown error occurred"}}`), wantText: "500 api_error: An unknown error occurred"},
		"500 stored":                  {answer: reply(500, `{"error":{"type":"api_error"}}`, "Idempotent-Replayed", "true"), wantText: "500", wantSpent: true, wantRepeat: true},
		"400 stored":                  {answer: reply(400, `{"error":{"type":"invalid_request_error","message":"Nope"}}`, "Idempotent-Replayed", "true"), want: billing.ErrInvalid, wantText: "Nope", wantRepeat: true},
		"503 should retry":            {answer: reply(503, `{"error":{"type":"api_error"}}`, "Stripe-Should-Retry", "true"), wantText: "503"},
		"502 with a page":             {answer: reply(502, `<html>`+strings.Repeat("x", 5000)+`</html>`), wantText: "no answer from Stripe"},
		"502 that is no error":        {answer: reply(502, `{"ok":true}`), wantText: "no answer from Stripe"},
		"200 with a page":             {answer: reply(200, `<html>`), wantText: "no answer from Stripe"},
		"half a body":                 {answer: halfABody, wantText: "no answer from Stripe"},
		"connection dropped":          {answer: hangUp, wantText: "no answer from Stripe"},
		"401 revoked key":             {answer: reply(401, `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: sk_test_abc123XYZ"}}`), wantText: "Invalid API Key provided: [redacted]"},
		"403 right missing":           {answer: reply(403, `{"error":{"type":"invalid_request_error","message":"rk_test_abc lacks a right"}}`), wantText: "403"},
		"404 no such invoice":         {answer: reply(404, `{"error":{"type":"invalid_request_error","code":"resource_missing","param":"invoice"}}`), want: billing.ErrNotFound, wantText: "resource_missing"},
		"400 no such customer":        {answer: reply(400, `{"error":{"type":"invalid_request_error","code":"resource_missing","param":"customer"}}`), want: billing.ErrNotFound, wantText: "resource_missing"},
		"400 wrong parameter":         {answer: reply(400, `{"error":{"type":"invalid_request_error","message":"Received unknown parameter: colour of bob@example.com"}}`), want: billing.ErrInvalid, wantText: "unknown parameter: colour of [redacted]"},
		"an answer nobody thought of": {answer: reply(418, `{"error":{"type":"teapot_error"}}`), wantText: "418 teapot_error"},
		"a redirect":                  {answer: reply(307, `{}`, "Location", "http://127.0.0.1:1/"), wantText: ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := scripted(t, c.answer)
			_, err := s.CreateInvoice(context.Background(), draftOf("cus_1", "acme/2026-10-01"))
			if name == "a redirect" {
				require.Len(t, s.keys(), 1, "the key goes to no other host")
				return
			}
			require.ErrorContains(t, err, c.wantText)
			requireFinal(t, c.want, err)
			require.Less(t, len(err.Error()), 500)
			for _, secret := range []string{"@", "sk_test_abc", "rk_test_abc"} {
				require.NotContains(t, err.Error(), secret)
			}
			var later interface{ RetryAfter() time.Duration }
			require.ErrorAs(t, err, &later)
			require.Equal(t, c.wantLater, later.RetryAfter())
			var spent interface{ KeySpent() bool }
			require.ErrorAs(t, err, &spent)
			require.Equal(t, c.wantSpent, spent.KeySpent())
			if !c.wantRepeat {
				require.Len(t, s.keys(), 1, "no call is repeated by the gateway")
			}
		})
	}
}

func TestACallWithoutAnswerTellsWhy(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }
	s := scripted(t, hang, func(o *stripe.Options) { o.Timeout = 20 * time.Millisecond })
	_, err := s.Pay(context.Background(), billing.ChargeStep{IdempotencyKey: "pay/1", StripeInvoice: "in_1"})
	require.ErrorContains(t, err, "no answer from Stripe")
	requireFinal(t, nil, err)

	s = scripted(t, hang)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Pay(ctx, billing.ChargeStep{IdempotencyKey: "pay/1", StripeInvoice: "in_1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireFinal(t, nil, err)
}

func TestAKeyUsedUpByAFailureIsFollowedByTheNext(t *testing.T) {
	t.Parallel()
	s := scripted(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n <= 2 {
			reply(500, `{"error":{"type":"api_error"}}`, "Idempotent-Replayed", "true")(w, r, n)
			return
		}
		reply(200, `{"id":"in_3"}`)(w, r, n)
	})
	draft := draftOf("cus_1", "acme/2026-10-01")
	id, err := s.CreateInvoice(context.Background(), draft)
	require.NoError(t, err)
	require.Equal(t, "in_3", id)
	require.Equal(t, []string{draft.IdempotencyKey, draft.IdempotencyKey + "/2", draft.IdempotencyKey + "/3"}, s.keys())
}

func TestAPaymentIsNeverMadeUnderAnotherKey(t *testing.T) {
	t.Parallel()
	s := scripted(t, reply(500, `{"error":{"type":"api_error"}}`, "Idempotent-Replayed", "true"))
	_, err := s.Pay(context.Background(), billing.ChargeStep{IdempotencyKey: "pay/1", StripeInvoice: "in_1"})
	require.Error(t, err)
	require.Equal(t, []string{"pay/1"}, s.keys())
}

func TestNoWriteGoesOutWithoutAKey(t *testing.T) {
	t.Parallel()
	s := scripted(t, reply(200, `{}`))
	ctx := context.Background()
	draft := draftOf("cus_1", "acme/2026-10-01")
	draft.IdempotencyKey = ""
	_, err := s.CreateInvoice(ctx, draft)
	require.ErrorIs(t, err, billing.ErrInvalid)
	draft.IdempotencyKey = strings.Repeat("k", 255)
	_, err = s.CreateInvoice(ctx, draft)
	require.ErrorIs(t, err, billing.ErrInvalid)
	_, err = s.Pay(ctx, billing.ChargeStep{StripeInvoice: "in_1"})
	require.ErrorIs(t, err, billing.ErrInvalid)
	item := itemOf(draftOf("cus_1", "acme/2026-10-01"), "", "usage", "1.00")
	_, err = s.AddItem(ctx, item)
	require.ErrorIs(t, err, billing.ErrInvalid, "an item without an invoice would end up on any")
	item.StripeInvoice, item.Amount = "in_1", usd("1.005")
	_, err = s.AddItem(ctx, item)
	require.ErrorIs(t, err, billing.ErrInvalid, "nothing is rounded in passing")
	_, err = s.Invoice(ctx, "")
	require.ErrorIs(t, err, billing.ErrNotFound)
	require.Empty(t, s.keys())
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options  stripe.Options
		wantLive bool
		wantErr  string
	}{
		"a test key":                          {options: stripe.Options{Key: "sk_test_1"}},
		"a restricted test key":               {options: stripe.Options{Key: "rk_test_1"}},
		"a live key":                          {options: stripe.Options{Key: "sk_live_1"}, wantLive: true},
		"a restricted live key":               {options: stripe.Options{Key: "rk_live_1"}, wantLive: true},
		"a live key and Stripe's own base":    {options: stripe.Options{Key: "sk_live_1", APIBase: "https://api.stripe.com/"}, wantLive: true},
		"a test key and another base":         {options: stripe.Options{Key: "sk_test_1", APIBase: "http://127.0.0.1:1"}},
		"a live key and another base":         {options: stripe.Options{Key: "sk_live_1", APIBase: "http://127.0.0.1:1"}, wantErr: "test mode only"},
		"a publishable key":                   {options: stripe.Options{Key: "pk_test_1"}, wantErr: "sk_test_"},
		"a prefix and no more":                {options: stripe.Options{Key: "sk_test_"}, wantErr: "sk_test_"},
		"no key":                              {wantErr: "sk_test_"},
		"a base that is no URL":               {options: stripe.Options{Key: "sk_test_1", APIBase: "localhost:12111"}, wantErr: "accepted: a URL"},
		"a base with a scheme nobody speaks":  {options: stripe.Options{Key: "sk_test_1", APIBase: "ftp://x"}, wantErr: "accepted: a URL"},
		"a base that nobody can parse at all": {options: stripe.Options{Key: "sk_test_1", APIBase: "http://[::1"}, wantErr: "accepted: a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := stripe.New(c.options)
			if c.wantErr != "" {
				require.ErrorIs(t, err, billing.ErrInvalid)
				require.ErrorContains(t, err, c.wantErr)
				if key := c.options.Key; len(key) > len("sk_test_") {
					require.NotContains(t, err.Error(), key, "a key stands in no message")
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.wantLive, g.Live())
		})
	}
}

func TestALiveKeyMeetsNoTestClock(t *testing.T) {
	t.Parallel()
	g, err := stripe.New(stripe.Options{Key: "sk_live_1"})
	require.NoError(t, err)
	_, _, err = g.EnsureCustomer(context.Background(), installation, billing.Organization{ID: "acme", TestClock: true})
	require.ErrorIs(t, err, billing.ErrInvalid)
	require.ErrorContains(t, err, "organization acme is on a test clock")
}
