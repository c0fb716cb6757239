//go:build faultpoints

package faultpoint

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
)

// Enabled reports whether this program can be made to fail.
const Enabled = true

// PlanVariable names the environment variable with the path of a plan: one fault
// a line, as JSON. Beside the plan lies what has happened, so that each fault
// happens once, whatever dies of it.
const PlanVariable = "ARREARS_FAULT_PLAN"

// Attempt is how long an activity of a program with faults may take, so that a
// test need not wait for the real timeouts to learn that a worker is gone.
const Attempt = 2 * time.Second

// fault is one line of the plan.
type fault struct {
	Name         string `json:"name"`
	Organization string `json:"organization"`
	Activity     string `json:"activity"`
	Place        string `json:"place"` // see place
	Nth          int    `json:"nth"`   // the how manieth time the place is reached within the activity; 0 is 1
	How          string `json:"how"`   // kill, panic or late
	Once         string `json:"once"`  // a file beside the plan that there must be first; "" = none
}

// place is a moment of an activity.
type place string

const (
	enter     place = "enter"     // before any work
	call      place = "call"      // before a call that changes something at the provider
	called    place = "called"    // after its answer
	commit    place = "commit"    // before a transaction's commit, or a statement that is one by itself
	committed place = "committed" // after it
	leave     place = "leave"     // before completion is reported
	reported  place = "reported"  // just after that
)

// running is the activity that a context belongs to.
type running struct {
	organization, activity string
	reached                map[place]int
	mu                     sync.Mutex
}

type runningKey struct{}

// at happens when an activity reaches a place.
func at(ctx context.Context, where place) {
	r, ok := ctx.Value(runningKey{}).(*running)
	if !ok {
		return
	}
	r.mu.Lock()
	r.reached[where]++
	nth := r.reached[where]
	r.mu.Unlock()
	for _, f := range plan() {
		if f.Organization == r.organization && f.Activity == r.activity && f.Place == string(where) && max(f.Nth, 1) == nth && f.begin() {
			f.happen()
		}
	}
}

// begin reports whether the fault has not happened yet, and notes that it has.
func (f fault) begin() bool {
	if f.Once != "" {
		if _, err := os.Stat(filepath.Join(filepath.Dir(os.Getenv(PlanVariable)), f.Once)); err != nil {
			return false
		}
	}
	marker, err := os.OpenFile(filepath.Join(os.Getenv(PlanVariable)+".done", f.Name), os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false
	}
	if err != nil {
		panic(err)
	}
	return marker.Close() == nil
}

func (f fault) happen() {
	switch f.How {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "panic":
		panic("fault point " + f.Name)
	case "late":
		time.Sleep(Attempt + time.Second)
	default:
		panic("fault " + f.Name + ": how: accepted: kill, panic, late")
	}
}

var plan = sync.OnceValue(func() (faults []fault) {
	path := os.Getenv(PlanVariable)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var f fault
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			panic(fmt.Errorf("%s: %w", path, err))
		}
		faults = append(faults, f)
	}
	return faults
})

// Interceptors are what a worker is dressed with.
func Interceptors() []interceptor.WorkerInterceptor {
	return []interceptor.WorkerInterceptor{&workers{}}
}

type workers struct {
	interceptor.WorkerInterceptorBase
}

func (*workers) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &activities{}
	i.Next = next
	return i
}

func (*workers) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &workflows{}
	i.Next = next
	return i
}

type activities struct {
	interceptor.ActivityInboundInterceptorBase
}

// ExecuteActivity runs an activity that outlives its own deadline, as one does
// that is stuck in a call: its retry meets it still at work.
func (i *activities) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	_, rest, _ := strings.Cut(info.WorkflowExecution.ID, "/")
	organization, _, _ := strings.Cut(rest, "/")
	r := &running{organization: organization, activity: info.ActivityType.Name, reached: map[place]int{}}
	ctx = context.WithValue(context.WithoutCancel(ctx), runningKey{}, r)
	at(ctx, enter)
	out, err := i.Next.ExecuteActivity(ctx, in)
	at(ctx, leave)
	time.AfterFunc(20*time.Millisecond, func() { at(ctx, reported) })
	return out, err
}

type workflows struct {
	interceptor.WorkflowInboundInterceptorBase
}

func (i *workflows) Init(next interceptor.WorkflowOutboundInterceptor) error {
	o := &outbound{}
	o.Next = next
	return i.Next.Init(o)
}

type outbound struct {
	interceptor.WorkflowOutboundInterceptorBase
}

func (o *outbound) ExecuteActivity(ctx workflow.Context, activityType string, args ...any) workflow.Future {
	return o.Next.ExecuteActivity(workflow.WithStartToCloseTimeout(ctx, Attempt), activityType, args...)
}

// Handler serves requests: each is an activity of no organisation, named by its
// method and path.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r := &running{activity: request.Method + " " + request.URL.Path, reached: map[place]int{}}
		ctx := context.WithValue(request.Context(), runningKey{}, r)
		at(ctx, enter)
		next.ServeHTTP(w, request.WithContext(ctx))
		at(ctx, leave)
	})
}

// Transport is what carries calls to the payment provider.
func Transport(next http.RoundTripper) http.RoundTripper { return transport{next} }

type transport struct{ next http.RoundTripper }

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet {
		return t.next.RoundTrip(request)
	}
	at(request.Context(), call)
	response, err := t.next.RoundTrip(request)
	at(request.Context(), called)
	return response, err
}

// Tracer is what follows the statements of a database connection.
func Tracer() pgx.QueryTracer { return tracer{} }

type tracer struct{}

type committing struct{}

func (tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if !commits(conn, data.SQL) {
		return ctx
	}
	at(ctx, commit)
	return context.WithValue(ctx, committing{}, true)
}

func (tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if ctx.Value(committing{}) != nil && data.Err == nil {
		at(ctx, committed)
	}
}

// commits reports whether a statement makes something lasting.
func commits(conn *pgx.Conn, sql string) bool {
	sql = strings.ToUpper(strings.TrimSpace(sql))
	if conn.PgConn().TxStatus() != 'I' {
		return sql == "COMMIT"
	}
	return strings.Contains(sql, "UPDATE ") || strings.Contains(sql, "INSERT ") || strings.Contains(sql, "DELETE ")
}
