package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// postgresUser returns as whom PostgreSQL must run: nil for the user we are,
// and for root, whom PostgreSQL refuses, the user postgres or else nobody.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root and there is no user postgres or nobody: run this as another user")
}

// give makes path and everything in it the user's.
func give(path string, to *syscall.Credential) error {
	if to == nil {
		return nil
	}
	return filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(to.Uid), int(to.Gid)) //nolint:gosec // G122: a folder that we just made, by Lchown
	})
}

// closedParent returns the nearest folder above path through which the user
// may not pass, and "" when there is none.
func closedParent(path string, who *syscall.Credential) (string, error) {
	if who == nil {
		return "", nil
	}
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return "", err
		}
		owner := info.Sys().(*syscall.Stat_t)
		need := fs.FileMode(0o001)
		switch {
		case owner.Uid == who.Uid:
			need = 0o100
		case owner.Gid == who.Gid:
			need = 0o010
		}
		if info.Mode().Perm()&need == 0 {
			return parent, nil
		}
		if parent == filepath.Dir(parent) {
			return "", nil
		}
	}
}
