package stripe_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/stripe"
)

const (
	secret    = "whsec_current"
	oldSecret = "whsec_previous"
)

func receiver(t *testing.T, key string, secrets ...string) *stripe.Gateway {
	t.Helper()
	g, err := stripe.New(stripe.Options{Key: key, WebhookSecrets: secrets, Log: quiet()})
	require.NoError(t, err)
	return g
}

func eventOf(object string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_1","object":"event","type":"invoice.paid","api_version":%q,"livemode":false,`+
		`"created":1790000000,"data":{"object":%s}}`, sdk.APIVersion, object)
}

func sign(body []byte, secret string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: at}).Header
}

func TestWebhook_SaysWhatTheEventIsAbout(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790000000, 0)
	for name, c := range map[string]struct {
		object string
		want   stripe.Event
	}{
		"an invoice": {
			`{"id":"in_1","object":"invoice","customer":"cus_1","charge":"ch_1"}`,
			stripe.Event{ObjectID: "in_1", InvoiceID: "in_1", CustomerID: "cus_1"},
		},
		"a charge": {
			`{"id":"ch_1","object":"charge","customer":{"id":"cus_1","object":"customer"},"invoice":"in_1"}`,
			stripe.Event{ObjectID: "ch_1", InvoiceID: "in_1", CustomerID: "cus_1"},
		},
		"a payment for no invoice": {
			`{"id":"pi_1","object":"payment_intent","customer":null,"invoice":null}`,
			stripe.Event{ObjectID: "pi_1", IntentID: "pi_1"},
		},
		"a customer": {`{"id":"cus_1","object":"customer"}`, stripe.Event{ObjectID: "cus_1", CustomerID: "cus_1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := eventOf(c.object)
			got, err := receiver(t, testKey, secret).Webhook(body, sign(body, secret, now), now)
			require.NoError(t, err)
			c.want.ID, c.want.Type, c.want.Created = "evt_1", "invoice.paid", now.UTC()
			require.Equal(t, c.want, got)
		})
	}
}

func TestWebhooksThatAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790000000, 0)
	body := eventOf(`{"id":"in_1","object":"invoice"}`)
	good := sign(body, secret, now)
	for name, c := range map[string]struct {
		key     string
		body    []byte
		header  string
		secrets []string
		want    string
	}{
		"no header":                  {header: "", want: "no Stripe-Signature header"},
		"no sense":                   {header: "t=x", want: "invalid Stripe-Signature header"},
		"wrong secret":               {header: sign(body, "whsec_other", now), want: "no valid signature"},
		"v0 only":                    {header: strings.ReplaceAll(good, "v1=", "v0="), want: "no valid signature"},
		"altered byte":               {body: []byte(strings.Replace(string(body), "in_1", "in_2", 1)), header: good, want: "no valid signature"},
		"written anew":               {body: append([]byte(" "), body...), header: good, want: "no valid signature"},
		"301 s old":                  {header: sign(body, secret, now.Add(-301*time.Second)), want: "more than 5m0s ago"},
		"an hour ahead":              {header: sign(body, secret, now.Add(time.Hour)), want: "more than 5m0s ahead"},
		"a second time of its own":   {header: good + ",t=" + fmt.Sprint(now.Unix()+1), want: "no valid signature"},
		"test event, live key":       {key: "sk_live_1", header: good, want: "the event is of test mode, the Stripe key of live mode"},
		"a secret that has expired":  {header: sign(body, oldSecret, now), want: "no valid signature"},
		"no secret at all":           {header: good, secrets: []string{}, want: "no signing secret"},
		"an empty secret is none":    {header: sign(body, "", now), secrets: []string{""}, want: "no signing secret"},
		"signed nonsense":            {body: []byte("{"), header: sign([]byte("{"), secret, now), want: "webhook"},
		"signed, and not an event":   {body: []byte("{}"), header: sign([]byte("{}"), secret, now), want: "no id, type or object"},
		"signed, and a wrong object": {body: eventOf(`{"id":5}`), header: sign(eventOf(`{"id":5}`), secret, now), want: "the object of event evt_1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.body == nil {
				c.body = body
			}
			if c.secrets == nil {
				c.secrets = []string{secret}
			}
			if c.key == "" {
				c.key = testKey
			}
			_, err := receiver(t, c.key, c.secrets...).Webhook(c.body, c.header, now)
			requireFinal(t, billing.ErrInvalid, err)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "whsec_")
			var refusal *stripe.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, reasonOf(c.want), refusal.Reason)
		})
	}
}

