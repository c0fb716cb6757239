package activities_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

func bySend(o *billing.Organization) { o.Collection, o.NetDays = billing.SendInvoice, 14 }

// transfer has money arrive at the bank account that Stripe keeps for acme.
func (b *billed) transfer(amount int64) {
	b.t.Helper()
	org, err := b.Store.Organization(b.ctx, "acme")
	require.NoError(b.t, err)
	_, err = b.api.TestHelpersCustomers.FundCashBalance(org.StripeCustomerID, &sdk.TestHelpersCustomerFundCashBalanceParams{
		Amount: sdk.Int64(amount), Currency: sdk.String("usd"),
	})
	require.NoError(b.t, err)
}

func TestTwoTransfersPayAnInvoiceAndAreOneChargeAtStripe(t *testing.T) {
	t.Parallel()
	b := bill(t, 4, billing.ReleaseAsIs, bySend)
	b.publish()
	b.collect()
	b.transfer(750)
	require.Equal(t, "12.50 USD", b.collect().Due.String())
	require.Equal(t, "7.50 USD", b.show().AmountPaid.String())
	require.Empty(t, b.charged())
	b.clean()

	b.transfer(1250)
	require.Equal(t, billing.StatusPaid, b.collect().Status)
	require.Equal(t, "20.00 USD", b.show().AmountPaid.String())
	require.Equal(t, []int64{2000}, b.charged())
	payments, err := b.Payments(b.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, payments, 1)
	require.Equal(t, "20.00 USD", payments[0].Amount.String(), "what can be refunded")
	b.clean()
	b.refundAndClear(t, payments[0].PaymentIntentID)
}

// refundAndClear refunds the whole charge: more than the second transfer was.
func (b *billed) refundAndClear(t *testing.T, intent string) {
	t.Helper()
	_, err := b.api.Refunds.New(&sdk.RefundParams{PaymentIntent: sdk.String(intent)})
	require.NoError(t, err)
	returns, err := b.gateway.Reversals(b.ctx, []string{intent})
	require.NoError(t, err)
	_, err = b.RecordReversals(b.ctx, octoberInvoice, returns)
	require.NoError(t, err)
	b.clean()
}

func TestTransfersThatCameBeforeAnybodyLookedAreOnePayment(t *testing.T) {
	t.Parallel()
	b := bill(t, 4, billing.ReleaseAsIs, bySend)
	b.publish()
	b.transfer(750)
	b.transfer(1300) // half a dollar too much stays with Stripe
	require.Equal(t, billing.StatusPaid, b.collect().Status)
	require.Equal(t, []int64{2000}, b.charged())
	b.clean()
}

func TestThreeTransfersOfWhichTheFirstTwoWereSeen(t *testing.T) {
	t.Parallel()
	b := bill(t, 4, billing.ReleaseAsIs, bySend)
	b.publish()
	for _, amount := range []int64{500, 700} {
		b.transfer(amount)
		b.collect()
		b.clean()
	}
	b.transfer(800)
	require.Equal(t, billing.StatusPaid, b.collect().Status)
	b.clean()
}
