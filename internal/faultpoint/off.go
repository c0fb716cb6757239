//go:build !faultpoints

package faultpoint

import (
	"net/http"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/interceptor"
)

// Enabled reports whether this program can be made to fail.
const Enabled = false

// Interceptors are what a worker is dressed with: nothing.
func Interceptors() []interceptor.WorkerInterceptor { return nil }

// Handler serves requests: next.
func Handler(next http.Handler) http.Handler { return next }

// Transport is what carries calls to the payment provider: next.
func Transport(next http.RoundTripper) http.RoundTripper { return next }

// Tracer is what follows the statements of a database connection: nothing.
func Tracer() pgx.QueryTracer { return nil }
