package billing

import "time"

// WorkflowKind is a kind of workflow of an organisation.
type WorkflowKind string

// The kinds of workflows.
const (
	WorkflowCycle   WorkflowKind = "cycle"   // the organisation's months
	WorkflowInvoice WorkflowKind = "invoice" // a period that is over, until it is published
	WorkflowCollect WorkflowKind = "collect" // an invoice, until it is paid or given up
)

// ExpectedWorkflow is a workflow that must be running by the database's facts, and
// what it is started with.
type ExpectedWorkflow struct {
	ID           string
	Kind         WorkflowKind
	Organization string
	Period       string
	Revision     int       // of the invoice; 0 for a cycle
	Invoice      string    // its id; "" for a cycle
	DraftUntil   time.Time // of an invoice; zero for the others
	TestClock    bool
}
