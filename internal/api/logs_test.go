package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/otlp"
)

// attribute is an attribute of text in OTLP's JSON.
func attribute(name, value string) string {
	return fmt.Sprintf(`{"key":%q,"value":{"stringValue":%q}}`, name, value)
}

// requestRecord is a record of a request to the API.
func requestRecord(id string, more ...string) string {
	attributes := append([]string{
		attribute("request_id", id), attribute("event.timestamp", "2026-10-01T00:00:00Z"), attribute("model", "m"),
		attribute("input_tokens", "1"), attribute("output_tokens", "1"),
	}, more...)
	return `{"body":{"stringValue":"claude_code.api_request"},"attributes":[` + strings.Join(attributes, ",") + `]}`
}

// exportOf is an export of records, of a resource that names an organisation and a
// user, where these are not "".
func exportOf(organization, user string, records ...string) string {
	var resource []string
	if organization != "" {
		resource = append(resource, attribute("arrears.organization", organization))
	}
	if user != "" {
		resource = append(resource, attribute("arrears.user", user))
	}
	return `{"resourceLogs":[{"resource":{"attributes":[` + strings.Join(resource, ",") + `]},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[` +
		strings.Join(records, ",") + `]}]}]}`
}

// inProtobuf is an export in the binary encoding.
func inProtobuf(t *testing.T, text string) string {
	t.Helper()
	var message collector.ExportLogsServiceRequest
	require.NoError(t, protojson.Unmarshal([]byte(text), &message))
	body, err := proto.Marshal(&message)
	require.NoError(t, err)
	return string(body)
}

// partial is the answer to an export: how many records were not taken, and why.
func partial(t *testing.T, header http.Header, body string) (refused int64, why string) {
	t.Helper()
	var answer collector.ExportLogsServiceResponse
	if header.Get("Content-Type") == otlp.JSON {
		require.NoError(t, protojson.Unmarshal([]byte(body), &answer))
	} else {
		require.Equal(t, otlp.Protobuf, header.Get("Content-Type"))
		require.NoError(t, proto.Unmarshal([]byte(body), &answer))
	}
	return answer.GetPartialSuccess().GetRejectedLogRecords(), answer.GetPartialSuccess().GetErrorMessage()
}

func TestAnExportIsAnsweredInItsOwnEncoding(t *testing.T) {
	t.Parallel()
	text := exportOf("acme", "alice", requestRecord("1"), requestRecord("2"), `{"body":{"stringValue":"claude_code.tool_result"}}`)
	for name, r := range map[string]request{
		"JSON":              {contentType: "application/json; charset=utf-8", body: text},
		"JSON, gzipped":     {contentType: otlp.JSON, encoding: "gzip", body: gzipped(text)},
		"protobuf":          {contentType: otlp.Protobuf, body: inProtobuf(t, text)},
		"protobuf, gzipped": {contentType: otlp.Protobuf, encoding: "gzip", body: gzipped(inProtobuf(t, text))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			r.method, r.path, r.key = http.MethodPost, "/v1/logs", store.made("", ScopeUsageWrite)
			for range 2 { // sent again it is a duplicate, which is success
				status, header, body := send(t, server, r)
				require.Equal(t, http.StatusOK, status, body)
				refused, why := partial(t, header, body)
				require.Zero(t, refused)
				require.Empty(t, why)
			}
			require.Equal(t, []string{"acme 2", "acme 2"}, store.calls)
			for _, e := range store.stored {
				require.Equal(t, billing.SourceOTLP, e.Source)
				require.Equal(t, "alice", e.Event.User)
				require.Equal(t, "claude_code", e.Event.Product)
				require.JSONEq(t, fmt.Sprintf(`{"id":%q,"organization":"acme","user":"alice","occurred_at":"2026-10-01T00:00:00Z","product":"claude_code",
					"model":"m","usage":{"input_tokens":1,"output_tokens":1}}`, e.Event.ID), string(e.Raw), "what is kept while it is parked")
			}
		})
	}
}

