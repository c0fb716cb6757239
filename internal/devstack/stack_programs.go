package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
)

const programReady = 60 * time.Second

// chooseGateway decides where the gateway will listen, which webhooks must
// know before it runs.
func (s *Stack) chooseGateway() error {
	s.env[apiKeyEnv] = s.secret(apiKeyEnv, "arr_dev_")
	if address := s.opts.Getenv(gatewayEnv); address != "" && slices.Contains(s.opts.Without, Gateway) {
		s.env[gatewayEnv] = address
		return nil
	}
	address, err := loopback(0)
	if err != nil {
		return err
	}
	s.env[gatewayEnv] = "http://" + address
	return nil
}

// startGateway runs `starter serve`.
func (s *Stack) startGateway(ctx context.Context) error {
	u, err := url.Parse(s.env[gatewayEnv])
	if err != nil {
		return fmt.Errorf("%s: %w", gatewayEnv, err)
	}
	if slices.Contains(s.opts.Without, Gateway) {
		say(s.opts.Log, "%-12s left out: run starter serve --listen %s", "gateway", u.Host)
		return nil
	}
	path := s.opts.StarterPath
	if path == "" {
		if path, err = os.Executable(); err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
	}
	start := time.Now()
	p, err := s.startProgram(Gateway, path, "serve", "--listen", u.Host)
	if err != nil {
		return err
	}
	if err := awaitProgram(ctx, p, func(ctx context.Context) error { return answers(ctx, u.String()) }); err != nil {
		return err
	}
	s.ready("gateway", u.String(), start)
	return nil
}

// answers says whether an HTTP server is there, whatever it answers.
func answers(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// startWorker runs the worker.
func (s *Stack) startWorker(ctx context.Context) error {
	if slices.Contains(s.opts.Without, Worker) {
		say(s.opts.Log, "%-12s left out: run the program worker with this environment", "worker")
		return nil
	}
	path := s.opts.WorkerPath
	if path == "" {
		executable, err := os.Executable()
		if err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		path = filepath.Join(filepath.Dir(executable), "worker")
	}
	start := time.Now()
	p, err := s.startProgram(Worker, path)
	if err != nil {
		return err
	}
	if err := awaitProgram(ctx, p, s.polled); err != nil {
		return err
	}
	s.ready("worker", fmt.Sprintf("process %d", p.cmd.Process.Pid), start)
	return nil
}

// polled says whether somebody polls every task queue of the worker. A server
// that is not ours may want credentials, which are the worker's business.
func (s *Stack) polled(ctx context.Context) error {
	if len(s.opts.TaskQueues) == 0 || s.opts.Getenv(temporalEnv) != "" {
		return nil
	}
	c, err := client.DialContext(ctx, client.Options{
		HostPort:  s.env[temporalEnv],
		Namespace: s.env[namespaceEnv],
		Logger:    sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, queue := range s.opts.TaskQueues {
		workflows, err := c.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
		if err != nil {
			return err
		}
		activities, err := c.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_ACTIVITY)
		if err != nil {
			return err
		}
		if len(workflows.GetPollers())+len(activities.GetPollers()) == 0 {
			return fmt.Errorf("nobody polls task queue %s", queue)
		}
	}
	return nil
}

// startProgram runs one of the product's programs with the stack's
// environment.
func (s *Stack) startProgram(name, path string, args ...string) (*process, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %s is not there: run make build", name, path)
	}
	env := os.Environ()
	for key, value := range s.env {
		env = append(env, key+"="+value) // the last one counts
	}
	p, err := launch(command{name: name, path: path, args: args, env: env, log: s.logFile(name)})
	if err != nil {
		return nil, err
	}
	s.add(part{name: name, stop: p.stop, ended: p.done, why: p.ended})
	return p, nil
}

// awaitProgram returns when the program does its work, as work tells.
func awaitProgram(ctx context.Context, p *process, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, programReady, fmt.Errorf("%s: not ready in %s", p.name, programReady))
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 5*time.Second)
		err := work(attempt)
		done()
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return p.quote(fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
		if err == nil {
			return nil
		}
	}
}
