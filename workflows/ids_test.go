package workflows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestAnIDSaysWhatItsWorkflowIsFor(t *testing.T) {
	t.Parallel()
	first := InvoiceRef{Organization: "acme", Period: "2026-10-01", Revision: 1}
	second := InvoiceRef{Organization: "acme", Period: "2026-10-01", Revision: 2}
	for id, want := range map[string]struct {
		organization string
		kind         billing.WorkflowKind
		revised      bool
	}{
		CycleID("acme"):                 {"acme", billing.WorkflowCycle, false},
		InvoicePeriodID(first):          {"acme", billing.WorkflowInvoice, false},
		InvoicePeriodID(second):         {"acme", billing.WorkflowInvoice, true},
		CollectPaymentID(first.ID()):    {"acme", billing.WorkflowCollect, false},
		CollectPaymentID(second.ID()):   {"acme", billing.WorkflowCollect, false},
		SweepProviderID + "-2026-10-01": {"", "", false},
		"":                              {"", "", false},
	} {
		organization, kind, revised := ParseID(id)
		require.Equal(t, want.organization, organization, id)
		require.Equal(t, want.kind, kind, id)
		require.Equal(t, want.revised, revised, id)
	}
}
