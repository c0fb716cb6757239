package billing

import (
	"time"

	"github.com/shopspring/decimal"
)

// The types of this file are what storage, provider and workflows tell each
// other about a cycle. They travel through workflow histories, so they hold ids,
// instants and small numbers only: no names, no addresses, no usage.

// Accrual is how a running period stands.
type Accrual struct {
	Organization string
	Period       string
	Start, End   time.Time
	Now          time.Time // the organisation's time when the facts were read
	TestClock    bool
	Paused       bool
	Spend        Money  // of the limit window, at list price
	Limit        *Money // of the organisation; nil = none
	Limits       int    // limits of tiers and users beside it
	Notices      int    // recorded and not yet delivered
	Parked       int    // events that wait for a price
	Stopped      bool   // all billing is: periods end, and nothing is issued or collected
	Suspended    string // why requests are blocked; "" = they are not

	// Ended is set once the period is over: it is in its draft window, and the
	// next one is open.
	Ended *PeriodEnd
	Seen  int64 // see Wait
}

// PeriodEnd is what follows a period that is over.
type PeriodEnd struct {
	DraftUntil time.Time
	Next       string // "" = the contract has ended, no further period
	Revision   int    // of the period's invoice
	Unbilled   bool   // it is not closed yet
}

// Delivery is how one round of sending notices went. That some could not be
// delivered is a result: they stay pending and are tried again at RetryAt.
type Delivery struct {
	Sent    int
	Pending int
	RetryAt time.Time
	Reason  string // of the last failure
}

// Issued is what became of an attempt to close a period and write its invoice.
type Issued struct {
	Invoice string // id; "" while held or parked
	Status  InvoiceStatus
	Total   Money
	Items   int // how many items the provider's invoice gets; 0 = the provider is not involved

	// Reason says why a parked invoice is held back, or what a held one waits for.
	Reason string
	// Stopped tells that what holds it is that all billing is stopped.
	Stopped bool
	// HeldUntil is when a held invoice (StatusDraft) is due; zero = not before news.
	HeldUntil time.Time
	Seen      int64

	// ItemsBefore is how many items the parts before this one have, and MoreParts
	// tells that others follow once it is paid, of an invoice that is split.
	ItemsBefore int
	MoreParts   bool
}

// Collection is how the collection of an invoice stands.
type Collection struct {
	Organization string
	Invoice      string
	Status       InvoiceStatus
	Due          Money
	Attempt      int           // the last attempt made, from 1; 0 = none
	Attempts     int           // how many the dunning table has
	Payment      PaymentStatus // of the last attempt
	FailureCode  string
	NextAt       time.Time // when to act again; zero = not before news
	NextWhat     string    // what then happens, for people
	Reason       string    // why it is not collected as the contract says; "" = it is
	Notices      int       // payment notices to deliver
	Stopped      bool      // all billing is stopped: nothing is done before news
	TestClock    bool
	Seen         int64
}

// Over reports whether nothing is left to do without a person.
func (c Collection) Over() bool { return c.Status != StatusOpen && c.NextAt.IsZero() }

// Wait is what a workflow waits for on an organisation's test clock. Seen is the
// last nudge whose news the workflow had read before it decided to wait; a wait
// is at rest when no later nudge exists and Until lies ahead.
type Wait struct {
	Organization string
	WorkflowID   string
	What         string
	Until        time.Time // zero = news only
	Seen         int64
}

// PaymentStatus is the outcome of one attempt to collect.
type PaymentStatus string

// The outcomes of an attempt. Unknown is a call that got no answer: it is
// resolved by asking the provider, and until then no other attempt is made.
const (
	PaymentUnknown        PaymentStatus = "unknown"
	PaymentSucceeded      PaymentStatus = "succeeded"
	PaymentFailed         PaymentStatus = "failed"
	PaymentProcessing     PaymentStatus = "processing"
	PaymentRequiresAction PaymentStatus = "requires_action"
)

// Notice is a spend notice on its way to people.
type Notice struct {
	ID           int64
	Organization string
	Scope        Scope
	Subject      string
	Tier         string // whose limit, where it is a seat tier's; "" = it is not
	LimitID      int64
	LimitVersion int
	Threshold    int // percent
	Limit        Money
	Spent        Money
	Window       Period // the billing month whose spend it is
	At           time.Time
	Late         bool // the spend belongs to an earlier month
	Email        string
	Attempts     int
}

