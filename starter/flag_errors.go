package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/arrears-dev/arrears/internal/billing"
)

// flagError says of a flag that cannot be read what it is called, what was given
// and what is accepted, without what Go's parsers have to say about it.
func flagError(cmd *cobra.Command, err error) error {
	const help = "\nSee %s --help"
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid) && saysWhatIsWrong(invalid.Unwrap()):
		return wrongUsage("--%s %v"+help, invalid.GetFlag().Name, invalid.Unwrap(), cmd.CommandPath())
	case errors.As(err, &invalid):
		return wrongUsage("--%s %q; accepted: %s"+help, invalid.GetFlag().Name, invalid.GetValue(), accepted(invalid), cmd.CommandPath())
	case errors.As(err, &missing):
		flag := missing.GetFlag()
		return wrongUsage("--%s needs a value; accepted: %s"+help, flag.Name, acceptedByType(flag.Value.Type()), cmd.CommandPath())
	}
	return wrongUsage("%v"+help, err, cmd.CommandPath())
}

// saysWhatIsWrong reports whether an error of ours names what is wrong before it
// says what is accepted.
func saysWhatIsWrong(err error) bool {
	return errors.Is(err, billing.ErrInvalid) && !strings.HasPrefix(err.Error(), "accepted: ")
}

// accepted says what a flag takes: a type of ours says it itself.
func accepted(invalid *pflag.InvalidValueError) string {
	if text, ours := strings.CutPrefix(invalid.Unwrap().Error(), "accepted: "); ours {
		return text
	}
	return acceptedByType(invalid.GetFlag().Value.Type())
}

func acceptedByType(kind string) string {
	switch kind {
	case "bool":
		return "true or false, or the flag alone"
	case "int", "int64":
		return "a whole number"
	case "uint64":
		return "a whole number from 0 on"
	case "intSlice":
		return "whole numbers with commas between, like 50,80,100"
	case "duration":
		return "a duration like 90s, 30m or 24h"
	case "stringSlice":
		return "names with commas between"
	case "string":
		return "a text"
	default:
		return "a value of the type " + kind
	}
}
