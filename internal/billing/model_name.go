package billing

import (
	"strings"
	"sync"
	"sync/atomic"
)

// ModelAlias is another name under which usage of a model arrives.
type ModelAlias struct {
	Alias string
	Model string // a model that the book prices
}

// modelNames finds the priced model that a name in a usage event means.
//
// A book's own name comes first, then its aliases, both as they are written.
// Then the name is read as platforms write one and the same model:
//
//  1. An ARN or path stands for its last part, so providers, publishers, regions
//     and LiteLLM's "provider/" fall away. An application inference profile is
//     only known to its account and stands for nothing.
//  2. Letter case falls away, and a dot or "@" is a hyphen.
//  3. Amazon Bedrock's region and provider before the name ("us.anthropic.") and
//     its version behind it ("-v1:0", "-v1:0:200k") fall away, as does a context
//     window in brackets ("[1m]").
//  4. If no name of the book reads so, a date of eight digits, "-latest" or
//     "-default" at the end falls away, too.
//
// Names and aliases of the book are read by the same rule, so an alias covers its
// own spellings. A reading that two models of the book share is ambiguous: it
// means neither.
//
// Sources: platform.claude.com/docs/en/about-claude/models/overview (API, Bedrock
// and Vertex AI names), docs.aws.amazon.com/bedrock/latest/userguide
// (inference-profiles-support, model-ids), docs.litellm.ai/docs/providers.
type modelNames struct {
	exact   map[string]string // own names and aliases -> model
	plain   map[string]string // read by steps 1 to 3; "" = ambiguous
	undated map[string]string // read by all steps; "" = ambiguous

	seen  sync.Map     // names that were read -> foundModel: gateways send few names, and each of them all the time
	known atomic.Int64 // how many
}

// maxSeenNames bounds how many names are remembered: a sender may make them up.
const maxSeenNames = 10_000

// foundModel is what a name means.
type foundModel struct {
	model     string
	ambiguous bool
}

func newModelNames(b *PriceBook) *modelNames {
	n := &modelNames{exact: map[string]string{}, plain: map[string]string{}, undated: map[string]string{}}
	for _, a := range b.Aliases {
		n.exact[a.Alias] = a.Model
	}
	for _, p := range b.Models {
		n.exact[p.Model] = p.Model
	}
	for name, model := range n.exact {
		plain, undated := readModelName(name)
		note(n.plain, plain, model)
		note(n.undated, undated, model)
	}
	return n
}

func note(names map[string]string, reading, model string) {
	if reading == "" {
		return
	}
	if other, known := names[reading]; known && other != model {
		model = ""
	}
	names[reading] = model
}

// find returns the model that a name means. Where it means none, ambiguous
// reports whether it could be read as several.
func (n *modelNames) find(name string) (model string, ambiguous bool) {
	if model, known := n.exact[name]; known {
		return model, false
	}
	if seen, known := n.seen.Load(name); known {
		found := seen.(foundModel)
		return found.model, found.ambiguous
	}
	model, ambiguous = n.read(name)
	if n.known.Load() < maxSeenNames {
		n.seen.Store(name, foundModel{model, ambiguous})
		n.known.Add(1)
	}
	return model, ambiguous
}

func (n *modelNames) read(name string) (model string, ambiguous bool) {
	plain, undated := readModelName(name)
	if model, known := n.plain[plain]; known {
		return model, model == ""
	}
	model, known := n.undated[undated]
	return model, known && model == ""
}

// readModelName reads a name as modelNames says, without and with step 4; "" is a
// name that stands for nothing.
func readModelName(name string) (plain, undated string) {
	name = strings.ToLower(name)
	if strings.Contains(name, "application-inference-profile/") {
		return "", ""
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	for {
		label, rest, dotted := strings.Cut(name, ".")
		if !dotted || rest == "" || !isLetter(rest[0]) || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz-") != "" {
			break
		}
		name = rest
	}
	if i := strings.IndexByte(name, '['); i > 0 && strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	name = withoutBedrockVersion(name)
	plain = strings.NewReplacer(".", "-", "@", "-").Replace(name)
	undated = plain
	for _, suffix := range []string{"-latest", "-default"} {
		undated = strings.TrimSuffix(undated, suffix)
	}
	if i := strings.LastIndexByte(undated, '-'); i > 0 && isDate(undated[i+1:]) {
		undated = undated[:i]
	}
	return plain, undated
}

// withoutBedrockVersion cuts a model version of Amazon Bedrock off a name: "-v1",
// "-v1:0" or "-v1:0:200k".
func withoutBedrockVersion(name string) string {
	base, behind, minor := strings.Cut(name, ":")
	if number, _, _ := strings.Cut(behind, ":"); minor && !isNumber(number) {
		return name
	}
	if i := strings.LastIndex(base, "-v"); i > 0 && isNumber(base[i+2:]) {
		return base[:i]
	}
	return name
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// isDate reports whether a text is a date of this century, as 20250929.
func isDate(text string) bool {
	return len(text) == 8 && isNumber(text) && strings.HasPrefix(text, "20")
}
