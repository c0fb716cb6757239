package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/stripe"
	"github.com/arrears-dev/arrears/workflows"
)

// closes measures the closing of months, and what a quiet one costs in history.
func (r *rig) closes(ctx context.Context) ([]row, error) {
	p, err := r.rounded(ctx, "close", r.rounds, r.closeRound)
	if err != nil {
		return nil, err
	}
	history, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	return []row{
		{
			what: fmt.Sprintf("months closed and paid/s (%d organisations, %d activities each)", r.orgs, history.activities),
			ours: p.ours, limit: p.limit, unit: "one empty workflow", ratio: p.ratio, mark: "≥ 0.70", note: p.ofServer(1),
		},
		{
			what: "the same beside empty workflows of the same shape",
			ours: p.ours, limit: p.shape, unit: "three, on five queues", ratio: p.ofShape, note: p.ofServer(2),
		},
		{what: "history events of a quiet month, invoice and payment included", ours: float64(history.events), mark: "≤ 90"},
		{what: "Temporal actions of a quiet month", ours: float64(history.actions)},
	}, nil
}

// ofServer says what a month costs Temporal's server beside what an empty one costs it.
func (p pair) ofServer(limit int) string {
	if p.server[0] == 0 {
		return ""
	}
	return fmt.Sprintf("of it CPU of Temporal's server, ms: %d beside %d", p.server[0].Milliseconds(), p.server[limit].Milliseconds())
}

// closeRound starts the cycles of organisations whose last month is over, and
// waits until every one of them is paid; beside it, as many workflows with as
// many empty activities run on the same server, and once more in the same shape.
func (r *rig) closeRound(ctx context.Context, n int) (pair, error) {
	orgs, err := r.endedOrganizations(ctx, n)
	if err != nil {
		return pair{}, err
	}
	began, busy := time.Now(), r.temporalBusy()
	if err := each(orgs, func(org string) error {
		if err := r.store.StartCycle(ctx, org, billing.Actor{Name: "bench"}); err != nil {
			return err
		}
		in := workflows.CycleInput{Organization: org}
		_, err := r.temporal.ExecuteWorkflow(ctx, workflows.CycleStartOptions(in), workflows.BillingCycle, in)
		return err
	}); err != nil {
		return pair{}, err
	}
	if err := r.untilPaid(ctx, orgs); err != nil {
		return pair{}, err
	}
	ours := time.Since(began)
	p := pair{ours: perSecond(len(orgs), ours)}
	p.server[0] = (r.temporalBusy() - busy) / time.Duration(len(orgs))
	activities, err := r.activitiesOf(ctx, orgs[0])
	if err != nil {
		return pair{}, err
	}
	err = r.emptyRounds(ctx, n, activities, &p)
	return p, err
}

// temporalBusy is the processor time that Temporal's server has used so far; 0
// where it is none of this program's.
func (r *rig) temporalBusy() time.Duration {
	s, _ := readStat(r.processOf("temporal-dev", ""))
	return s.busy
}

// endedOrganizations makes organisations that began with last month: one month
// of two seat tiers and a surcharge is to be billed, and the next one runs.
func (r *rig) endedOrganizations(ctx context.Context, n int) ([]string, error) {
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC)
	gateway, err := stripe.New(stripe.Options{Key: r.env["STRIPE_SECRET_KEY"], APIBase: r.env["STRIPE_API_BASE"]})
	if err != nil {
		return nil, err
	}
	installation, err := r.store.Installation(ctx)
	if err != nil {
		return nil, err
	}
	orgs := make([]string, r.orgs)
	for i := range orgs {
		orgs[i] = fmt.Sprintf("close-%d-%03d", n, i)
	}
	return orgs, each(orgs, func(id string) error {
		org := billing.Organization{ID: id, StartsAt: start, PaymentMethod: "pm_card_visa", DraftWindow: time.Second}
		if err := r.create(ctx, org); err != nil {
			return err
		}
		if org, err = r.store.Organization(ctx, id); err != nil {
			return err
		}
		customer, clock, err := gateway.EnsureCustomer(ctx, installation, org)
		if err != nil {
			return err
		}
		if err := r.store.RecordCustomer(ctx, id, customer, clock); err != nil {
			return err
		}
		_, err = r.store.AssignSeats(ctx, id, []postgres.SeatChange{
			{User: "alice", Tier: "chat", From: start}, {User: "bob", Tier: "chat_claude_code", From: start},
		}, billing.Actor{Name: "bench"})
		return err
	})
}

// each runs f for every organisation, some at once.
func each(orgs []string, f func(org string) error) error {
	const atOnce = 8
	var wait sync.WaitGroup
	work, failed := make(chan string), make(chan error, len(orgs))
	for range atOnce {
		wait.Go(func() {
			for org := range work {
				if err := f(org); err != nil {
					failed <- fmt.Errorf("%s: %w", org, err)
				}
			}
		})
	}
	for _, org := range orgs {
		work <- org
	}
	close(work)
	wait.Wait()
	close(failed)
	return <-failed
}

// untilPaid waits until every organisation's invoice is paid and its collection
// has ended.
func (r *rig) untilPaid(ctx context.Context, orgs []string) error {
	for _, org := range orgs {
		for paid := false; !paid; {
			invoices, err := r.store.Invoices(ctx, org)
			if err != nil {
				return err
			}
			paid = len(invoices) == 1 && invoices[0].Status == billing.StatusPaid
			if !paid {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(20 * time.Millisecond):
				}
				continue
			}
			if err := r.temporal.GetWorkflow(ctx, workflows.CollectPaymentID(invoices[0].ID), "").Get(ctx, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// monthOf lists the events of an organisation that was caught up with by a month:
// the cycle's run of that month and its next, which waits for the end of the
// running one, the invoicing and the collection.
func (r *rig) monthOf(ctx context.Context, org string, visit func(enumspb.EventType)) error {
	invoices, err := r.store.Invoices(ctx, org)
	if err != nil {
		return err
	}
	first, err := r.firstRun(ctx, workflows.CycleID(org))
	if err != nil {
		return err
	}
	id := invoices[0].ID
	for _, run := range [][2]string{
		{workflows.CycleID(org), first}, {workflows.CycleID(org), ""}, {"invoice/" + id, ""}, {workflows.CollectPaymentID(id), ""},
	} {
		events := r.temporal.GetWorkflowHistory(ctx, run[0], run[1], false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			if err != nil {
				return err
			}
			visit(event.GetEventType())
		}
	}
	return nil
}

func (r *rig) firstRun(ctx context.Context, workflowID string) (string, error) {
	described, err := r.temporal.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return "", err
	}
	return described.GetWorkflowExecutionInfo().GetFirstRunId(), nil
}

func (r *rig) activitiesOf(ctx context.Context, org string) (count int, err error) {
	err = r.monthOf(ctx, org, func(t enumspb.EventType) {
		if t == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
			count++
		}
	})
	return count, err
}
