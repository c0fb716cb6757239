package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CopyTo makes a base backup of the running cluster into a folder that is not
// there yet, in which StartPostgres runs it. One that follows is a standby: it
// streams from this cluster until it is promoted. Any other goes on by itself from
// where it was copied, as a backup does that is restored. It takes PostgreSQL 15,
// and none of its client programs, which not every machine has.
func (p *Postgres) CopyTo(ctx context.Context, dataDir string, follows bool) error {
	dir, err := keptFolder(dataDir)
	if err != nil {
		return err
	}
	to := p.cluster
	to.dir = dir
	if err := p.copyTo(ctx, to, follows); err != nil {
		return errors.Join(fmt.Errorf("copy the cluster: %w", err), dir.close())
	}
	return dir.close()
}

func (p *Postgres) copyTo(ctx context.Context, to cluster, follows bool) error {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "SELECT pg_backup_start('copy', true)"); err != nil {
		return err
	}
	if err := copyFiles(p.cluster.data(), to.data(), leftOut); err != nil {
		return err
	}
	var label string
	if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_backup_stop(false)").Scan(&label); err != nil {
		return err
	}
	// The log of changes last: it must reach to the end of the backup.
	wal := func(name string) bool { return strings.HasPrefix(name, "archive_status/") }
	if err := copyFiles(filepath.Join(p.cluster.data(), "pg_wal"), filepath.Join(to.data(), "pg_wal"), wal); err != nil {
		return err
	}
	files := map[string]string{filepath.Join(to.data(), "backup_label"): label, to.dir.join("password"): p.password}
	if follows {
		files[filepath.Join(to.data(), "standby.signal")] = ""
		files[filepath.Join(to.data(), "postgresql.auto.conf")] = fmt.Sprintf(
			"primary_conninfo = 'host=127.0.0.1 port=%d user=%s password=%s sslmode=disable'\n", p.port, superuser, p.password)
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return give(to.data(), to.who)
}

// leftOut tells what of a data folder is no part of a backup.
func leftOut(name string) bool {
	return name == "postmaster.pid" || name == "postmaster.opts" || strings.HasPrefix(name, "pg_wal/") ||
		strings.HasPrefix(name, "pg_replslot/") || strings.HasPrefix(name, "pg_dynshmem/")
}

// copyFiles copies a folder that is in use: files may go meanwhile.
func copyFiles(from, to string, without func(name string) bool) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case without(name):
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		return copyFile(path, filepath.Join(to, name))
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
