package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
)

func newOrgCmd(a *app) *cobra.Command {
	return newGroup("org", "Organisations under contract, and their terms", "",
		newOrgCreateCmd(a), newOrgImportCmd(a), newOrgListCmd(a), newOrgShowCmd(a), newOrgDiscountCmd(a), newOrgCloseCmd(a),
		newOrgSetCmd(a), newOrgSuspendCmd(a), newOrgResumeCmd(a))
}

// organizationView is an organisation as it is printed.
type organizationView struct {
	ID               string                         `json:"id"`
	Plan             string                         `json:"plan"`
	Currency         billing.Currency               `json:"currency"`
	Timezone         string                         `json:"timezone"`
	AnchorDay        int                            `json:"anchor_day"`
	Prices           string                         `json:"prices"`
	Start            time.Time                      `json:"start"`
	Collection       string                         `json:"collection"`
	NetDays          int                            `json:"net_days"`
	PaymentMethod    string                         `json:"payment_method"`
	DraftWindow      duration                       `json:"draft_window"`
	LateWindow       duration                       `json:"late_window"`
	LimitRule        string                         `json:"limit_rule"`
	Discount         decimal.Decimal                `json:"discount"` // in percent
	Dunning          []int                          `json:"dunning"`
	Reminders        []int                          `json:"reminders"`
	SuspendAfter     *int                           `json:"suspend_after"` // days past due; null = never
	CardCeiling      *billing.Money                 `json:"card_ceiling"`  // null = none
	UsageSources     map[string]billing.UsageSource `json:"usage_sources"` // by product; {} = any source
	Email            string                         `json:"email"`
	Approval         bool                           `json:"approval"`
	BoundGrowth      *string                        `json:"bound_growth"` // null = the installation's, "0" = none; so the others
	BoundFloor       *string                        `json:"bound_floor"`
	BoundTotal       *string                        `json:"bound_total"`
	BoundCredit      *string                        `json:"bound_credit"`
	Now              time.Time                      `json:"now"`
	TestClock        *time.Time                     `json:"test_clock"` // its time; null = real time
	PausedAt         *time.Time                     `json:"paused_at"`
	ClosedAt         *time.Time                     `json:"closed_at"`
	SuspendedAt      *time.Time                     `json:"suspended_at"` // null = its requests run
	Suspended        string                         `json:"suspended"`    // payment_overdue or suspended; "" = it is not
	CreatedAt        time.Time                      `json:"created_at"`
	StripeCustomerID string                         `json:"stripe_customer_id"`
	StripeClockID    string                         `json:"stripe_clock_id"`
}

func viewOrganization(o billing.Organization) organizationView {
	view := organizationView{
		ID: o.ID, Plan: o.Plan, Currency: o.Currency, Timezone: o.Timezone, AnchorDay: o.AnchorDay, Prices: o.PriceBook,
		Start: o.StartsAt.UTC(), Collection: o.Collection, NetDays: o.NetDays, PaymentMethod: o.PaymentMethod,
		DraftWindow: duration(o.DraftWindow), LateWindow: duration(o.LateWindow), LimitRule: o.LimitRule, Discount: o.Discount, Dunning: o.Dunning, Email: o.Email,
		Approval: o.Approval, BoundGrowth: viewBound(o.Bounds.Growth), BoundFloor: viewBound(o.Bounds.Floor),
		BoundTotal: viewBound(o.Bounds.Total), BoundCredit: viewBound(o.Bounds.Credit),
		Now: o.Now.UTC(), PausedAt: optional(o.PausedAt), ClosedAt: optional(o.ClosedAt), CreatedAt: o.CreatedAt.UTC(),
		StripeCustomerID: o.StripeCustomerID, StripeClockID: o.StripeClockID,
	}
	view.Reminders, view.SuspendAfter = o.Reminders, o.SuspendAfter
	view.SuspendedAt, view.Suspended = optional(o.SuspendedAt), o.Suspended
	view.UsageSources = maps.Clone(o.UsageSources)
	if view.UsageSources == nil {
		view.UsageSources = map[string]billing.UsageSource{}
	}
	if !o.CardExempt {
		view.CardCeiling = &billing.Money{Amount: o.CardCeiling, Currency: o.Currency}
	}
	if o.TestClock {
		view.TestClock = optional(o.Now)
	}
	return view
}

