package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/workflows"
)

const (
	// recoveryEvery is how often a worker looks whether the database may have gone back.
	recoveryEvery = 3 * time.Second
	// triggerTimeout bounds the starting of a sweep.
	triggerTimeout = 10 * time.Second
)

// recovery has the provider swept at once when the database may have gone back in
// time: until that is done, billing waits.
type recovery struct {
	behind  func(ctx context.Context) (incarnation string, err error)
	trigger func(ctx context.Context) error
	log     *slog.Logger

	said string // the incarnation that the log was told of
}

// triggerSweep starts a sweep now, unless one is under way.
func triggerSweep(schedules client.ScheduleClient) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, triggerTimeout)
		defer cancel()
		return schedules.GetHandle(ctx, workflows.SweepProviderID).
			Trigger(ctx, client.ScheduleTriggerOptions{Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP})
	}
}

// run looks until ctx ends.
func (l *recovery) run(ctx context.Context) {
	ticker := time.NewTicker(recoveryEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := l.look(ctx); err != nil && ctx.Err() == nil {
			l.log.Error("make the database level with the provider", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (l *recovery) look(ctx context.Context) error {
	present, err := l.behind(ctx)
	if err != nil || present == "" {
		return err
	}
	if l.said != present {
		l.said = present
		l.log.Warn("the database's server started anew or was replaced: billing waits until it is known what the provider has since")
	}
	if err := l.trigger(ctx); err != nil {
		return fmt.Errorf("start a sweep of the payment provider: %w", err)
	}
	return nil
}
