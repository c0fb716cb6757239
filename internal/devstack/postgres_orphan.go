package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endOrphan clears the way for a start on a data folder that a killed run
// left behind. We hold the folder's lock, so a server still on it is nobody's
// and is ended. A postmaster.pid whose number now belongs to some other
// program would make PostgreSQL refuse to start, and is removed; any other
// stale one PostgreSQL clears by itself.
func (c cluster) endOrphan(ctx context.Context) error {
	file := filepath.Join(c.data(), "postmaster.pid")
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return os.Remove(file)
	}
	if !alive(pid) {
		return nil
	}
	if !c.serves(ctx, pid) {
		return os.Remove(file)
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the server of a killed run (process %d): %w", pid, err)
	}
	for deadline := time.Now().Add(stopGrace); alive(pid); {
		if time.Now().After(deadline) {
			return fmt.Errorf("the server of a killed run (process %d) does not end: stop it by hand", pid)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// alive says whether a process has the number pid.
func alive(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// serves says whether process pid is a PostgreSQL server on this data folder.
func (c cluster) serves(ctx context.Context, pid int) bool {
	// A server works in its data folder; Linux shows it without any tool.
	if cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		data, err := os.Stat(c.data())
		return err == nil && os.SameFile(cwd, data)
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), c.data())
}
