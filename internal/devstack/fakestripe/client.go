package fakestripe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Client orders what a running local Stripe does wrong, over HTTP.
type Client struct {
	Base string // such as http://127.0.0.1:12111
}

// Inject orders faults of answers.
func (c Client) Inject(ctx context.Context, faults ...Fault) error {
	return c.call(ctx, http.MethodPost, "faults", faults, nil)
}

// Faults is the plan as it stands.
func (c Client) Faults(ctx context.Context) (plan Plan, err error) {
	return plan, c.call(ctx, http.MethodGet, "faults", nil, &plan)
}

// ClearFaults ends every fault of answers.
func (c Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// Release answers every request that is held.
func (c Client) Release(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "release", nil, nil)
}

// InjectWebhooks orders faults of deliveries.
func (c Client) InjectWebhooks(ctx context.Context, faults ...WebhookFault) error {
	return c.call(ctx, http.MethodPost, "webhooks", faults, nil)
}

// Webhooks shows the faults of deliveries still to come, and the deliveries made.
func (c Client) Webhooks(ctx context.Context) (made Webhooks, err error) {
	return made, c.call(ctx, http.MethodGet, "webhooks", nil, &made)
}

// ClearWebhooks ends every fault of deliveries and forgets those made.
func (c Client) ClearWebhooks(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "webhooks", nil, nil)
}

// Redeliver delivers events again and returns how many deliveries it has begun.
func (c Client) Redeliver(ctx context.Context, wanted Redelivery) (int, error) {
	var begun struct{ Deliveries int }
	err := c.call(ctx, http.MethodPost, "webhooks/redeliver", wanted, &begun)
	return begun.Deliveries, err
}

// Limits are the limits that hold, with what they have turned away.
func (c Client) Limits(ctx context.Context) (view LimitsView, err error) {
	return view, c.call(ctx, http.MethodGet, "limits", nil, &view)
}

// SetLimits changes the limits from now on.
func (c Client) SetLimits(ctx context.Context, limits Limits) error {
	return c.call(ctx, http.MethodPut, "limits", limits, nil)
}

func (c Client) call(ctx context.Context, method, path string, send, into any) error {
	var body io.Reader
	if send != nil {
		body = bytes.NewReader(mustEncode(send))
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+"/_local/"+path, body)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("local Stripe: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("local Stripe: %w", err)
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s is no local Stripe", c.Base)
	case answer.StatusCode/100 != 2:
		return fmt.Errorf("local Stripe: %s", strings.TrimSpace(string(got)))
	case into != nil:
		return json.Unmarshal(got, into)
	}
	return nil
}
