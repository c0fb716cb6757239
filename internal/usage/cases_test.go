package usage

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Requests that other tools were seen to bill wrongly, and what they cost by the book
// anthropic-2026-01.
func TestCasesFromTheField(t *testing.T) {
	t.Parallel()
	const sonnet, opus = "claude-sonnet-4-6", "claude-opus-4-5"
	rater := raterOf(t, "anthropic-2026-01")
	for name, c := range map[string]struct{ model, usage, cost, parked string }{
		"compaction stands in the iterations alone": {
			sonnet, `{"input_tokens":23000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1000,"service_tier":"standard",` +
				`"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},{"type":"message","input_tokens":23000,"output_tokens":1000}]}`,
			"0.6765", "",
		},
		"a split below its total": {
			opus, `{"input_tokens":5,"cache_creation_input_tokens":4000,"cache_read_input_tokens":0,"output_tokens":100,` +
				`"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"server_tool_use":{"web_search_requests":1}}`,
			"0.037525", "",
		},
		"nulls throughout": {
			opus, `{"input_tokens":5,"cache_creation_input_tokens":4000,"cache_read_input_tokens":0,"output_tokens":100,"cache_creation":null,` +
				`"server_tool_use":null,"service_tier":null,"inference_geo":null,"iterations":null,"speed":null}`,
			"0.027525", "",
		},
		"an empty geography": {
			sonnet, `{"input_tokens":3,"cache_creation_input_tokens":6044,"cache_read_input_tokens":11055,"output_tokens":153,` +
				`"server_tool_use":{"web_search_requests":0,"web_fetch_requests":0},"service_tier":"standard",` +
				`"cache_creation":{"ephemeral_1h_input_tokens":6044,"ephemeral_5m_input_tokens":0},"inference_geo":"","iterations":[],"speed":"standard"}`,
			"0.0418845", "",
		},
		"a geography that is not offered":      {sonnet, `{"input_tokens":1000000,"output_tokens":0,"inference_geo":"not_available"}`, "6", ""},
		"a geography that nobody prices":       {sonnet, `{"input_tokens":1000000,"output_tokens":0,"inference_geo":"eu"}`, "", "inference geography eu has no price"},
		"a service tier that nobody prices":    {sonnet, `{"input_tokens":1000000,"output_tokens":0,"service_tier":"flex"}`, "", "service tier flex has no price"},
		"priority without a multiplier":        {"claude-sonnet-4-5", `{"input_tokens":1000000,"output_tokens":0,"service_tier":"priority"}`, "", "service tier priority has no price"},
		"a batch":                              {"claude-sonnet-4-5", `{"input_tokens":100000,"output_tokens":1000,"service_tier":"batch"}`, "0.1575", ""},
		"thinking is a part of the output":     {"claude-sonnet-4-5", `{"input_tokens":1000,"output_tokens":10,"output_tokens_details":{"thinking_tokens":7},"server_tool_use":{"web_search_requests":3,"tool_search_requests":2}}`, "0.03315", ""},
		"thinking beside the output":           {"claude-sonnet-4-5", `{"input_tokens":1000,"output_tokens":10,"thinking_tokens":7}`, "", "usage.thinking_tokens is a token count without a price"},
		"the API's dated id":                   {"claude-sonnet-4-5-20250929", `{"input_tokens":1000000,"output_tokens":0}`, "6", ""},
		"an inference profile of Bedrock":      {"us.anthropic.claude-sonnet-4-5-20250929-v1:0", `{"input_tokens":1000000,"output_tokens":0}`, "6", ""},
		"a name of Vertex AI":                  {"claude-opus-4-1@20250805", `{"input_tokens":1000000,"output_tokens":0}`, "15", ""},
		"a name of OpenRouter":                 {"anthropic/claude-sonnet-4.5", `{"input_tokens":1000000,"output_tokens":0}`, "6", ""},
		"a name in capitals":                   {"Claude-Sonnet-4-5", `{"input_tokens":1000000,"output_tokens":0}`, "6", ""},
		"a row of a stream":                    {opus, `{"input_tokens":10,"cache_creation_input_tokens":11862,"cache_read_input_tokens":15555,"output_tokens":427}`, "0.09264", ""},
		"an answer that Claude Code made up":   {"<synthetic>", `{"input_tokens":0,"output_tokens":0,"service_tier":null}`, "", "model <synthetic> is not in price book anthropic-2026-01"},
		"a batch in fast mode, which is none":  {"claude-opus-4-6", `{"input_tokens":1,"output_tokens":1,"service_tier":"batch","speed":"fast"}`, "", "model claude-opus-4-6 has no batch price for speed fast"},
		"an iteration that nobody knows":       {sonnet, `{"input_tokens":1,"output_tokens":1,"iterations":[{"type":"planner","input_tokens":1,"output_tokens":1}]}`, "", "usage.iterations[0].type planner is not known"},
		"iterations that do not add up":        {sonnet, `{"input_tokens":2,"output_tokens":1,"iterations":[{"type":"message","input_tokens":1,"output_tokens":1}]}`, "", "usage.iterations add up to 1 input, 0 cache write, 0 cache read and 1 output tokens, and usage counts 2 input, 0 cache write, 0 cache read and 1 output tokens"},
		"a split above its total":              {opus, `{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":6}}`, "", "usage.cache_creation counts 6 tokens and usage.cache_creation_input_tokens 5"},
		"counts in another provider's words":   {opus, `{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14}`, "", "usage.completion_tokens is a token count without a price"},
		"a fallback credit in an unknown form": {opus, `{"input_tokens":1,"output_tokens":1,"fallback_credit":{"status":{"type":"expired"}}}`, "", "usage.fallback_credit is expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const line = `{"id":"e","organization":"acme","user":"u1","occurred_at":"2026-10-02T09:00:00Z","product":"chat","model":%q,"usage":%s}`
			event := decoded(t, fmt.Sprintf(line, c.model, c.usage))
			cost, _, parked := priceOf(rater, &event)
			require.Equal(t, c.parked, parked)
			if parked == "" {
				require.Equal(t, c.cost, cost.String())
			}
		})
	}
}
