package main

import (
	"context"
	"fmt"
	"io"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"
)

func newOrgCloseCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "close ORG",
		Short: "End a contract now: the running period is the last",
		Long: `End a contract now. The running period ends and is invoiced as any other, its
seats by their days; later usage is refused and no further period follows. Open
invoices are still collected, and everything stays to be read. An id is never used
again. Once more changes nothing.`,
		Example: `  starter org close acme --as sales --reason "contract ended"`,
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runOrgClose(cmd.Context(), a, args[0]) },
	}
}

type closedView struct {
	organizationView
	Changed bool `json:"changed"`
}

func runOrgClose(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	changed, err := store.CloseOrganization(ctx, id, a.by())
	if err != nil {
		return err
	}
	a.settle(ctx, id)
	org, err := store.Organization(ctx, id)
	if err != nil {
		return err
	}
	view := closedView{viewOrganization(org), changed}
	return a.print(view, func(w io.Writer) {
		if !changed {
			fmt.Fprintf(w, "The contract of %s ended at %s already; nothing changed.\n", id, showTime(org.ClosedAt))
			return
		}
		fmt.Fprintf(w, "The contract of %s ends at %s. Its last invoice goes its way: starter invoices list %s\n", id, showTime(org.ClosedAt), id)
	})
}

// bound is the value of a --bound flag: a number, or none, which is 0.
type bound struct{ decimal.NullDecimal }

// String implements pflag.Value.
func (b *bound) String() string {
	if !b.Valid {
		return ""
	}
	return b.Decimal.String()
}

// Type implements pflag.Value.
func (b *bound) Type() string { return "number" }

// Set implements pflag.Value.
func (b *bound) Set(s string) error {
	if s == "none" {
		b.NullDecimal = decimal.NewNullDecimal(decimal.Zero)
		return nil
	}
	d, err := decimal.NewFromString(s)
	if err != nil || !d.IsPositive() || d.GreaterThan(largestAmount) || d.Exponent() < -12 {
		return fmt.Errorf("accepted: a number above 0, like 10 or 2500.00, or none")
	}
	b.NullDecimal = decimal.NewNullDecimal(d)
	return nil
}

func viewBound(b decimal.NullDecimal) *string {
	if !b.Valid {
		return nil
	}
	text := b.Decimal.String()
	return &text
}

func showBound(b *string) string {
	switch {
	case b == nil:
		return ""
	case *b == "0":
		return "none"
	default:
		return *b
	}
}

func showApproval(approval bool) string {
	if approval {
		return "of every invoice"
	}
	return ""
}
