package otlp_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/arrears-dev/arrears/internal/otlp"
)

const most = 1000

// recorded is a recorded export and its content type.
func recorded(t *testing.T, name string) (body []byte, contentType string) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	if strings.HasSuffix(name, ".json") {
		return body, otlp.JSON
	}
	return body, otlp.Protobuf
}

// told is a request as the test tables have it.
type told struct {
	id, model, cost                 string
	input, output, write5m, write1h int64 // write5m -1 = the division is not told; then write1h is the total
	read                            int64
}

func tell(t *testing.T, r *otlp.Request) told {
	t.Helper()
	require.Nil(t, r.Problem)
	var e struct {
		ID, Model string
		Usage     struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
			Read   int64 `json:"cache_read_input_tokens"`
			Writes int64 `json:"cache_creation_input_tokens"`
			Split  *struct {
				Write5m int64 `json:"ephemeral_5m_input_tokens"`
				Write1h int64 `json:"ephemeral_1h_input_tokens"`
			} `json:"cache_creation"`
		}
	}
	require.NoError(t, json.Unmarshal(r.Event("acme", ""), &e))
	seen := told{
		id: e.ID, model: e.Model, cost: r.StatedCost.Decimal.String(), input: e.Usage.Input, output: e.Usage.Output, read: e.Usage.Read,
		write5m: -1, write1h: e.Usage.Writes,
	}
	if e.Usage.Split != nil {
		require.Equal(t, e.Usage.Writes, e.Usage.Split.Write5m+e.Usage.Split.Write1h)
		seen.write5m, seen.write1h = e.Usage.Split.Write5m, e.Usage.Split.Write1h
	}
	return seen
}

func TestRecordedExportsAreReadAsTheAPIAnswered(t *testing.T) {
	t.Parallel()
	const first, second = "req_011CBBBBBBBBBBBBBBBBBBB0", "req_011CBBBBBBBBBBBBBBBBBBB1"
	const digest = "record_"
	for name, c := range map[string]struct {
		others   int
		requests []told
	}{
		"claude-code-1.0.60.json": {2, []told{
			{digest, "claude-sonnet-4-20250514", "0.069867", 4, 44, -1, 18_452, 0},
			{digest, "claude-3-5-haiku-20241022", "0.00316096", 6, 119, -1, 1204, 18_452},
			{digest, "claude-sonnet-4-20250514", "0.007236299999999999", 9, 10, -1, 310, 19_656},
		}},
		"claude-code-1.0.60.binpb": {2, []told{
			{digest, "claude-sonnet-4-20250514", "0.069867", 4, 44, -1, 18_452, 0},
			{digest, "claude-3-5-haiku-20241022", "0.00316096", 6, 119, -1, 1204, 18_452},
			{digest, "claude-sonnet-4-20250514", "0.007236299999999999", 9, 10, -1, 310, 19_656},
		}},
		"claude-code-2.0.76.json": {2, []told{
			{digest, "claude-sonnet-4-5", "0.069852", 4, 43, -1, 18_452, 0},
			{digest, "claude-haiku-4-5-20251001", "0.0039462", 6, 118, -1, 1204, 18_452},
			{digest, "claude-sonnet-4-5-20250929", "0.0072213", 9, 9, -1, 310, 19_656},
			{digest, "claude-haiku-4-5-20251001", "0.00223885", 11, 27, -1, 77, 19_966},
			{digest, "claude-sonnet-4-5", "0.069852", 4, 43, -1, 18_452, 0},
		}},
		"claude-code-2.1.240.json": {4, []told{
			{first, "claude-sonnet-4-5", "0.0906105", 4, 43, -1, 18_452, 0},
			{second, "claude-sonnet-4-5", "0.0131931", 6, 118, -1, 1204, 18_452},
		}},
		"claude-code-2.1.240.binpb": {4, []told{
			{first, "claude-opus-4-5", "0.1510175", 4, 43, -1, 18_452, 0},
			{second, "claude-opus-4-5", "0.0219885", 6, 118, -1, 1204, 18_452},
		}},
		"claude-code-2.1.332.json": {8, []told{
			{first, "claude-sonnet-4-5", "0.0906105", 4, 43, 9226, 9226, 0},
			{second, "claude-sonnet-4-5", "0.0131931", 6, 118, 602, 602, 18_452},
		}},
		"claude-code-2.1.332.binpb": {8, []told{
			{first, "claude-opus-4-5", "0.1510175", 4, 43, 9226, 9226, 0},
			{second, "claude-opus-4-5", "0.0219885", 6, 118, 602, 602, 18_452},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, contentType := recorded(t, name)
			export, err := otlp.Read(body, contentType, most)
			require.NoError(t, err)
			require.Equal(t, c.others, export.Others)
			require.Zero(t, export.GenAI)
			require.Len(t, export.Requests, len(c.requests))
			ids := map[string]bool{}
			for i := range export.Requests {
				r := &export.Requests[i]
				ids[r.ID] = true
				seen := tell(t, r)
				if c.requests[i].id == digest {
					require.Regexp(t, "^record_[0-9a-f]{64}$", seen.id)
					seen.id = digest
				}
				require.Equal(t, c.requests[i], seen)
				require.Equal(t, "claude_code", r.Product)
				require.Empty(t, r.Speed, "normal is standard")
				require.Regexp(t, "^[0-9a-f-]{36}$", r.SessionID)
				require.Equal(t, "2026-11-29", r.OccurredAt.Format(time.DateOnly))
			}
			require.Len(t, ids, len(c.requests), "each request has an id of its own")
		})
	}
}

