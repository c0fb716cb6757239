package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reportedUse is a day's use as the vendor's analytics API reports it.
type reportedUse struct {
	day, member, product, model string
	input, output               int64
}

// vendorReport is a page of GET /v1/organizations/analytics/usage by actor,
// product and model.
func vendorReport(uses ...reportedUse) string {
	var rows []string
	for _, u := range uses {
		actor := "null"
		if u.member != "" {
			actor = fmt.Sprintf(`{"type":"user_actor","user_id":"user_01%s","email_address":%q,"name":null,"deleted":false}`, u.member[:1], u.member)
		}
		start, _ := time.Parse(time.DateOnly, u.day)
		rows = append(rows, fmt.Sprintf(`{"starting_at":"%s","ending_at":"%s","group":{"actor":%s,"product":%q,"model":%q,"rbac_group_id":null},
"usage":{"uncached_input_tokens":%d,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"cache_read_input_tokens":0,
"output_tokens":%d,"requests":1,"server_tool_use":{"web_search_requests":0},"total_tokens":%d}}`,
			start.Format(time.RFC3339), start.AddDate(0, 0, 1).Format(time.RFC3339), actor, u.product, u.model, u.input, u.output, u.input+u.output))
	}
	return `{"data":[` + strings.Join(rows, ",") + `],"data_refreshed_at":"2026-10-10T00:00:00Z","has_more":false,"next_page":null,"organization_id":"org_01"}`
}

// onDay is a usage line of another day.
func onDay(day, line string) string { return strings.ReplaceAll(line, "2026-10-09", day) }

// newReconciled has usage of three days in October, and a report that agrees.
func newReconciled(t *testing.T) (s *shell, agreeing []reportedUse) {
	t.Helper()
	s = newAcme(t)
	s.ok("usage", "import", s.file("usage.ndjson",
		onDay("2026-10-02", usageLine("1", "alice", "claude-sonnet-4-5", 100_000)+usageLine("2", "alice", "claude-sonnet-4-5", 100_000)+
			usageLine("3", "bob", "claude-haiku-4-5", 300_000))+
			onDay("2026-10-03", usageLine("4", "alice", "claude-haiku-4-5", 50_000)+strings.Replace(usageLine("5", "", "claude-haiku-4-5", 7_000), `,"user":""`, "", 1))+
			onDay("2026-10-04", usageLine("6", "bob", "claude-sonnet-4-5", 1_000)+usageLine("7", "bob", "claude-unreleased-1", 10))))
	return s, []reportedUse{
		{"2026-10-02", "alice", "chat", "claude-sonnet-4-5", 200_000, 200},
		{"2026-10-02", "bob", "chat", "claude-haiku-4-5", 300_000, 100},
		{"2026-10-03", "alice", "chat", "claude-haiku-4-5", 50_000, 100},
		{"2026-10-03", "", "chat", "claude-haiku-4-5", 7_000, 100},
		{"2026-10-04", "bob", "chat", "claude-sonnet-4-5", 1_000, 100},
	}
}

