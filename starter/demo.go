package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack"
)

type demoOptions struct {
	*app
	exit bool
}

func newDemoCmd(a *app) *cobra.Command {
	o := &demoOptions{app: a}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job, start to finish, on the embedded stack",
		Long: `Run the main job on a month of usage, on an embedded stack of its own: two
organisations with members, prices and limits; thresholds crossed; spend per
member, and a request that is blocked until its limit is raised; the month closed
and invoiced, with one member's part of the invoice; one invoice collected at once,
the other after a declined card and a new one. Every step is a command that is
shown before it runs.

The stack stays up until Ctrl-C, to be looked at; with --exit it stops when done.`,
		Example: "  starter demo --exit",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.exit, "exit", false, "stop the stack when done")
	return cmd
}

// demoMember is one member of the demo's organisations.
type demoMember struct{ user, tier, hipaa string }

func (m demoMember) codes() bool { return m.tier == "chat_claude_code" }

const (
	demoSeed      = 20261001
	demoSecond    = "2026-10-16T00:00:00Z" // the second half of the month
	demoBlocked   = "2026-10-28T00:00:00Z" // a member has reached a limit
	demoAfter     = "2026-11-02T00:05:00Z" // the draft window is over, the first charges are made
	unpricedModel = "claude-unreleased-1"
	blockedUser   = "user_00003"
)

// demoStart is when the demo's contracts and usage begin.
func demoStart() time.Time { return time.Date(2026, time.October, 1, 0, 0, 0, 0, time.UTC) }

// demoMembers makes members, half of them on each tier; every seventh of those
// who only chat has a HIPAA-ready seat.
func demoMembers(count int) []demoMember {
	members := make([]demoMember, count)
	for i := range members {
		members[i] = demoMember{fmt.Sprintf("user_%05d", i), "chat_claude_code", "false"}
		if i >= count/2 {
			members[i].tier, members[i].hipaa = "chat", fmt.Sprint(i%7 == 0)
		}
	}
	return members
}

