package billing

import (
	"cmp"
	"maps"
	"net/mail"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// PlanEnterprise is the only plan with usage-based billing.
const PlanEnterprise = "enterprise"

// How an organisation's invoices are collected.
const (
	ChargeAutomatically = "charge_automatically" // by its payment method, at once
	SendInvoice         = "send_invoice"         // sent, and paid by the due date
)

// FutureTolerance is how far ahead of the organisation's time an event may lie;
// clocks of senders differ.
const FutureTolerance = 5 * time.Minute

// Organization is a customer under contract, and the terms that decide its bill.
type Organization struct {
	ID            string
	Plan          string
	Currency      Currency
	Timezone      string // IANA name
	AnchorDay     int
	PriceBook     string
	StartsAt      time.Time
	Collection    string // ChargeAutomatically or SendInvoice
	NetDays       int    // days until a sent invoice is due
	PaymentMethod string // the provider's id; "" = none yet
	DraftWindow   time.Duration
	LateWindow    time.Duration
	LimitRule     string                 // RuleStrictMin or RuleOverride
	Discount      decimal.Decimal        // negotiated, in percent off all charges of a period; 0 = none
	Email         string                 // billing contact; never leaves Postgres but to the mail server and the provider
	Dunning       []int                  // days after the first attempt at which to charge
	Approval      bool                   // a person approves each invoice that is to be collected
	Bounds        Bounds                 // those set for this organisation
	Reminders     []int                  // days after a sent invoice's due date at which to remind; below zero = before it
	SuspendAfter  *int                   // days past due after which the organisation is suspended; nil = never
	CardCeiling   decimal.Decimal        // the total from which a card is not charged, in the organisation's currency
	CardExempt    bool                   // cards are charged whatever the total
	UsageSources  map[string]UsageSource // by product: the only path by which its usage is taken; others are taken by any
	PausedAt      time.Time
	ClosedAt      time.Time // contract ended; zero = runs
	SuspendedAt   time.Time // requests are blocked; zero = they are not
	Suspended     string    // why: SuspendedOverdue or SuspendedByHand; "" = it is not
	CreatedAt     time.Time

	// TestClock tells that the organisation lives on a clock that an operator
	// moves; Now is its time, on the test clock or the database's.
	TestClock bool
	Now       time.Time

	StripeCustomerID string
	StripeClockID    string // the provider's test clock, where the organisation is on one
	// FoundCustomerID and FoundClockID are what the provider has of an organisation
	// that names no customer: made before the database went back.
	FoundCustomerID string
	FoundClockID    string
}

// Calendar returns the organisation's division of time.
func (o *Organization) Calendar() (Calendar, error) { return NewCalendar(o.Timezone, o.AnchorDay) }

// Defaults of an organisation's terms.
const (
	DefaultDraftWindow = 24 * time.Hour
	DefaultLateWindow  = 30 * 24 * time.Hour
	DefaultNetDays     = 30
)

// Why an organisation is suspended.
const (
	SuspendedOverdue = "payment_overdue" // an invoice has been past due for too long
	SuspendedByHand  = "suspended"       // an operator said so
)

// DefaultCardCeiling is the total from which a card is not charged, in major
// units of the organisation's currency: its fee and its risk are too high.
func DefaultCardCeiling() decimal.Decimal { return decimal.NewFromInt(50_000) }

// Complete checks the terms of an organisation that is being created and fills
// in the defaults of those left open, but for the windows, where zero means
// none. Now must be set.
func (o *Organization) Complete() error {
	o.Plan = cmp.Or(o.Plan, PlanEnterprise)
	o.Currency = cmp.Or(o.Currency, "USD")
	o.Timezone = cmp.Or(o.Timezone, "UTC")
	o.AnchorDay = cmp.Or(o.AnchorDay, 1)
	o.Collection = cmp.Or(o.Collection, ChargeAutomatically)
	o.NetDays = cmp.Or(o.NetDays, DefaultNetDays)
	o.LimitRule = cmp.Or(o.LimitRule, RuleStrictMin)
	if o.StartsAt.IsZero() {
		o.StartsAt = o.Now
	}
	if o.Dunning == nil {
		o.Dunning = DefaultDunning()
	}
	if o.Reminders == nil {
		o.Reminders = DefaultReminders()
	}
	if o.CardCeiling.IsZero() && !o.CardExempt {
		o.CardCeiling = DefaultCardCeiling()
	}
	o.StartsAt, o.Now = o.StartsAt.UTC().Truncate(time.Microsecond), o.Now.UTC().Truncate(time.Microsecond)
	return o.check()
}

func (o *Organization) check() error {
	if !ValidSlug(o.ID) {
		return Invalid("id: %q is not 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit", o.ID)
	}
	if o.Plan != PlanEnterprise {
		return Invalid("plan: %q has no usage-based billing; accepted: %s", o.Plan, PlanEnterprise)
	}
	currency, err := ParseCurrency(string(o.Currency))
	if err != nil {
		return err
	}
	o.Currency = currency
	if _, err := o.Calendar(); err != nil {
		return err
	}
	if o.Collection != ChargeAutomatically && o.Collection != SendInvoice {
		return Invalid("collection: %q; accepted: %s, %s", o.Collection, ChargeAutomatically, SendInvoice)
	}
	if o.Collection == SendInvoice && o.Email == "" {
		return Invalid("email: an organization with collection %s needs an address to which its invoices are sent", SendInvoice)
	}
	if address, err := mail.ParseAddress(o.Email); o.Email != "" && (err != nil || address.Address != o.Email) {
		return Invalid("email: %q; accepted: one address like billing@example.com", o.Email)
	}
	if o.LimitRule != RuleStrictMin && o.LimitRule != RuleOverride {
		return Invalid("limit_rule: %q; accepted: %s, %s", o.LimitRule, RuleStrictMin, RuleOverride)
	}
	if o.NetDays < 1 || o.NetDays > 365 {
		return Invalid("net_days: %d; accepted: 1 to 365", o.NetDays)
	}
	if o.DraftWindow < 0 || o.DraftWindow > 30*24*time.Hour {
		return Invalid("draft_window: %s; accepted: 0s to 720h", o.DraftWindow)
	}
	if o.StartsAt.Year() < 2000 || o.StartsAt.Year() > 2100 {
		return Invalid("start: %s; accepted: an instant between the years 2000 and 2100", o.StartsAt.Format(time.RFC3339))
	}
	if err := CheckDiscount(o.Discount); err != nil {
		return err
	}
	if err := o.Bounds.Check(); err != nil {
		return err
	}
	if o.SuspendAfter != nil && (*o.SuspendAfter < 0 || *o.SuspendAfter > 365) {
		return Invalid("suspend_after: %d; accepted: 0 to 365 days past due, or never", *o.SuspendAfter)
	}
	if !o.CardExempt && (!o.CardCeiling.IsPositive() || o.CardCeiling.GreaterThan(largestCeiling) || o.CardCeiling.Exponent() < -6) {
		return Invalid("card_ceiling: %s; accepted: an amount above 0 like 50000, or none", o.CardCeiling)
	}
	for product, source := range o.UsageSources {
		if err := CheckUsageSource(product, source); err != nil {
			return err
		}
	}
	if err := CheckReminders(o.Reminders); err != nil {
		return err
	}
	return CheckDunning(o.Dunning)
}

// largestCeiling keeps typing errors out: a thousand billion of anything.
var largestCeiling = decimal.New(1, 12)

// CardRefused reports whether an invoice over total is not to be charged to a card.
func (o *Organization) CardRefused(total Money) bool {
	return !o.CardExempt && total.Amount.GreaterThanOrEqual(o.CardCeiling)
}

// TermsChange is what of a contract may change while it runs; nil stays as it
// is. How an invoice is collected, and in how many days it is due, concerns the
// invoices that are issued from then on; all else acts on the next step.
type TermsChange struct {
	Email        *string
	Collection   *string
	NetDays      *int
	Dunning      []int
	Reminders    []int
	SuspendAfter **int                // to nil = never
	CardCeiling  *decimal.NullDecimal // null = none
	Approval     *bool
	Bounds       Bounds                 // those that are valid
	UsageSources map[string]UsageSource // the products that it names; AnySource lifts a binding
}

// Change returns the organisation under changed terms, or says what is wrong
// with them.
func (o Organization) Change(change TermsChange) (Organization, error) {
	if change.Email != nil {
		o.Email = *change.Email
	}
	if change.Collection != nil {
		o.Collection = *change.Collection
	}
	if change.NetDays != nil {
		o.NetDays = *change.NetDays
	}
	if change.Dunning != nil {
		o.Dunning = change.Dunning
	}
	if change.Reminders != nil {
		o.Reminders = change.Reminders
	}
	if change.SuspendAfter != nil {
		o.SuspendAfter = *change.SuspendAfter
	}
	if change.CardCeiling != nil {
		o.CardCeiling, o.CardExempt = change.CardCeiling.Decimal, !change.CardCeiling.Valid
	}
	if change.Approval != nil {
		o.Approval = *change.Approval
	}
	o.Bounds = change.Bounds.Or(o.Bounds)
	if change.UsageSources != nil {
		o.UsageSources = bindSources(o.UsageSources, change.UsageSources)
	}
	return o, o.check()
}

// Terms are the terms that may change while a contract runs, by name.
func (o *Organization) Terms() map[string]any {
	terms := map[string]any{
		"email": o.Email, "collection": o.Collection, "net_days": o.NetDays, "dunning": o.Dunning,
		"reminders": o.Reminders, "suspend_after": "never", "card_ceiling": "none", "approval": o.Approval,
		"usage_sources": sourceTerms(o.UsageSources),
	}
	for name, bound := range map[string]decimal.NullDecimal{
		"bound_growth": o.Bounds.Growth, "bound_floor": o.Bounds.Floor, "bound_total": o.Bounds.Total, "bound_credit": o.Bounds.Credit,
	} {
		terms[name] = "default"
		if bound.Valid {
			terms[name] = bound.Decimal.String()
		}
	}
	if o.SuspendAfter != nil {
		terms["suspend_after"] = *o.SuspendAfter
	}
	if !o.CardExempt {
		terms["card_ceiling"] = o.CardCeiling.String()
	}
	return terms
}

// Differs names the first term in which two contracts of one organisation
// differ, or returns "". The payment method, which changes later, does not count.
func (o *Organization) Differs(other Organization) string {
	switch {
	case o.Plan != other.Plan:
		return "plan"
	case o.Currency != other.Currency:
		return "currency"
	case o.Timezone != other.Timezone:
		return "timezone"
	case o.AnchorDay != other.AnchorDay:
		return "anchor day"
	case o.Collection != other.Collection:
		return "collection"
	case o.LimitRule != other.LimitRule:
		return "limit rule"
	case !o.Discount.Equal(other.Discount):
		return "discount"
	case o.TestClock != other.TestClock:
		return "clock"
	case o.PriceBook != other.PriceBook:
		return "price book"
	case !o.StartsAt.Equal(other.StartsAt):
		return "start"
	case o.NetDays != other.NetDays:
		return "net days"
	case o.DraftWindow != other.DraftWindow:
		return "draft window"
	case o.LateWindow != other.LateWindow:
		return "late window"
	case o.Email != other.Email:
		return "email"
	case !slices.Equal(o.Dunning, other.Dunning):
		return "dunning table"
	case o.Approval != other.Approval:
		return "approval"
	case !o.Bounds.equal(other.Bounds):
		return "bounds"
	case !slices.Equal(o.Reminders, other.Reminders):
		return "reminders"
	case (o.SuspendAfter == nil) != (other.SuspendAfter == nil) || o.SuspendAfter != nil && *o.SuspendAfter != *other.SuspendAfter:
		return "suspension"
	case o.CardExempt != other.CardExempt || !o.CardCeiling.Equal(other.CardCeiling):
		return "card ceiling"
	case !maps.Equal(o.UsageSources, other.UsageSources):
		return "usage sources"
	}
	return ""
}
