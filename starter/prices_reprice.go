package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

type pricesRepriceOptions struct {
	*app
	path   string
	dryRun bool
}

func newPricesRepriceCmd(a *app) *cobra.Command {
	o := &pricesRepriceOptions{app: a}
	cmd := &cobra.Command{
		Use:   "reprice FILE|-|NAME",
		Short: "Correct wrong prices backwards, over open periods",
		Long: `Correct prices that usage was rated by already: every row of the file that differs
from the stored one takes its place, and rows that are new are added, whatever
their date; rows that the file leaves out stay. Usage of open periods is rated
anew, with its totals, spend and drafts; closed periods stay as they were billed.
Thresholds that are newly passed are noticed, once. Parked usage stays parked.

Look first with --dry-run; a real run needs a --reason. Each organisation is
corrected in one go, its usage waiting meanwhile, and none of its periods closes
before. Where a run was interrupted, the same command finishes it.`,
		Example: `  starter prices reprice ./prices.yaml --dry-run
  starter prices reprice ./prices.yaml --as finance --reason "output of Haiku 4.5 was entered as 5.50"`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.reason == "" && !o.dryRun {
				return wrongUsage("--reason is missing: say why the prices are corrected, or look first with --dry-run\nUsage: %s", cmd.UseLine())
			}
			o.path = args[0]
			return runPricesReprice(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

// repricingView is a correction as it is printed.
type repricingView struct {
	Name          string                 `json:"name"`
	Revision      int64                  `json:"revision"`
	DryRun        bool                   `json:"dry_run"`
	Changes       []postgres.PriceChange `json:"changes"`
	Organizations []repricedView         `json:"organizations"`
	Releasable    int64                  `json:"releasable"`
}

type repricedView struct {
	Organization string        `json:"organization"`
	Events       int64         `json:"events"`
	Difference   billing.Money `json:"difference"`
}

func runPricesReprice(ctx context.Context, o *pricesRepriceOptions) error {
	book, err := o.readPriceBook(o.path)
	if err != nil {
		return err
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	done, err := store.Reprice(ctx, book, o.by(), o.dryRun)
	if err != nil {
		if done.Name != "" && !o.dryRun {
			return fmt.Errorf("%s: not every organisation is corrected yet; run the same again to finish\n%w", o.path, err)
		}
		return fmt.Errorf("%s: nothing was corrected\n%w", o.path, err)
	}
	view := repricingView{done.Name, done.Revision, done.DryRun, done.Changes, []repricedView{}, done.Releasable}
	for _, moved := range done.Organizations {
		view.Organizations = append(view.Organizations, repricedView{moved.Organization, moved.Events, moved.Difference})
	}
	return o.print(view, view.write)
}

func (v repricingView) write(w io.Writer) {
	if len(v.Changes) == 0 && len(v.Organizations) == 0 {
		fmt.Fprintf(w, "Price book %s has these prices already; nothing changed.\n", v.Name)
		return
	}
	if v.DryRun {
		fmt.Fprintf(w, "A dry run: nothing was changed. %s of price book %s would be corrected:\n\n", plural(len(v.Changes), "row"), v.Name)
	} else {
		fmt.Fprintf(w, "Price book %s is at revision %d now: %s corrected.\n\n", v.Name, v.Revision, plural(len(v.Changes), "row"))
	}
	writeTable(w, v.Changes,
		left("PRICE", func(c postgres.PriceChange) string { return c.After.Price }),
		left("SPEED", func(c postgres.PriceChange) string { return c.After.Speed }),
		left("FROM", func(c postgres.PriceChange) string { return showOptional(c.After.EffectiveFrom) }),
		right("PROMPT ABOVE", func(c postgres.PriceChange) string {
			if c.After.PromptTokensAbove == 0 {
				return ""
			}
			return showCount(c.After.PromptTokensAbove)
		}),
		left("WAS → IS", showTerms))
	fmt.Fprintln(w)
	if len(v.Organizations) == 0 {
		fmt.Fprintln(w, "No usage of an open period has another rate by it.")
	} else {
		writeTable(w, v.Organizations,
			left("ORGANIZATION", func(r repricedView) string { return r.Organization }),
			right("EVENTS", func(r repricedView) string { return showCount(r.Events) }),
			right("DIFFERENCE", func(r repricedView) string { return r.Difference.String() }))
	}
	if v.Releasable > 0 {
		fmt.Fprintf(w, "%s stays parked although there is a price now: starter usage release ORG\n", plural(v.Releasable, "event"))
	}
}

// showTerms says what of a row's terms has changed.
func showTerms(c postgres.PriceChange) string {
	before := map[string]string{}
	if c.Before != nil {
		before = c.Before.Terms
	}
	names := maps.Clone(before)
	maps.Copy(names, c.After.Terms)
	var words []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, is := before[name], c.After.Terms[name]
		switch {
		case was == is:
		case was == "":
			words = append(words, name+" "+is)
		case is == "":
			words = append(words, name+" "+was+" → none")
		default:
			words = append(words, name+" "+was+" → "+is)
		}
	}
	if c.Before == nil {
		return "new: " + strings.Join(words, ", ")
	}
	return strings.Join(words, ", ")
}
