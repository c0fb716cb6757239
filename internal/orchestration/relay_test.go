package orchestration

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// fakeOutbox holds nudges; those delivered leave it.
type fakeOutbox struct {
	mu       sync.Mutex
	nudges   []string
	expected []billing.ExpectedWorkflow
	heard    func()
	listens  int
	drained  int
}

func (f *fakeOutbox) RelayNudges(ctx context.Context, limit int, deliver func(context.Context, string) error) (int, error) {
	f.mu.Lock()
	taken := f.nudges[:min(limit, len(f.nudges))]
	f.nudges = f.nudges[len(taken):]
	f.drained++
	f.mu.Unlock()
	for _, id := range taken {
		if deliver(ctx, id) != nil {
			f.mu.Lock()
			f.nudges = append(f.nudges, id)
			f.mu.Unlock()
		}
	}
	return len(taken), nil
}

func (f *fakeOutbox) Listen(ctx context.Context, heard func()) error {
	f.mu.Lock()
	f.listens++
	f.heard = heard
	broken := f.listens == 1
	f.mu.Unlock()
	if broken {
		return errors.New("connection reset")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeOutbox) ExpectedWorkflows(context.Context, string) ([]billing.ExpectedWorkflow, error) {
	return f.expected, nil
}

func (f *fakeOutbox) add(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nudges = append(f.nudges, id)
}

// fakeTemporal knows which workflows run.
type fakeTemporal struct {
	mu      sync.Mutex
	running map[string]bool
	down    bool
	did     []string
}

func (f *fakeTemporal) SignalWorkflow(_ context.Context, id, run, signal string, arg any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.down:
		return serviceerror.NewUnavailable("down")
	case !f.running[id]:
		return serviceerror.NewNotFound("workflow execution already completed")
	}
	if run != "" || signal != workflows.Nudge || arg != nil {
		return errors.New("not a nudge to whatever run there is")
	}
	f.did = append(f.did, "signal "+id)
	return nil
}

func (f *fakeTemporal) SignalWithStartWorkflow(
	_ context.Context, id, _ string, _ any, options client.StartWorkflowOptions, _ any, args ...any,
) (client.WorkflowRun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if options.ID != id || options.WorkflowIDConflictPolicy != enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING || len(args) != 1 {
		return nil, errors.New("not to be started so")
	}
	f.did = append(f.did, "signal or start "+id)
	return nil, nil
}

func TestNudges(t *testing.T) {
	t.Parallel()
	const cycle, invoice, collect = "billing-cycle/acme", "invoice/acme/2026-10-01", "collect/acme/2026-10-01"
	const anew = "invoice/acme/2026-10-01/2"
	expected := []billing.ExpectedWorkflow{{ID: collect, Kind: billing.WorkflowCollect, Organization: "acme", Period: "2026-10-01", Invoice: "acme/2026-10-01"}}
	for name, c := range map[string]struct {
		id       string
		running  bool
		down     bool
		expected []billing.ExpectedWorkflow
		did      []string
		retried  bool
	}{
		"a running cycle is signalled":                 {id: cycle, running: true, did: []string{"signal " + cycle}},
		"a cycle that does not run needs no news":      {id: cycle},
		"an invoicing is signalled":                    {id: invoice, running: true, did: []string{"signal " + invoice}},
		"a collection is started where it is due":      {id: collect, expected: expected, did: []string{"signal or start " + collect}},
		"a collection that is not due is only told":    {id: collect, running: true, did: []string{"signal " + collect}},
		"a collection that is over is left alone":      {id: collect},
		"what could not be delivered is tried again":   {id: cycle, running: true, down: true, retried: true},
		"a lost collection's outage is tried again as": {id: collect, down: true, retried: true},
		"a period that is billed anew is started": {id: anew, did: []string{"signal or start " + anew}, expected: []billing.ExpectedWorkflow{
			{ID: anew, Kind: billing.WorkflowInvoice, Organization: "acme", Period: "2026-10-01", Revision: 2},
		}},
		"one that was billed anew is left alone": {id: anew},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outbox := &fakeOutbox{nudges: []string{c.id}, expected: c.expected}
			temporal := &fakeTemporal{running: map[string]bool{c.id: c.running}, down: c.down}
			NewRelay(outbox, temporal, slog.New(slog.DiscardHandler)).batch(t.Context())
			require.Equal(t, c.did, temporal.did)
			require.Equal(t, c.retried, len(outbox.nudges) == 1)
		})
	}
}

func TestRelayHearsSweepsAndSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outbox := &fakeOutbox{}
		temporal := &fakeTemporal{running: map[string]bool{"billing-cycle/acme": true, "billing-cycle/globex": true}}
		ctx, cancel := context.WithCancel(t.Context())
		relayed := make(chan struct{})
		go func() {
			NewRelay(outbox, temporal, slog.New(slog.DiscardHandler)).Run(ctx)
			close(relayed)
		}()
		synctest.Wait()
		require.Equal(t, 1, outbox.listens)

		outbox.add("billing-cycle/acme") // while nobody listens
		time.Sleep(sweepEvery)
		synctest.Wait()
		require.Equal(t, []string{"signal billing-cycle/acme"}, temporal.did, "the sweep found it")
		require.Equal(t, 2, outbox.listens, "and it listens again")

		outbox.add("billing-cycle/globex")
		outbox.heard()
		synctest.Wait()
		require.Len(t, temporal.did, 2, "heard at once")

		cancel()
		<-relayed
	})
}

func TestManyNudgesAreDrainedTogether(t *testing.T) {
	t.Parallel()
	outbox, temporal := &fakeOutbox{}, &fakeTemporal{running: map[string]bool{}}
	for range 10 * relayBatch {
		outbox.add("billing-cycle/acme")
	}
	NewRelay(outbox, temporal, slog.New(slog.DiscardHandler)).drain(t.Context())
	require.Empty(t, outbox.nudges)
}
