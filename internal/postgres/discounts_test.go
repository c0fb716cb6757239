package postgres_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestADiscountHoldsForThePeriodsThatCloseAfterItsChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Discount = decimal.RequireFromString("10") })
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeUser, "u1", "5")
	f.use(use("a", "u1", october, 1_000_000))
	require.Equal(t, "5", f.spent(billing.ScopeUser, "u1"), "limits count list prices")
	f.endOctober()
	require.False(t, f.discount("10").Changed)
	require.True(t, f.discount("12.5").Changed)
	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "21.87 USD", drafts[0].Total.String(), "25.00 less 3.125, for a draft too")
	f.issueOctober()
	f.discount("0")

	invoice, err := f.Invoice(f.ctx, octoberInvoice, true)
	require.NoError(t, err)
	require.Equal(t, "25.00 USD", invoice.Subtotal.String())
	require.Equal(t, "-3.13 USD", invoice.Discount.String())
	require.Equal(t, "21.87 USD", invoice.Net.String())
	require.Equal(t, "21.87 USD", invoice.AmountDue.String())
	require.Len(t, invoice.ContentHash, 64)
	require.Equal(t, billing.HashOf(&invoice), invoice.ContentHash)
	items := decimal.Zero
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT sum(amount) FROM provider_items`).Scan(&items))
	require.Equal(t, "21.87", items.String(), "the provider is told the same")

	f.use(retract("undo a", "a", issuedAt), use("b", "u1", issuedAt, 2_000_000))
	preview, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "0.63 USD", preview.Discount.String(), "12.5 % of the 5.00 that are given back, none of the 30.00")
	require.Equal(t, "25.63 USD", preview.Total.String())
	f.clean()

	trail, err := f.AuditTrail(f.ctx, "acme", 1)
	require.NoError(t, err)
	require.Equal(t, "organization.discount", trail[0].Action)
	require.JSONEq(t, `{"discount":"0"}`, string(trail[0].After))
	_, err = f.SetDiscount(f.ctx, "acme", decimal.NewFromInt(100), tester)
	require.ErrorIs(t, err, billing.ErrInvalid)
	_, err = f.SetDiscount(f.ctx, "nobody", decimal.NewFromInt(1), tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestADraftThatIsComputedAgainIsTheSame(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", true)
	f.seat("u2", "chat_claude_code", false)
	f.use(f.octoberUsage(october, "x")[:3]...)
	f.endOctober()
	hashes := map[string]bool{}
	for range 10 {
		drafts, err := f.DraftInvoices(f.ctx, "acme", true)
		require.NoError(t, err)
		hashes[billing.HashOf(&drafts[0])] = true
	}
	require.Len(t, hashes, 1)
}

// The running period's invoice can be looked at though nobody has needed the
// period yet, and looking makes none.
func TestThePreviewNeedsNoPeriodAndMakesNone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.clock(october.AddDate(0, 2, 9))
	for range 2 {
		preview, err := f.PreviewInvoice(f.ctx, "acme", true)
		require.NoError(t, err)
		require.Equal(t, "acme/2026-12-01", preview.ID)
		require.Equal(t, "20.00 USD", preview.Total.String())
		require.Equal(t, 1, f.count("periods"))
	}
}

func TestAPeriodThatIsBilledAnewHasTheDiscountOfThen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.SetDiscount(f.ctx, "acme", decimal.NewFromInt(10), tester)
	require.NoError(t, err)
	f.store(use("a", "u1", october, 1_000_000)) // 5.00
	f.endOctober()
	require.Equal(t, "4.50 USD", f.issueOctober().Total.String())
	_, err = f.SetDiscount(f.ctx, "acme", decimal.NewFromInt(25), tester)
	require.NoError(t, err)
	_, err = f.CorrectInvoice(f.ctx, octoberInvoice, voided(), tester)
	require.NoError(t, err)
	drafts, err := f.DraftInvoices(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Equal(t, "3.75 USD", drafts[0].Total.String(), "a wrong discount is mended by a void")
}