func TestAResourceNamesOrganizationAndUser(t *testing.T) {
	t.Parallel()
	body, contentType := recorded(t, "claude-code-2.1.332.binpb")
	export, err := otlp.Read(body, contentType, most)
	require.NoError(t, err)
	for _, r := range export.Requests {
		require.Equal(t, "acme", r.Organization)
		require.Equal(t, "alice", r.User)
	}
	body, contentType = recorded(t, "claude-code-2.1.332.json")
	export, err = otlp.Read(body, contentType, most)
	require.NoError(t, err)
	require.Empty(t, export.Requests[0].Organization+export.Requests[0].User+export.Requests[0].Account)
}

// reencoded is a JSON export in both encodings, as OpenTelemetry's own modules
// write them.
func reencoded(t *testing.T, text string) (asJSON, asProtobuf []byte) {
	t.Helper()
	var message collector.ExportLogsServiceRequest
	require.NoError(t, protojson.Unmarshal([]byte(text), &message))
	asProtobuf, err := proto.Marshal(&message)
	require.NoError(t, err)
	return []byte(text), asProtobuf
}

// exporting is an export with one record; attributes are NAME=VALUE, where VALUE is
// the value in OTLP's JSON.
func exporting(resource, record string, attributes ...string) string {
	list := func(attributes []string) string {
		var b []string
		for _, a := range attributes {
			name, value, _ := strings.Cut(a, "=")
			b = append(b, `{"key":"`+name+`","value":`+value+`}`)
		}
		return "[" + strings.Join(b, ",") + "]"
	}
	var of []string
	if resource != "" {
		of = strings.Split(resource, ";")
	}
	return `{"resourceLogs":[{"resource":{"attributes":` + list(of) + `},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{` +
		record + `"attributes":` + list(attributes) + `}]}]}]}`
}

const named = `"body":{"stringValue":"claude_code.api_request"},"timeUnixNano":"1795940193398000000",`

