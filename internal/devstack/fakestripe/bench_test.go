package fakestripe_test

import (
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

const monthItems = 20

// BenchmarkAnOrganizationsMonth bills one organisation: a customer with a card,
// an invoice with 20 items, finalised and paid.
func BenchmarkAnOrganizationsMonth(b *testing.B) {
	server, err := fakestripe.New(fakestripe.Options{
		StateFile: filepath.Join(b.TempDir(), "stripe.journal"), Log: quiet(),
	})
	require.NoError(b, err)
	listener := httptest.NewServer(server)
	defer func() {
		listener.Close()
		require.NoError(b, server.Close())
	}()
	sc := clientOf(listener.URL, "sk_test_1")
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := month(sc); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)*(monthItems+4)/b.Elapsed().Seconds(), "req/s")
}

func month(sc *client.API) error {
	visa := str("pm_card_visa")
	c, err := sc.Customers.New(&stripe.CustomerParams{
		PaymentMethod: visa, InvoiceSettings: &stripe.CustomerInvoiceSettingsParams{DefaultPaymentMethod: visa},
	})
	if err != nil {
		return err
	}
	inv, err := sc.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, Currency: str("usd")})
	if err != nil {
		return err
	}
	for range monthItems {
		if _, err := sc.InvoiceItems.New(&stripe.InvoiceItemParams{
			Customer: &c.ID, Invoice: &inv.ID, Amount: stripe.Int64(1234), Description: str("claude_code · output tokens"),
		}); err != nil {
			return err
		}
	}
	if _, err := sc.Invoices.FinalizeInvoice(inv.ID, nil); err != nil {
		return err
	}
	_, err = sc.Invoices.Pay(inv.ID, nil)
	return err
}
