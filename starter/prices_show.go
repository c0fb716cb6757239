package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
)

func newPricesShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a price book's rows",
		Example: "  starter prices show anthropic-2026-01",
		Args:    arguments("NAME"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPricesShow(cmd.Context(), a, args[0]) },
	}
}

// bookView is a price book as it is printed; its rows have the names of the file's.
type bookView struct {
	Name       string           `json:"name"`
	Currency   billing.Currency `json:"currency"`
	Revision   int64            `json:"revision"`
	Seats      []seatPriceView  `json:"seats"`
	Surcharges []surchargeView  `json:"surcharges"`
	Models     []modelPriceView `json:"models"`
	Tools      []toolPriceView  `json:"tools"`

	Aliases      []aliasView            `json:"aliases"`
	ServiceTiers []serviceTierPriceView `json:"service_tiers"`
	Fallback     *fallbackView          `json:"fallback"` // null = usage without a price counts nothing
}

// aliasView is another name of a model.
type aliasView struct {
	Alias string `json:"alias"`
	Model string `json:"model"`
}

type serviceTierPriceView struct {
	Tier          string     `json:"tier"`
	EffectiveFrom *time.Time `json:"effective_from"`
	Multiplier    string     `json:"multiplier"`
}

// fallbackView is what usage without a price counts against limits.
type fallbackView struct {
	Input        string `json:"input"`
	Output       string `json:"output"`
	CacheWrite5m string `json:"cache_write_5m"`
	CacheWrite1h string `json:"cache_write_1h"`
	CacheRead    string `json:"cache_read"`
}

type seatPriceView struct {
	Tier          string     `json:"tier"`
	EffectiveFrom *time.Time `json:"effective_from"`
	Amount        string     `json:"amount"`
	Products      []string   `json:"products"` // null = every product
}

type surchargeView struct {
	Name          string     `json:"name"`
	Tier          string     `json:"tier"`
	EffectiveFrom *time.Time `json:"effective_from"`
	Amount        string     `json:"amount"`
}

type modelPriceView struct {
	Model             string    `json:"model"`
	Speed             string    `json:"speed"`
	EffectiveFrom     time.Time `json:"effective_from"`
	PromptTokensAbove int64     `json:"prompt_tokens_above"`
	Input             string    `json:"input"`
	Output            string    `json:"output"`
	CacheWrite5m      string    `json:"cache_write_5m"`
	CacheWrite1h      string    `json:"cache_write_1h"`
	CacheRead         string    `json:"cache_read"`
	Batch             *string   `json:"batch"`
	USOnly            *string   `json:"us_only"`
}

type toolPriceView struct {
	Tool          string     `json:"tool"`
	EffectiveFrom *time.Time `json:"effective_from"`
	Per           int64      `json:"per"`
	Amount        string     `json:"amount"`
	Minimum       int64      `json:"minimum,omitempty"`        // seconds an event
	FreePerMonth  int64      `json:"free_per_month,omitempty"` // seconds
}

func viewBook(b *billing.PriceBook) bookView {
	view := bookView{
		Name: b.Name, Currency: b.Currency, Revision: b.Revision,
		Seats: []seatPriceView{}, Surcharges: []surchargeView{}, Models: []modelPriceView{}, Tools: []toolPriceView{},
		Aliases: []aliasView{}, ServiceTiers: []serviceTierPriceView{},
	}
	for _, a := range b.Aliases {
		view.Aliases = append(view.Aliases, aliasView(a))
	}
	for _, p := range b.ServiceTiers {
		view.ServiceTiers = append(view.ServiceTiers, serviceTierPriceView{p.Tier, optional(p.EffectiveFrom), p.Multiplier.String()})
	}
	if p := b.Fallback; p != nil {
		view.Fallback = &fallbackView{
			p.PerMillion[billing.Input].String(), p.PerMillion[billing.Output].String(), p.PerMillion[billing.CacheWrite5m].String(),
			p.PerMillion[billing.CacheWrite1h].String(), p.PerMillion[billing.CacheRead].String(),
		}
	}
	for _, p := range b.Seats {
		products := p.Products
		if len(products) == 0 {
			products = nil
		}
		view.Seats = append(view.Seats, seatPriceView{p.Tier, optional(p.EffectiveFrom), p.Amount.String(), products})
	}
	for _, p := range b.Surcharges {
		view.Surcharges = append(view.Surcharges, surchargeView{p.Name, p.Tier, optional(p.EffectiveFrom), p.Amount.String()})
	}
	for _, p := range b.Models {
		row := modelPriceView{
			Model: p.Model, Speed: p.Speed, EffectiveFrom: p.EffectiveFrom.UTC(), PromptTokensAbove: p.PromptTokensAbove,
			Input: p.PerMillion[billing.Input].String(), Output: p.PerMillion[billing.Output].String(),
			CacheWrite5m: p.PerMillion[billing.CacheWrite5m].String(), CacheWrite1h: p.PerMillion[billing.CacheWrite1h].String(),
			CacheRead: p.PerMillion[billing.CacheRead].String(),
		}
		if p.Batch.Valid {
			row.Batch = new(p.Batch.Decimal.String())
		}
		if p.USOnly.Valid {
			row.USOnly = new(p.USOnly.Decimal.String())
		}
		view.Models = append(view.Models, row)
	}
	for _, p := range b.Tools {
		view.Tools = append(view.Tools, toolPriceView{p.Tool, optional(p.EffectiveFrom), p.Per, p.Amount.String(), p.Minimum, p.FreePerMonth})
	}
	return view
}

