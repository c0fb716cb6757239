package usage

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// full is the example of the format's description.
const full = `{"id":"evt_01","organization":"acme","user":"user_00013","occurred_at":"2026-10-01T00:00:40.523394Z",` +
	`"product":"claude_code","model":"claude-sonnet-4-5",` +
	`"usage":{"input_tokens":3180,"cache_creation_input_tokens":0,"cache_read_input_tokens":120,` +
	`"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},` +
	`"output_tokens":8,"server_tool_use":{"web_search_requests":0},"service_tier":"standard"}}`

func fullEvent() billing.Event {
	return billing.Event{
		ID: "evt_01", Organization: "acme", User: "user_00013",
		OccurredAt: time.Date(2026, 10, 1, 0, 0, 40, 523394000, time.UTC),
		Product:    "claude_code", Model: "claude-sonnet-4-5",
		Quantities:  billing.Quantities{billing.Input: 3180, billing.Output: 8, billing.CacheRead: 120},
		ServiceTier: "standard", Speed: "standard", InferenceGeo: "global",
	}
}

// with is a small valid event with one envelope field set to a JSON value; an
// empty value leaves the field out.
func with(field, value string) string {
	fields := map[string]string{
		"id": `"e"`, "organization": `"acme"`, "occurred_at": `"2026-10-01T00:00:00Z"`, "product": `"chat"`,
		"model": `"m"`, "usage": `{"input_tokens":1,"output_tokens":2}`,
	}
	fields[field] = value
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, fields[name]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// withUsage is a small valid event whose usage has more members.
func withUsage(members string) string {
	return with("usage", `{"input_tokens":1,"output_tokens":2,`+members+`}`)
}

func decoded(t *testing.T, line string) billing.Event {
	t.Helper()
	event, rejection := Decode([]byte(line))
	require.Nil(t, rejection, "%s\n%v", line, rejection)
	return event
}

func requireRefused(t *testing.T, line, field, reason string) {
	t.Helper()
	event, rejection := Decode([]byte(line))
	require.NotNil(t, rejection, "accepted %.300s", line)
	require.Equal(t, field, rejection.Field, "%s: %.300s", rejection.Reason, line)
	require.Contains(t, rejection.Reason, reason)
	require.ErrorIs(t, rejection, billing.ErrInvalid)
	require.Equal(t, billing.Event{ID: event.ID, Organization: event.Organization}, event)
}

func TestDecodeReadsTheExample(t *testing.T) {
	t.Parallel()
	require.Equal(t, fullEvent(), decoded(t, full))
	require.Equal(t, fullEvent(), decoded(t, " \t"+full+"\r\n"))
}

func TestDecodeKeepsNoReferenceToTheLine(t *testing.T) {
	t.Parallel()
	for _, line := range []string{full, withUsage(`"thinking_tokens":7`), with("labels", `{"team":"a\u0062c"}`)} {
		buffer := []byte(line)
		event, rejection := Decode(buffer)
		require.Nil(t, rejection)
		for i := range buffer {
			buffer[i] = 'X'
		}
		again, _ := Decode([]byte(line))
		require.Equal(t, again, event)
		require.Equal(t, again.Fingerprint(), event.Fingerprint())
	}
}

func TestCountsAreWholeNumbersInDigitsAlone(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int64{"0": 0, "7": 7, "1000000000000": 1_000_000_000_000} {
		event := decoded(t, with("usage", `{"input_tokens":`+value+`,"output_tokens":0}`))
		require.Equal(t, want, event.Quantities[billing.Input])
	}
	refused := []string{
		"-1", "-0", "1.5", "1.0", "1e3", "1E0", "1e18", "1000000000001", "9223372036854775807", "9223372036854775808",
		"9007199254740993", "99999999999999999999999999", `"x"`, `"-5"`, `"5.0"`, `""`, "true", "[]", "{}", "0.0", "1e-1",
	}
	fields := map[string]string{
		"usage.input_tokens":                             `{"output_tokens":1,"input_tokens":%s}`,
		"usage.output_tokens":                            `{"input_tokens":1,"output_tokens":%s}`,
		"usage.cache_read_input_tokens":                  `{"input_tokens":1,"output_tokens":1,"cache_read_input_tokens":%s}`,
		"usage.cache_creation_input_tokens":              `{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":%s}`,
		"usage.cache_creation.ephemeral_5m_input_tokens": `{"input_tokens":1,"output_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":%s}}`,
		"usage.cache_creation.ephemeral_1h_input_tokens": `{"input_tokens":1,"output_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":%s}}`,
		"usage.server_tool_use.web_search_requests":      `{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_search_requests":%s}}`,
		"usage.server_tool_use.web_fetch_requests":       `{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_fetch_requests":%s}}`,
		"usage.server_tool_use.code_execution_seconds":   `{"input_tokens":1,"output_tokens":1,"server_tool_use":{"code_execution_seconds":%s}}`,
	}
	for field, usage := range fields {
		for _, value := range refused {
			requireRefused(t, with("usage", fmt.Sprintf(usage, value)), field, "accepted: a whole number from 0 to 1000000000000")
		}
	}
	for _, value := range []string{"NaN", "Infinity", "+1", "007", ".5", "5.", "0x10", "1_000"} {
		requireRefused(t, with("usage", fmt.Sprintf(fields["usage.input_tokens"], value)), "", "not JSON")
	}
}

func TestMissingIsNotZero(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"id", "organization", "occurred_at", "product", "model", "usage"} {
		requireRefused(t, with(field, ""), field, "required")
		requireRefused(t, with(field, "null"), field, "required")
	}
	requireRefused(t, with("usage", `{}`), "usage.input_tokens", "required")
	requireRefused(t, with("usage", `{"output_tokens":1}`), "usage.input_tokens", "required")
	requireRefused(t, with("usage", `{"input_tokens":null,"output_tokens":1}`), "usage.input_tokens", "required")
	requireRefused(t, with("usage", `{"input_tokens":1}`), "usage.output_tokens", "required")
	requireRefused(t, with("usage", `{"input_tokens":1,"output_tokens":null}`), "usage.output_tokens", "required")
	requireRefused(t, with("usage", `7`), "usage", "a number; accepted: an object")
	event := decoded(t, withUsage(`"cache_read_input_tokens":null,"cache_creation_input_tokens":null,"cache_creation":null,"server_tool_use":null,"service_tier":null,"speed":null,"inference_geo":null`))
	require.Equal(t, billing.Quantities{1, 2}, event.Quantities)
	require.Equal(t, []string{"standard", "standard", "global"}, []string{event.ServiceTier, event.Speed, event.InferenceGeo})
}