func TestWhoseRequestsAnExportReports(t *testing.T) {
	t.Parallel()
	mail := attribute("user.email", "alice@acme.example")
	for name, c := range map[string]struct {
		keyOf, member      string // of the key
		organization, user string // of the resource
		record             string
		wantUser           string
		refused            string
	}{
		"the member of the key":                           {"acme", "alice", "", "", requestRecord("1"), "alice", ""},
		"the member of the key, whoever is signed in":     {"acme", "alice", "", "", requestRecord("1", mail), "alice", ""},
		"the member of the key, named as well":            {"acme", "alice", "acme", "alice", requestRecord("1"), "alice", ""},
		"somebody else than the member of the key":        {"acme", "alice", "", "bob", requestRecord("1"), "", `1: user: is not the member of the key; accepted: "alice", or none`},
		"a user of a collector":                           {"", "", "acme", "bob", requestRecord("1", mail), "bob", ""},
		"whoever is signed in":                            {"acme", "", "", "", requestRecord("1", mail), "alice@acme.example", ""},
		"a service":                                       {"acme", "", "", "", requestRecord("1"), "", ""},
		"no organization":                                 {"", "", "", "alice", requestRecord("1"), "", "1: arrears.organization: is required of the resource"},
		"another organization than the key's":             {"acme", "", "globex", "", requestRecord("1"), "", `arrears.organization: is "globex", and the key opens "acme"`},
		"an organization that does not exist":             {"", "", "nobody", "", requestRecord("1"), "", `1: organization: "nobody" does not exist`},
		"an organization that cannot exist":               {"", "", "No Body", "", requestRecord("1"), "", `organization: is "No Body"; accepted`},
		"a record that lacks something":                   {"acme", "", "", "", `{"body":{"stringValue":"claude_code.api_request"},"timeUnixNano":"1795940193398000000"}`, "", "model: is required"},
		"a record that lacks its time":                    {"acme", "", "", "", `{"body":{"stringValue":"claude_code.api_request"}}`, "", "event.timestamp: is required"},
		"an account that no event may have as its user":   {"acme", "", "", "", requestRecord("1", attribute("user.email", strings.Repeat("a", 300))), "", "user: has 300 bytes"},
		"the member of the key for one that no event has": {"acme", "alice", "", "", requestRecord("1", attribute("user.email", strings.Repeat("a", 300))), "alice", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			status, header, body := send(t, server, request{
				method: http.MethodPost, path: "/v1/logs", key: store.madeFor(c.keyOf, c.member, ScopeUsageWrite),
				contentType: otlp.JSON, body: exportOf(c.organization, c.user, c.record),
			})
			require.Equal(t, http.StatusOK, status, body)
			refused, why := partial(t, header, body)
			if c.refused != "" {
				require.EqualValues(t, 1, refused)
				require.Contains(t, why, c.refused)
				require.Empty(t, store.stored)
				return
			}
			require.Zero(t, refused, why)
			require.Len(t, store.stored, 1)
			require.Equal(t, c.wantUser, store.stored[0].Event.User)
			require.Equal(t, "acme", store.stored[0].Event.Organization)
		})
	}
}

