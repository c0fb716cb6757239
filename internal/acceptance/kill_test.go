package acceptance

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The worker is killed after Stripe has charged and before anybody here knows.
// The next worker asks Stripe before it does anything: one charge, a paid invoice.
func TestAWorkerKilledBetweenTheChargeAndItsRecordChargesOnce(t *testing.T) {
	t.Parallel()
	s := startStack(t, "--without", "worker")
	first := s.startWorker()
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", "2026-10-01T00:00:00Z", "--test-clock", "2026-10-01T00:00:00Z", "--payment-method", "pm_card_visa")
	s.must("seats", "assign", "acme", "alice", "--tier", "chat")
	s.must("cycle", "start", "acme")
	s.stripe(http.MethodPost, "/_local/faults", `[{"method":"POST","path":"/v1/invoices/*/pay","kind":"hold","times":1}]`)

	advanced := make(chan struct{})
	go func() {
		defer close(advanced)
		s.run("clock", "advance", "acme", "--to", "2026-11-03T00:00:00Z")
	}()
	require.Eventually(t, func() bool { return s.charges() == 1 }, time.Minute, 50*time.Millisecond, "Stripe has charged")
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	s.stripe(http.MethodPost, "/_local/release", "")
	var before []invoice
	s.read(&before, "invoices", "list", "acme")
	require.Equal(t, "open", before[len(before)-1].Status, "nobody here knows of the charge")

	s.startWorker()
	<-advanced
	var paid invoice
	s.read(&paid, "invoices", "show", "acme/2026-10-01")
	require.Equal(t, "paid", paid.Status)
	require.Equal(t, "20.00", paid.AmountPaid.Amount)
	require.Equal(t, 1, s.charges())
	s.must("verify")
}

func (s *stack) startWorker() *exec.Cmd {
	s.t.Helper()
	worker := exec.Command(filepath.Join(programs, "worker"))
	worker.Env = s.env
	require.NoError(s.t, worker.Start())
	s.t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	})
	return worker
}

// stripe calls the local Stripe.
func (s *stack) stripe(method, path, body string) []byte {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.getenv("STRIPE_API_BASE")+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Authorization", "Bearer "+s.getenv("STRIPE_SECRET_KEY"))
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	var answer json.RawMessage
	_ = json.NewDecoder(response.Body).Decode(&answer)
	require.Less(s.t, response.StatusCode, 300, "%s %s: %s", method, path, answer)
	return answer
}

// charges counts the charges that succeeded at Stripe.
func (s *stack) charges() (count int) {
	s.t.Helper()
	var list struct {
		Data []struct{ Status string }
	}
	require.NoError(s.t, json.Unmarshal(s.stripe(http.MethodGet, "/v1/charges?limit=100", ""), &list))
	for _, charge := range list.Data {
		if charge.Status == "succeeded" {
			count++
		}
	}
	return count
}