func TestMalformedLinesAreRefusedWhole(t *testing.T) {
	t.Parallel()
	for line, reason := range map[string]string{
		"":                        "ends in the middle",
		"   ":                     "ends in the middle",
		"{":                       "ends in the middle",
		`{"id":"e"`:               "ends in the middle",
		full[:len(full)-1]:        "ends in the middle",
		"[" + full + "]":          "is an array; accepted: one JSON object",
		"null":                    "is null",
		`"x"`:                     "is a string",
		"12":                      "is a number",
		full + full:               "has more behind",
		full + "x":                "not JSON",
		full + "}":                "not JSON",
		full + " null":            "has more behind",
		`{"id":"e",}`:             "not JSON",
		`{'id':'e'}`:              "not JSON",
		"\xef\xbb\xbf" + full:     "not JSON",
		"// hello":                "not JSON",
		strings.Repeat("[", 1e5):  "not JSON",
		with("id", "\"a\x00b\""):  "not JSON",
		with("id", "\"a\nb\""):    "not JSON",
		with("id", "\"a\xffb\""):  "not valid UTF-8",
		with("id", `"a\ud800b"`):  "not JSON",
		with("id", `"a\xb"`):      "not JSON",
		with("user", "undefined"): "not JSON",
	} {
		requireRefused(t, line, "", reason)
	}
	for i := range len(full) {
		_, rejection := Decode([]byte(full[:i]))
		require.NotNil(t, rejection)
		require.Empty(t, rejection.Field, full[:i])
	}
}

