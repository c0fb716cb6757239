package devstack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"
)

const (
	// serverSource is where the Temporal server's module lies in the repository.
	serverSource = "internal/devstack/temporalserver"

	// serverTags leave out what a development server never needs: Kubernetes,
	// and the xDS stack that comes with a storage client.
	serverTags = "release,disable_grpc_modules"

	lineInterval = 15 * time.Second
)

// buildTemporal builds temporal-dev into the repository's bin/, or makes sure
// that what is there is up to date. Two at once wait for each other.
func buildTemporal(ctx context.Context, root string, log io.Writer) error {
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	unlock, err := waitForLock(ctx, filepath.Join(bin, "."+ownName+".lock"), log)
	if err != nil {
		return err
	}
	defer unlock()

	target := filepath.Join(bin, ownName)
	if upToDate(target, filepath.Join(root, serverSource)) {
		return nil
	}
	_, noTarget := os.Stat(target)
	if _, err := exec.LookPath("go"); err != nil {
		if noTarget == nil {
			return nil // nothing to build with: what is there will do
		}
		return fmt.Errorf("build the Temporal server: %w", err)
	}
	if noTarget == nil {
		say(log, "the Temporal development server's source is newer than bin/%s: building it again", ownName)
	} else {
		say(log, "building the Temporal development server into bin/%s: about four minutes on two cores, once", ownName)
	}
	start, unfinished := time.Now(), target+".new"
	if err := runBuild(ctx, root, unfinished, log); err != nil {
		return fmt.Errorf("build the Temporal server: %w", err)
	}
	say(log, "built it in %s", time.Since(start).Round(time.Second))
	return os.Rename(unfinished, target)
}

// upToDate says whether target is newer than every file of its source.
func upToDate(target, source string) bool {
	built, err := os.Stat(target)
	if err != nil {
		return false
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return true // nothing to build from
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.ModTime().After(built.ModTime()) {
			return false
		}
	}
	return true
}

// runBuild runs the compiler and shows that it is at work.
func runBuild(ctx context.Context, root, target string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-tags", serverTags, "-ldflags", "-s -w", "-buildvcs=false", "-o", target, ".")
	cmd.Dir = filepath.Join(root, serverSource)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopGrace

	var compiled atomic.Int64
	output := &packageCounter{count: &compiled}
	cmd.Stderr = output
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	release, err := startBound(cmd, syscall.SIGTERM)
	if err != nil {
		return err
	}
	stop := showProgress(log, &compiled)
	err = cmd.Wait()
	stop()
	release()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output.messages())
	}
	return nil
}

// showProgress reports how far the build is until stop is called: in place on
// a terminal, else a line now and then.
func showProgress(log io.Writer, compiled *atomic.Int64) (stop func()) {
	file, ok := log.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	interval := lineInterval
	if terminal {
		interval = time.Second
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for start := time.Now(); ; {
			select {
			case <-done:
				if terminal {
					_, _ = fmt.Fprint(log, "\r\x1b[K")
				}
				return
			case <-ticker.C:
			}
			state := fmt.Sprintf("  building for %s, %d packages done", time.Since(start).Round(time.Second), compiled.Load())
			if terminal {
				_, _ = fmt.Fprint(log, "\r\x1b[K"+state)
			} else {
				say(log, "%s", state)
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// packageCounter reads what `go build -v` says: the name of each package that
// it compiles, and whatever is wrong.
type packageCounter struct {
	count *atomic.Int64
	text  bytes.Buffer
}

func (p *packageCounter) Write(b []byte) (int, error) {
	p.text.Write(b)
	p.count.Add(int64(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}

// messages is the output without the names of packages, of which each line
// is a single word.
func (p *packageCounter) messages() string {
	var lines []string
	for scanner := bufio.NewScanner(&p.text); scanner.Scan(); {
		if line := scanner.Text(); strings.ContainsRune(line, ' ') {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// waitForLock holds a file's lock until unlock.
func waitForLock(ctx context.Context, path string, log io.Writer) (unlock func(), err error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = lock.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, lock.Close())
		}
		if !said {
			say(log, "somebody else is building the Temporal development server: waiting")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), lock.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