func TestPartialSuccesses(t *testing.T) {
	t.Parallel()
	genAI := `{"attributes":[` + attribute("gen_ai.usage.input_tokens", "900") + `]}`
	bad := func(n int) (records []string) {
		for i := range n {
			records = append(records, requestRecord(fmt.Sprint("bad", i), attribute("cache_read_tokens", "x")))
		}
		return records
	}
	for name, c := range map[string]struct {
		records []string
		refused int64
		stored  int
		says    []string
	}{
		"one of three":                   {append(bad(1), requestRecord("1"), requestRecord("2")), 1, 2, []string{`bad0: cache_read_tokens: is "x"`}},
		"more than are named":            {bad(7), 7, 0, []string{"bad0", "bad4", "and 2 more"}},
		"GenAI, as a warning":            {[]string{genAI, requestRecord("1"), genAI}, 0, 1, []string{"2 records of the GenAI conventions are not billed"}},
		"parked for want of a price":     {[]string{strings.Replace(requestRecord("1"), `"stringValue":"m"`, `"stringValue":"unpriced"`, 1)}, 0, 1, nil},
		"a conflict is no success":       {[]string{requestRecord("conflict")}, 1, 1, []string{"conflict: id: another"}},
		"nothing of what is billed here": {[]string{`{}`, `{"body":{"stringValue":"hello"}}`}, 0, 0, nil},
		"no record":                      {nil, 0, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			status, header, body := send(t, server, request{
				method: http.MethodPost, path: "/v1/logs", key: key, contentType: otlp.JSON, body: exportOf("acme", "", c.records...),
			})
			require.Equal(t, http.StatusOK, status, body)
			refused, why := partial(t, header, body)
			require.Equal(t, c.refused, refused, why)
			require.Len(t, store.stored, c.stored)
			for _, part := range c.says {
				require.Contains(t, why, part)
			}
			require.NotContains(t, why, "bad5")
			require.Equal(t, len(c.says) == 0, why == "", why)
		})
	}
}

// statusOf is the message of an error as OTLP has it.
func statusOf(t *testing.T, header http.Header, body string) string {
	t.Helper()
	var answer rpc.Status
	if header.Get("Content-Type") == otlp.Protobuf {
		require.NoError(t, proto.Unmarshal([]byte(body), &answer))
	} else {
		require.Equal(t, otlp.JSON, header.Get("Content-Type"))
		require.NoError(t, protojson.Unmarshal([]byte(body), &answer))
	}
	return answer.GetMessage()
}

func TestExportsThatAreRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	recorded, err := os.ReadFile("../otlp/testdata/claude-code-2.1.240.binpb")
	require.NoError(t, err)
	export := exportOf("acme", "", requestRecord("1"))
	for name, c := range map[string]struct {
		request
		status int
		says   string
	}{
		"no key":                          {request{contentType: otlp.JSON, body: export, key: "-"}, http.StatusUnauthorized, "Bearer"},
		"no key, in protobuf":             {request{contentType: otlp.Protobuf, key: "-"}, http.StatusUnauthorized, "Bearer"},
		"another key":                     {request{contentType: otlp.JSON, body: export, key: "wrong"}, http.StatusUnauthorized, "Bearer"},
		"no content type":                 {request{body: export}, http.StatusUnsupportedMediaType, "Content-Type: accepted: application/x-protobuf or application/json"},
		"usage events":                    {request{contentType: ndjson, body: line("1", "acme")}, http.StatusUnsupportedMediaType, "application/x-protobuf"},
		"another content type of the SDK": {request{contentType: "application/grpc", body: export}, http.StatusUnsupportedMediaType, "application/x-protobuf"},
		"an unknown packing":              {request{contentType: otlp.JSON, encoding: "br", body: export}, http.StatusUnsupportedMediaType, "gzip"},
		"too large":                       {request{contentType: otlp.JSON, body: exportOf("acme", "", strings.Split(strings.Repeat(requestRecord("1")+" ", 20), " ")[:20]...)}, http.StatusRequestEntityTooLarge, "4096 bytes"},
		"a bomb":                          {request{contentType: otlp.Protobuf, encoding: "gzip", body: gzipped(strings.Repeat(" ", 1<<20))}, http.StatusRequestEntityTooLarge, "4096 bytes"},
		"not gzipped":                     {request{contentType: otlp.JSON, encoding: "gzip", body: export}, http.StatusBadRequest, "cannot be read"},
		"torn gzip":                       {request{contentType: otlp.JSON, encoding: "gzip", body: gzipped(export)[:60]}, http.StatusBadRequest, "cannot be read"},
		"torn protobuf":                   {request{contentType: otlp.Protobuf, body: string(recorded[:len(recorded)-9])}, http.StatusBadRequest, "no export of log records"},
		"protobuf as JSON":                {request{contentType: otlp.JSON, body: string(recorded)}, http.StatusBadRequest, "no export of log records"},
		"JSON as protobuf":                {request{contentType: otlp.Protobuf, body: export}, http.StatusBadRequest, "no export of log records"},
		"nothing, in JSON":                {request{contentType: otlp.JSON}, http.StatusBadRequest, "no export of log records"},
		"another method":                  {request{method: http.MethodGet, contentType: otlp.JSON}, http.StatusMethodNotAllowed, "accepted here: POST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			c.path = "/v1/logs"
			if c.method == "" {
				c.method = http.MethodPost
			}
			switch c.key {
			case "":
				c.key = key
			case "-":
				c.key = ""
			}
			status, header, body := send(t, server, c.request)
			require.Equal(t, c.status, status, body)
			require.Contains(t, statusOf(t, header, body), c.says)
			require.Equal(t, c.contentType == otlp.Protobuf, header.Get("Content-Type") == otlp.Protobuf, "in the request's own encoding")
			require.Empty(t, store.calls, "nothing is stored")
		})
	}
}

