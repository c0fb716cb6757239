package usage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALabelIsNeverAReasonToRefuseUsage(t *testing.T) {
	t.Parallel()
	require.Nil(t, decoded(t, with("labels", "null")).Labels)
	require.Nil(t, decoded(t, with("labels", "{}")).Labels)
	event := decoded(t, with("labels", `{"cost_centre":"42","note":"","café":" a "}`))
	require.Equal(t, map[string]string{"cost_centre": "42", "café": " a "}, event.Labels)
	require.Empty(t, event.Remark)
	require.Nil(t, event.Payload)

	for value, want := range map[string]map[string]string{
		`{"a":1,"b":true,"c":null,"d":1.50}`:       {"a": "1", "b": "true", "d": "1.50"},
		`{"a":"b","A":"c"}`:                        {"a": "b", "A": "c"},
		`{"a":"` + strings.Repeat("v", 200) + `"}`: {"a": strings.Repeat("v", 200)},
	} {
		event := decoded(t, with("labels", value))
		require.Equal(t, want, event.Labels, value)
		require.Empty(t, event.Remark, value)
	}
	for value, want := range map[string]map[string]string{
		`[]`:                      nil,
		`["a"]`:                   nil,
		`"a"`:                     nil,
		`{"a":{"b":"c"},"d":"e"}`: {"d": "e"},
		`{"":"a","b":"c"}`:        {"b": "c"},
		`{"a":"b\u001bc"}`:        {"a": "b c"},
		`{"a":"b\nc"}`:            {"a": "b c"},
		`{"a\tb":"c"}`:            {"a b": "c"},
		`{"a":"` + strings.Repeat("é", 101) + `"}`: {"a": strings.Repeat("é", 100)},
		`{"` + strings.Repeat("k", 41) + `":"a"}`:  {strings.Repeat("k", 40): "a"},
		`{"note":"card 4111 1111 1111 1111"}`:      {"note": "card **** **** **** 1111"},
		`{"4242424242424242":"x"}`:                 {"************4242": "x"},
	} {
		event := decoded(t, with("labels", value))
		require.Equal(t, want, event.Labels, value)
		if value == `[]` {
			continue
		}
		require.Contains(t, event.Remark, "labels were changed to be taken", value)
		kept := decoded(t, string(event.Payload))
		require.Equal(t, event.Fingerprint(), kept.Fingerprint(), "what is kept is the same event")
		require.NotContains(t, string(event.Payload), "4111")
	}
	many := decoded(t, with("labels", hostile(60, `"v"`)))
	require.Len(t, many.Labels, 50)
	require.Contains(t, many.Remark, "and others")
}

func TestCardNumbersAreMaskedAndNothingElseIs(t *testing.T) {
	t.Parallel()
	for value, masked := range map[string]string{
		"4242424242424242":                     "************4242",
		"4242 4242 4242 4242":                  "**** **** **** 4242",
		"4242-4242-4242-4242":                  "****-****-****-4242",
		"card 378282246310005.":                "card ***********0005.",
		"5555555555554444":                     "************4444",
		"6011000990139424":                     "************9424",
		"4222222222222":                        "*********2222",
		"6304000000000000000":                  "***************0000",
		"a 4242424242424242, 4000056655665556": "a ************4242, ************5556",
	} {
		event := decoded(t, with("labels", `{"note":"`+value+`"}`))
		require.Equal(t, masked, event.Labels["note"])
		require.Equal(t, "labels were changed to be taken: note", event.Remark)
	}
	for _, value := range []string{
		"4242424242424241", "424242424242", "42424242424242424242", "1760000000008", "0000000000000000",
		"2026-10-01T00:00:40.523394Z", "4242 x 4242 x 4242 x 4242", "4242  4242  4242  4242", "9b2f1c5e-7a54-4d8e-9f10-123456789012",
		"7ee5e857-3489-4498-9143-40ff813fb5cd", "x4000056655665556y", "order-4242-4242-4242-4242-7",
	} {
		event := decoded(t, with("labels", `{"note":"`+value+`"}`))
		require.Equal(t, value, event.Labels["note"])
		require.Empty(t, event.Remark)
	}
}

func TestNoneOfTenThousandRandomUUIDsIsTakenForACardNumber(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewChaCha8([32]byte{7}))
	for range 10_000 {
		a, b := random.Uint64(), random.Uint64()
		id := fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a), uint16(a>>32), a>>48&0xfff, 0x8000|b>>50&0x3fff, b&0xffffffffffff)
		event := decoded(t, with("labels", `{"request_id":"`+id+`"}`))
		require.Equal(t, id, event.Labels["request_id"])
		require.Empty(t, event.Remark)
	}
}
