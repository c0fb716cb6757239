package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newLimitsCmd(a *app) *cobra.Command {
	return newGroup("limits", "Spend limits and their thresholds", `
Spend limits of an organisation, its seat tiers and its users, per billing month
at list price. Nobody can exceed their own limit, their tier's or the
organisation's; under the organisation's rule override (org create --limit-rule) a
user's own limit replaces the one that their tier sets for each member. Each limit has thresholds; the first spend that reaches one sends
one notice.`,
		newLimitsSetCmd(a), newLimitsListCmd(a), newLimitsRemoveCmd(a), newLimitsExplainCmd(a))
}

// limitSubject says whose limit a command is about.
type limitSubject struct {
	organization bool
	tier, user   string
}

func (s *limitSubject) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.organization, "org", false, "the limit of the whole organisation")
	cmd.Flags().Var(identifier{&s.tier}, "tier", "the limit of a seat tier")
	cmd.Flags().Var(identifier{&s.user}, "user", "the limit of one user")
}

func (s *limitSubject) read(cmd *cobra.Command) (scope billing.Scope, subject string, err error) {
	given, err := exactlyOne(cmd, "org", "tier", "user")
	switch {
	case err != nil:
		return "", "", err
	case given == "tier":
		return billing.ScopeSeatTier, s.tier, nil
	case given == "user":
		return billing.ScopeUser, s.user, nil
	}
	return billing.ScopeOrganization, "", nil
}

// limitView is a limit as it is printed.
type limitView struct {
	ID         int64          `json:"id"`
	Scope      billing.Scope  `json:"scope"`
	Subject    string         `json:"subject"`
	Version    int            `json:"version"`
	Amount     *billing.Money `json:"amount"` // null = unlimited
	Mode       string         `json:"mode"`
	Thresholds []int          `json:"thresholds"`
}

func viewLimit(l billing.Limit, currency billing.Currency) limitView {
	return limitView{l.ID, l.Scope, l.Subject, l.Version, money(l.Amount, currency), l.Mode, l.Thresholds}
}

func money(amount decimal.NullDecimal, currency billing.Currency) *billing.Money {
	if !amount.Valid {
		return nil
	}
	return &billing.Money{Amount: amount.Decimal, Currency: currency}
}

func (v limitView) amount() string {
	if v.Amount == nil {
		return "none"
	}
	return v.Amount.String()
}

// whose names the limit for people.
func (v limitView) whose() string {
	switch v.Scope {
	case billing.ScopeSeatTier:
		return "seat tier " + v.Subject
	case billing.ScopeUser:
		return "user " + v.Subject
	default:
		return "the organization"
	}
}

type limitsSetOptions struct {
	*app
	org        string
	subject    limitSubject
	amount     limitAmount
	mode       string
	thresholds []int
}

func newLimitsSetCmd(a *app) *cobra.Command {
	o := &limitsSetOptions{app: a}
	cmd := &cobra.Command{
		Use:   "set ORG (--org|--tier T|--user U) --amount A",
		Short: "Set a spend limit",
		Long: `Set a spend limit from now on. The amount is a number like 500.00, 0 to block,
or none for unlimited. The same values again change nothing. What a new limit
already exceeds is said with one notice; what a raised one does, with none.`,
		Example: `  starter limits set acme --org --amount 900.00 --thresholds 50,80,100
  starter limits set acme --tier chat --amount 40.00
  starter limits set acme --user user_00003 --amount none`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			scope, subject, err := o.subject.read(cmd)
			if err != nil {
				return err
			}
			o.org = args[0]
			return runLimitsSet(cmd.Context(), o, scope, subject)
		},
	}
	o.subject.addFlags(cmd)
	cmd.Flags().Var(&o.amount, "amount", "amount per billing month: 500.00, 0 = blocked, none = unlimited")
	cmd.Flags().StringVar(&o.mode, "mode", "", "of a tier: per_member (default) or pooled")
	cmd.Flags().IntSliceVar(&o.thresholds, "thresholds", nil, "percentages, up to ten (default 75,90,100 of the organisation, 75,95,100 of others)")
	return required(cmd, "amount")
}

type setLimitView struct {
	Organization string `json:"organization"`
	limitView
	Changed bool `json:"changed"`
}

func (o *limitsSetOptions) check(scope billing.Scope) error {
	if o.mode != "" && scope != billing.ScopeSeatTier {
		return wrongUsage("--mode is for --tier only")
	}
	if o.mode != "" && o.mode != billing.PerMember && o.mode != billing.Pooled {
		return wrongUsage("--mode %q; accepted: %s, %s", o.mode, billing.PerMember, billing.Pooled)
	}
	if o.thresholds == nil {
		return nil
	}
	if _, err := billing.CheckThresholds(o.thresholds); err != nil {
		return wrongUsage("--%s", err)
	}
	return nil
}

