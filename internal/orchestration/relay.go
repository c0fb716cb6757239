package orchestration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

const (
	// sweepEvery is how often the relay looks by itself: it finds what no
	// notification announced, and what is due for another try.
	sweepEvery = 3 * time.Second
	// relayBatch is how many nudges are taken at once, and relaysAtOnce how many take
	// some when there are more.
	relayBatch   = 50
	relaysAtOnce = 4
	// signalTimeout bounds one signal.
	signalTimeout = 10 * time.Second
	relisten      = time.Second
)

// Outbox is what the relay needs of the database.
type Outbox interface {
	Facts

	// RelayNudges takes nudges that are due, at most limit, has each workflow
	// signalled once by deliver, and removes those that were delivered.
	RelayNudges(ctx context.Context, limit int, deliver func(ctx context.Context, workflowID string) error) (int, error)
	// Listen calls heard whenever there is news, until ctx ends or the connection breaks.
	Listen(ctx context.Context, heard func()) error
}

// Signaller is what the relay needs of the Temporal server.
type Signaller interface {
	SignalWorkflow(ctx context.Context, workflowID, runID, signal string, arg any) error
	SignalWithStartWorkflow(ctx context.Context, workflowID, signal string, arg any,
		options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
}

// Relay signals the workflows for which the database has news. It hears of news
// by notification and looks every few seconds in any case, so that a crash
// between a commit and its signal delays the news by seconds.
type Relay struct {
	outbox   Outbox
	temporal Signaller
	log      *slog.Logger
	wake     chan struct{}
}

// NewRelay returns a relay between a database and a Temporal server.
func NewRelay(o Outbox, s Signaller, log *slog.Logger) *Relay {
	return &Relay{outbox: o, temporal: s, log: log, wake: make(chan struct{}, 1)}
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
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
func (r *Relay) listen(ctx context.Context) {
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

func (r *Relay) heard() {
	select {
	case r.wake <- struct{}{}:
	default: // one wake-up serves for all news
	}
}

// drain delivers until nothing is due. Several take part where one batch is full.
func (r *Relay) drain(ctx context.Context) {
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
func (r *Relay) batch(ctx context.Context) (more bool) {
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
func (r *Relay) deliver(ctx context.Context, workflowID string) error {
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	err := r.nudge(ctx, workflowID)
	if err != nil {
		r.log.Warn("a nudge could not be delivered and is tried again", "workflow", workflowID, "error", err)
	}
	return err
}

func (r *Relay) nudge(ctx context.Context, workflowID string) error {
	organization, kind, revised := workflows.ParseID(workflowID)
	if kind == billing.WorkflowCollect || revised {
		expected, err := r.expected(ctx, organization, workflowID)
		if err != nil {
			return err
		}
		if expected != nil {
			return r.nudgeOrStart(ctx, *expected)
		}
	}
	err := r.temporal.SignalWorkflow(ctx, workflowID, "", workflows.Nudge, nil)
	if gone := (*serviceerror.NotFound)(nil); !errors.As(err, &gone) {
		return err
	}
	// Whenever a workflow starts, it begins by looking; only an invoicing that is about
	// to start has its waiting decided already.
	if kind != billing.WorkflowInvoice {
		return nil
	}
	expected, listErr := r.expected(ctx, organization, workflowID)
	switch {
	case listErr != nil:
		return listErr
	case expected != nil:
		return err // tried again until it is there
	}
	return nil
}

// expected is the workflow as it must run; nil where it need not.
func (r *Relay) expected(ctx context.Context, organization, workflowID string) (*billing.ExpectedWorkflow, error) {
	all, err := r.outbox.ExpectedWorkflows(ctx, organization)
	if err != nil {
		return nil, fmt.Errorf("what should run for %s: %w", organization, err)
	}
	if i := slices.IndexFunc(all, func(e billing.ExpectedWorkflow) bool { return e.ID == workflowID }); i >= 0 {
		return &all[i], nil
	}
	return nil, nil
}

func (r *Relay) nudgeOrStart(ctx context.Context, e billing.ExpectedWorkflow) error {
	s, err := startOf(e)
	if err != nil {
		return err
	}
	s.options.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	s.options.WorkflowExecutionErrorWhenAlreadyStarted = false
	_, err = r.temporal.SignalWithStartWorkflow(ctx, s.options.ID, workflows.Nudge, nil, s.options, s.workflow, s.input)
	return err
}
