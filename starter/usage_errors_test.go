package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"bogus":                                              `no command "bogus"; there are: audit, billing, clock`,
		"org":                                                "",
		"org bogus":                                          `no command "bogus"; there are: close, create, discount, import, list, resume, set, show, suspend`,
		"org create":                                         "ID is missing",
		"org create acme extra":                              `"extra" is one argument too many`,
		"org create --anchor-day x":                          `--anchor-day "x"; accepted: a whole number`,
		"org create acme --anchor-day 0":                     "anchor_day: 0 is not a day of the month from 1 to 31",
		"org create acme --anchor-day 32":                    "anchor_day: 32 is not a day of the month from 1 to 31",
		"org create acme --plan team":                        `plan: "team" has no usage-based billing; accepted: enterprise`,
		"org create acme --currency XXX":                     `currency "XXX" is not one of AED`,
		"org create acme --timezone Mars":                    "IANA time zone",
		"org create ACME":                                    "1 to 63 of a-z",
		"org create acme --start later":                      "--start",
		"org create acme --net-days 0":                       "net_days: 0; accepted: 1 to 365",
		"org create acme --collection x":                     "accepted: charge_automatically, send_invoice",
		"org list -o xml":                                    "accepted: table or json",
		"org list --bogus":                                   "unknown flag: --bogus",
		"seats assign acme":                                  "USER is missing",
		"seats assign acme alice":                            "--tier is missing",
		"seats assign acme  --tier chat":                     "USER is empty",
		"limits set acme --amount 5":                         "exactly one of --org, --tier, --user",
		"limits set acme --org --tier chat --amount 5":       "exactly one of --org, --tier, --user",
		"limits set acme --org":                              "--amount is missing",
		"limits set acme --org --amount -5":                  "accepted: an amount like 500.00",
		"limits set acme --org --amount 1e3":                 "accepted: an amount like 500.00",
		"limits set acme --org --amount 5 --mode pooled":     "--mode is for --tier only",
		"limits set acme --tier chat --amount 5 --mode both": "accepted: per_member, pooled",
		"limits set acme --org --amount 5 --thresholds 0,50": "whole percentages from 1 to 1000",
		"limits set acme --org --amount 5 --thresholds half": `--thresholds "half"; accepted: whole numbers with commas between`,
		"limits explain acme":                                "--user is missing",
		"usage import":                                       "FILE is missing",
		"usage summary acme --by colour":                     `--by "colour"; accepted: user, product, model`,
		"cycle start":                                        "ORG is missing",
		"cycle start acme --all":                             "ORG or --all, not both",
		"clock advance acme":                                 "--to is missing",
		"clock advance --to 2026-10-01":                      "ORG is missing",
		"clock advance acme --to soon":                       "accepted: a time like 2026-10-01T00:00:00Z",
		"verify --period 2026-10-01":                         "--period is of one organization",
		"audit acme --limit 0":                               "--limit 0; accepted: 1 or more",
		"dev bogus":                                          `no command "bogus"; there are: prepare`,
		"dev --without postgres":                             `--without "postgres"; accepted: worker, gateway`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			args := strings.Split(line, " ")
			if says == "" {
				require.Contains(t, s.ok(args...), "Available Commands")
				return
			}
			require.Contains(t, s.fails(exitUsage, args...), says)
		})
	}
}

func TestWhatIsNotConfiguredIsNamed(t *testing.T) {
	t.Parallel()
	for line, names := range map[string][]string{
		"org list":               {"DATABASE_URL"},
		"migrate":                {"DATABASE_URL", "TEMPORAL_ADDRESS"},
		"serve":                  {"DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"},
		"usage import /dev/null": {"DATABASE_URL"},
	} {
		complaint := newShell(t).fails(exitFailed, strings.Split(line, " ")...)
		for _, name := range names {
			require.Contains(t, complaint, name+" is missing; accepted: ")
		}
		require.NotContains(t, complaint, "ARREARS_GATEWAY_URL", "only what is needed")
		require.Contains(t, complaint, "starter dev --env-file .env", "and what to do")
	}
}

func TestAPartThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	complaint := newShell(t, "DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/d").fails(exitFailed, "org", "list")
	require.Contains(t, complaint, "DATABASE_URL says where the database is")
	require.NotContains(t, complaint, "hunter2")
}

// TestHelpTeaches holds each command's help against the command: it has an
// example, and every line of it that calls starter could be typed.
func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	a, _, _ := newShell(t).app()
	root := newRootCmd(a)
	commands := 0
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return
		}
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		if cmd.HasSubCommands() && cmd.Example == "" {
			return
		}
		commands++
		require.NotEmpty(t, cmd.Example, cmd.CommandPath())
		found := false
		for _, line := range exampleLines(cmd.Example) {
			found = found || strings.HasPrefix(line, cmd.CommandPath()) || cmd == root || strings.HasPrefix(cmd.CommandPath(), "starter dev")
			requireTypeable(t, root, line)
		}
		require.True(t, found, "%s shows itself", cmd.CommandPath())
	})
	require.Greater(t, commands, 35)
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

// exampleLines lists the calls of starter in an example.
func exampleLines(example string) (lines []string) {
	joined := strings.ReplaceAll(strings.ReplaceAll(example, "\\\n", " "), "|\n", "\n")
	for line := range strings.Lines(joined) {
		if i := strings.Index(line, "starter "); i >= 0 {
			line, _, _ = strings.Cut(line[i:], "#")
			lines = append(lines, strings.TrimSuffix(strings.TrimSpace(line), " &"))
		}
	}
	return lines
}

func requireTypeable(t *testing.T, root *cobra.Command, line string) {
	t.Helper()
	args := splitWords(line)[1:]
	cmd, rest, err := root.Find(args)
	require.NoError(t, err, line)
	require.NoError(t, cmd.ParseFlags(rest), line)
	require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
}

// splitWords splits a line as a shell does, quotes and all.
func splitWords(line string) (words []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}
