package vendorreport

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	plainDecimal = regexp.MustCompile(`^-?[0-9]{1,18}(\.[0-9]{1,30})?$`)
	plainCount   = regexp.MustCompile(`^[0-9]{1,18}$`)
	datedName    = regexp.MustCompile(`-([0-9]{4})-([0-9]{2})-([0-9]{2})$`)
	thousands    = regexp.MustCompile(`^(>\s*)?([0-9]{1,6})k`)
)

// productName is a product as the API names it: CSV has "Claude Code" and "Office
// Agents", older reports "claude-tag".
func productName(name string) string {
	if strings.HasPrefix(name, "(") { // "(other)"
		return ""
	}
	name = strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(name)))
	if name == "office_agents" {
		return "office_agent"
	}
	return name
}

// modelName is a model as the API names it: the Console's costs have "Claude
// Sonnet 4.5" and "Claude 3.5 Sonnet 2024-10-22".
func modelName(name string) string {
	name = strings.TrimSpace(name)
	if strings.HasPrefix(name, "(") {
		return ""
	}
	if !strings.Contains(name, " ") {
		return name
	}
	name = strings.NewReplacer(" ", "-", ".", "-").Replace(strings.ToLower(name))
	return datedName.ReplaceAllString(name, "-$1$2$3")
}

// promptsAbove is how many tokens all prompts of a context window exceed: of
// "0-200k" and "≤ 200k" none, of "200k-1M" and "> 200k" 200,000.
func promptsAbove(window string) int64 {
	match := thousands.FindStringSubmatch(strings.TrimSpace(window))
	if match == nil {
		return 0
	}
	n, err := strconv.ParseInt(match[2], 10, 64)
	if err != nil {
		return 0
	}
	return n * 1000
}

// geography is an inference geography as events have it.
func geography(name string) string {
	if name == "not_available" {
		return ""
	}
	return name
}

// named lists the names that are there.
func named(names ...string) []string {
	var given []string
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" && !strings.HasPrefix(name, "(") { // "(org service usage)"
			given = append(given, name)
		}
	}
	return given
}
