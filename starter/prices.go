package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

func newPricesCmd(a *app) *cobra.Command {
	return newGroup("prices", "Price books: what usage and seats cost, and from when on", "",
		newPricesLoadCmd(a), newPricesListCmd(a), newPricesShowCmd(a), newPricesWithdrawCmd(a), newPricesRepriceCmd(a))
}

func newPricesLoadCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE|-|NAME",
		Short: "Load a price book, or add later prices to one",
		Long: `Load a price book from a YAML file, or one of those that ship with the product by
its name (anthropic-2026-01, anthropic-2026-10). The same rows again change
nothing, and rows with later dates are added. A row that would change what was
already priced is refused, with nothing half done.`,
		Example: `  starter prices load anthropic-2026-01
  starter prices load ./prices.yaml --as finance --reason "list prices of October"`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runPricesLoad(cmd.Context(), a, args[0]) },
	}
}

func runPricesLoad(ctx context.Context, a *app, path string) error {
	book, err := a.readPriceBook(path)
	if err != nil {
		return err
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	load, err := store.LoadPriceBook(ctx, book, a.by())
	if err != nil {
		return fmt.Errorf("%s: nothing was loaded\n%w", path, err)
	}
	return a.print(load, func(w io.Writer) {
		if load.Changed {
			fmt.Fprintf(w, "Price book %s is at revision %d now: %s added.\n", load.Name, load.Revision, plural(load.Added, "row"))
		} else {
			fmt.Fprintf(w, "Price book %s has these rows already; nothing changed.\n", load.Name)
		}
		if load.Releasable > 0 {
			fmt.Fprintf(w, "%s waited for a price that is there now: starter usage release ORG\n", plural(load.Releasable, "parked event"))
		}
	})
}

// readPriceBook reads a file, or one of the books that ship.
func (a *app) readPriceBook(path string) (*billing.PriceBook, error) {
	data, err := a.readAll(path)
	if errors.Is(err, fs.ErrNotExist) {
		for _, file := range pricebook.Shipped() {
			if file.Name == path {
				data, err = file.YAML, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	book, err := pricebook.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: nothing was loaded\n%w", path, err)
	}
	return book, nil
}

func newPricesListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the price books",
		Example: "  starter prices list",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runPricesList(cmd.Context(), a) },
	}
}

func runPricesList(ctx context.Context, a *app) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	books, err := store.PriceBooks(ctx)
	if err != nil {
		return err
	}
	for i := range books {
		books[i].LoadedAt = books[i].LoadedAt.UTC()
	}
	return printList(a, books, "There are no price books yet: starter prices load "+pricebook.DefaultName,
		left("NAME", func(b postgres.PriceBookSummary) string { return b.Name }),
		left("CURRENCY", func(b postgres.PriceBookSummary) string { return b.Currency }),
		right("REVISION", func(b postgres.PriceBookSummary) string { return fmt.Sprint(b.Revision) }),
		right("MODELS", func(b postgres.PriceBookSummary) string { return showCount(b.Models) }),
		right("ALIASES", func(b postgres.PriceBookSummary) string { return showCount(b.Aliases) }),
		right("SEATS", func(b postgres.PriceBookSummary) string { return showCount(b.Seats) }),
		left("LOADED", func(b postgres.PriceBookSummary) string { return showTime(b.LoadedAt) }))
}
