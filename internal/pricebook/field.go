package pricebook

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// maxBytes bounds a price book's file; a book of hundreds of models is far smaller.
const maxBytes = 1 << 20

// maxDepth bounds how deep lists and mappings nest; a price book needs five.
const maxDepth = 20

// maxReported bounds how many problems one error tells.
const maxReported = 10

var (
	// plainDecimal is the only notation of an amount: no sign, exponent,
	// separator or leading zero, so that what is meant is what is written.
	plainDecimal    = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?$`)
	plainInteger    = regexp.MustCompile(`^(0|[1-9][0-9]{0,12})$`)
	plainPowerOfTen = regexp.MustCompile(`^10{0,12}$`)
	plainSeconds    = regexp.MustCompile(`^(0|[1-9][0-9]{0,11})$`)
	plainSecondsPer = regexp.MustCompile(`^(1|60|3600)$`)
)

// problems collects what is wrong with a file.
type problems struct{ problems []problem }

type problem struct {
	line int
	text string
}

// none reports whether every field could be read so far.
func (p *problems) none() bool { return len(p.problems) == 0 }

// err returns what was collected, or nil.
func (p *problems) err() error {
	if p.none() {
		return nil
	}
	slices.SortStableFunc(p.problems, func(a, z problem) int { return cmp.Compare(a.line, z.line) })
	var lines []string
	for i, problem := range p.problems {
		if i == maxReported {
			lines = append(lines, fmt.Sprintf("and %d more", len(p.problems)-i))
			break
		}
		lines = append(lines, problem.text)
	}
	return billing.Invalid("%s", strings.Join(lines, "\n"))
}

// field is a place in the file: a YAML node, or where one is missing, and its
// name. Reading it gives a zero value and reports a problem where it is not
// what was asked for.
type field struct {
	found *problems
	path  string // like models[0].prices[1].input; "" for the whole file
	line  int
	node  ast.Node // nil = absent
}

// document returns the one document of a YAML file.
func document(data []byte) (field, error) {
	if len(data) > maxBytes {
		return field{}, billing.Invalid("the file has %d bytes; accepted: a price book of at most %d", len(data), maxBytes)
	}
	tokens := lexer.Tokenize(string(bytes.TrimPrefix(data, []byte("\ufeff"))))
	if line, deep := tooDeep(tokens); deep {
		return field{}, billing.Invalid("line %d: nested more than %d deep; accepted: a price book", line, maxDepth)
	}
	file, err := parser.Parse(tokens, 0)
	var syntax yaml.Error
	switch {
	case errors.As(err, &syntax):
		return field{}, billing.Invalid("line %d: not valid YAML: %s", syntax.GetToken().Position.Line, syntax.GetMessage())
	case err != nil:
		return field{}, billing.Invalid("not valid YAML: %v", err)
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return field{}, billing.Invalid("line 1: the file is empty; accepted: a price book with name, currency, seats and models")
	case len(file.Docs) > 1:
		return field{}, billing.Invalid("more than one YAML document; accepted: one price book in a file")
	}
	return field{&problems{}, "", 1, file.Docs[0].Body}, nil
}

// tooDeep finds the nesting that the parser would take minutes over: brackets
// within brackets, and lists begun within lists on one line.
func tooDeep(tokens token.Tokens) (line int, deep bool) {
	brackets, entries := 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if brackets > maxDepth || entries > maxDepth {
			return line, true
		}
	}
	return 0, false
}

// wrong reports a problem with the field.
func (f field) wrong(format string, args ...any) {
	text := fmt.Sprintf("line %d: ", f.line)
	if f.path != "" {
		text += f.path + ": "
	}
	f.found.problems = append(f.found.problems, problem{f.line, text + fmt.Sprintf(format, args...)})
}

// present reports whether the field is written down, with or without a value.
func (f field) present() bool { return f.node != nil }

// mapping is a YAML mapping whose keys are all known.
type mapping struct {
	at     field
	fields map[string]field
}

func (f field) mapping(keys ...string) mapping {
	m := mapping{f, map[string]field{}}
	var pairs []*ast.MappingValueNode
	switch node := f.node.(type) {
	case *ast.MappingNode:
		pairs = node.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{node}
	default:
		f.wrong("%s; accepted: a mapping with the keys %s", describe(f.node), strings.Join(keys, ", "))
		m.at.found = &problems{} // its missing fields are no news
		return m
	}
	for _, pair := range pairs {
		key := pair.Key.GetToken().Value
		value := field{f.found, strings.TrimPrefix(f.path+"."+key, "."), pair.Key.GetToken().Position.Line, pair.Value}
		if !slices.Contains(keys, key) {
			value.wrong("unknown key; accepted: %s", strings.Join(keys, ", "))
			continue
		}
		m.fields[key] = value
	}
	return m
}

// field returns what stands under the key, or where it is missing.
func (m mapping) field(key string) field {
	if f, ok := m.fields[key]; ok {
		return f
	}
	return field{m.at.found, strings.TrimPrefix(m.at.path+"."+key, "."), m.at.line, nil}
}

// items returns the items of a list; none where the field is something else.
func (f field) items() []field {
	sequence, ok := f.node.(*ast.SequenceNode)
	if !ok {
		return nil
	}
	items := make([]field, len(sequence.Values))
	for i, value := range sequence.Values {
		items[i] = field{f.found, fmt.Sprintf("%s[%d]", f.path, i), value.GetToken().Position.Line, value}
	}
	return items
}

func (f field) isList() bool {
	_, ok := f.node.(*ast.SequenceNode)
	return ok
}

func (f field) list(accepted string) []field {
	if !f.isList() {
		f.wrong("%s; accepted: %s", describe(f.node), accepted)
	}
	return f.items()
}

func (f field) optionalList() []field {
	if !f.present() {
		return nil
	}
	return f.list("a list, or no such key")
}

// text returns a scalar exactly as it is written.
func (f field) text(accepted string) string {
	switch node := f.node.(type) {
	case *ast.StringNode:
		if node.Value != "" && strings.TrimSpace(node.Value) == node.Value && isPrintable(node.Value) {
			return node.Value
		}
		f.wrong("%q is empty, too long or has blanks around it; accepted: %s", shorten(node.Value), accepted)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NanNode, *ast.InfinityNode:
		return node.GetToken().Value
	default:
		f.wrong("%s; accepted: %s", describe(f.node), accepted)
	}
	return ""
}

// matching returns a scalar that is written as the pattern says; "" where it
// is not, which is then reported.
func (f field) matching(pattern *regexp.Regexp, accepted string) string {
	text := f.text(accepted)
	if text != "" && !pattern.MatchString(text) {
		f.wrong("%q is not %s", shorten(text), accepted)
		return ""
	}
	return text
}

func (f field) price() decimal.Decimal {
	text := f.matching(plainDecimal, `a decimal number like "0.30"`)
	if text == "" {
		return decimal.Zero
	}
	return decimal.RequireFromString(text)
}

// multiplier reads an optional factor above 0 and up to most.
func (f field) multiplier(example string, most decimal.Decimal) decimal.NullDecimal {
	if !f.present() {
		return decimal.NullDecimal{}
	}
	accepted := fmt.Sprintf("a multiplier above 0 and up to %s, like %q", most, example)
	text := f.matching(plainDecimal, accepted)
	if text == "" {
		return decimal.NullDecimal{}
	}
	factor := decimal.RequireFromString(text)
	if !factor.IsPositive() || factor.GreaterThan(most) {
		f.wrong("%q is not %s", text, accepted)
	}
	return decimal.NewNullDecimal(factor)
}

func (f field) wholeNumber() int64 { return f.integer(plainInteger, "a whole number like 200000") }

func (f field) powerOfTen() int64 {
	return f.integer(plainPowerOfTen, "a power of ten like 1000, so that amounts stay exact")
}

func (f field) integer(pattern *regexp.Regexp, accepted string) int64 {
	text := f.matching(pattern, accepted)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f.wrong("%q is not %s", text, accepted)
	}
	return n
}

// instant reads a time with its zone, at the precision that is stored.
func (f field) instant() time.Time {
	const accepted = "a time with its zone like 2025-09-29T00:00:00Z"
	text := f.text(accepted)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil && isLocal(text):
		f.wrong("%q has no zone; accepted: %s", text, accepted)
	case err != nil:
		f.wrong("%q is not a time; accepted: %s", shorten(text), accepted)
	case !at.Equal(at.Truncate(time.Microsecond)):
		f.wrong("%q is finer than a microsecond; accepted: %s", text, accepted)
	}
	return at.UTC()
}

func (f field) optionalInstant() time.Time {
	if !f.present() {
		return time.Time{}
	}
	return f.instant()
}

func isLocal(text string) bool {
	for _, layout := range []string{"2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	return false
}

// isPrintable reports whether a text can stand in a name, an invoice or a message.
func isPrintable(text string) bool {
	return len(text) <= 200 && !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
}

// describe says what stands where something else was expected.
func describe(node ast.Node) string {
	switch node.(type) {
	case nil:
		return "missing"
	case *ast.NullNode:
		return "no value"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "an anchor, alias or tag"
	case *ast.LiteralNode:
		return "a block of text"
	default:
		return fmt.Sprintf("the value %q", shorten(node.GetToken().Value))
	}
}

func shorten(text string) string {
	const most = 40
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
