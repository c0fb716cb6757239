package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// webhookTimeout bounds one delivery, the answer included.
	webhookTimeout = 10 * time.Second
	// webhookAnswer is how much of an answer is read; nothing of it is used.
	webhookAnswer = 64 << 10
)

// Webhook delivers to an HTTP endpoint, signed by the Standard Webhooks
// convention. It is safe for concurrent use.
type Webhook struct {
	url     string
	signers []*standardwebhooks.Webhook // several while a secret is being replaced
	client  *http.Client
	now     func() time.Time
}

// OpenWebhook reads an endpoint's URL and secrets (whsec_ and base64), without
// connecting. The URL is https, but to this machine.
func OpenWebhook(endpoint string, secrets ...string) (*Webhook, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, billing.Invalid("ARREARS_NOTIFY_URL: accepted: an https URL, or http to this machine")
	}
	w := &Webhook{url: endpoint, now: time.Now, client: &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, secret := range secrets {
		encoded, prefixed := strings.CutPrefix(secret, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !prefixed || len(key) < 24 || len(key) > 64 {
			return nil, billing.Invalid("ARREARS_NOTIFY_SECRET: accepted: whsec_ and 24 to 64 bytes in base64")
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, err
		}
		w.signers = append(w.signers, signer)
	}
	if len(w.signers) == 0 {
		return nil, billing.Invalid("ARREARS_NOTIFY_SECRET: is missing; accepted: whsec_ and 24 to 64 bytes in base64")
	}
	return w, nil
}

// Name implements Channel.
func (*Webhook) Name() string { return "webhook" }

// Deliver implements Channel: any 2xx takes the message, 410 refuses it for good,
// and anything else, redirects included, is tried again.
func (w *Webhook) Deliver(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	request, err := w.request(ctx, m)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		var wrapped *url.Error // its text would repeat the URL, which may hold a token
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, webhookAnswer) // so that the connection may serve again
	switch {
	case response.StatusCode/100 == 2:
		return nil
	case response.StatusCode == http.StatusGone:
		return fmt.Errorf("webhook: %w: answered 410", ErrRefused)
	default:
		return fmt.Errorf("webhook: answered %d", response.StatusCode)
	}
}

func (w *Webhook) request(ctx context.Context, m Message) (*http.Request, error) {
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"` // of the news
		Data      any       `json:"data"`
	}{m.Type, m.At.UTC(), m.Data})
	if err != nil {
		return nil, fmt.Errorf("write webhook %s: %w", m.Key, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("write webhook %s: %w", m.Key, err)
	}
	hash := sha256.Sum256([]byte(m.Key))
	id, now := "msg_"+hex.EncodeToString(hash[:16]), w.now()
	var signatures []string
	for _, signer := range w.signers {
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("sign webhook %s: %w", m.Key, err)
		}
		signatures = append(signatures, signature)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "arrears")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id) // the same at each try
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return request, nil
}
