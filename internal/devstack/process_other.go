//go:build !linux

package devstack

import (
	"os/exec"
	"syscall"
)

// startBound starts cmd so that it ends when this process dies, as well as
// systems other than Linux allow.
func startBound(cmd *exec.Cmd, orphanSignal syscall.Signal) (release func(), err error) {
	return startWatched(cmd, orphanSignal)
}
