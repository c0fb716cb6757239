package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// CopyTo makes a base backup of the running cluster into a folder that is not
// there yet, in which StartPostgres runs it. One that follows is a standby: it
// streams from this cluster until it is promoted. Any other goes on by itself from
// where it was copied, as a backup does that is restored.
func (p *Postgres) CopyTo(ctx context.Context, dataDir string, follows bool) error {
	dir, err := keptFolder(dataDir)
	if err != nil {
		return err
	}
	c := p.cluster
	c.dir, c.log = dir, dir.join("postgres.log")
	return errors.Join(p.copyTo(ctx, c, follows), dir.close())
}

func (p *Postgres) copyTo(ctx context.Context, c cluster, follows bool) error {
	if err := os.Chmod(c.dir.path, 0o755); err != nil { // PostgreSQL's user passes through
		return err
	}
	if err := os.Mkdir(c.data(), 0o700); err != nil {
		return err
	}
	if err := give(c.data(), c.who); err != nil {
		return err
	}
	backup, err := c.command("pg_basebackup", c.data())
	if err != nil {
		return err
	}
	backup.env = append(backup.env, "PGPASSWORD="+p.password)
	backup.args = append(backup.args, "--host=127.0.0.1", "--port="+strconv.Itoa(p.port), "--username="+superuser,
		"--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if follows {
		backup.args = append(backup.args, "--write-recovery-conf")
	}
	if err := c.runToEnd(ctx, backup); err != nil {
		return fmt.Errorf("copy the cluster: %w", err)
	}
	return os.WriteFile(filepath.Join(c.dir.path, "password"), []byte(p.password), 0o600)
}