func TestUsageIsReconciledWithTheVendorsReport(t *testing.T) {
	t.Parallel()
	s, agreeing := newReconciled(t)
	reconcile := func(uses ...reportedUse) reconciledView {
		s.stdin = vendorReport(uses...)
		return into[reconciledView](s, "usage", "reconcile", "-", "--org", "acme")
	}
	agrees := reconcile(agreeing...)
	require.Empty(t, agrees.Differences)
	require.Equal(t, [3]int{10, 0, 0}, [3]int{agrees.Summary.Cells, agrees.Summary.Differing, agrees.Summary.Unpriced})
	require.Equal(t, agrees.Summary.StoredCost, agrees.Summary.ReportedCost)
	require.EqualValues(t, 1, agrees.Summary.ParkedEvents)
	s.stdin = vendorReport(agreeing...)
	require.Contains(t, s.ok("usage", "reconcile", "-", "--org", "acme", "--strict"), "0 of 10 differ")
	s.stdin = vendorReport(agreeing...)
	require.Len(t, into[reconciledView](s, "usage", "reconcile", "-", "--org", "acme", "--all").Differences, 10)

	differing := append([]reportedUse{}, agreeing...)
	differing[0].input = 1_200_000                                                                                // a million more than is stored
	differing[1].member = "carol"                                                                                 // somebody else
	differing[4].product = "cowork"                                                                               // another product
	differing = append(differing, reportedUse{"2026-10-04", "bob", "chat", "claude-unreleased-1", 10, 100})       // parked here
	differing = append(differing, reportedUse{"2026-10-03", "alice", "chat", "claude-opus-4-1", 1_000, 0})        // not here
	differing = append(differing, reportedUse{"2026-10-03", "d.o@example.com", "chat", "claude-opus-4-1", 10, 0}) // nor is who used it
	file := s.file("report.json", vendorReport(differing...))
	s.golden("usage-reconcile", "usage", "reconcile", file, "--org", "acme")
	table := s.ok("usage", "reconcile", file, "--org", "acme")
	require.Contains(t, table, "Usage of acme from 2026-10-02 to before 2026-10-05, by day, member, product, model, class: 13 of 18 differ.")
	require.Contains(t, table, "Note: Members of the report with no stored usage under any of their names: carol, d.o@example.com.")
	require.Contains(t, table, "starter usage parked acme")
	lines := strings.Split(table, "\n")
	first := lines[len(lines)-1]
	for _, line := range lines {
		if strings.HasPrefix(line, "2026-10-0") {
			first = line
			break
		}
	}
	require.Contains(t, first, "-1,000,000", "the costliest comes first")
	require.Contains(t, first, "-3.00 USD")

	code, stdout, stderr := s.run("usage", "reconcile", file, "--org", "acme", "--strict")
	require.Equal(t, exitFailed, code)
	require.Equal(t, table, stdout)
	require.Contains(t, stderr, "13 differences")

	byDay := into[reconciledView](s, "usage", "reconcile", file, "--org", "acme", "--by", "day", "--from", "2026-10-02", "--to", "2026-10-03")
	require.Equal(t, []string{"day", "class"}, byDay.Summary.By)
	require.Len(t, byDay.Differences, 1, "who and in what product, nobody asked")
	require.Equal(t, json.Number("-1000000"), byDay.Differences[0].Difference)
	require.Nil(t, byDay.Differences[0].Member)
}

func TestASpendReportIsReconciledByItsSpan(t *testing.T) {
	t.Parallel()
	s, _ := newReconciled(t)
	const header = "user_email,account_uuid,product,model,total_requests,total_prompt_tokens,total_completion_tokens,total_net_spend_usd,total_gross_spend_usd\n"
	report := s.file("spend-report.csv", header+
		"a@example.com,uuid-1,Chat,claude-sonnet-4-5,2,200000,200,0.50,0.60\n"+
		"a@example.com,uuid-1,Chat,claude-haiku-4-5,1,50000,100,0.05,0.05\n"+
		"b@example.com,uuid-2,Chat,claude-haiku-4-5,1,300000,100,0.30,0.30\n"+
		"b@example.com,uuid-2,Chat,claude-sonnet-4-5,1,1000,100,0.00,0.00\n"+
		"(org service usage),(org service),Chat,claude-haiku-4-5,1,8000,100,0.01,0.01\n")
	members := s.file("members.csv", "vendor,user\na@example.com,alice\nuuid-2,bob\n")
	complaint := s.fails(exitFailed, "usage", "reconcile", report, "--org", "acme", "--members", members)
	require.Contains(t, complaint, "the report does not say which days it covers")
	require.Contains(t, complaint, "--from 2026-10-01 --to 2026-11-01")
	month := []string{"usage", "reconcile", report, "--org", "acme", "--members", members, "--from", "2026-10-01", "--to", "2026-11-01"}
	s.golden("usage-reconcile-spend", month...)
	table := s.ok(month...)
	require.Contains(t, table, "by member, product, model, class: 1 of 10 differ")
	require.Contains(t, table, "The report states a cost of 0.96 USD.")
	require.Contains(t, table, "(service)")
	require.Contains(t, table, "younger than 30 days")
}

