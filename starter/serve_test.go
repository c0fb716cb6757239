package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/stripe"
)

const gatewayKey = "arr_test_0123456789"

// newTestGateway is what starter serve serves, on the shell's database.
func newTestGateway(t *testing.T, s *shell) *httptest.Server {
	t.Helper()
	cfg, err := config.Load(append(s.environ, "ARREARS_API_KEY="+gatewayKey, "STRIPE_WEBHOOK_SECRET=whsec_new,whsec_old"),
		config.Database, config.Stripe, config.Webhook)
	require.NoError(t, err)
	store, err := postgres.Open(t.Context(), string(cfg.DatabaseURL))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	log := slog.New(slog.DiscardHandler)
	gateway, err := stripe.New(stripe.Options{
		Key: string(cfg.StripeSecretKey), APIBase: cfg.StripeAPIBase, WebhookSecrets: secrets(cfg.StripeWebhookSecrets), Log: log,
	})
	require.NoError(t, err)
	server := httptest.NewServer(newGatewayHandler(store, gateway, &refusals{store: store.CountWebhookRefusals, log: log}, cfg, log))
	t.Cleanup(server.Close)
	return server
}

func call(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// TestWebhookGate: what is not Stripe's word to this account leaves
// nothing behind.
func TestWebhookGate(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	body := func(id string, live bool) string {
		return fmt.Sprintf(`{"id":%q,"object":"event","type":"invoice.paid","api_version":"2023-10-16","created":1793577600,"livemode":%t,
"data":{"object":{"id":"in_1","object":"invoice","customer":"cus_1"}}}`, id, live)
	}
	signed := func(payload, secret string, when time.Time) string {
		return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(payload), Secret: secret, Timestamp: when}).Header
	}
	now := time.Now()
	good := body("evt_1", false)
	for name, c := range map[string]struct{ body, signature string }{
		"unsigned":                 {good, ""},
		"another secret":           {good, signed(good, "whsec_other", now)},
		"an altered byte":          {strings.Replace(good, "evt_1", "evt_2", 1), signed(good, "whsec_new", now)},
		"too old":                  {good, signed(good, "whsec_new", now.Add(-301*time.Second))},
		"from the future":          {good, signed(good, "whsec_new", now.Add(310*time.Second))},
		"of the other mode":        {body("evt_1", true), signed(body("evt_1", true), "whsec_new", now)},
		"an old scheme":            {good, strings.ReplaceAll(signed(good, "whsec_new", now), "v1=", "v0=")},
		"signed, and not an event": {"{}", signed("{}", "whsec_new", now)},
	} {
		status, answer := call(t, http.MethodPost, server.URL+"/v1/webhooks/stripe", c.body, "Stripe-Signature", c.signature)
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", name, answer)
	}
	require.JSONEq(t, "[]", s.ok("webhooks", "list", "-o", "json"), "nothing is stored")

	require.Eventually(t, func() bool {
		counted := map[string]int64{}
		for _, row := range into[[]postgres.WebhookRefusals](s, "webhooks", "list", "--refused") {
			counted[row.Reason] = row.Count
		}
		return maps.Equal(counted, map[string]int64{"signature": 4, "too_old": 1, "future": 1, "other_mode": 1, "not_an_event": 1})
	}, 10*time.Second, 50*time.Millisecond, "but how many were refused, and why")

	for i, secret := range []string{"whsec_new", "whsec_old"} { // while one replaces the other
		payload := body(fmt.Sprintf("evt_ok_%d", i), false)
		for _, answer := range []string{`{"new":true,"received":true}`, `{"new":false,"received":true}`} { // delivered twice
			status, got := call(t, http.MethodPost, server.URL+"/v1/webhooks/stripe", payload, "Stripe-Signature", signed(payload, secret, now))
			require.Equal(t, http.StatusOK, status)
			require.JSONEq(t, answer, got)
		}
	}
	require.Len(t, into[[]map[string]any](s, "webhooks", "list"), 2)
}

