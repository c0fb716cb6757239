package usage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Two spellings of one name: with its accent as a character of its own, and not.
const (
	apart    = "rene\u0301e"
	together = "ren\u00e9e"
)

// typed are the fields whose values people type.
var typed = map[string]struct {
	with  func(value string) string
	read  func(billing.Event) string
	field string
}{
	"user":         {func(v string) string { return with("user", v) }, func(e billing.Event) string { return e.User }, "user"},
	"product":      {func(v string) string { return with("product", v) }, func(e billing.Event) string { return e.Product }, "product"},
	"model":        {func(v string) string { return with("model", v) }, func(e billing.Event) string { return e.Model }, "model"},
	"service tier": {func(v string) string { return withUsage(`"service_tier":` + v) }, func(e billing.Event) string { return e.ServiceTier }, "usage.service_tier"},
	"label value":  {func(v string) string { return with("labels", `{"team":`+v+`}`) }, func(e billing.Event) string { return e.Labels["team"] }, "labels.team"},
	"label name": {
		func(v string) string { return with("labels", "{"+v+`:"a"}`) }, func(e billing.Event) string {
			for name := range e.Labels {
				return name
			}
			return ""
		}, "",
	},
}

func TestWhatPeopleTypeInEventsIsReadInOneSpelling(t *testing.T) {
	t.Parallel()
	for name, c := range typed {
		d := newDecoder()
		for range 2 { // read, and known
			for _, spelling := range []string{apart, together, `rene\u0301e`, `ren\u00e9e`} {
				event, rejection := d.decode([]byte(c.with(`"` + spelling + `"`)))
				require.Nil(t, rejection, "%s %+q", name, spelling)
				require.Equal(t, together, c.read(event), "%s %+q", name, spelling)
			}
		}
	}
	sent, again := decoded(t, with("user", `"`+apart+`"`)), decoded(t, with("user", `"`+together+`"`))
	require.Equal(t, sent.Fingerprint(), again.Fingerprint(), "the same event, sent again in another spelling")
}

func TestInvisibleCharactersInEventsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for name, c := range typed {
		for character, reason := range map[string]string{
			"\u202e": "contains U+202E RIGHT-TO-LEFT OVERRIDE, which is invisible and changes the direction of text; accepted: ",
			"\u200b": "contains U+200B ZERO WIDTH SPACE, which is invisible; accepted: ",
			"\u2028": "contains U+2028 LINE SEPARATOR, which is invisible and breaks the line; accepted: ",
		} {
			event, rejection := Decode([]byte(c.with(`"a` + character + `b"`)))
			if strings.HasPrefix(name, "label") {
				require.Nil(t, rejection)
				require.Equal(t, map[string]string{"\u202e": "ab", "\u200b": "ab", "\u2028": "a b"}[character], c.read(event), "a label is cleaned instead")
				continue
			}
			require.NotNil(t, rejection, "%s %+q", name, character)
			require.Contains(t, rejection.Reason, reason, "%s", name)
			if c.field != "" {
				require.Equal(t, c.field, rejection.Field)
			}
		}
	}
}

func TestOneLabelInTwoSpellingsIsOneLabel(t *testing.T) {
	t.Parallel()
	for _, labels := range []string{`{"%s":"a","%s":"b"}`, `{"%s":"b","%s":"a"}`} {
		event := decoded(t, with("labels", fmt.Sprintf(labels, apart, together)))
		require.Equal(t, map[string]string{together: "a"}, event.Labels, "the first in the alphabet, in whatever order they come")
		require.Contains(t, event.Remark, together)
	}
}

func TestAnInternerKeepsOneStringForAllSpellings(t *testing.T) { // not parallel: AllocsPerRun counts what others allocate
	names := newInterner(1 << 10)
	for range 2 {
		for _, spelling := range []string{apart, together} {
			s, wrong := names.take([]byte(spelling), checkUser)
			require.Empty(t, wrong)
			require.Equal(t, together, s)
		}
	}
	text := []byte(apart)
	require.Zero(t, testing.AllocsPerRun(100, func() { names.take(text, checkUser) }), "what is known costs nothing")
}