func TestAConsoleReportIsReconciledByAPIKey(t *testing.T) {
	t.Parallel()
	s, _ := newReconciled(t)
	report := s.file("claude_api_cost_2026_10.csv", "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed\n"+
		"2026-10-02,Claude Sonnet 4.5,Default,key-alice,message,≤ 200k,input_no_cache,0.60,0.60,token,,\n"+
		"2026-10-02,Claude Sonnet 4.5,Default,key-alice,message,≤ 200k,output,0.00,0.00,token,,\n"+
		"2026-10-02,Claude Haiku 4.5,Default,key-bob,message,≤ 200k,input_no_cache,0.27,0.27,token,,\n"+
		"2026-10-02,Claude Haiku 4.5,Default,key-bob,message,≤ 200k,output,0.00,0.00,token,,\n")
	without := into[reconciledView](s, "usage", "reconcile", report, "--org", "acme")
	require.Equal(t, []string{"day", "model", "class"}, without.Summary.By, "keys are nobody, until somebody says whose they are")
	with := into[reconciledView](s, "usage", "reconcile", report, "--org", "acme", "--members", s.file("keys.csv", "user,vendor\nalice,key-alice\nbob,key-bob\n"))
	require.Equal(t, "cost", string(with.Summary.Compares))
	require.Len(t, with.Differences, 1, "what is rounded to cents agrees with what it was rounded from")
	require.Equal(t, "bob", *with.Differences[0].Member)
	require.Equal(t, "0.03", with.Differences[0].Cost.Amount.String())
	require.Contains(t, s.ok("usage", "reconcile", report, "--org", "acme"), "free hours of code execution")

	s.ok("org", "create", "euro", "--start", "2026-10-01", "--test-clock", "2026-10-10")
	s.stdin = strings.ReplaceAll(`{"data":[{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","results":[{"amount":"1","currency":"CUR"}]}]}`, "CUR", "EUR")
	require.Contains(t, s.fails(exitFailed, "usage", "reconcile", "-", "--org", "euro"), "the report is in EUR and organization euro in USD")
}

func TestReconcilingWhatCannotBe(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	report := s.file("report.json", vendorReport())
	for line, says := range map[string]string{
		"usage reconcile":                                            "FILE is missing",
		"usage reconcile REPORT":                                     "--org is missing",
		"usage reconcile REPORT --org acme --by team":                `--by "team"; accepted: day, member, product, model`,
		"usage reconcile REPORT --org acme --from 1.10.2026":         `--from "1.10.2026"; accepted: a day like 2026-10-01`,
		"usage reconcile REPORT --org acme --from 2026-10-01T00:00Z": "accepted: a day like 2026-10-01",
		"usage reconcile - --org acme --members -":                   "accepted: one of them",
	} {
		require.Contains(t, s.fails(exitUsage, strings.Fields(strings.ReplaceAll(line, "REPORT", report))...), says, line)
	}
	days := []string{"--from", "2026-10-01", "--to", "2026-10-02"}
	require.Contains(t, s.fails(exitFailed, append([]string{"usage", "reconcile", report, "--org", "nobody"}, days...)...), "does not exist")
	require.Contains(t, s.fails(exitFailed, "usage", "reconcile", s.file("a.csv", "a,b\n1,2\n"), "--org", "acme"), "a.csv: line 1")
	for content, says := range map[string]string{
		"":                                     "line 1: accepted: a first line with the columns vendor and user",
		"vendor,tier\na,b\n":                   "line 1: accepted",
		"vendor,user\na,alice\na,bob\n":        `line 3: vendor: "a" is user "alice" on an earlier line`,
		"vendor,user\n,alice\n":                "line 2: vendor: is empty",
		"vendor,user\na,alice\tx\nb,bob,c\n":   "line 3: has another number of fields",
		"vendor,user\na,\"alice\tx\"\nb,bob\n": "line 2: user: contains U+0009, a control character; accepted",
	} {
		complaint := s.fails(exitFailed, append([]string{"usage", "reconcile", report, "--org", "acme", "--members", s.file("members.csv", content)}, days...)...)
		require.Contains(t, complaint, says, content)
	}
}
