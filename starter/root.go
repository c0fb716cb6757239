package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, a *app) int {
	defer a.close()
	root := newRootCmd(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var wrong *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &wrong):
		a.complain(err)
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		a.complain(errors.New("interrupted"))
		return exitFailed
	default:
		a.complain(err)
		return exitFailed
	}
}

// errReported fails a command that has already said why.
var errReported = errors.New("reported")

// complain says on stderr what was wrong, and what to do where that is known.
func (a *app) complain(err error) {
	a.note("Error: %v", err)
	if hint := hintFor(err); hint != "" {
		a.note("%s", hint)
	}
}

// hinted is an error with a line that says what to do about it.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// withHint adds what to do to an error, and leaves nil alone.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// unknownOrganization is how an organisation is said to be missing, and not
// something else of it.
var unknownOrganization = regexp.MustCompile(`(^|: )organization "[^"]*" does not exist$`)

func hintFor(err error) string {
	var h *hinted
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.Is(err, billing.ErrNotFound) && unknownOrganization.MatchString(err.Error()):
		return "The organizations are listed by: starter org list"
	}
	return ""
}

// usageError is a command line that cannot be meant: exit code 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func wrongUsage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// asUsage makes wrong usage of what the rules find invalid in flags alone.
func asUsage(err error) error {
	if errors.Is(err, billing.ErrInvalid) {
		return wrongUsage("%v", err)
	}
	return err
}

func newRootCmd(a *app) *cobra.Command {
	root := newGroup("starter", "Usage-based billing on Temporal, PostgreSQL and Stripe", `
Starter takes organisations under contract, loads prices, stores usage, starts
and steers the billing cycles, and shows what was billed. It reads its
configuration from the environment; "starter dev --env-file .env" starts
everything on this machine and writes that environment down.`,
		newDemoCmd(a), newDevCmd(a), newServeCmd(a), newMigrateCmd(a),
		newOrgCmd(a), newSeatsCmd(a), newPricesCmd(a), newLimitsCmd(a), newUsageCmd(a),
		newCycleCmd(a), newClockCmd(a), newInvoicesCmd(a), newPaymentsCmd(a), newBillingCmd(a),
		newNoticesCmd(a), newWebhooksCmd(a), newKeysCmd(a), newLedgerCmd(a), newAuditCmd(a), newVerifyCmd(a),
	)
	root.Example = `  starter demo --exit                          # a whole month, from nothing to two paid invoices
  starter dev --env-file .env                  # everything on this machine, until Ctrl-C
  set -a; . ./.env; set +a; starter org list`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.VarP(&a.format, "output", "o", "how to print: table or json")
	flags.StringVar(&a.actor, "as", a.actor, "who asks for the change, for the audit trail")
	flags.StringVar(&a.reason, "reason", "", "why, for the audit trail")
	return root
}

// newGroup is a command that only holds others.
func newGroup(use, short, long string, subcommands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  strings.TrimSpace(long),
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			names := make([]string, 0, len(cmd.Commands()))
			for _, sub := range cmd.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			return wrongUsage("%s has no command %q; there are: %s", cmd.CommandPath(), args[0], strings.Join(names, ", "))
		},
	}
	group.AddCommand(subcommands...)
	return group
}

// arguments checks how many arguments a command got against the names in its
// usage line, ORG USER [FILE].
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		required := 0
		for _, name := range names {
			if !strings.HasPrefix(name, "[") {
				required++
			}
		}
		switch {
		case len(args) < required:
			return wrongUsage("%s is missing\nUsage: %s\nSee %s --help", names[len(args)], cmd.UseLine(), cmd.CommandPath())
		case len(args) > len(names):
			return wrongUsage("%q is one argument too many\nUsage: %s", args[len(names)], cmd.UseLine())
		}
		for i, arg := range args {
			if strings.TrimSpace(arg) == "" {
				return wrongUsage("%s is empty\nUsage: %s", strings.Trim(names[i], "[]"), cmd.UseLine())
			}
		}
		return nil
	}
}

// required makes flags of a command ones that must be given.
func required(cmd *cobra.Command, flags ...string) *cobra.Command {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range flags {
			if !cmd.Flags().Changed(name) {
				return wrongUsage("--%s is missing\nUsage: %s\nSee %s --help", name, cmd.UseLine(), cmd.CommandPath())
			}
		}
		return nil
	}
	return cmd
}

// exactlyOne checks that one of several flags was given, and tells which.
func exactlyOne(cmd *cobra.Command, flags ...string) (string, error) {
	var given []string
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			given = append(given, name)
		}
	}
	if len(given) != 1 {
		return "", wrongUsage("accepted: exactly one of --%s\nUsage: %s", strings.Join(flags, ", --"), cmd.UseLine())
	}
	return given[0], nil
}
