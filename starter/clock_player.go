package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/usage"
)

const (
	// playedSpan is how much of an organisation's time passes between two batches
	// of played usage: notices are late by no more.
	playedSpan = 15 * time.Minute
	// clocksAtOnce is how many clocks are moved side by side.
	clocksAtOnce = 8
)

// player moves test clocks together, in order of time: it lets all come to a
// rest, goes to the next time that any of them waits for, and so on.
type player struct {
	*clockAdvanceOptions
	store  *postgres.Store
	clocks []*testClock
	tally  *tally
	moved  func(time.Time) // tells how far all have come
}

// testClock is one organisation's clock on its way.
type testClock struct {
	org    billing.Organization // its Now is where the clock stands
	from   time.Time
	to     time.Time
	wake   time.Time // the next time that something waits for; zero = nothing does
	events []playedEvent
	later  int64 // events after the end
	rested bool  // nothing has happened to it since it last came to a rest
}

type playedEvent struct {
	line int64
	item billing.UsageItem
}

func newPlayer(o *clockAdvanceOptions, store *postgres.Store, clocks []*testClock) *player {
	return &player{clockAdvanceOptions: o, store: store, clocks: clocks, tally: &tally{}, moved: func(time.Time) {}}
}

// from is where the first clock stands.
func (p *player) from() time.Time {
	first := p.clocks[0].org.Now
	for _, c := range p.clocks {
		if c.org.Now.Before(first) {
			first = c.org.Now
		}
	}
	return first
}

// until is where the last clock is moved to.
func (p *player) until() time.Time {
	last := p.clocks[0].to
	for _, c := range p.clocks {
		if c.to.After(last) {
			last = c.to
		}
	}
	return last
}