func TestRefusedEventsCanBeNamed(t *testing.T) {
	t.Parallel()
	event, rejection := Decode([]byte(`{"product":" ","id":"evt_9","organization":"acme"}`))
	require.Equal(t, billing.Event{ID: "evt_9", Organization: "acme"}, event)
	require.Equal(t, "product", rejection.Field)
	event, _ = Decode([]byte(full[:60]))
	require.Equal(t, "evt_01", event.ID)
	text, err := json.Marshal(rejection)
	require.NoError(t, err)
	require.JSONEq(t, `{"field":"product","reason":"begins or ends with a space; accepted: 1 to 100 bytes without control or invisible characters, and no space at the ends"}`, string(text))
	require.EqualError(t, rejection, "product: "+rejection.Reason)
}

func TestNamesAreUniqueAndSpelledExactly(t *testing.T) {
	t.Parallel()
	twice := strings.Replace(full, `"user"`, `"id":"evt_02","user"`, 1)
	for line, field := range map[string]string{
		twice:                              "id",
		withUsage(`"input_tokens":1`):      "usage.input_tokens",
		withUsage(`"input_\u0074okens":1`): "usage.input_tokens",
		withUsage(`"cache_creation":{"ephemeral_5m_input_tokens":1},"cache_creation":{}`):                "usage.cache_creation",
		withUsage(`"cache_creation":{"ephemeral_5m_input_tokens":1,"\u0065phemeral_5m_input_tokens":1}`): "usage.cache_creation.ephemeral_5m_input_tokens",
		withUsage(`"whatever":{"a":{"b":1,"b":2}}`):                                                      "usage.whatever.a.b",
		withUsage(`"whatever":[{"b":1,"b":2}]`):                                                          "usage.whatever.0.b",
		with("labels", `{"team":"a","team":"b"}`):                                                        "labels.team",
	} {
		requireRefused(t, line, field, "is given twice")
	}
	for _, name := range []string{"Id", "USER", "Usage", "occurredAt", "tokens", "retries", "", "id "} {
		requireRefused(t, with(name, `1`), name, "is not a field of a usage event; accepted")
	}
}

func TestSecondsOfCodeAreFreeBesideAWebSearchOrFetch(t *testing.T) {
	t.Parallel()
	for tools, want := range map[string]int64{
		`"code_execution_requests":2,"code_execution_seconds":301`:                         301,
		`"web_search_requests":0,"web_fetch_requests":null,"code_execution_seconds":301`:   301,
		`"web_search_requests":1,"code_execution_seconds":301`:                             0,
		`"code_execution_seconds":301,"web_fetch_requests":1`:                              0,
		`"code_execution_requests":2`:                                                      0,
		`"code_execution_seconds":0`:                                                       0,
		`"container_id":"container_01","code_execution_seconds":1000000000000,"retries":1`: billing.MaxCount,
	} {
		require.Equal(t, want, decoded(t, withUsage(`"server_tool_use":{`+tools+`}`)).Quantities[billing.CodeExecution], tools)
	}
}

