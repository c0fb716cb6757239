package workflows

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// tell says how far the run has come, in its search attributes and in the
// Markdown that Temporal's UI shows. Only what changed is written, since every
// write is an event of the history.
func (r *run) tell(ctx workflow.Context, stage Stage, details string) {
	r.status.Stage, r.details = stage, details
	workflow.SetCurrentDetails(ctx, details)

	known := workflow.GetTypedSearchAttributes(ctx)
	var changed []temporal.SearchAttributeUpdate
	for _, attribute := range []struct {
		key   temporal.SearchAttributeKeyKeyword
		value string
	}{
		{OrganizationAttribute, r.status.Organization},
		{PeriodAttribute, r.status.Period},
		{StageAttribute, string(stage)},
	} {
		if before, _ := known.GetKeyword(attribute.key); before != attribute.value && attribute.value != "" {
			changed = append(changed, attribute.key.ValueSet(attribute.value))
		}
	}
	if len(changed) == 0 {
		return
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, changed...); err != nil {
		workflow.GetLogger(ctx).Error("upsert search attributes", "error", err)
	}
}

// cycleDetails tells how a period stands. undelivered says why notices wait.
func cycleDetails(a billing.Accrual, undelivered string) string {
	var d paragraphs
	d.add("Billing cycle of **%s**, period **%s**: %s to %s", a.Organization, a.Period, clock(a.Start), clock(a.End))
	limit := "no limit"
	if a.Limit != nil {
		limit = "a limit of " + a.Limit.String()
	}
	d.add("Spend of the month, at list price: **%s** of %s; %s of tiers and members beside it.",
		a.Spend, limit, count(a.Limits, "limit"))
	if a.Parked > 0 {
		d.add("**%s** without a price: not billed until a price book has one and the usage is released.", count(a.Parked, "event"))
	}
	switch a.Suspended {
	case "":
	case billing.SuspendedOverdue:
		d.add("**Suspended**: an invoice is overdue, so limit checks block every request until it is paid. Usage that arrives is billed.")
	default:
		d.add("**Suspended** by an operator: limit checks block every request. Usage that arrives is billed.")
	}
	if a.Notices > 0 && a.Paused {
		d.add("%s held back while the cycle is paused.", count(a.Notices, "notice"))
	}
	if undelivered != "" {
		d.add("%s", undelivered)
	}
	if a.Stopped {
		d.add("**All billing is stopped**: periods end, and nothing is issued or collected until `starter billing resume`.")
	}
	if a.Ended != nil {
		d.add("The period is over. Its invoice is a draft until %s; %s", clock(a.Ended.DraftUntil), next(*a.Ended))
	}
	return d.String()
}

func next(e billing.PeriodEnd) string {
	if e.Next == "" {
		return "the contract has ended, no further period follows."
	}
	return "period " + e.Next + " follows."
}

// draftDetails tells of an invoice before its period is closed.
func draftDetails(in InvoiceInput) string {
	return fmt.Sprintf("**Draft invoice %s**: the period is over and not closed yet; late usage still lands in it. "+
		"The draft window ends %s.", in.ID(), clock(in.DraftUntil))
}

// issuedDetails tells what became of an invoice when its period was to be closed.
func issuedDetails(in InvoiceRef, issued billing.Issued) string {
	var d paragraphs
	switch issued.Status {
	case billing.StatusDraft:
		d.add("**Draft invoice %s**: the period is over and not closed yet; late usage still lands in it.", in.ID())
	case billing.StatusParked:
		d.add("**Invoice %s is parked** for a person to look at. Its period stays open.", in.ID())
	case billing.StatusSettled:
		d.add("**Invoice %s** over %s: nothing to pay.", in.ID(), issued.Total)
	case billing.StatusCarried:
		d.add("**Invoice %s** over %s: goes onto the next invoice instead of being collected.", in.ID(), issued.Total)
	default:
		d.add("**Invoice %s** over **%s**, with %s at the provider; it is %s.",
			in.ID(), issued.Total, count(issued.Items, "item"), issued.Status)
	}
	if issued.Reason != "" {
		d.add("Reason: %s", issued.Reason)
	}
	return d.String()
}

// collectionDetails tells how a collection stands. undelivered says why notices wait.
func collectionDetails(c billing.Collection, undelivered string) string {
	var d paragraphs
	if c.Over() {
		d.add("**Invoice %s** is **%s**.", c.Invoice, c.Status)
	} else {
		d.add("**Invoice %s**, %s due: **%s**", c.Invoice, c.Due, c.Status)
	}
	if c.Attempt > 0 {
		last := fmt.Sprintf("Attempt %d of %d: %s", c.Attempt, c.Attempts, c.Payment)
		if c.FailureCode != "" {
			last += " (" + c.FailureCode + ")"
		}
		d.add("%s.", last)
	}
	if c.Reason != "" {
		d.add("Sent to be paid by bank transfer: %s.", c.Reason)
	}
	if !c.Over() && !c.NextAt.Equal(never) {
		d.add("Next: %s, %s.", c.NextWhat, clock(c.NextAt))
	}
	if c.Status == billing.StatusPastDue {
		d.add("A person decides what follows: another payment method, another try, or writing it off.")
	}
	if undelivered != "" {
		d.add("%s", undelivered)
	}
	return d.String()
}

// stoppedDetails tells that an operator has stopped all billing.
func stoppedDetails(what, why string) string {
	var d paragraphs
	d.add("**%s: stopped**", what)
	d.add("%s.", strings.ToUpper(why[:1])+why[1:])
	d.add("Nothing is issued, published or collected meanwhile, and nothing is lost: it goes on by itself.")
	return d.String()
}

// stopped reports whether an activity refused to act because all billing is stopped.
func stopped(err error) bool {
	app := (*temporal.ApplicationError)(nil)
	return errors.As(err, &app) && app.Type() == StoppedError
}

// heldDetails tells why a run stopped, and what starts it again.
func heldDetails(s Status, why string) string {
	var d paragraphs
	d.add("**%s, period %s: held**", s.Organization, s.Period)
	d.add("%s", why)
	d.add("Somebody must remove the cause. Then `starter cycle start %s` has it look again at once; by itself it looks more and more seldom.",
		s.Organization)
	return d.String()
}

// reason is what an error says to people: an activity's own words, without how
// the SDK wraps them.
func reason(err error) string {
	if app := (*temporal.ApplicationError)(nil); errors.As(err, &app) {
		return app.Message()
	}
	return err.Error()
}

// paragraphs collects a text in Markdown.
type paragraphs []string

func (p *paragraphs) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (p *paragraphs) String() string { return strings.Join(*p, "\n\n") }

// longestSummary is less than what the server takes, 400 bytes.
const longestSummary = 200

// summary is what people read on the timeline: one short line.
func summary(format string, args ...any) string {
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	if len(text) > longestSummary {
		text = strings.ToValidUTF8(text[:longestSummary], "") + "…"
	}
	return text
}

// clock writes an instant for people: "2026-11-01 00:00 UTC".
func clock(t time.Time) string {
	t = t.UTC()
	if t.Second() != 0 || t.Nanosecond() != 0 {
		return t.Format("2006-01-02 15:04:05 MST")
	}
	return t.Format("2006-01-02 15:04 MST")
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
