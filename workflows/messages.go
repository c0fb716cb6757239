package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The task queues. Workflows and everything that needs only the database share
// one; each of the provider's endpoints has its own, whose rate the server
// limits across all workers.
const (
	TaskQueue           = "arrears"
	StripeInvoicesQueue = "arrears-stripe-invoices"
	StripeItemsQueue    = "arrears-stripe-invoiceitems"
	StripeFinalizeQueue = "arrears-stripe-finalize"
	StripePaymentsQueue = "arrears-stripe-pay"
	StripeListsQueue    = "arrears-stripe-lists"
)

// Typed search attributes by which operators find runs:
//
//	temporal workflow list --query 'Organization = "acme" AND Stage = "dunning"'
var (
	OrganizationAttribute = temporal.NewSearchAttributeKeyKeyword("Organization")
	PeriodAttribute       = temporal.NewSearchAttributeKeyKeyword("Period")
	StageAttribute        = temporal.NewSearchAttributeKeyKeyword("Stage")
)

// SearchAttributes lists the search attributes that the namespace must have,
// by name and type.
func SearchAttributes() map[string]enumspb.IndexedValueType {
	return map[string]enumspb.IndexedValueType{
		OrganizationAttribute.GetName(): OrganizationAttribute.GetValueType(),
		PeriodAttribute.GetName():       PeriodAttribute.GetValueType(),
		StageAttribute.GetName():        StageAttribute.GetValueType(),
	}
}

// Stage is how far a workflow has come. A finished collection's or invoice's is
// the invoice's status.
type Stage string

// The stages of a running workflow.
const (
	StageAccruing   Stage = "accruing"          // the period runs
	StagePaused     Stage = "paused"            // by an operator: nothing is delivered or ended
	StageEnded      Stage = "ended"             // the contract is over, no further period
	StageDraft      Stage = "draft"             // the draft window of an invoice
	StageParked     Stage = "parked"            // an invoice held back for a person
	StageIssued     Stage = "issued"            // an invoice is final: on its way to the provider, and then collected
	StageCollecting Stage = "collecting"        // the first attempt, or the customer's turn
	StageDunning    Stage = "dunning"           // declined, and to be tried again
	StageNoMethod   Stage = "no_payment_method" // there is nothing to charge: the payer is to name something
	StageHeld       Stage = "held"              // stopped by an error that no retry can cure
	StageStopped    Stage = "stopped"           // an operator has stopped all billing
)

// Nudge is the one signal: news lies in the database. It carries nothing.
const Nudge = "nudge"

// The updates that an operator may send to a running cycle or invoicing, each with
// an OperatorRequest, and the query that any workflow here answers.
const (
	PauseUpdate   = "pause"
	ResumeUpdate  = "resume"
	CloseUpdate   = "close"   // ends the running period now
	ReleaseUpdate = "release" // has a parked invoice issued
	StatusQuery   = "status"
)

// StoppedError is the type of the error with which an activity refuses to act
// while all billing is stopped.
const StoppedError = "Stopped"

// Status is what every workflow here answers to StatusQuery.
type Status struct {
	Organization string         `json:"organization"`
	Period       string         `json:"period"`
	Stage        Stage          `json:"stage"`
	NextWakeAt   *time.Time     `json:"next_wake_at"`    // null = not before news
	Spend        *billing.Money `json:"spend,omitempty"` // of the cycle only, as its limit
	Limit        *billing.Money `json:"limit,omitempty"`
}

// CycleInput names one run of an organisation's billing cycle: one period.
type CycleInput struct {
	Organization string
	Period       string // "" = the one that is due
	TestClock    bool   `json:",omitempty"`
}

// InvoiceRef names the invoice of a period; revisions count from 1.
type InvoiceRef struct {
	Organization string
	Period       string
	Revision     int
}

// InvoiceInput starts the invoicing of a period that is over.
type InvoiceInput struct {
	InvoiceRef
	DraftUntil time.Time
	TestClock  bool
}

// ReleaseRequest is an operator's wish that a parked invoice be issued.
type ReleaseRequest struct {
	InvoiceRef
	AuditEntry int64
}

// ID is the invoice's id: ORG/PERIOD, and /REVISION from the second on.
func (r InvoiceRef) ID() string {
	return billing.InvoiceID(r.Organization, r.Period, r.Revision)
}

// CollectInput starts the collection of a published invoice.
type CollectInput struct {
	Organization string
	Period       string
	Invoice      string
	TestClock    bool `json:",omitempty"`
}

// SweepProviderID names the schedule by which the provider is swept, and its
// runs' common prefix.
const SweepProviderID = "sweep-provider"

// SweepInput is where a sweep goes on; empty begins one.
type SweepInput struct {
	Part int               // how many of its parts are done
	Page billing.SweepPage // of the list that is being read
	// After is the last organisation whose workflows were looked at.
	After string
	Found SweepFound
}

// SweepFound is what a sweep has come upon.
type SweepFound struct {
	Events  int // that nobody had told of
	Orphans int // invoices at the provider that are recorded nowhere
	Looks   int // unsettled invoices that are looked at
	Started int // workflows that should have been running
}

// ItemRef names one item of an invoice at the provider.
type ItemRef struct {
	Invoice string
	Number  int
}

// OperatorRequest is an operator's wish. Who asked and why stands in the audit
// trail under the entry's number, so that no person is named in a history.
type OperatorRequest struct {
	Organization string
	AuditEntry   int64
}
