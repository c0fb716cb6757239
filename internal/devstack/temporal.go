package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
)

const temporalReady = 60 * time.Second

// TemporalOptions says what Temporal server to run.
type TemporalOptions struct {
	DataDir          string // kept between runs; "" = everything in memory
	Port             int    // on the loopback; 0 = a free one
	UIPort           int    // of the web UI; 0 = a free one
	NoUI             bool
	Namespace        string // "" = default
	SearchAttributes map[string]enumspb.IndexedValueType
	LogFile          string              // "" = in the data folder
	Getenv           func(string) string // where TEMPORAL_BIN and PATH are read; nil = os.Getenv
	Log              io.Writer           // for people; nil = silent
}

// Temporal is a Temporal development server.
type Temporal struct {
	folder    *folder
	process   *process
	address   string
	uiAddress string
	namespace string
}

// StartTemporal starts a server, building its program first where there is
// none, and returns when the namespace and its search attributes answer.
func StartTemporal(ctx context.Context, opts TemporalOptions) (*Temporal, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.Namespace == "" {
		opts.Namespace = client.DefaultNamespace
	}
	dir, err := temporalFolder(opts.DataDir)
	if err != nil {
		return nil, fmt.Errorf("Temporal: %w", err)
	}
	if opts.LogFile == "" {
		opts.LogFile = dir.join("temporal.log")
	}
	server, err := startTemporal(ctx, opts, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("Temporal: %w", err), dir.close())
	}
	return server, nil
}

func temporalFolder(dataDir string) (*folder, error) {
	if dataDir == "" {
		return throwawayFolder() // for the log
	}
	return keptFolder(dataDir)
}

// startTemporal takes the command line program if it will do, else our own.
func startTemporal(ctx context.Context, opts TemporalOptions, dir *folder) (*Temporal, error) {
	if program, ok := commandLineProgram(ctx, opts.Getenv, opts.DataDir); ok {
		server, err := runTemporal(ctx, opts, dir, program)
		if err == nil || ctx.Err() != nil {
			return server, err
		}
		say(opts.Log, "%s will not do, using the repository's own Temporal server: %v", program.path, err)
	}
	program, err := ownProgram(ctx, opts.Getenv, opts.Log)
	if err != nil {
		return nil, err
	}
	return runTemporal(ctx, opts, dir, program)
}

// Address is the host:port of the gRPC frontend.
func (t *Temporal) Address() string { return t.address }

// Namespace is the namespace that was registered.
func (t *Temporal) Namespace() string { return t.namespace }

// UIURL is where people look at the namespace's workflows; "" without a UI.
func (t *Temporal) UIURL() string {
	if t.uiAddress == "" {
		return ""
	}
	return "http://" + t.uiAddress + "/namespaces/" + t.namespace + "/workflows"
}

// Stop ends the server.
func (t *Temporal) Stop() error {
	return errors.Join(t.process.stop(), t.folder.close())
}

// runTemporal starts a program, on other ports when the free ones were taken
// meanwhile.
func runTemporal(ctx context.Context, opts TemporalOptions, dir *folder, program temporalProgram) (*Temporal, error) {
	for attempt := 1; ; attempt++ {
		server, err := runTemporalOnce(ctx, opts, dir, program)
		taken := err != nil && strings.Contains(err.Error(), "address already in use")
		if !taken || opts.Port != 0 || opts.UIPort != 0 || attempt == startAttempts {
			return server, err
		}
	}
}

func runTemporalOnce(ctx context.Context, opts TemporalOptions, dir *folder, program temporalProgram) (*Temporal, error) {
	t := &Temporal{folder: dir, namespace: opts.Namespace}
	var err error
	if t.address, err = loopback(opts.Port); err != nil {
		return nil, err
	}
	if !opts.NoUI {
		if t.uiAddress, err = loopback(opts.UIPort); err != nil {
			return nil, err
		}
	}
	// Asked first, because whoever holds the port may well be a Temporal
	// server too, and answer in the place of ours.
	for _, address := range []string{t.address, t.uiAddress} {
		if err := listenable(address); err != nil {
			return nil, err
		}
	}
	database := ""
	if opts.DataDir != "" {
		database = dir.join(program.database)
	}
	t.process, err = launch(command{
		name: "Temporal",
		path: program.path,
		args: program.args(t.address, t.uiAddress, database, opts),
		log:  opts.LogFile,
	})
	if err != nil {
		return nil, err
	}
	if err := t.await(ctx, opts.SearchAttributes); err != nil {
		return nil, errors.Join(err, t.process.stop())
	}
	return t, nil
}

// listenable says whether address is free; the empty one always is.
func listenable(address string) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

// loopback is the address of a port, or of a free one for 0.
func loopback(port int) (_ string, err error) {
	if port == 0 {
		if port, err = freePort(); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// await returns when the server answers with all that was asked for.
func (t *Temporal) await(ctx context.Context, attributes map[string]enumspb.IndexedValueType) error {
	ctx, cancel := context.WithTimeoutCause(ctx, temporalReady, fmt.Errorf("not ready in %s", temporalReady))
	defer cancel()
	for {
		err := t.check(ctx, attributes)
		if err == nil {
			err = t.checkUI(ctx)
		}
		if err == nil || errors.Is(err, errServerTooOld) {
			return err
		}
		select {
		case <-t.process.done:
			return t.process.ended()
		case <-ctx.Done():
			return t.process.quote(fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkUI asks whether the web UI accepts connections.
func (t *Temporal) checkUI(ctx context.Context) error {
	if t.uiAddress == "" {
		return nil
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", t.uiAddress)
	if err != nil {
		return fmt.Errorf("web UI: %w", err)
	}
	return conn.Close()
}

// check asks for the version, the namespace and the search attributes, and
// registers those that an older database lacks.
func (t *Temporal) check(ctx context.Context, attributes map[string]enumspb.IndexedValueType) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, client.Options{
		HostPort:  t.address,
		Namespace: t.namespace,
		Logger:    sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		return err
	}
	if !atLeast(info.GetServerVersion(), oldestServer) {
		return fmt.Errorf("%w: %s, want %s or newer", errServerTooOld, info.GetServerVersion(), oldestServer)
	}
	_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: t.namespace})
	if err != nil {
		return err
	}
	request := &operatorservice.ListSearchAttributesRequest{Namespace: t.namespace}
	known, err := c.OperatorService().ListSearchAttributes(ctx, request)
	if err != nil {
		return err
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range attributes {
		if _, ok := known.GetCustomAttributes()[name]; !ok {
			missing[name] = kind
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx,
		&operatorservice.AddSearchAttributesRequest{Namespace: t.namespace, SearchAttributes: missing})
	if err != nil {
		return err
	}
	return fmt.Errorf("search attributes %v were missing and have been added", slices.Sorted(maps.Keys(missing)))
}
