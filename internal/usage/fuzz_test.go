package usage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// FuzzDecode holds what Decode promises of any input: it never panics, what it
// accepts is strict JSON and within the format's bounds, reading it again or
// after writing it out gives the same event, and another decoder counts the
// same tokens.
func FuzzDecode(f *testing.F) {
	for _, line := range []string{
		full,
		with("labels", `{"team":"a\u0062c"}`),
		with("user", "null"),
		with("user", "\"rene\u0301e\""),
		withUsage(`"thinking_tokens":7`),
		withUsage(`"server_tool_use":{"web_fetch_requests":1,"code_execution_seconds":7}`),
		withUsage(`"server_tool_use":{"web_search_requests":0,"code_execution_seconds":7}`),
		withUsage(`"cache_creation_input_tokens":7`),
		withUsage(`"service_tier":"batch","inference_geo":"us","iterations":[{"a":1}]`),
		with("occurred_at", `"2026-10-01t05:45:00.1234567+05:45"`),
		with("id", `"a\u0000b"`),
		withUsage(`"iterations":[{"type":"compaction","input_tokens":9,"output_tokens":4},{"type":"message","input_tokens":1,"output_tokens":2}]`),
		withUsage(`"iterations":[{"type":"message","model":"a","input_tokens":9,"output_tokens":4},{"type":"fallback_message","model":"b","input_tokens":1,"output_tokens":2}]`),
		withUsage(`"fallback_credit":{"status":{"type":"redeemed"}},"details":{"x":[{"text_tokens":"4"}]}`),
		with("labels", `{"note":"4111 1111 1111 1111","n":1}`),
		`{"usage":{"input_tokens":1,"input_tokens":1}}`,
		full[:100],
		`{"id":"r","organization":"acme","occurred_at":"2026-10-01T00:00:00Z","retracts":"e"}`,
	} {
		f.Add([]byte(line))
	}
	addShapes(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		before := slices.Clone(line)
		event, rejection := Decode(line)
		require.Equal(t, before, line)
		if rejection != nil {
			require.NotEmpty(t, rejection.Reason)
			require.True(t, utf8.ValidString(rejection.Error()))
			require.Equal(t, billing.Event{ID: event.ID, Organization: event.Organization}, event)
			return
		}
		require.True(t, jsontext.Value(line).IsValid())
		requireWithinBounds(t, &event)
		requireSameCounts(t, line, &event)

		again, rejection := Decode(line)
		require.Nil(t, rejection)
		require.Equal(t, event, again)

		if event.Quantities[billing.CacheWrite5m]+event.Quantities[billing.CacheWrite1h] > billing.MaxCount {
			return // a split without a total may be more than a total can say
		}
		if event.CacheSplitAssumed && event.Quantities[billing.CacheWrite1h] > 0 {
			return // a part of the split was given
		}
		event.Unpriceable, event.Content, event.Samplings, event.Remark, event.Payload = "", nil, nil, "", nil // not written out
		written, rejection := Decode(encode(&event))
		require.Nil(t, rejection)
		require.Equal(t, event, written)
	})
}

