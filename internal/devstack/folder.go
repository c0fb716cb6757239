package devstack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// tempPrefix names throwaway folders, so that those of killed runs are found.
	tempPrefix = "arrears-devstack-"

	lockName = "in-use.lock"

	// sweepAge is how old an abandoned folder must be to be removed.
	sweepAge = time.Minute
)

// folder is a directory that one process uses at a time. The lock is the
// kernel's and ends with the process, so nothing is ever left locked.
type folder struct {
	path      string
	throwaway bool // removed on close
	lock      *os.File
}

// errInUse says that another process holds a folder.
var errInUse = errors.New("in use by another process")

// keptFolder opens, and makes where needed, a folder that stays.
func keptFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return lockFolder(path)
}

// throwawayFolder makes a folder that goes when it is closed, and sweeps out
// those of runs that were killed.
func throwawayFolder() (*folder, error) {
	sweep()
	path, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return nil, err
	}
	// PostgreSQL may have to run as another user and pass through here.
	if err := os.Chmod(path, 0o755); err != nil {
		return nil, err
	}
	dir, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	dir.throwaway = true
	return dir, nil
}

func lockFolder(path string) (*folder, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("data folder %s: %w", path, errInUse)
	}
	return &folder{path: path, lock: lock}, nil
}

func (f *folder) join(elem ...string) string {
	return filepath.Join(append([]string{f.path}, elem...)...)
}

// close gives the folder free, and removes a throwaway one.
func (f *folder) close() error {
	defer func() { _ = f.lock.Close() }()
	if f.throwaway {
		return os.RemoveAll(f.path)
	}
	return nil
}

// sweep removes the throwaway folders of runs that ended without closing
// them. What cannot be removed, another user's for one, stays.
func sweep() {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return
	}
	for _, entry := range entries {
		path := filepath.Join(os.TempDir(), entry.Name())
		if !strings.HasPrefix(entry.Name(), tempPrefix) || !entry.IsDir() {
			continue
		}
		// A young one may not have its lock yet.
		if info, err := entry.Info(); err != nil || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		if dead, err := lockFolder(path); err == nil {
			dead.throwaway = true
			_ = dead.close()
		}
	}
}

// freePort returns a port of the loopback on which nobody listens, and keeps
// other stacks away from it for as long as this process lives. Without that,
// two of them could be given the same port, and one take the other's server
// for its own until that is stopped. The UDP port of the same number is the
// lock: the kernel gives it to one process and takes it back when that dies.
func freePort() (int, error) {
	for range portAttempts {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		address := listener.Addr().(*net.TCPAddr)
		lock, err := net.ListenUDP("udp", &net.UDPAddr{IP: address.IP, Port: address.Port})
		_ = listener.Close()
		if err == nil {
			heldPorts.Store(address.Port, lock) // else it would be collected, and closed
			return address.Port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %d in a row are taken by others", portAttempts)
}

const portAttempts = 100

// heldPorts holds the locks of the ports that this process was given.
var heldPorts sync.Map
