package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// identifier is a flag that takes the id of a user, a model or a seat tier, and
// keeps it in the form in which ids are compared.
type identifier struct{ to *string }

// String implements pflag.Value.
func (i identifier) String() string {
	if i.to == nil { // as pflag makes it, to see what the zero value is
		return ""
	}
	return *i.to
}

// Type implements pflag.Value.
func (i identifier) Type() string { return "string" }

// Set implements pflag.Value.
func (i identifier) Set(s string) (err error) {
	*i.to, err = billing.NormalizeID(s, billing.MaxID)
	return err
}

// userArgument reads the argument USER.
func userArgument(s string) (string, error) {
	user, err := billing.NormalizeID(s, billing.MaxID)
	if err != nil {
		return "", wrongUsage("USER %v", err)
	}
	return user, nil
}

// What spreadsheets write where an id has been: the number that they took it for,
// the error of what they took for a formula, or the formula. Excel and LibreOffice
// write at least two digits of an exponent, always with its sign and a capital E; an
// id such as 1e5, 1E5 or 12E+4 is none of these and is taken.
var (
	asScientific = regexp.MustCompile(`^-?[0-9]+([.,][0-9]+)?E[+-][0-9]{2,}$`)
	asError      = regexp.MustCompile(`^(#[A-Z][A-Z0-9_/]*[!?]|#N/A|#GETTING_DATA|Err:[0-9]{3})$`)
	asTooNarrow  = regexp.MustCompile(`^##+$`)
)

// cellID reads an id from a cell of a CSV. One that a spreadsheet has rewritten is
// refused, since the id that it was is lost, and what stands there could be taken
// for several people. A zero that was cut off, or an id that became a date, cannot
// be told from ids as they should be.
func cellID(cell string) (string, error) {
	var as string
	switch {
	case asScientific.MatchString(cell):
		as = "a number in scientific notation"
	case asError.MatchString(cell):
		as = "the error of a formula"
	case asTooNarrow.MatchString(cell):
		as = "what does not fit into its column"
	case strings.HasPrefix(cell, "="):
		as = "a formula"
	default:
		return billing.NormalizeID(cell, billing.MaxID)
	}
	return "", fmt.Errorf("%q looks rewritten by a spreadsheet as %s; accepted: the id as it was, with the column formatted as text", cell, as)
}
