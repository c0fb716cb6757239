package workflows

import (
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// A workflow's id says what it is for, so that one execution at most is for it. The
// ids are made and read here alone; SQL that lists what must run makes the same.
const (
	cyclePrefix   = "billing-cycle/"
	invoicePrefix = "invoice/"
	collectPrefix = "collect/"
)

// CycleID names the only execution that may run an organisation's cycle.
func CycleID(organization string) string { return cyclePrefix + organization }

// InvoicePeriodID names the only execution that may bill a period.
func InvoicePeriodID(ref InvoiceRef) string { return invoicePrefix + ref.ID() }

// CollectPaymentID names the only execution that may collect an invoice.
func CollectPaymentID(invoice string) string { return collectPrefix + invoice }

// ParseID reads the id of a workflow: of which organisation and kind it is, and
// whether it invoices a period anew, whose invoice was withdrawn. kind is "" for an
// id of another form.
func ParseID(id string) (organization string, kind billing.WorkflowKind, revised bool) {
	for prefix, of := range map[string]billing.WorkflowKind{
		cyclePrefix: billing.WorkflowCycle, invoicePrefix: billing.WorkflowInvoice, collectPrefix: billing.WorkflowCollect,
	} {
		if subject, found := strings.CutPrefix(id, prefix); found {
			organization, invoice, _ := strings.Cut(subject, "/")
			return organization, of, of == billing.WorkflowInvoice && strings.Contains(invoice, "/")
		}
	}
	return "", "", false
}
