package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newClockCmd(a *app) *cobra.Command {
	return newGroup("clock", "Test clocks: let time pass for organisations that live on one", "", newClockAdvanceCmd(a))
}

type clockAdvanceOptions struct {
	*app
	orgs    []string // nil = all on a test clock
	to      moment
	usage   string
	timeout time.Duration
}

func newClockAdvanceCmd(a *app) *cobra.Command {
	o := &clockAdvanceOptions{app: a}
	var all bool
	cmd := &cobra.Command{
		Use:   "advance ORG|--all --to TIME",
		Short: "Move a test clock; everything that would have happened by then happens",
		Long: `Move an organisation's test clock, or those of all. Everything that would have
happened by then happens, in order, on the real system: notices, period ends,
invoices, payments. The command returns when everything is at rest, and says what
happened. A clock only moves forward. A date is its first instant where the
organisation is: with --all, each clock is moved to the midnight of its own zone.

With --usage, the events of a file are stored while time passes, each just after
it happened; the file may be in any order.`,
		Example: `  starter clock advance acme --to 2026-11-02T01:00:00Z --usage october.ndjson
  starter clock advance --all --to 2027-01-01`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.orgs, err = chosenOrganizations(cmd, args, all); err != nil {
				return err
			}
			return runClockAdvance(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "the clocks of all organisations that are on one, together")
	f.Var(&o.to, "to", "the time to move to, or a date")
	f.StringVar(&o.usage, "usage", "", "usage file to play while time passes; - is stdin")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long an organisation may take to come to a rest before this gives up")
	return required(cmd, "to")
}

// advancedView is what moving clocks did.
type advancedView struct {
	To            time.Time         `json:"to"` // where the last clock stands
	Organizations []advancedOrgView `json:"organizations"`
	Events        []reportRow       `json:"events"`
	Usage         *playedView       `json:"usage"` // null without --usage
}

type advancedOrgView struct {
	Organization string    `json:"organization"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Stage        string    `json:"stage"` // of the cycle: not_started and paused ones do nothing
}

type playedView struct {
	importTotals
	Later int64 `json:"later"` // events after the time that was moved to: not stored
}

func runClockAdvance(ctx context.Context, o *clockAdvanceOptions) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	clocks, err := testClocks(ctx, store, o.orgs, o.to)
	if err != nil {
		return err
	}
	if err := untilLevel(ctx, store); err != nil {
		return err
	}
	p := newPlayer(o, store, clocks)
	if o.usage != "" {
		if err := p.load(ctx, o.app, o.usage); err != nil {
			return err
		}
	}
	before, err := snapshots(ctx, store, clocks)
	if err != nil {
		return err
	}
	bar := o.timeBar(p.from(), p.until())
	p.moved = bar.moved
	moveErr := p.advance(ctx)
	bar.done()
	view, err := p.view(context.WithoutCancel(ctx), before)
	if err != nil {
		return errors.Join(moveErr, err)
	}
	if moveErr == nil || len(view.Events) > 0 {
		if err := o.print(view, view.write); err != nil {
			return err
		}
	}
	return moveErr
}

// levelPatience is how long a worker may take to know what Stripe has since the
// database's server started anew.
const levelPatience = 30 * time.Second

// untilLevel waits while billing waits for that: everybody would be at rest, and
// the clock would run past their bills.
func untilLevel(ctx context.Context, store *postgres.Store) error {
	for deadline := time.Now().Add(levelPatience); ; {
		present, err := store.RecoveryPending(ctx)
		switch {
		case err != nil || present == "":
			return err
		case time.Now().After(deadline):
			return billing.Conflict("billing waits, since the database's server started anew or was replaced and no worker has looked what Stripe has since; is one running?")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// farthest is how many years a clock is moved at once: every period on the way is
// billed, and a slip of the finger should not bill a thousand years.
const farthest = 10

// testClocks reads the organisations whose clocks are to be moved, each to what the
// given moment means to it.
func testClocks(ctx context.Context, store *postgres.Store, ids []string, given moment) ([]*testClock, error) {
	all := ids == nil
	if all {
		var err error
		if ids, err = organizationIDs(ctx, store); err != nil {
			return nil, err
		}
	}
	var clocks []*testClock
	for _, id := range ids {
		org, err := store.Organization(ctx, id)
		if err != nil {
			return nil, err
		}
		to, err := given.in(&org)
		switch {
		case err != nil:
			return nil, err
		case !org.TestClock && all:
		case !org.TestClock:
			return nil, withHint(fmt.Errorf("organization %q lives in real time, which nobody can move", id),
				"Only an organisation created with --test-clock has a clock.")
		case to.Before(org.Now):
			return nil, fmt.Errorf("--to %s is before the time of %s, %s; a clock only moves forward",
				to.Format(time.RFC3339), id, org.Now.Format(time.RFC3339))
		case to.After(org.Now.AddDate(farthest, 0, 0)):
			return nil, fmt.Errorf("--to %s is more than %d years after the time of %s, %s; move it in steps",
				to.Format(time.RFC3339), farthest, id, org.Now.Format(time.RFC3339))
		default:
			clocks = append(clocks, &testClock{org: org, from: org.Now, to: to})
		}
	}
	if len(clocks) == 0 {
		return nil, withHint(errors.New("no organization is on a test clock"), "Create one: starter org create ID --test-clock TIME")
	}
	return clocks, nil
}

func (v advancedView) write(w io.Writer) {
	for _, org := range v.Organizations {
		fmt.Fprintf(w, "%s: from %s to %s\n", org.Organization, showTime(org.From), showTime(org.To))
		switch org.Stage {
		case "not_started":
			fmt.Fprintf(w, "%s has no cycle yet, so nothing is billed: starter cycle start %s\n", org.Organization, org.Organization)
		case "paused":
			fmt.Fprintf(w, "%s is paused, so nothing is billed: starter cycle resume %s\n", org.Organization, org.Organization)
		}
	}
	if v.Usage != nil {
		fmt.Fprintln(w)
		v.Usage.write(w)
		if v.Usage.Later > 0 {
			fmt.Fprintf(w, "%s after that were not played.\n", plural(v.Usage.Later, "event"))
		}
	}
	fmt.Fprintln(w)
	if len(v.Events) == 0 {
		fmt.Fprintln(w, "Nothing else happened.")
		return
	}
	writeTable(w, v.Events,
		left("AT", func(h reportRow) string { return showTime(h.At) }),
		left("ORGANIZATION", func(h reportRow) string { return h.Organization }),
		right("AMOUNT", func(h reportRow) string { return showMoney(h.Amount) }),
		left("WHAT", func(h reportRow) string { return strings.ReplaceAll(h.Kind, "_", " ") }),
		left("", func(h reportRow) string { return h.Text })) // last: why a draft is parked may be long
}

const (
	firstRestPoll = 2 * time.Millisecond
	lastRestPoll  = 50 * time.Millisecond
)

// atRest waits until everything that could happen by the organisation's time has
// happened, and returns what it waits for then.
func atRest(ctx context.Context, store *postgres.Store, org string, timeout time.Duration) (postgres.ClockStatus, error) {
	deadline := time.Now().Add(timeout)
	for pause := firstRestPoll; ; pause = min(2*pause, lastRestPoll) {
		status, err := store.ClockStatus(ctx, org)
		if err != nil || status.AtRest() {
			return status, err
		}
		if time.Now().After(deadline) {
			return status, withHint(fmt.Errorf("%s did not come to a rest within %s: %s", org, timeout, strings.Join(status.Busy, "; ")),
				"Is a worker running? What is missing is started by: starter cycle start %s", org)
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// settleTimeout is how long a command that set something off waits for it on a
// test clock, where nothing else would tell when it has happened.
const settleTimeout = 10 * time.Second

// settle waits, for an organisation on a test clock, until what a command set
// off has happened. In real time nobody waits.
func (a *app) settle(ctx context.Context, id string) {
	store, err := a.Store(ctx)
	if err != nil {
		return
	}
	org, err := store.Organization(ctx, id)
	if err != nil || !org.TestClock {
		return
	}
	if _, err := atRest(ctx, store, id, settleTimeout); err != nil {
		a.note("Note: %v", err)
	}
}
