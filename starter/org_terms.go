package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// collectionTerms are the flags of how an organisation pays, which may change
// while its contract runs.
type collectionTerms struct {
	collection   string
	netDays      int
	email        string
	dunning      dayTable
	reminders    dayTable
	suspendAfter daysOrNever
	cardCeiling  ceiling
	sources      usageSources
	approval     bool
	bounds       [4]bound // growth, floor, total, credit
}

func (t *collectionTerms) flags(f *pflag.FlagSet) {
	f.StringVar(&t.collection, "collection", billing.ChargeAutomatically, "charge_automatically or send_invoice")
	f.IntVar(&t.netDays, "net-days", billing.DefaultNetDays, "local days after a sent invoice's date through which it can be paid in time")
	f.StringVar(&t.email, "email", "", "billing contact")
	f.Var(&t.dunning, "dunning", fmt.Sprintf("days of 24 hours after the first attempt on which a declined invoice is charged again (default %s)", joinInts(billing.DefaultDunning())))
	f.Var(&t.reminders, "reminders", fmt.Sprintf("local days after the due date of a sent invoice on which to remind, below 0 before it, or none (default %s)", joinInts(billing.DefaultReminders())))
	f.Var(&t.suspendAfter, "suspend-after", "local days past due after which limit checks block every request, or never (default never)")
	f.Var(&t.cardCeiling, "card-ceiling", fmt.Sprintf("total from which a card is not charged and the invoice sent instead, or none (default %s)", billing.DefaultCardCeiling()))
	f.Var(&t.sources, "usage-source", "PRODUCT=SOURCE: take usage of a product by one path only: api, otlp, cloudevents or import; any lifts that (repeatable)")
	f.BoolVar(&t.approval, "approval", false, "a person approves each invoice that is to be collected")
	f.Var(&t.bounds[0], "bound-growth", "how many times the charges of the period before may be charged without a release, or none")
	f.Var(&t.bounds[1], "bound-floor", "charges up to which growth does not matter")
	f.Var(&t.bounds[2], "bound-total", "total above which an invoice waits for a release, or none")
	f.Var(&t.bounds[3], "bound-credit", "how far below zero charges may lie without a release, or none")
}

// into puts the terms into a contract; those that were not given have defaults.
func (t *collectionTerms) into(org *billing.Organization) {
	org.Collection, org.NetDays, org.Email = t.collection, t.netDays, t.email
	org.Dunning, org.Reminders, org.SuspendAfter = t.dunning.days, t.reminders.days, t.suspendAfter.days
	org.CardCeiling, org.CardExempt = t.cardCeiling.Decimal, t.cardCeiling.given && !t.cardCeiling.Valid
	org.Approval, org.Bounds = t.approval, t.setBounds()
	org.UsageSources = t.sources.bound
}

// setBounds are the bounds that were given.
func (t *collectionTerms) setBounds() billing.Bounds {
	return billing.Bounds{
		Growth: t.bounds[0].NullDecimal, Floor: t.bounds[1].NullDecimal, Total: t.bounds[2].NullDecimal, Credit: t.bounds[3].NullDecimal,
	}
}

// change is what the flags that were given change.
func (t *collectionTerms) change(f *pflag.FlagSet) (change billing.TermsChange) {
	f.Visit(func(given *pflag.Flag) {
		switch given.Name {
		case "collection":
			change.Collection = &t.collection
		case "net-days":
			change.NetDays = &t.netDays
		case "email":
			change.Email = &t.email
		case "dunning":
			change.Dunning = t.dunning.days
		case "reminders":
			change.Reminders = t.reminders.days
		case "suspend-after":
			change.SuspendAfter = &t.suspendAfter.days
		case "card-ceiling":
			change.CardCeiling = &t.cardCeiling.NullDecimal
		case "approval":
			change.Approval = &t.approval
		}
	})
	change.Bounds, change.UsageSources = t.setBounds(), t.sources.bound
	return change
}

// dayTable is a list of days; none is an empty one.
type dayTable struct{ days []int }

// String implements pflag.Value.
func (d *dayTable) String() string { return joinInts(d.days) }

// Type implements pflag.Value.
func (d *dayTable) Type() string { return "days" }

// Set implements pflag.Value.
func (d *dayTable) Set(s string) error {
	d.days = []int{}
	if s == "none" {
		return nil
	}
	for text := range strings.SplitSeq(s, ",") {
		day, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return errors.New("accepted: days with commas between, like 0,1,3")
		}
		d.days = append(d.days, day)
	}
	return nil
}

// daysOrNever is a number of days; nil is never.
type daysOrNever struct{ days *int }

// String implements pflag.Value.
func (d *daysOrNever) String() string {
	if d.days == nil {
		return ""
	}
	return strconv.Itoa(*d.days)
}

// Type implements pflag.Value.
func (d *daysOrNever) Type() string { return "days|never" }

// Set implements pflag.Value.
func (d *daysOrNever) Set(s string) error {
	d.days = nil
	if s == "never" {
		return nil
	}
	days, err := strconv.Atoi(s)
	if err != nil || days < 0 {
		return errors.New("accepted: a number of days like 14, or never")
	}
	d.days = &days
	return nil
}

// ceiling is an amount above zero, or none.
type ceiling struct {
	decimal.NullDecimal
	given bool
}

// String implements pflag.Value.
func (c *ceiling) String() string {
	switch {
	case !c.given:
		return ""
	case !c.Valid:
		return "none"
	}
	return c.Decimal.String()
}

// Type implements pflag.Value.
func (c *ceiling) Type() string { return "amount|none" }

