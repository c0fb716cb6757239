package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

// build builds both programs into a folder, as make build does.
func build(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	command := exec.CommandContext(t.Context(), "go", "build", "-o", folder, ".", "../worker")
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return folder
}

// startDev runs starter dev until the test ends, and returns a shell in its
// environment.
func startDev(t *testing.T, programs string) (*shell, *exec.Cmd) {
	t.Helper()
	s := newShell(t)
	envFile := filepath.Join(s.dir, "dev.env")
	var log bytes.Buffer
	dev := exec.CommandContext(t.Context(), filepath.Join(programs, "starter"), "dev", "--env-file", envFile)
	dev.Stderr, dev.Stdout = &log, &log
	dev.Cancel = func() error { return dev.Process.Signal(os.Interrupt) }
	dev.WaitDelay = time.Minute
	require.NoError(t, dev.Start())
	t.Cleanup(func() {
		if dev.ProcessState == nil {
			_ = dev.Process.Signal(os.Interrupt)
			_ = dev.Wait()
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(envFile)
		return err == nil
	}, 2*time.Minute, 50*time.Millisecond, "the stack becomes ready")
	content, err := os.ReadFile(envFile)
	require.NoError(t, err)
	for line := range strings.Lines(string(content)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found {
			s.environ = append(s.environ, name+"="+strings.Trim(value, "'"))
		}
	}
	return s, dev
}

// TestOperatingARealStack types the commands that need everything.
func TestOperatingARealStack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole stack")
	}
	s, dev := startDev(t, build(t))
	s.ok("migrate")
	require.Contains(t, s.ok("migrate"), "none, all were there")
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10", "--start", "2026-10-01", "--payment-method", "pm_card_visa")
	s.ok("org", "create", "globex", "--test-clock", "2026-10-10", "--start", "2026-10-01", "--payment-method", "pm_card_chargeCustomerFail")
	s.ok("org", "create", "initech", "--test-clock", "2026-10-10", "--start", "2026-10-01", "--payment-method", "pm_card_chargeCustomerFail")
	for _, org := range []string{"acme", "globex", "initech"} {
		s.ok("seats", "assign", org, "alice", "--tier", "chat", "--at", "2026-10-01")
	}
	t.Run("a cycle is started, paused and resumed", s.startsAndPauses)
	t.Run("a period is closed early, and its invoice paid", s.closesEarly)
	t.Run("what was lost is started again", s.repairs)
	t.Run("what was lost in real time is found by the sweep", s.sweeps)
	t.Run("a declined card is dunned to the end, and a new one pays", s.duns)
	t.Run("an issued invoice is voided, credited and paid by bank", s.corrects)
	t.Run("what awaits approval is released", s.releases)
	t.Run("dates and days are the organisation's own", s.countsLocalDays)
	s.ok("verify")

	require.NoError(t, dev.Process.Signal(syscall.SIGINT))
	require.NoError(t, dev.Wait(), "Ctrl-C is no failure")
}

func (s *shell) startsAndPauses(t *testing.T) {
	require.Equal(t, "not_started", into[cycleView](s, "cycle", "status", "acme").Stage)
	require.Contains(t, s.fails(exitFailed, "cycle", "pause", "acme"), "starter cycle start acme")
	require.Equal(t, []string{"billing-cycle/acme"}, into[startedView](s, "cycle", "start", "acme").Started)
	again := into[startedView](s, "cycle", "start", "acme")
	require.Empty(t, again.Started)
	require.Equal(t, []string{"billing-cycle/acme"}, again.Running)
	require.Len(t, into[[]startedView](s, "cycle", "start", "--all"), 3)

	status := into[cycleView](s, "cycle", "status", "acme")
	require.Equal(t, "accruing", status.Stage)
	require.Equal(t, "billing-cycle/acme", status.WorkflowID)
	require.NotNil(t, status.RunID)
	require.Equal(t, "2026-11-01T00:00:00Z", status.NextWakeAt.Format(time.RFC3339))

	s.ok("clock", "advance", "--all", "--to", "2026-10-11")
	require.Contains(t, s.ok("cycle", "pause", "acme", "--as", "ops", "--reason", "audit"), "is paused")
	require.Contains(t, s.ok("cycle", "pause", "acme"), "is paused already; nothing changed")
	require.Equal(t, "paused", into[cycleView](s, "cycle", "status", "acme").Stage)
	require.Contains(t, s.ok("cycle", "resume", "acme"), "goes on with the period 2026-10-01")
	require.Contains(t, s.ok("cycle", "resume", "acme"), "is not paused; nothing changed")
	require.Contains(t, s.ok("audit", "acme"), "cycle.pause")
	require.Len(t, into[[]cycleView](s, "cycle", "list"), 3)
	require.Contains(t, s.fails(exitFailed, "cycle", "status", "nobody"), "does not exist")
}

