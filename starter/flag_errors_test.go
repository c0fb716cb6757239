package main

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// unreadable are values that no flag of the type can take; a string takes any.
var unreadable = map[string][]string{
	"bool":           {"maybe", "2", "ja"},
	"int":            {"x", "1.5", "", "99999999999999999999", "1e3", "0x"},
	"uint64":         {"x", "-1", "1.5", "", "99999999999999999999"},
	"intSlice":       {"x", "1,,2", "50;80", "99999999999999999999"},
	"duration":       {"x", "5", "a day", "", "1w"},
	"stringSlice":    {`"`, `a"b`},
	"time":           {"soon", "", "2026-13-01", "1760000000"},
	"amount|none":    {"x", "-1", "1e9", ""},
	"amount":         {"x", "-1", "0", ""},
	"number":         {"x", "-1", ""},
	"percent":        {"x", "-1", "100", ""},
	"PRODUCT=SOURCE": {"x", "x=", "=otlp", "x=mail", "a\u200bb=otlp", ""},
	"day":            {"soon", "", "2026-13-01", "2026-10-01T00:00:00Z"},
	"days":           {"x", "1,,2", ""},
	"days|never":     {"x", "-1", "1.5", ""},
	"csv|html":       {"pdf", ""},
	"table|json":     {"xml", ""},
	"string":         nil,
}

// ofGo are words of Go's parsers that are nobody's business.
var ofGo = []string{"strconv", "Parse", "parse", "invalid syntax", "invalid argument", "out of range", "time:", "unknown unit", "missing unit", "flag needs", "column", "%!"}

func TestEveryFlagThatCannotBeReadSaysItsNameAndWhatIsAccepted(t *testing.T) {
	t.Parallel()
	tried := map[string]int{}
	var visit func(cmd *cobra.Command, path []string)
	visit = func(cmd *cobra.Command, path []string) {
		for _, sub := range cmd.Commands() {
			visit(sub, append(slices.Clone(path), sub.Name()))
		}
		check := func(flag *pflag.Flag) {
			values, known := unreadable[flag.Value.Type()]
			require.True(t, known, "--%s of %v has the type %s: say here what it cannot take", flag.Name, path, flag.Value.Type())
			for _, value := range values {
				tried[flag.Value.Type()]++
				requireFlagRefused(t, append(slices.Clone(path), "--"+flag.Name+"="+value), flag.Name)
			}
			if flag.NoOptDefVal == "" {
				requireFlagRefused(t, append(slices.Clone(path), "--"+flag.Name), flag.Name)
			}
		}
		cmd.LocalFlags().VisitAll(check)
		cmd.InheritedFlags().VisitAll(check)
	}
	a, _, _ := newShell(t).app()
	visit(newRootCmd(a), nil)
	for kind, values := range unreadable {
		require.True(t, len(values) == 0 || tried[kind] > 0, "no flag has the type %s", kind)
	}
}

func requireFlagRefused(t *testing.T, line []string, flag string) {
	t.Helper()
	code, stdout, stderr := newShell(t).run(line...)
	require.Equal(t, exitUsage, code, "%q: %s", line, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "Error: --"+flag+" ", "%q", line)
	require.Contains(t, stderr, "; accepted: ", "%q", line)
	require.Contains(t, stderr, "--help")
	for _, word := range ofGo {
		require.NotContains(t, stderr, word, "%q", line)
	}
}