// reasonOf is the reason under which a refusal is counted, by what it says.
func reasonOf(says string) string {
	switch {
	case strings.Contains(says, "ago"):
		return stripe.RefusedOld
	case strings.Contains(says, "ahead"):
		return stripe.RefusedFuture
	case strings.Contains(says, "mode"):
		return stripe.RefusedMode
	case strings.Contains(says, "ignature"), strings.Contains(says, "secret"):
		return stripe.RefusedSignature
	default:
		return stripe.RefusedContent
	}
}

func TestBothSecretsCountWhileOneIsReplaced(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790000000, 0)
	body := eventOf(`{"id":"in_1","object":"invoice"}`)
	g := receiver(t, testKey, secret, oldSecret)
	for _, s := range []string{secret, oldSecret} {
		_, err := g.Webhook(body, sign(body, s, now), now)
		require.NoError(t, err)
	}
	for _, at := range []time.Duration{-300 * time.Second, 300 * time.Second} {
		_, err := g.Webhook(body, sign(body, secret, now.Add(at)), now)
		require.NoError(t, err, "the window is closed at %s", at)
	}
}

func TestAnotherAPIVersionIsReadAllTheSame(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790000000, 0)
	body := []byte(strings.Replace(string(eventOf(`{"id":"in_1","object":"invoice"}`)), sdk.APIVersion, "2030-01-01", 1))
	var log bytes.Buffer
	g, err := stripe.New(stripe.Options{Key: testKey, WebhookSecrets: []string{secret}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	event, err := g.Webhook(body, sign(body, secret, now), now)
	require.NoError(t, err)
	require.Equal(t, "in_1", event.InvoiceID)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "version=2030-01-01")
}

// Every call names the version that this program was written for, whatever the
// account's default is.
func TestEveryCallPinsTheAPIVersion(t *testing.T) {
	t.Parallel()
	s := scripted(t, reply(200, `{"id":"in_1"}`))
	_, err := s.CreateInvoice(context.Background(), draftOf("cus_1", "acme/2026-10-01"))
	require.NoError(t, err)
	require.Equal(t, sdk.APIVersion, s.requests[0].Header.Get("Stripe-Version"))
}

func TestWebhook_FromTheLocalStripe(t *testing.T) {
	t.Parallel()
	l := start(t, func(o *stripe.Options) { o.WebhookSecrets = []string{secret} })
	type delivery struct {
		event stripe.Event
		err   error
	}
	got := make(chan delivery, 100)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		event, err := l.Webhook(body, r.Header.Get("Stripe-Signature"), time.Now())
		got <- delivery{event, err}
	}))
	t.Cleanup(endpoint.Close)
	l.server.SetWebhook(endpoint.URL, secret)
	customer := l.customer(t, "pm_card_visa")
	inv := l.open(t, customer)
	_, err := l.Pay(context.Background(), attempt(inv, 1, 0))
	require.NoError(t, err)
	for {
		select {
		case d := <-got:
			require.NoError(t, d.err)
			if d.event.Type == string(sdk.EventTypeInvoicePaid) {
				require.Equal(t, inv.StripeID, d.event.InvoiceID)
				require.Equal(t, customer, d.event.CustomerID)
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no invoice.paid within 10 s")
		}
	}
}
