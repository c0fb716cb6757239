package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack"
)

// pair is a PostgreSQL server and the standby that follows it.
type pair struct {
	t                *testing.T
	primary, standby *devstack.Postgres
}

func startPair(t *testing.T) *pair {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := t.TempDir()
	primary, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: filepath.Join(dir, "primary")})
	require.NoError(t, err)
	p := &pair{t: t, primary: primary}
	t.Cleanup(func() { require.NoError(t, primary.Stop()) })
	p.exec(primary, "CREATE DATABASE arrears")
	require.NoError(t, primary.CopyTo(t.Context(), filepath.Join(dir, "standby"), true))
	p.standby, err = devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: filepath.Join(dir, "standby")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.standby.Stop()) })
	return p
}

// url names both servers; the standby first, which is passed by while it is one.
func (p *pair) url() string {
	primary, err := url.Parse(p.primary.URL("arrears"))
	require.NoError(p.t, err)
	standby, err := url.Parse(p.standby.URL("arrears"))
	require.NoError(p.t, err)
	primary.Host = standby.Host + "," + primary.Host
	return primary.String()
}

func (p *pair) exec(on *devstack.Postgres, statement string) (value string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), on.URL("postgres"))
	require.NoError(p.t, err)
	defer conn.Close(p.t.Context())
	rows, err := conn.Query(p.t.Context(), statement)
	require.NoError(p.t, err)
	for rows.Next() {
		values, err := rows.Values()
		require.NoError(p.t, err)
		value = fmt.Sprint(values[0])
	}
	require.NoError(p.t, rows.Err())
	return value
}

// detach waits until the standby has everything, and has it receive nothing more.
func (p *pair) detach() {
	p.t.Helper()
	at := p.exec(p.primary, "SELECT pg_current_wal_lsn()::text")
	require.Eventually(p.t, func() bool {
		return p.exec(p.standby, "SELECT pg_last_wal_replay_lsn() >= '"+at+"'::pg_lsn") == "true"
	}, 20*time.Second, 10*time.Millisecond)
	p.exec(p.standby, "ALTER SYSTEM SET primary_conninfo = ''")
	p.exec(p.standby, "SELECT pg_reload_conf()")
	require.Eventually(p.t, func() bool {
		return p.exec(p.standby, "SELECT count(*) FROM pg_stat_wal_receiver") == "0"
	}, 20*time.Second, 10*time.Millisecond)
}

// failOver loses the primary, and all that the standby has not received.
func (p *pair) failOver() {
	p.t.Helper()
	require.NoError(p.t, p.primary.Stop())
	require.Equal(p.t, "true", p.exec(p.standby, "SELECT pg_promote()"))
}

// use posts events of one organisation and counts what became of them.
func (s *stack) use(organization string, at time.Time, ids []string) map[string]int {
	s.t.Helper()
	var body strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&body, `{"id":%q,"organization":%q,"user":"ada","occurred_at":%q,"product":"chat","model":"claude-haiku-4-5",`+
			`"usage":{"input_tokens":0,"output_tokens":1000}}`+"\n", id, organization, at.Format(time.RFC3339))
	}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.getenv("ARREARS_GATEWAY_URL")+"/v1/usage", strings.NewReader(body.String()))
	require.NoError(s.t, err)
	request.Header.Set("Authorization", "Bearer "+s.getenv("ARREARS_API_KEY"))
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	var answer struct{ Results []struct{ Status string } }
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&answer))
	counts := map[string]int{}
	for _, result := range answer.Results {
		counts[result.Status]++
	}
	return counts
}

// paidInvoices waits until an organisation has paid so many, and returns them by id.
func (s *stack) paidInvoices(organization string, want int) map[string]invoice {
	s.t.Helper()
	var list []invoice
	paid := map[string]invoice{}
	for deadline := time.Now().Add(60 * time.Second); len(paid) < want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		stdout, _, code := s.run("invoices", "list", organization, "-o", "json")
		if code != 0 { // in the moment of the failover
			continue
		}
		list = nil
		require.NoError(s.t, json.Unmarshal([]byte(stdout), &list))
		for _, i := range list {
			if i.Status == "paid" {
				paid[i.ID] = i
			}
		}
	}
	require.Len(s.t, paid, want, "%v", list)
	return paid
}

// The primary is lost, and with it what the standby had not received: two months
// that were billed and paid, and usage that was acknowledged. Nobody does anything
// but promote the standby and send the usage again.
func TestP02_P13_P14_X06_AfterAFailoverThatLostCommitsNothingIsBilledTwice(t *testing.T) {
	t.Parallel()
	servers := startPair(t)
	s := startStackIn(t, []string{"DATABASE_URL=" + servers.url()}, "--without", "worker")
	month := time.Date(time.Now().UTC().Year(), time.Now().UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", month.AddDate(0, -2, 0).Format(time.DateOnly), "--payment-method", "pm_card_visa")
	s.must("seats", "assign", "acme", "ada", "--tier", "chat", "--at", month.AddDate(0, -2, 0).Format(time.DateOnly))
	s.must("cycle", "start", "acme")
	kept, lost := []string{"kept-1", "kept-2"}, []string{"lost-1", "lost-2", "lost-3", "lost-4", "lost-5"}
	now := time.Now().UTC()
	require.Equal(t, map[string]int{"accepted": 2}, s.use("acme", now, kept))
	servers.detach()

	s.startWorker()
	before := s.paidInvoices("acme", 2)
	require.Equal(t, 2, s.charges())
	require.Equal(t, map[string]int{"accepted": 5}, s.use("acme", now, lost))

	start := time.Now()
	servers.failOver()
	after := s.paidInvoices("acme", 2)
	t.Logf("level with Stripe, and billed as before, after %s", time.Since(start).Round(time.Millisecond))
	for id, was := range before {
		require.Equal(t, was.StripeInvoiceID, after[id].StripeInvoiceID)
		require.Equal(t, was.Number, after[id].Number)
		require.Equal(t, was.Total, after[id].Total)
	}
	require.Equal(t, 2, s.charges(), "nobody was charged again")
	require.Len(t, s.stripeObjects("invoices"), 2)
	require.Len(t, s.stripeObjects("customers"), 1)
	require.Equal(t, map[string]int{"accepted": 5, "duplicate": 2}, s.use("acme", now, append(kept, lost...)), "exactly those were lost")
	require.Equal(t, map[string]int{"duplicate": 7}, s.use("acme", now, append(kept, lost...)))
	require.Contains(t, s.must("billing", "status"), "goes on")
	s.must("verify")
}