// PaymentNotice is news about a payment on its way to the billing contact.
type PaymentNotice struct {
	ID           int64
	Organization string
	Invoice      string
	Number       string
	Kind         PaymentNoticeKind
	Attempt      int
	Amount       Money
	FailureCode  string
	NextAt       time.Time
	DueDate      string // of a notice that asks for a sent invoice: the last local date on which it can be paid in time, as 2026-10-31; "" = of another
	Day          int    // of a reminder: days after the due date, below zero before it
	Email        string
	URL          string // the provider's page on which the invoice is seen and paid; "" = none
}

// PaymentNoticeKind is what a payment notice says.
type PaymentNoticeKind string

// The payment notices, each at most once per invoice and attempt but where said.
const (
	NoticePaymentFailed  PaymentNoticeKind = "payment_failed"
	NoticeActionRequired PaymentNoticeKind = "action_required"
	NoticePastDue        PaymentNoticeKind = "past_due"
	NoticePaid           PaymentNoticeKind = "paid"
	NoticeInvoiceSent    PaymentNoticeKind = "invoice_sent"
	NoticeReminder       PaymentNoticeKind = "reminder"  // once per day of the table
	NoticeSuspended      PaymentNoticeKind = "suspended" // the organisation, for want of payment
	NoticeNoMethod       PaymentNoticeKind = "no_payment_method"
)

// ProviderInvoice is what the provider is told about an invoice. Tried tells
// that an earlier attempt to make it may have got through without an answer: the
// provider is asked first.
type ProviderInvoice struct {
	Invoice        string
	Number         string
	Organization   string
	Installation   string
	Customer       string
	Total          Money
	Collection     string
	NetDays        int
	PeriodStart    time.Time
	PeriodEnd      time.Time
	IdempotencyKey string
	TriedAt        time.Time // zero = never tried
	MayBeThere     bool      // made by a call that the database has forgotten, perhaps
	StripeID       string    // "" = not known yet
	FinalizeTried  bool
	Finalized      bool
	CardRefused    bool // it is to be charged, and its total is too high for a card
	Part, Parts    int  // of an invoice that is split; Parts is 1 for every other
}

// ProviderItem is one item of the provider's invoice: a charge line, or several
// lines together where there are more than the provider takes.
type ProviderItem struct {
	Invoice        string
	Number         int // from 1
	Key            string
	Description    string
	Amount         Money
	Installation   string
	Customer       string
	StripeInvoice  string
	PeriodStart    time.Time
	PeriodEnd      time.Time
	IdempotencyKey string
	Tried          bool
	StripeID       string
}

// ProviderInvoiceState is what the provider says of its invoice.
type ProviderInvoiceState struct {
	StripeID        string
	Number          string
	Status          string // draft, open, paid, void, uncollectible
	Total           Money
	AmountDue       Money
	AmountPaid      Money
	AmountRemaining Money
	AttemptCount    int64
	PaidAt          time.Time
	PaymentIntentID string
	PaymentStatus   PaymentStatus // of its payment intent; "" = none yet
	FailureCode     string
	Charges         int   // how many of its charges succeeded
	Charged         Money // what those came to
	HostedURL       string
}

// ChargeStep is what is to be done next to collect an invoice, as decided under
// the invoice's lock.
type ChargeStep struct {
	Do             StepKind
	Invoice        string
	Attempt        int
	StripeInvoice  string
	Total          Money
	PaymentMethod  string
	IdempotencyKey string
	StartedAt      time.Time // of the attempt, by the wall clock
	AttemptsBefore int64     // the provider's count of attempts before this one
	Correction     InvoiceCorrection
	Part, Parts    int      // that is collected, of an invoice that is split
	Customer       string   // the provider's
	CardRefused    bool     // the total is too high for a card
	Intents        []string // the provider's payments of the invoice, of a StepReturns
	State          Collection
}

// StepKind is the kind of a ChargeStep.
type StepKind string

// The steps of collection.
const (
	StepNone    StepKind = "none"    // nothing now; State says what is waited for
	StepCharge  StepKind = "charge"  // a new attempt was recorded as unknown: make it
	StepResolve StepKind = "resolve" // an attempt is unknown or processing: ask the provider
	StepRefresh StepKind = "look"    // a sent invoice: ask whether it was paid
	StepCorrect StepKind = "correct" // a correction was asked for: carry it out
	StepReturns StepKind = "returns" // ask what of its payments was refunded or disputed
)

// Failure codes of our own, beside the provider's, by which storage, activities
// and the provider's gateway understand each other.
const (
	FailureNoMethod     = "no_payment_method" // there is nothing that could be charged
	FailureNotAttempted = "not_attempted"     // the charge was never made
	FailureCardCeiling  = "card_ceiling"      // the total is too high for a card
)

// ChargeResult is what the provider answered to an attempt. A decline is a
// result and not an error.
type ChargeResult struct {
	Status          PaymentStatus
	FailureCode     string // the provider's decline code, or its error code
	PaymentIntentID string
	ChargeID        string
	AttemptCount    int64
}

