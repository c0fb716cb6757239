package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/faultpoint"
	"github.com/arrears-dev/arrears/internal/orchestration"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/stripe"
	"github.com/arrears-dev/arrears/workflows"
)

// What the activities are made of keeps to what they and the workflows ask for.
var (
	_ workflows.Activities = (*activities.Activities)(nil)
	_ activities.Store     = (*postgres.Store)(nil)
	_ activities.Provider  = (*stripe.Gateway)(nil)
	_ activities.Notifier  = (*notifier)(nil)
	_ activities.Runner    = (*orchestration.Runs)(nil)
)

// run works until ctx ends or a part fails, and then lets what is under way
// finish.
func run(ctx context.Context, environ []string, stderr io.Writer) error {
	cfg, err := config.Load(environ, config.Database, config.Temporal, config.Stripe)
	if err != nil {
		return err
	}
	log := cfg.Logger(stderr)
	store, err := postgres.OpenTraced(ctx, string(cfg.DatabaseURL), faultpoint.Tracer())
	if err != nil {
		return err
	}
	defer store.Close()
	store.SetBounds(billing.Bounds{
		Growth: cfg.BoundGrowth, Floor: cfg.BoundFloor, Total: cfg.BoundTotal, Credit: cfg.BoundCredit, FourEyes: cfg.FourEyesAbove,
	})
	provider, err := stripe.New(stripe.Options{
		Key: string(cfg.StripeSecretKey), APIBase: cfg.StripeAPIBase, Transport: faultpoint.Transport,
	})
	if err != nil {
		return fmt.Errorf("STRIPE_SECRET_KEY: %w", err)
	}
	if err := store.UseProviderMode(ctx, provider.Live()); err != nil {
		return fmt.Errorf("STRIPE_SECRET_KEY: %w", err)
	}
	if err := store.RecordFirstEpoch(ctx); err != nil {
		return err
	}
	people, err := newNotifier(cfg, log, store)
	if err != nil {
		return err
	}
	temporal, err := dial(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer temporal.Close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := newWorkers(temporal, activities.New(store, provider, people, log, activities.WithRunner(orchestration.NewRuns(store, temporal))), cfg.StripeCallsPerSecond, cancel)
	if err := workers.start(); err != nil {
		return err
	}
	if err := workflows.EnsureSweepSchedule(ctx, temporal.ScheduleClient()); err != nil {
		log.Warn("the sweep of the payment provider could not be scheduled; starter migrate does so too", "error", err)
	}
	log.Info("worker started", "temporal", cfg.TemporalAddress, "namespace", cfg.TemporalNamespace)
	var relaying sync.WaitGroup
	relaying.Go(func() { orchestration.NewRelay(store, temporal, log).Run(ctx) })
	relaying.Go(func() {
		(&recovery{behind: store.RecoveryPending, trigger: triggerSweep(temporal.ScheduleClient()), log: log}).run(ctx)
	})
	<-ctx.Done()
	log.Info("worker stops")
	workers.stop()
	relaying.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// redial is how long a worker waits between two tries to reach Temporal.
const redial = 500 * time.Millisecond

// dial connects to Temporal, however long it takes to be there.
func dial(ctx context.Context, cfg config.Config, log *slog.Logger) (client.Client, error) {
	options, err := cfg.TemporalOptions(log)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		temporal, err := client.DialContext(ctx, options)
		if err == nil {
			return temporal, nil
		}
		if !waiting {
			log.Warn("waiting for Temporal", "address", cfg.TemporalAddress, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(redial):
		}
	}
}
