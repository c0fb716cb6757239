package fakestripe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// field is one parameter that an endpoint takes.
type field struct {
	required bool
	// clearable fields may be sent empty, which unsets them.
	clearable bool
	// check returns an error code and a message; both may be empty, the message
	// alone decides.
	check func(value string) (code, message string)
}

// fields are the parameters that an endpoint takes, by pattern.
type fields map[string]field

func required(f field) field  { f.required = true; return f }
func clearable(f field) field { f.clearable = true; return f }

func anyText() field { return limited(5000) }

func limited(most int) field {
	return field{check: func(value string) (string, string) {
		if utf8.RuneCountInString(value) > most {
			return "", fmt.Sprintf("Invalid string: %.20s…; must be at most %d characters", value, most)
		}
		return "", ""
	}}
}

func integer() field {
	return field{check: func(value string) (string, string) {
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return "parameter_invalid_integer", "Invalid integer: " + value
		}
		return "", ""
	}}
}

// amount is an integer that no sum of an invoice's items can overflow.
func amount() field {
	return field{check: func(value string) (string, string) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return "parameter_invalid_integer", "Invalid integer: " + value
		}
		if n > largestItem || n < -largestItem {
			return "amount_too_large", "Amount must be no more than 12 digits"
		}
		return "", ""
	}}
}

func flag() field {
	return field{check: func(value string) (string, string) {
		if value != "true" && value != "false" {
			return "", "Invalid boolean: " + value
		}
		return "", ""
	}}
}

func currency() field { return field{check: checkCurrency} }

func oneOf(values ...string) field {
	return field{check: func(value string) (string, string) {
		if slices.Contains(values, value) {
			return "", ""
		}
		last := len(values) - 1
		if last == 0 {
			return "", "must be " + values[0]
		}
		return "", "must be one of " + strings.Join(values[:last], ", ") + ", or " + values[last]
	}}
}

func (f fields) with(more fields) fields {
	all := fields{}
	for _, set := range []fields{f, more} {
		for name, one := range set {
			all[name] = one
		}
	}
	return all
}

func metadataFields() fields {
	noObject := field{check: func(string) (string, string) { return "", "Invalid object" }}
	return fields{"metadata": clearable(noObject), "metadata[*]": clearable(field{})}
}

// rangeFields accept a time or a range of times.
func rangeFields(name string) fields {
	return fields{
		name: integer(), name + "[gt]": integer(), name + "[gte]": integer(),
		name + "[lt]": integer(), name + "[lte]": integer(),
	}
}

func pageFields() fields {
	return fields{"limit": integer(), "starting_after": anyText(), "ending_before": anyText()}
}
