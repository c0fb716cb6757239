package activities

import (
	"errors"
	"regexp"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// The types of errors that no retry can cure, as workflows and operators see them.
const (
	NotFound = "NotFound"
	Conflict = "Conflict"
	Invalid  = "Invalid"
	Stopped  = workflows.StoppedError
)

// final marks the errors that no retry can cure. Everything else is retried, what
// nobody has thought of included, and no sooner than the provider asked for.
func final(err error) error { return held(err, 0) }

// held is final for a look at the facts: whoever is held by the error knows with
// it up to which nudge they had been read, and so what news would end its wait.
func held(err error, seen int64) error {
	if err == nil {
		return nil
	}
	for _, known := range []struct {
		kind error
		name string
	}{
		{billing.ErrNotFound, NotFound},
		{billing.ErrConflict, Conflict},
		{billing.ErrInvalid, Invalid},
		{billing.ErrStopped, Stopped},
	} {
		if errors.Is(err, known.kind) {
			return temporal.NewNonRetryableApplicationError(err.Error(), known.name, nil, details(seen)...)
		}
	}
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) && later.RetryAfter() > 0 {
		return temporal.NewApplicationErrorWithOptions(err.Error(), "RetryLater",
			temporal.ApplicationErrorOptions{NextRetryDelay: later.RetryAfter()})
	}
	return err
}

func details(seen int64) []any {
	if seen == 0 {
		return nil
	}
	return []any{seen}
}

// keySpent reports whether the provider will only ever repeat this failure under
// the key of the call.
func keySpent(err error) bool {
	var spent interface{ KeySpent() bool }
	return errors.As(err, &spent) && spent.KeySpent()
}

var address = regexp.MustCompile(`[^\s<>"'(),;:]+@[^\s<>"'(),;:]+`)

const reasonLength = 200

// reason is err's text for a workflow's history, which must hold no personal
// data: servers like to repeat the address that they refuse.
func reason(err error) string {
	text := []rune(address.ReplaceAllString(err.Error(), "(address)"))
	if len(text) > reasonLength {
		text = append(text[:reasonLength], '…')
	}
	return string(text)
}
