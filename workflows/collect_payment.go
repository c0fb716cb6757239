package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// CollectPayment brings in the money for a published invoice: it charges, waits
// as the dunning table says or for the customer, wakes at once when a payment
// method changes or the provider says something, and ends paid or with a person.
// It returns the invoice's status.
func CollectPayment(ctx workflow.Context, in CollectInput) (billing.InvoiceStatus, error) {
	r, err := newRun(ctx, in.Organization, in.Period, "Payment of invoice "+in.Invoice)
	if err != nil {
		return "", err
	}
	r.read(in.TestClock, 0)
	c := &collection{run: r, in: in}
	for c.shouldContinue(ctx) {
		facts, err := c.collect(ctx)
		if stopped(err) {
			c.waitForBilling(ctx, reason(err))
			continue
		}
		if err != nil {
			c.block(ctx, "the invoice cannot be collected: "+reason(err))
			continue
		}
		left := c.deliver(ctx, facts.Notices, Activities.DeliverPaymentNotices, in.Invoice)
		c.tell(ctx, collectionStage(facts), collectionDetails(facts, left.why))
		if facts.Stopped {
			c.waitForBilling(ctx, "billing is stopped; starter billing status tells why, and when it goes on")
			continue
		}
		if !facts.Over() {
			c.waitForNextStep(ctx, facts, left)
			continue
		}
		if c.lastNoticesSent(ctx, left) && c.atRest(ctx) {
			return facts.Status, nil
		}
	}
	return "", c.continueAsNew(ctx, CollectPayment, in)
}

// collection is one run of CollectPayment.
type collection struct {
	*run
	in CollectInput
}

// collect takes the next step, if one is due, and reads how the collection stands.
func (c *collection) collect(ctx workflow.Context) (billing.Collection, error) {
	facts, err := look(withProvider(ctx, StripePaymentsQueue, summary("Take the next step to collect %s, if one is due", c.in.Invoice)), c.run,
		Activities.CollectInvoice, c.in.Invoice)
	if err == nil {
		c.read(facts.TestClock, facts.Seen)
	}
	return facts, err
}

// waitForBilling waits while an operator has stopped all billing.
func (c *collection) waitForBilling(ctx workflow.Context, why string) {
	c.tell(ctx, StageStopped, stoppedDetails("Payment of invoice "+c.in.Invoice, why))
	c.waitUntil(ctx, never, "billing goes on")
}

func (c *collection) waitForNextStep(ctx workflow.Context, facts billing.Collection, left undelivered) {
	at := earliest(facts.NextAt, left.retryAt)
	switch {
	case at.Equal(never):
		c.waitUntil(ctx, never, "there is news of the payment")
	case at.Equal(facts.NextAt) && facts.NextWhat != "":
		c.waitUntil(ctx, at, facts.NextWhat)
	case at.Equal(facts.NextAt):
		c.waitUntil(ctx, at, "the next step is due")
	default:
		c.waitUntil(ctx, at, "the notices are tried again")
	}
}

// collectionStage is the invoice's final status, or what is being done about it.
func collectionStage(facts billing.Collection) Stage {
	switch {
	case facts.Over(), facts.Status != billing.StatusOpen:
		return Stage(facts.Status)
	case facts.FailureCode == billing.FailureNoMethod:
		return StageNoMethod
	case facts.Payment == billing.PaymentFailed:
		return StageDunning
	default:
		return StageCollecting
	}
}
