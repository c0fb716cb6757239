package main

import (
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/arrears-dev/arrears/internal/faultpoint"
	"github.com/arrears-dev/arrears/workflows"
)

// stopTimeout is how long a stopping worker waits for activities under way: a
// call to the provider fits into it.
const stopTimeout = 50 * time.Second

// callsAtOnce is how many calls a worker has under way at one endpoint of the
// provider; the server limits how many begin each second.
const callsAtOnce = 20

// listsPerSecond is how many pages of lists are read each second: they come on top
// of the calls that the same endpoints get otherwise.
const listsPerSecond = 5

// queue is a task queue and what is done on it.
type queue struct {
	name       string
	workflows  []any
	activities []any
	perSecond  float64 // across all workers; 0 = no limit
}

// queues lists what is registered where. A provider's queue gets the one activity
// that calls its endpoint, so that nothing else uses up its rate; the lists that a
// sweep reads share one. Stripe allows 25
// calls per second and endpoint by default, of which callsPerSecond leaves a part
// to people and other programs.
func queues(a workflows.Activities, callsPerSecond float64) []queue {
	return []queue{
		{
			name:      workflows.TaskQueue,
			workflows: []any{workflows.BillingCycle, workflows.InvoicePeriod, workflows.CollectPayment, workflows.SweepProvider},
			activities: []any{
				a.Accrue, a.DeliverNotices, a.PauseCycle, a.ResumeCycle, a.EndPeriodNow,
				a.IssueInvoice, a.ReleaseInvoice, a.DeliverPaymentNotices, a.RegisterWait, a.RequestLooks, a.StartMissing,
			},
		},
		{workflows.StripeInvoicesQueue, nil, []any{a.CreateProviderInvoice}, callsPerSecond},
		{workflows.StripeItemsQueue, nil, []any{a.AddProviderItem}, callsPerSecond},
		{workflows.StripeFinalizeQueue, nil, []any{a.FinalizeProviderInvoice}, callsPerSecond},
		{workflows.StripePaymentsQueue, nil, []any{a.CollectInvoice}, callsPerSecond},
		{workflows.StripeListsQueue, nil, []any{a.SweepEvents, a.SweepInvoices}, min(callsPerSecond, listsPerSecond)},
	}
}

// workers are one worker for each task queue.
type workers struct {
	all   []worker.Worker
	names []string
}

// newWorkers prepares the workers; fail is called when one cannot go on.
func newWorkers(c client.Client, a workflows.Activities, callsPerSecond float64, fail func(error)) *workers {
	w := &workers{}
	for _, q := range queues(a, callsPerSecond) {
		one := worker.New(c, q.name, q.options(fail))
		for _, wf := range q.workflows {
			one.RegisterWorkflow(wf)
		}
		for _, activity := range q.activities {
			one.RegisterActivity(activity)
		}
		w.all, w.names = append(w.all, one), append(w.names, q.name)
	}
	return w
}

func (q queue) options(fail func(error)) worker.Options {
	options := worker.Options{
		WorkerStopTimeout: stopTimeout,
		Interceptors:      faultpoint.Interceptors(),
		OnFatalError:      func(err error) { fail(fmt.Errorf("task queue %s: %w", q.name, err)) },
	}
	if q.perSecond > 0 {
		options.TaskQueueActivitiesPerSecond = q.perSecond
		options.DisableWorkflowWorker = true
		options.MaxConcurrentActivityExecutionSize = callsAtOnce
	}
	return options
}

// start starts all of them, or none.
func (w *workers) start() error {
	for i, one := range w.all {
		if err := one.Start(); err != nil {
			for _, started := range w.all[:i] {
				started.Stop()
			}
			return fmt.Errorf("task queue %s: %w", w.names[i], err)
		}
	}
	return nil
}

// stop stops all of them together, so that their waits do not add up.
func (w *workers) stop() {
	var stopping sync.WaitGroup
	for _, one := range w.all {
		stopping.Go(one.Stop)
	}
	stopping.Wait()
}
