package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

const (
	noticeOrgs  = 20
	noticesEach = 10
	noticeEvery = 100 * time.Millisecond
	loadPerTick = 1000
	loadEvery   = 50 * time.Millisecond // 20,000 events a second
	noticePause = time.Minute           // how long the last notices are waited for
)

// inbox takes what the worker's webhook channel posts, and notes when.
type inbox struct {
	url  string
	mu   sync.Mutex
	came map[string]time.Time // by organisation and member
}

// openInbox listens, and has the worker that starts later post there.
func openInbox() (*inbox, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	in := &inbox{url: "http://" + listener.Addr().String(), came: map[string]time.Time{}}
	go func() { _ = (&http.Server{Handler: in, ReadHeaderTimeout: time.Minute}).Serve(listener) }()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of this benchmark alone"))
	if err := os.Setenv("ARREARS_NOTIFY_URL", in.url); err != nil {
		return nil, err
	}
	return in, os.Setenv("ARREARS_NOTIFY_SECRET", secret)
}

// ServeHTTP implements http.Handler.
func (in *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	at := time.Now()
	var message struct {
		Data struct{ Organization, Subject string }
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	key := message.Data.Organization + "/" + message.Data.Subject
	if in.came[key].IsZero() {
		in.came[key] = at
	}
}

func (in *inbox) at(key string) time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.came[key]
}

// noticeDelay measures the time from the commit of an event that crosses a
// threshold to the notice in the hands of its channel, while other organisations
// store 20,000 events a second.
func (r *rig) noticeDelay(ctx context.Context) ([]row, error) {
	if err := r.clear(ctx); err != nil {
		return nil, err
	}
	orgs, start, err := r.noticedOrganizations(ctx)
	if err != nil {
		return nil, err
	}
	loading, stopLoad := context.WithCancel(ctx)
	stored, failed := 0, error(nil)
	var running sync.WaitGroup
	began := time.Now()
	running.Go(func() { stored, failed = r.loadSteadily(loading) })
	committed, err := r.crossThresholds(ctx, orgs, start)
	took := time.Since(began)
	stopLoad()
	running.Wait()
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	var delays []time.Duration
	for key, at := range committed {
		for time.Since(at) < noticePause && r.inbox.at(key).IsZero() {
			time.Sleep(10 * time.Millisecond)
		}
		came := r.inbox.at(key)
		if came.IsZero() {
			return nil, fmt.Errorf("the notice to %s did not come", key)
		}
		delays = append(delays, max(came.Sub(at), 0))
	}
	return []row{{
		what: fmt.Sprintf("from commit to the notice with its channel, p99 in s (%d notices, %.0f events/s stored meanwhile)",
			len(delays), perSecond(stored, took)),
		ours: quantile(delays, 0.99).Seconds(), mark: "< 2", note: quantiles(delays),
	}}, nil
}

// noticedOrganizations makes organisations with a running cycle and a limit for
// each of some members.
func (r *rig) noticedOrganizations(ctx context.Context) (orgs []string, start time.Time, err error) {
	by := billing.Actor{Name: "bench"}
	for n := range noticeOrgs {
		org := fmt.Sprintf("notices-%02d", n)
		if start, err = r.organization(ctx, org); err != nil {
			return nil, start, err
		}
		for member := range noticesEach {
			change := billing.LimitChange{
				Scope: billing.ScopeUser, Subject: fmt.Sprintf("user_%03d", member),
				Amount: decimal.NewNullDecimal(decimal.RequireFromString("0.01")), Thresholds: []int{100},
			}
			if _, err := r.store.SetLimit(ctx, org, change, by); err != nil {
				return nil, start, err
			}
		}
		if err := r.store.StartCycle(ctx, org, by); err != nil {
			return nil, start, err
		}
		in := workflows.CycleInput{Organization: org}
		if _, err := r.temporal.ExecuteWorkflow(ctx, workflows.CycleStartOptions(in), workflows.BillingCycle, in); err != nil {
			return nil, start, err
		}
		orgs = append(orgs, org)
	}
	time.Sleep(2 * time.Second) // the cycles come to rest
	return orgs, start, nil
}

// crossThresholds stores one crossing event after the other, each of another
// member, and returns when each was committed.
func (r *rig) crossThresholds(ctx context.Context, orgs []string, start time.Time) (map[string]time.Time, error) {
	committed := map[string]time.Time{}
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	for member := range noticesEach {
		for _, org := range orgs {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			user := fmt.Sprintf("user_%03d", member)
			event := usageOf(org, user, "evt_"+user, start, 0)
			event.Quantities[billing.Output] = 1_000_000
			if _, err := r.store.StoreUsage(ctx, org, []billing.UsageItem{{Event: event}}); err != nil {
				return nil, err
			}
			committed[org+"/"+user] = time.Now()
		}
	}
	return committed, nil
}

// loadSteadily stores usage of other organisations at a steady rate until ctx
// ends, two batches at once where one falls behind, and counts the events.
func (r *rig) loadSteadily(ctx context.Context) (stored int, err error) {
	const orgs = 10
	var start time.Time
	names := make([]string, orgs)
	for n := range names {
		names[n] = fmt.Sprintf("load-%02d", n)
		if start, err = r.organization(ctx, names[n]); err != nil {
			return 0, err
		}
	}
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	slots := make(chan struct{}, 2)
	var mu sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			running.Wait()
			return stored, err
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			failed := r.storeBatch(context.WithoutCancel(ctx), names[n%orgs], start, n*loadPerTick, loadPerTick)
			mu.Lock()
			defer mu.Unlock()
			stored += loadPerTick
			if failed != nil {
				err = failed
			}
		})
	}
}
