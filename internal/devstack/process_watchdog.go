package devstack

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
)

// watchdog waits for the end of its standard input, which the kernel closes
// when this process dies, and then ends one child: first by the signal asked
// for, five seconds later by force and with its group.
const watchdog = `cat >/dev/null; kill -"$1" "$2" 2>/dev/null || exit 0; sleep 5; kill -s KILL -- "-$2" 2>/dev/null`

// startWatched starts cmd together with a watchdog. Best effort: the watchdog
// can be killed too, and a parent that dies between the two starts leaves the
// child behind. Linux has a signal for this; other systems do not. The
// function returned ends the watch; it is called once the child has ended.
func startWatched(cmd *exec.Cmd, orphanSignal syscall.Signal) (release func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	dog := exec.Command("/bin/sh", "-c", watchdog, "watchdog", //nolint:noctx // it outlives this process on purpose
		strconv.Itoa(int(orphanSignal)), strconv.Itoa(cmd.Process.Pid))
	dog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := dog.StdinPipe() // unused, open until this process ends
	if err == nil {
		err = dog.Start()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("watch over it: %w", err)
	}
	return func() {
		_ = dog.Process.Kill()
		_ = dog.Wait()
		_ = lifeline.Close()
	}, nil
}
