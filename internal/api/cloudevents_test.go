package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/usage"
)

const (
	ceJSON  = "application/cloudevents+json"
	ceBatch = "application/cloudevents-batch+json"
	ceData  = `{"organization":"acme","user":"alice","occurred_at":"2026-10-01T00:00:00Z","product":"chat","model":"m","usage":{"input_tokens":1,"output_tokens":1}}`
)

// ce is a CloudEvent; more are members of it, as JSON.
func ce(id, source, data string, more ...string) string {
	members := append([]string{fmt.Sprintf(`"specversion":"1.0","id":%q,"source":%q,"type":"com.example.usage","data":%s`, id, source, data)}, more...)
	return "{" + strings.Join(members, ",") + "}"
}

// postEvents posts a body with further headers, NAME: VALUE, and returns the answer.
func postEvents(t *testing.T, key, contentType, body string, headers ...string) (int, string, *fakeStore) {
	t.Helper()
	server, store := newGateway(t, nil)
	if key == "" {
		key = store.madeFor("acme", "alice", ScopeUsageWrite)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/usage", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+key)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header[name] = []string{value}
	}
	status, _, answer := do(t, server.Client(), r)
	return status, answer, store
}

func TestCloudEventsInEachMode(t *testing.T) {
	t.Parallel()
	one := ce("7", "/gateway", ceData)
	headers := []string{"Ce-Specversion: 1.0", "Ce-Id: 7", "Ce-Source: /gateway", "Ce-Type: com.example.usage"}
	for name, c := range map[string]struct {
		contentType, body string
		headers           []string
		ids               []string
	}{
		"structured":                  {ceJSON, one, nil, []string{"/gateway#7"}},
		"structured, in UTF-8":        {ceJSON + "; charset=utf-8", one, nil, []string{"/gateway#7"}},
		"structured, in base64":       {ceJSON, strings.Replace(one, `"data":`+ceData, `"data_base64":"`+inBase64(ceData)+`"`, 1), nil, []string{"/gateway#7"}},
		"batched":                     {ceBatch, "[" + one + ",\n" + ce("8", "/gateway", ceData) + "]", nil, []string{"/gateway#7", "/gateway#8"}},
		"binary":                      {"application/json", ceData, headers, []string{"/gateway#7"}},
		"binary, without a kind":      {"", ceData, headers, []string{"/gateway#7"}},
		"binary, percent-encoded":     {"application/json", ceData, append([]string{"Ce-Id: caf%C3%A9%207"}, append(headers[:1:1], headers[2:]...)...), []string{"/gateway#café 7"}},
		"binary, quoted":              {"application/json", ceData, append([]string{`Ce-Id: "a \"7\""`}, append(headers[:1:1], headers[2:]...)...), []string{`/gateway#a "7"`}},
		"binary, with a name of none": {"application/json", ceData, append([]string{"Ce-: x", "Ce-Extra: y"}, headers...), []string{"/gateway#7"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer, store := postEvents(t, key, c.contentType, c.body, c.headers...)
			require.Equal(t, http.StatusOK, status, answer)
			require.Len(t, store.stored, len(c.ids), answer)
			for i, id := range c.ids {
				require.Contains(t, answer, fmt.Sprintf(`{"index":%d,"id":%q,"status":"accepted","field":null,"reason":null}`, i, id))
				e := store.stored[i]
				require.Equal(t, id, e.Event.ID)
				require.Equal(t, "alice", e.Event.User)
				require.Equal(t, billing.SourceCloudEvents, e.Source)
				require.JSONEq(t, fmt.Sprintf(`{"id":%q,`, id)+ceData[1:], string(e.Raw), "what is kept while it is parked")
			}
		})
	}
}