func TestTextIsKeptAndEventIDsAreComparedByteByByte(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"e", strings.Repeat("x", 200), "'; DROP TABLE usage; --", "../../etc/passwd", "👩", "مرحبا",
		"caf\u00e9", "a b", "50%", `a\b"c`, "<script>",
	} {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		require.Equal(t, text, decoded(t, with("id", string(quoted))).ID)
		require.Equal(t, text, decoded(t, with("user", string(quoted))).User)
	}
	for _, text := range []string{"cafe\u0301", "a\u200fb", "👩\u200d👩\u200d👧"} {
		require.Equal(t, text, decoded(t, with("id", `"`+text+`"`)).ID)
	}
	for value, reason := range map[string]string{
		`"` + strings.Repeat("x", 201) + `"`:   "has 201 bytes",
		`"` + strings.Repeat("é", 101) + `"`:   "has 202 bytes",
		`"` + strings.Repeat("x", 10240) + `"`: "has 10240 bytes",
		`"a\u0000b"`:                           "control character",
		`"a\nb"`:                               "control character",
		`"a\u001b[31m"`:                        "control character",
		`"a\u007f"`:                            "control character",
		`"a\u0085b"`:                           "control character",
		`" a"`:                                 "space",
		`"a "`:                                 "space",
		`"\u00a0a"`:                            "space",
		`"a\u3000"`:                            "space",
		`5`:                                    "a number; accepted: a string",
		`["a"]`:                                "an array; accepted: a string",
	} {
		requireRefused(t, with("id", value), "id", reason)
		requireRefused(t, with("user", value), "user", reason)
	}
	requireRefused(t, with("id", `"a\u2028b"`), "id", "control character")
	require.Empty(t, decoded(t, with("user", "null")).User)
	require.Empty(t, decoded(t, with("user", "")).User)
	require.Empty(t, decoded(t, with("user", `""`)).User)
	requireRefused(t, with("id", `""`), "id", "is required; it is missing, null or empty")
	require.Equal(t, "a/b", decoded(t, with("product", `"a/b"`)).Product)
	require.Len(t, decoded(t, with("model", `"`+strings.Repeat("x", 256)+`"`)).Model, 256)
	requireRefused(t, with("model", `"`+strings.Repeat("x", 257)+`"`), "model", "accepted: 1 to 256 bytes")
	requireRefused(t, with("product", `"`+strings.Repeat("x", 101)+`"`), "product", "accepted: 1 to 100 bytes")
	for _, field := range []string{"product", "model"} {
		requireRefused(t, with(field, `" a"`), field, "space")
		requireRefused(t, with(field, `""`), field, "required")
	}
	for _, org := range []string{"Acme", "a b", "-a", "a/b", "ä", strings.Repeat("a", 64)} {
		requireRefused(t, with("organization", `"`+org+`"`), "organization", "accepted: 1 to 63 of a-z")
	}
	requireRefused(t, withUsage(`"note":"a\u0000b"`), "", "NUL")
	decoded(t, withUsage(`"note":"a\\u0000b"`))
}

func TestTimesNeedAZoneAndAreCutToMicroseconds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-10-01T00:00:40.523394Z":        "2026-10-01T00:00:40.523394Z",
		"2026-10-01T00:00:40Z":               "2026-10-01T00:00:40Z",
		"2026-10-01t00:00:40z":               "2026-10-01T00:00:40Z",
		"2026-10-01T00:00:40.5Z":             "2026-10-01T00:00:40.5Z",
		"2026-10-01T00:00:40.123456789Z":     "2026-10-01T00:00:40.123456Z",
		"2026-10-01T00:00:40.9999999999999Z": "2026-10-01T00:00:40.999999Z",
		"2026-09-30T23:59:59.9999999Z":       "2026-09-30T23:59:59.999999Z",
		"2026-10-01T14:00:00+14:00":          "2026-10-01T00:00:00Z",
		"2026-09-30T10:00:00-14:00":          "2026-10-01T00:00:00Z",
		"2026-10-01T05:45:00+05:45":          "2026-10-01T00:00:00Z",
		"2026-10-01T00:00:00-00:00":          "2026-10-01T00:00:00Z",
		"2028-02-29T12:00:00Z":               "2028-02-29T12:00:00Z",
		"2000-02-29T12:00:00Z":               "2000-02-29T12:00:00Z",
		"2000-01-01T00:00:00Z":               "2000-01-01T00:00:00Z",
		"2100-12-31T23:59:59.999999Z":        "2100-12-31T23:59:59.999999Z",
	} {
		got := decoded(t, with("occurred_at", `"`+text+`"`)).OccurredAt
		require.Equal(t, want, got.Format(time.RFC3339Nano), text)
		require.Equal(t, time.UTC, got.Location())
		reference, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
		require.NoError(t, err)
		require.True(t, reference.UTC().Truncate(time.Microsecond).Equal(got), text)
	}
	for value, reason := range map[string]string{
		`"2026-10-01T00:00:00"`:        "has no zone",
		`"2026-10-01T00:00:00.5"`:      "has no zone",
		`"2026-10-01 00:00:00Z"`:       "accepted: an RFC 3339 time",
		`"2026-10-01"`:                 "accepted: an RFC 3339 time",
		`"now"`:                        "accepted: an RFC 3339 time",
		`"2026-12-31T23:59:60Z"`:       "leap second",
		`"2026-10-01T24:00:00Z"`:       "hour 24",
		`"2026-10-01T25:00:00Z"`:       "does not exist",
		`"2026-10-01T00:60:00Z"`:       "does not exist",
		`"2026-10-01T00:00:61Z"`:       "does not exist",
		`"2026-02-29T00:00:00Z"`:       "does not exist",
		`"2100-02-29T00:00:00Z"`:       "does not exist",
		`"2026-04-31T00:00:00Z"`:       "does not exist",
		`"2026-13-01T00:00:00Z"`:       "does not exist",
		`"2026-00-01T00:00:00Z"`:       "does not exist",
		`"2026-10-00T00:00:00Z"`:       "does not exist",
		`"2026-10-01T00:00:00+14:01"`:  "beyond 14 hours",
		`"2026-10-01T00:00:00-15:00"`:  "beyond 14 hours",
		`"2026-10-01T00:00:00+01:60"`:  "beyond 14 hours",
		`"2026-10-01T00:00:00+0100"`:   "zone",
		`"2026-10-01T00:00:00+01"`:     "zone",
		`"2026-10-01T00:00:00 Z"`:      "zone",
		`"2026-10-01T00:00:00ZZ"`:      "zone",
		`"2026-10-01T00:00:00UTC"`:     "zone",
		`"2026-10-01T00:00:00[\u001b"`: "zone",
		`"2026-10-01T00:00:00.Z"`:      "accepted: an RFC 3339 time",
		`"2026-10-01T00:00:00,5Z"`:     "zone",
		`"1999-12-31T23:59:59Z"`:       "the years 2000 to 2100",
		`"2000-01-01T00:00:00+00:01"`:  "the years 2000 to 2100",
		`"2101-01-01T00:00:00Z"`:       "the years 2000 to 2100",
		`"0001-01-01T00:00:00Z"`:       "the years 2000 to 2100",
		`1790812800`:                   "a number; accepted: a string",
	} {
		requireRefused(t, with("occurred_at", value), "occurred_at", reason)
	}
}

