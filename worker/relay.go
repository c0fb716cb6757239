package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

const (
	// sweepEvery is how often the relay looks by itself: it finds what no
	// notification announced, and what is due for another try.
	sweepEvery = 3 * time.Second
	// relayBatch is how many nudges one transaction takes, and relaysAtOnce how
	// many such transactions run when there are more.
	relayBatch   = 50
	relaysAtOnce = 4
	// signalTimeout bounds one signal, whose row is locked meanwhile.
	signalTimeout = 10 * time.Second
	relisten      = time.Second
)

// outbox is what the relay needs of the database.
type outbox interface {
	RelayNudges(ctx context.Context, limit int, deliver func(ctx context.Context, workflowID string) error) (int, error)
	Listen(ctx context.Context, heard func()) error
	ExpectedWorkflows(ctx context.Context, organization string) ([]postgres.ExpectedWorkflow, error)
}

// signaller is what the relay needs of Temporal.
type signaller interface {
	SignalWorkflow(ctx context.Context, workflowID, runID, signal string, arg any) error
	SignalWithStartWorkflow(ctx context.Context, workflowID, signal string, arg any,
		options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// relay signals the workflows for which the database has news. It hears of news
// by notification and looks every few seconds in any case, so that a crash
// between a commit and its signal delays the news by seconds.
type relay struct {
	outbox   outbox
	temporal signaller
	log      *slog.Logger
	wake     chan struct{}
}

func newRelay(o outbox, s signaller, log *slog.Logger) *relay {
	return &relay{outbox: o, temporal: s, log: log, wake: make(chan struct{}, 1)}
}

// run relays until ctx ends.
func (r *relay) run(ctx context.Context) {
	var listening sync.WaitGroup
	listening.Go(func() { r.listen(ctx) })
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for ctx.Err() == nil {
		r.drain(ctx)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-sweep.C:
		}
	}
	listening.Wait()
}

// listen wakes the relay when the database notifies. Where the connection
// breaks, the sweep goes on alone meanwhile.
func (r *relay) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.outbox.Listen(ctx, r.heard)
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("the relay's connection broke, listening again soon", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(relisten):
		}
	}
}

func (r *relay) heard() {
	select {
	case r.wake <- struct{}{}:
	default: // one wake-up serves for all news
	}
}

// drain delivers until nothing is due. Several take part where one batch is full.
func (r *relay) drain(ctx context.Context) {
	if !r.batch(ctx) {
		return
	}
	var relaying sync.WaitGroup
	for range relaysAtOnce {
		relaying.Go(func() {
			for r.batch(ctx) {
			}
		})
	}
	relaying.Wait()
}

// batch delivers one batch and reports whether more may be due.
func (r *relay) batch(ctx context.Context) (more bool) {
	taken, err := r.outbox.RelayNudges(ctx, relayBatch, r.deliver)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("relay news to the workflows", "error", err)
		}
		return false
	}
	return taken == relayBatch
}

// deliver nudges one workflow. One that does not run needs no news: whenever it
// starts, it begins by looking. Only a collection, and the invoicing of a period
// whose invoice was withdrawn, have nobody else to start them.
func (r *relay) deliver(ctx context.Context, workflowID string) error {
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	err := r.nudge(ctx, workflowID)
	if err != nil {
		r.log.Warn("a nudge could not be delivered and is tried again", "workflow", workflowID, "error", err)
	}
	return err
}

func (r *relay) nudge(ctx context.Context, workflowID string) error {
	if strings.HasPrefix(workflowID, workflows.CollectPaymentID("")) {
		in, expected, err := r.expectedCollection(ctx, workflowID)
		if err != nil {
			return err
		}
		if expected {
			return r.nudgeOrStart(ctx, workflows.CollectStartOptions(in), workflows.CollectPayment, in)
		}
	}
	if started, err := r.invoiceAnew(ctx, workflowID); started || err != nil {
		return err
	}
	err := r.temporal.SignalWorkflow(ctx, workflowID, "", workflows.Nudge, nil)
	if gone := (*serviceerror.NotFound)(nil); !errors.As(err, &gone) {
		return err
	}
	return r.missed(ctx, workflowID, err)
}

// missed reports whether a nudge that found nobody is lost. Whenever a workflow
// starts, it begins by looking; only an invoicing that is about to start has its
// waiting decided already.
func (r *relay) missed(ctx context.Context, workflowID string, err error) error {
	invoice, ok := strings.CutPrefix(workflowID, "invoice/")
	if !ok {
		return nil
	}
	organization, _, _ := strings.Cut(invoice, "/")
	all, listErr := r.outbox.ExpectedWorkflows(ctx, organization)
	if listErr != nil {
		return fmt.Errorf("what should run for %s: %w", organization, listErr)
	}
	for _, e := range all {
		if e.ID == workflowID {
			return err // tried again until it is there
		}
	}
	return nil
}

// invoiceAnew nudges or starts the invoicing of a period whose invoice was
// withdrawn: its cycle has gone on long ago. It reports whether that is what it is.
func (r *relay) invoiceAnew(ctx context.Context, workflowID string) (bool, error) {
	invoice, ok := strings.CutPrefix(workflowID, "invoice/")
	if !ok || strings.Count(invoice, "/") < 2 { // the first revision is its cycle's child
		return false, nil
	}
	organization, _, _ := strings.Cut(invoice, "/")
	all, err := r.outbox.ExpectedWorkflows(ctx, organization)
	if err != nil {
		return false, fmt.Errorf("what should run for %s: %w", organization, err)
	}
	for _, e := range all {
		if e.ID != workflowID {
			continue
		}
		in := workflows.InvoiceInput{
			InvoiceRef: workflows.InvoiceRef{Organization: organization, Period: e.Period, Revision: e.Revision},
			DraftUntil: e.DraftUntil, TestClock: e.TestClock,
		}
		return true, r.nudgeOrStart(ctx, workflows.AllowRestart(workflows.InvoiceStartOptions(in)), workflows.InvoicePeriod, in)
	}
	return false, nil
}

// expectedCollection reports whether an invoice is still to be collected.
func (r *relay) expectedCollection(ctx context.Context, workflowID string) (in workflows.CollectInput, expected bool, err error) {
	invoice := strings.TrimPrefix(workflowID, workflows.CollectPaymentID(""))
	organization, _, _ := strings.Cut(invoice, "/")
	all, err := r.outbox.ExpectedWorkflows(ctx, organization)
	if err != nil {
		return in, false, fmt.Errorf("what should run for %s: %w", organization, err)
	}
	for _, e := range all {
		if e.ID == workflowID {
			return workflows.CollectInput{Organization: organization, Period: e.Period, Invoice: invoice, TestClock: e.TestClock}, true, nil
		}
	}
	return in, false, nil
}

func (r *relay) nudgeOrStart(ctx context.Context, options client.StartWorkflowOptions, workflow, in any) error {
	options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	options.WorkflowExecutionErrorWhenAlreadyStarted = false
	_, err := r.temporal.SignalWithStartWorkflow(ctx, options.ID, workflows.Nudge, nil, options, workflow, in)
	return err
}
