package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// recordedPrices is a price book with the models of the recorded exports, at the
// list prices by which Claude Code computed the costs that it exported.
const recordedPrices = `
name: recorded
currency: USD
seats:
  - {tier: chat_claude_code, amount: "40.00", products: [chat, claude_code]}
models:
  - {model: claude-sonnet-4-5, prices: [{effective_from: 2025-09-29T00:00:00Z, input: "3", output: "15", cache_write_5m: "3.75", cache_write_1h: "6", cache_read: "0.30"}]}
  - {model: claude-sonnet-4-5-20250929, prices: [{effective_from: 2025-09-29T00:00:00Z, input: "3", output: "15", cache_write_5m: "3.75", cache_write_1h: "6", cache_read: "0.30"}]}
  - {model: claude-sonnet-4-20250514, prices: [{effective_from: 2025-05-22T00:00:00Z, input: "3", output: "15", cache_write_5m: "3.75", cache_write_1h: "6", cache_read: "0.30"}]}
  - {model: claude-haiku-4-5-20251001, prices: [{effective_from: 2025-10-01T00:00:00Z, input: "1", output: "5", cache_write_5m: "1.25", cache_write_1h: "2", cache_read: "0.10"}]}
  - {model: claude-3-5-haiku-20241022, prices: [{effective_from: 2024-10-22T00:00:00Z, input: "0.80", output: "4", cache_write_5m: "1", cache_write_1h: "1.60", cache_read: "0.08"}]}
`

const opusPrices = `  - {model: claude-opus-4-5, prices: [{effective_from: 2025-11-24T00:00:00Z, input: "5", output: "25", cache_write_5m: "6.25", cache_write_1h: "10", cache_read: "0.50"}]}
`

// newRecorded is a shell with organisation acme in November 2026, when the exports
// were recorded.
func newRecorded(t *testing.T, terms ...string) *shell {
	t.Helper()
	s := newDatabaseShell(t)
	s.ok("prices", "load", s.file("recorded.yaml", recordedPrices))
	s.ok(append([]string{"org", "create", "acme", "--start", "2026-11-01", "--test-clock", "2026-11-30T00:00:00Z", "--payment-method", "pm_card_visa"}, terms...)...)
	s.ok("seats", "assign", "acme", "alice", "--tier", "chat_claude_code", "--at", "2026-11-01")
	return s
}

// export posts a recorded export, and returns the partial success: how many records
// were not taken, and why.
func export(t *testing.T, server *httptest.Server, key, recording string) (refused int64, why string) {
	t.Helper()
	body, err := os.ReadFile("../internal/otlp/testdata/" + recording)
	require.NoError(t, err)
	contentType, unmarshal := "application/x-protobuf", proto.Unmarshal
	if strings.HasSuffix(recording, ".json") {
		contentType, unmarshal = "application/json", protojson.Unmarshal
	}
	status, answer := call(t, http.MethodPost, server.URL+"/v1/logs", string(body), "Content-Type", contentType, "Authorization", "Bearer "+key)
	require.Equal(t, http.StatusOK, status, answer)
	var partial collector.ExportLogsServiceResponse
	require.NoError(t, unmarshal([]byte(answer), &partial))
	return partial.GetPartialSuccess().GetRejectedLogRecords(), partial.GetPartialSuccess().GetErrorMessage()
}