func TestWhatARecordSays(t *testing.T) {
	t.Parallel()
	str := func(s string) string { return `{"stringValue":"` + s + `"}` }
	base := []string{`model={"stringValue":"m"}`, `input_tokens={"intValue":"4"}`, `output_tokens={"intValue":"5"}`}
	with := func(more ...string) []string { return append(append([]string{}, base...), more...) }
	const session, at = "7f75f6fa-57f2-4556-9d52-24bf833571fd", "2026-11-29T08:16:33.398Z"
	for name, c := range map[string]struct {
		resource   string
		record     string
		attributes []string
		want       string // the usage event; "" = a problem
		problem    string
	}{
		"the request's id": {
			record: named, attributes: with("request_id=" + str("req_1")),
			want: `{"id":"req_1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5}}`,
		},
		"else session, sequence and time, since a resumed session counts from 0 again": {
			record: named, attributes: with("session.id="+str(session), `event.sequence={"intValue":"6"}`),
			want: `{"id":"` + session + `/6/` + at + `","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5},"labels":{"session_id":"` + session + `"}}`,
		},
		"numbers in any form": {
			record: named, attributes: []string{`request_id=` + str("1"), `model=` + str("m"), `input_tokens=` + str("4"), `output_tokens={"doubleValue":5}`, `cache_read_tokens={"intValue":6}`},
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5,"cache_read_input_tokens":6}}`,
		},
		"fast, and another product": {
			resource: `arrears.product=` + str("ide"), record: named, attributes: with("request_id="+str("1"), "speed="+str("fast")),
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"ide","model":"m","usage":{"input_tokens":4,"output_tokens":5},"speed":"fast"}`,
		},
		"the event's own time": {
			record: named, attributes: with("request_id="+str("1"), "event.timestamp="+str("2026-10-01T02:00:00.25+02:00")),
			want: `{"id":"1","organization":"acme","occurred_at":"2026-10-01T00:00:00.25Z","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5}}`,
		},
		"the time at which it was observed, without any other": {
			record: `"body":{"stringValue":"claude_code.api_request"},"observedTimeUnixNano":"1795940193398000000",`, attributes: with("request_id=" + str("1")),
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5}}`,
		},
		"named by the data model's own field": {
			record: `"eventName":"claude_code.api_request","timeUnixNano":"1795940193398000000",`, attributes: with("request_id=" + str("1")),
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5}}`,
		},
		"trace ids in hexadecimal, which is no base64": {
			record: named + `"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174",`, attributes: with("request_id=" + str("1")),
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5}}`,
		},
		"nothing of the counts": { // which the event's reader refuses by name
			record: named, attributes: []string{"request_id=" + str("1")},
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","usage":{}}`,
		},
		"a division that is all 0 is none": {
			record: named, attributes: with("request_id="+str("1"), `cache_creation_tokens={"intValue":7}`, `cache_creation_5m_tokens={"intValue":0}`, `cache_creation_1h_tokens={"intValue":0}`),
			want: `{"id":"1","organization":"acme","occurred_at":"` + at + `","product":"claude_code","model":"m","usage":{"input_tokens":4,"output_tokens":5,"cache_creation_input_tokens":7}}`,
		},
		"no time at all":      {record: `"body":{"stringValue":"claude_code.api_request"},`, attributes: with("request_id=" + str("1")), problem: "event.timestamp: is required"},
		"a time that is none": {record: named, attributes: with("event.timestamp=" + str("today")), problem: `event.timestamp: is "today"; accepted`},
		"a count below zero":  {record: named, attributes: with(`cache_read_tokens={"intValue":"-1"}`), problem: `cache_read_tokens: is "-1"; accepted: a whole number`},
		"half a token":        {record: named, attributes: with(`cache_read_tokens={"doubleValue":0.5}`), problem: `cache_read_tokens: is "0.5"`},
		"a count in words":    {record: named, attributes: with("cache_read_tokens=" + str("many")), problem: `cache_read_tokens: is "many"`},
		"more than there is":  {record: named, attributes: with("cache_read_tokens=" + str("99999999999999999999")), problem: "cache_read_tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asJSON, asProtobuf := reencoded(t, exporting(c.resource, c.record, c.attributes...))
			for contentType, body := range map[string][]byte{otlp.JSON: asJSON, otlp.Protobuf: asProtobuf} {
				export, err := otlp.Read(body, contentType, most)
				require.NoError(t, err, contentType)
				require.Len(t, export.Requests, 1, contentType)
				r := &export.Requests[0]
				if c.want == "" {
					require.NotNil(t, r.Problem, contentType)
					require.Contains(t, r.Problem.Field+": "+r.Problem.Reason, c.problem)
					continue
				}
				require.Nil(t, r.Problem, contentType)
				require.JSONEq(t, c.want, string(r.Event("acme", "")))
			}
		})
	}
}

