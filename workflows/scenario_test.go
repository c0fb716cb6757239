package workflows

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/arrears-dev/arrears/internal/billing"
)

// scenario is one way that a run can go. The same scenarios are run with time
// skipped, where a unit is a day, and recorded from a real server, where it is a
// fraction of a second.
type scenario struct {
	given  func(*fake)
	events []event
	// want is everything that happens, one thing a line, after the time in units.
	want string
	// wantItems is how many items want leaves out.
	wantItems int

	// onTestClock puts the organisation on a test clock, which stands at 0.
	onTestClock bool
	// startedBefore starts the child that the run will start.
	startedBefore bool
	// childRefused is how often the server refuses to start the child.
	childRefused int
	// dueUnknown starts a cycle without saying which period.
	dueUnknown bool
	// outgrown has the server suggest a new run at the first look from this
	// time on; 0 = never.
	outgrown float64
	// notRecorded says why no history can be recorded; "" = it is.
	notRecorded string
}

// wanted is want, with the items that it leaves out.
func (s scenario) wanted() []string {
	var want []string
	for _, line := range strings.Split(s.want, "\n") {
		if strings.Contains(line, "FinalizeProviderInvoice") {
			at := strings.Fields(line)[0]
			for n := range s.wantItems {
				want = append(want, fmt.Sprintf("%s AddProviderItem %d", at, n+1))
			}
		}
		want = append(want, line)
	}
	return tidy(want)
}

// event is something that comes from outside, at a time in units.
type event struct {
	at float64
	do func(*fake, hand)
}

// hand is how the outside reaches a workflow.
type hand interface {
	nudge()
	cancel()
	update(name string, request OperatorRequest, answer func(error))
	status() (Status, error)
}

// What a scenario's events do.

func nudged(how func(*fake)) func(*fake, hand) {
	return func(f *fake, h hand) {
		f.change(how)
		h.nudge()
	}
}

func nothing(*fake) {}

func cancelled(_ *fake, h hand) { h.cancel() }

// asked sends an operator's update and notes the answer.
func asked(update string) func(*fake, hand) { return askedFor(update, "") }

func askedFor(update, organization string) func(*fake, hand) {
	return func(f *fake, h hand) {
		request := OperatorRequest{Organization: or(organization, f.organization), AuditEntry: 1}
		h.update(update, request, func(err error) {
			answer := "done"
			if err != nil {
				answer = words(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.note("%s: %s", update, strings.ReplaceAll(answer, f.organization, "acme"))
		})
	}
}

func words(err error) string {
	if app := (*temporal.ApplicationError)(nil); errors.As(err, &app) {
		return app.Message()
	}
	return err.Error()
}

// looked notes what the workflow answers when it is asked how it stands.
func looked(f *fake, h hand) {
	status, err := h.status()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.note("status: %v", err)
		return
	}
	next := "news"
	if status.NextWakeAt != nil {
		next = fmt.Sprintf("%g", math.Round(100*f.since(*status.NextWakeAt))/100)
	}
	f.note("is %s until %s", status.Stage, next)
}

// subject is a workflow with all the ways it can go.
type subject struct {
	name      string
	workflow  any
	child     string // what it starts, which here does nothing
	scenarios map[string]scenario
	// start returns the input for a scenario, and how a run is started with it.
	start func(*fake, scenario) (any, client.StartWorkflowOptions)
	// startChild returns how the child of a scenario is started; nil = it has none.
	startChild func(*fake, scenario) client.StartWorkflowOptions
}

func subjects() []subject {
	return []subject{billingCycles(), invoicePeriods(), collectPayments(), sweepProviders()}
}

// TestScenarios runs every scenario with time skipped, and compares everything
// that happens.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, of := range subjects() {
		for name, s := range of.scenarios {
			t.Run(of.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				require.Equal(t, s.wanted(), tidy(skipTime(t, of, s, 0)))
			})
		}
	}
}

// TestNudgesDuringEverything runs the same scenarios while news comes during
// every activity: a run looks more often and may get on sooner, but it leaves out
// nothing and comes to an end.
func TestNudgesDuringEverything(t *testing.T) {
	t.Parallel()
	for _, of := range subjects() {
		for name, s := range of.scenarios {
			t.Run(of.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				calm, nudged := s.wanted(), tidy(skipTime(t, of, s, 3))
				require.Subset(t, activitiesIn(nudged), activitiesIn(calm))
				require.Equal(t, strings.Fields(calm[len(calm)-1])[1], strings.Fields(nudged[len(nudged)-1])[1], "%q", nudged)
			})
		}
	}
}

var activityNames = regexp.MustCompile(`\b[A-Z][a-z]+([A-Z][a-z]+)*\b`)

func activitiesIn(lines []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(activityNames.FindAllString(strings.Join(lines, "\n"), -1))))
}

