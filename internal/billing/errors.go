package billing

import (
	"errors"
	"fmt"
)

// Errors that every layer tells apart with errors.Is. They are final: trying
// again cannot cure them.
var (
	// ErrNotFound: the thing asked for does not exist, or not for this organisation.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the request contradicts what is already recorded.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the request itself is wrong; the message says which field and what is accepted.
	ErrInvalid = errors.New("invalid")
	// ErrStopped: an operator has stopped all billing.
	ErrStopped = errors.New("stopped")
)

// NotFound returns an ErrNotFound that says what was looked for.
func NotFound(format string, args ...any) error { return mark(ErrNotFound, format, args) }

// Conflict returns an ErrConflict that says what stands against the request.
func Conflict(format string, args ...any) error { return mark(ErrConflict, format, args) }

// Invalid returns an ErrInvalid that names the field and what is accepted.
func Invalid(format string, args ...any) error { return mark(ErrInvalid, format, args) }

// Stopped returns an ErrStopped that says since when.
func Stopped(format string, args ...any) error { return mark(ErrStopped, format, args) }

type marked struct {
	text string
	kind error
}

func mark(kind error, format string, args []any) error {
	return &marked{text: fmt.Sprintf(format, args...), kind: kind}
}

func (e *marked) Error() string { return e.text }
func (e *marked) Unwrap() error { return e.kind }
