package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// callError is a call that Stripe refused or did not answer. It holds none of
// Stripe's objects, which carry names, addresses and client secrets.
type callError struct {
	text       string
	kind       error // of package billing where final, the context's where that ended, or nil
	retryAfter time.Duration
	spent      bool
}

func (e *callError) Error() string { return e.text }
func (e *callError) Unwrap() error { return e.kind }

// RetryAfter is how long Stripe wants to be left alone; 0 = it did not say.
func (e *callError) RetryAfter() time.Duration { return e.retryAfter }

// KeySpent tells that Stripe stored this failure under the call's idempotency
// key, and will only repeat it.
func (e *callError) KeySpent() bool { return e.spent }

// failure says what was being done when err came, and of which kind it is.
func failure(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	doing = fmt.Sprintf(doing, args...)
	var answer *sdk.Error
	var rests *keyRefused
	switch {
	case errors.Is(err, billing.ErrInvalid): // our own, before any call
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &rests):
		return &callError{text: doing + ": " + rests.Error(), retryAfter: rests.wait}
	case !errors.As(err, &answer):
		return noAnswer(err, doing)
	}
	text := fmt.Sprintf("%s: Stripe answered %d", doing, answer.HTTPStatusCode)
	for _, part := range []string{string(answer.Type), string(answer.Code), string(answer.DeclineCode)} {
		if part != "" {
			text += " " + part
		}
	}
	text += ": " + answer.Msg
	if answer.RequestID != "" {
		text += " (" + answer.RequestID + ")"
	}
	return &callError{text: redact(text), kind: kind(answer), retryAfter: retryAfter(answer), spent: failedItself(answer) && repeated(err)}
}

// noAnswer is a call of which nobody knows what it did: no connection, none that
// lasted, or an answer that is not Stripe's.
func noAnswer(err error, doing string) error {
	text := []rune(err.Error())
	if len(text) > longestText {
		text = append(text[:longestText], '…') // it may quote a whole page, or half an object
	}
	e := &callError{text: redact(doing + ": no answer from Stripe: " + string(text))}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			e.kind = ended
		}
	}
	return e
}

// kind is the final error that an answer means, or nil where a later call may
// fare better: the key may be exchanged (401, 403), the others be done (409), the
// rate fall (429), Stripe recover (5xx).
func kind(answer *sdk.Error) error {
	switch {
	case answer.HTTPStatusCode == http.StatusConflict: // the same call is under way, whatever its type says
		return nil
	case answer.Type == sdk.ErrorTypeIdempotency:
		return billing.ErrConflict
	case answer.Code == sdk.ErrorCodeLockTimeout || answer.Code == sdk.ErrorCodeRateLimit:
		return nil
	}
	switch answer.HTTPStatusCode {
	case http.StatusNotFound:
		return billing.ErrNotFound
	case http.StatusBadRequest, http.StatusPaymentRequired:
		if answer.Code == sdk.ErrorCodeResourceMissing {
			return billing.ErrNotFound
		}
		return billing.ErrInvalid
	}
	return nil
}

const (
	longestRetryAfter = 10 * time.Minute
	longestText       = 200
)

func retryAfter(answer *sdk.Error) time.Duration {
	if answer.LastResponse == nil {
		return 0
	}
	seconds, err := strconv.Atoi(answer.LastResponse.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longestRetryAfter)
}

// repeated reports whether Stripe did not work on the call, but repeated what it had
// answered under the same key before: a refusal that may have lost its reason
// since, or a failure of its own.
func repeated(err error) bool {
	var answer *sdk.Error
	return errors.As(err, &answer) && answer.LastResponse != nil &&
		answer.LastResponse.Header.Get("Idempotent-Replayed") == "true"
}

// failedItself tells a failure of Stripe's from a refusal.
func failedItself(answer *sdk.Error) bool {
	return answer.HTTPStatusCode >= http.StatusInternalServerError
}

// refusal returns Stripe's answer if it understood the request and would not do it.
func refusal(err error) (answer *sdk.Error, refused bool) {
	return answer, errors.As(err, &answer) && answer.HTTPStatusCode == http.StatusBadRequest &&
		!sameKeyOtherInput(err)
}

// sameKeyOtherInput tells that the key was used before, for something else.
func sameKeyOtherInput(err error) bool {
	var answer *sdk.Error
	return errors.As(err, &answer) && answer.Type == sdk.ErrorTypeIdempotency
}

var secrets = regexp.MustCompile(`\b(?:sk|rk|pk)_(?:live|test)_[\w*]+|\bwhsec_\w+|\b\w+_secret_\w+|[^\s<>"'(),;:=]+@[^\s<>"'(),;:]+`)

// redact takes keys, client secrets and addresses out of a message: it will stand
// in logs and workflow histories.
func redact(text string) string { return secrets.ReplaceAllString(text, "[redacted]") }
