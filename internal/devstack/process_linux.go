package devstack

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner runs functions on one OS thread that lives as long as this process.
// The kernel sends a child its parent-death signal when the thread that made
// it ends, and Go ends threads as it likes.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread() // for ever: never unlocked
		for f := range work {
			f()
		}
	}()
	return work
})

// startBound starts cmd so that the kernel signals it when this process dies,
// however it dies. The function returned is called once the child has ended.
func startBound(cmd *exec.Cmd, orphanSignal syscall.Signal) (release func(), err error) {
	cmd.SysProcAttr.Pdeathsig = orphanSignal
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	return func() {}, <-started
}
