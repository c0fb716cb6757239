package workflows

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/temporaltest"
)

var record = flag.Bool("record", false, "record the scenarios' histories from a real server into "+recordings)

// recordings is where the histories lie that every later version must replay.
const recordings = "testdata/replay"

// recordedUnit is the scenarios' unit of time on a real server.
const recordedUnit = time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(temporaltest.Main(m, SearchAttributes()))
}

// TestRecord runs the scenarios on a real server and writes their histories.
// Histories of code that was ever deployed are kept: it writes only what is
// missing.
//
//	go test ./workflows -run TestRecord -record
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("records only with -record")
	}
	require.NoError(t, os.MkdirAll(recordings, 0o755))
	r := &recorder{fakes: map[string]*recorded{}}
	c, err := client.Dial(client.Options{
		HostPort: temporaltest.Start(t),
		Identity: "recorder",
		Logger:   sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		ConnectionOptions: client.ConnectionOptions{
			DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(r.suggest)},
		},
	})
	require.NoError(t, err)
	defer c.Close()
	for _, of := range subjects() {
		t.Run(of.name, func(t *testing.T) {
			r.work(t, c, of)
			for name, s := range of.scenarios {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r.scenario(t, c, of, name, s)
				})
			}
		})
	}
}

// recorder is the outside world of all scenarios that are being recorded, each
// with an organisation of its own.
type recorder struct {
	mu    sync.Mutex
	fakes map[string]*recorded // by workflow id
}

type recorded struct {
	*fake
	run       string
	suggested []int64 // events by which the server suggested a new run
	outgrown  time.Time
}

// work starts workers for a workflow, on all queues.
func (r *recorder) work(t *testing.T, c client.Client, of subject) {
	t.Helper()
	for _, queue := range []string{TaskQueue, StripeInvoicesQueue, StripeItemsQueue, StripeFinalizeQueue, StripePaymentsQueue, StripeListsQueue} {
		w := worker.New(c, queue, worker.Options{})
		w.RegisterDynamicActivity(r.act, activity.DynamicRegisterOptions{})
		w.RegisterWorkflow(of.workflow)
		w.RegisterWorkflowWithOptions(doNothing, workflow.RegisterOptions{Name: of.child})
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}
}

// act runs an activity on the fake of its workflow.
func (r *recorder) act(ctx context.Context, args converter.EncodedValues) (any, error) {
	info := activity.GetInfo(ctx)
	r.mu.Lock()
	f := r.fakes[info.WorkflowExecution.ID]
	r.mu.Unlock()
	if f == nil || f.run != info.WorkflowExecution.RunID {
		return nil, final("the next run is not recorded")
	}
	method := reflect.ValueOf(f.fake).MethodByName(info.ActivityType.Name)
	in := reflect.New(method.Type().In(1))
	if err := args.Get(in.Interface()); err != nil {
		return nil, err
	}
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), in.Elem()})
	err, _ := out[len(out)-1].Interface().(error)
	if len(out) == 1 {
		return nil, err
	}
	return out[0].Interface(), err
}

func (r *recorder) scenario(t *testing.T, c client.Client, of subject, name string, s scenario) {
	file := filepath.Join(recordings, fileName(of, name))
	if s.notRecorded != "" {
		t.Skip(s.notRecorded)
	}
	if _, err := os.Stat(file); err == nil {
		t.Skip("is recorded")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	f := newFake()
	f.organization = strings.ToLower(temporaltest.Unique(t))
	f.organization = "acme-" + f.organization[len(f.organization)-10:]
	f.base, f.unit, f.now = time.Now().UTC().Truncate(time.Millisecond), recordedUnit, func() time.Time { return time.Now().UTC() }
	if s.onTestClock {
		f.base, f.unit = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), 24*time.Hour
		f.advance(0)
	}
	if s.given != nil {
		s.given(f)
	}
	in, options := of.start(f, s)
	if s.startedBefore {
		_, err := c.ExecuteWorkflow(ctx, of.startChild(f, s), of.child, map[string]any{})
		require.NoError(t, err)
	}

	began := time.Now()
	known := &recorded{fake: f}
	if s.outgrown > 0 {
		known.outgrown = began.Add(time.Duration(s.outgrown * float64(recordedUnit)))
	}
	r.mu.Lock() // until the run's id is known
	run, err := c.ExecuteWorkflow(ctx, options, of.workflow, in)
	require.NoError(t, err)
	known.run = run.GetRunID()
	h := &realHand{t: t, ctx: ctx, client: c, id: options.ID, run: run.GetRunID()}
	f.nudge = h.nudge
	r.fakes[options.ID] = known
	r.mu.Unlock()

	for _, e := range s.events {
		time.Sleep(time.Until(began.Add(time.Duration(e.at * float64(recordedUnit)))))
		h.waitForRest()
		e.do(f, h)
	}
	history := known.history(ctx, t, c, options.ID)
	h.answered.Wait()
	f.note("%s", ending(t, history))
	require.Equal(t, timeless(f, s.wanted()), timeless(f, tidy(f.lines())))
	_ = c.TerminateWorkflow(ctx, options.ID, "", "recorded") // the next run, if there is one
	require.NoError(t, os.WriteFile(file, oneEventALine(t, history), 0o644))
}

