package vendorreport_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/vendorreport"
)

var update = flag.Bool("update", false, "write what is read to testdata/*.golden")

func TestTheVendorsReports(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.*son")
	require.NoError(t, err)
	tables, err := filepath.Glob("testdata/*.csv")
	require.NoError(t, err)
	require.Len(t, append(files, tables...), 15)
	for _, file := range append(files, tables...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			report, err := vendorreport.Parse(strings.NewReader(string(data)))
			require.NoError(t, err)
			got := dump(report)
			if *update {
				require.NoError(t, os.WriteFile(file+".golden", []byte(got), 0o644))
			}
			want, err := os.ReadFile(file + ".golden")
			require.NoError(t, err)
			require.Equal(t, string(want), got, "go test ./internal/vendorreport -update takes it over")
			bom, err := vendorreport.Parse(strings.NewReader("\xef\xbb\xbf\n" + string(data)))
			require.NoError(t, err, "behind a byte order mark")
			require.Equal(t, got, dump(bom))
		})
	}
}

// dump writes a report for people.
func dump(r *billing.UsageReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s by day %t, members only %t\n", r.Measure, r.Currency, r.ByDay, r.MembersOnly)
	for _, class := range billing.Classes() {
		fmt.Fprintf(&b, "  %s is %q\n", class, r.Classes[class])
	}
	for _, span := range r.Spans {
		fmt.Fprintf(&b, "from %s to %s\n", span.Start.Format(time.RFC3339), span.End.Format(time.RFC3339))
	}
	if r.StatedCost.Valid {
		fmt.Fprintf(&b, "states a cost of %s\n", r.StatedCost.Decimal)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "warns: %s\n", warning)
	}
	for _, row := range r.Rows {
		day := "no day"
		if !row.Day.IsZero() {
			day = row.Day.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "%s members %q key %q product %q model %q tier %q speed %q geo %q above %d\n", day, row.Members, row.Key,
			row.Product, row.Model, row.ServiceTier, row.Speed, row.InferenceGeo, row.PromptTokensAbove)
		for _, value := range row.Values {
			fmt.Fprintf(&b, "  %s %s ± %s\n", value.Class, value.Value, value.Rounding)
		}
	}
	return b.String()
}

// usageRow is a row of analytics/usage with some of its JSON replaced.
func usageRow(replace ...string) string {
	row := `{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","group":{"actor":{"type":"user_actor","user_id":"u"},"model":"m"},` +
		`"usage":{"uncached_input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"cache_read_input_tokens":0,"output_tokens":2,"server_tool_use":{"web_search_requests":0}}}`
	return strings.NewReplacer(replace...).Replace(row)
}

func page(rows ...string) string {
	return `{"data":[` + strings.Join(rows, ",") + `],"has_more":false,"next_page":null}`
}

const (
	consoleHeader = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n"
	costHeader    = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type\n"
)

func TestReportsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	cost := `{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","group":{"model":"m"},"cost":{"amount":"1","list_amount":"2","currency":"USD"}}`
	bucket := `{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","results":[]}`
	for name, c := range map[string]struct{ text, says string }{
		"nothing":                  {"", "the report is empty; accepted: JSON or CSV"},
		"spaces alone":             {" \n", "the report is empty"},
		"broken JSON":              {`{"data":[}`, "page 1: byte 10"},
		"half a page":              {`{"data":[`, "page 1: ends in the middle"},
		"an object of something":   {`{"a":1}`, "page 1: has no data; accepted: pages of a usage or cost report"},
		"an array of numbers":      {`[1]`, "page 1: is JSON of the kind number"},
		"a second page broken":     {page() + `{"data":1}`, "page 2: data: is JSON of the kind number"},
		"rows of something else":   {page(`{"id":"user_1","email":"a@example.com"}`), "page 1: data[0]: has neither usage nor cost"},
		"Claude Code's report":     {page(`{"date":"2026-10-01T00:00:00Z","actor":{"type":"user_actor","email_address":"a@example.com"},"core_metrics":{"num_sessions":5},"model_breakdown":[{"model":"m","estimated_cost":{"currency":"USD","amount":186}}]}`), "page 1: data[0]: is a row of the report of Claude Code's productivity, whose costs are estimates and not what is billed"},
		"an adoption report":       {page(`{"user":{"id":"u"},"claude_code_metrics":{"core_metrics":{"commit_count":0}}}`), "has neither usage nor cost"},
		"a count below zero":       {page(usageRow(`"output_tokens":2`, `"output_tokens":-2`)), "page 1: data[0]: output: -2; accepted: a whole number from 0 on"},
		"a count that is none":     {page(usageRow(`"output_tokens":2`, `"output_tokens":"2"`)), "page 1: data[0]: usage.output_tokens: is JSON of the kind string"},
		"half a token":             {page(usageRow(`"output_tokens":2`, `"output_tokens":2.5`)), "usage.output_tokens: is JSON of the kind number 2.5"},
		"no output":                {page(usageRow(`"output_tokens":2,`, ``)), "page 1: data[0]: output_tokens is missing"},
		"no cache writes":          {page(usageRow(`"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},`, ``)), "cache_creation is missing"},
		"no searches":              {page(usageRow(`,"server_tool_use":{"web_search_requests":0}`, ``)), "server_tool_use is missing"},
		"an end before the start":  {page(usageRow("2026-10-02", "2026-10-01")), "ending_at: accepted: a time after starting_at"},
		"a bucket without start":   {page(`{"results":[]}`), "starting_at is missing"},
		"a bucket without end":     {page(`{"starting_at":"2026-10-01T00:00:00Z","results":[]}`), "ending_at: accepted"},
		"rows by group of members": {page(usageRow(`"model":"m"`, `"rbac_group_id":"rbac_group_1"`)), "rbac_group_id: the rows of groups overlap"},
		"usage and cost":           {page(usageRow(), cost), "page 1: data[1]: is a row of cost in a report of quantity"},
		"two currencies":           {page(cost, strings.ReplaceAll(cost, "USD", "EUR")), "currency: EUR in a report in USD"},
		"no currency":              {page(strings.ReplaceAll(cost, "USD", "")), `currency "" is not one of`},
		"an amount of words":       {page(strings.ReplaceAll(cost, `"2"`, `"1e3"`)), `list_amount: "1e3"; accepted: a number like 1234.56`},
		"a bucket twice":           {page(bucket) + page(bucket), "page 2: data[0]: the bucket from 2026-10-01T00:00:00Z stands in the file already"},
		"a row twice":              {page(usageRow()) + page(usageRow()), "page 2: data[0]: stands in the file already"},
		"a page twice":             {strings.Repeat(`{"data":[],"has_more":true,"next_page":"p"}`, 2), `page 2: next_page: "p" stands on an earlier page, too`},
		"totals beside tokens":     {page(cost, strings.ReplaceAll(cost, `"model":"m"`, `"cost_type":"tokens"`)), "some rows are broken down by cost_type or token_type and others are not"},
		"another table":            {"a,b\n1,2\n", `line 1: "a,b" are the columns of no report; accepted: JSON of the vendor's API, or CSV of the Console's usage (usage_date_utc,`},
		"a CSV row too short":      {consoleHeader + "2026-10-01,m\n", "line 2: has another number of fields"},
		"a quote in CSV":           {consoleHeader + "2026-10-01,m\"m,k,w,standard,,1,0,0,0,1,0\n", "line 2: column 13"},
		"a day in CSV":             {consoleHeader + "01.10.2026,m,k,w,standard,,1,0,0,0,1,0\n", `line 2: usage_date_utc: "01.10.2026"; accepted: a day like 2026-10-01`},
		"a count in CSV":           {consoleHeader + "2026-10-01,m,k,w,standard,,1,0,0,0,1,0\n2026-10-01,m,k,w,standard,,x,0,0,0,1,0\n", `line 3: usage_input_tokens_no_cache: "x"; accepted: a whole number from 0 on`},
		"an amount in CSV":         {costHeader + "2026-10-01,m,w,k,message,,output,\"1,50\",token\n", `line 2: cost_usd: "1,50"; accepted: a number like 1234.56`},
		"no class in CSV":          {costHeader + "2026-10-01,m,w,k,message,,,1.50,\n", "line 2: token_type and cost_type are empty"},
		"a missing column in CSV":  {"usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens\n2026-10-01,m,1,2\n", "line 2: usage_input_tokens_cache_write_5m: \"\"; accepted: a whole number from 0 on"},
		"an export twice":          {consoleHeader + consoleHeader, "line 2: usage_input_tokens_no_cache"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := vendorreport.Parse(strings.NewReader(c.text))
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestAReportSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	parse := func(text string) *billing.UsageReport {
		report, err := vendorreport.Parse(strings.NewReader(text))
		require.NoError(t, err)
		return report
	}
	var rows []string
	for i := range 100 {
		rows = append(rows, `{"amount":"1","list_amount":"1","currency":"USD","model":"m`+fmt.Sprint(i)+`"}`)
	}
	full := `{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","results":[` + strings.Join(rows, ",") + `]}`
	require.Contains(t, parse(page(full)).Warnings[0], "A bucket has 100 rows", "the vendor cuts them there")
	require.Empty(t, parse(page(strings.Replace(full, rows[0]+",", "", 1))).Warnings)

	week := parse(page(strings.Replace(full, "2026-10-02", "2026-10-08", 1)))
	require.False(t, week.ByDay, "a bucket of seven days says nothing of days")
	require.True(t, week.Rows[0].Day.IsZero())

	mixed := parse(page(usageRow(), usageRow("2026-10-02", "2026-10-08")))
	require.False(t, mixed.ByDay)
	require.True(t, mixed.Rows[0].Day.IsZero(), "one row of a week makes all be compared without days")
	require.Equal(t, []billing.Period{{Start: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 10, 8, 0, 0, 0, 0, time.UTC)}}, mixed.Spans)

	empty := parse(page(`{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","results":[]}`))
	require.True(t, empty.ByDay)
	require.Len(t, empty.Spans, 1)
	require.Equal(t, "input", empty.Classes[billing.Input], "nothing was used: all that is stored differs")

	more := strings.Replace(page(usageRow()), `"has_more":false`, `"has_more":true`, 1)
	require.Contains(t, parse(more).Warnings[0], "has_more is true on each of its pages")
	require.Empty(t, parse(more+page()).Warnings, "the last page is there")

	byType := func(tokenType string) string {
		return `{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","group":{"cost_type":"tokens","token_type":` + tokenType + `},"cost":{"list_amount":"1","currency":"USD"}}`
	}
	require.Equal(t, [billing.NumClasses]string{"input", "output", "cache_write_5m", "cache_write_1h", "cache_read", "", ""},
		parse(page(byType(`"output_tokens"`))).Classes, "by token_type alone there are no tools")
	require.Equal(t, [billing.NumClasses]string{"tokens", "tokens", "tokens", "tokens", "tokens", "web_search", "code_execution"},
		parse(page(byType("null"))).Classes, "by cost_type there are")
	require.JSONEq(t, `["cache_creation.ephemeral_9h_input_tokens"]`, asJSON(parse(page(byType(`"cache_creation.ephemeral_9h_input_tokens"`)))), "a class of the future is kept")
}

// asJSON lists the classes of a report's values.
func asJSON(r *billing.UsageReport) string {
	var classes []string
	for _, row := range r.Rows {
		for _, value := range row.Values {
			classes = append(classes, value.Class)
		}
	}
	text, _ := json.Marshal(classes)
	return string(text)
}