func runLimitsSet(ctx context.Context, o *limitsSetOptions, scope billing.Scope, subject string) error {
	if err := o.check(scope); err != nil {
		return err
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, o.org)
	if err != nil {
		return err
	}
	result, err := store.SetLimit(ctx, o.org, billing.LimitChange{
		Scope: scope, Subject: subject, Amount: o.amount.NullDecimal, Mode: o.mode, Thresholds: o.thresholds,
	}, o.by())
	if err != nil {
		return err
	}
	view := setLimitView{o.org, viewLimit(result.Limit, org.Currency), result.Changed}
	return o.print(view, func(w io.Writer) {
		if !view.Changed {
			fmt.Fprintf(w, "The limit of %s is %s already; nothing changed.\n", view.whose(), view.amount())
			return
		}
		fmt.Fprintf(w, "The limit of %s is %s per month now, with notices at %s %% (version %d).\n",
			view.whose(), view.amount(), joinInts(view.Thresholds), view.Version)
	})
}

func newLimitsListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list ORG",
		Short:   "List an organisation's limits",
		Example: "  starter limits list acme",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runLimitsList(cmd.Context(), a, args[0]) },
	}
}

func runLimitsList(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	views, err := listLimits(ctx, store, id)
	if err != nil {
		return err
	}
	return printList(a, views, "No limits are set: usage is unlimited.",
		right("ID", func(v listedLimit) string { return fmt.Sprint(v.ID) }),
		left("SCOPE", func(v listedLimit) string { return string(v.Scope) }),
		left("SUBJECT", func(v listedLimit) string { return v.Subject }),
		right("AMOUNT", func(v listedLimit) string { return v.amount() }),
		right("SPENT", func(v listedLimit) string { return showMoney(v.Spent) }),
		right("BEFORE IT WAS SET", func(v listedLimit) string { return showMoney(v.SpentBefore) }),
		left("MODE", func(v listedLimit) string { return v.Mode }),
		left("THRESHOLDS", func(v listedLimit) string { return joinInts(v.Thresholds) }),
		right("VERSION", func(v listedLimit) string { return fmt.Sprint(v.Version) }))
}

type limitsRemoveOptions struct {
	*app
	org     string
	subject limitSubject
}

func newLimitsRemoveCmd(a *app) *cobra.Command {
	o := &limitsRemoveOptions{app: a}
	cmd := &cobra.Command{
		Use:     "remove ORG (--org|--tier T|--user U)",
		Short:   "Take a limit away; what it covered falls back to the others",
		Example: "  starter limits remove acme --user user_00003",
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			scope, subject, err := o.subject.read(cmd)
			if err != nil {
				return err
			}
			o.org = args[0]
			return runLimitsRemove(cmd.Context(), o, scope, subject)
		},
	}
	o.subject.addFlags(cmd)
	return cmd
}

type removedLimit struct {
	Organization string        `json:"organization"`
	Scope        billing.Scope `json:"scope"`
	Subject      string        `json:"subject"`
	Removed      bool          `json:"removed"`
}

func runLimitsRemove(ctx context.Context, o *limitsRemoveOptions, scope billing.Scope, subject string) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	removed, err := store.RemoveLimit(ctx, o.org, scope, subject, o.by())
	if err != nil {
		return err
	}
	return o.print(removedLimit{o.org, scope, subject, removed}, func(w io.Writer) {
		whose := limitView{Scope: scope, Subject: subject}.whose()
		if removed {
			fmt.Fprintf(w, "The limit of %s is gone.\n", whose)
			return
		}
		fmt.Fprintf(w, "There was no limit of %s; nothing changed.\n", whose)
	})
}

func newLimitsExplainCmd(a *app) *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:     "explain ORG --user USER",
		Short:   "Say under which limits a user stands, and which one binds",
		Example: "  starter limits explain acme --user user_00003",
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLimitsExplain(cmd.Context(), a, args[0], user)
		},
	}
	cmd.Flags().Var(identifier{&user}, "user", "the user")
	return required(cmd, "user")
}

// standingView is a limit and how a user stands under it.
type standingView struct {
	limitView
	Spent       billing.Money  `json:"spent"`
	SpentBefore billing.Money  `json:"spent_before"` // of it, before the limit got its amount
	Provisional billing.Money  `json:"provisional"`  // what usage without a price counts beside it
	Remaining   *billing.Money `json:"remaining"`    // null = unlimited; below zero once exceeded
	Replaced    bool           `json:"replaced"`     // by the user's own limit: it does not hold
}