func TestGatewayOnARealDatabase(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	bearer := []string{"Authorization", "Bearer " + gatewayKey, "Content-Type", "application/x-ndjson"}
	body := usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000) + usageLine("1", "alice", "claude-sonnet-4-5", 1) + usageLine("2", "bob", "claude-unreleased-1", 1)
	status, answer := call(t, http.MethodPost, server.URL+"/v1/usage", body, bearer...)
	require.Equal(t, http.StatusOK, status, answer)
	for _, status := range []string{"accepted", "conflict", "parked"} {
		require.Contains(t, answer, `"status":"`+status+`"`)
	}
	status, answer = call(t, http.MethodPost, server.URL+"/v1/usage", usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000), bearer...)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"results":[{"index":0,"id":"1","status":"duplicate","field":null,"reason":null}]}`, answer)

	for path, command := range map[string]string{"invoices": "invoices list acme", "limits": "limits list acme", "notices": "notices list acme"} {
		status, answer = call(t, http.MethodGet, server.URL+"/v1/organizations/acme/"+path, "", bearer...)
		require.Equal(t, http.StatusOK, status, answer)
		require.JSONEq(t, s.ok(append(strings.Fields(command), "-o", "json")...), answer, "as the command line prints it")
	}
	status, answer = call(t, http.MethodGet, server.URL+"/v1/organizations/acme/spend?user=bob", "", bearer...)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, s.ok("limits", "explain", "acme", "--user", "bob", "-o", "json"), answer)
	status, answer = call(t, http.MethodGet, server.URL+"/v1/organizations/acme/spend", "", bearer...)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, answer, `"spend":{"amount":"12.00225","currency":"USD"}`)
	status, _ = call(t, http.MethodGet, server.URL+"/v1/organizations/nobody/spend", "", bearer...)
	require.Equal(t, http.StatusNotFound, status)
	status, _ = call(t, http.MethodGet, server.URL+"/readyz", "")
	require.Equal(t, http.StatusOK, status)
}

func TestAMemberIsBlockedAndLetGoOnByTheGateway(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	bearer := []string{"Authorization", "Bearer " + gatewayKey, "Content-Type", "application/json"}
	s.ok("limits", "remove", "acme", "--org")
	s.ok("limits", "set", "acme", "--user", "alice", "--amount", "10.00")
	ask := func() map[string]any {
		status, answer := call(t, http.MethodPost, server.URL+"/v1/limits/check", `{"organization":"acme","user":"alice","product":"chat"}`, bearer...)
		require.Equal(t, http.StatusOK, status, answer)
		var decision map[string]any
		require.NoError(t, json.Unmarshal([]byte(answer), &decision))
		return decision
	}
	require.Equal(t, "allowed", ask()["decision"])
	status, answer := call(t, http.MethodPost, server.URL+"/v1/usage", usageLine("1", "alice", "claude-sonnet-4-5", 4_000_000), bearer...)
	require.Equal(t, http.StatusOK, status, answer)
	blocked := ask()
	require.Equal(t, "blocked", blocked["decision"])
	require.Equal(t, "user", blocked["scope"])
	require.Equal(t, false, blocked["retry"])
	require.Equal(t, "http://localhost:8080/v1/organizations/acme/limits", blocked["action_url"])
	s.ok("limits", "set", "acme", "--user", "alice", "--amount", "100.00")
	require.Equal(t, "allowed", ask()["decision"])
}

func TestAMemberReadsTheirStandingAndWhatPredatesTheirLimit(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	bearer := []string{"Authorization", "Bearer " + gatewayKey, "Content-Type", "application/json"}
	s.ok("limits", "set", "acme", "--user", "bob", "--amount", "100.00")
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("1", "bob", "claude-haiku-4-5", 1_999_500))) // 2.00 USD
	s.ok("limits", "set", "acme", "--user", "bob", "--amount", "1.50")
	s.ok("usage", "import", s.file("more.ndjson", usageLine("2", "bob", "claude-haiku-4-5", 999_500))) // what was in flight
	const spent, before = `"spent":{"amount":"3.00","currency":"USD"}`, `"spent_before":{"amount":"2.00","currency":"USD"}`
	_, answer := call(t, http.MethodPost, server.URL+"/v1/limits/check", `{"organization":"acme","user":"bob","product":"chat"}`, bearer...)
	require.Contains(t, answer, `"decision":"blocked"`)
	require.Contains(t, answer, spent+","+before)
	for path, want := range map[string][]string{
		"spend?user=bob": {`"period_end":"2026-11-01T00:00:00Z"`, `"as_of":"2026-10-10T00:00:00Z"`, spent + "," + before + `,"provisional":{"amount":"0.00","currency":"USD"},"remaining":{"amount":"-1.50","currency":"USD"}`},
		"spend":          {`"spend":{"amount":"3.00","currency":"USD"},"spent_before":{"amount":"0.00","currency":"USD"}`, `"limit":{"amount":"1.50","currency":"USD"},` + before},
		"limits":         {`"subject":"bob"`, spent + "," + before},
	} {
		_, answer = call(t, http.MethodGet, server.URL+"/v1/organizations/acme/"+path, "", bearer...)
		for _, part := range want {
			require.Contains(t, answer, part, path)
		}
	}
	require.Regexp(t, `BEFORE IT WAS SET[^\n]*\n(.*\n)*.*user bob +1\.50 USD +3\.00 USD +2\.00 USD`, s.ok("limits", "explain", "acme", "--user", "bob"))
	require.Regexp(t, `user +bob +1\.50 USD +3\.00 USD +2\.00 USD`, s.ok("limits", "list", "acme"))
}

func TestLimitsChangedOverHTTPAreAuditedByTheKey(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	made := into[createdKey](s, "keys", "create", "--scopes", "limits:write,limits:read", "--org", "acme", "--role", "billing_manager")
	as := []string{"Authorization", "Bearer " + made.Key, "Content-Type", "application/json"}
	limits := server.URL + "/v1/organizations/acme/limits"
	status, answer := call(t, http.MethodPut, limits, `{"scope":"user","subject":"alice","amount":"25.00","reason":"new project"}`, as...)
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, `"version":1`)
	require.Contains(t, answer, `"changed":true`)
	_, answer = call(t, http.MethodPut, limits, `{"scope":"user","subject":"alice","amount":"25"}`, as...)
	require.Contains(t, answer, `"changed":false`)
	status, answer = call(t, http.MethodPut, limits, `{"scope":"seat_tier","subject":"gold","amount":"25"}`, as...)
	require.Equal(t, http.StatusBadRequest, status, answer)
	_, answer = call(t, http.MethodGet, limits+"?limit=1", "", as...)
	require.JSONEq(t, `["organization"]`, scopesOf(t, answer))
	status, answer = call(t, http.MethodDelete, limits+"?scope=user&subject=alice", "", as...)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"organization":"acme","scope":"user","subject":"alice","removed":true}`, answer)

	trail := into[[]postgres.AuditEntry](s, "audit", "acme")
	require.Equal(t, []string{"limits.remove", "limits.set"}, []string{trail[0].Action, trail[1].Action})
	require.Equal(t, made.ID, trail[1].Actor)
	require.Equal(t, "new project", trail[1].Reason)
}

