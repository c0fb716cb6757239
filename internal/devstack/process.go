package devstack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a process may take to end when asked to.
	stopGrace = 10 * time.Second

	// tailLines and tailBytes bound what an error message quotes of a log.
	tailLines = 20
	tailBytes = 8 << 10
)

// command says what to run as a part of the stack.
type command struct {
	name string // for people, as in "worker"
	path string
	args []string
	env  []string // nil = this process's own
	dir  string
	log  string // file to which standard output and error are appended

	credential *syscall.Credential // nil = the user we are
	files      []*os.File          // inherited from descriptor 3 on; launch closes ours

	stopSignal   syscall.Signal // asks it to end; 0 = SIGTERM
	orphanSignal syscall.Signal // sent when this process dies; 0 = SIGKILL
}

// process is a running command. It is in a process group of its own, so that
// the terminal's Ctrl-C reaches this process only, which then stops its parts
// in order.
type process struct {
	command
	cmd      *exec.Cmd
	logStart int64         // where this run's part of the log begins
	done     chan struct{} // closed when it has ended
	err      error         // how it ended; read after done
}

// launch starts c and watches it.
func launch(c command) (*process, error) {
	defer func() {
		for _, file := range c.files {
			_ = file.Close()
		}
	}()
	if c.stopSignal == 0 {
		c.stopSignal = syscall.SIGTERM
	}
	if c.orphanSignal == 0 {
		c.orphanSignal = syscall.SIGKILL
	}
	logFile, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	defer func() { _ = logFile.Close() }() // the child has its own copy

	logStart, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}

	p := &process{command: c, logStart: logStart, done: make(chan struct{})}
	p.cmd = exec.Command(c.path, c.args...) //nolint:noctx // it outlives the call that starts it, and is stopped in order
	p.cmd.Env = c.env
	p.cmd.Dir = c.dir
	p.cmd.Stdout = logFile
	p.cmd.Stderr = logFile
	p.cmd.ExtraFiles = c.files
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.credential}
	release, err := startBound(p.cmd, c.orphanSignal)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		release()
		close(p.done)
	}()
	return p, nil
}

// running says whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks the process to end and kills its group when it does not.
func (p *process) stop() error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(p.stopSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopGrace):
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("%s did not stop within %s and was killed", p.name, stopGrace)
}

// ended describes a process that ended when nobody asked it to, with the end
// of its log.
func (p *process) ended() error {
	state := "exit status 0"
	if p.err != nil {
		state = p.err.Error()
	}
	return p.quote(fmt.Errorf("%s ended: %s", p.name, state))
}

// quote adds the end of the process's log to err, which is where the reason
// is.
func (p *process) quote(err error) error {
	tail := p.output(tailBytes)
	if tail == "" {
		return err
	}
	lines := strings.Split(tail, "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return fmt.Errorf("%w\n  from %s:\n    %s", err, p.log, strings.Join(lines, "\n    "))
}

// output returns the last bytes that the process wrote to its log.
func (p *process) output(limit int64) string {
	file, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	from := max(p.logStart, info.Size()-limit)
	content, err := io.ReadAll(io.NewSectionReader(file, from, limit))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(content))
}
