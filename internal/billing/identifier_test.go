package billing_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"

	"github.com/arrears-dev/arrears/internal/billing"
)

const longID = "; accepted: 1 to 200 bytes without control or invisible characters, and no space at the ends"

func TestTwoSpellingsOfOneNameAreOneID(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ given, want string }{
		"an accent apart from its letter":       {"rene\u0301e", "ren\u00e9e"},
		"an accent on its letter":               {"ren\u00e9e", "ren\u00e9e"},
		"two marks in another order":            {"a\u0323\u0302", "\u1ead"},
		"Hangul by its letters":                 {"\u1112\u1161\u11ab", "\ud55c"},
		"the unit of temperature":               {"\u212a", "K"},
		"the unit of resistance":                {"\u2126", "\u03a9"},
		"what NFC keeps apart":                  {"\u0958", "\u0915\u093c"},
		"ASCII":                                 {"renee@acme.example", "renee@acme.example"},
		"spaces within":                         {"Ren\u00e9e de Vries", "Ren\u00e9e de Vries"},
		"Persian, with the joiner of its words": {"\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"},
		"Sinhala, with the joiner of its words": {"\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0dc1\u0dca\u200d\u0dbb\u0dd3"},
		"a joiner beside other text":            {"\u2603\u00b7\u0915\u094d\u200d\u0937\u00b7\u2603", "\u2603\u00b7\u0915\u094d\u200d\u0937\u00b7\u2603"},
		"text from right to left":               {"\u05de\u05e8\u05d9\u05dd", "\u05de\u05e8\u05d9\u05dd"},
	} {
		got, err := billing.NormalizeID(c.given, billing.MaxID)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.want, string(billing.ComposeID([]byte(c.given))), name)
	}
}

func TestNothingIsFoldedBeyondNFC(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"alice", "Alice"},
		{"alice", "\uff41\uff4c\uff49\uff43\uff45"}, // full width
		{"stra\u00dfe", "strasse"},
		{"ren\u00e9e", "renee"},
		{"file", "\ufb01le"},    // the ligature
		{"m2", "m\u00b2"},       // superscript
		{"alice", "\u0430lice"}, // Cyrillic
		{"a b", "a  b"},         // two spaces
		{"\u05d0", "\u2135"},    // alef, and the symbol
	} {
		first, err := billing.NormalizeID(pair[0], billing.MaxID)
		require.NoError(t, err)
		second, err := billing.NormalizeID(pair[1], billing.MaxID)
		require.NoError(t, err)
		require.NotEqual(t, first, second)
	}
}