// TestARecordedSessionIsBilledToTheCent: what each version of Claude Code exported
// costs here what it says that it cost, since it is taken apart as its cost says.
func TestARecordedSessionIsBilledToTheCent(t *testing.T) {
	t.Parallel()
	for recording, want := range map[string]struct {
		requests         int64
		write5m, write1h string
		spend            string
	}{
		"claude-code-1.0.60.json":   {3, "19966", "0", "0.08026426 USD"},
		"claude-code-1.0.60.binpb":  {3, "19966", "0", "0.08026426 USD"},
		"claude-code-2.0.76.json":   {5, "38495", "0", "0.15311035 USD"},
		"claude-code-2.1.240.json":  {2, "9828", "9828", "0.1038036 USD"}, // by its cost
		"claude-code-2.1.332.json":  {2, "9828", "9828", "0.1038036 USD"}, // by its own word
		"claude-code-2.1.240.binpb": {2, "9828", "9828", "0.173006 USD"},
		"claude-code-2.1.332.binpb": {2, "9828", "9828", "0.173006 USD"},
	} {
		t.Run(recording, func(t *testing.T) {
			t.Parallel()
			s := newRecorded(t)
			s.ok("prices", "load", s.file("opus.yaml", recordedPrices+opusPrices))
			server := newTestGateway(t, s)
			key := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme", "--member", "alice").Key
			for range 2 { // an exporter that got no answer sends it again
				refused, why := export(t, server, key, recording)
				require.Zero(t, refused, why)
			}
			rows := into[[]usageRowView](s, "usage", "summary", "acme", "--by", "user,product")
			require.Len(t, rows, 1)
			row := rows[0]
			require.Equal(t, "alice", *row.User)
			require.Equal(t, "claude_code", *row.Product)
			require.Equal(t, want.requests, row.Events)
			require.Equal(t, []string{want.write5m, want.write1h, want.spend}, []string{row.CacheWrite5m.String(), row.CacheWrite1h.String(), row.Spend.String()})
			require.JSONEq(t, "[]", s.ok("verify", "acme", "-o", "json"))
		})
	}
}

func TestAnExportsOwnCostDividesTheLinesOfTheInvoice(t *testing.T) {
	t.Parallel()
	s := newRecorded(t)
	server := newTestGateway(t, s)
	key := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme", "--member", "alice").Key
	refused, why := export(t, server, key, "claude-code-2.1.240.json")
	require.Zero(t, refused, why)
	var lines []string
	for _, line := range into[struct {
		Lines []struct {
			Kind       string
			TokenClass string `json:"token_class"`
			Quantity   json.Number
			Amount     billing.Money
		}
	}](s, "invoices", "preview", "acme").Lines {
		if line.Kind == "usage" {
			lines = append(lines, fmt.Sprint(line.TokenClass, " ", line.Quantity, " ", line.Amount))
		}
	}
	require.Equal(t, []string{
		"input 10 0.00 USD", "output 161 0.00 USD", "cache_write_5m 9828 0.04 USD", "cache_write_1h 9828 0.06 USD", "cache_read 18452 0.01 USD",
	}, lines)
}

func TestAParkedRequestIsDividedByItsCostOnceItHasAPrice(t *testing.T) {
	t.Parallel()
	s := newRecorded(t)
	server := newTestGateway(t, s)
	key := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme", "--member", "alice").Key
	refused, why := export(t, server, key, "claude-code-2.1.240.binpb")
	require.Zero(t, refused, "parked is kept: "+why)
	require.EqualValues(t, 2, into[[]postgres.ParkedRow](s, "usage", "parked", "acme")[0].Events)
	s.ok("prices", "load", s.file("opus.yaml", recordedPrices+opusPrices))
	require.EqualValues(t, 2, into[postgres.ReleaseResult](s, "usage", "release", "acme").Released)
	row := into[[]usageRowView](s, "usage", "summary", "acme")[0]
	require.Equal(t, []string{"9828", "9828", "0.173006 USD"}, []string{row.CacheWrite5m.String(), row.CacheWrite1h.String(), row.Spend.String()})
	refused, why = export(t, server, key, "claude-code-2.1.240.binpb")
	require.Zero(t, refused, "a duplicate after its release, too: "+why)
	require.JSONEq(t, "[]", s.ok("verify", "acme", "-o", "json"))
}

func TestACostInUSDSaysNothingBesideOtherPrices(t *testing.T) {
	t.Parallel()
	s := newDatabaseShell(t)
	s.ok("prices", "load", s.file("recorded.yaml", strings.Replace(recordedPrices, "currency: USD", "currency: EUR", 1)))
	s.ok("org", "create", "acme", "--currency", "EUR", "--start", "2026-11-01", "--test-clock", "2026-11-30T00:00:00Z")
	server := newTestGateway(t, s)
	key := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme").Key
	refused, why := export(t, server, key, "claude-code-2.1.240.json")
	require.Zero(t, refused, why)
	row := into[[]usageRowView](s, "usage", "summary", "acme")[0]
	require.Equal(t, []string{"19656", "0"}, []string{row.CacheWrite5m.String(), row.CacheWrite1h.String()})
}

