package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/term"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/faultpoint"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/stripe"
)

// app is what all commands share: where they read and write, how they print,
// who asks, and the parts of the system, each connected to when first needed.
type app struct {
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	environ  []string
	terminal bool // stderr is one: long work shows its progress

	format format
	actor  string
	reason string

	*connections
}

// connections are to the parts of the system, each made when first needed.
type connections struct {
	mu       sync.Mutex
	store    *postgres.Store
	temporal client.Client
	gateway  *stripe.Gateway
}

// newApp is the app of this process.
func newApp() *app {
	return &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
		format:   formatTable,
		actor:    cmp.Or(os.Getenv("ARREARS_ACTOR"), os.Getenv("USER"), os.Getenv("LOGNAME"), "starter"),

		connections: &connections{},
	}
}

// close ends the connections.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.temporal != nil {
		c.temporal.Close()
	}
	if c.store != nil {
		c.store.Close()
	}
	c.temporal, c.store, c.gateway = nil, nil, nil
}

// by is who asks for a change, and why.
func (a *app) by() billing.Actor { return billing.Actor{Name: a.actor, Reason: a.reason} }

// say tells people on stdout what a command does or did; nothing with -o json.
func (a *app) say(format string, args ...any) {
	if a.format != formatJSON {
		fmt.Fprintf(forPeople{a.stdout}, format+"\n", args...)
	}
}

// note tells people something on stderr.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(forPeople{a.stderr}, format+"\n", args...)
}

const environmentHint = `The environment holds the configuration. To have everything on this machine:
  starter dev --env-file .env      (leave it running)
  set -a; . ./.env; set +a         (in the shell of the other commands)`

// config reads the part of the environment that a command needs.
func (a *app) config(needs ...config.Need) (config.Config, error) {
	cfg, err := config.Load(a.environ, needs...)
	return cfg, withHint(err, "%s", environmentHint)
}

// connectTimeout bounds how long a command looks for a part before it says
// that it is not there.
const connectTimeout = 10 * time.Second

// Store connects to the database.
func (a *app) Store(ctx context.Context) (*postgres.Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store != nil {
		return a.store, nil
	}
	cfg, err := a.config(config.Database)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	store, err := postgres.OpenTraced(ctx, string(cfg.DatabaseURL), faultpoint.Tracer())
	switch {
	case err != nil && strings.Contains(err.Error(), "starter migrate"):
		return nil, err // the database is there
	case err != nil:
		return nil, withHint(err, "DATABASE_URL says where the database is; is it running?")
	}
	a.store = store
	return store, nil
}

// Temporal connects to the Temporal server.
func (a *app) Temporal(ctx context.Context) (client.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.temporal != nil {
		return a.temporal, nil
	}
	cfg, err := a.config(config.Temporal)
	if err != nil {
		return nil, err
	}
	options, err := cfg.TemporalOptions(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, withHint(fmt.Errorf("reach Temporal at %s: %w", cfg.TemporalAddress, err),
			"TEMPORAL_ADDRESS says where the Temporal server is; is it running?")
	}
	a.temporal = temporal
	return temporal, nil
}

// Gateway prepares calls to Stripe.
func (a *app) Gateway() (*stripe.Gateway, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gateway != nil {
		return a.gateway, nil
	}
	cfg, err := a.config(config.Stripe)
	if err != nil {
		return nil, err
	}
	gateway, err := stripe.New(stripe.Options{Key: string(cfg.StripeSecretKey), APIBase: cfg.StripeAPIBase, RetryRateLimit: true})
	if err != nil {
		return nil, fmt.Errorf("STRIPE_SECRET_KEY: %w", err)
	}
	a.gateway = gateway
	return gateway, nil
}

// open opens a file that a command reads; - is stdin.
func (a *app) open(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(bufio.NewReader(a.stdin)), -1, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, 0, errors.Join(err, file.Close())
	case info.IsDir():
		return nil, 0, errors.Join(fmt.Errorf("%s is a folder; accepted: a file, or - for stdin", path), file.Close())
	case !info.Mode().IsRegular():
		return file, -1, nil
	}
	return file, info.Size(), nil
}

// largestSmallFile bounds the files that are read as a whole.
const largestSmallFile = 64 << 20

// readAll reads a file that is taken as a whole: price books, members, contracts.
func (a *app) readAll(path string) ([]byte, error) {
	file, _, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, largestSmallFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case len(data) > largestSmallFile:
		return nil, fmt.Errorf("%s has more than %d MiB; accepted: less", path, largestSmallFile>>20)
	}
	return data, nil
}

// plural writes a count with its noun.
func plural[N int | int64](n N, noun string) string {
	if n != 1 {
		if stem, found := strings.CutSuffix(noun, "y"); found && !strings.HasSuffix(stem, "a") && !strings.HasSuffix(stem, "e") {
			noun = stem + "ie"
		}
		noun += "s"
	}
	return showCount(n) + " " + noun
}