func (s *shell) closesEarly(t *testing.T) {
	s.ok("clock", "advance", "acme", "--to", "2026-10-15")
	require.Contains(t, s.ok("cycle", "close", "acme"), "has ended its period 2026-10-01 and goes on with 2026-10-01.2")
	require.NotContains(t, s.fails(exitFailed, "cycle", "close", "acme"), "retryable", "nothing is said for programs only")
	invoices := into[[]billing.Invoice](s, "invoices", "list", "acme")
	require.Len(t, invoices, 1)
	require.Equal(t, billing.StatusDraft, invoices[0].Status)
	require.NotEmpty(t, invoices[0].Lines)
	require.Contains(t, s.ok("invoices", "show", "acme/2026-10-01", "--members"), "alice")
	require.Contains(t, s.ok("invoices", "finalize", "acme/2026-10-01"), "is paid")
	require.Contains(t, s.ok("invoices", "finalize", "acme/2026-10-01"), "is paid", "twice is once")
	payments := into[[]postgres.Payment](s, "payments", "list", "acme")
	require.Len(t, payments, 1)
	require.Equal(t, billing.PaymentSucceeded, payments[0].Status)
}

func (s *shell) repairs(t *testing.T) {
	a, _, _ := s.app()
	defer a.close()
	temporal, err := a.Temporal(t.Context())
	require.NoError(t, err)
	require.NoError(t, temporal.TerminateWorkflow(t.Context(), "billing-cycle/acme", "", "an accident"))
	require.Equal(t, "missing", into[cycleView](s, "cycle", "status", "acme").Stage)
	require.Contains(t, s.fails(exitFailed, "cycle", "pause", "acme"), "does not run")
	require.Contains(t, s.ok("cycle", "start", "acme"), "acme: started billing-cycle/acme.")
	s.ok("clock", "advance", "acme", "--to", "2026-11-02T00:00:00Z")
	invoices := into[[]billing.Invoice](s, "invoices", "list", "acme")
	require.Equal(t, "acme/2026-10-01.2", invoices[0].ID)
	require.Equal(t, billing.StatusPaid, invoices[0].Status)
	require.Equal(t, "20", invoices[0].Total.Amount.Add(invoices[1].Total.Amount).String(), "the pieces of the month add up to it")
}

