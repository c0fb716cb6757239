package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTermsOfAnOrganizationAreSetAndChanged(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10", "--dunning", "0,1,3", "--reminders", "-7,7",
		"--suspend-after", "14", "--card-ceiling", "1000", "--email", "billing@acme.example")
	org := into[organizationView](s, "org", "show", "acme")
	require.Equal(t, []int{0, 1, 3}, org.Dunning)
	require.Equal(t, []int{-7, 7}, org.Reminders)
	require.Equal(t, 14, *org.SuspendAfter)
	require.Equal(t, "1000.00 USD", org.CardCeiling.String())

	changed := into[orgChangedView](s, "org", "set", "acme", "--dunning", "0,2", "--suspend-after", "never", "--card-ceiling", "none",
		"--reminders", "none", "--email", "new@acme.example", "--as", "finance", "--reason", "renewal")
	require.Equal(t, []string{"card_ceiling", "dunning", "email", "reminders", "suspend_after"}, changed.Changed)
	require.Equal(t, []int{0, 2}, changed.Dunning)
	require.Empty(t, changed.Reminders)
	require.Nil(t, changed.SuspendAfter)
	require.Nil(t, changed.CardCeiling)
	require.Contains(t, s.ok("org", "set", "acme", "--dunning", "0,2"), "nothing changed")
	require.Contains(t, s.ok("org", "set", "acme", "--net-days", "45"), "Changed of acme: net_days.")
	require.Contains(t, s.ok("audit", "acme"), "renewal")
	for _, wrong := range [][]string{
		{"--dunning", "1,2", "dunning: accepted: 1 to 20 ascending days"},
		{"--collection", "barter", `collection: "barter"; accepted: charge_automatically, send_invoice`},
		{"--net-days", "-1", "net_days: -1; accepted: 1 to 365"},
		{"--email", "nonsense", `email: "nonsense"; accepted: one address`},
		{"--email", "Acme <ap@acme.example>", "accepted: one address"},
	} {
		require.Contains(t, s.fails(exitUsage, "org", "set", "acme", wrong[0], wrong[1]), wrong[2])
	}
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme"), "no term to change is named")
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--as", "ann"), "no term to change is named")
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--dunning", "x"), "accepted: days with commas between")
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--suspend-after", "soon"), "accepted: a number of days like 14, or never")
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--card-ceiling", "-5"), "accepted: an amount above 0")
	require.Contains(t, s.fails(exitFailed, "org", "set", "nobody", "--net-days", "5"), "does not exist")
}

func TestASuspendedOrganizationIsShownAndItsRequestsAreBlocked(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	ask := func() string {
		status, answer := call(t, http.MethodPost, server.URL+"/v1/limits/check", `{"organization":"acme","user":"alice","product":"chat"}`,
			"Authorization", "Bearer "+gatewayKey, "Content-Type", "application/json")
		require.Equal(t, http.StatusOK, status, answer)
		return answer
	}
	require.Contains(t, ask(), `"decision":"allowed"`)
	require.Contains(t, s.ok("org", "suspend", "acme", "--as", "support", "--reason", "case 4711"), "acme is suspended")
	require.Contains(t, s.ok("org", "suspend", "acme"), "nothing changed")
	require.Contains(t, ask(), `"reason":"suspended"`)
	require.Contains(t, ask(), `"decision":"blocked"`)
	require.Equal(t, "suspended", into[organizationView](s, "org", "show", "acme").Suspended)
	require.Contains(t, s.ok("org", "list"), "(suspended)")
	require.Contains(t, s.ok("org", "resume", "acme", "--as", "support"), "no longer suspended")
	require.Contains(t, s.ok("org", "resume", "acme"), "nothing changed")
	require.Contains(t, ask(), `"decision":"allowed"`)
	require.Contains(t, s.ok("audit", "acme"), "case 4711")
}