func TestWhoReportsARequest(t *testing.T) {
	t.Parallel()
	const email, account = `user.email={"stringValue":"alice@acme.example"}`, `user.account_uuid={"stringValue":"0f"}`
	for _, c := range []struct {
		resource string
		own      []string
		want     string
	}{
		{"", nil, ""},
		{"", []string{account}, "0f"},
		{"", []string{account, email}, "alice@acme.example"},
		{email, nil, "alice@acme.example"},
		{email, []string{account}, "0f"}, // the record is nearer than the resource
	} {
		export, err := otlp.Read([]byte(exporting(c.resource, named, c.own...)), otlp.JSON, most)
		require.NoError(t, err)
		require.Equal(t, c.want, export.Requests[0].Account)
	}
}

func TestARequestThatIsExportedAgainHasTheSameID(t *testing.T) {
	t.Parallel()
	id := func(more ...string) string {
		attributes := append([]string{`user.id={"stringValue":"u"}`, `model={"stringValue":"m"}`, `duration_ms={"stringValue":"40"}`}, more...)
		export, err := otlp.Read([]byte(exporting("", named, attributes...)), otlp.JSON, most)
		require.NoError(t, err)
		return export.Requests[0].ID
	}
	require.Equal(t, id(), id(`collector={"stringValue":"added on the way"}`))
	for _, other := range []string{`session.id={"stringValue":"s"}`, `input_tokens={"stringValue":"1"}`, `cost_usd={"stringValue":"0.1"}`, `event.timestamp={"stringValue":"2026-11-29T08:16:33.399Z"}`} {
		require.NotEqual(t, id(), id(other), other)
	}
}

func TestStatedCosts(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`{"doubleValue":0.11136900000000001}`: "0.11136900000000001",
		`{"stringValue":"0.069852"}`:          "0.069852",
		`{"doubleValue":1e-7}`:                "0.0000001",
		`{"intValue":"2"}`:                    "2",
		`{"intValue":"0"}`:                    "", // its price is not known
		`{"doubleValue":-1}`:                  "",
		`{"doubleValue":"NaN"}`:               "",
		`{"doubleValue":"Infinity"}`:          "",
		`{"stringValue":"1e999999999"}`:       "",
		`{"stringValue":"1e-999999999"}`:      "",
		`{"stringValue":"1e-100"}`:            "",
		`{"stringValue":"1e100"}`:             "",
		`{"stringValue":"free"}`:              "",
		`{}`:                                  "",
	} {
		export, err := otlp.Read([]byte(exporting("", named, "cost_usd="+value)), otlp.JSON, most)
		require.NoError(t, err)
		cost := export.Requests[0].StatedCost
		require.Equal(t, want != "", cost.Valid, value)
		if want != "" {
			require.Equal(t, want, cost.Decimal.String())
		}
	}
}

func TestOtherRecordsAreLeftAlone(t *testing.T) {
	t.Parallel()
	const tokens = `gen_ai.usage.input_tokens={"intValue":"100"}`
	for name, c := range map[string]struct {
		record        string
		attributes    []string
		others, genAI int
	}{
		"another event of Claude Code":   {`"body":{"stringValue":"claude_code.tool_result"},`, nil, 1, 0},
		"the body of a request":          {`"body":{"stringValue":"claude_code.api_request_body"},`, nil, 1, 0},
		"somebody else's api_request":    {"", []string{`event.name={"stringValue":"api_request"}`, `input_tokens={"intValue":"1"}`}, 1, 0},
		"a line of a log":                {`"body":{"stringValue":"hello"},"severityNumber":9,`, nil, 1, 0},
		"a structured body":              {`"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"}]}}}]}},`, nil, 1, 0},
		"nothing":                        {"", nil, 1, 0},
		"GenAI by its name":              {`"eventName":"gen_ai.client.inference.operation.details",`, nil, 0, 1},
		"GenAI by the attribute":         {"", []string{`event.name={"stringValue":"gen_ai.choice"}`}, 0, 1},
		"GenAI by what it counts":        {`"body":{"stringValue":"chat"},`, []string{tokens}, 0, 1},
		"GenAI without any tokens in it": {"", []string{`gen_ai.system={"stringValue":"anthropic"}`}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asJSON, asProtobuf := reencoded(t, exporting("", c.record, c.attributes...))
			for contentType, body := range map[string][]byte{otlp.JSON: asJSON, otlp.Protobuf: asProtobuf} {
				export, err := otlp.Read(body, contentType, most)
				require.NoError(t, err)
				require.Empty(t, export.Requests)
				require.Equal(t, []int{c.others, c.genAI}, []int{export.Others, export.GenAI}, contentType)
			}
		})
	}
}

func TestExportsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	body, _ := recorded(t, "claude-code-2.1.240.binpb")
	text, _ := recorded(t, "claude-code-2.1.240.json")
	for name, c := range map[string]struct {
		body        []byte
		contentType string
	}{
		"protobuf that ends early":        {body[:len(body)/2], otlp.Protobuf},
		"protobuf that ends a byte early": {body[:len(body)-1], otlp.Protobuf},
		"JSON as protobuf":                {text, otlp.Protobuf},
		"protobuf as JSON":                {body, otlp.JSON},
		"JSON that ends early":            {text[:len(text)/2], otlp.JSON},
		"an array":                        {[]byte("[]"), otlp.JSON},
		"null":                            {[]byte("null"), otlp.JSON},
		"no JSON at all":                  {nil, otlp.JSON},
		"two objects":                     {[]byte("{} {}"), otlp.JSON},
		"resources that are numbers":      {[]byte(`{"resourceLogs":[1]}`), otlp.JSON},
		"records there twice":             {[]byte(`{"resourceLogs":[],"resourceLogs":[]}`), otlp.JSON},
	} {
		_, err := otlp.Read(c.body, c.contentType, most)
		require.Error(t, err, name)
	}
	for _, empty := range []struct{ text, contentType string }{{"", otlp.Protobuf}, {"{}", otlp.JSON}, {`{"resourceLogs":null,"more":[1]}`, otlp.JSON}} {
		export, err := otlp.Read([]byte(empty.text), empty.contentType, most)
		require.NoError(t, err)
		require.Zero(t, export)
	}
}

func TestOneBadRecordCostsOnlyItself(t *testing.T) {
	t.Parallel()
	good := `{` + named + `"attributes":[]}`
	for name, bad := range map[string]string{
		"a number that is none": `{"body":{"stringValue":"claude_code.api_request"},"attributes":[{"key":"input_tokens","value":{"intValue":"x"}}]}`,
		"no object":             `17`,
		"too many values":       `{"attributes":[` + strings.Repeat(`{},`, 3000) + `{}]}`,
	} {
		export, err := otlp.Read([]byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[`+good+`,`+bad+`,`+good+`]}]}]}`), otlp.JSON, most)
		require.NoError(t, err, name)
		require.Len(t, export.Requests, 3, name)
		require.NotNil(t, export.Requests[1].Problem, name)
		require.Less(t, len(export.Requests[1].Problem.Reason), 300)
		require.Nil(t, export.Requests[2].Problem, name)
	}
}

func TestARequestIsFoundWhereverItsResourceStands(t *testing.T) {
	t.Parallel()
	export, err := otlp.Read([]byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{`+named+`"attributes":[]}]}],
		"resource":{"attributes":[{"key":"arrears.user","value":{"stringValue":"alice"}}]}}]}`), otlp.JSON, most)
	require.NoError(t, err)
	require.Equal(t, "alice", export.Requests[0].User)
}

func TestMoreRecordsThanAreTakenAtOnce(t *testing.T) {
	t.Parallel()
	text := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + strings.Repeat(`{},`, most-1) + `{}]}]}]}`
	asJSON, asProtobuf := reencoded(t, text)
	for contentType, body := range map[string][]byte{otlp.JSON: asJSON, otlp.Protobuf: asProtobuf} {
		export, err := otlp.Read(body, contentType, most)
		require.NoError(t, err)
		require.Equal(t, most, export.Others)
		_, err = otlp.Read(body, contentType, most-1)
		require.ErrorIs(t, err, otlp.ErrTooMany, contentType)
	}
}