func TestAnIDThatCannotBeReadIsRefusedByName(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                                  "is empty",
		strings.Repeat("x", 201):            "has 201 bytes",
		strings.Repeat("\u00e9", 101):       "has 202 bytes",
		" alice":                            "begins or ends with a space",
		"alice ":                            "begins or ends with a space",
		"ren\xe9e":                          "is not valid UTF-8",
		"a\tb":                              "contains U+0009, a control character",
		"a\u009b31m":                        "contains U+009B, a control character",
		"alice\u202e":                       "contains U+202E RIGHT-TO-LEFT OVERRIDE, which is invisible and changes the direction of text",
		"\u200fmiriam":                      "contains U+200F RIGHT-TO-LEFT MARK, which is invisible and changes the direction of text",
		"alice\u200b":                       "contains U+200B ZERO WIDTH SPACE, which is invisible",
		"\ufeffalice":                       "contains U+FEFF ZERO WIDTH NO-BREAK SPACE, which is invisible",
		"al\u00adice":                       "contains U+00AD SOFT HYPHEN, which is invisible",
		"al\u2060ice":                       "contains U+2060 WORD JOINER, which is invisible",
		"\u2764\ufe0f":                      "contains U+FE0F VARIATION SELECTOR-16, which is invisible",
		"alice\U000e0041":                   "contains U+E0041 TAG LATIN CAPITAL LETTER A, which is invisible",
		"alice\u3164":                       "contains U+3164 HANGUL FILLER, which is invisible",
		"alice\u2800":                       "contains U+2800 BRAILLE PATTERN BLANK, which is invisible",
		"alice\u2065":                       "contains U+2065, which is invisible",
		"a\u034fb":                          "contains U+034F COMBINING GRAPHEME JOINER, which is invisible, or has more than 30 marks on one character",
		"a" + strings.Repeat("\u0316", 40):  "contains U+034F COMBINING GRAPHEME JOINER, which is invisible, or has more than 30 marks on one character",
		"alice\u00a0smith":                  "contains U+00A0 NO-BREAK SPACE, which looks like a space",
		"\u3000alice":                       "contains U+3000 IDEOGRAPHIC SPACE, which looks like a space",
		"a\u2028b":                          "contains U+2028 LINE SEPARATOR, which is invisible and breaks the line",
		"a\ue000":                           "contains U+E000, which is for private use and looks different everywhere",
		"a\u0378":                           "contains U+0378, which Unicode " + unicode.Version + " does not assign",
		"a\ufdd0":                           "contains U+FDD0, which Unicode " + unicode.Version + " does not assign",
		"a\u200db":                          "contains U+200D ZERO WIDTH JOINER, which is invisible",
		"alice\u200c":                       "contains U+200C ZERO WIDTH NON-JOINER, which is invisible",
		"\u0639\u0644\u06cc\u200c":          "contains U+200C ZERO WIDTH NON-JOINER, which is invisible", // nothing to part from
		"\U0001f469\u200d\U0001f4bb":        "contains U+200D ZERO WIDTH JOINER, which is invisible",
		"\u0915\u094d\u200d\u0937 x\u200dy": "contains U+200D ZERO WIDTH JOINER, which is invisible", // the second
	} {
		_, err := billing.NormalizeID(given, billing.MaxID)
		require.ErrorIs(t, err, billing.ErrInvalid, "%+q", given)
		require.EqualError(t, err, want+longID, "%+q", given)
	}
}

func TestTheLengthOfAnIDIsThatOfItsNormalForm(t *testing.T) {
	t.Parallel()
	id, err := billing.NormalizeID(strings.Repeat("e\u0301", 100), billing.MaxID) // 300 bytes as given
	require.NoError(t, err)
	require.Len(t, id, 200)
	_, err = billing.NormalizeID(strings.Repeat("\u0958", 40), billing.MaxID) // 120 bytes as given
	require.ErrorContains(t, err, "has 240 bytes; accepted: 1 to 200 bytes")
}

// defaultIgnorable is what DerivedCoreProperties.txt of Unicode 15.0 lists as
// Default_Ignorable_Code_Point, and whiteSpace what PropList.txt lists as White_Space.
var (
	defaultIgnorable = [][2]rune{
		{0xad, 0xad},
		{0x34f, 0x34f},
		{0x61c, 0x61c},
		{0x115f, 0x1160},
		{0x17b4, 0x17b5},
		{0x180b, 0x180f},
		{0x200b, 0x200f},
		{0x202a, 0x202e},
		{0x2060, 0x206f},
		{0x3164, 0x3164},
		{0xfe00, 0xfe0f},
		{0xfeff, 0xfeff},
		{0xffa0, 0xffa0},
		{0xfff0, 0xfff8},
		{0x1bca0, 0x1bca3},
		{0x1d173, 0x1d17a},
		{0xe0000, 0xe0fff},
	}
	whiteSpace = [][2]rune{
		{0x9, 0xd},
		{0x85, 0x85},
		{0xa0, 0xa0},
		{0x1680, 0x1680},
		{0x2000, 0x200a},
		{0x2028, 0x2029},
		{0x202f, 0x202f},
		{0x205f, 0x205f},
		{0x3000, 0x3000},
	}
)

