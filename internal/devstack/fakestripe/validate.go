package fakestripe

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	metadataKeys  = 50
	metadataKey   = 40
	metadataValue = 500
)

// validate checks every value that was sent, in the order of names so that the
// same request always gets the same refusal, and then what is missing.
func (f fields) validate(p params) *apiError {
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		known, ok := f[pattern(name)]
		if !ok && !isExpand(name) {
			return invalid(name, "parameter_unknown", "Received unknown parameter: %s", name)
		}
		if err := known.accepts(name, p.text(name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if f[name].required && !p.under(name) {
			return invalid(name, "parameter_missing", "Missing required param: %s.", name)
		}
	}
	return validateMetadata(p)
}

func isExpand(name string) bool { return pattern(name) == "expand[]" }

func (f field) accepts(name, value string) *apiError {
	if value == "" {
		if f.clearable || isExpand(name) {
			return nil
		}
		return invalid(name, "parameter_invalid_empty", "You passed an empty string for '%s'. We assume empty "+
			"values are an attempt to unset a parameter; however '%s' cannot be unset. You should remove '%s' "+
			"from your request or supply a non-empty value.", name, name, name)
	}
	if f.check == nil {
		return nil
	}
	code, message := f.check(value)
	if strings.HasPrefix(message, "must be ") {
		message = "Invalid " + name + ": " + message
	}
	if message != "" {
		return invalid(name, code, "%s", message)
	}
	return nil
}

func validateMetadata(p params) *apiError {
	count := 0
	for name, values := range p.values {
		key, ok := metadataName(name)
		if !ok {
			continue
		}
		count++
		if utf8.RuneCountInString(key) > metadataKey {
			return invalid(name, "", "Metadata keys can be at most %d characters long.", metadataKey)
		}
		if length := utf8.RuneCountInString(values[len(values)-1]); length > metadataValue {
			return invalid(name, "", "Metadata values can have up to %d characters, but you passed in a value "+
				"that is %d characters.", metadataValue, length)
		}
	}
	if count > metadataKeys {
		return tooMuchMetadata()
	}
	return nil
}

func tooMuchMetadata() *apiError {
	return invalid("metadata", "", "Metadata can have up to %d keys.", metadataKeys)
}

func metadataName(name string) (string, bool) {
	key, ok := strings.CutPrefix(name, "metadata[")
	return strings.TrimSuffix(key, "]"), ok
}

// mergeMetadata applies what was sent to what is kept: an empty value removes
// its key, an empty metadata removes them all.
func mergeMetadata(kept map[string]string, p params) (map[string]string, *apiError) {
	merged := maps.Clone(kept)
	if merged == nil || p.has("metadata") {
		merged = map[string]string{}
	}
	for name := range p.values {
		key, ok := metadataName(name)
		switch {
		case !ok:
		case p.text(name) == "":
			delete(merged, key)
		default:
			merged[key] = p.text(name)
		}
	}
	if len(merged) > metadataKeys {
		return nil, tooMuchMetadata()
	}
	return merged, nil
}
