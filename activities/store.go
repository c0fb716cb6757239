package activities

import (
	"context"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Store is what the activities need of the database. Every method is one
// transaction and may be called again at any time; errors of kind
// billing.ErrNotFound, ErrConflict and ErrInvalid are final, all others pass.
type Store interface {
	// Accrue reads how a period stands; period "" is the one that is due. Once it
	// is over, it is moved into its draft window and the next one is opened.
	Accrue(ctx context.Context, organization, period string) (billing.Accrual, error)

	// PendingNotices lists undelivered spend notices that are due for a try,
	// oldest first. NoticeDelivered and NoticeFailed record how a try went; a
	// failed one is due again only later.
	PendingNotices(ctx context.Context, organization string, limit int) ([]billing.Notice, error)
	NoticeDelivered(ctx context.Context, id int64) error
	NoticeFailed(ctx context.Context, id int64, reason string) error
	// PendingNoticeCount says how many are undelivered and when the next try is due.
	PendingNoticeCount(ctx context.Context, organization string) (pending int, retryAt time.Time, err error)

	PauseCycle(ctx context.Context, organization string, auditEntry int64) error
	ResumeCycle(ctx context.Context, organization string, auditEntry int64) error
	EndPeriodNow(ctx context.Context, organization string, auditEntry int64) error

	// IssueInvoice closes the period and writes its invoice, or says what holds it back.
	IssueInvoice(ctx context.Context, organization, period string, revision int) (billing.Issued, error)

	// ReleaseInvoice records a person's word that a parked invoice may be issued.
	ReleaseInvoice(ctx context.Context, organization, period string, revision int, auditEntry int64) error

	// CheckBillingEnabled is asked right before each write to the provider; while all billing
	// is stopped it refuses with billing.ErrStopped.
	CheckBillingEnabled(ctx context.Context) error

	// BeginProviderInvoice returns what the provider is to be told, and records
	// that it is about to be; what it returns reports whether that had been recorded
	// before. Terms are the invoice's own, the same at each call.
	// RecordProviderInvoice records the provider's id. Items and finalisation alike.
	BeginProviderInvoice(ctx context.Context, invoice string) (billing.ProviderInvoice, error)
	RecordProviderInvoice(ctx context.Context, invoice, stripeID string) error
	// AdoptProviderInvoice does so for one that was found there, with any items.
	AdoptProviderInvoice(ctx context.Context, invoice, stripeID string) error
	// RecordCustomer records the provider's customer of an organisation, and its
	// test clock where it lives on one.
	RecordCustomer(ctx context.Context, organization, customer, clock string) error
	BeginProviderItem(ctx context.Context, invoice string, number int) (billing.ProviderItem, error)
	RecordProviderItem(ctx context.Context, invoice string, number int, stripeID string) error
	BeginProviderFinalize(ctx context.Context, invoice string) (billing.ProviderInvoice, error)
	RecordProviderFinalized(ctx context.Context, invoice string, state billing.ProviderInvoiceState) error

	// BeginCollection decides the next step under the invoice's lock; a new attempt
	// is recorded as unknown before it is returned. A StepResolve tells in
	// State.Payment whether its attempt is unknown or processing. RecordCharge and
	// RecordProviderState record what the provider answered, and return how the
	// collection then stands. A charge that failed as "not_attempted" was never
	// made and uses up no step of the dunning table. A state that is paid, void or
	// uncollectible also ends an attempt that is still unknown or processing.
	BeginCollection(ctx context.Context, invoice string) (billing.ChargeStep, error)
	RecordCharge(ctx context.Context, invoice string, attempt int, result billing.ChargeResult) (billing.Collection, error)
	RecordProviderState(ctx context.Context, invoice string, state billing.ProviderInvoiceState) (billing.Collection, error)
	// RecordCorrection records what came of a StepCorrect, and returns how the
	// collection then stands. One that is neither done nor refused was overtaken:
	// the invoice stands otherwise at the provider, as the result's state says.
	RecordCorrection(ctx context.Context, invoice string, correction int64, result billing.CorrectionResult) (billing.Collection, error)

	// The same for the payment notices of an invoice.
	PendingPaymentNotices(ctx context.Context, invoice string) ([]billing.PaymentNotice, error)
	PaymentNoticeDelivered(ctx context.Context, id int64) error
	PaymentNoticeFailed(ctx context.Context, id int64, reason string) error
	PendingPaymentNoticeCount(ctx context.Context, invoice string) (pending int, retryAt time.Time, err error)

	// Organization returns an organisation with its present terms and time.
	Organization(ctx context.Context, id string) (billing.Organization, error)
	// Installation names this database to the provider.
	Installation(ctx context.Context) (string, error)

	RegisterWait(ctx context.Context, wait billing.Wait) (now time.Time, err error)

	// SwitchToSentInvoice has an invoice that would be charged sent instead, before the
	// provider is told of it.
	SwitchToSentInvoice(ctx context.Context, invoice, reason string) error
	// RecordReversals records refunds and disputes, each state once.
	RecordReversals(ctx context.Context, invoice string, returns billing.Reversals) (billing.Collection, error)

	// SweptTo is up to when a list of the provider's was read. RecordSweep records
	// that, unless the incarnation is another by now.
	SweptTo(ctx context.Context, list string) (billing.Swept, error)
	RecordSweep(ctx context.Context, list string, to time.Time, incarnation string) error
	// RecordStripeEvent stores a hint once, and has its invoice looked at.
	RecordStripeEvent(ctx context.Context, event billing.ProviderEvent) (isNew bool, err error)
	// RecordMarks holds invoices found at the provider against ours, and returns
	// how many of them are recorded nowhere.
	RecordMarks(ctx context.Context, marks []billing.ProviderMark) (orphans int, err error)
	// RecordCustomerMarks keeps customers found at the provider that no organisation
	// names.
	RecordCustomerMarks(ctx context.Context, marks []billing.CustomerMark) error
	// RecoveryDone records that an incarnation was made level with the provider, and
	// lets billing go on, unless it is another by now.
	RecoveryDone(ctx context.Context, incarnation string) error
	// OldestOrphan is when the oldest of those was made; zero = there is none.
	OldestOrphan(ctx context.Context) (time.Time, error)
	// RequestLooks has unsettled invoices looked at that were not for a day.
	RequestRefresh(ctx context.Context, limit int) (asked int, err error)
	// OrganizationsAfter lists organisations in real time by id, some at a time.
	OrganizationsAfter(ctx context.Context, after string, limit int) ([]string, error)
}

// Runner starts what of an organisation's workflows should run and does not, and
// returns which.
type Runner interface {
	StartMissing(ctx context.Context, organization string) (started []string, err error)
}

// Provider is what the activities need of the payment provider. Errors of kind
// billing.ErrNotFound, ErrConflict and ErrInvalid are final. After any other the
// call may have done its work or not: an error may have the method RetryAfter to
// tell when to try again, and KeySpent to tell that under the call's key the
// provider will only ever repeat this failure.
type Provider interface {
	// EnsureCustomer makes the organisation's customer, or finds it, and returns
	// its id and that of its test clock ("" without one). Where only the payment
	// method is refused, the ids come with an error of kind billing.ErrInvalid.
	EnsureCustomer(ctx context.Context, installation string, org billing.Organization) (customer, clock string, err error)

	CreateInvoice(ctx context.Context, invoice billing.ProviderInvoice) (stripeID string, err error)
	// FindInvoice looks for an invoice that an earlier call may have made.
	FindInvoice(ctx context.Context, invoice billing.ProviderInvoice) (stripeID string, found bool, err error)
	AddItem(ctx context.Context, item billing.ProviderItem) (stripeID string, err error)
	FindItem(ctx context.Context, item billing.ProviderItem) (stripeID string, found bool, err error)
	FinalizeInvoice(ctx context.Context, invoice billing.ProviderInvoice) (billing.ProviderInvoiceState, error)
	Invoice(ctx context.Context, stripeID string) (billing.ProviderInvoiceState, error)
	// Pay charges an invoice by its customer's default payment method. A decline is
	// a result, one for want of a payment method too. billing.ErrConflict means that
	// the invoice is paid otherwise or cannot be paid any more; any other error that
	// the outcome is unknown, or that the call was refused before it did anything.
	Pay(ctx context.Context, step billing.ChargeStep) (billing.ChargeResult, error)
	// Correct carries out a correction of an invoice: withdraws it (a draft is
	// deleted), gives it up, marks it paid elsewhere, or makes a credit note, whose
	// id it returns. FindCreditNote looks for one that an earlier call may have made.
	Correct(ctx context.Context, step billing.ChargeStep) (creditNote string, err error)
	FindCreditNote(ctx context.Context, step billing.ChargeStep) (creditNote string, found bool, err error)
	// MethodKind tells what a customer's invoices are charged to; "" = nothing.
	MethodKind(ctx context.Context, customer string) (string, error)
	// Returns lists what was refunded or disputed of payments.
	Reversals(ctx context.Context, intents []string) (billing.Reversals, error)

	// Events and Marked read one page of what happened, and of the invoices that
	// carry the installation's mark, and return how far the list is read then.
	Events(ctx context.Context, page billing.SweepPage) ([]billing.ProviderEvent, billing.SweepPage, error)
	Marked(ctx context.Context, installation string, page billing.SweepPage) ([]billing.ProviderMark, billing.SweepPage, error)
	// MarkedCustomers does so of the customers.
	MarkedCustomers(ctx context.Context, installation string, page billing.SweepPage) ([]billing.CustomerMark, billing.SweepPage, error)
}
