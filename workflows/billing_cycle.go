package workflows

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// BillingCycle runs an organisation's billing, one period per run: it has
// notices delivered when thresholds are passed, has the period invoiced once it
// is over, and continues as new into the next.
func BillingCycle(ctx workflow.Context, in CycleInput) error {
	c, err := newCycle(ctx, in)
	if err != nil {
		return err
	}
	for c.shouldContinue(ctx) {
		if err := c.accrue(ctx); err != nil {
			c.block(ctx, "the period cannot be read: "+reason(err))
			continue
		}
		if c.facts.Paused {
			c.waitForResume(ctx)
			continue
		}
		left := c.deliver(ctx, c.facts.Notices, Activities.DeliverNotices, c.in.Organization)
		if c.facts.Ended == nil {
			c.waitForPeriodEnd(ctx, left)
			continue
		}
		if err := c.startInvoicing(ctx); err != nil {
			c.block(ctx, "invoicing cannot be started: "+reason(err))
			continue
		}
		if next := c.facts.Ended.Next; next != "" {
			return c.continueAsNew(ctx, BillingCycle, CycleInput{c.in.Organization, next, c.in.TestClock})
		}
		if c.lastNoticesSent(ctx, left) && c.atRest(ctx) {
			c.tell(ctx, StageEnded, cycleDetails(*c.facts, left.why))
			return nil
		}
	}
	return c.continueAsNew(ctx, BillingCycle, c.in)
}

// cycle is one run of BillingCycle.
type cycle struct {
	*run
	in    CycleInput
	facts *billing.Accrual // nil = not known
}

func newCycle(ctx workflow.Context, in CycleInput) (*cycle, error) {
	c := &cycle{in: in}
	r, err := newRun(ctx, in.Organization, in.Period, "Billing cycle of "+c.name())
	if err != nil {
		return nil, err
	}
	c.run = r
	c.read(in.TestClock, 0)
	return c, errors.Join(
		c.onRequest(ctx, PauseUpdate, "Pause the cycle: nothing is delivered or ended until it is resumed.",
			Activities.PauseCycle, c.refusePause),
		c.onRequest(ctx, ResumeUpdate, "Resume a paused cycle.",
			Activities.ResumeCycle, c.refuseResume),
		c.onRequest(ctx, CloseUpdate, "End the running period now and have it invoiced.",
			Activities.EndPeriodNow, c.refuseClose),
	)
}

// accrue reads how the period stands. If it is over, it has been moved into its
// draft window and the next is open.
func (c *cycle) accrue(ctx workflow.Context) error {
	c.facts = nil
	facts, err := look(withDatabase(ctx, summary("Accrue %s", c.name())), c.run, Activities.Accrue, c.in)
	if err != nil {
		return err
	}
	c.facts = &facts
	c.in.Period, c.in.TestClock = facts.Period, facts.TestClock
	c.read(facts.TestClock, facts.Seen)
	c.status.Period, c.status.Spend, c.status.Limit = facts.Period, &facts.Spend, facts.Limit
	return nil
}

func (c *cycle) name() string {
	if c.in.Period == "" {
		return c.in.Organization + ", the period that is due"
	}
	return c.in.Organization + "/" + c.in.Period
}

func (c *cycle) waitForResume(ctx workflow.Context) {
	c.tell(ctx, StagePaused, cycleDetails(*c.facts, ""))
	c.waitUntil(ctx, never, "an operator resumes the cycle")
}

func (c *cycle) waitForPeriodEnd(ctx workflow.Context, left undelivered) {
	c.tell(ctx, StageAccruing, cycleDetails(*c.facts, left.why))
	if earliest(left.retryAt, c.facts.End).Before(c.facts.End) {
		c.waitUntil(ctx, left.retryAt, "the notices are tried again")
		return
	}
	c.waitUntil(ctx, c.facts.End, "the period ends")
}

// startInvoicing starts the invoicing of the period that is over, which goes on
// by itself.
func (c *cycle) startInvoicing(ctx workflow.Context) error {
	c.tell(ctx, StageAccruing, cycleDetails(*c.facts, ""))
	in := InvoiceInput{
		InvoiceRef: InvoiceRef{c.in.Organization, c.facts.Period, c.facts.Ended.Revision},
		DraftUntil: c.facts.Ended.DraftUntil,
		TestClock:  c.facts.TestClock,
	}
	options := InvoiceStartOptions(in)
	if c.facts.Ended.Unbilled {
		options = AllowRestart(options)
	}
	return startChild(ctx, options, InvoicePeriod, in)
}

// onRequest serves an operator's update to the cycle.
func (c *cycle) onRequest(
	ctx workflow.Context, update, description string,
	carryOut func(Activities, context.Context, OperatorRequest) error, refuse func() error,
) error {
	same := func(request OperatorRequest) OperatorRequest { return request }
	return serve(ctx, c.run, request[OperatorRequest]{update, description, c.name, carryOut, same, func() error {
		if c.facts == nil {
			return nil // the database knows
		}
		return refuse()
	}})
}

func (c *cycle) refusePause() error {
	if c.facts.Paused {
		return fmt.Errorf("the cycle of %s is paused already", c.in.Organization)
	}
	return nil
}

func (c *cycle) refuseResume() error {
	if !c.facts.Paused {
		return fmt.Errorf("the cycle of %s is running, there is nothing to resume", c.in.Organization)
	}
	return nil
}

func (c *cycle) refuseClose() error {
	switch {
	case c.facts.Paused:
		return fmt.Errorf("the cycle of %s is paused: resume it before closing its period", c.in.Organization)
	case c.facts.Ended != nil:
		return fmt.Errorf("period %s of %s is over already", c.facts.Period, c.in.Organization)
	}
	return nil
}
