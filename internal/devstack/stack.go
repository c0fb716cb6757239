package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
)

// Names of the parts that Options.Without may leave out.
const (
	Worker  = "worker"
	Gateway = "gateway"
)

// Options says what stack to run.
type Options struct {
	DataDir string   // keeps PostgreSQL, Temporal and the local Stripe between runs; "" = a temporary folder
	Without []string // parts to leave out: Worker, Gateway
	EnvFile string   // written once everything is ready, removed when it no longer is; "" = none
	LogDir  string   // where the parts' logs go; "" = logs in the data folder

	// Migrate brings the database up to date. It runs at every start.
	Migrate func(ctx context.Context, databaseURL string) error
	// SearchAttributes are registered with Temporal.
	SearchAttributes map[string]enumspb.IndexedValueType
	// TaskQueues are those that the worker must be seen to poll before it
	// counts as ready.
	TaskQueues []string

	WorkerPath  string // "" = worker beside the running program
	StarterPath string // "" = the running program; runs the gateway

	Getenv func(string) string // nil = os.Getenv
	Log    io.Writer           // one line for each part as it becomes ready; nil = silent
}

// Stack is a running development stack.
type Stack struct {
	opts   Options
	folder *folder
	env    map[string]string
	parts  []part // in the order of their start
	failed chan error

	stopping chan struct{}
	stop     sync.Once
	stopErr  error
}

// part is one thing that runs: a process or a server in this process.
type part struct {
	name  string
	stop  func() error
	ended <-chan struct{} // closed when it ended, asked or not
	why   func() error    // why it ended
}

// Start starts every part and returns when all are ready. On an error nothing
// is left running.
func Start(ctx context.Context, opts Options) (_ *Stack, err error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	dir, err := stackFolder(opts.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Stack{
		opts:     opts,
		folder:   dir,
		env:      map[string]string{},
		failed:   make(chan error, 8), // more than there are parts
		stopping: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.opts.LogDir == "" {
		s.opts.LogDir = dir.join("logs")
	}
	if err := os.MkdirAll(s.opts.LogDir, 0o755); err != nil {
		return nil, err
	}
	if opts.EnvFile != "" {
		if err := removeEnvFile(opts.EnvFile, writtenByUs); err != nil {
			return nil, err
		}
	}
	// The servers first, then what works with them.
	for _, start := range []func(context.Context) error{
		s.startPostgres, s.startTemporal, s.startStripe, s.startGateway, s.startWorker,
	} {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	if opts.EnvFile != "" {
		if err := WriteEnvFile(opts.EnvFile, s.env); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (o *Options) setDefaults() error {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	for _, name := range o.Without {
		if name != Worker && name != Gateway {
			return fmt.Errorf("a stack cannot run without %q, only without %s or %s", name, Worker, Gateway)
		}
	}
	return nil
}

func stackFolder(dataDir string) (*folder, error) {
	if dataDir == "" {
		return throwawayFolder()
	}
	return keptFolder(dataDir)
}

// Env is the environment that every other command needs to work with the
// stack, and ARREARS_TEMPORAL_UI_URL for people.
func (s *Stack) Env() map[string]string { return maps.Clone(s.env) }

// LogDir is where the logs of the parts lie.
func (s *Stack) LogDir() string { return s.opts.LogDir }

// Wait returns nil when ctx ends, and otherwise when a part ends that nobody
// asked to: the error names it and quotes the end of its log.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.stopping:
		return nil
	case err := <-s.failed:
		return err
	}
}

// Stop ends the parts in the reverse order of their start and removes what
// nobody asked to keep. It may be called more than once.
func (s *Stack) Stop() error {
	s.stop.Do(func() {
		close(s.stopping)
		var errs []error
		if s.opts.EnvFile != "" {
			mine := func(text string) bool { return text == envText(s.env) }
			errs = append(errs, removeEnvFile(s.opts.EnvFile, mine))
		}
		for _, p := range slices.Backward(s.parts) {
			if err := p.stop(); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
			}
		}
		s.stopErr = errors.Join(append(errs, s.folder.close())...)
	})
	return s.stopErr
}

// add takes charge of a part: it is stopped with the stack, and its end before
// that is the stack's failure.
func (s *Stack) add(p part) {
	s.parts = append(s.parts, p)
	go func() {
		<-p.ended
		select {
		case <-s.stopping:
		default:
			s.failed <- p.why()
		}
	}()
}

// ready tells that a part is.
func (s *Stack) ready(name, where string, since time.Time) {
	say(s.opts.Log, "%-12s ready in %4.1f s   %s", name, time.Since(since).Seconds(), where)
}

// named returns the value of a variable that names a part to use instead of
// an own one, having told so.
func (s *Stack) named(part, variable string) string {
	value := s.opts.Getenv(variable)
	if value != "" {
		say(s.opts.Log, "%-12s the one named by %s   %s", part, variable, withoutPassword(value))
	}
	return value
}

// keep hands on a variable of the environment, if it is set.
func (s *Stack) keep(variable string) {
	if value := s.opts.Getenv(variable); value != "" {
		s.env[variable] = value
	}
}

// withoutPassword is an address that may be shown.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return u.Redacted()
}

// secret returns the variable's value, or a random one for this stack.
func (s *Stack) secret(variable, prefix string) string {
	if value := s.opts.Getenv(variable); value != "" {
		return value
	}
	return prefix + rand.Text()
}