// timeless makes what happened comparable where time is not exact, and a
// signal may come a little sooner or later: what happens at all, in no order.
func timeless(f *fake, lines []string) []string {
	var out []string
	for _, line := range lines {
		_, what, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(what, "start ") { // the children's starts are not noted
			out = append(out, someTime.ReplaceAllString(strings.ReplaceAll(what, f.organization, "acme"), "until then"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

var someTime = regexp.MustCompile(`until [0-9.]+`)

// history waits for the run's end. It is read again then, because while a run
// goes on the server also shows events that it does not keep.
func (k *recorded) history(ctx context.Context, t *testing.T, c client.Client, id string) *historypb.History {
	t.Helper()
	for _, wait := range []bool{true, false} {
		history := &historypb.History{}
		events := c.GetWorkflowHistory(ctx, id, k.run, wait, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			require.NoError(t, err, "after %s", k.lines())
			if slices.Contains(k.suggested, event.GetEventId()) {
				event.GetWorkflowTaskStartedEventAttributes().SuggestContinueAsNew = true
			}
			history.Events = append(history.Events, event)
		}
		if !wait {
			return history
		}
	}
	return nil
}

// ending says how a recorded run ended, in the words of outcome.
func ending(t *testing.T, history *historypb.History) string {
	t.Helper()
	last := history.GetEvents()[len(history.GetEvents())-1]
	decode := converter.GetDefaultDataConverter().FromPayloads
	switch last.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
		var next CycleInput
		require.NoError(t, decode(last.GetWorkflowExecutionContinuedAsNewEventAttributes().GetInput(), &next))
		return "continue with " + next.Organization + "/" + next.Period
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
		return "cancelled"
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
		var status billing.InvoiceStatus
		result := last.GetWorkflowExecutionCompletedEventAttributes().GetResult()
		if result == nil {
			return "end"
		}
		require.NoError(t, decode(result, &status))
		return "end " + string(status)
	default:
		return last.GetEventType().String()
	}
}

// suggest has the server suggest a new run to outgrown workflows, as it does
// after some thousand events. What the workflow was told is noted, to be told
// again in the recording.
func (r *recorder) suggest(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	task, ok := reply.(*workflowservice.PollWorkflowTaskQueueResponse)
	if completed, is := reply.(*workflowservice.RespondWorkflowTaskCompletedResponse); is && completed.GetWorkflowTask() != nil {
		task, ok = completed.GetWorkflowTask(), true
	}
	if err != nil || !ok || task.GetWorkflowExecution() == nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.fakes[task.GetWorkflowExecution().GetWorkflowId()]
	if known == nil || known.run != task.GetWorkflowExecution().GetRunId() || known.outgrown.IsZero() || time.Now().Before(known.outgrown) {
		return nil
	}
	for _, event := range task.GetHistory().GetEvents() {
		if event.GetEventId() == task.GetStartedEventId() {
			event.GetWorkflowTaskStartedEventAttributes().SuggestContinueAsNew = true
			known.suggested = append(known.suggested, event.GetEventId())
		}
	}
	return nil
}

type realHand struct {
	t        *testing.T
	ctx      context.Context
	client   client.Client
	id, run  string
	answered sync.WaitGroup
}

func (h *realHand) nudge() {
	require.NoError(h.t, h.client.SignalWorkflow(h.ctx, h.id, h.run, Nudge, nil))
}

// waitForRest waits until nothing is under way but timers.
func (h *realHand) waitForRest() {
	require.Eventually(h.t, func() bool {
		now, err := h.client.DescribeWorkflowExecution(h.ctx, h.id, h.run)
		return err == nil && now.GetPendingWorkflowTask() == nil && len(now.GetPendingActivities()) == 0
	}, time.Minute, 20*time.Millisecond)
}

func (h *realHand) cancel() { require.NoError(h.t, h.client.CancelWorkflow(h.ctx, h.id, h.run)) }

func (h *realHand) update(name string, request OperatorRequest, answer func(error)) {
	h.answered.Go(func() {
		handle, err := h.client.UpdateWorkflow(h.ctx, client.UpdateWorkflowOptions{
			WorkflowID: h.id, RunID: h.run, UpdateName: name, Args: []any{request},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err == nil {
			err = handle.Get(h.ctx, nil)
		}
		answer(err)
	})
}

func (h *realHand) status() (status Status, err error) {
	value, err := h.client.QueryWorkflow(h.ctx, h.id, h.run, StatusQuery)
	if err != nil {
		return status, err
	}
	return status, value.Get(&status)
}

var notInFileNames = regexp.MustCompile(`[^a-z0-9]+`)

func fileName(of subject, scenario string) string {
	return of.name + "-" + notInFileNames.ReplaceAllString(strings.ToLower(scenario), "-") + ".json"
}

// oneEventALine writes a history so that two of them can be compared.
func oneEventALine(t *testing.T, history *historypb.History) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("{\"events\":[\n")
	for i, event := range history.GetEvents() {
		line, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(event)
		require.NoError(t, err)
		if i > 0 {
			out.WriteString(",\n")
		}
		require.NoError(t, json.Compact(&out, line))
	}
	out.WriteString("\n]}\n")
	return out.Bytes()
}
