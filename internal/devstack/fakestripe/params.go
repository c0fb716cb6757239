package fakestripe

import (
	"net/url"
	"strconv"
	"strings"
)

// params are the form values of one request, by Stripe's bracketed names.
type params struct{ values url.Values }

func (p params) has(name string) bool { return len(p.values[name]) > 0 }

// text returns the last value under the name, or "".
func (p params) text(name string) string {
	all := p.values[name]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// integer returns the number under the name. Validation has run: what is no
// number is not there.
func (p params) integer(name string) int64 {
	n, err := strconv.ParseInt(p.text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (p params) flag(name string) bool { return p.text(name) == "true" }

// flagOr returns the flag, or the given default when it was not sent.
func (p params) flagOr(name string, otherwise bool) bool {
	if !p.has(name) {
		return otherwise
	}
	return p.flag(name)
}

// under reports whether any value lies under the name: name or name[...].
func (p params) under(name string) bool {
	for key := range p.values {
		if key == name || strings.HasPrefix(key, name+"[") {
			return true
		}
	}
	return false
}

// list returns the values of name[0], name[1], …, or of name[] repeated.
func (p params) list(name string) []string {
	all := p.values[name+"[]"]
	for i := 0; p.has(name + "[" + strconv.Itoa(i) + "]"); i++ {
		all = append(all, p.text(name+"["+strconv.Itoa(i)+"]"))
	}
	return all
}

// each calls visit with the parameters of every element of a list of objects,
// and the name that each element was sent under.
func (p params) each(name string, visit func(element params, at string) *apiError) *apiError {
	for i := 0; ; i++ {
		at := name + "[" + strconv.Itoa(i) + "]"
		element := params{url.Values{}}
		for key, value := range p.values {
			if rest, ok := strings.CutPrefix(key, at+"["); ok {
				element.values[strings.Replace(rest, "]", "", 1)] = value
			}
		}
		if len(element.values) == 0 {
			return nil
		}
		if err := visit(element, at); err != nil {
			return err
		}
	}
}

// pattern is a name with its list positions and its metadata keys left out, as
// the fields of an endpoint are written: lines[][amount], metadata[*].
func pattern(name string) string {
	head, rest, nested := strings.Cut(name, "[")
	if !nested {
		return name
	}
	if head == "metadata" {
		return "metadata[*]"
	}
	parts := strings.Split(rest, "[")
	for i, part := range parts {
		part = strings.TrimSuffix(part, "]")
		if _, err := strconv.Atoi(part); err == nil {
			part = ""
		}
		parts[i] = "[" + part + "]"
	}
	return head + strings.Join(parts, "")
}
