package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows on a terminal how far long work has come; elsewhere it is
// silent.
type progress struct{ bar *progressbar.ProgressBar }

// progress begins to show work on so many bytes; -1 = nobody knows how many.
func (a *app) progress(doing string, size int64) *progress {
	if !a.terminal {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(doing),
		progressbar.OptionShowBytes(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(),
	)}
}

// reader counts what is read of r.
func (p *progress) reader(r io.Reader) io.Reader {
	if p.bar == nil {
		return r
	}
	return io.TeeReader(r, p.bar)
}

func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish() // a bar that cannot be drawn stops nothing
	}
}

// timeBar shows how far moved clocks have come.
type timeBar struct {
	progress
	from time.Time
}

func (a *app) timeBar(from, to time.Time) *timeBar {
	if !a.terminal || !to.After(from) {
		return &timeBar{from: from}
	}
	return &timeBar{from: from, progress: progress{progressbar.NewOptions64(int64(to.Sub(from)/time.Second),
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(showTime(from)),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(),
	)}}
}

func (b *timeBar) moved(to time.Time) {
	if b.bar == nil {
		return
	}
	b.bar.Describe(showTime(to))
	_ = b.bar.Set64(int64(to.Sub(b.from) / time.Second)) // a bar that cannot be drawn stops nothing
}
