package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// sharedEvents is how many events one shared transaction holds at most.
	sharedEvents = 2000
	// loneEvents is from where on a post has a transaction of its own: it gains
	// nothing by sharing one, and would keep the others waiting.
	loneEvents = 500
	// defaultWriters is how many transactions are under way at once, unless said
	// otherwise.
	defaultWriters = 8
	// queueTimeout is how long a post may wait for its transaction to begin.
	queueTimeout = 5 * time.Second
)

// errBusy is an answer to those who would only make a line longer.
var errBusy = errors.New("too many requests wait")

// batcher stores the posts of many callers. Those of one organisation that
// arrive while a transaction of it runs share the next one, so that its counters,
// which every transaction moves, do not make them commit one after the other.
type batcher struct {
	usage   Usage
	log     *slog.Logger
	writers chan struct{} // one place for each transaction that may be under way

	mu    sync.Mutex
	lanes map[string][]*post // by organisation: who waits for its next transaction
}

// post is what one caller wants stored.
type post struct {
	ctx     context.Context
	events  []billing.UsageItem // nil = the caller has left the line
	begun   chan struct{}       // closed when its transaction begins
	answers []billing.UsageAnswer
	err     error
	done    chan struct{} // closed when answers or err are set
}

func newBatcher(usage Usage, writers int, log *slog.Logger) *batcher {
	if writers < 1 {
		writers = defaultWriters
	}
	return &batcher{usage: usage, log: log, writers: make(chan struct{}, writers), lanes: map[string][]*post{}}
}

// StoreUsage implements Usage. Who goes away costs only their own answer.
func (b *batcher) StoreUsage(ctx context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error) {
	if len(events) >= loneEvents {
		return b.storeLone(ctx, organization, events)
	}
	p := &post{ctx: ctx, events: events, begun: make(chan struct{}), done: make(chan struct{})}
	b.join(organization, p)
	late := time.NewTimer(queueTimeout)
	defer late.Stop()
	select {
	case <-p.begun:
	case <-late.C:
		if b.leave(p) {
			return nil, errBusy
		}
	case <-ctx.Done():
		b.leave(p)
		return nil, ctx.Err()
	}
	select {
	case <-p.done:
		return p.answers, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// storeLone stores a large post in a transaction of its own.
func (b *batcher) storeLone(ctx context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error) {
	late := time.NewTimer(queueTimeout)
	defer late.Stop()
	select {
	case b.writers <- struct{}{}:
	case <-late.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.writers }()
	return b.usage.StoreUsage(ctx, organization, events)
}

// join puts a post in line, and sees to it that somebody works the line off.
func (b *batcher) join(organization string, p *post) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line, served := b.lanes[organization]
	b.lanes[organization] = append(line, p)
	if !served {
		go b.serve(organization)
	}
}

// leave takes a post back, unless its transaction has begun. Its events are let
// go at once: a line that does not move holds no more than those who wait in it.
func (b *batcher) leave(p *post) (left bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-p.begun:
		return false
	default:
		p.events = nil
		return true
	}
}

// serve stores an organisation's posts, one transaction after the other, until
// none waits.
func (b *batcher) serve(organization string) {
	for {
		b.writers <- struct{}{} // others join the line meanwhile
		posts := b.next(organization)
		if len(posts) > 0 {
			b.store(organization, posts)
		}
		<-b.writers
		if len(posts) == 0 {
			return
		}
	}
}

// next takes the posts of the next transaction out of the line. When there are
// none, the line is gone.
func (b *batcher) next(organization string) (posts []*post) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := b.lanes[organization]
	events := 0
	for len(line) > 0 && (len(posts) == 0 || events+len(line[0].events) <= sharedEvents) {
		p := line[0]
		line[0], line = nil, line[1:]
		if p.events == nil {
			continue
		}
		close(p.begun)
		events += len(p.events)
		posts = append(posts, p)
	}
	if len(posts) == 0 {
		delete(b.lanes, organization)
	} else {
		b.lanes[organization] = line
	}
	return posts
}

// store stores posts in one transaction. Where that fails, each is stored by
// itself, so that one that cannot be stored costs the others nothing but time:
// if the failed transaction was committed after all, they are duplicates now.
func (b *batcher) store(organization string, posts []*post) {
	if len(posts) > 1 {
		err := b.storeTogether(organization, posts)
		if err == nil {
			return
		}
		b.log.Warn("a shared transaction failed; its posts are stored one by one",
			"organization", organization, "posts", len(posts), "error", err)
	}
	for _, p := range posts {
		if p.err = p.ctx.Err(); p.err == nil {
			p.answers, p.err = b.try(p.ctx, organization, p.events)
		}
		close(p.done)
	}
}

// storeTogether stores posts in the order in which they came. The transaction is
// nobody's own, so it does not end with anybody's request.
func (b *batcher) storeTogether(organization string, posts []*post) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var events []billing.UsageItem
	for _, p := range posts {
		events = append(events, p.events...)
	}
	answers, err := b.try(ctx, organization, events)
	if err != nil {
		return err
	}
	for _, p := range posts {
		p.answers, answers = answers[:len(p.events):len(p.events)], answers[len(p.events):]
		close(p.done)
	}
	return nil
}

// try stores events, and makes an error of a panic, which would end the process
// here, where no request's handler is above it.
func (b *batcher) try(ctx context.Context, organization string, events []billing.UsageItem) (answers []billing.UsageAnswer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storing panicked: %v", p)
		}
	}()
	answers, err = b.usage.StoreUsage(ctx, organization, events)
	if err == nil && len(answers) != len(events) {
		err = fmt.Errorf("%d events got %d answers", len(events), len(answers))
	}
	return answers, err
}