// Set implements pflag.Value.
func (c *ceiling) Set(s string) error {
	*c = ceiling{given: true}
	if s == "none" {
		return nil
	}
	amount, err := decimal.NewFromString(s)
	if err != nil || strings.ContainsAny(s, "eE") || !amount.IsPositive() {
		return errors.New("accepted: an amount above 0 like 50000, or none for no ceiling")
	}
	c.NullDecimal = decimal.NewNullDecimal(amount)
	return nil
}

type orgSetOptions struct {
	*app
	id    string
	terms collectionTerms
}

func newOrgSetCmd(a *app) *cobra.Command {
	o := &orgSetOptions{app: a}
	cmd := &cobra.Command{
		Use:   "set ORG",
		Short: "Change how an organisation pays and what holds its invoices, while its contract runs",
		Long: `Change how an organisation pays, and what keeps its invoices from being issued without
a person. What is not named stays as it is.

Collection and net days concern invoices issued from now on; everything else acts
on the next step, also of invoices that are being collected or parked. The discount is
changed by starter org discount.`,
		Example: `  starter org set acme --dunning 0,2,5 --suspend-after 14 --as finance --reason "renewal"
  starter org set acme --collection send_invoice --net-days 45 --reminders -7,-1,7,21
  starter org set acme --card-ceiling none --suspend-after never
  starter org set acme --approval --bound-total 25000
  starter org set acme --usage-source claude_code=otlp`,
		Args: arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id = args[0]
			change := o.terms.change(cmd.Flags())
			if reflect.ValueOf(change).IsZero() {
				return wrongUsage("no term to change is named; accepted: one flag or more\nUsage: %s\nSee %s --help", cmd.UseLine(), cmd.CommandPath())
			}
			return runOrgSet(cmd.Context(), o, change)
		},
	}
	o.terms.flags(cmd.Flags())
	return cmd
}

type orgChangedView struct {
	organizationView
	Changed []string `json:"changed"` // the terms that are different now
}

func runOrgSet(ctx context.Context, o *orgSetOptions, change billing.TermsChange) error {
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	before, err := store.Organization(ctx, o.id)
	if err != nil {
		return err
	}
	if _, err := before.Change(change); err != nil {
		return asUsage(err)
	}
	if change.Email != nil && *change.Email != before.Email {
		if err := o.setEmail(ctx, store, before, *change.Email); err != nil {
			return err
		}
	}
	changed, err := store.ChangeTerms(ctx, o.id, change, o.by())
	if err != nil {
		return err
	}
	o.settle(ctx, o.id)
	after, err := store.Organization(ctx, o.id)
	if err != nil {
		return err
	}
	view := orgChangedView{viewOrganization(after), append([]string{}, changed...)}
	return o.print(view, func(w io.Writer) {
		if len(changed) == 0 {
			fmt.Fprintf(w, "%s has these terms already; nothing changed.\n", o.id)
			return
		}
		fmt.Fprintf(w, "Changed of %s: %s.\n", o.id, strings.Join(changed, ", "))
	})
}

// setEmail has Stripe send to the new address before anything here waits for it.
func (a *app) setEmail(ctx context.Context, store *postgres.Store, org billing.Organization, email string) error {
	if org.StripeCustomerID == "" {
		return nil // it is made with the address
	}
	gateway, err := a.Gateway()
	if err != nil {
		return err
	}
	installation, err := store.Installation(ctx)
	if err != nil {
		return err
	}
	entry, err := store.RecordRequest(ctx, org.ID, a.by(), "organization.request_email")
	if err != nil {
		return err
	}
	return gateway.SetEmail(ctx, org.StripeCustomerID, email, fmt.Sprintf("cus/%s/%s/email/%d", installation, org.ID, entry))
}

type suspendedView struct {
	Organization string `json:"organization"`
	Suspended    bool   `json:"suspended"`
	Changed      bool   `json:"changed"`
}

func newOrgSuspendCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "suspend ORG",
		Short: "Block an organisation's requests: every limit check says so",
		Long: `Block an organisation's requests until it is resumed: every limit check answers
blocked. Usage that arrives all the same is stored and billed.

"starter org set ORG --suspend-after DAYS" has that done by itself where an invoice
stays past due; paying it lifts that at once.`,
		Example: `  starter org suspend acme --as support --reason "abuse, case 4711"`,
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runOrgSuspend(cmd.Context(), a, args[0])
		},
	}
}

func runOrgSuspend(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	isNew, err := store.SuspendOrganization(ctx, org, a.by())
	if err != nil {
		return err
	}
	return a.print(suspendedView{org, true, isNew}, func(w io.Writer) {
		if !isNew {
			fmt.Fprintf(w, "%s was suspended by hand already; nothing changed.\n", org)
			return
		}
		fmt.Fprintf(w, "%s is suspended: limit checks block its requests.\n", org)
	})
}

func newOrgResumeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume ORG",
		Short: "Let a suspended organisation's requests run again",
		Long: `Let a suspended organisation's requests run again, whatever suspended it. An invoice
that is overdue now does not suspend it again; another one may.`,
		Example: `  starter org resume acme --as support --reason "transfer seen at the bank"`,
		Args:    arguments("ORG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runOrgResume(cmd.Context(), a, args[0])
		},
	}
}

func runOrgResume(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	was, err := store.ResumeOrganization(ctx, org, a.by())
	if err != nil {
		return err
	}
	return a.print(suspendedView{org, false, was}, func(w io.Writer) {
		if !was {
			fmt.Fprintf(w, "%s is not suspended; nothing changed.\n", org)
			return
		}
		fmt.Fprintf(w, "%s is no longer suspended.\n", org)
	})
}