func viewStanding(s billing.Standing, currency billing.Currency) standingView {
	view := standingView{
		limitView: viewLimit(s.Limit, currency), Replaced: s.Replaced,
		Spent: billing.Money{Amount: s.Spent, Currency: currency}, SpentBefore: billing.Money{Amount: s.Before(), Currency: currency},
		Provisional: billing.Money{Amount: s.Provisional, Currency: currency},
	}
	if remaining, limited := s.Remaining(); limited {
		view.Remaining = &billing.Money{Amount: remaining, Currency: currency}
	}
	return view
}

type explanationView struct {
	Organization string         `json:"organization"`
	User         string         `json:"user"`
	Tier         *string        `json:"tier"` // null = no seat
	PeriodStart  time.Time      `json:"period_start"`
	PeriodEnd    time.Time      `json:"period_end"`
	AsOf         time.Time      `json:"as_of"`
	LimitRule    string         `json:"limit_rule"`
	Binding      *standingView  `json:"binding"` // null = unlimited
	Limits       []standingView `json:"limits"`
}

func viewExplanation(e postgres.LimitExplanation, currency billing.Currency) explanationView {
	view := explanationView{
		Organization: e.Organization, User: e.User, Limits: []standingView{}, AsOf: e.AsOf.UTC(), LimitRule: e.Rule,
		PeriodStart: e.Window.Start.UTC(), PeriodEnd: e.Window.End.UTC(),
	}
	if e.Tier != "" {
		view.Tier = &e.Tier
	}
	for _, s := range e.Standings {
		view.Limits = append(view.Limits, viewStanding(s, currency))
	}
	if e.Binding != nil {
		binding := viewStanding(*e.Binding, currency)
		view.Binding = &binding
	}
	return view
}

func runLimitsExplain(ctx context.Context, a *app, id, user string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	view, err := explain(ctx, store, id, user)
	if err != nil {
		return err
	}
	return a.print(view, view.write)
}

func (v explanationView) write(w io.Writer) {
	tier := "no seat: no tier's limit applies"
	if v.Tier != nil {
		tier = *v.Tier
	}
	writeFacts(w, fact{"user", v.User}, fact{"seat", tier}, fact{"month", showTime(v.PeriodStart) + " to " + showTime(v.PeriodEnd)},
		fact{"as of", showTime(v.AsOf)}, fact{"limit rule", v.LimitRule})
	fmt.Fprintln(w)
	if len(v.Limits) == 0 {
		fmt.Fprintln(w, "No limit applies: usage is unlimited.")
		return
	}
	writeTable(w, v.Limits,
		left("LIMIT OF", func(s standingView) string { return s.whose() }),
		right("AMOUNT", func(s standingView) string { return s.amount() }),
		right("SPENT", func(s standingView) string { return showCents(s.Spent) }),
		right("BEFORE IT WAS SET", func(s standingView) string { return showCents(s.SpentBefore) }),
		right("WITHOUT A PRICE", func(s standingView) string { return showProvisional(s.Provisional) }),
		right("REMAINING", func(s standingView) string { return showMoney(s.Remaining) }),
		left("", func(s standingView) string {
			if v.Binding != nil && s.ID == v.Binding.ID {
				return "binds"
			}
			if s.Replaced {
				return "replaced by the user's own"
			}
			return ""
		}))
}

// showProvisional shows what usage without a price counts against limits, where
// there is any.
func showProvisional(m billing.Money) string {
	if m.Amount.IsZero() {
		return ""
	}
	return showCents(m)
}

// listedLimit is a limit in a list. What is spent under a limit of each member
// differs from member to member: null.
type listedLimit struct {
	limitView
	Spent       *billing.Money `json:"spent"`        // in the running billing month
	SpentBefore *billing.Money `json:"spent_before"` // of it, before the limit got its amount
	Provisional *billing.Money `json:"provisional"`  // what usage without a price counts beside it
}

// listLimits lists an organisation's limits as they are printed.
func listLimits(ctx context.Context, store *postgres.Store, organization string) ([]listedLimit, error) {
	org, err := store.Organization(ctx, organization)
	if err != nil {
		return nil, err
	}
	standings, err := store.LimitStatuses(ctx, organization)
	views := []listedLimit{}
	for _, s := range standings {
		view := listedLimit{limitView: viewLimit(s.Limit, org.Currency)}
		if !s.PerMember {
			view.Spent = &billing.Money{Amount: s.Spent, Currency: org.Currency}
			view.SpentBefore = &billing.Money{Amount: s.Before(), Currency: org.Currency}
			view.Provisional = &billing.Money{Amount: s.Provisional, Currency: org.Currency}
		}
		views = append(views, view)
	}
	return views, err
}

// explain says under which limits a user stands.
func explain(ctx context.Context, store *postgres.Store, organization, user string) (explanationView, error) {
	org, err := store.Organization(ctx, organization)
	if err != nil {
		return explanationView{}, err
	}
	explanation, err := store.Explain(ctx, organization, user)
	return viewExplanation(explanation, org.Currency), err
}
