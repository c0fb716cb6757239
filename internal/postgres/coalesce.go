package postgres

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// coalescedLanes is how many shared statements of one kind are under way at once.
	// More would make each smaller, which costs the database more than it saves
	// anybody.
	coalescedLanes = 2
	// coalescedMost is how many questions one statement carries at most.
	coalescedMost = 256
	// coalescedTimeout bounds a statement of callers who would wait for ever.
	coalescedTimeout = 10 * time.Second
)

// coalescer answers the questions of many callers with few statements: those that
// arrive while every lane is under way go into the next one together, in the order
// of arrival. Without company a question waits for nothing, and nobody is told what
// was read before they asked.
type coalescer[Question comparable, Answer any] struct {
	// ask answers questions, none of them twice, each at its place.
	ask func(ctx context.Context, questions []Question) ([]Answer, error)

	mu    sync.Mutex
	line  []*caller[Question, Answer] // who waits for the next statement
	lanes int                         // under way
}

// caller is what one caller wants to know.
type caller[Question comparable, Answer any] struct {
	ctx      context.Context
	question Question
	answer   Answer // callers of one question get the same, and change nothing in it
	err      error
	done     chan struct{} // closed when answer or err is set
}

// waits reports whether the caller is still there. One whose deadline has come is
// gone, even where its context has yet to say so.
func (a *caller[Question, Answer]) waits() bool {
	until, bounded := a.ctx.Deadline()
	return a.ctx.Err() == nil && (!bounded || time.Now().Before(until))
}

// get answers one question. Who goes away costs only their own answer.
func (s *coalescer[Question, Answer]) get(ctx context.Context, question Question) (answer Answer, err error) {
	a := &caller[Question, Answer]{ctx: ctx, question: question, done: make(chan struct{})}
	s.mu.Lock()
	s.line = append(s.line, a)
	if s.lanes < coalescedLanes {
		s.lanes++
		go s.serve()
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.answer, a.err
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

// serve runs one statement after the other until nobody waits.
func (s *coalescer[Question, Answer]) serve() {
	for {
		runtime.Gosched() // whoever is about to ask, such as those who just got their answer, goes along
		callers := s.next()
		if callers == nil {
			return
		}
		s.answer(callers)
	}
}

// next takes the callers of the next statement out of the line, but for those who
// have left. When there are none, the lane ends.
func (s *coalescer[Question, Answer]) next() (callers []*caller[Question, Answer]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.line) > 0 && len(callers) < coalescedMost {
		if a := s.line[0]; a.waits() {
			callers = append(callers, a)
		}
		s.line[0], s.line = nil, s.line[1:]
	}
	if len(callers) == 0 {
		s.lanes--
	}
	return callers
}

// answer answers callers by one statement. Where one of their values is at fault,
// each is asked by itself, so that it fails alone.
func (s *coalescer[Question, Answer]) answer(callers []*caller[Question, Answer]) {
	index := make(map[Question]int, len(callers))
	questions := make([]Question, 0, len(callers))
	for _, a := range callers {
		if _, twice := index[a.question]; !twice {
			index[a.question] = len(questions)
			questions = append(questions, a.question)
		}
	}
	ctx, cancel := lastDeadline(callers)
	defer cancel()
	answers, err := s.try(ctx, questions)
	if len(questions) > 1 && isDataFault(err) {
		for _, a := range callers {
			s.answer([]*caller[Question, Answer]{a})
		}
		return
	}
	for _, a := range callers {
		if a.err = err; err == nil {
			a.answer = answers[index[a.question]]
		}
		close(a.done)
	}
}

// lastDeadline is a context that ends when none of the callers may wait any longer.
func lastDeadline[Question comparable, Answer any](callers []*caller[Question, Answer]) (context.Context, context.CancelFunc) {
	longest, latest := time.Now().Add(coalescedTimeout), time.Time{}
	for _, a := range callers {
		until, bounded := a.ctx.Deadline()
		if !bounded || until.After(longest) {
			until = longest
		}
		if until.After(latest) {
			latest = until
		}
	}
	return context.WithDeadline(context.Background(), latest)
}

// try asks, and makes an error of a panic, which would end the process here, where
// no caller is above it.
func (s *coalescer[Question, Answer]) try(ctx context.Context, questions []Question) (answers []Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("asking panicked: %v", p)
		}
	}()
	answers, err = s.ask(ctx, questions)
	if err == nil && len(answers) != len(questions) {
		err = fmt.Errorf("%d questions got %d answers", len(questions), len(answers))
	}
	return answers, err
}

// isDataFault reports whether a statement failed for a value that it was given,
// such as a text that is none.
func isDataFault(err error) bool { return strings.HasPrefix(errorCode(err), "22") }