func TestExportersAreToldWhenToComeAgain(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	store.broken = errors.New("dial tcp 10.0.0.7:5432: password authentication failed")
	post := request{method: http.MethodPost, path: "/v1/logs", key: key, contentType: otlp.Protobuf, body: inProtobuf(t, exportOf("acme", "", requestRecord("1")))}
	status, header, body := send(t, server, post)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, header.Get("Retry-After"))
	require.Contains(t, statusOf(t, header, body), "try again")
	require.NotContains(t, body, "password")
}

// Of random UUIDs, one in four hundred has a run of digits like a payment card's, and
// is none; what is one is not kept.
func TestARequestIsTakenWhateverItsSessionIsCalled(t *testing.T) {
	t.Parallel()
	for _, session := range []string{"a8ea83a5-0442-4177-9506-1b86efe11b8a", "card 4242 4242 4242 4242", strings.Repeat("s", 300), "a\tb", " s"} {
		server, store := newGateway(t, nil)
		status, header, body := send(t, server, request{
			method: http.MethodPost, path: "/v1/logs", key: key, contentType: otlp.JSON,
			body: exportOf("acme", "", requestRecord("1", attribute("session.id", session))),
		})
		require.Equal(t, http.StatusOK, status, body)
		refused, why := partial(t, header, body)
		require.Zero(t, refused, why)
		require.Len(t, store.stored, 1, session)
		kept := store.stored[0].Event.Labels["session_id"]
		if strings.HasPrefix(session, "a8ea") {
			require.Equal(t, session, kept)
		}
		require.NotContains(t, kept, "4242 4242")
	}
}

func TestAStatedCostGoesWithItsRequest(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	recorded, err := os.ReadFile("../otlp/testdata/claude-code-1.0.60.binpb")
	require.NoError(t, err)
	status, _, body := send(t, server, request{
		method: http.MethodPost, path: "/v1/logs", key: store.madeFor("acme", "alice", ScopeUsageWrite), contentType: otlp.Protobuf, body: string(recorded),
	})
	require.Equal(t, http.StatusOK, status, body)
	require.Len(t, store.stored, 3)
	for i, want := range []string{"0.069867", "0.00316096", "0.007236299999999999"} {
		e := store.stored[i].Event
		require.Equal(t, want, e.StatedCost.Decimal.String())
		require.True(t, e.CacheSplitAssumed)
		require.Equal(t, []int64{18_452, 1204, 310}[i], e.Quantities[billing.CacheWrite5m])
		require.NotEmpty(t, e.Labels["session_id"])
		var kept map[string]any
		require.NoError(t, json.Unmarshal(store.stored[i].Raw, &kept))
	}
}
