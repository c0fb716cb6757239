package usage

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestACountInQuotesIsParked(t *testing.T) {
	t.Parallel()
	event := decoded(t, with("usage", `{"input_tokens":"3180","output_tokens":8}`))
	require.Equal(t, "usage.input_tokens is a number in quotes", event.Unpriceable)
	require.Equal(t, int64(3180), event.Quantities[billing.Input])
}

func TestUnknownPartsOfUsageAreLeftUnread(t *testing.T) {
	t.Parallel()
	event := decoded(t, withUsage(`"output_tokens_details":{"thinking_tokens":5,"audio_tokens":1},"ttft_ms":80,"Speeds":"x","SPEED":null,"serviceTier":"",`+
		`"server_tool_use":{"web_fetch_requests":4,"code_execution_requests":2,"tool_search_requests":1,"web_search_requests":3},"note":"x","n":-1.5e3,"b":true,"x":{"y":[5]}`))
	require.Equal(t, billing.Quantities{billing.Input: 1, billing.Output: 2, billing.WebSearch: 3}, event.Quantities)
	require.Empty(t, event.Unpriceable)
	require.Nil(t, event.Content)
}

func TestACountOfTokensThatNobodyKnowsMakesAnEventUnpriceable(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]string{
		`"thinking_tokens":1`:           "thinking_tokens",
		`"thinking_tokens":0`:           "",
		`"thinking_tokens":null`:        "",
		`"thinking_tokens":-0`:          "",
		`"thinking_tokens":0.00`:        "",
		`"thinking_tokens":0e9`:         "",
		`"thinking_tokens":{}`:          "",
		`"thinking_tokens":true`:        "",
		`"thinking_tokens":"no"`:        "",
		`"thinking_tokens":"0"`:         "",
		`"thinking_tokens":""`:          "",
		`"thinking_tokens":[1]`:         "thinking_tokens",
		`"thinking_tokens":0.1`:         "thinking_tokens",
		`"thinking_tokens":1e30`:        "thinking_tokens",
		`"thinking_tokens":-5`:          "thinking_tokens",
		`"thinking_tokens":"5"`:         "thinking_tokens",
		`"Thinking_TOKENS":5`:           "Thinking_TOKENS",
		`"inputTokens":5`:               "inputTokens",
		`"Input_Tokens":5`:              "Input_Tokens",
		`"tokens":5`:                    "tokens",
		`"cacheWriteInputTokenCount":5`: "cacheWriteInputTokenCount",
		`"prompt_tokens_details":{"cached":0,"audio":[0,{"x":1}]}`:                                                        "prompt_tokens_details",
		`"prompt_tokens_details":{"cached":0,"audio":[0,{"x":0}]}`:                                                        "",
		`"details":{"a":{"b":[{"c":1,"text_tokens":2}]}}`:                                                                 "details",
		`"details":{"a":{"b":[{"text_tokens":0,"c":1}]},"d":7}`:                                                           "",
		`"details":{"token":{"x":0},"y":1}`:                                                                               "",
		`"server_tool_use":{"extra_tokens":8}`:                                                                            "server_tool_use.extra_tokens",
		`"z_tokens":1,"cache_creation":{"ephemeral_24h_input_tokens":5},"a_tokens":1`:                                     "a_tokens",
		`"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_24h_input_tokens":5}`: "cache_creation.ephemeral_24h_input_tokens",
		`"iterations":[{"type":"message","input_tokens":1,"output_tokens":2,"audio_tokens":5}]`:                           "iterations[0].audio_tokens",
	} {
		event := decoded(t, "  "+withUsage(members)+"\r")
		if want == "" {
			require.Empty(t, event.Unpriceable, members)
			continue
		}
		require.Equal(t, "usage."+want+" is a token count without a price", event.Unpriceable, members)
		require.NotEmpty(t, event.Content)
	}
}

func TestUsageInOtherWordsAloneIsParkedAndNotRefused(t *testing.T) {
	t.Parallel()
	for usage, unknown := range map[string]string{
		`{"inputTokens":12,"outputTokens":3,"totalTokens":15}`:         "inputTokens",
		`{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}`: "completion_tokens",
		`{"output_tokens":3,"prompt_tokens":12}`:                       "prompt_tokens",
	} {
		require.Equal(t, "usage."+unknown+" is a token count without a price", decoded(t, with("usage", usage)).Unpriceable, usage)
	}
	requireRefused(t, with("usage", `{"inputTokens":0,"outputTokens":0}`), "usage.input_tokens", "required")
}

func TestAnotherSpellingOfANameThatDecidesAboutMoneyIsNotOverlooked(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]string{
		`"serviceTier":"batch"`:                     "usage.serviceTier is another spelling of service_tier",
		`"SPEED":"fast"`:                            "usage.SPEED is another spelling of speed",
		`"server_tool_use":{"webSearchRequests":2}`: "usage.server_tool_use.webSearchRequests is another spelling of web_search_requests",
		`"server_tool_use":{"webSearchRequests":0}`: "",
		`"serverToolUse":{}`:                        "",
		`"Iterations":[]`:                           "",
		`"Iterations":[{"type":"message"}]`:         "usage.Iterations is another spelling of iterations",
		`"cacheCreation":{"a":1}`:                   "usage.cacheCreation is another spelling of cache_creation",
	} {
		require.Equal(t, want, decoded(t, withUsage(members)).Unpriceable, members)
	}
}

func TestWhatIsUnpriceableIsRecognisedInAnotherSpelling(t *testing.T) {
	t.Parallel()
	fingerprint := func(usage string) [16]byte {
		event := decoded(t, with("usage", usage))
		require.NotEmpty(t, event.Unpriceable)
		return event.Fingerprint()
	}
	original := fingerprint(`{"input_tokens":1,"output_tokens":2,"thinking_tokens":7}`)
	for _, same := range []string{
		`{ "thinking_tokens" : 7, "output_tokens":2,  "input_tokens":1 }`,
		`{"input_tokens":1,"output_tokens":2,"thinking_\u0074okens":7,"speed":null,"inference_geo":"","iterations":[]}`,
		`{"input_tokens":1,"output_tokens":2,"thinking_tokens":7.0}`,
	} {
		require.Equal(t, original, fingerprint(same), same)
	}
	for _, other := range []string{
		`{"input_tokens":1,"output_tokens":2,"thinking_tokens":8}`,
		`{"input_tokens":1,"output_tokens":2,"thinking_tokens":"7"}`,
		`{"input_tokens":1,"output_tokens":2,"thinking_tokens":7,"audio_tokens":1}`,
	} {
		require.NotEqual(t, original, fingerprint(other), other)
	}
}
