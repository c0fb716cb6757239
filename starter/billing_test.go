package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestBillingIsStoppedAndResumedByHand(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	require.False(t, into[billingView](s, "billing", "status").Stopped)
	require.Contains(t, s.fails(exitUsage, "billing", "stop", "--as", "ops"), "--reason is missing")
	stopped := into[billingView](s, "billing", "stop", "--as", "ops", "--reason", "prices look wrong")
	require.True(t, stopped.Stopped && stopped.Changed)
	require.Equal(t, "ops: prices look wrong", stopped.By+": "+stopped.Reason)
	require.False(t, into[billingView](s, "billing", "stop", "--reason", "again").Changed, "twice is once")
	code, _, stderr := s.run("invoices", "list", "acme")
	require.Equal(t, exitDone, code)
	require.Contains(t, stderr, "All billing is stopped since")
	require.Contains(t, s.ok("billing", "resume"), "Billing goes on.")
	_, _, stderr = s.run("invoices", "list", "acme")
	require.Empty(t, stderr)
}

func TestWhoeverRestoredTheDatabaseUnnoticedSaysSo(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	require.Contains(t, s.ok("billing", "restored", "--as", "ops", "--reason", "yesterday's data"), "goes on by itself")
	waits := into[billingView](s, "billing", "status")
	require.True(t, waits.Stopped && waits.Behind)
	require.Nil(t, waits.StoppedAt)
	require.False(t, into[billingView](s, "billing", "restored").Changed, "twice is once")
	require.True(t, into[billingView](s, "billing", "resume").Behind, "nobody's word makes it level")
	require.Contains(t, s.ok("org", "create", "globex"), "globex")
	require.Empty(t, into[organizationView](s, "org", "show", "globex").StripeCustomerID, "it may have one")
	_, found, _ := s.run("verify")
	require.Contains(t, found, "database_behind")
}

func TestAContractIsEndedByHand(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	require.Contains(t, s.ok("org", "close", "acme", "--as", "sales", "--reason", "moved on"), "The contract of acme ends at 2026-10-10 00:00:00.")
	require.False(t, into[closedView](s, "org", "close", "acme").Changed, "twice is once")
	require.Contains(t, s.ok("audit", "acme"), "organization.close")
	require.Contains(t, s.fails(exitFailed, "org", "close", "nobody"), "does not exist")
}

func TestBoundsAndApprovalAreTermsOfTheContract(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	made := into[organizationView](s, "org", "create", "acme", "--approval", "--bound-growth", "3.5", "--bound-total", "none")
	require.True(t, made.Approval)
	require.Equal(t, []string{"3.5", "0"}, []string{*made.BoundGrowth, *made.BoundTotal})
	require.Nil(t, made.BoundCredit)
	require.Contains(t, s.fails(exitUsage, "org", "create", "globex", "--bound-growth", "-1"), "accepted: a number above 0")
	s.stdin = `{"id":"globex","approval":true,"bound_total":"5000","bound_growth":"none"}`
	s.ok("org", "import", "-")
	stored := into[organizationView](s, "org", "show", "globex")
	require.Equal(t, []string{"5000", "0"}, []string{*stored.BoundTotal, *stored.BoundGrowth})
	require.Contains(t, s.fails(exitFailed, "org", "create", "acme", "--bound-growth", "4"), "another approval")
	s.stdin = `{"id":"initech","bound_total":"lots"}`
	require.Contains(t, s.fails(exitFailed, "org", "import", "-"), `line 1: bound_total: "lots"; accepted: a number above 0`)
}

func TestWhatIsNotParkedCannotBeReleased(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	require.Contains(t, s.fails(exitFailed, "invoices", "release", "acme/2026-10-01"), "does not exist")
	require.Contains(t, s.fails(exitUsage, "invoices", "release"), "ID is missing")
}

// releases is a part of TestOperatingARealStack: what awaits approval is issued
// and paid once it is released, and waits while billing is stopped.
func (s *shell) releases(t *testing.T) {
	s.ok("org", "create", "umbrella", "--approval", "--test-clock", "2026-10-31", "--start", "2026-10-01", "--payment-method", "pm_card_visa")
	s.ok("seats", "assign", "umbrella", "alice", "--tier", "chat", "--at", "2026-10-01")
	s.ok("cycle", "start", "umbrella")
	s.ok("billing", "stop", "--reason", "rehearsal")
	s.ok("clock", "advance", "umbrella", "--to", "2026-11-02")
	require.Equal(t, billing.StatusDraft, into[[]billing.Invoice](s, "invoices", "list", "umbrella")[0].Status)
	require.True(t, into[cycleView](s, "cycle", "status", "umbrella").Stopped)
	s.ok("billing", "resume")
	s.ok("clock", "advance", "umbrella", "--to", "2026-11-02T00:00:01Z")
	parked := into[[]billing.Invoice](s, "invoices", "list", "umbrella")[0]
	require.Equal(t, billing.StatusParked, parked.Status)
	require.Contains(t, parked.ParkedReason, "it awaits approval")
	require.Contains(t, s.ok("invoices", "approve", "umbrella/2026-10-01", "--as", "finance"), "is released; it is paid")
	require.Contains(t, s.fails(exitFailed, "invoices", "release", "umbrella/2026-10-01"), "there is nothing to release")
	require.Contains(t, s.ok("org", "close", "umbrella"), "The contract of umbrella ends")
	s.ok("clock", "advance", "umbrella", "--to", "2026-12-05")
	require.Len(t, into[[]billing.Invoice](s, "invoices", "list", "umbrella"), 2, "the last piece, and no more")
}