// skipTime runs a scenario with time skipped, and returns everything that
// happens. Each activity is nudged so many times while it runs.
func skipTime(t *testing.T, of subject, s scenario, nudges int) []string {
	t.Helper()
	suite := testsuite.WorkflowTestSuite{}
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	env.SetStartTime(start)

	f := newFake()
	f.base, f.unit, f.now = start, 24*time.Hour, env.Now
	if s.onTestClock {
		f.advance(0)
	}
	if s.given != nil {
		s.given(f)
	}
	h := &skippingHand{env: env}
	f.nudge, f.nudgesDuring = h.nudge, nudges
	env.RegisterActivity(f)
	in, started := of.start(f, s)
	env.SetStartWorkflowOptions(started)
	require.NoError(t, env.SetTypedSearchAttributesOnStart(started.TypedSearchAttributes))
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&refusing{times: s.childRefused}}})
	env.RegisterWorkflowWithOptions(doNothing, workflow.RegisterOptions{Name: of.child})
	env.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.note("start %s", info.WorkflowExecution.ID)
	})
	if s.outgrown > 0 {
		env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, f.at(s.outgrown).Sub(f.base))
	}
	for _, e := range s.events {
		env.RegisterDelayedCallback(func() { e.do(f, h) }, time.Duration(e.at*float64(f.unit)))
	}
	env.ExecuteWorkflow(of.workflow, in)
	require.True(t, env.IsWorkflowCompleted())
	f.note("%s", outcome(t, env))
	return f.lines()
}

// doNothing stands for the child that a scenario's workflow starts. As a real
// one does, it outlives its parent.
func doNothing(ctx workflow.Context, _ map[string]any) error { return workflow.Sleep(ctx, time.Second) }

// outcome says how a run ended.
func outcome(t *testing.T, env *testsuite.TestWorkflowEnvironment) string {
	t.Helper()
	err := env.GetWorkflowError()
	if next := (*workflow.ContinueAsNewError)(nil); errors.As(err, &next) {
		var in CycleInput // of the others' inputs, the same fields
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
		return "continue with " + in.Organization + "/" + in.Period
	}
	if temporal.IsCanceledError(err) {
		return "cancelled"
	}
	require.NoError(t, err)
	var status billing.InvoiceStatus
	if err := env.GetWorkflowResult(&status); err != nil || status == "" {
		return "end"
	}
	return "end " + string(status)
}

// tidy makes what happened comparable: items are added in any order.
func tidy(lines []string) []string {
	var out []string
	for _, line := range lines {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			out = append(out, line)
		}
	}
	for from := 0; from < len(out); from++ {
		to := from
		for to < len(out) && strings.Contains(out[to], "AddProviderItem") {
			to++
		}
		slices.Sort(out[from:to])
		from = max(from, to-1)
	}
	return out
}

type skippingHand struct {
	env     *testsuite.TestWorkflowEnvironment
	updates int
}

func (h *skippingHand) nudge()  { h.env.SignalWorkflow(Nudge, nil) }
func (h *skippingHand) cancel() { h.env.CancelWorkflow() }

func (h *skippingHand) update(name string, request OperatorRequest, answer func(error)) {
	h.updates++
	h.env.UpdateWorkflow(name, fmt.Sprintf("update-%d", h.updates), &testsuite.TestUpdateCallback{
		OnAccept:   func() {},
		OnReject:   answer,
		OnComplete: func(_ any, err error) { answer(err) },
	}, request)
}

func (h *skippingHand) status() (Status, error) {
	value, err := h.env.QueryWorkflow(StatusQuery)
	if err != nil {
		return Status{}, err
	}
	var status Status
	return status, value.Get(&status)
}

// refusing is a server that refuses, some times, to start a child.
type refusing struct {
	interceptor.WorkerInterceptorBase
	times int
}

type refusingInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	server *refusing
}

type refusingOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	server *refusing
}

func (r *refusing) InterceptWorkflow(
	_ workflow.Context, next interceptor.WorkflowInboundInterceptor,
) interceptor.WorkflowInboundInterceptor {
	return &refusingInbound{interceptor.WorkflowInboundInterceptorBase{Next: next}, r}
}

func (r *refusingInbound) Init(next interceptor.WorkflowOutboundInterceptor) error {
	return r.Next.Init(&refusingOutbound{interceptor.WorkflowOutboundInterceptorBase{Next: next}, r.server})
}

func (r *refusingOutbound) ExecuteChildWorkflow(ctx workflow.Context, child string, args ...any) workflow.ChildWorkflowFuture {
	if r.server.times == 0 {
		return r.Next.ExecuteChildWorkflow(ctx, child, args...)
	}
	r.server.times--
	refused, settle := workflow.NewFuture(ctx)
	settle.SetError(errors.New("the namespace is full"))
	return refusal{refused}
}

type refusal struct{ workflow.Future }

func (r refusal) GetChildWorkflowExecution() workflow.Future { return r.Future }

func (r refusal) SignalChildWorkflow(workflow.Context, string, any) workflow.Future { return r.Future }
