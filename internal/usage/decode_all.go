package usage

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Options bound the work of DecodeAll. Zero values are the defaults.
type Options struct {
	Workers int           // decoders at work; default: one per processor
	Batch   int           // the most items handed out at once; default 1000
	MaxLine int           // default MaxLine
	Flush   time.Duration // how long a batch waits for a stream that pauses; default 100 ms
}

// Item is one line, decoded. A line either has an event or a rejection.
type Item struct {
	Line      int64 // from 1, blank lines counted
	Event     billing.Event
	Rejection *Rejection
	Raw       []byte // the line; valid during the callback; nil if it was too long
}

// maxBatchBytes closes a batch of long lines early, so that memory depends on
// the options alone: (workers + 2) × (maxBatchBytes + MaxLine) at most.
const maxBatchBytes = 1 << 20

// DecodeAll decodes a stream as Scan reads it, gzipped or not, on several
// cores, and hands its items to batch in their order, from this goroutine. The slice and its items
// are used again after the callback; events may be copied out. While batch is
// busy, reading waits.
//
// It stops at the first error of batch, which it returns, when ctx ends, or
// when reading fails: then what was read before is handed out first. If r
// blocks, a Read may outlive the return.
//
// For a request's body, a loop over Scan or Elements with Decode costs less.
func DecodeAll(ctx context.Context, r io.Reader, o Options, batch func([]Item) error) error {
	o = o.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	jobs := o.Workers + 2
	p := &pipeline{
		Options: o,
		free:    make(chan *job, jobs),
		work:    make(chan *job, jobs),
		order:   make(chan *job, jobs),
	}
	for range jobs {
		p.free <- &job{done: make(chan struct{}, 1)}
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(context.Canceled)
	for range o.Workers {
		running.Go(p.decode)
	}
	running.Go(func() { p.read(ctx, r) })

	for j := range p.order {
		<-j.done
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := batch(j.items); err != nil {
			return err
		}
		p.free <- j
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.err
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Batch <= 0 {
		o.Batch = 1000
	}
	if o.MaxLine <= 0 {
		o.MaxLine = MaxLine
	}
	if o.Flush <= 0 {
		o.Flush = 100 * time.Millisecond
	}
	return o
}

// pipeline moves a fixed number of jobs in a circle: read, decoded, handed out,
// free again. The channels hold all of them, so only taking a free one waits.
type pipeline struct {
	Options
	free, work, order chan *job

	current *job  // being filled
	err     error // of reading; set before order is closed
}

// job is one batch on its way.
type job struct {
	text  []byte
	ends  []int // of the items' lines in text
	items []Item
	done  chan struct{}
}

// read fills jobs with lines.
func (p *pipeline) read(ctx context.Context, r io.Reader) {
	defer close(p.order)
	defer close(p.work)
	source, err := unzipped(readAhead(ctx, r, p.Flush, p.send))
	if err != nil {
		p.err = err
		return
	}
	for line, err := range Scan(source, p.MaxLine) {
		if err != nil {
			p.err = err
			break
		}
		if p.current == nil {
			select {
			case p.current = <-p.free:
				p.current.empty()
			case <-ctx.Done():
				return
			}
		}
		if p.current.add(line); len(p.current.items) == p.Batch || len(p.current.text) >= maxBatchBytes {
			p.send()
		}
	}
	p.send()
}

// send passes the current job on, if there is one.
func (p *pipeline) send() {
	if p.current != nil {
		p.work <- p.current
		p.order <- p.current
		p.current = nil
	}
}

func (j *job) empty() { j.text, j.ends, j.items = j.text[:0], j.ends[:0], j.items[:0] }

func (j *job) add(line Line) {
	j.text = append(j.text, line.Bytes...)
	j.ends = append(j.ends, len(j.text))
	j.items = append(j.items, Item{Line: line.Number, Rejection: line.Rejection})
}

func (p *pipeline) decode() {
	d := newDecoder()
	for j := range p.work {
		start := 0
		for i, end := range j.ends {
			if item := &j.items[i]; item.Rejection == nil {
				item.Raw = j.text[start:end:end]
				item.Event, item.Rejection = d.decode(item.Raw)
			}
			start = end
		}
		j.done <- struct{}{}
	}
}

// blocks is a reader that reads ahead in a goroutine of its own, so that a
// stream that pauses can be told from one that ended, and a blocked one left.
type blocks struct {
	ctx    context.Context
	filled chan block
	spare  chan []byte
	rest   block
	whole  []byte // the buffer that rest is a part of

	patience time.Duration
	onPause  func()
}

type block struct {
	bytes []byte
	err   error
}

func readAhead(ctx context.Context, r io.Reader, patience time.Duration, onPause func()) *blocks {
	b := &blocks{
		ctx: ctx, filled: make(chan block, 2), spare: make(chan []byte, 2),
		patience: patience, onPause: onPause,
	}
	for range cap(b.spare) {
		b.spare <- make([]byte, 128<<10)
	}
	go b.fill(r)
	return b
}

func (b *blocks) fill(r io.Reader) {
	for {
		var buffer []byte
		select {
		case buffer = <-b.spare:
		case <-b.ctx.Done():
			return
		}
		n, err := readSome(r, buffer)
		b.filled <- block{buffer[:n], err} // never waits: there are as many places as buffers
		if err != nil {
			return
		}
	}
}

// readSome reads something or an error. A reader that gives neither, again and
// again, is broken.
func readSome(r io.Reader, buffer []byte) (n int, err error) {
	for range 100 {
		if n, err = r.Read(buffer); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// Read implements io.Reader. If nothing comes for a while, it calls onPause
// before it waits on.
func (b *blocks) Read(p []byte) (int, error) {
	for len(b.rest.bytes) == 0 {
		if b.rest.err != nil {
			return 0, b.rest.err
		}
		if b.whole != nil {
			b.spare <- b.whole
			b.whole = nil
		}
		if err := b.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest.bytes)
	b.rest.bytes = b.rest.bytes[n:]
	return n, nil
}

func (b *blocks) receive() error {
	pause := time.NewTimer(b.patience)
	defer pause.Stop()
	for {
		select {
		case b.rest = <-b.filled:
			b.whole = b.rest.bytes[:cap(b.rest.bytes)]
			return nil
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		case <-pause.C:
			b.onPause()
		}
	}
}