func TestACollectorReportsForThoseThatItsResourcesName(t *testing.T) {
	t.Parallel()
	s := newRecorded(t)
	s.ok("prices", "load", s.file("opus.yaml", recordedPrices+opusPrices))
	server := newTestGateway(t, s)
	collector := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--all").Key
	refused, why := export(t, server, collector, "claude-code-2.1.332.binpb") // names acme and alice
	require.Zero(t, refused, why)
	require.Equal(t, "alice", *into[[]usageRowView](s, "usage", "summary", "acme", "--by", "user")[0].User)

	refused, why = export(t, server, collector, "claude-code-2.1.332.json")
	require.EqualValues(t, 2, refused)
	require.Contains(t, why, "arrears.organization: is required of the resource")
	bob := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme", "--member", "bob").Key
	refused, why = export(t, server, bob, "claude-code-2.1.332.binpb")
	require.EqualValues(t, 2, refused)
	require.Contains(t, why, "user: is not the member of the key")
}

// TestARequestThatTwoPathsReportIsBilledOnce is what binding a product to a source
// is for: a gateway and Claude Code itself both report the same requests, under
// ids of their own.
func TestARequestThatTwoPathsReportIsBilledOnce(t *testing.T) {
	t.Parallel()
	s := newRecorded(t, "--usage-source", "claude_code=otlp")
	server := newTestGateway(t, s)
	key := into[createdKey](s, "keys", "create", "--scopes", "usage:write", "--org", "acme").Key
	event := func(id, product string) string {
		return fmt.Sprintf(`{"id":%q,"organization":"acme","user":"alice","occurred_at":"2026-11-29T08:20:47Z","product":%q,"model":"claude-sonnet-4-5","usage":{"input_tokens":4,"output_tokens":43}}`, id, product)
	}
	posted := func(body string, headers ...string) string {
		status, answer := call(t, http.MethodPost, server.URL+"/v1/usage", body, append(headers, "Authorization", "Bearer "+key)...)
		require.Equal(t, http.StatusOK, status, answer)
		return answer
	}
	refused, why := export(t, server, key, "claude-code-2.1.240.json")
	require.Zero(t, refused, why)

	const bound = "usage of claude_code is bound to the source otlp, and this came by "
	answer := posted(event("gw_1", "claude_code")+"\n"+event("gw_2", "chat"), "Content-Type", "application/x-ndjson")
	require.Contains(t, answer, `"id":"gw_1","status":"rejected","field":"product","reason":"`+bound+"api;")
	require.Contains(t, answer, `"id":"gw_2","status":"accepted"`, "other products are not bound")
	answer = posted(event("req_011CBBBBBBBBBBBBBBBBBBB0", "claude_code"), "Content-Type", "application/json")
	require.Contains(t, answer, bound, "under the same id, too")
	answer = posted(strings.Replace(event("", "claude_code"), `"id":"",`, "", 1), "Content-Type", "application/json",
		"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/gateway", "Ce-Type", "usage")
	require.Contains(t, answer, bound+"cloudevents")
	tally := s.ok("usage", "import", s.file("usage.ndjson", event("file_1", "claude_code")+"\n"))
	require.Contains(t, tally, bound+"import")
	for _, row := range into[[]usageRowView](s, "usage", "summary", "acme", "--by", "product") {
		require.Equal(t, map[string]int64{"claude_code": 2, "chat": 1}[*row.Product], row.Events)
	}

	s.ok("org", "set", "acme", "--usage-source", "claude_code=import", "--as", "ann", "--reason", "exports stop")
	refused, why = export(t, server, key, "claude-code-2.1.240.json")
	require.Zero(t, refused, "what was stored is a duplicate, however it comes: "+why)
	refused, why = export(t, server, key, "claude-code-2.1.332.json")
	require.EqualValues(t, 2, refused)
	require.Contains(t, why, "bound to the source import, and this came by otlp")
	require.Regexp(t, `accepted +1`, s.ok("usage", "import", s.file("usage.ndjson", event("file_1", "claude_code")+"\n")))
}