func (s *shell) sweeps(t *testing.T) {
	s.ok("org", "create", "hooli")
	s.ok("cycle", "start", "hooli")
	a, _, _ := s.app()
	defer a.close()
	temporal, err := a.Temporal(t.Context())
	require.NoError(t, err)
	require.NoError(t, temporal.TerminateWorkflow(t.Context(), "billing-cycle/hooli", "", "an accident"))
	require.Equal(t, "missing", into[cycleView](s, "cycle", "status", "hooli").Stage)
	schedule := temporal.ScheduleClient().GetHandle(t.Context(), workflows.SweepProviderID)
	require.NoError(t, schedule.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
	require.Eventually(t, func() bool {
		return into[cycleView](s, "cycle", "status", "hooli").Stage == "accruing"
	}, 30*time.Second, 100*time.Millisecond)
}

func (s *shell) duns(t *testing.T) {
	moved := into[advancedView](s, "clock", "advance", "globex", "--to", "2026-11-03")
	var kinds []string
	for _, happened := range moved.Events {
		kinds = append(kinds, happened.Kind)
	}
	require.Equal(t, []string{"period", "invoice", "payment", "payment_notice", "payment", "payment_notice"}, kinds,
		"the month ends, and two attempts are declined")
	s.ok("clock", "advance", "globex", "--to", "2026-11-20")
	require.Len(t, into[[]postgres.Payment](s, "payments", "list", "globex"), len(billing.DefaultDunning()))
	require.Equal(t, billing.StatusPastDue, into[[]billing.Invoice](s, "invoices", "list", "globex")[0].Status)

	s.ok("org", "set", "globex", "--suspend-after", "10", "--as", "finance", "--reason", "third time")
	s.ok("clock", "advance", "globex", "--to", "2026-11-25")
	require.Empty(t, into[organizationView](s, "org", "show", "globex").Suspended)
	s.ok("clock", "advance", "globex", "--to", "2026-11-27")
	require.Equal(t, billing.SuspendedOverdue, into[organizationView](s, "org", "show", "globex").Suspended)
	require.Contains(t, s.ok("payments", "notices", "globex"), "suspended")

	s.ok("payments", "retry", "globex/2026-10-01")
	require.Len(t, into[[]postgres.Payment](s, "payments", "list", "globex"), len(billing.DefaultDunning())+1)
	require.Equal(t, []string{"globex/2026-10-01"}, into[methodView](s, "payments", "set-method", "globex", "pm_card_visa").Retried)
	require.Equal(t, billing.StatusPaid, into[billing.Invoice](s, "invoices", "show", "globex/2026-10-01").Status)
	require.Empty(t, into[organizationView](s, "org", "show", "globex").Suspended, "its payment lifts that at once")
	require.Contains(t, s.ok("audit", "globex"), "organization.resume")
	require.Contains(t, s.fails(exitFailed, "payments", "retry", "globex/2026-10-01"), "is paid")
}

func (s *shell) corrects(t *testing.T) {
	by := []string{"--as", "finance", "--reason", "wrong seats"}
	correct := func(args ...string) correctedView {
		return into[correctedView](s, append(append([]string{"invoices"}, args...), by...)...)
	}
	s.ok("clock", "advance", "initech", "--to", "2026-11-03")
	const first, second = "initech/2026-10-01", "initech/2026-10-01/2"
	require.Equal(t, billing.StatusOpen, into[billing.Invoice](s, "invoices", "show", first).Status)
	void := correct("void", first)
	require.Equal(t, billing.StatusVoid, void.Status)
	require.Equal(t, "done", void.Correction.Status)
	require.Equal(t, void, correct("void", first), "twice is once")
	require.Equal(t, billing.StatusDraft, into[billing.Invoice](s, "invoices", "show", second).Status)
	s.ok("verify", "initech")

	s.ok("clock", "advance", "initech", "--to", "2026-11-05")
	require.Equal(t, billing.StatusOpen, into[billing.Invoice](s, "invoices", "show", second).Status)
	part := correct("mark-paid", second, "--amount", "6.00", "--reference", "SEPA 1")
	require.Equal(t, "14.00 USD", part.AmountDue.String())
	require.Equal(t, part, correct("mark-paid", second, "--amount", "6.00", "--reference", "SEPA 1"))
	require.Equal(t, "10.00 USD", correct("credit", second, "--amount", "4.00").AmountDue.String())
	require.Contains(t, s.fails(exitFailed, "invoices", "void", second), "6.00 USD was paid")
	s.ok("verify", "initech")

	s.ok("payments", "set-method", "initech", "pm_card_visa")
	paid := into[billing.Invoice](s, "invoices", "show", second)
	require.Equal(t, billing.StatusPaid, paid.Status)
	require.Equal(t, "CN-000001", paid.CreditNotes[0].Number)
	payments := into[[]postgres.Payment](s, "payments", "list", "initech")
	require.Equal(t, "10.00 USD", payments[len(payments)-1].Amount.String(), "exactly the rest is charged")
	require.True(t, correct("credit", second, "--amount", "3.00").Correction.ToCredit)

	s.ok("clock", "advance", "initech", "--to", "2026-12-03")
	next := into[[]billing.Invoice](s, "invoices", "list", "initech")[0]
	require.Equal(t, billing.KindCredit, next.Lines[len(next.Lines)-1].Kind)
	require.Equal(t, "17.00 USD", next.Total.String())
	require.Equal(t, billing.StatusPaid, next.Status)
	require.Contains(t, s.ok("invoices", "show", second), "Credit note CN-000002")
	require.Contains(t, s.ok("ledger", "initech"), "settlements")
	entries := into[[]postgres.LedgerEntry](s, "ledger", "initech", "--account", "credits")
	require.Equal(t, "0.00 USD", entries[len(entries)-1].Balance.String())
	require.Contains(t, s.ok("audit", "initech"), "invoices.mark_paid")
	require.Contains(t, s.fails(exitUsage, "ledger", "initech", "--account", "profit"), "accepted: receivable, revenue, cash")
}

// TestDemo is the newcomer's command.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole stack")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	demo := exec.CommandContext(ctx, filepath.Join(build(t), "starter"), "demo", "--exit")
	demo.Stdout, demo.Stderr = &stdout, &stderr
	demo.Cancel = func() error { return demo.Process.Signal(os.Interrupt) }
	require.NoError(t, demo.Run(), "%s\n%s", &stdout, &stderr)
	for _, says := range []string{
		"Everything agrees.", "acme/2026-10-01: ", "globex/2026-10-01: ", "generic_decline", "Temporal UI  http", "Gateway      http",
		"organization reached 50 % of 360.00 USD", "Released 3 events",
		"MONTH TO DATE", `"decision": "blocked"`, `"reason": "limit_reached"`, `"decision": "allowed"`,
		"user_00003's part of acme/2026-10-01: 58.53 USD.",
	} {
		require.Contains(t, stdout.String(), says)
	}
}