func TestWhatACloudEventSaysOfItsData(t *testing.T) {
	t.Parallel()
	const noTime = `{"organization":"acme","product":"chat","model":"m","usage":{"input_tokens":1,"output_tokens":1}}`
	const retraction = `{"organization":"acme","retracts":"/gateway#6"}`
	const at, subject = `"time":"2026-10-02T02:00:00+02:00"`, `"subject":"bob"`
	for name, c := range map[string]struct {
		body     string
		user, at string
		retracts string
	}{
		"the data's own":                  {ce("7", "s", ceData, at, subject), "alice", "2026-10-01T00:00:00Z", ""},
		"time and subject where it lacks": {ce("7", "s", noTime, at, subject), "bob", "2026-10-02T00:00:00Z", ""},
		"where it has null":               {ce("7", "s", strings.Replace(noTime, "{", `{"user":null,"occurred_at":null,"id":null,`, 1), at, subject), "bob", "2026-10-02T00:00:00Z", ""},
		"its id once more":                {ce("7", "s", strings.Replace(noTime, "{", `{"id":"7",`, 1), at), "", "2026-10-02T00:00:00Z", ""},
		"a retraction, by our id":         {ce("7", "s", retraction, at, subject), "", "2026-10-02T00:00:00Z", "/gateway#6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer, store := postEvents(t, key, ceJSON, c.body)
			require.Equal(t, http.StatusOK, status)
			require.Len(t, store.stored, 1, answer)
			e := store.stored[0].Event
			require.Equal(t, []string{"s#7", c.user, c.at, c.retracts}, []string{e.ID, e.User, e.OccurredAt.Format("2006-01-02T15:04:05Z07:00"), e.Retracts})
		})
	}
}

func TestCloudEventsAreIdentifiedBySourceAndID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/gateway#7", cloudEventID("/gateway", "7"))
	require.Equal(t, "s#a#b", cloudEventID("s", "a#b"))
	long := strings.Repeat("x", 197)
	require.Len(t, cloudEventID("s", long+"1"), usage.MaxEventID)
	seen := map[string]bool{}
	for _, pair := range [][2]string{{"s", "a#b"}, {"s#a", "b"}, {"s", long + "12"}, {"s", long + "13"}, {"t", long + "12"}, {"s", long + "1"}} {
		id := cloudEventID(pair[0], pair[1])
		require.LessOrEqual(t, len(id), usage.MaxEventID)
		require.False(t, seen[id], "%q is another one's", id)
		seen[id] = true
	}
	require.Regexp(t, "^ce_[0-9a-f]{64}$", cloudEventID("s#a", "b"))
}

func TestCloudEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	binary := []string{"Ce-Specversion: 1.0", "Ce-Id: 7", "Ce-Source: s", "Ce-Type: t"}
	for name, c := range map[string]struct {
		contentType, body string
		headers           []string
		field, says       string
	}{
		"no JSON":                           {ceJSON, "{", nil, "", "is no CloudEvent"},
		"another JSON":                      {ceJSON, "17", nil, "", "is no CloudEvent"},
		"no version":                        {ceJSON, strings.Replace(ce("7", "s", ceData), `"specversion":"1.0",`, "", 1), nil, "", "is no CloudEvent"},
		"no id":                             {ceJSON, ce("", "s", ceData), nil, "id", "MUST be a non-empty string"},
		"no source":                         {ceJSON, ce("7", "", ceData), nil, "", "is no CloudEvent"},
		"no type":                           {ceJSON, strings.Replace(ce("7", "s", ceData), `"type":"com.example.usage",`, "", 1), nil, "type", "MUST be a non-empty string"},
		"no data":                           {ceJSON, strings.Replace(ce("7", "s", ceData), `,"data":`+ceData, "", 1), nil, "data", "one JSON object"},
		"data that is null":                 {ceJSON, ce("7", "s", "null"), nil, "data", "one JSON object"},
		"data that is text":                 {ceJSON, ce("7", "s", `"x"`), nil, "data", "one JSON object"},
		"data that is XML":                  {ceJSON, ce("7", "s", `"<x/>"`, `"datacontenttype":"application/xml"`), nil, "datacontenttype", `"application/xml"; accepted: application/json`},
		"data with a name twice":            {ceJSON, ce("7", "s", strings.Replace(ceData, "{", `{"user":"bob",`, 1)), nil, "data", "each key once"},
		"data that has another id":          {ceJSON, ce("7", "s", strings.Replace(ceData, "{", `{"id":"8",`, 1)), nil, "id", `is not the CloudEvent's own; accepted: "7", or none`},
		"data that has a number as its id":  {ceJSON, ce("7", "s", strings.Replace(ceData, "{", `{"id":7,`, 1)), nil, "id", "is not the CloudEvent's own"},
		"data that is no usage event":       {ceJSON, ce("7", "s", `{"organization":"acme","cups":2}`), nil, "cups", "is not a field of a usage event"},
		"no time anywhere":                  {ceJSON, ce("7", "s", strings.Replace(ceData, `"occurred_at":"2026-10-01T00:00:00Z",`, "", 1)), nil, "occurred_at", "is required"},
		"another user than the key's":       {ceJSON, ce("7", "s", strings.Replace(ceData, "alice", "bob", 1)), nil, "user", "is not the member of the key"},
		"another user in the subject":       {ceJSON, ce("7", "s", strings.Replace(ceData, `"user":"alice",`, "", 1), `"subject":"bob"`), nil, "user", "is not the member of the key"},
		"a retraction by a member":          {ceJSON, ce("7", "s", `{"organization":"acme","retracts":"s#6"}`, `"time":"2026-10-02T00:00:00Z"`), nil, "retracts", "is not taken from the key of one member"},
		"binary without an id":              {"application/json", ceData, append([]string{}, binary[0], binary[2], binary[3]), "id", "MUST be a non-empty string"},
		"binary of an unknown version":      {"application/json", ceData, append([]string{"Ce-Specversion: 9.9"}, binary[1:]...), "", "is no CloudEvent"},
		"binary with XML":                   {"application/xml", "<x/>", binary, "datacontenttype", "application/xml"},
		"binary with bytes of no text":      {"application/json", ceData, append([]string{"Ce-Subject: caf%E9"}, binary...), "ce-subject", "UTF-8"},
		"binary with a broken percent sign": {"application/json", ceData, append([]string{"Ce-Subject: 5%"}, binary...), "ce-subject", "percent-encoded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer, store := postEvents(t, "", c.contentType, c.body, c.headers...)
			require.Equal(t, http.StatusOK, status, answer)
			require.Contains(t, answer, `"status":"rejected"`)
			got := resultsOf(t, answer)[0]
			if c.field != "" {
				require.NotNil(t, got.Field, answer)
				require.Equal(t, c.field, *got.Field)
			}
			require.Contains(t, *got.Reason, c.says)
			require.Empty(t, store.stored)
		})
	}
}

func TestOneBadCloudEventOfABatchCostsOnlyItself(t *testing.T) {
	t.Parallel()
	status, answer, store := postEvents(t, key, ceBatch, "["+ce("7", "s", ceData)+`,{},17,`+ce("8", "s", ceData)+"]")
	require.Equal(t, http.StatusOK, status)
	got := resultsOf(t, answer)
	require.Equal(t, []string{"accepted", "rejected", "rejected", "accepted"}, []string{got[0].Status, got[1].Status, got[2].Status, got[3].Status}, answer)
	require.Len(t, store.stored, 2)

	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"no array":     {ce("7", "s", ceData), http.StatusBadRequest},
		"a torn array": {"[" + ce("7", "s", ceData), http.StatusBadRequest},
		"nothing":      {"[]", http.StatusBadRequest},
		"too large":    {"[" + strings.Repeat(ce("7", "s", ceData)+",", 20) + "1]", http.StatusRequestEntityTooLarge},
	} {
		status, answer, store := postEvents(t, key, ceBatch, c.body)
		require.Equal(t, c.status, status, "%s: %s", name, answer)
		require.Empty(t, store.calls)
	}
}
