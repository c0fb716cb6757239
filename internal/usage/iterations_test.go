package usage

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestEachIterationIsBilledByItself(t *testing.T) {
	t.Parallel()
	tokens := func(in, out int64) billing.Quantities {
		return billing.Quantities{billing.Input: in, billing.Output: out}
	}
	for name, c := range map[string]struct {
		usage string
		want  []billing.Sampling
	}{
		"none is the request itself":            {`{"input_tokens":1,"output_tokens":2}`, nil},
		"one that says the same":                {`{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message","input_tokens":1,"output_tokens":2}]}`, nil},
		"the same, by the model's name":         {`{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message","model":"m","input_tokens":1,"output_tokens":2}]}`, nil},
		"two that count nothing, and the whole": {`{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"compaction"},{"type":"message","input_tokens":1,"output_tokens":2},{"type":"advisor_message","model":"x"}]}`, nil},
		"a compaction beside the request": {
			`{"input_tokens":23,"output_tokens":1,"iterations":[{"type":"compaction","input_tokens":180,"output_tokens":3},{"type":"message","input_tokens":23,"output_tokens":1}]}`,
			[]billing.Sampling{{Model: "m", Quantities: tokens(180, 3)}, {Model: "m", Quantities: tokens(23, 1)}},
		},
		"a compaction alone": {
			`{"input_tokens":0,"output_tokens":0,"iterations":[{"type":"compaction","input_tokens":180,"output_tokens":3}]}`,
			[]billing.Sampling{{Model: "m", Quantities: tokens(180, 3)}},
		},
		"the turns of a tool loop, and an advisor of another model": {
			`{"input_tokens":1760,"output_tokens":531,"iterations":[{"type":"message","input_tokens":412,"output_tokens":89},` +
				`{"type":"advisor_message","model":"best","input_tokens":823,"output_tokens":1612},{"type":"message","input_tokens":1348,"output_tokens":442}]}`,
			[]billing.Sampling{{Model: "m", Quantities: tokens(412, 89)}, {Model: "best", Quantities: tokens(823, 1612)}, {Model: "m", Quantities: tokens(1348, 442)}},
		},
		"a model that declined before any output is not charged": {
			`{"input_tokens":412,"output_tokens":264,"iterations":[{"type":"message","model":"first","input_tokens":535,"output_tokens":0},` +
				`{"type":"fallback_message","model":"m","input_tokens":412,"output_tokens":264}]}`,
			nil,
		},
		"one that declined after some is": {
			`{"input_tokens":412,"output_tokens":264,"iterations":[{"type":"message","model":"first","input_tokens":535,"output_tokens":7},` +
				`{"type":"fallback_message","model":"m","input_tokens":412,"output_tokens":264}]}`,
			[]billing.Sampling{{Model: "first", Quantities: tokens(535, 7)}, {Model: "m", Quantities: tokens(412, 264)}},
		},
		"the serving model's earlier turns": {
			`{"input_tokens":12,"output_tokens":6,"iterations":[{"type":"message","model":"first","input_tokens":9,"output_tokens":0},` +
				`{"type":"message","model":"m","input_tokens":5,"output_tokens":2},{"type":"fallback_message","model":"m","input_tokens":7,"output_tokens":4}]}`,
			[]billing.Sampling{{Model: "m", Quantities: tokens(5, 2)}, {Model: "m", Quantities: tokens(7, 4)}},
		},
		"tools go with the sampling that served": {
			`{"input_tokens":3,"output_tokens":2,"server_tool_use":{"web_search_requests":2},"iterations":[{"type":"message","input_tokens":1,"output_tokens":1},` +
				`{"type":"message","input_tokens":2,"output_tokens":1},{"type":"compaction","input_tokens":9,"output_tokens":1}]}`,
			[]billing.Sampling{
				{Model: "m", Quantities: tokens(1, 1)},
				{Model: "m", Quantities: billing.Quantities{billing.Input: 2, billing.Output: 1, billing.WebSearch: 2}},
				{Model: "m", Quantities: tokens(9, 1)},
			},
		},
		"an entry's own split": {
			`{"input_tokens":0,"output_tokens":0,"cache_creation_input_tokens":5,"iterations":[` +
				`{"type":"message","cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":5,"ephemeral_5m_input_tokens":0}},` +
				`{"type":"compaction","cache_creation_input_tokens":4}]}`,
			[]billing.Sampling{
				{Model: "m", Quantities: billing.Quantities{billing.CacheWrite1h: 5}},
				{Model: "m", Quantities: billing.Quantities{billing.CacheWrite5m: 4}, CacheSplitAssumed: true},
			},
		},
		"the request's split, where it is of one class": {
			`{"input_tokens":1,"output_tokens":0,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":5},"iterations":[` +
				`{"type":"message","cache_creation_input_tokens":2},{"type":"message","input_tokens":1,"cache_creation_input_tokens":3}]}`,
			[]billing.Sampling{
				{Model: "m", Quantities: billing.Quantities{billing.CacheWrite1h: 2}},
				{Model: "m", Quantities: billing.Quantities{billing.Input: 1, billing.CacheWrite1h: 3}},
			},
		},
		"a redeemed fallback credit is in the counts already": {
			`{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":3,"fallback_credit":{"status":{"type":"redeemed"}}}`, nil,
		},
		"one that was not applied": {`{"input_tokens":1,"output_tokens":2,"fallback_credit":{"status":{"type":"not_applied","reason":"expired"}}}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event := decoded(t, with("usage", c.usage))
			require.Empty(t, event.Unpriceable)
			require.Equal(t, c.want, event.Samplings)
		})
	}
}

func TestIterationsThatDoNotAgreeWithTheirRequestMakeItUnpriceable(t *testing.T) {
	t.Parallel()
	for usage, want := range map[string]string{
		`{"input_tokens":412,"output_tokens":531,"iterations":[{"type":"message","input_tokens":412,"output_tokens":89},{"type":"message","input_tokens":1348,"output_tokens":442}]}`: "usage.iterations add up to 1760 input, 0 cache write, 0 cache read and 531 output tokens, and usage counts 412 input, 0 cache write, 0 cache read and 531 output tokens",
		`{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message","input_tokens":1,"output_tokens":2},{"type":"reflection","input_tokens":5,"output_tokens":1}]}`:          "usage.iterations[1].type reflection is not known",
		`{"input_tokens":1,"output_tokens":2,"iterations":[{"input_tokens":1,"output_tokens":2}]}`:                                                                                    `usage.iterations[0].type "" is not known`,
		`{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"compaction","cache_creation_input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":2}}]}`:                  "usage.iterations[0]: usage.cache_creation counts 2 tokens and usage.cache_creation_input_tokens 1",
		`{"input_tokens":1,"output_tokens":2,"fallback_credit":{"status":{"type":"partial"}}}`:                                                                                        "usage.fallback_credit is partial",
		`{"input_tokens":1,"output_tokens":2,"fallback_credit":{"amount":5}}`:                                                                                                         "usage.fallback_credit is of an unknown form",
		`{"input_tokens":1,"output_tokens":2,"fallback_credit":true}`:                                                                                                                 "usage.fallback_credit is of an unknown form",
	} {
		event := decoded(t, with("usage", usage))
		require.Equal(t, want, event.Unpriceable, usage)
		require.Empty(t, event.Samplings)
		again := decoded(t, with("usage", usage+" "))
		require.Equal(t, event.Fingerprint(), again.Fingerprint())
	}
	requireRefused(t, withUsage(`"iterations":{}`), "usage.iterations", "an object; accepted: an array")
	requireRefused(t, withUsage(`"iterations":[7]`), "usage.iterations[0]", "a number; accepted: an object")
	requireRefused(t, withUsage(`"iterations":[{"type":"message","input_tokens":-1}]`), "usage.iterations[0].input_tokens", "accepted: a whole number")
	requireRefused(t, withUsage(`"iterations":[{"type":"message","type":"message"}]`), "usage.iterations.0.type", "twice")
	requireRefused(t, withUsage(`"iterations":[`), "", "is not JSON")
}
