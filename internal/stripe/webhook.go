package stripe

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/arrears-dev/arrears/internal/billing"
)

// webhookWindow is how far a delivery's time may lie from ours, either way.
const webhookWindow = 300 * time.Second

// Event is news from Stripe. It is a hint to look and no source of facts: events
// come more than once, late and in any order.
type Event struct {
	ID         string
	Type       string
	ObjectID   string
	CustomerID string // "" = of no customer
	InvoiceID  string // "" = of no invoice
	IntentID   string // "" = of no payment
	Livemode   bool
	Created    time.Time
}

// Why a delivery is refused, as it is counted.
const (
	RefusedSignature = "signature"    // none, or not by one of the secrets
	RefusedOld       = "too_old"      // signed too long ago
	RefusedFuture    = "future"       // signed ahead of our time
	RefusedMode      = "other_mode"   // of live mode, and the key of test mode, or the other way round
	RefusedContent   = "not_an_event" // signed, and not what Stripe sends
)

// Refusal is a delivery that is not taken; it is billing.ErrInvalid.
type Refusal struct {
	Reason string
	err    error
}

func (r *Refusal) Error() string { return r.err.Error() }
func (r *Refusal) Unwrap() error { return r.err }

func refuse(reason, format string, args ...any) error {
	return &Refusal{reason, billing.Invalid(format, args...)}
}

// Webhook returns the event of a delivery that Stripe signed, with any of the
// secrets that count now, within the last five minutes and for our mode. Anything
// else is billing.ErrInvalid. The body must be the bytes as they arrived.
func (g *Gateway) Webhook(body []byte, signature string, now time.Time) (Event, error) {
	event, err := g.verify(body, signature)
	if err != nil {
		return Event{}, err
	}
	switch signed := signedAt(signature); {
	case now.Sub(signed) > webhookWindow:
		return Event{}, refuse(RefusedOld, "webhook: signed at %s, more than %s ago", signed.Format(time.RFC3339), webhookWindow)
	case signed.Sub(now) > webhookWindow:
		return Event{}, refuse(RefusedFuture, "webhook: signed at %s, more than %s ahead", signed.Format(time.RFC3339), webhookWindow)
	case event.Livemode != g.live:
		return Event{}, refuse(RefusedMode, "webhook: the event is of %s mode, the Stripe key of %s mode", mode(event.Livemode), mode(g.live))
	}
	if event.APIVersion != sdk.APIVersion {
		g.log.Warn("webhook endpoint has another API version than this program",
			"event", event.ID, "version", event.APIVersion, "want", sdk.APIVersion)
	}
	return hint(event)
}

// verify checks the signature alone; its age is checked by the caller's clock.
func (g *Gateway) verify(body []byte, signature string) (event sdk.Event, err error) {
	if len(g.secrets) == 0 {
		return event, refuse(RefusedSignature, "webhook: no signing secret is configured")
	}
	// Only ids are read of an event, which every API version spells alike.
	options := webhook.ConstructEventOptions{IgnoreTolerance: true, IgnoreAPIVersionMismatch: true}
	for _, secret := range g.secrets {
		event, err = webhook.ConstructEventWithOptions(body, signature, secret, options)
		if !errors.Is(err, webhook.ErrNoValidSignature) {
			break
		}
	}
	switch {
	case err == nil:
		return event, nil
	case errors.Is(err, webhook.ErrNoValidSignature), errors.Is(err, webhook.ErrNotSigned), errors.Is(err, webhook.ErrInvalidHeader):
		return event, refuse(RefusedSignature, "webhook: %s", redact(err.Error()))
	}
	return event, refuse(RefusedContent, "webhook: %s", redact(err.Error()))
}

// signedAt reads the time from a signature header that was verified.
func signedAt(signature string) (at time.Time) {
	for pair := range strings.SplitSeq(signature, ",") {
		if unix, found := strings.CutPrefix(pair, "t="); found {
			seconds, err := strconv.ParseInt(unix, 10, 64)
			if err != nil {
				return time.Time{}
			}
			at = time.Unix(seconds, 0).UTC() // the last one counts, as in the verification
		}
	}
	return at
}

func mode(live bool) string {
	if live {
		return "live"
	}
	return "test"
}

func hint(event sdk.Event) (Event, error) {
	out := Event{
		ID: event.ID, Type: string(event.Type), Livemode: event.Livemode, Created: time.Unix(event.Created, 0).UTC(),
	}
	if out.ID == "" || out.Type == "" || event.Data == nil {
		return Event{}, refuse(RefusedContent, "webhook: the event has no id, type or object")
	}
	var object struct {
		ID       string    `json:"id"`
		Object   string    `json:"object"`
		Customer reference `json:"customer"`
		Invoice  reference `json:"invoice"`
		Intent   reference `json:"payment_intent"`
	}
	if err := json.Unmarshal(event.Data.Raw, &object); err != nil {
		return Event{}, refuse(RefusedContent, "webhook: the object of event %s: %s", event.ID, redact(err.Error()))
	}
	out.ObjectID, out.CustomerID, out.InvoiceID = object.ID, string(object.Customer), string(object.Invoice)
	out.IntentID = string(object.Intent)
	switch object.Object {
	case "customer":
		out.CustomerID = object.ID
	case "invoice":
		out.InvoiceID = object.ID
	case "payment_intent":
		out.IntentID = object.ID
	}
	return out, nil
}

// reference is an id, or the object that it stands for.
type reference string

func (r *reference) UnmarshalJSON(data []byte) error {
	var object struct {
		ID string `json:"id"`
	}
	if len(data) > 0 && data[0] == '{' {
		err := json.Unmarshal(data, &object)
		*r = reference(object.ID)
		return err
	}
	return json.Unmarshal(data, (*string)(r))
}