func scopesOf(t *testing.T, limits string) string {
	t.Helper()
	var views []limitView
	require.NoError(t, json.Unmarshal([]byte(limits), &views))
	scopes := []string{}
	for _, v := range views {
		scopes = append(scopes, string(v.Scope))
	}
	text, err := json.Marshal(scopes)
	require.NoError(t, err)
	return string(text)
}

func TestListsThatGrowWithMembersAreReadPageByPage(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	bearer := []string{"Authorization", "Bearer " + gatewayKey, "Content-Type", "application/x-ndjson"}
	body := usageLine("1", "alice", "claude-sonnet-4-5", 2_000_000) + usageLine("2", "bob", "claude-sonnet-4-5", 1) + usageLine("3", "", "claude-sonnet-4-5", 1)
	status, answer := call(t, http.MethodPost, server.URL+"/v1/usage", strings.Replace(body, `,"user":""`, "", 1), bearer...)
	require.Equal(t, http.StatusOK, status, answer)
	require.NotContains(t, answer, "rejected")
	for list, want := range map[string]int{"spend": 4, "notices": 2} {
		var whole, rows []any
		for next, pages := "/v1/organizations/acme/"+list, 0; next != ""; pages++ {
			require.Less(t, pages, 10)
			request, err := http.NewRequest(http.MethodGet, server.URL+next, nil)
			require.NoError(t, err)
			request.Header.Set("Authorization", "Bearer "+gatewayKey)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			part := rowsOf(t, response.Body)
			require.NoError(t, response.Body.Close())
			if pages == 0 { // the whole list in one answer
				require.Empty(t, response.Header.Get("Link"))
				whole, next = part, next+"?limit=1"
				require.Len(t, whole, want)
				continue
			}
			require.Len(t, part, 1)
			rows = append(rows, part...)
			next = strings.TrimSuffix(strings.TrimPrefix(response.Header.Get("Link"), "<"), `>; rel="next"`)
		}
		require.Equal(t, whole, rows, list)
	}
}