func TestPeriodBoundariesKeepTheirMicrosecond(t *testing.T) {
	t.Parallel()
	calendar, err := billing.NewCalendar("America/New_York", 1)
	require.NoError(t, err)
	october := calendar.Month(time.Date(2026, 10, 15, 0, 0, 0, 0, time.UTC))
	for text, inside := range map[string]bool{
		"2026-10-01T04:00:00Z":                true,
		"2026-10-01T00:00:00-04:00":           true,
		"2026-10-01T03:59:59.999999Z":         false,
		"2026-11-01T03:59:59.999999Z":         true,
		"2026-10-31T23:59:59.999999999-04:00": true,
		"2026-11-01T00:00:00-04:00":           false,
	} {
		require.Equal(t, inside, october.Contains(decoded(t, with("occurred_at", `"`+text+`"`)).OccurredAt), text)
	}
}

func TestWhatTheSplitOfCacheWritesLeavesOpenIsAssumed(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]struct {
		m5, h1  int64
		assumed bool
	}{
		`"cache_creation_input_tokens":7`:                                                                                {7, 0, true},
		`"cache_creation_input_tokens":0`:                                                                                {0, 0, false},
		`"cache_creation_input_tokens":7,"cache_creation":null`:                                                          {7, 0, true},
		`"cache_creation_input_tokens":7,"cache_creation":{}`:                                                            {7, 0, true},
		`"cache_creation":{"ephemeral_1h_input_tokens":null},"cache_creation_input_tokens":7`:                            {7, 0, true},
		`"cache_creation":{"ephemeral_1h_input_tokens":3,"ephemeral_5m_input_tokens":4},"cache_creation_input_tokens":7`: {4, 3, false},
		`"cache_creation":{"ephemeral_1h_input_tokens":7},"cache_creation_input_tokens":7`:                               {0, 7, false},
		`"cache_creation":{"ephemeral_1h_input_tokens":3}`:                                                               {0, 3, false},
		`"cache_creation":{"ephemeral_5m_input_tokens":3},"cache_creation_input_tokens":null`:                            {3, 0, false},
		`"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":6}`:                               {7, 0, true},
		`"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_1h_input_tokens":6}`:                               {1, 6, true},
		`"cache_creation":{"ephemeral_1h_input_tokens":0,"ephemeral_5m_input_tokens":0},"cache_creation_input_tokens":1`: {1, 0, true},
	} {
		event := decoded(t, withUsage(members))
		require.Equal(t, want.m5, event.Quantities[billing.CacheWrite5m], members)
		require.Equal(t, want.h1, event.Quantities[billing.CacheWrite1h], members)
		require.Equal(t, want.assumed, event.CacheSplitAssumed, members)
	}
	for _, members := range []string{
		`"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":8}`,
		`"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_1h_input_tokens":1}`,
		`"cache_creation":{"ephemeral_1h_input_tokens":4,"ephemeral_5m_input_tokens":4},"cache_creation_input_tokens":7`,
	} {
		require.Contains(t, decoded(t, withUsage(members)).Unpriceable, "usage.cache_creation counts", members)
	}
	requireRefused(t, withUsage(`"cache_creation":5`), "usage.cache_creation", "a number; accepted: an object")
}

