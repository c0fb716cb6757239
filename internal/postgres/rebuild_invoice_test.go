package postgres_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// TestEveryInvoiceIsTheSameWhenItIsMadeAgain goes through a year of everything
// that bills, and then changes the facts that invoices were made from.
func TestEveryInvoiceIsTheSameWhenItIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := newYear(t)
	for _, org := range []string{"acme", "beta"} {
		invoices, err := f.Invoices(f.ctx, org)
		require.NoError(t, err)
		require.NotEmpty(t, invoices)
		for _, invoice := range invoices {
			again, err := f.RebuildInvoice(f.ctx, invoice.ID)
			require.NoError(t, err)
			require.Empty(t, again.Differences, invoice.ID)
			require.Zero(t, again.Unrated)
		}
	}
	again, err := f.RebuildInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.EqualValues(t, 43, again.Events, "three times thirteen, one and its retraction, one of nothing, one released")

	f.backUp()
	for name, c := range map[string]struct{ spoil, line, member, issued, rebuilt string }{
		"a lost event":            {`DELETE FROM usage_events WHERE event_id = 'first no seat'`, "usage/chat/claude-haiku-4-5/output/5", "u9", "3000 = 0.015, 0.02 USD", "2000 = 0.01, 0.01 USD"},
		"a seat that is denied":   {`DELETE FROM seat_assignments WHERE user_id = 'u4'`, "seat/chat/20", "u4", "", ""},
		"another rate of the day": {`UPDATE model_prices SET output = 6 WHERE model = 'claude-haiku-4-5'`, "usage/chat/claude-haiku-4-5/output/6", "", "", ""},
		"another price on paper":  {`UPDATE invoice_lines SET unit_price = 4 WHERE key = 'usage/chat/claude-haiku-4-5/output/5'`, "usage/chat/claude-haiku-4-5/output/5", "", "", ""},
		"another discount":        {`UPDATE periods SET discount = 11 WHERE id = '2026-10-01' AND org_id = 'acme'`, "discount/12.5", "", "", ""},
		"a member too many":       {`UPDATE invoice_line_members SET user_id = 'u0' WHERE user_id = 'u9'`, "usage/chat/claude-haiku-4-5/output/5", "u0", "", ""},
		"another total":           {`UPDATE invoices SET total = total + 1 WHERE id = 'acme/2026-10-01'`, "total", "", "", ""},
		"a number of another":     {`UPDATE invoices SET number = 'INV-000900' WHERE id = 'acme/2026-10-01'`, "content_hash", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{f.Store, t, t.Context(), f.pool}
			defer f.restore(c.spoil)
			f.spoil(c.spoil)
			again, err := f.RebuildInvoice(f.ctx, octoberInvoice)
			require.NoError(t, err)
			found := false
			for _, d := range again.Differences {
				if d.Line != c.line || (c.member != "" && (d.Member == nil || *d.Member != c.member)) {
					continue
				}
				found = true
				if c.issued != "" {
					require.Equal(t, c.issued, *d.Issued)
					require.Equal(t, c.rebuilt, *d.Rebuilt)
				}
			}
			require.True(t, found, "%v", again.Differences)
		})
	}
}

// A correction of prices leaves closed periods as they were billed, and what is
// taken back from them has the price by which it was billed.
func TestAnInvoiceIsMadeAgainByThePricesOfItsDay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.use(use("a", "u1", october, 1_000_000), use("b", "u1", october, 3_000_000))
	f.endOctober()
	f.issueOctober()
	book := f.bookWith("claude-other")
	for i := range book.Models {
		if book.Models[i].Model == "claude-haiku-4-5" {
			book.Models[i].PerMillion[billing.Output] = decimal.NewFromInt(4)
		}
	}
	_, err := f.Reprice(f.ctx, book, tester, false)
	require.NoError(t, err)
	f.use(retract("undo a", "a", issuedAt), use("c", "u1", issuedAt, 2_000_000))
	f.clock(october.AddDate(0, 2, 0))
	_, err = f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	f.clock(october.AddDate(0, 2, 1))
	_, err = f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(t, err)
	november, err := f.Invoice(f.ctx, "acme/2026-11-01", false)
	require.NoError(t, err)
	require.Equal(t, "23.00 USD", november.Total.String(), "20 for the seat, 2 x 4, and 5 given back")
	for _, id := range []string{octoberInvoice, november.ID} {
		again, err := f.RebuildInvoice(f.ctx, id)
		require.NoError(t, err)
		require.Empty(t, again.Differences, id)
		require.EqualValues(t, 2, again.Events)
	}
	_, err = f.RebuildInvoice(f.ctx, "acme/2020-01-01")
	require.ErrorIs(t, err, billing.ErrNotFound)
}
