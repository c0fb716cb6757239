package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A month of 2.5 million USD is parked, released to be charged in parts, and
// charged three times, each below the provider's largest charge.
func TestASplitInvoiceIsChargedInPartsByTheRealPrograms(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", "2026-10-01T00:00:00Z", "--test-clock", "2026-10-01T00:00:00Z", "--payment-method", "pm_card_visa")
	usage := filepath.Join(t.TempDir(), "usage.jsonl")
	event := fmt.Sprintf(`{"id":"e1","organization":"acme","user":"alice","occurred_at":"2026-10-01T00:00:00Z","product":"chat",`+
		`"model":"claude-haiku-4-5","usage":{"input_tokens":0,"output_tokens":%d}}`, 500_001_000_000)
	require.NoError(t, os.WriteFile(usage, []byte(event), 0o600))
	s.must("usage", "import", usage)
	s.must("cycle", "start", "acme")
	s.must("clock", "advance", "acme", "--to", "2026-11-03T00:00:00Z")
	require.Zero(t, s.charges())
	s.must("invoices", "release", "acme/2026-10-01", "--split", "--as", "finance", "--reason", "agreed")
	s.must("clock", "advance", "acme", "--to", "2026-11-04T00:00:00Z")
	var paid invoice
	s.read(&paid, "invoices", "show", "acme/2026-10-01")
	require.Equal(t, "paid", paid.Status)
	require.Equal(t, "2500005.00", paid.AmountPaid.Amount)
	require.Equal(t, 3, s.charges())
	s.must("verify")
}
