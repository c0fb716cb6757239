package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newUsageCmd(a *app) *cobra.Command {
	return newGroup("usage", "Usage events: store them, sum them up, release or discard those without a price, reconcile them", "",
		newUsageImportCmd(a), newUsageSummaryCmd(a), newUsageParkedCmd(a), newUsageReleaseCmd(a), newUsageDiscardCmd(a), newUsageReconcileCmd(a))
}

type usageSummaryOptions struct {
	*app
	org    string
	period string
	by     []string
}

func newUsageSummaryCmd(a *app) *cobra.Command {
	o := &usageSummaryOptions{app: a}
	cmd := &cobra.Command{
		Use:   "summary ORG",
		Short: "Sum up the usage of a period",
		Long: `Sum up the usage that a period bills, at list price. By user alone, each member's
spend of the billing month stands beside the limit that binds them.`,
		Example: `  starter usage summary acme --by user
  starter usage summary acme --period 2026-10-01 --by product,model`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.org = args[0]
			return runUsageSummary(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.period, "period", "", "period, like 2026-10-01 (default the running one)")
	cmd.Flags().StringSliceVar(&o.by, "by", nil, "break it down by user, product, model (default not at all)")
	return cmd
}

// usageRowView is one row of a summary. What it is not broken down by is null,
// as is the user of service usage.
type usageRowView struct {
	Organization string         `json:"organization"`
	Period       string         `json:"period"`
	User         *string        `json:"user"`
	Product      *string        `json:"product"`
	Model        *string        `json:"model"`
	Events       int64          `json:"events"`
	Input        json.Number    `json:"input"`
	Output       json.Number    `json:"output"`
	CacheWrite5m json.Number    `json:"cache_write_5m"`
	CacheWrite1h json.Number    `json:"cache_write_1h"`
	CacheRead    json.Number    `json:"cache_read"`
	WebSearch    json.Number    `json:"web_search"`
	CodeSeconds  json.Number    `json:"code_execution"` // seconds
	Spend        billing.Money  `json:"spend"`
	MonthToDate  *billing.Money `json:"month_to_date"` // of a member, by user alone
	Limit        *billing.Money `json:"limit"`         // the one that binds; null = none
	SpentBefore  *billing.Money `json:"spent_before"`  // under it, before it got its amount
	Binds        *billing.Scope `json:"binds"`         // its scope
	Remaining    *billing.Money `json:"remaining"`     // under it
	Provisional  *billing.Money `json:"provisional"`   // of a member, by user alone: usage without a price, which limits count at the fallback price
	SentAs       []string       `json:"sent_as"`       // by model: under which other names its usage arrived
	AsOf         time.Time      `json:"as_of"`
}

func viewUsageRow(s postgres.UsageSummary, r postgres.UsageRow, by []string) usageRowView {
	number := func(d decimal.Decimal) json.Number { return json.Number(d.String()) }
	column := func(name, value string) *string {
		if !slices.Contains(by, name) || value == "" {
			return nil
		}
		return &value
	}
	view := usageRowView{
		Organization: s.Organization, Period: s.Period,
		User: column("user", r.User), Product: column("product", r.Product), Model: column("model", r.Model),
		Events: r.Events, Input: number(r.Counts[billing.Input]), Output: number(r.Counts[billing.Output]),
		CacheWrite5m: number(r.Counts[billing.CacheWrite5m]), CacheWrite1h: number(r.Counts[billing.CacheWrite1h]),
		CacheRead: number(r.Counts[billing.CacheRead]), WebSearch: number(r.Counts[billing.WebSearch]),
		CodeSeconds: number(r.Counts[billing.CodeExecution]),
		Spend:       r.Spend, AsOf: s.AsOf.UTC(),
	}
	if byUser(by) && r.User != "" {
		view.MonthToDate, view.Provisional = &r.MonthToDate, &r.Provisional
	}
	if slices.Contains(by, "model") {
		view.SentAs = append([]string{}, s.Spellings[r.Model]...)
	}
	if r.Binding != nil {
		standing := viewStanding(*r.Binding, r.Spend.Currency)
		view.Limit, view.Remaining, view.Binds = standing.Amount, standing.Remaining, &standing.Scope
		view.SpentBefore = &standing.SpentBefore
	}
	return view
}

func byUser(by []string) bool { return len(by) == 1 && by[0] == "user" }

func runUsageSummary(ctx context.Context, o *usageSummaryOptions) error {
	for _, column := range o.by {
		if !slices.Contains([]string{"user", "product", "model"}, column) {
			return wrongUsage("--by %q; accepted: user, product, model, with commas between", column)
		}
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	summary, err := store.UsageSummary(ctx, o.org, o.period, o.by)
	if err != nil {
		return err
	}
	var views []usageRowView
	for _, row := range summary.Rows {
		views = append(views, viewUsageRow(summary, row, o.by))
	}
	if len(views) > 0 {
		o.say("Usage of %s in the period %s, as of %s, at list price:\n", o.org, summary.Period, showTime(summary.AsOf))
	}
	return printList(o.app, views, "There is no usage in the period "+summary.Period+".",
		left("USER", func(v usageRowView) string {
			if slices.Contains(o.by, "user") && v.User == nil {
				return "(service)"
			}
			return deref(v.User)
		}),
		left("PRODUCT", func(v usageRowView) string { return deref(v.Product) }),
		left("MODEL", func(v usageRowView) string { return deref(v.Model) }),
		right("EVENTS", func(v usageRowView) string { return showCount(v.Events) }),
		right("INPUT", func(v usageRowView) string { return groupThousands(v.Input.String()) }),
		right("OUTPUT", func(v usageRowView) string { return groupThousands(v.Output.String()) }),
		right("CACHE WRITE", func(v usageRowView) string { return showSum(v.CacheWrite5m, v.CacheWrite1h) }),
		right("CACHE READ", func(v usageRowView) string { return groupThousands(v.CacheRead.String()) }),
		right("SPEND", func(v usageRowView) string { return showCents(v.Spend) }),
		right("MONTH TO DATE", func(v usageRowView) string { return showMoney(v.MonthToDate) }),
		right("WITHOUT A PRICE", func(v usageRowView) string {
			if v.Provisional == nil {
				return ""
			}
			return showProvisional(*v.Provisional)
		}),
		right("LIMIT", func(v usageRowView) string { return showMoney(v.Limit) }),
		left("BINDS", func(v usageRowView) string {
			if v.Binds == nil {
				return ""
			}
			return string(*v.Binds)
		}),
		right("REMAINING", func(v usageRowView) string { return showMoney(v.Remaining) }),
		left("SENT AS", func(v usageRowView) string { return shortList(v.SentAs) }))
}

// shownNames is how many names a table's cell lists.
const shownNames = 3

func shortList(names []string) string {
	if len(names) > shownNames {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shownNames], ", "), len(names)-shownNames)
	}
	return strings.Join(names, ", ")
}