func TestTierSpeedAndGeography(t *testing.T) {
	t.Parallel()
	event := decoded(t, withUsage(`"service_tier":"priority/x","speed":"fast","inference_geo":"us"`))
	require.Equal(t, []string{"priority/x", "fast", "us"}, []string{event.ServiceTier, event.Speed, event.InferenceGeo})
	require.Equal(t, "fast", decoded(t, with("speed", `"fast"`)).Speed)
	require.Equal(t, "us", decoded(t, with("inference_geo", `"us"`)).InferenceGeo)
	require.Equal(t, "global", decoded(t, with("inference_geo", `"not_available"`)).InferenceGeo)
	require.Equal(t, "batch", decoded(t, withUsage(`"service_tier":"batch","speed":"standard"`)).ServiceTier)

	both := func(envelope, inUsage string) string {
		return strings.Replace(withUsage(inUsage), "{", "{"+envelope+",", 1)
	}
	require.Equal(t, "fast", decoded(t, both(`"speed":"fast"`, `"speed":"fast"`)).Speed)
	require.Equal(t, "us", decoded(t, both(`"inference_geo":null`, `"inference_geo":"us"`)).InferenceGeo)
	require.Equal(t, "global", decoded(t, both(`"inference_geo":"global"`, `"inference_geo":"not_available"`)).InferenceGeo)
	require.Equal(t, "us", decoded(t, both(`"inference_geo":""`, `"inference_geo":"us"`)).InferenceGeo)

	for line, contradiction := range map[string]string{
		both(`"speed":"fast"`, `"speed":"standard"`):             "speed is fast in the event and standard in its usage",
		both(`"inference_geo":"us"`, `"inference_geo":"global"`): "inference_geo is us in the event and global in its usage",
	} {
		require.Equal(t, contradiction, decoded(t, line).Unpriceable)
	}
	require.Empty(t, decoded(t, `{"speed":"fast",`+with("usage", `{"input_tokens":0,"output_tokens":0,"speed":"standard"}`)[1:]).Unpriceable, "nothing was used")

	event = decoded(t, withUsage(`"service_tier":"","speed":"","inference_geo":""`))
	require.Equal(t, []string{"standard", "standard", "global"}, []string{event.ServiceTier, event.Speed, event.InferenceGeo})
	event = decoded(t, withUsage(`"service_tier":"flex","speed":"turbo","inference_geo":"eu"`))
	require.Equal(t, []string{"flex", "turbo", "eu"}, []string{event.ServiceTier, event.Speed, event.InferenceGeo}, "what has no price is parked later")
	event = decoded(t, both(`"speed":"fast"`, `"service_tier":"batch"`))
	require.Equal(t, []string{"batch", "fast"}, []string{event.ServiceTier, event.Speed}, "no book prices the two together")
	requireRefused(t, with("service_tier", `"batch"`), "service_tier", "is not a field")
}

func TestMessagesShowNothingThatSteersATerminal(t *testing.T) {
	t.Parallel()
	_, rejection := Decode([]byte(with(`\u001b]0;x`, `1`)))
	require.NotContains(t, rejection.Error(), "\x1b")
	for _, line := range []string{
		`{"a\u001b[31m":1}`, `{"a\u009b":1,"a\u009b":1}`, with("speed", `"\u001b"`), with("occurred_at", `"\u0007"`),
		with("organization", `"\u001b"`), withUsage(`"input_tokens\u001b":{"\u001b":1,"\u001b":1}`), "{\x1b",
		`{"` + strings.Repeat("é", 5000) + `":1}`,
	} {
		_, rejection := Decode([]byte(line))
		require.NotNil(t, rejection)
		require.NotContains(t, rejection.Error(), "\x1b")
		require.NotContains(t, rejection.Error(), "\u009b")
		require.Less(t, len(rejection.Error()), 400)
	}
}

