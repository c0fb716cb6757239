package devstack

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Prepare makes sure that the programs of a stack are there, so that starting
// one takes seconds: it fetches PostgreSQL and builds the Temporal server
// where the machine has none, and says so first. What the environment names
// instead (DATABASE_URL, TEMPORAL_ADDRESS) needs no program.
func Prepare(ctx context.Context, log io.Writer) error {
	if os.Getenv(databaseEnv) == "" {
		who, err := postgresUser()
		if err != nil {
			return err
		}
		bin, err := findPostgres(ctx, os.Getenv, who, 0, log)
		if err != nil {
			return err
		}
		say(log, "PostgreSQL: %s", bin)
	}
	if os.Getenv(temporalEnv) == "" {
		program, err := prepareTemporal(ctx, log)
		if err != nil {
			return err
		}
		say(log, "Temporal server: %s", program.path)
	}
	return nil
}

// prepareTemporal is the choice that StartTemporal makes, with our own program
// brought up to date.
func prepareTemporal(ctx context.Context, log io.Writer) (temporalProgram, error) {
	if program, ok := commandLineProgram(ctx, os.Getenv, ""); ok {
		return program, nil
	}
	if root, err := repositoryRoot(); err == nil {
		if err := buildTemporal(ctx, root, log); err != nil {
			return temporalProgram{}, err
		}
	}
	program, err := ownProgram(ctx, os.Getenv, log)
	if err != nil {
		return temporalProgram{}, fmt.Errorf("Temporal: %w", err)
	}
	return program, nil
}
