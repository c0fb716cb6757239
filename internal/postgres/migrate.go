package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is where the schema's version stands.
const versionTable = "public.schema_version"

// Migrate brings the database at url to this program's schema. Two programs may
// migrate at once: one waits for the other.
func Migrate(ctx context.Context, url string) error {
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return fmt.Errorf("prepare the migration: %w", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := migrator.LoadMigrations(files); err != nil {
		return fmt.Errorf("load the migrations: %w", err)
	}
	current, err := migrator.GetCurrentVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if known := int32(len(migrator.Migrations)); current > known {
		return fmt.Errorf("the database's schema is at version %d and this program knows %d: run a newer arrears", current, known)
	}
	if err := migrator.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate the schema: %w", err)
	}
	return nil
}

// checkSchema refuses a database whose schema is not this program's.
func checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var version int
	err = pool.QueryRow(ctx, `SELECT version FROM `+versionTable).Scan(&version)
	switch {
	case errorCode(err) == "42P01":
		return fmt.Errorf("the database has no schema yet: run starter migrate")
	case err != nil:
		return connectError(err)
	case version != len(names):
		return fmt.Errorf("the database's schema is at version %d and this program needs %d: run starter migrate with the same release", version, len(names))
	}
	return nil
}