// rowsOf are the rows of a list, or of a view that holds one.
func rowsOf(t *testing.T, body io.Reader) (rows []any) {
	t.Helper()
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	if json.Unmarshal(text, &rows) == nil {
		return rows
	}
	var view struct{ Members []any }
	require.NoError(t, json.Unmarshal(text, &view), string(text))
	return view.Members
}

func TestTheGatewayDoesNotStartWithAKeyOfTheOtherMode(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--payment-method", "pm_card_visa")
	s.environ = append(s.environ, "STRIPE_API_BASE=https://api.stripe.com", "STRIPE_SECRET_KEY=sk_live_1", "STRIPE_WEBHOOK_SECRET=whsec_1")
	said := s.fails(exitFailed, "serve", "--listen", "127.0.0.1:0")
	require.Contains(t, said, "STRIPE_SECRET_KEY")
	require.Contains(t, said, "this database's customers are in test mode")
	require.NotContains(t, said, "sk_live_1")
	require.Contains(t, s.ok("org", "list"), "acme", "what needs no Stripe works")
}

func TestSpendOverHTTPIsOfThePeriodAskedFor(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	relayToNobody(t, s)
	server := newTestGateway(t, s)
	s.ok("usage", "import", s.file("october.ndjson", at("1", "acme", "2026-10-09T12:00:00Z")))
	s.ok("clock", "advance", "acme", "--to", "2026-11-05")
	s.ok("usage", "import", s.file("november.ndjson", at("2", "acme", "2026-11-03T12:00:00Z")+at("3", "acme", "2026-11-04T12:00:00Z")))
	ask := func(query string) (int, string) {
		return call(t, http.MethodGet, server.URL+"/v1/organizations/acme/spend"+query, "", "Authorization", "Bearer "+gatewayKey)
	}
	read := func(query string) (view spendView) {
		status, answer := ask(query)
		require.Equal(t, http.StatusOK, status, answer)
		require.NoError(t, json.Unmarshal([]byte(answer), &view))
		return view
	}
	october, november := read("?period=2026-10-01"), read("?period=2026-11-01")
	require.Equal(t, november, read(""), "the running one")
	require.Equal(t, []string{"2026-10-01", "0.3015 USD"}, []string{october.Period, october.Spend.String()})
	require.Equal(t, []string{"2026-11-01", "0.603 USD"}, []string{november.Period, november.Spend.String()})
	require.Equal(t, "10.00 USD", october.Limit.String())
	for query, command := range map[string]string{"?period=2026-10-01": "--period 2026-10-01", "": "--period 2026-11-01"} {
		printed := into[[]usageRowView](s, append([]string{"usage", "summary", "acme", "--by", "user"}, strings.Fields(command)...)...)
		require.Equal(t, printed, read(query).Members, "as the command prints them")
	}

	first := read("?period=2026-10-01&limit=1")
	require.Equal(t, october.Members[:1], first.Members)
	status, answer := ask("?period=2020-01-01")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, answer, `has no period \"2020-01-01\"`)
	status, answer = ask("?user=%00")
	require.Equal(t, http.StatusBadRequest, status, answer)
	require.Contains(t, answer, `"field":"user"`)
}