func runDemo(ctx context.Context, o *demoOptions) (err error) {
	began := time.Now()
	folder, err := os.MkdirTemp("", "arrears-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil || ctx.Err() != nil { // else the files tell why it failed
			err = errors.Join(err, os.RemoveAll(folder))
		}
	}()
	o.say("Starting the embedded stack: PostgreSQL, Temporal, a local Stripe, the worker and the gateway.\n")
	envFile := filepath.Join(folder, "demo.env")
	stack, err := o.startStack(ctx, devstack.Options{EnvFile: envFile, LogDir: filepath.Join(folder, "logs")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	d := newDemo(o.app, folder, stack.Env())
	defer d.close()
	if err := d.play(ctx); err != nil {
		return withHint(fmt.Errorf("the demo failed: %w", err), "Its files and logs are in %s", folder)
	}
	o.say("\nDone in %.0f s.\n", time.Since(began).Seconds())
	o.say("Temporal UI  %s", stack.Env()["ARREARS_TEMPORAL_UI_URL"])
	o.say("Gateway      %s", stack.Env()["ARREARS_GATEWAY_URL"])
	if o.exit {
		o.say("\nBoth stop now; without --exit they stay up until Ctrl-C.")
		return nil
	}
	o.say("Try it       set -a; . %s; set +a; %s usage summary acme --period 2026-10-01 --by user", envFile, os.Args[0])
	o.say("\nThe stack stays up. Ctrl-C stops it.")
	return stack.Wait(ctx)
}

// demo is a script of the product's own commands.
type demo struct {
	app    *app
	folder string
	env    map[string]string // of the stack
}

func newDemo(a *app, folder string, env map[string]string) *demo {
	own := *a
	own.connections = &connections{}
	own.environ = slices.Clone(a.environ)
	for name, value := range env {
		own.environ = append(own.environ, name+"="+value)
	}
	return &demo{&own, folder, env}
}

func (d *demo) close() { d.app.close() }

// chapter begins a part of the story.
func (d *demo) chapter(title string) {
	d.app.say("\n── %s %s\n", title, strings.Repeat("─", max(0, 74-len(title))))
}

// run shows a command line and executes it.
func (d *demo) run(ctx context.Context, args ...string) error {
	d.app.say("$ %s", commandLine(args))
	err := d.execute(ctx, d.app.stdout, args)
	d.app.say("")
	return err
}

// commandLine is how people type a command.
func commandLine(args []string) string {
	words := []string{"starter"}
	for _, arg := range args {
		if strings.Contains(arg, " ") {
			arg = `"` + arg + `"`
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// execute runs a command and writes what it prints to stdout.
func (d *demo) execute(ctx context.Context, stdout io.Writer, args []string) error {
	one := *d.app // flags are the command's own, connections are shared
	one.stdout = stdout
	root := newRootCmd(&one)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// runAll runs command lines until one fails.
func (d *demo) runAll(ctx context.Context, lines ...[]string) error {
	for _, line := range lines {
		if err := d.run(ctx, line...); err != nil {
			return err
		}
	}
	return nil
}

// file writes a file into the demo's folder and returns its path.
func (d *demo) file(name string, content []byte) (string, error) {
	path := filepath.Join(d.folder, name)
	return path, os.WriteFile(path, content, 0o600)
}

func (d *demo) play(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.contracts, d.firstHalf, d.unknownModel, d.blocked, d.monthEnd, d.declinedCard, d.results,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// contracts takes the two organisations on, with members and limits.
func (d *demo) contracts(ctx context.Context) error {
	d.chapter("Two organisations, their members, prices and limits")
	acme, err := d.file("acme-members.csv", membersCSV(demoMembers(40)))
	if err != nil {
		return err
	}
	globex, err := d.file("globex-members.csv", membersCSV(demoMembers(12)))
	if err != nil {
		return err
	}
	start := demoStart().Format(time.RFC3339)
	return d.runAll(ctx,
		[]string{"prices", "load", "anthropic-2026-01"},
		[]string{"org", "create", "acme", "--test-clock", start, "--payment-method", "pm_card_visa", "--email", "billing@acme.example"},
		[]string{"org", "create", "globex", "--test-clock", start, "--payment-method", "pm_card_chargeCustomerFail", "--email", "billing@globex.example"},
		[]string{"seats", "import", "acme", acme},
		[]string{"seats", "import", "globex", globex},
		[]string{"limits", "set", "acme", "--org", "--amount", "360.00", "--thresholds", "50,80,100"},
		[]string{"limits", "set", "acme", "--tier", "chat", "--amount", "8.00"},
		[]string{"limits", "set", "acme", "--user", blockedUser, "--amount", "16.00"},
		[]string{"limits", "set", "globex", "--org", "--amount", "75.00"},
		[]string{"cycle", "start", "--all"},
	)
}

func membersCSV(members []demoMember) []byte {
	var text bytes.Buffer
	text.WriteString("user,tier,hipaa\n")
	for _, m := range members {
		fmt.Fprintf(&text, "%s,%s,%s\n", m.user, m.tier, m.hipaa)
	}
	return text.Bytes()
}

// usageBetween makes the usage of both organisations between two times. A model
// that no price book knows yet is among it, early in the month.
func (d *demo) usageBetween(name, begin, end string) (string, error) {
	from, err := time.Parse(time.RFC3339, begin)
	if err != nil {
		return "", err
	}
	to, err := time.Parse(time.RFC3339, end)
	if err != nil {
		return "", err
	}
	events := demoMonth(demoSeed, "acme", demoMembers(40), demoStart(), 31)
	for i := 60; i < 63; i++ {
		events[i].Model = unpricedModel
	}
	events = append(events, demoMonth(demoSeed+1, "globex", demoMembers(12), demoStart(), 31)...)
	events = slices.DeleteFunc(events, func(e demoEvent) bool { return e.OccurredAt.Before(from) || !e.OccurredAt.Before(to) })
	var text bytes.Buffer
	if err := writeDemoUsage(&text, events); err != nil {
		return "", err
	}
	return d.file(name, text.Bytes())
}

func (d *demo) firstHalf(ctx context.Context) error {
	d.chapter("The first half of October, each event just after it happened")
	usage, err := d.usageBetween("october-1.ndjson", demoStart().Format(time.RFC3339), demoSecond)
	if err != nil {
		return err
	}
	return d.runAll(ctx,
		[]string{"clock", "advance", "--all", "--to", demoSecond, "--usage", usage},
		[]string{"limits", "explain", "acme", "--user", blockedUser},
		[]string{"seats", "assign", "acme", "user_00025", "--tier", "chat_claude_code", "--as", "team-lead", "--reason", "joins the developers"},
	)
}

const unpricedYAML = `name: anthropic-2026-01
currency: USD
models:
  - model: ` + unpricedModel + `
    prices:
      - {effective_from: 2026-10-01T00:00:00Z, input: "4", output: "20", cache_write_5m: "5", cache_write_1h: "8", cache_read: "0.40"}
`

// unknownModel prices what nobody could price when it happened.
func (d *demo) unknownModel(ctx context.Context) error {
	d.chapter("A model without a price is parked, never billed at zero")
	path, err := d.file("new-model.yaml", []byte(unpricedYAML))
	if err != nil {
		return err
	}
	return d.runAll(ctx,
		[]string{"usage", "parked", "acme"},
		[]string{"prices", "load", path, "--as", "finance", "--reason", "price published"},
		[]string{"usage", "release", "acme", "--model", unpricedModel},
	)
}

// blocked asks for a member who has reached a limit, before and after the limit
// is raised.
func (d *demo) blocked(ctx context.Context) error {
	d.chapter("A member reaches a limit; the next request is blocked")
	usage, err := d.usageBetween("october-2.ndjson", demoSecond, demoBlocked)
	if err != nil {
		return err
	}
	if err := d.run(ctx, "clock", "advance", "--all", "--to", demoBlocked, "--usage", usage); err != nil {
		return err
	}
	if err := d.runHead(ctx, 12, "usage", "summary", "acme", "--by", "user"); err != nil {
		return err
	}
	if err := d.check(ctx, blockedUser, "blocked"); err != nil {
		return err
	}
	err = d.run(ctx, "limits", "set", "acme", "--user", blockedUser, "--amount", "25.00", "--as", "team-lead", "--reason", "release week")
	if err != nil {
		return err
	}
	return d.check(ctx, blockedUser, "allowed")
}

func (d *demo) monthEnd(ctx context.Context) error {
	d.chapter("The rest of October; the month closes and is invoiced and charged")
	usage, err := d.usageBetween("october-3.ndjson", demoBlocked, demoStart().AddDate(0, 1, 0).Format(time.RFC3339))
	if err != nil {
		return err
	}
	return d.run(ctx, "clock", "advance", "--all", "--to", demoAfter, "--usage", usage)
}

func (d *demo) declinedCard(ctx context.Context) error {
	d.chapter("The card of globex was declined; a new one is charged at once")
	return d.runAll(ctx,
		[]string{"payments", "list", "globex"},
		[]string{"payments", "set-method", "globex", "pm_card_visa", "--as", "support", "--reason", "new card"},
		[]string{"payments", "list", "globex"},
	)
}

// results shows what came of it, and fails if it is not two paid invoices with
// which everything agrees.
func (d *demo) results(ctx context.Context) error {
	d.chapter("What came of it")
	if err := d.run(ctx, "invoices", "show", "acme/2026-10-01"); err != nil {
		return err
	}
	if err := d.memberPart(ctx, "acme/2026-10-01", blockedUser); err != nil {
		return err
	}
	err := d.runAll(ctx,
		[]string{"invoices", "list", "globex"},
		[]string{"notices", "list", "acme"},
		[]string{"notices", "list", "globex"},
		[]string{"verify"},
	)
	if err != nil {
		return err
	}
	store, err := d.app.Store(ctx)
	if err != nil {
		return err
	}
	for _, id := range []string{"acme/2026-10-01", "globex/2026-10-01"} {
		invoice, err := store.Invoice(ctx, id, false)
		if err != nil {
			return err
		}
		if invoice.Status != billing.StatusPaid {
			return fmt.Errorf("invoice %s is %s and not paid", id, invoice.Status)
		}
		d.app.say("%s: %s, paid %s.", id, invoice.Total, invoice.AmountPaid)
	}
	return nil
}
