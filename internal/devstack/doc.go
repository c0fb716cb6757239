// Package devstack is the embedded development stack: a private PostgreSQL
// cluster, the Temporal development server with its web UI, a local Stripe,
// the worker and the gateway, started and stopped together. It needs no
// Docker and no root, works as root all the same, and several stacks can run
// side by side.
//
//   - stack.go starts the parts in order and stops them in reverse;
//   - postgres.go and temporal.go each run one server, and tests use them
//     alone, through pgtest and temporaltest;
//   - process.go keeps the promise that whatever is started here also ends:
//     on Stop, on failure of a part, and when this process is killed.
//
// No production package imports it; only starter and tests do.
package devstack