func TestWhatUnicodeCallsInvisibleIsRefused(t *testing.T) {
	t.Parallel()
	refused := 0
	for _, ranges := range [][][2]rune{defaultIgnorable, whiteSpace} {
		for _, r := range ranges {
			for c := r[0]; c <= r[1]; c++ {
				_, err := billing.NormalizeID("a"+string(c)+"b", billing.MaxID)
				require.ErrorIs(t, err, billing.ErrInvalid, "U+%04X", c)
				refused++
			}
		}
	}
	require.Equal(t, 4174+24, refused, "as many as those files say there are, U+0020 apart")
}

// What an id may have prints as itself, and keeps its normal form whatever stands
// beside it in a list.
func TestWhatIsAcceptedCanBeSeen(t *testing.T) {
	t.Parallel()
	accepted := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		id, err := billing.NormalizeID("a"+string(r)+"b", billing.MaxID)
		if err != nil {
			continue
		}
		accepted++
		if !unicode.IsPrint(r) {
			t.Fatalf("U+%04X %s is accepted and prints nothing", r, runenames.Name(r))
		}
		if id != norm.NFC.String("a"+string(r)+"b") {
			t.Fatalf("U+%04X %s became %+q", r, runenames.Name(r), id)
		}
	}
	require.Greater(t, accepted, 140_000, "nearly all that are assigned")
}

// Ids of one Unicode version must be compared by tables of the same.
func TestTheTablesAreOfOneUnicodeVersion(t *testing.T) {
	t.Parallel()
	require.Equal(t, unicode.Version, norm.Version)
	require.Equal(t, unicode.Version, runenames.UnicodeVersion)
}

// FuzzNormalizeID holds what ids rely on, whatever is sent: the normal form is its
// own normal form, every spelling of it leads to it, the readers of bytes and of
// text agree, and what is refused is refused for its name.
func FuzzNormalizeID(f *testing.F) {
	for _, id := range []string{
		"alice", " alice", "rene\u0301e", "\u1112\u1161\u11ab", "a\u202eb", "\u0915\u094d\u200d\u0937", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
		"a" + strings.Repeat("\u0316\u0301", 20), "\u0958", "\xff", "a\u034f", strings.Repeat("e\u0301", 100), "\U0001d15e", "\u212a\u037e",
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, given string) {
		id, err := billing.NormalizeID(given, billing.MaxID)
		composed := billing.ComposeID([]byte(given))
		wrong := billing.CheckID(composed, billing.MaxID)
		require.Equal(t, wrong, billing.CheckID(string(composed), billing.MaxID), "bytes and text")
		if err != nil {
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.EqualError(t, err, wrong)
			require.True(t, utf8.ValidString(wrong))
			require.False(t, strings.ContainsFunc(wrong, func(r rune) bool { return !unicode.IsPrint(r) }), wrong)
			return
		}
		require.Empty(t, wrong)
		require.Equal(t, id, string(composed))
		require.True(t, norm.NFC.IsNormalString(id))
		require.LessOrEqual(t, len(id), billing.MaxID)
		for _, spelling := range []string{id, norm.NFD.String(id)} {
			again, err := billing.NormalizeID(spelling, billing.MaxID)
			require.NoError(t, err, "%+q", spelling)
			require.Equal(t, id, again, "%+q", spelling)
		}
		if plain := !strings.ContainsFunc(given, func(r rune) bool { return r < ' ' || r > '~' }); plain {
			require.Equal(t, given, id, "ASCII stays as it is")
		}
	})
}

func TestAnIDOfASCIICostsNoMemory(t *testing.T) { // not parallel: AllocsPerRun counts what others allocate
	text := []byte("claude-sonnet-4-5")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		id, err := billing.NormalizeID("claude-sonnet-4-5", billing.MaxID)
		if err != nil || id == "" || billing.CheckID(billing.ComposeID(text), billing.MaxID) != "" {
			t.Fail()
		}
	}))
	require.Same(t, &text[0], &billing.ComposeID(text)[0])
}

func BenchmarkNormalizeID(b *testing.B) {
	for _, id := range []string{"user_00013", "claude-sonnet-4-5", "ren\u00e9e@acme.example", "rene\u0301e@acme.example"} {
		b.Run(fmt.Sprintf("%+q", id), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := billing.NormalizeID(id, billing.MaxID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