// maxProviderItems is how many items the provider takes on one invoice.
const maxProviderItems = 250

// ProviderItems returns the items of the provider's invoice: one per charge
// line, or, where there are more lines than it takes, one per kind, product and
// model, and one for all where even those are too many. Amounts add up to the
// same total, each in steps that the provider takes.
func ProviderItems(lines []Line) []ProviderItem {
	for _, group := range []func(Line) (key, description string){
		func(l Line) (string, string) { return l.Key, l.Description },
		func(l Line) (string, string) { return groupKey(l), "All " + groupKey(l) },
		func(Line) (string, string) { return "all", "All charges" },
	} {
		if items := groupItems(lines, group); len(items) <= maxProviderItems {
			return roundItems(items)
		}
	}
	return nil // not reached: the last grouping gives one item
}

func groupKey(l Line) string {
	key := string(l.Kind)
	for _, part := range []string{l.Product, l.Model} {
		if part != "" {
			key += " " + part
		}
	}
	return key
}

func groupItems(lines []Line, group func(Line) (key, description string)) []ProviderItem {
	var items []ProviderItem
	index := map[string]int{}
	for _, line := range lines {
		key, description := group(line)
		i, known := index[key]
		if !known {
			i = len(items)
			index[key] = i
			items = append(items, ProviderItem{
				Number: i + 1, Key: key, Description: description,
				Amount: Money{decimal.Zero, line.Amount.Currency},
			})
		}
		items[i].Amount.Amount = items[i].Amount.Amount.Add(line.Amount.Amount)
	}
	return items
}

// Reversals is what the provider says went back of an invoice's payments, or may.
type Reversals struct {
	Refunds  []Refund
	Disputes []Dispute
}

// Refund is money given back at the provider. It never makes an invoice unpaid.
type Refund struct {
	ID              string    `json:"id"`     // the provider's
	Status          string    `json:"status"` // pending, requires_action, succeeded, failed, canceled
	Amount          Money     `json:"amount"`
	Reason          string    `json:"reason"`
	PaymentIntentID string    `json:"stripe_payment_intent_id"`
	MadeAt          time.Time `json:"made_at"` // the provider's time
}

// Dispute is a payment that the payer's bank calls into question.
type Dispute struct {
	ID              string     `json:"id"`     // the provider's
	Status          string     `json:"status"` // needs_response, under_review, won, lost, warning_…
	Amount          Money      `json:"amount"`
	Reason          string     `json:"reason"`
	PaymentIntentID string     `json:"stripe_payment_intent_id"`
	RespondBy       *time.Time `json:"respond_by"`
	MadeAt          time.Time  `json:"made_at"` // the provider's time
}

// ProviderEvent is what the provider told of, as far as it counts: which object
// to look at. Nothing else in it is believed.
type ProviderEvent struct {
	ID              string
	Type            string
	ObjectID        string
	CustomerID      string // "" = of no customer
	StripeInvoiceID string // "" = of no invoice
	PaymentIntentID string // "" = of no payment
	Created         time.Time
}

// ProviderMark is an invoice at the provider that carries an installation's mark.
type ProviderMark struct {
	StripeID     string
	Installation string
	Organization string
	Invoice      string
	Part         int    // of an invoice that is split; 0 = of none
	Number       string // ours, as far as it can be told
	Status       string
	Total        Money // of a draft: so far
	Created      time.Time
}

// CustomerMark is a customer at the provider that carries an installation's mark.
type CustomerMark struct {
	StripeID     string
	ClockID      string // the test clock that it lives on; "" = none
	Organization string
	Created      time.Time
}

// SweepPage is how far one of the provider's lists has been read: from Since to
// Until, by the wall clock, up to the object After. A zero Since begins.
type SweepPage struct {
	Since, Until time.Time
	After        string
	Read         int // objects so far
	New          int // of them, what had not been known
	Done         bool
	// Incarnation is the database's when the list began to be read: how far it was
	// read is recorded of no other.
	Incarnation string
	// Behind tells that it is to be made level with the provider by reading the
	// list. Customers are read first then.
	Behind    bool
	Customers bool
}

// Swept is up to when one of the provider's lists was read by what the database
// knows, in wall time (zero = never), which incarnation of it knows that, and
// whether that may have gone back in time since it was level with the provider.
type Swept struct {
	To          time.Time
	Incarnation string
	Behind      bool
}

// Missing is what of the workflows that should run did not, and was started.
type Missing struct {
	Started []string
	After   string // the last organisation that was looked at; "" = all were
}
