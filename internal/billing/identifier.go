package billing

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"
)

// How long an id that people type may be, in bytes of its NFC form: of a user or seat
// tier, of a product or a word such as a service tier, and of a model, whose name may
// be an ARN.
const (
	MaxID    = 200
	MaxName  = 100
	MaxModel = 256
)

// NormalizeID returns the form in which an id that people type (a user, model,
// product, seat tier or label) is stored and compared: Unicode NFC, and nothing
// folded beyond, neither case nor width. An id of printable ASCII is returned as it
// is. The error is an ErrInvalid that says what is wrong and what is accepted, and
// leaves it to the caller to name the field; longest is in bytes of the NFC form.
//
// Two ids are the same exactly if their normalized forms are the same bytes.
// docs/decisions/0001-identifiers.md has the reasons.
func NormalizeID(id string, longest int) (string, error) {
	if isPlainID(id, longest) {
		return id, nil
	}
	composed := norm.NFC.String(id)
	if wrong := CheckID(composed, longest); wrong != "" {
		return "", Invalid("%s", wrong)
	}
	return composed, nil
}

// ComposeID returns id in NFC, which CheckID has still to check: together they are
// NormalizeID for readers that reuse their buffers. It returns id itself if that is
// in NFC already, as all ASCII is.
func ComposeID(id []byte) []byte { return norm.NFC.Bytes(id) }

// CheckID says what is wrong with an id in NFC and what is accepted, or "".
func CheckID[T string | []byte](id T, longest int) string {
	if isPlainID(id, longest) {
		return ""
	}
	var wrong string
	switch {
	case len(id) == 0:
		wrong = "is empty"
	case len(id) > longest:
		wrong = fmt.Sprintf("has %d bytes", len(id))
	default:
		if wrong = CheckCharacters(id); wrong == "" {
			if id[0] != ' ' && id[len(id)-1] != ' ' {
				return ""
			}
			wrong = "begins or ends with a space"
		}
	}
	return fmt.Sprintf("%s; accepted: 1 to %d bytes without control or invisible characters, and no space at the ends", wrong, longest)
}

// isPlainID reports whether an id is beyond doubt and needs no normalizing.
func isPlainID[T string | []byte](id T, longest int) bool {
	if len(id) == 0 || len(id) > longest || id[0] == ' ' || id[len(id)-1] == ' ' {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// CheckCharacters names the first character of a text in NFC that no id may have,
// and says why; "" where there is none. Accepted are letters, marks, numbers,
// punctuation and symbols that can be seen, and U+0020.
func CheckCharacters[T string | []byte](text T) string {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return checkCharacters(string(text))
		}
	}
	return ""
}

func checkCharacters(text string) string {
	if !utf8.ValidString(text) {
		return "is not valid UTF-8"
	}
	for i, r := range text {
		if ' ' <= r && r <= '~' {
			continue
		}
		if why := refused(r); why != "" && !(isJoiner(r) && joins(text, i)) {
			return fmt.Sprintf("contains U+%04X%s, %s", r, nameOf(r), why)
		}
	}
	return ""
}

// nameOf is a character's name in the Unicode Character Database, behind a space;
// "" for those that have none.
func nameOf(r rune) string {
	name := runenames.Name(r)
	if name == "" || name[0] == '<' { // like <control>: a label, not a name
		return ""
	}
	return " " + name
}

// refused says why an id may not have a character other than those of printable
// ASCII, or "". Which characters those
// are is a matter of properties of the Unicode Character Database (UAX #44), in the
// version of Go's tables; a program that knows a later version accepts more.
func refused(r rune) string {
	switch {
	case unicode.IsControl(r):
		return "a control character"
	case unicode.Is(unicode.Bidi_Control, r):
		return "which is invisible and changes the direction of text"
	case r == '\u034f':
		return "which is invisible, or has more than 30 marks on one character" // where norm.NFC inserts it (UAX #15, Stream-Safe Text)
	case unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blank):
		return "which is invisible"
	case unicode.In(r, unicode.Zl, unicode.Zp):
		return "which is invisible and breaks the line"
	case unicode.Is(unicode.Zs, r):
		return "which looks like a space"
	case unicode.Is(unicode.Co, r):
		return "which is for private use and looks different everywhere"
	case !unicode.IsPrint(r):
		// Only assigned characters keep their NFC from version to version (UAX #15).
		return "which Unicode " + unicode.Version + " does not assign"
	}
	return ""
}

// blank are characters whose properties do not say that they show nothing, but
// whose entries in the Unicode code charts do.
var blank = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}, // BRAILLE PATTERN BLANK
	R32: []unicode.Range32{
		{Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, // KHITAN SMALL SCRIPT FILLER
		{Lo: 0x1d159, Hi: 0x1d159, Stride: 1}, // MUSICAL SYMBOL NULL NOTEHEAD
	},
}

// isJoiner reports whether r is ZERO WIDTH NON-JOINER or ZERO WIDTH JOINER: between
// certain letters of Arabic and Indic scripts they change what is seen, and belong
// to the spelling of names.
func isJoiner(r rune) bool { return r == '\u200c' || r == '\u200d' }

// contextual applies the rules for joiners of RFC 5892, appendix A.1 and A.2.
var contextual = precis.NewFreeform(precis.Norm(norm.NFC))

// joins reports whether the joiners of the word around the i-th byte all stand
// where they change what is seen. Only that word is looked at, since PRECIS has
// rules for other characters, too, which are no matter of invisible ones.
func joins(text string, i int) bool {
	outside := func(r rune) bool { return !isJoiner(r) && !unicode.In(r, unicode.L, unicode.M) }
	start := 0
	if before := strings.LastIndexFunc(text[:i], outside); before >= 0 {
		_, size := utf8.DecodeRuneInString(text[before:])
		start = before + size
	}
	end := len(text)
	if after := strings.IndexFunc(text[i:], outside); after >= 0 {
		end = i + after
	}
	_, err := contextual.String(text[start:end])
	return err == nil
}
