package postgres_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestBoundsAndApprovalMayChangeWhileTheContractRuns(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	require.Equal(t, billing.StatusParked, f.tryNovember().Status)
	none, total := decimal.NewNullDecimal(decimal.Zero), decimal.NewNullDecimal(decimal.NewFromInt(5000))
	before := f.nudges("invoice/" + novemberInvoice)
	changed, err := f.ChangeTerms(f.ctx, "acme", billing.TermsChange{Bounds: billing.Bounds{Growth: none, Total: total}}, ann)
	require.NoError(t, err)
	require.Equal(t, []string{"bound_growth", "bound_total"}, changed)
	require.Equal(t, before+1, f.nudges("invoice/"+novemberInvoice), "what is parked looks again")

	approve := true
	changed, err = f.ChangeTerms(f.ctx, "acme", billing.TermsChange{Approval: &approve}, ann)
	require.NoError(t, err)
	require.Equal(t, []string{"approval"}, changed, "the bounds stay")
	require.Contains(t, f.tryNovember().Reason, "it awaits approval")
	approve = false
	_, err = f.ChangeTerms(f.ctx, "acme", billing.TermsChange{Approval: &approve}, ann)
	require.NoError(t, err)
	require.Equal(t, billing.StatusOpen, f.tryNovember().Status)
	f.clean()
}
