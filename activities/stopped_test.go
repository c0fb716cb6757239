package activities

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// TestNothingIsWrittenAtTheProviderOnceBillingIsStopped stops billing after
// each activity has begun, and sees that none of them writes.
func TestNothingIsWrittenAtTheProviderOnceBillingIsStopped(t *testing.T) {
	t.Parallel()
	writes := []string{"EnsureCustomer", "CreateInvoice", "AddItem", "FinalizeInvoice", "Pay"}
	item := billing.ProviderItem{Invoice: invoice, Number: 1, StripeInvoice: "in_1", Tried: true}
	draft := billing.ProviderInvoiceState{StripeID: "in_1", Status: providerDraft, Total: usd("20"), AmountDue: usd("20")}
	for name, act := range map[string]func(*rig) error{
		"a customer": func(r *rig) error { return r.CreateProviderInvoice(context.Background(), invoice) },
		"an invoice": func(r *rig) error {
			r.store.invoice = billing.ProviderInvoice{Customer: "cus_1"}
			return r.CreateProviderInvoice(context.Background(), invoice)
		},
		"an item": func(r *rig) error {
			r.store.item = item
			return r.AddProviderItem(context.Background(), workflows.ItemRef{Invoice: invoice, Number: 1})
		},
		"a finalisation": func(r *rig) error {
			r.store.finalize = billing.ProviderInvoice{StripeID: "in_1", Total: usd("20")}
			r.provider.states = []billing.ProviderInvoiceState{draft}
			_, err := r.FinalizeProviderInvoice(context.Background(), invoice)
			return err
		},
		"a charge": func(r *rig) error {
			r.store.step = billing.ChargeStep{Do: billing.StepCharge, Invoice: invoice, Attempt: 1, StartedAt: wall}
			_, err := r.CollectInvoice(context.Background(), invoice)
			return err
		},
		"a charge that is repeated": func(r *rig) error {
			r.store.step = billing.ChargeStep{Do: billing.StepResolve, Invoice: invoice, Attempt: 1, StripeInvoice: "in_1", StartedAt: wall}
			r.provider.states = []billing.ProviderInvoiceState{{StripeID: "in_1", Status: providerOpen}}
			_, err := r.CollectInvoice(context.Background(), invoice)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.store.org = billing.Organization{ID: organization}
			r.store.fails["CheckBillingEnabled"] = billing.Stopped("billing is stopped")
			err := act(r)
			var app *temporal.ApplicationError
			require.ErrorAs(t, err, &app)
			require.Equal(t, Stopped, app.Type(), "the workflow knows that it only has to wait")
			for _, write := range writes {
				require.NotContains(t, *r.did, write)
			}
			require.NotContains(t, *r.did, "RecordCharge failed", "no attempt is used up")
		})
	}
}
