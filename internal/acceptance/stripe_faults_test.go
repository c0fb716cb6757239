package acceptance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// A month is billed while Stripe loses answers, breaks connections, fails and is
// busy, and its webhooks come twice, late, never, or from somebody else: one
// invoice, one charge, and `verify` finds nothing.
func TestAMonthIsBilledOnceWhateverStripeDoesWrong(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", "2026-10-01T00:00:00Z", "--test-clock", "2026-10-01T00:00:00Z", "--payment-method", "pm_card_visa")
	s.must("seats", "assign", "acme", "alice", "--tier", "chat")
	s.must("cycle", "start", "acme")
	stripe := fakestripe.Client{Base: s.getenv("STRIPE_API_BASE")}
	require.NoError(t, stripe.Inject(t.Context(),
		fakestripe.Fault{Kind: fakestripe.FaultReset}.On("POST", "/v1/invoices"),
		fakestripe.Fault{Kind: fakestripe.FaultHalf}.On("POST", "/v1/invoiceitems"),
		fakestripe.Fault{Kind: fakestripe.FaultError500}.On("POST", "/v1/invoices/*/finalize"),
		fakestripe.Fault{Kind: fakestripe.FaultError500}.On("POST", "/v1/invoices/*/pay"),
		fakestripe.Fault{Kind: fakestripe.FaultLockTimeout}.On("GET", "/v1/invoices/*"),
	))
	require.NoError(t, stripe.InjectWebhooks(t.Context(), fakestripe.WebhookFault{
		Kind: fakestripe.WebhookRandom, Times: -1, MS: 300, Seed: 20261001,
	}))
	s.must("clock", "advance", "acme", "--to", "2026-11-03T00:00:00Z")

	plan, err := stripe.Faults(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan.Faults, "every fault has struck")
	var paid invoice
	s.read(&paid, "invoices", "show", "acme/2026-10-01")
	require.Equal(t, "paid", paid.Status)
	require.Equal(t, 1, s.charges())
	require.Eventually(t, func() bool {
		made, err := stripe.Webhooks(t.Context())
		require.NoError(t, err)
		forged := 0
		for _, d := range made.Deliveries {
			if len(d.Fault) > 6 && d.Fault[:6] == "forge_" && d.Status != 0 {
				require.Equal(t, 400, d.Status, "%s is refused", d.Fault)
				forged++
			}
		}
		return forged > 0
	}, 10*time.Second, 50*time.Millisecond, "forgeries have come, and were refused")
	s.must("verify")
}
