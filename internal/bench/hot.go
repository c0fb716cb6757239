package main

import (
	"context"
	"fmt"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	hotBatch = 1000 // events of one transaction
	hotOrgs  = 50
)

// hot measures as many writers on one organisation as on many: those of one wait
// for each other where they move the same totals.
func (r *rig) hot(ctx context.Context) ([]row, error) {
	var rows []row
	for _, writers := range []int{2, 8} {
		p, err := r.rounded(ctx, fmt.Sprintf("one hot organisation, %d writers", writers), r.rounds, func(ctx context.Context, _ int) (pair, error) {
			if err := r.clear(ctx); err != nil {
				return pair{}, err
			}
			many, err := r.storeRound(ctx, writers, hotOrgs)
			if err != nil {
				return pair{}, err
			}
			if err := r.clear(ctx); err != nil {
				return pair{}, err
			}
			one, err := r.storeRound(ctx, writers, 1)
			return pair{ours: one, limit: many}, err
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{
			what: fmt.Sprintf("one hot organisation, events/s (%d writers, %s events a transaction, %s members)", writers, short(hotBatch), short(r.members)),
			ours: p.ours, limit: p.limit, unit: fmt.Sprintf("%d organisations", hotOrgs), ratio: p.ratio,
		})
	}
	return rows, nil
}

// storeRound stores the same events, dealt out over so many organisations, and
// returns how many a second.
func (r *rig) storeRound(ctx context.Context, writers, orgs int) (float64, error) {
	names := make([]string, orgs)
	var start time.Time
	for n := range names {
		names[n] = fmt.Sprintf("hot-%d-%02d", orgs, n)
		var err error
		if start, err = r.organization(ctx, names[n]); err != nil {
			return 0, err
		}
	}
	batches := min(r.events, 200*hotBatch) / hotBatch
	began := time.Now()
	err := atOnce(writers, batches, func(n int) error {
		return r.storeBatch(ctx, names[n%orgs], start, n*hotBatch, hotBatch)
	})
	return perSecond(batches*hotBatch, time.Since(began)), err
}

// storeBatch stores events from a number on, decoded already.
func (r *rig) storeBatch(ctx context.Context, org string, start time.Time, from, n int) error {
	items := make([]billing.UsageItem, n)
	for i := range items {
		items[i].Event = usageOf(org, fmt.Sprintf("user_%06d", (from+i)*7919%r.members), fmt.Sprintf("evt_%09d", from+i), start, from+i)
	}
	answers, err := r.store.StoreUsage(ctx, org, items)
	if err != nil {
		return err
	}
	for i, a := range answers {
		if a.Status != billing.UsageAccepted {
			return fmt.Errorf("%s of %s: %s %s", items[i].Event.ID, org, a.Status, a.Reason)
		}
	}
	return nil
}

func usageOf(org, user, id string, at time.Time, n int) billing.Event {
	event := billing.Event{
		ID: id, Organization: org, User: user, OccurredAt: at.Add(time.Duration(n%3_600_000) * time.Millisecond),
		Product: "claude_code", Model: usageModels[n%3], ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
	}
	event.Quantities[billing.Input], event.Quantities[billing.Output] = int64(n*31%9000), int64(n*13%900)
	return event
}
