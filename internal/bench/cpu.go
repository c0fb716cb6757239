package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTick is the unit of times in /proc, the same on every Linux.
const clockTick = 10 * time.Millisecond

// processStat is what /proc says of a process.
type processStat struct {
	parent      int
	busy        time.Duration // on a processor, in user and system mode
	busyOfEnded time.Duration // of its children that ended
}

func readStat(pid int) (s processStat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	ticks := func(field int) time.Duration { // as numbered in proc(5)
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return time.Duration(n) * clockTick
	}
	s.parent, err = strconv.Atoi(fields[1])
	s.busy, s.busyOfEnded = ticks(14)+ticks(15), ticks(16)+ticks(17)
	return s, err
}

// postmaster is the process whose children PostgreSQL's sessions are; 0 where
// that cannot be told: on another machine, or another system.
func postmaster(ctx context.Context, conn *pgx.Conn) int {
	var pid int
	if err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return 0
	}
	s, err := readStat(pid)
	if err != nil {
		return 0
	}
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.parent)); strings.TrimSpace(string(name)) != "postgres" {
		return 0
	}
	return s.parent
}

// postgresBusy is the processor time that PostgreSQL has used so far, all its
// processes together. Unlike the time on the clock, it hardly depends on what
// else the machine does.
func (r *rig) postgresBusy() (busy time.Duration) {
	if r.postmaster == 0 {
		return 0
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		s, err := readStat(pid)
		switch {
		case err != nil:
		case pid == r.postmaster:
			busy += s.busy + s.busyOfEnded
		case s.parent == r.postmaster:
			busy += s.busy
		}
	}
	return busy
}

// residentMB is the memory that a process holds, in MB; with its own alone,
// what it shares with others, as PostgreSQL's buffers, is left out.
func residentMB(pid int, ownAlone bool) (mb float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseFloat(fields[1], 64)
	if ownAlone {
		shared, _ := strconv.ParseFloat(fields[2], 64)
		pages -= shared
	}
	return pages * float64(os.Getpagesize()) / 1e6
}
