package usage

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// spellings are the names in usage that decide about money, reduced as squeeze
// does, so that another spelling of one is noticed.
var spellings = map[string]string{
	"cachecreation": "cache_creation", "servertooluse": "server_tool_use", "servicetier": "service_tier",
	"inferencegeo": "inference_geo", "speed": "speed", "iterations": "iterations", "fallbackcredit": "fallback_credit",
	"websearchrequests": "web_search_requests", "codeexecutionseconds": "code_execution_seconds",
}

// squeeze reduces a name to its letters and digits, in lower case.
func squeeze(name []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return -1
	}, string(name))
}

// speaksOfTokens reports whether a name counts tokens, in whatever spelling.
func speaksOfTokens(name []byte) bool {
	return bytes.Contains(bytes.ToLower(name), []byte("token"))
}

// unknown reads the value of a name in usage that this version does not know.
// What counts tokens, or is another spelling of a known name, cannot be priced;
// anything else is left unread.
func (d *decoder) unknown(within string, name []byte) {
	counting := speaksOfTokens(name)
	known := spellings[squeeze(name)]
	kind := d.json.PeekKind()
	if !counting && known == "" && kind != '{' && kind != '[' {
		d.value()
		return
	}
	path := within + printable(name)
	value := d.value()
	switch {
	case value == nil:
	case known != "" && !isNothing(value):
		first(&d.use.other, "usage."+path+" is another spelling of "+known)
	case countsTokens(value, counting):
		first(&d.use.unknown, path)
	}
}

// first keeps the first of several texts in the alphabet, so that their order is
// not content.
func first(kept *string, text string) {
	if *kept == "" || text < *kept {
		*kept = text
	}
}

// countsTokens reports whether a value holds a number other than 0 under a name
// that counts tokens, however deep. It reads the value once: senders choose how
// deep it nests.
func countsTokens(value jsontext.Value, counting bool) bool {
	d := jsontext.NewDecoder(bytes.NewBuffer(value))
	within := []bool{counting} // of each open container, whether a name around it counts tokens
	here := counting           // of the next value
	for {
		depth := d.StackDepth()
		container, read := d.StackIndex(depth)
		isName := container == '{' && read%2 == 0
		switch d.PeekKind() {
		case '{', '[':
			within = append(within, here)
			_, _ = d.ReadToken()
		case '}', ']':
			within = within[:len(within)-1]
			_, _ = d.ReadToken()
		case 0:
			return false
		default:
			text, err := d.ReadValue()
			switch {
			case err != nil:
				return false
			case isName:
				here = within[len(within)-1] || speaksOfTokens(text)
				continue
			case here && isCount(text):
				return true
			}
		}
		here = within[len(within)-1]
	}
}

// isNothing reports whether a value says nothing.
func isNothing(value jsontext.Value) bool {
	switch value.Kind() {
	case 'n':
		return true
	case '"', '{', '[':
		return len(bytes.TrimSpace(value[1:len(value)-1])) == 0
	case '0':
		return !isCount(value)
	default:
		return false
	}
}

// isCount reports whether a value is a number other than 0, in quotes or not.
func isCount(value jsontext.Value) bool {
	if value.Kind() == '"' {
		text := jsontext.Value(bytes.TrimSpace(value[1 : len(value)-1]))
		if !text.IsValid() || text.Kind() != '0' {
			return false
		}
		value = text
	}
	if value.Kind() != '0' {
		return false
	}
	mantissa, _, _ := bytes.Cut(bytes.ToLower(value), []byte("e"))
	return bytes.ContainsAny(mantissa, "123456789")
}
