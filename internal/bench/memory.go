package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// memory watches the memory of a long import from a stream, which must not grow
// with it: that of the importer, and that of PostgreSQL's session beside the
// buffers that it shares.
func (r *rig) memory(ctx context.Context) ([]row, error) {
	if err := r.clear(ctx); err != nil {
		return nil, err
	}
	const org = "memory"
	start, err := r.organization(ctx, org)
	if err != nil {
		return nil, err
	}
	cmd, out := r.starter(ctx, "usage", "import", "-", "-o", "json")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var written atomic.Int64
	written1 := make(chan error, 1)
	go func() { written1 <- r.streamUsage(in, org, start, &written) }()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	const part = 1_000_000
	var rows []row
	var importer, session float64 // the most of a part
	for done := false; !done; {
		select {
		case err := <-ended:
			if err = errors.Join(err, <-written1); err != nil {
				return nil, fmt.Errorf("%w: %s", err, out.Bytes())
			}
			done = true
		case <-time.After(50 * time.Millisecond):
			importer, session = max(importer, residentMB(cmd.Process.Pid, false)), max(session, r.sessionMB())
		}
		if n := int(written.Load()) / part; n > len(rows) || done && n*part < r.allEvents {
			rows = append(rows, row{
				what: fmt.Sprintf("memory of an import, MB (the most up to event %s)", short(min(max(n, 1)*part, r.allEvents))),
				ours: importer, note: fmt.Sprintf("PostgreSQL's session %.0f", session),
			})
			importer, session = 0, 0
		}
	}
	if len(rows) == 0 {
		return nil, errors.New("the import ended before its memory was seen")
	}
	rows[0].note += fmt.Sprintf("; %.0f events/s, writer included", perSecond(r.allEvents, time.Since(began)))
	return rows, nil
}

func (r *rig) streamUsage(to io.WriteCloser, org string, start time.Time, written *atomic.Int64) error {
	w := bufio.NewWriterSize(to, 1<<20)
	l := load{events: r.allEvents, members: r.members, models: 3}
	for i := range l.events {
		l.line(w, org, start, i)
		written.Store(int64(i + 1))
	}
	return errors.Join(w.Flush(), to.Close())
}

// sessionMB is the most memory that one of PostgreSQL's sessions holds for itself.
func (r *rig) sessionMB() (most float64) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if s, err := readStat(pid); err == nil && s.parent == r.postmaster && r.postmaster != 0 {
			most = max(most, residentMB(pid, true))
		}
	}
	return most
}

// processOf finds a running program of ours by its arguments; 0 = none.
func (r *rig) processOf(program, argument string) int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		line, _ := os.ReadFile(dir + "/cmdline")
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if args[0] == filepath.Join(r.bin, program) && (argument == "" || len(args) > 1 && args[1] == argument) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}
