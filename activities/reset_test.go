package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// A workflow that is reset makes its calls again from where it was reset to, on
// the facts that its first life left.
func TestWhatAResetWorkflowDoesAgainMakesNothingNewAtStripe(t *testing.T) {
	t.Parallel()
	b := bill(t, 4, billing.ReleaseAsIs)
	steps := []func(){
		func() { require.Equal(t, octoberInvoice, b.issue().Invoice) },
		func() { require.NoError(t, b.CreateProviderInvoice(b.ctx, octoberInvoice)) },
		func() {
			require.NoError(t, b.AddProviderItem(b.ctx, workflows.ItemRef{Invoice: octoberInvoice, Number: 1}))
		},
		func() {
			mismatch, err := b.FinalizeProviderInvoice(b.ctx, octoberInvoice)
			require.NoError(t, err)
			require.Empty(t, mismatch)
		},
		func() { require.Equal(t, billing.StatusPaid, b.collect().Status) },
	}
	for done := range steps {
		for _, step := range steps[:done+1] { // the last one is new
			step()
		}
		if done > 0 {
			require.Equal(t, 1, b.invoicesAtStripe())
		}
	}
	for from := range steps {
		for _, step := range steps[from:] {
			step()
		}
	}
	require.Equal(t, 1, b.invoicesAtStripe())
	require.Equal(t, 1, b.itemsAtStripe())
	require.Equal(t, []int64{2000}, b.charged())
	payments, err := b.Payments(b.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, payments, 1)
	b.clean()
}

func (b *billed) invoicesAtStripe() (n int) {
	b.t.Helper()
	for list := b.api.Invoices.List(&sdk.InvoiceListParams{}); list.Next(); n++ {
		require.NoError(b.t, list.Err())
	}
	return n
}

func (b *billed) itemsAtStripe() (n int) {
	b.t.Helper()
	for list := b.api.InvoiceItems.List(&sdk.InvoiceItemListParams{}); list.Next(); n++ {
		require.NoError(b.t, list.Err())
	}
	return n
}