// hostile is an object of many names, which a search for duplicates must not
// compare each with each; BenchmarkHostile shows that the cost per name stays.
func hostile(names int, value string) string {
	var b strings.Builder
	for i := range names {
		fmt.Fprintf(&b, `,"k%d":%s`, i, value)
	}
	return "{" + b.String()[1:] + "}"
}

func TestObjectsMayHaveManyNames(t *testing.T) {
	t.Parallel()
	const names = 100_000
	decoded(t, withUsage(`"x":`+hostile(names, "0")))
	require.Len(t, decoded(t, with("labels", hostile(names, `"v"`))).Labels, 50)
	deep := strings.Repeat(`{"a":[`, 4000) + "0" + strings.Repeat(`]}`, 4000)
	require.Empty(t, decoded(t, withUsage(`"x":`+deep)).Unpriceable)
	requireRefused(t, withUsage(`"x":`+strings.Replace(hostile(names, "0"), "k99999", "k77", 1)), "usage.x.k77", "twice")
}

// encode writes an event in its wire format.
func encode(e *billing.Event) []byte {
	type object = map[string]any
	q := e.Quantities
	usage := object{
		"input_tokens": q[billing.Input], "output_tokens": q[billing.Output], "cache_read_input_tokens": q[billing.CacheRead],
		"service_tier": e.ServiceTier, "server_tool_use": object{"web_search_requests": q[billing.WebSearch], "code_execution_seconds": q[billing.CodeExecution]},
		"cache_creation_input_tokens": q[billing.CacheWrite5m] + q[billing.CacheWrite1h],
	}
	if !e.CacheSplitAssumed {
		usage["cache_creation"] = object{
			"ephemeral_5m_input_tokens": q[billing.CacheWrite5m], "ephemeral_1h_input_tokens": q[billing.CacheWrite1h],
		}
	}
	envelope := object{
		"id": e.ID, "organization": e.Organization, "product": e.Product, "model": e.Model, "usage": usage,
		"occurred_at": e.OccurredAt.Format(time.RFC3339Nano), "speed": e.Speed, "inference_geo": e.InferenceGeo,
	}
	if e.Retracts != "" {
		envelope = object{
			"id": e.ID, "organization": e.Organization, "occurred_at": e.OccurredAt.Format(time.RFC3339Nano), "retracts": e.Retracts,
		}
	}
	if e.User != "" {
		envelope["user"] = e.User
	}
	if e.Labels != nil {
		envelope["labels"] = e.Labels
	}
	line, err := json.Marshal(envelope)
	if err != nil {
		panic(err)
	}
	return line
}

