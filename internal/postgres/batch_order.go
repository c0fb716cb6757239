package postgres

import (
	"context"
	"sync"
)

// Ticket is a batch's place in the order of one source and organisation. A batch
// begins while the one before it is still under way, but its events come after:
// what was sent first stays.
type Ticket struct {
	before *Ticket

	copying  stage // its rows are on their way: it has all that it needs to end
	copied   stage // its rows are in place, and it repeated nothing: only counting is left
	answered stage
}

// stage is reached once, and then for ever.
type stage struct {
	once    sync.Once
	reached chan struct{}
}

func (s *stage) reach() { s.once.Do(func() { close(s.reached) }) }

func (s *stage) wait(ctx context.Context) error {
	select {
	case <-s.reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// NextTicket is the ticket after another one; after nil it is the first.
func NextTicket(before *Ticket) *Ticket {
	t := &Ticket{before: before}
	for _, s := range []*stage{&t.copying, &t.copied, &t.answered} {
		s.reached = make(chan struct{})
	}
	return t
}

// Answered waits until the batch is answered, or ctx ends.
func (t *Ticket) Answered(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.answered.wait(ctx)
}

// Over reports whether the batch is answered.
func (t *Ticket) Over() bool {
	select {
	case <-t.answered.reached:
		return true
	default:
		return false
	}
}

// Begin waits until the batch may begin: once the one before it has its
// connection, so that they never wait for each other's, or its answers, where
// the batch cancels events that may be among them.
func (t *Ticket) Begin(ctx context.Context, retracts bool) error {
	switch {
	case t.before == nil:
		return nil
	case retracts:
		return t.before.answered.wait(ctx)
	}
	return t.before.copying.wait(ctx)
}

// copy waits until the batch's rows may follow those before them. Whoever comes
// with an id of those waits in the database until they are counted.
func (t *Ticket) copy(ctx context.Context) error {
	if t.before != nil {
		if err := t.before.copied.wait(ctx); err != nil {
			return err
		}
		t.before = nil // nobody keeps all tickets of a source
	}
	t.copying.reach()
	return nil
}

// End says that nobody need wait for the batch any more, whatever became of it.
func (t *Ticket) End() {
	t.copying.reach()
	t.copied.reach()
	t.answered.reach()
}