func (v organizationView) write(w io.Writer) {
	clock := "real time"
	if v.TestClock != nil {
		clock = "test clock, at " + showTime(*v.TestClock)
	}
	writeFacts(w,
		fact{"organization", v.ID}, fact{"plan", v.Plan}, fact{"currency", string(v.Currency)},
		fact{"time zone", v.Timezone}, fact{"anchor day", fmt.Sprint(v.AnchorDay)}, fact{"prices", v.Prices},
		fact{"start", showTime(v.Start)}, fact{"clock", clock}, fact{"collection", v.Collection},
		fact{"net days", fmt.Sprint(v.NetDays)}, fact{"payment method", v.PaymentMethod},
		fact{"draft window", showDuration(time.Duration(v.DraftWindow))},
		fact{"late window", showDuration(time.Duration(v.LateWindow))},
		fact{"limit rule", v.LimitRule}, fact{"discount", showPercent(v.Discount)},
		fact{"dunning days", joinInts(v.Dunning)}, fact{"reminders", joinInts(v.Reminders)},
		fact{"suspend after", v.suspendAfter()}, fact{"card ceiling", v.cardCeiling()}, fact{"usage sources", showSources(v.UsageSources)}, fact{"email", v.Email},
		fact{"approval", showApproval(v.Approval)}, fact{"bound on growth", showBound(v.BoundGrowth)},
		fact{"bound from", showBound(v.BoundFloor)}, fact{"bound on total", showBound(v.BoundTotal)},
		fact{"bound on credit", showBound(v.BoundCredit)},
		fact{"suspended", v.suspension()}, fact{"paused", showOptional(v.PausedAt)}, fact{"closed", showOptional(v.ClosedAt)},
		fact{"stripe customer", v.StripeCustomerID}, fact{"stripe test clock", v.StripeClockID})
}

func (v organizationView) suspendAfter() string {
	if v.SuspendAfter == nil {
		return "never"
	}
	return plural(*v.SuspendAfter, "day") + " past due"
}

func (v organizationView) cardCeiling() string {
	if v.CardCeiling == nil {
		return "none"
	}
	return v.CardCeiling.String()
}

func (v organizationView) suspension() string {
	if v.SuspendedAt == nil {
		return ""
	}
	return fmt.Sprintf("since %s (%s)", showTime(*v.SuspendedAt), v.Suspended)
}

type orgCreateOptions struct {
	*app
	org         billing.Organization
	terms       collectionTerms
	start       moment
	testClock   moment
	anchorDay   int
	draftWindow time.Duration
	lateWindow  time.Duration
	currency    string
	discount    percentage
}

