package usage

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireSameAsWhole reads a line by the shortcut, where that takes it, and as a
// whole.
func requireSameAsWhole(t *testing.T, line string) (taken bool) {
	t.Helper()
	d := newDecoder()
	event, rejection := d.decode([]byte(line))
	d.begin()
	taken = d.plain([]byte(line))
	whole, wholeRejection := newDecoder().decodeWhole([]byte(line))
	require.Equal(t, wholeRejection, rejection, line)
	require.Equal(t, whole, event, line)
	return taken
}

func TestTheShortcutReadsUsualLinesAsTheWholeReadingDoes(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		full, member(7), with("user", `"u"`), withUsage(`"service_tier":"batch"`), withUsage(`"cache_creation_input_tokens":7`),
		strings.ReplaceAll(full, `":`, `" : `), " " + full + " ", withUsage(`"cache_read_input_tokens":1000000000000`),
		with("user", "null"), with("user", `""`), withUsage(`"speed":"fast"`), withUsage(`"inference_geo":"","iterations":[],"speed":null`),
		withUsage(`"server_tool_use":null,"cache_creation":null,"iterations":null,"output_tokens_details":{"thinking_tokens":7}`),
		withUsage(`"server_tool_use":{"web_search_requests":0,"web_fetch_requests":1},"service_tier":""`),
		with("product", `"a/b"`), with("model", `"anthropic/claude-sonnet-4.5"`),
		withUsage(`"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_1h_input_tokens":7},` +
			`"iterations":[{"type":"message","input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":7},{"type":"compaction","model":"m","input_tokens":3,"output_tokens":4,` +
			`"cache_creation":{"ephemeral_1h_input_tokens":5}}]`),
		withUsage(`"server_tool_use":{"code_execution_seconds":7,"tool_search_requests":1},"fallback_credit":null,"note":"x"`),
	} {
		require.True(t, requireSameAsWhole(t, line), line)
	}
}

func TestTheShortcutLeavesEverythingElseToTheWholeReading(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "{", "[]", "null", full[:100], full + "}", full + " x", full[:len(full)-1] + ",}", strings.Replace(full, ",", ",,", 1),
		with("id", `"\u0061"`), with("id", `"ä"`), with("id", `""`), with("id", "7"), with("id", "\"a\tb\""), with("id", "\"a\x7fb\""), with("id", `"a`),
		with("user", `" u"`), with("organization", `"ACME"`), with("occurred_at", `"today"`),
		with("labels", `{"team":"a"}`), with("speed", `"fast"`), with("inference_geo", `"us"`), with("retracts", `"x"`),
		with("usage", "null"), with("usage", `{"input_tokens":01,"output_tokens":1}`),
		with("usage", `{"input_tokens":1.0,"output_tokens":1}`), with("usage", `{"input_tokens":-1,"output_tokens":1}`),
		with("usage", `{"input_tokens":1000000000001,"output_tokens":1}`), with("usage", `{"input_tokens":1 2,"output_tokens":1}`),
		withUsage(`"input_tokens":1`), withUsage(`"thinking_tokens":7`), withUsage(`"server_tool_use":{"x":1,"y":2}`), withUsage(`"server_tool_use":{"x":{}}`), withUsage(`"server_tool_use":{"Web_Search_Requests":2}`),
		withUsage(`"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_5m_input_tokens":1}`), withUsage(`"iterations":[7]`), withUsage(`"iterations":[{}`),
		withUsage(`"iterations":[{"type":"message","type":"message"}]`), withUsage(`"iterations":[{"text_tokens":1}]`), withUsage(`"fallback_credit":{}`),
		strings.Replace(full, "{", "{\"id\":\"twice\",", 1), strings.Replace(full, ",", ",\n", 1), "\ufeff" + full,
	} {
		require.False(t, requireSameAsWhole(t, line), line)
	}
	// Taken by the shortcut, and refused by what both check behind it.
	requireSameAsWhole(t, withUsage(`"cache_creation_input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":7}`))
	requireSameAsWhole(t, with("model", ""))
	requireSameAsWhole(t, "{}")
	requireSameAsWhole(t, with("usage", "{}"))
	requireSameAsWhole(t, withUsage(`"iterations":[`+strings.Repeat(`{"type":"message"},`, maxIterations)+`{"type":"message"}]`))
}

func TestEveryByteOutOfPlaceIsNoticed(t *testing.T) {
	t.Parallel()
	for at := range full {
		for _, c := range []byte{0, '\n', '"', '\\', '{', '}', ',', ':', '0', '-', ' ', 0x7f, 0x80, 0xff} {
			requireSameAsWhole(t, full[:at]+string([]byte{c})+full[at+1:])
		}
		requireSameAsWhole(t, full[:at]+full[at+1:])
	}
}

func FuzzTheShortcutAgrees(f *testing.F) {
	for _, line := range []string{full, with("user", `"u"`), withUsage(`"cache_creation_input_tokens":7`)} {
		f.Add(line)
	}
	for _, s := range shapes(f) {
		f.Add(string(s.line(f)))
	}
	f.Fuzz(func(t *testing.T, line string) { requireSameAsWhole(t, line) })
}