func showSum(numbers ...json.Number) string {
	sum := decimal.Zero
	for _, n := range numbers {
		if d, err := decimal.NewFromString(n.String()); err == nil { // it was written by a decimal
			sum = sum.Add(d)
		}
	}
	return showQuantity(sum)
}

func newUsageParkedCmd(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "parked ORG",
		Short: "List the usage that waits for a price",
		Long: `List the usage that waits for a price, by what it waits for now: the price book may
have changed since it was stored. Until then it holds its month's invoice, and counts
against limits at the price book's fallback price, if it has one.`,
		Example: `  starter usage parked acme
  starter usage parked acme --all`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error { return runUsageParked(cmd.Context(), a, args[0], all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what was discarded or retracted, and waits no more")
	return cmd
}

func runUsageParked(ctx context.Context, a *app, org string, all bool) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	rows, err := store.ParkedUsage(ctx, org, all)
	if err != nil {
		return err
	}
	var releasable int64
	for _, row := range rows {
		releasable += row.Releasable
	}
	if releasable > 0 {
		a.note("starter usage release %s frees %s.", org, plural(releasable, "event"))
	}
	return printList(a, rows, "Nothing is parked.",
		left("MODEL", func(r postgres.ParkedRow) string { return r.Model }),
		left("PRICED AS", func(r postgres.ParkedRow) string {
			if deref(r.PricedModel) == r.Model {
				return ""
			}
			return deref(r.PricedModel)
		}),
		right("EVENTS", func(r postgres.ParkedRow) string { return showCount(r.Events) }),
		right("LIMITS COUNT", func(r postgres.ParkedRow) string { return showProvisional(r.Provisional) }),
		left("FIRST", func(r postgres.ParkedRow) string { return showTime(r.First) }),
		left("LAST", func(r postgres.ParkedRow) string { return showTime(r.Last) }),
		left("STATUS", func(r postgres.ParkedRow) string {
			if r.Discarded != nil {
				return r.Status + ": " + *r.Discarded
			}
			return r.Status
		}),
		left("REASON", func(r postgres.ParkedRow) string { return r.Reason }))
}

func newUsageReleaseCmd(a *app) *cobra.Command {
	var model string
	cmd := &cobra.Command{
		Use:   "release ORG",
		Short: "Count parked usage whose price is there now, by its time of use",
		Example: `  starter prices load ./prices-with-the-new-model.yaml
  starter usage release acme --model claude-unreleased-1`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUsageRelease(cmd.Context(), a, args[0], model)
		},
	}
	cmd.Flags().Var(identifier{&model}, "model", "of this model only (default all)")
	return cmd
}

func runUsageRelease(ctx context.Context, a *app, org, model string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	result, err := store.ReleaseUsage(ctx, org, model, a.by())
	if err != nil {
		return err
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "Released %s; %s of those looked at have no price still.\n", plural(result.Released, "event"), showCount(result.StillParked))
	})
}

func newUsageDiscardCmd(a *app) *cobra.Command {
	var which postgres.DiscardChoice
	cmd := &cobra.Command{
		Use:   "discard ORG (--model M|--event ID) --reason TEXT",
		Short: "Give up parked usage that will never have a price",
		Long: `Give up parked usage that will never have a price, so that it holds its month's
invoice no longer. It is never billed; the events stay stored, void and with the
reason, and are listed by usage parked --all. What is counted already is taken
back by an event that retracts it instead.`,
		Example: `  starter usage discard acme --model claude-internal-test --as ops --reason "a load test of our own"`,
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := exactlyOne(cmd, "model", "event"); err != nil {
				return err
			}
			return runUsageDiscard(cmd.Context(), a, args[0], which)
		},
	}
	cmd.Flags().Var(identifier{&which.Model}, "model", "all parked events of this model")
	cmd.Flags().StringVar(&which.Event, "event", "", "the parked event with this id")
	return required(cmd, "reason")
}

func runUsageDiscard(ctx context.Context, a *app, org string, which postgres.DiscardChoice) error {
	if which.Model == "" && which.Event == "" {
		return wrongUsage("--model and --event: accepted: a name that is not empty")
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	result, err := store.DiscardUsage(ctx, org, which, a.by())
	if err != nil {
		return err
	}
	return a.print(result, func(w io.Writer) {
		if result.Discarded == 0 {
			fmt.Fprintln(w, "Nothing of it is parked; nothing changed.")
			return
		}
		fmt.Fprintf(w, "Discarded %s, never to be billed.\n", plural(result.Discarded, "event"))
	})
}
