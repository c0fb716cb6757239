package main

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// newBilled is acme with October issued, less 12.5 %, and November running.
func newBilled(t *testing.T) *shell {
	t.Helper()
	s := newAcme(t)
	s.ok("org", "discount", "acme", "12.5", "--reason", "negotiated")
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000)+strings.Replace(usageLine("2", "", "claude-haiku-4-5", 3_000_000), `,"user":""`, "", 1)))
	store, err := postgres.Open(t.Context(), strings.TrimPrefix(s.environ[0], "DATABASE_URL="))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	org, err := store.Organization(t.Context(), "acme")
	require.NoError(t, err)
	require.NoError(t, store.SetClock(t.Context(), "acme", org.StartsAt.AddDate(0, 1, 0)))
	_, err = store.Accrue(t.Context(), "acme", "2026-10-01")
	require.NoError(t, err)
	require.NoError(t, store.SetClock(t.Context(), "acme", org.StartsAt.AddDate(0, 1, 3)))
	issued, err := store.IssueInvoice(t.Context(), "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusOpen, issued.Status)
	return s
}

// added is the sum of a csv's column of amounts.
func added(t *testing.T, text string) string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	sum := decimal.Zero
	for _, row := range rows[1:] {
		sum = sum.Add(decimal.RequireFromString(row[len(row)-2]))
	}
	return sum.StringFixed(2)
}

func TestInvoicesAsDocumentsOnTheCommandLineAndOverHTTP(t *testing.T) {
	t.Parallel()
	s := newBilled(t)
	s.environ = append(s.environ, "ARREARS_SELLER_NAME=Arrears Ltd", "ARREARS_SELLER_ADDRESS=1 Main Street|London")
	invoice := into[billing.Invoice](s, "invoices", "show", "acme/2026-10-01")
	require.Equal(t, "87.50", invoice.Total.Amount.StringFixed(2), "100.00 less 12.5 %")
	require.Len(t, invoice.ContentHash, 64)
	server := newTestGateway(t, s)
	get := func(path string) string {
		status, body := call(t, http.MethodGet, server.URL+"/v1/organizations/acme/invoices/"+path, "", "Authorization", "Bearer "+gatewayKey)
		require.Equal(t, http.StatusOK, status, body)
		return body
	}
	for _, members := range []string{"", "--members"} {
		args, query := []string{"invoices", "show", "acme/2026-10-01"}, ""
		if members != "" {
			args, query = append(args, members), "?members=true"
		}
		lines := s.ok(append(args, "--format", "csv")...)
		require.Equal(t, "87.50", added(t, lines))
		require.Equal(t, members != "", strings.Contains(lines, "alice"))
		require.Equal(t, lines, get("2026-10-01.csv"+query))
		page := s.ok(append(args, "--format", "html")...)
		require.Contains(t, page, "INV-000001")
		require.Contains(t, page, "1 October 2026 – 31 October 2026")
		require.Contains(t, page, "<br>London")
		require.Contains(t, page, "87.50 USD")
		require.Equal(t, members != "", strings.Contains(page, "Not attributed to a member"))
		require.Equal(t, page, get("2026-10-01.html"+query))
		require.JSONEq(t, s.ok(append(args, "-o", "json")...), get("2026-10-01"+query))
	}
	require.Contains(t, get("preview.html"), "Draft invoice")
	require.Equal(t, s.ok("invoices", "preview", "acme", "--format", "csv", "--members"), get("preview.csv?members=true"))
	status, _ := call(t, http.MethodGet, server.URL+"/v1/organizations/acme/invoices/2020-01-01.html", "", "Authorization", "Bearer "+gatewayKey)
	require.Equal(t, http.StatusNotFound, status)

	require.Contains(t, s.fails(exitUsage, "invoices", "show", "acme/2026-10-01", "--format", "pdf"), "accepted: csv or html")
	require.Contains(t, s.fails(exitUsage, "invoices", "show", "acme/2026-10-01", "--format", "csv", "-o", "json"), "not both")
	s.environ = s.environ[:len(s.environ)-2]
	_, _, stderr := s.run("invoices", "show", "acme/2026-10-01", "--format", "html")
	require.Contains(t, stderr, "ARREARS_SELLER_NAME is not set")
}

func TestRebuildingOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newBilled(t)
	require.Contains(t, s.ok("invoices", "rebuild", "acme/2026-10-01"), "made again from 2 events: nothing differs")
	require.JSONEq(t, `{"invoice":"acme/2026-10-01","events":2,"unrated":0,"differences":[]}`, s.ok("invoices", "rebuild", "acme/2026-10-01", "-o", "json"))
	require.Contains(t, s.fails(exitFailed, "invoices", "rebuild", "acme/2026-11-01"), "does not exist")

	conn, err := pgx.Connect(t.Context(), strings.TrimPrefix(s.environ[0], "DATABASE_URL="))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica; UPDATE usage_events SET input = input + 1000000 WHERE event_id = '1'`)
	require.NoError(t, err)
	code, stdout, _ := s.run("invoices", "rebuild", "acme/2026-10-01")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stdout, "claude-sonnet-4-5 input")
	require.Contains(t, stdout, "alice")
	code, stdout, _ = s.run("invoices", "rebuild", "acme/2026-10-01", "-o", "json")
	require.Equal(t, exitFailed, code)
	var again postgres.Rebuilt
	require.NoError(t, json.Unmarshal([]byte(stdout), &again))
	require.NotEmpty(t, again.Differences)
}

func TestInvoicesDiff(t *testing.T) {
	t.Parallel()
	s := newBilled(t)
	s.ok("org", "discount", "acme", "0")
	s.ok("usage", "import", s.file("more.ndjson", strings.ReplaceAll(usageLine("3", "bob", "claude-haiku-4-5", 5_000_000), "2026-10-09", "2026-11-02")))
	table := s.ok("invoices", "diff", "acme", "2026-10-01", "2026-11-01")
	require.Contains(t, table, "From acme/2026-10-01 (open, 87.50 USD) to acme/2026-11-01 (draft, 90.00 USD): +2.50 USD.")
	require.Contains(t, table, "usage volume")
	require.Contains(t, table, "alice")
	require.Contains(t, table, "Of no member, as members are at list price: +12.50 USD of discounts", "so that the members add up, too")
	c := into[billing.Comparison](s, "invoices", "diff", "acme", "2026-10-01", "2026-11-01")
	sum := decimal.Zero
	for _, e := range c.Effects {
		sum = sum.Add(e.Amount.Amount)
	}
	require.Equal(t, "2.5", sum.String())
	require.Contains(t, s.ok("invoices", "diff", "acme", "2026-10-01", "2026-10-01"), "No reason")
	require.Contains(t, s.fails(exitFailed, "invoices", "diff", "acme", "2026-10-01", "2020-01-01"), "starter invoices list acme")
	require.Contains(t, s.fails(exitFailed, "invoices", "diff", "nobody", "2026-10-01", "2020-01-01"), "does not exist")
}

func TestDiscountsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	create := []string{"org", "create", "cheap", "--test-clock", "2026-10-10", "--discount", "12.50"}
	require.True(t, into[createdView](s, create...).Created)
	require.False(t, into[createdView](s, create...).Created, "the same terms")
	require.Contains(t, s.fails(exitFailed, append(create[:5:5], "--discount", "13")...), "another discount")
	require.Equal(t, "12.5", into[organizationView](s, "org", "show", "cheap").Discount.String())
	require.JSONEq(t, `{"organization":"cheap","before":"12.5","discount":"15","changed":true}`, s.ok("org", "discount", "cheap", "15", "-o", "json"))
	require.Contains(t, s.ok("org", "discount", "cheap", "15"), "nothing changed")
	for _, percent := range []string{"100", "-1", "1e1", "0.00001", "a lot"} {
		require.Contains(t, s.fails(exitUsage, "org", "discount", "cheap", "--", percent), "accepted: a percentage like 12.5")
	}
	s.stdin = `{"id":"one","discount":"12.5"}` + "\n" + `{"id":"two","discount":5}`
	s.ok("org", "import", "-")
	require.Equal(t, "12.5", into[organizationView](s, "org", "show", "one").Discount.String())
	require.Equal(t, "5", into[organizationView](s, "org", "show", "two").Discount.String())
	s.stdin = `{"id":"three","discount":"5%"}`
	require.Contains(t, s.fails(exitFailed, "org", "import", "-"), `line 1: discount: "5%"; accepted: a percentage`)
}