func TestSourcesAreTermsOfTheContract(t *testing.T) {
	t.Parallel()
	s := newRecorded(t, "--usage-source", "claude_code=otlp", "--usage-source", "chat=api")
	type sources = map[string]billing.UsageSource
	require.Equal(t, sources{"claude_code": "otlp", "chat": "api"}, into[organizationView](s, "org", "show", "acme").UsageSources)
	require.Contains(t, s.ok("org", "show", "acme"), "chat=api claude_code=otlp")
	changed := into[orgChangedView](s, "org", "set", "acme", "--usage-source", "chat=any", "--usage-source", "ide=cloudevents", "--as", "ann", "--reason", "new gateway")
	require.Equal(t, []string{"usage_sources"}, changed.Changed)
	require.Equal(t, sources{"claude_code": "otlp", "ide": "cloudevents"}, changed.UsageSources)
	require.Contains(t, s.ok("org", "set", "acme", "--usage-source", "claude_code=otlp"), "nothing changed")
	require.Contains(t, s.ok("audit", "acme"), "new gateway")
	require.Contains(t, string(into[[]postgres.AuditEntry](s, "audit", "acme")[0].After), `"ide=cloudevents"`)

	const accepted = "accepted: PRODUCT=SOURCE like claude_code=otlp, each product once; sources: api, otlp, cloudevents, import, or any"
	for _, wrong := range []string{"claude_code", "claude_code=mail", "=otlp", "a\u200bb=otlp", "claude_code=otlp=", "claude_code="} {
		require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--usage-source", wrong), accepted, wrong)
	}
	require.Contains(t, s.fails(exitUsage, "org", "set", "acme", "--usage-source", "chat=api", "--usage-source", "chat=otlp"), accepted)
	s.ok("org", "create", "acme", "--start", "2026-11-01", "--test-clock", "2026-11-30T00:00:00Z") // sources that are not named are as they are

	file := s.file("orgs.ndjson", `{"id":"globex","usage_sources":{"claude_code":"import"}}`+"\n")
	s.ok("org", "import", file)
	s.ok("org", "import", file)
	require.Equal(t, sources{"claude_code": "import"}, into[organizationView](s, "org", "show", "globex").UsageSources)
	for line, says := range map[string]string{
		`{"id":"a","usage_sources":{"chat":"mail"}}`: "usage_source: chat=mail; accepted sources",
		`{"id":"a","usage_sources":"otlp"}`:          `usage_sources: is a string; accepted: an object like {"claude_code":"otlp"}`,
	} {
		require.Contains(t, s.fails(exitFailed, "org", "import", s.file("bad.ndjson", line)), says)
	}
}

func TestKeysOfOneMember(t *testing.T) {
	t.Parallel()
	s := newRecorded(t)
	made := into[createdKey](s, "keys", "create", "--scopes", "usage:write,limits:read", "--org", "acme", "--member", "alice")
	require.Equal(t, "alice", *made.Member)
	require.Equal(t, "alice", *into[[]keyView](s, "keys", "list")[0].Member)
	require.Regexp(t, `acme +alice +limits:read usage:write`, s.ok("keys", "list"))
	require.Contains(t, string(into[[]postgres.AuditEntry](s, "audit", "acme")[0].After), `"member": "alice"`)
	for says, args := range map[string][]string{
		"--member needs --org":                             {"--scopes", "usage:write", "--all", "--member", "alice"},
		"accepted with --member: usage:write, limits:read": {"--scopes", "usage:write,spend:read", "--org", "acme", "--member", "alice"},
		"--member is empty":                                {"--scopes", "usage:write", "--org", "acme", "--member", ""},
		"--member begins or ends with a space":             {"--scopes", "usage:write", "--org", "acme", "--member", " alice"},
		`--scopes "admin"; accepted with --member`:         {"--scopes", "admin", "--org", "acme", "--member", "alice"},
	} {
		require.Contains(t, s.fails(exitUsage, append([]string{"keys", "create"}, args...)...), says)
	}
}
