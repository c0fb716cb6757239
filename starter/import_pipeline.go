package main

import (
	"context"
	"sync"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/usage"
)

const (
	// batchEvents and batchBytes bound one transaction: large enough that its own
	// cost does not count, small enough that others do not wait for it.
	batchEvents = 32_000
	batchBytes  = 16 << 20
	// heldEvents and heldBytes bound what waits for its batch to fill up, where a
	// file has many organisations.
	heldEvents = 96_000
	heldBytes  = 64 << 20
	// storesAtOnce is how many organisations' batches are stored at once.
	storesAtOnce = 4
	// idleLanes is how many organisations are remembered without need.
	idleLanes = 1000
)

// usageStore is where usage goes.
type usageStore interface {
	StoreUsageInOrder(ctx context.Context, organization string, items []billing.UsageItem, ticket *postgres.Ticket) ([]billing.UsageAnswer, error)
}

// importPipeline stores decoded lines: each organisation's in their order, in batches of
// one transaction each, while the next ones are being decoded. A batch begins
// while the one before it still counts. Its methods are for one goroutine.
type importPipeline struct {
	store  usageStore
	tally  *tally
	failed func(error) // called when storing fails

	lanes  map[string]*lane
	last   *lane // of the line before: most lines follow one of their own organisation
	events int   // held
	bytes  int
	next   int64 // the first line that was not taken over yet

	slots   chan struct{}
	running sync.WaitGroup
	spare   chan *batch // answered, and room for the next

	mu     sync.Mutex
	broken int64 // the first line of those that could not be stored; 0 = none
}

// lane holds what comes next of one organisation.
type lane struct {
	organization string
	batch        *batch
	ticket       *postgres.Ticket // of its last batch; nil = there was none
	former       *postgres.Ticket // of the one before
}

// batch is one transaction's events.
type batch struct {
	items []billing.UsageItem
	lines []int64
	raw   []byte
}

func newImportPipeline(store usageStore, t *tally, failed func(error)) *importPipeline {
	return &importPipeline{
		store: store, tally: t, failed: failed,
		lanes: map[string]*lane{},
		next:  1,
		slots: make(chan struct{}, storesAtOnce),
		spare: make(chan *batch, storesAtOnce),
	}
}

// add takes lines over. It waits while too much is held or being stored, or
// until ctx ends.
func (l *importPipeline) add(ctx context.Context, items []usage.Item) error {
	for i := range items {
		item := &items[i]
		l.next = item.Line + 1
		if item.Rejection != nil {
			l.tally.reject(item, item.Rejection)
			continue
		}
		at := l.lane(item.Event.Organization)
		b := at.batch
		start := len(b.raw)
		b.raw = append(b.raw, item.Raw...)
		b.items = append(b.items, billing.UsageItem{Event: item.Event, Raw: b.raw[start:len(b.raw):len(b.raw)], Source: billing.SourceImport})
		b.lines = append(b.lines, item.Line)
		l.events++
		l.bytes += len(item.Raw)
		if len(b.items) == batchEvents || len(b.raw) >= batchBytes {
			if err := l.send(ctx, at); err != nil {
				return err
			}
		}
	}
	if l.events > heldEvents || l.bytes > heldBytes {
		return l.send(ctx, l.fullest())
	}
	return nil
}

func (l *importPipeline) lane(organization string) *lane {
	if l.last != nil && l.last.organization == organization {
		return l.last
	}
	at := l.lanes[organization]
	if at == nil {
		l.forget()
		at = &lane{organization: organization, batch: l.empty()}
		l.lanes[organization] = at
	}
	l.last = at
	return at
}

func (l *importPipeline) fullest() (most *lane) {
	for _, at := range l.lanes {
		if most == nil || len(at.batch.items) > len(most.batch.items) {
			most = at
		}
	}
	return most
}

// forget drops lanes that hold nothing, when there are many.
func (l *importPipeline) forget() {
	if len(l.lanes) < idleLanes {
		return
	}
	for organization, at := range l.lanes {
		if len(at.batch.items) == 0 && at.idle() {
			delete(l.lanes, organization)
		}
	}
}

func (at *lane) idle() bool {
	return (at.former == nil || at.former.Over()) && (at.ticket == nil || at.ticket.Over())
}

// flush sends everything that is held.
func (l *importPipeline) flush(ctx context.Context) error {
	for _, at := range l.lanes {
		if err := l.send(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// send has a lane's batch stored, behind the one before it.
func (l *importPipeline) send(ctx context.Context, at *lane) error {
	full := at.batch
	if len(full.items) == 0 {
		return nil
	}
	if err := at.former.Answered(ctx); err != nil { // two are under way at most
		return err
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ticket := postgres.NextTicket(at.ticket)
	at.batch, at.former, at.ticket = l.empty(), at.ticket, ticket
	l.events -= len(full.items)
	l.bytes -= len(full.raw)
	l.running.Go(func() {
		defer func() { <-l.slots }()
		// What has begun is finished: an interruption stops between batches.
		l.storeBatch(context.WithoutCancel(ctx), at.organization, full, ticket)
	})
	return nil
}

func (l *importPipeline) storeBatch(ctx context.Context, organization string, full *batch, ticket *postgres.Ticket) {
	answers, err := l.store.StoreUsageInOrder(ctx, organization, full.items, ticket)
	if err := l.tally.stored(full.lines, full.items, answers, err); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.broken == 0 || full.lines[0] < l.broken {
			l.broken = full.lines[0]
		}
		l.failed(err)
		return
	}
	clear(full.items) // the events' strings may go
	full.items, full.lines, full.raw = full.items[:0], full.lines[:0], full.raw[:0]
	select {
	case l.spare <- full:
	default:
	}
}

// empty returns a batch to fill: one that has grown already, where there is one.
func (l *importPipeline) empty() *batch {
	select {
	case spare := <-l.spare:
		return spare
	default:
		return &batch{}
	}
}

// wait returns when nothing is being stored any more, and returns the first line
// that may not be answered.
func (l *importPipeline) wait() (unanswered int64) {
	l.running.Wait()
	unanswered = l.next
	if l.broken != 0 {
		unanswered = min(unanswered, l.broken)
	}
	for _, at := range l.lanes {
		if len(at.batch.lines) > 0 {
			unanswered = min(unanswered, at.batch.lines[0])
		}
	}
	return unanswered
}
