package billing

import (
	"net/url"
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
//  1. An ARN or a path stands for its last part, percent-encoded or not: so
//     providers, publishers, regions and LiteLLM's "provider/" fall away. An
//     application inference profile, a custom and a provisioned model are known to
//     their account alone and stand for nothing, and neither does a path that names
//     a price ("fast/", "us/", "6-month-commitment/").
//  2. Letter case falls away, and a dot or "@" is a hyphen.
//  3. What platforms put before a name falls away: a region and a provider with dots
//     ("us.anthropic."), a provider with a hyphen ("databricks-", "anthropic-"). So
//     does what they put behind it: a model version and a context window of Amazon
//     Bedrock ("-v1", "-v1:0", ":0:200k"), a method of Vertex AI (":rawPredict"), a
//     variant of OpenRouter (":beta", ":thinking"), a context window in brackets
//     ("[1m]").
//  4. If no name of the book reads so, a date of eight digits, "-latest" or
//     "-default" at the end falls away, too.
//
// Names and aliases of the book are read by the same rule, so an alias covers its
// own spellings. A reading that two models of the book share is ambiguous: it
// means neither. A version is never cut off: an unknown model is not its elder.
//
// Sources: platform.claude.com/docs/en/about-claude/models/model-ids-and-versions,
// docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html,
// platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai,
// docs.litellm.ai/docs/providers, openrouter.ai/docs/features/model-routing.
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
	plain = withoutPath(strings.ToLower(name))
	plain = withoutProvider(plain)
	plain = withoutVariant(plain)
	plain = strings.NewReplacer(".", "-", "@", "-").Replace(plain)
	undated = plain
	for _, suffix := range []string{"-latest", "-default"} {
		undated = strings.TrimSuffix(undated, suffix)
	}
	if i := strings.LastIndexByte(undated, '-'); i > 0 && isDate(undated[i+1:]) {
		undated = undated[:i]
	}
	return plain, undated
}

// withoutPath returns the last part of a path or ARN.
func withoutPath(name string) string {
	if strings.IndexByte(name, '%') >= 0 {
		if decoded, err := url.PathUnescape(name); err == nil {
			name = decoded
		}
	}
	path, last, found := cutLast(name, "/")
	if !found {
		return name
	}
	for part := range strings.SplitSeq(path, "/") {
		_, kind, _ := cutLast(part, ":") // of an ARN, the kind of resource
		switch {
		case part == "fast", part == "us", strings.HasSuffix(part, "-month-commitment"):
			return ""
		case kind == "application-inference-profile", kind == "provisioned-model", kind == "custom-model":
			return ""
		}
	}
	return last
}

// withoutProvider cuts off regions and providers before a name.
func withoutProvider(name string) string {
	for {
		label, rest, dotted := strings.Cut(name, ".")
		if !dotted || rest == "" || !isLetter(rest[0]) || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz-") != "" {
			break
		}
		name = rest
	}
	for _, provider := range []string{"databricks-", "anthropic--", "anthropic-"} {
		if rest, found := strings.CutPrefix(name, provider); found && rest != "" {
			return rest
		}
	}
	return name
}

// withoutVariant cuts off what says how a model is served and nothing of its price.
func withoutVariant(name string) string {
	if base, window, found := strings.Cut(name, "["); found && base != "" && strings.HasSuffix(window, "]") {
		name = base
	}
	base, variant, found := strings.Cut(name, ":")
	if found {
		if !isVariant(variant) {
			return name
		}
		name = base
	}
	if i := strings.LastIndex(name, "-v"); i > 0 && isNumber(name[i+2:]) {
		name = name[:i]
	}
	return name
}

// isVariant reports whether what follows a name's first colon is a revision of
// Amazon Bedrock, with or without a context window, a method of Vertex AI, or a
// variant of OpenRouter that has no price of its own.
func isVariant(variant string) bool {
	switch variant {
	case "rawpredict", "streamrawpredict", "beta", "thinking":
		return true
	}
	revision, window, found := strings.Cut(variant, ":")
	if !found && strings.HasSuffix(revision, "k") {
		return isNumber(strings.TrimSuffix(revision, "k"))
	}
	return isNumber(revision) && (!found || isNumber(strings.TrimSuffix(window, "k")))
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return "", text, false
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// isDate reports whether a text is a date of this century, as 20250929.
func isDate(text string) bool {
	return len(text) == 8 && isNumber(text) && strings.HasPrefix(text, "20")
}