func newOrgCreateCmd(a *app) *cobra.Command {
	o := &orgCreateOptions{app: a}
	cmd := &cobra.Command{
		Use:   "create ID",
		Short: "Take an organisation under contract",
		Long: `Take an organisation under contract. The same terms again change nothing.

With --test-clock, the organisation's time stands still until
"starter clock advance" moves it; everything that would have happened by then
happens, on the real system.`,
		Example: `  starter org create initech --timezone America/New_York --anchor-day 15 --email billing@initech.example
  starter org create rehearsal --test-clock 2026-10-01T00:00:00Z --payment-method pm_card_visa`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.org.ID = args[0]
			return runOrgCreate(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.org.Plan, "plan", billing.PlanEnterprise, "plan; usage-based billing is for enterprise only")
	f.StringVar(&o.currency, "currency", "USD", "currency of prices, limits and invoices")
	f.StringVar(&o.org.Timezone, "timezone", "UTC", "IANA time zone of its days and months")
	f.IntVar(&o.anchorDay, "anchor-day", 1, "day on which its billing months begin, 1 to 31")
	f.StringVar(&o.org.PriceBook, "prices", "", "price book (default the one loaded last)")
	f.Var(&o.start, "start", "when the contract starts; a date: its first instant in --timezone (default now)")
	f.Var(&o.testClock, "test-clock", "put it on a test clock that stands at this time; a date: its first instant in --timezone")
	o.terms.flags(f)
	f.StringVar(&o.org.PaymentMethod, "payment-method", "", "the provider's id of its payment method")
	f.DurationVar(&o.draftWindow, "draft-window", billing.DefaultDraftWindow, "how long an invoice stays a draft after the period's end")
	f.DurationVar(&o.lateWindow, "late-window", billing.DefaultLateWindow, "how late usage of a closed period is still taken")
	f.StringVar(&o.org.LimitRule, "limit-rule", billing.RuleStrictMin,
		"how limits meet: strict_min (nobody exceeds any) or override (a user's own replaces the tier's default)")
	f.Var(&o.discount, "discount", "negotiated discount in percent off all charges, like 12.5")
	return cmd
}

// contract is the organisation that the flags describe.
func (o *orgCreateOptions) contract() (billing.Organization, error) {
	org := o.org
	o.terms.into(&org)
	org.Currency, org.AnchorDay = billing.Currency(o.currency), o.anchorDay
	org.Discount = o.discount.Decimal
	org.DraftWindow, org.LateWindow = o.draftWindow, o.lateWindow
	if err := startContract(&org, o.start, o.testClock); err != nil {
		return org, wrongUsage("%s", err)
	}
	if err := checkContract(org); err != nil {
		return org, wrongUsage("%s", err)
	}
	return org, nil
}

// startContract sets when a contract starts and where its test clock stands, if it
// has one, in the contract's own zone.
func startContract(org *billing.Organization, start, testClock moment) error {
	calendar, err := billing.NewCalendar(cmp.Or(org.Timezone, "UTC"), 1)
	if err != nil {
		return err
	}
	org.StartsAt = calendar.Instant(start.Moment)
	if !testClock.IsZero() {
		org.TestClock, org.Now = true, calendar.Instant(testClock.Moment)
	}
	return nil
}

// checkContract says what is wrong with terms that were all given, where zero
// means zero and not the default.
func checkContract(org billing.Organization) error {
	switch {
	case org.AnchorDay < 1 || org.AnchorDay > 31:
		return billing.Invalid("anchor_day: %d is not a day of the month from 1 to 31", org.AnchorDay)
	case org.NetDays < 1 || org.NetDays > 365:
		return billing.Invalid("net_days: %d; accepted: 1 to 365", org.NetDays)
	case org.LateWindow <= 0 || org.LateWindow > 366*24*time.Hour:
		return billing.Invalid("late_window: %s; accepted: above 0s, up to 8784h", org.LateWindow)
	}
	if !org.TestClock {
		org.Now = time.Now()
	}
	return org.Complete()
}

// createdView is a created organisation, and whether it is new.
type createdView struct {
	organizationView
	Created bool `json:"created"`
}

func runOrgCreate(ctx context.Context, o *orgCreateOptions) error {
	org, err := o.contract()
	if err != nil {
		return err
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	created, err := store.CreateOrganizations(ctx, []billing.Organization{org}, o.by())
	if err != nil {
		return err
	}
	o.ensureCustomer(ctx, org.ID)
	stored, err := store.Organization(ctx, org.ID)
	if err != nil {
		return err
	}
	view := createdView{viewOrganization(stored), created == 1}
	return o.print(view, func(w io.Writer) {
		if !view.Created {
			fmt.Fprintf(w, "Organization %s exists already with these terms; nothing changed.\n", org.ID)
			return
		}
		fmt.Fprintf(w, "Created organization %s: %s, %s, prices %s, from %s.\n",
			view.ID, view.Currency, view.Timezone, view.Prices, showTime(view.Start))
		if view.TestClock != nil {
			fmt.Fprintf(w, "It lives on a test clock: starter clock advance %s --to TIME\n", view.ID)
		}
	})
}

// showPercent is a discount for people; "" for none.
func showPercent(percent decimal.Decimal) string {
	if percent.IsZero() {
		return ""
	}
	return percent.String() + "%"
}

// ensureCustomer makes the organisation's customer at the provider. That is
// done early to spare the month's end; where it fails, the first invoice does it.
func (a *app) ensureCustomer(ctx context.Context, id string) {
	err := a.makeCustomer(ctx, id)
	switch {
	case errors.Is(err, billing.ErrInvalid):
		a.note("Note: %v; set another one with starter payments set-method %s PM", err, id)
	case err != nil:
		a.note("Note: %s has no customer at Stripe yet (%v); its first invoice will make one.", id, err)
	}
}

func (a *app) makeCustomer(ctx context.Context, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, id)
	if err != nil || org.StripeCustomerID != "" {
		return err
	}
	gateway, err := a.Gateway()
	if err != nil {
		return err
	}
	if err := store.UseProviderMode(ctx, gateway.Live()); err != nil {
		return err
	}
	installation, err := store.Installation(ctx)
	if err != nil {
		return err
	}
	if err := store.CheckBillingEnabled(ctx); err != nil {
		return err
	}
	customer, clock, refused := gateway.EnsureCustomer(ctx, installation, org)
	if customer == "" {
		return refused
	}
	if err := store.RecordCustomer(ctx, id, customer, clock); err != nil {
		return err
	}
	return refused // the payment method; the customer is there
}

func newOrgListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List all organisations",
		Example: "  starter org list -o json",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runOrgList(cmd.Context(), a) },
	}
}

func runOrgList(ctx context.Context, a *app) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	orgs, err := store.Organizations(ctx)
	if err != nil {
		return err
	}
	var views []organizationView
	for _, org := range orgs {
		views = append(views, viewOrganization(org))
	}
	return printList(a, views, "There are no organizations yet: starter org create ID",
		left("ID", func(v organizationView) string { return v.ID }),
		left("CURRENCY", func(v organizationView) string { return string(v.Currency) }),
		left("TIME ZONE", func(v organizationView) string { return v.Timezone }),
		right("ANCHOR", func(v organizationView) string { return fmt.Sprint(v.AnchorDay) }),
		left("PRICES", func(v organizationView) string { return v.Prices }),
		left("COLLECTION", func(v organizationView) string { return v.Collection }),
		left("NOW", func(v organizationView) string { return showTime(v.Now) }),
		left("CLOCK", func(v organizationView) string {
			if v.TestClock != nil {
				return "test"
			}
			return "real"
		}),
		left("SUSPENDED", func(v organizationView) string { return v.suspension() }),
		left("PAUSED", func(v organizationView) string { return showOptional(v.PausedAt) }),
		left("CLOSED", func(v organizationView) string { return showOptional(v.ClosedAt) }))
}

func newOrgShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show ORG",
		Short:   "Show an organisation's terms",
		Example: "  starter org show acme",
		Args:    arguments("ORG"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runOrgShow(cmd.Context(), a, args[0]) },
	}
}

func runOrgShow(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, id)
	if err != nil {
		return err
	}
	view := viewOrganization(org)
	return a.print(view, view.write)
}
