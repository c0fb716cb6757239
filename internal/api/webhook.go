package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// maxDelivery is the largest webhook that is read.
	maxDelivery = 1 << 20
	// receiveTimeout lies within the time that the provider waits for an answer.
	receiveTimeout = 8 * time.Second
)

// deliveriesPerSecond is how many deliveries are looked at, whoever sends them:
// checking signatures must not take the gateway from those whose keys are good.
const deliveriesPerSecond = 500

// webhook takes a delivery of Stripe's. The order matters: rate, size, then
// signature, age and mode, then stored once, and only then the answer; what the event means
// is found out later, by asking Stripe.
func (s *server) webhook(w http.ResponseWriter, r *http.Request) {
	if wait := s.inboxRate.pass(); wait > 0 {
		w.Header().Set("Retry-After", retryAfter)
		s.fail(w, r, http.StatusTooManyRequests, "too many deliveries at once; Stripe sends them again", "")
		return
	}
	reserved, ok := s.budget.reserve()
	if !ok {
		s.refuse(w, r, errBusy)
		return
	}
	defer reserved.release()
	body, err := reserved.readAll(http.MaxBytesReader(w, r.Body, maxDelivery))
	var over *http.MaxBytesError
	switch {
	case errors.Is(err, errBusy):
		s.refuse(w, r, err)
		return
	case errors.As(err, &over):
		s.fail(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxDelivery), "")
		return
	case err != nil:
		s.fail(w, r, http.StatusBadRequest, "the body cannot be read", "")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), receiveTimeout)
	defer cancel()
	isNew, err := s.Inbox.Receive(ctx, body, r.Header.Get("Stripe-Signature"), s.Now())
	switch {
	case errors.Is(err, billing.ErrInvalid):
		s.Log.Warn("webhook refused", "request_id", requestID(r), "reason", err)
		s.fail(w, r, http.StatusBadRequest, "the delivery is not one of Stripe's to this account", "")
	case err != nil:
		s.refuse(w, r, err)
	default:
		writeJSON(w, http.StatusOK, map[string]bool{"received": true, "new": isNew})
	}
}