// load reads a usage file and deals its events to their organisations, each in
// order of time.
func (p *player) load(ctx context.Context, a *app, path string) error {
	file, size, err := a.open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	clocks := map[string]*testClock{}
	for _, c := range p.clocks {
		clocks[c.org.ID] = c
	}
	bar := a.progress("reading", size)
	defer bar.done()
	err = usage.DecodeAll(ctx, bar.reader(file), usage.Options{}, func(items []usage.Item) error {
		for i := range items {
			p.deal(clocks, &items[i])
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: nothing was played\n%w", path, err)
	}
	for _, c := range p.clocks {
		slices.SortStableFunc(c.events, func(a, z playedEvent) int { return a.item.Event.OccurredAt.Compare(z.item.Event.OccurredAt) })
		played := c.before(c.to.Add(time.Microsecond))
		c.later = int64(len(c.events) - played)
		c.events = c.events[:played]
	}
	return nil
}

func (p *player) deal(clocks map[string]*testClock, item *usage.Item) {
	c := clocks[item.Event.Organization]
	switch {
	case item.Rejection != nil:
		p.tally.reject(item, item.Rejection)
	case c == nil:
		p.tally.reject(item, &usage.Rejection{
			Field: "organization", Reason: fmt.Sprintf("%q is not among those whose clocks are moved", item.Event.Organization),
		})
	default:
		c.events = append(c.events, playedEvent{item.Line, billing.UsageItem{Event: item.Event, Raw: slices.Clone(item.Raw), Source: billing.SourceImport}})
	}
}

// before counts the events that happened before a time.
func (c *testClock) before(t time.Time) int {
	n, _ := slices.BinarySearchFunc(c.events, t, func(e playedEvent, t time.Time) int {
		if e.item.Event.OccurredAt.Before(t) {
			return -1
		}
		return 1
	})
	return n
}

// advance moves all clocks to the end.
func (p *player) advance(ctx context.Context) error {
	for {
		if err := p.each(ctx, p.rest); err != nil {
			return err
		}
		step, due := p.next()
		if !due {
			break
		}
		p.moved(step)
		err := p.each(ctx, func(ctx context.Context, c *testClock) error {
			if err := p.play(ctx, c, c.before(step)); err != nil {
				return err
			}
			if c.wake.IsZero() || c.wake.After(step) {
				return nil
			}
			return p.move(ctx, c, step)
		})
		if err != nil {
			return err
		}
	}
	err := p.each(ctx, func(ctx context.Context, c *testClock) error {
		if err := p.play(ctx, c, len(c.events)); err != nil {
			return err
		}
		if err := p.move(ctx, c, c.to); err != nil {
			return err
		}
		return p.rest(ctx, c)
	})
	p.moved(p.until())
	return err
}

// each does something with all clocks, several at once.
func (p *player) each(ctx context.Context, do func(context.Context, *testClock) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clocksAtOnce)
	for _, c := range p.clocks {
		group.Go(func() error { return do(ctx, c) })
	}
	return group.Wait()
}

// rest lets an organisation come to a rest and notes what it waits for then.
// One to which nothing has happened is there still: organisations do not touch
// each other.
func (p *player) rest(ctx context.Context, c *testClock) error {
	if c.rested {
		return nil
	}
	status, err := atRest(ctx, p.store, c.org.ID, p.timeout)
	c.wake, c.rested = status.NextWake, err == nil
	return err
}

// next is the first time that any organisation waits for; due reports whether it
// lies within the way.
func (p *player) next() (step time.Time, due bool) {
	for _, c := range p.clocks {
		if c.wake.IsZero() || c.wake.After(c.to) {
			continue
		}
		if !due || c.wake.Before(step) {
			step, due = c.wake, true
		}
	}
	return step, due
}

// play stores an organisation's next n events, each just after it happened.
func (p *player) play(ctx context.Context, c *testClock, n int) error {
	for n > 0 {
		c.rested = false
		size := min(c.before(c.events[0].item.Event.OccurredAt.Add(playedSpan)), n, batchEvents)
		if err := p.playBatch(ctx, c, c.events[:size]); err != nil {
			return err
		}
		c.events, n = c.events[size:], n-size
	}
	return nil
}

// playBatch stores events that happened one after the other, at the time of the
// last.
func (p *player) playBatch(ctx context.Context, c *testClock, events []playedEvent) error {
	if last := events[len(events)-1].item.Event.OccurredAt; last.After(c.org.Now) {
		if err := p.store.SetClock(ctx, c.org.ID, last); err != nil {
			return err
		}
		c.org.Now = last
	}
	lines := make([]int64, len(events))
	items := make([]billing.UsageItem, len(events))
	for i, e := range events {
		lines[i], items[i] = e.line, e.item
	}
	answers, err := p.store.StoreUsage(ctx, c.org.ID, items)
	return p.tally.stored(lines, items, answers, err)
}

// move sets an organisation's clock, the provider's first: what wakes up here
// finds the same time there.
func (p *player) move(ctx context.Context, c *testClock, to time.Time) error {
	c.rested = false
	org, err := p.store.Organization(ctx, c.org.ID)
	if err != nil {
		return err
	}
	if org.StripeClockID != "" {
		gateway, err := p.Gateway()
		if err != nil {
			return err
		}
		if err := gateway.AdvanceClock(ctx, org.StripeClockID, to); err != nil {
			return fmt.Errorf("advance the clock of %s at Stripe: %w", org.ID, err)
		}
	}
	if err := p.store.SetClock(ctx, c.org.ID, to); err != nil {
		return err
	}
	c.org.Now = to
	return nil
}

// view says what has happened since the snapshots.
func (p *player) view(ctx context.Context, before map[string]snapshot) (advancedView, error) {
	view := advancedView{To: p.until(), Organizations: []advancedOrgView{}, Events: []reportRow{}}
	var later int64
	for _, c := range p.clocks {
		cycle, err := p.store.Cycle(ctx, c.org.ID)
		if err != nil {
			return view, err
		}
		view.Organizations = append(view.Organizations, advancedOrgView{c.org.ID, c.from, c.org.Now, cycle.Stage})
		after, err := takeSnapshot(ctx, p.store, c.org.ID)
		if err != nil {
			return view, err
		}
		view.Events = append(view.Events, after.since(before[c.org.ID])...)
		later += c.later
	}
	slices.SortFunc(view.Events, reportRow.compare)
	if p.usage != "" {
		view.Usage = &playedView{p.tally.totals(), later}
	}
	return view, nil
}
