// Package conformance holds one script of calls that runs against the local
// Stripe, against stripe-mock, and against Stripe's own test mode where there is a
// key for it, and what each of them answers (docs/stripe-contract.md).
package conformance