// showSeconds writes a number of seconds, and nothing for none.
func showSeconds(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return showCount(seconds) + " s"
}

func runPricesShow(ctx context.Context, a *app, name string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	book, err := store.PriceBook(ctx, name)
	if err != nil {
		return err
	}
	view := viewBook(book)
	return a.print(view, view.write)
}

func (v bookView) write(w io.Writer) {
	writeFacts(w, fact{"price book", v.Name}, fact{"currency", string(v.Currency)}, fact{"revision", fmt.Sprint(v.Revision)})
	fmt.Fprintln(w, "\nPer million tokens:")
	writeTable(w, v.Models,
		left("MODEL", func(p modelPriceView) string { return p.Model }),
		left("SPEED", func(p modelPriceView) string { return p.Speed }),
		left("FROM", func(p modelPriceView) string { return p.EffectiveFrom.Format(time.DateOnly) }),
		right("PROMPT ABOVE", func(p modelPriceView) string {
			if p.PromptTokensAbove == 0 {
				return ""
			}
			return showCount(p.PromptTokensAbove)
		}),
		right("INPUT", func(p modelPriceView) string { return p.Input }),
		right("OUTPUT", func(p modelPriceView) string { return p.Output }),
		right("WRITE 5M", func(p modelPriceView) string { return p.CacheWrite5m }),
		right("WRITE 1H", func(p modelPriceView) string { return p.CacheWrite1h }),
		right("READ", func(p modelPriceView) string { return p.CacheRead }),
		right("BATCH ×", func(p modelPriceView) string { return deref(p.Batch) }),
		right("US ×", func(p modelPriceView) string { return deref(p.USOnly) }))
	v.writeNames(w)
	if len(v.Seats) > 0 {
		fmt.Fprintln(w, "\nPer seat and month:")
		writeTable(w, v.Seats,
			left("TIER", func(p seatPriceView) string { return p.Tier }),
			left("FROM", func(p seatPriceView) string { return showOptional(p.EffectiveFrom) }),
			right("AMOUNT", func(p seatPriceView) string { return p.Amount }),
			left("PRODUCTS", func(p seatPriceView) string { return joinStrings(p.Products, "all") }))
	}
	if len(v.Surcharges) > 0 {
		fmt.Fprintln(w, "\nOn top, per seat and month:")
		writeTable(w, v.Surcharges,
			left("SURCHARGE", func(p surchargeView) string { return p.Name }),
			left("TIER", func(p surchargeView) string { return p.Tier }),
			left("FROM", func(p surchargeView) string { return showOptional(p.EffectiveFrom) }),
			right("AMOUNT", func(p surchargeView) string { return p.Amount }))
	}
	if len(v.Tools) > 0 {
		fmt.Fprintln(w, "\nServer tools:")
		writeTable(w, v.Tools,
			left("TOOL", func(p toolPriceView) string { return p.Tool }),
			left("FROM", func(p toolPriceView) string { return showOptional(p.EffectiveFrom) }),
			right("PER", func(p toolPriceView) string { return showCount(p.Per) }),
			right("AMOUNT", func(p toolPriceView) string { return p.Amount }),
			right("MINIMUM", func(p toolPriceView) string { return showSeconds(p.Minimum) }),
			right("FREE A MONTH", func(p toolPriceView) string { return showSeconds(p.FreePerMonth) }))
	}
}

// writeNames writes what a book has beside its prices.
func (v bookView) writeNames(w io.Writer) {
	if v.Fallback != nil {
		f := v.Fallback
		fmt.Fprintf(w, "\nUsage without a price counts against limits, per million tokens: input %s, output %s, write 5m %s, write 1h %s, read %s.\n",
			f.Input, f.Output, f.CacheWrite5m, f.CacheWrite1h, f.CacheRead)
	}
	if len(v.ServiceTiers) > 0 {
		fmt.Fprintln(w, "\nOther service tiers, as a multiple of the standard price:")
		writeTable(w, v.ServiceTiers,
			left("TIER", func(p serviceTierPriceView) string { return p.Tier }),
			left("FROM", func(p serviceTierPriceView) string { return showOptional(p.EffectiveFrom) }),
			right("MULTIPLIER", func(p serviceTierPriceView) string { return p.Multiplier }))
	}
	if len(v.Aliases) > 0 {
		fmt.Fprintln(w, "\nOther names of the models, beside those that are read by rule:")
		writeTable(w, v.Aliases,
			left("ALIAS", func(a aliasView) string { return a.Alias }),
			left("MODEL", func(a aliasView) string { return a.Model }))
	}
}
