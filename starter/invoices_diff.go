package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newInvoicesDiffCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff ORG PERIOD PERIOD",
		Short: "Say why one period's bill differs from another's",
		Long: `Say why one period's bill differs from another's: how much of it is another
volume of use, how much another price, seats, late usage, discounts and what was
carried; by product, model and token class, by line, and by member. Each of these
adds up to the difference. Volume is what was used more or less at the average
price of the first period; the rest is price, which is new prices or another mix
of batch, long prompts and the like.

A period is named as in starter invoices list, and may be a draft or still
running. -o json has everything; the table, what moved most. Both bills are held
in memory with their members.`,
		Example: "  starter invoices diff acme 2026-10-01 2026-11-01",
		Args:    arguments("ORG", "PERIOD", "PERIOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInvoicesDiff(cmd.Context(), a, args[0], args[1], args[2])
		},
	}
}

func runInvoicesDiff(ctx context.Context, a *app, org, first, second string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	before, err := billOf(ctx, store, org, first)
	if err != nil {
		return err
	}
	after, err := billOf(ctx, store, org, second)
	if err != nil {
		return err
	}
	c, err := billing.CompareInvoices(&before, &after)
	if err != nil {
		return err
	}
	return a.print(c, func(w io.Writer) { writeComparison(w, c) })
}

// billOf returns a period's bill with its members: the issued one that was not
// withdrawn, or the draft, or the running period's preview. PERIOD/REVISION is
// that very invoice.
func billOf(ctx context.Context, store *postgres.Store, org, period string) (billing.Invoice, error) {
	period = strings.TrimPrefix(period, org+"/")
	issued, err := store.Invoices(ctx, org)
	if err != nil {
		return billing.Invoice{}, err
	}
	for _, invoice := range issued {
		if invoice.ID == org+"/"+period && strings.Contains(period, "/") || invoice.PeriodID == period && invoice.Status != billing.StatusVoid {
			return store.Invoice(ctx, invoice.ID, true)
		}
	}
	missing := billing.NotFound("organization %q has no bill of a period %q", org, period)
	drafts, err := store.DraftInvoices(ctx, org, true)
	if err != nil {
		return billing.Invoice{}, err
	}
	for _, draft := range drafts {
		if draft.PeriodID == period {
			return draft, nil
		}
	}
	preview, err := store.PreviewInvoice(ctx, org, true)
	switch {
	case err == nil && preview.PeriodID == period:
		return preview, nil
	case err != nil && !errors.Is(err, billing.ErrNotFound):
		return billing.Invoice{}, err
	}
	return billing.Invoice{}, withHint(missing, "Periods are named by their first day, see starter invoices list %s and starter invoices preview %s", org, org)
}

// mostMoved is how many changes a table shows.
const mostMoved = 10

func writeComparison(w io.Writer, c billing.Comparison) {
	name := func(i billing.ComparedInvoice) string { return fmt.Sprintf("%s (%s, %s)", i.ID, i.Status, i.Total) }
	fmt.Fprintf(w, "From %s to %s: %s.\n\n", name(c.Before), name(c.After), signed(c.Difference))
	var effects []billing.Effect
	for _, e := range c.Effects {
		if !e.Amount.Amount.IsZero() {
			effects = append(effects, e)
		}
	}
	if len(effects) == 0 {
		fmt.Fprintln(w, "No reason for a difference.")
	} else {
		writeTable(w, effects,
			left("BECAUSE OF", func(e billing.Effect) string { return showEffect(e.Effect) }),
			right("DIFFERENCE", func(e billing.Effect) string { return signed(e.Amount) }))
	}
	if usage := firstFew(w, "Usage", c.Usage, func(u billing.UsageChange) bool { return u.Difference.Amount.IsZero() }); len(usage) > 0 {
		writeTable(w, usage,
			left("PRODUCT", func(u billing.UsageChange) string { return u.Product }),
			left("MODEL", func(u billing.UsageChange) string { return u.Model }),
			left("CLASS", func(u billing.UsageChange) string { return strings.ReplaceAll(u.TokenClass, "_", " ") }),
			right("BEFORE", func(u billing.UsageChange) string { return u.Before.String() }),
			right("AFTER", func(u billing.UsageChange) string { return u.After.String() }),
			right("VOLUME", func(u billing.UsageChange) string { return signed(u.Volume) }),
			right("PRICE", func(u billing.UsageChange) string { return signed(u.Price) }))
	}
	if members := firstFew(w, "Members", c.Members, func(m billing.MemberChange) bool { return m.Difference.Amount.IsZero() }); len(members) > 0 {
		writeTable(w, members,
			left("MEMBER", func(m billing.MemberChange) string {
				if m.User == nil {
					return "(service)"
				}
				return *m.User
			}),
			right("BEFORE", func(m billing.MemberChange) string { return m.Before.String() }),
			right("AFTER", func(m billing.MemberChange) string { return m.After.String() }),
			right("DIFFERENCE", func(m billing.MemberChange) string { return signed(m.Difference) }))
	}
	if !c.NoMember.Amount.IsZero() {
		fmt.Fprintf(w, "\nOf no member, as members are at list price: %s of discounts, credits and what was carried.\n", signed(c.NoMember))
	}
}

func showEffect(e billing.EffectName) string {
	if e == billing.EffectOther {
		return "credits and adjustments"
	}
	return strings.ReplaceAll(string(e), "_", " ")
}

// firstFew heads a table of the changes that moved most, which come first, and
// says of how many.
func firstFew[T any](w io.Writer, what string, changes []T, unmoved func(T) bool) []T {
	moved := 0
	for moved < len(changes) && !unmoved(changes[moved]) {
		moved++
	}
	switch {
	case moved > mostMoved:
		fmt.Fprintf(w, "\n%s, the %d of %s that moved most:\n", what, mostMoved, showCount(moved))
	case moved > 0:
		fmt.Fprintf(w, "\n%s:\n", what)
	}
	return changes[:min(moved, mostMoved)]
}

// signed is a difference, with a plus where it is one.
func signed(m billing.Money) string {
	if m.Amount.IsPositive() {
		return "+" + m.String()
	}
	return m.String()
}