func anyEvent(t *rapid.T) billing.Event {
	normal := func(s string) string { return string(billing.ComposeID([]byte(s))) }
	text := rapid.Map(rapid.StringOf(rapid.Rune()), normal).Filter(func(s string) bool { return checkWord([]byte(s)) == "" })
	count := rapid.Int64Range(0, billing.MaxCount)
	e := billing.Event{
		ID:           text.Draw(t, "id"),
		Organization: rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,62}`).Draw(t, "organization"),
		User:         rapid.OneOf(rapid.Just(""), text).Draw(t, "user"),
		OccurredAt:   time.UnixMicro(rapid.Int64Range(earliest.UnixMicro(), latest.UnixMicro()-1).Draw(t, "at")).UTC(),
		Product:      text.Draw(t, "product"),
		Model:        text.Draw(t, "model"),
		ServiceTier:  rapid.OneOf(rapid.SampledFrom([]string{"standard", "priority"}), text).Draw(t, "tier"),
		Speed:        rapid.SampledFrom([]string{"standard", "fast"}).Draw(t, "speed"),
		InferenceGeo: rapid.SampledFrom([]string{"global", "us"}).Draw(t, "geo"),
	}
	for c := range e.Quantities {
		e.Quantities[c] = count.Draw(t, "count")
	}
	if e.Quantities[billing.WebSearch] > 0 {
		e.Quantities[billing.CodeExecution] = 0 // free beside it
	}
	if both := e.Quantities[billing.CacheWrite5m] + e.Quantities[billing.CacheWrite1h]; both > billing.MaxCount {
		e.Quantities[billing.CacheWrite1h] = 0
	}
	if rapid.Bool().Draw(t, "assumed") {
		e.Quantities[billing.CacheWrite1h] = 0
		e.CacheSplitAssumed = e.Quantities[billing.CacheWrite5m] > 0
	}
	if n := rapid.IntRange(0, 4).Draw(t, "labels"); n > 0 {
		e.Labels = map[string]string{}
		for i := range n {
			value := rapid.Map(rapid.StringMatching(`[^\pC]{1,20}`), normal).Filter(func(s string) bool { return checkLabelValue([]byte(s)) == "" })
			e.Labels[fmt.Sprint("label ", i)] = value.Draw(t, "label")
		}
	}
	return e
}

func TestDecodeGivesBackWhatWasEncoded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent(t)
		got, rejection := Decode(encode(&want))
		if rejection != nil {
			t.Fatalf("%s: %v", encode(&want), rejection)
		}
		require.Equal(t, want, got)
		require.Equal(t, want.Fingerprint(), got.Fingerprint())
	})
}

// TestFieldOrderIsNotContent decodes an event whose fields are in another order
// and with other space between them: it must be the same event.
func TestFieldOrderIsNotContent(t *testing.T) {
	t.Parallel()
	var envelope, usage map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(full), &envelope))
	require.NoError(t, json.Unmarshal(envelope["usage"], &usage))
	rapid.Check(t, func(t *rapid.T) {
		envelope := maps.Clone(envelope)
		envelope["usage"] = shuffled(t, usage)
		got, rejection := Decode(shuffled(t, envelope))
		if rejection != nil {
			t.Fatal(rejection)
		}
		require.Equal(t, fullEvent(), got)
	})
}

func shuffled(t *rapid.T, object map[string]json.RawMessage) []byte {
	space := rapid.SampledFrom([]string{"", " ", "\t", "  \r"})
	var parts []string
	for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(object))).Draw(t, "order") {
		parts = append(parts, fmt.Sprintf("%s%q%s:%s%s", space.Draw(t, "s"), name, space.Draw(t, "s"), space.Draw(t, "s"), object[name]))
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func TestARetractionSaysWhatItCancelsAndNothingElse(t *testing.T) {
	t.Parallel()
	const short = `{"id":"evt_09","organization":"acme","occurred_at":"2026-10-01T00:00:00Z","retracts":"evt_01"%s}`
	want := billing.Event{
		ID: "evt_09", Organization: "acme", Retracts: "evt_01", OccurredAt: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
	}
	require.Equal(t, want, decoded(t, fmt.Sprintf(short, "")))
	require.Equal(t, want, decoded(t, fmt.Sprintf(short, `,"user":null,"product":null,"usage":null,"labels":{}`)))
	for field, value := range map[string]string{
		"user": `"u"`, "product": `"chat"`, "model": `"m"`, "usage": `{}`, "speed": `"standard"`, "inference_geo": `"us"`, "labels": `{"a":"b"}`,
	} {
		requireRefused(t, fmt.Sprintf(short, fmt.Sprintf(`,%q:%s`, field, value)), field, "together with retracts")
	}
	requireRefused(t, `{"organization":"acme","occurred_at":"2026-10-01T00:00:00Z","retracts":"evt_01"}`, "id", "required")
	requireRefused(t, `{"id":"evt_09","organization":"acme","retracts":"evt_01"}`, "occurred_at", "required")
	requireRefused(t, `{"id":"e","organization":"acme","occurred_at":"2026-10-01T00:00:00Z","retracts":"e"}`, "retracts", "own id")
	require.Empty(t, decoded(t, with("retracts", `""`)).Retracts)
	requireRefused(t, with("retracts", `7`), "retracts", "accepted: a string")
	require.Empty(t, decoded(t, with("retracts", "null")).Retracts)
}
