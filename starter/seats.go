package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newSeatsCmd(a *app) *cobra.Command {
	return newGroup("seats", "Members and the seats they hold", `
Members and the seats they hold. A seat is charged for each local day at whose
start it is held. A change acts from the organisation's now on unless it says
otherwise.`,
		newSeatsAssignCmd(a), newSeatsImportCmd(a), newSeatsRemoveCmd(a), newSeatsListCmd(a))
}

type seatsAssignOptions struct {
	*app
	org    string
	change postgres.SeatChange
	at     moment
}

func newSeatsAssignCmd(a *app) *cobra.Command {
	o := &seatsAssignOptions{app: a}
	cmd := &cobra.Command{
		Use:   "assign ORG USER --tier TIER",
		Short: "Give a user a seat, or another one",
		Example: `  starter seats assign acme user_00007 --tier chat_claude_code
  starter seats assign acme user_00031 --tier chat --hipaa --as ops --reason "BAA signed"`,
		Args: arguments("ORG", "USER"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.change.User, err = userArgument(args[1]); err != nil {
				return err
			}
			o.org = args[0]
			return runSeatsAssign(cmd.Context(), o)
		},
	}
	cmd.Flags().Var(identifier{&o.change.Tier}, "tier", "seat tier of the organisation's price book, like chat or chat_claude_code")
	cmd.Flags().BoolVar(&o.change.HIPAA, "hipaa", false, "a HIPAA-ready seat, with its surcharge")
	cmd.Flags().Var(&o.at, "at", "from when on; a date: its first instant in the organisation's zone (default its now)")
	return required(cmd, "tier")
}

type assignedSeat struct {
	Organization string `json:"organization"`
	User         string `json:"user"`
	Tier         string `json:"tier"`
	HIPAA        bool   `json:"hipaa"`
	postgres.SeatResult
	From time.Time `json:"from"`

	begins bool // the seat begins later
}

func runSeatsAssign(ctx context.Context, o *seatsAssignOptions) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, o.org)
	if err != nil {
		return err
	}
	if o.change.From, err = o.at.in(&org); err != nil {
		return err
	}
	from := o.change.From
	if o.at.IsZero() {
		from = org.Now
		if org.StartsAt.After(from) {
			from = org.StartsAt
		}
	}
	result, err := store.AssignSeats(ctx, o.org, []postgres.SeatChange{o.change}, o.by())
	if err != nil {
		return err
	}
	view := assignedSeat{o.org, o.change.User, o.change.Tier, o.change.HIPAA, result, from.UTC(), from.After(org.Now)}
	return o.print(view, view.write)
}

func (v assignedSeat) write(w io.Writer) {
	done := "has a seat " + v.Tier + " now"
	switch {
	case v.Assigned+v.Changed == 0:
		done = "holds this seat already: nothing changed"
	case v.begins:
		done = "has a seat " + v.Tier + " from " + showTime(v.From) + " on"
	}
	if v.Changed > 0 {
		done += ", in place of the former one"
	}
	fmt.Fprintf(w, "%s of %s %s.\n", v.User, v.Organization, done)
}

type seatsRemoveOptions struct {
	*app
	org, user string
	at        moment
}

func newSeatsRemoveCmd(a *app) *cobra.Command {
	o := &seatsRemoveOptions{app: a}
	cmd := &cobra.Command{
		Use:     "remove ORG USER",
		Short:   "Take a user's seat away",
		Example: "  starter seats remove acme user_00039",
		Args:    arguments("ORG", "USER"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.user, err = userArgument(args[1]); err != nil {
				return err
			}
			o.org = args[0]
			return runSeatsRemove(cmd.Context(), o)
		},
	}
	cmd.Flags().Var(&o.at, "at", "from when on; a date: its first instant in the organisation's zone (default its now)")
	return cmd
}

type removedSeat struct {
	Organization string     `json:"organization"`
	User         string     `json:"user"`
	At           *time.Time `json:"at"`
}

func runSeatsRemove(ctx context.Context, o *seatsRemoveOptions) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, o.org)
	if err != nil {
		return err
	}
	at, err := o.at.in(&org)
	if err != nil {
		return err
	}
	if err := store.RemoveSeat(ctx, o.org, o.user, at, o.by()); err != nil {
		return err
	}
	return o.print(removedSeat{o.org, o.user, optional(at)}, func(w io.Writer) {
		since := "any more"
		if at.After(org.Now) {
			since = "from " + showTime(at) + " on"
		}
		fmt.Fprintf(w, "%s of %s holds no seat %s.\n", o.user, o.org, since)
	})
}

type seatsListOptions struct {
	*app
	org string
	at  moment
}

func newSeatsListCmd(a *app) *cobra.Command {
	o := &seatsListOptions{app: a}
	cmd := &cobra.Command{
		Use:   "list ORG",
		Short: "List who holds which seat",
		Long: `List who holds which seat, and who will: a seat that begins later is listed as
such, beside the one that is held until then. With --at, the seats held at that time.`,
		Example: `  starter seats list acme
  starter seats list acme --at 2026-10-15`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.org = args[0]
			return runSeatsList(cmd.Context(), o)
		},
	}
	cmd.Flags().Var(&o.at, "at", "held at this time only; a date: its first instant in the organisation's zone (default its now, and what begins later)")
	return cmd
}

type seatView struct {
	User  string     `json:"user"`
	Tier  string     `json:"tier"`
	HIPAA bool       `json:"hipaa"`
	From  time.Time  `json:"from"`
	To    *time.Time `json:"to"`

	Status string `json:"status"` // held, or begins: it begins later
}

// Whether a seat is held at the time that a list is of.
const (
	seatHeld   = "held"
	seatBegins = "begins"
)

func runSeatsList(ctx context.Context, o *seatsListOptions) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, o.org)
	if err != nil {
		return err
	}
	at, err := o.at.in(&org)
	if err != nil {
		return err
	}
	seats, err := store.Seats(ctx, o.org, at)
	if err != nil {
		return err
	}
	var views []seatView
	for _, s := range seats {
		view := viewSeat(s)
		if o.at.IsZero() && s.From.After(org.Now) {
			view.Status = seatBegins
		}
		views = append(views, view)
	}
	return printList(o.app, views, "Nobody holds a seat.",
		left("USER", func(v seatView) string { return v.User }),
		left("TIER", func(v seatView) string { return v.Tier }),
		left("HIPAA", func(v seatView) string { return yes(v.HIPAA) }),
		left("FROM", func(v seatView) string {
			if v.Status == seatBegins {
				return "begins " + showTime(v.From)
			}
			return showTime(v.From)
		}),
		left("TO", func(v seatView) string { return showOptional(v.To) }))
}

func viewSeat(s billing.SeatAssignment) seatView {
	return seatView{s.User, s.Tier, s.HIPAA, s.From.UTC(), optional(s.To), seatHeld}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