func requireWithinBounds(t *testing.T, e *billing.Event) {
	texts := []string{e.ID, e.Retracts}
	typed := []string{e.User, e.Product, e.Model, e.ServiceTier}
	for name, value := range e.Labels {
		typed = append(typed, name, value)
		require.LessOrEqual(t, len(name), maxLabelName)
		require.NotEmpty(t, name)
	}
	for _, text := range typed {
		require.Equal(t, text, string(billing.ComposeID([]byte(text))))
		require.Empty(t, billing.CheckCharacters(text))
	}
	for _, text := range append(texts, typed...) {
		require.LessOrEqual(t, len(text), max(MaxEventID, billing.MaxModel))
		require.True(t, utf8.ValidString(text))
		require.False(t, strings.ContainsFunc(text, isControl))
	}
	require.LessOrEqual(t, len(e.Labels), maxLabels)
	require.NotEmpty(t, e.ID)
	if e.Retracts != "" {
		require.Equal(t, billing.Event{ID: e.ID, Organization: e.Organization, OccurredAt: e.OccurredAt, Retracts: e.Retracts}, *e)
		return
	}
	require.NotEmpty(t, e.Product)
	require.NotEmpty(t, e.Model)
	require.True(t, billing.ValidSlug(e.Organization))
	require.False(t, e.OccurredAt.Before(earliest))
	require.True(t, e.OccurredAt.Before(latest))
	require.Zero(t, e.OccurredAt.Nanosecond()%1000)
	for _, n := range e.Quantities {
		require.GreaterOrEqual(t, n, int64(0))
		require.LessOrEqual(t, n, int64(billing.MaxCount))
	}
	require.NotEmpty(t, e.ServiceTier)
	require.NotEmpty(t, e.Speed)
	require.NotEmpty(t, e.InferenceGeo)
	require.Equal(t, e.Unpriceable != "", e.Content != nil)
	require.Equal(t, e.Remark != "", e.Payload != nil)
	for _, part := range e.Samplings {
		require.NotEmpty(t, part.Model)
		require.NotEqual(t, billing.Quantities{}, part.Quantities)
	}
}

// requireSameCounts reads the counts by other code. The event was accepted, so no
// name in it is given twice.
func requireSameCounts(t *testing.T, line []byte, e *billing.Event) {
	var reference struct {
		Usage struct {
			Input     int64 `json:"input_tokens"`
			Output    int64 `json:"output_tokens"`
			CacheRead int64 `json:"cache_read_input_tokens"`
			Writes    int64 `json:"cache_creation_input_tokens"`
			Split     struct {
				M5 int64 `json:"ephemeral_5m_input_tokens"`
				H1 int64 `json:"ephemeral_1h_input_tokens"`
			} `json:"cache_creation"`
			Tools struct {
				Searches int64 `json:"web_search_requests"`
				Fetches  int64 `json:"web_fetch_requests"`
				Seconds  int64 `json:"code_execution_seconds"`
			} `json:"server_tool_use"`
		} `json:"usage"`
	}
	if err := jsonv2.Unmarshal(line, &reference); err != nil { // such as digits in quotes
		require.NotEmpty(t, e.Unpriceable, err)
		return
	}
	u := reference.Usage
	want := billing.Quantities{u.Input, u.Output, u.Split.M5, u.Split.H1, u.CacheRead, u.Tools.Searches, u.Tools.Seconds}
	if u.Tools.Searches+u.Tools.Fetches > 0 {
		want[billing.CodeExecution] = 0
	}
	if rest := u.Writes - u.Split.M5 - u.Split.H1; rest > 0 {
		want[billing.CacheWrite5m] += rest
		require.True(t, e.CacheSplitAssumed)
	}
	require.Equal(t, want, e.Quantities)
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n c \n"))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		last := int64(0)
		for line, err := range Scan(strings.NewReader(string(stream)), 16) {
			if err != nil {
				require.Zero(t, line)
				continue
			}
			require.Greater(t, line.Number, last)
			require.LessOrEqual(t, len(line.Bytes), 16)
			require.NotContains(t, string(line.Bytes), "\n")
			require.Equal(t, line.Rejection == nil, len(line.Bytes) > 0)
			last = line.Number
		}
	})
}

func FuzzElements(f *testing.F) {
	f.Add([]byte(`[{"a":1,"a":2}, 3 ,"x" ]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		elements, err := Elements(body, 1000)
		if err != nil {
			require.ErrorIs(t, err, billing.ErrInvalid)
			return
		}
		var reference []json.RawMessage
		require.NoError(t, json.Unmarshal(body, &reference))
		require.Len(t, elements, len(reference))
		for i := range elements {
			require.Equal(t, string(reference[i]), string(elements[i]))
		}
	})
}

// addShapes starts a fuzzer from usage objects of the field.
func addShapes(f *testing.F) {
	f.Helper()
	for _, s := range shapes(f) {
		f.Add(s.line(f))
	}
}
