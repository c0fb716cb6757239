package postgres_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// columns lists what information_schema says of the product's columns, each as
// TABLE.COLUMN TYPE.
func (f *fixture) columns(where string) (list []string) {
	f.t.Helper()
	rows, err := f.pool.Query(f.ctx, `
SELECT table_name || '.' || column_name || ' ' || udt_name
  FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name <> 'schema_version' AND `+where+`
 ORDER BY 1`)
	require.NoError(f.t, err)
	list, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(f.t, err)
	return list
}

func TestNoIDOrAmountHasOnly32Bits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`CREATE TABLE wrong (id int, org_id smallint, total_amount int, spend real)`)
	const named = `column_name ~ '(^|_)(id|number|amount|total|subtotal|spend|spent|difference|price|input|output|quantity|events)(_|$)'`
	require.Equal(t, []string{"wrong.id int4", "wrong.org_id int2", "wrong.total_amount int4"},
		f.columns(`udt_name IN ('int2', 'int4', '_int2', '_int4') AND `+named))
	require.Equal(t, []string{"wrong.spend float4"}, f.columns(`udt_name IN ('float4', 'float8', '_float4', '_float8', 'money')`),
		"no binary fraction anywhere")
	require.NotEmpty(t, f.columns(named))
	var short int
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM pg_sequences WHERE schemaname = 'public' AND data_type <> 'bigint'::regtype`).Scan(&short))
	require.Zero(t, short)
}

// Each column is tried by itself, on a copy of its table that has its checks and
// nothing else that could refuse.
func TestWhatIsNoNumberIsRefusedInEveryAmount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	amounts := f.columns(`udt_name = 'numeric'`)
	require.Greater(t, len(amounts), 40)
	copied := map[string]bool{}
	for _, amount := range amounts {
		name, _, _ := strings.Cut(amount, " ")
		table, column, _ := strings.Cut(name, ".")
		if !copied[table] {
			copied[table] = true
			f.exec(fmt.Sprintf(`
CREATE TABLE copy_of_%[1]s (LIKE %[1]s INCLUDING CONSTRAINTS);
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT attname FROM pg_attribute WHERE attrelid = 'copy_of_%[1]s'::regclass AND attnum > 0 AND attnotnull LOOP
        EXECUTE format('ALTER TABLE copy_of_%[1]s ALTER %%I DROP NOT NULL', name);
    END LOOP;
END $$`, table))
			if table == "usage_events" { // a row without a rate says why
				f.exec(`ALTER TABLE copy_of_usage_events ALTER parked_reason SET DEFAULT 'no price'`)
			}
		}
		others, values := "", "" // what a row needs beside it
		if table == "usage_events" {
			others, values = ", parked_reason", ", 'no price'"
		}
		try := func(value string) error {
			_, err := f.pool.Exec(f.ctx, fmt.Sprintf(`INSERT INTO copy_of_%s (%s%s) VALUES ('%s'%s)`, table, column, others, value, values))
			return err
		}
		if err := try("1"); err != nil {
			t.Errorf("%s refuses 1: %v", name, err)
		}
		for _, value := range []string{"NaN", "Infinity", "-Infinity"} {
			if err := try(value); err == nil || !strings.Contains(err.Error(), "23514") {
				t.Errorf("%s takes %s: %v", name, value, err)
			}
		}
	}
}

// empty makes a database without a schema and returns its URL.
func (f *fixture) empty() string {
	f.t.Helper()
	name := "arrears_empty_" + strings.ToLower(rand.Text()[:10])
	f.exec(`CREATE DATABASE ` + name + ` TEMPLATE template0`)
	f.t.Cleanup(func() {
		_, err := f.pool.Exec(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`)
		require.NoError(f.t, err)
	})
	address, err := url.Parse(pgtest.URL(f.pool))
	require.NoError(f.t, err)
	address.Path = "/" + name
	return address.String()
}

func TestTwoProgramsThatMigrateAtOnceBothSucceed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := f.empty()
	const programs = 2
	failed := make(chan error, programs)
	for range programs {
		go func() { failed <- postgres.Migrate(f.ctx, address) }()
	}
	for range programs {
		require.NoError(t, <-failed)
	}
	store, err := postgres.Open(f.ctx, address)
	require.NoError(t, err)
	store.Close()
}

func TestAMigrationThatFailsHalfWayLeavesNothingAndRunsAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	address := f.empty()
	conn, err := pgx.Connect(f.ctx, address)
	require.NoError(t, err)
	defer conn.Close(f.ctx)
	_, err = conn.Exec(f.ctx, `CREATE TABLE ledger_entries (in_the_way int)`)
	require.NoError(t, err)
	err = postgres.Migrate(f.ctx, address)
	require.ErrorContains(t, err, "42P07")
	var version int
	var before, after bool // of what its file makes before the table, and of the files before it
	const state = `SELECT version, to_regclass('ledger_transactions') IS NOT NULL, to_regclass('invoices') IS NOT NULL FROM schema_version`
	require.NoError(t, conn.QueryRow(f.ctx, state).Scan(&version, &after, &before))
	require.Equal(t, 6, version)
	require.False(t, after, "what the failed one had made is gone")
	require.True(t, before)
	_, err = postgres.Open(f.ctx, address)
	require.ErrorContains(t, err, "run starter migrate")

	_, err = conn.Exec(f.ctx, `DROP TABLE ledger_entries`)
	require.NoError(t, err)
	require.NoError(t, postgres.Migrate(f.ctx, address))
	store, err := postgres.Open(f.ctx, address)
	require.NoError(t, err)
	store.Close()
}

func TestAProgramOlderThanTheSchemaDoesNotStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`UPDATE schema_version SET version = version + 1`)
	_, err := postgres.Open(f.ctx, pgtest.URL(f.pool))
	require.ErrorContains(t, err, "run starter migrate with the same release")
	require.ErrorContains(t, postgres.Migrate(f.ctx, pgtest.URL(f.pool)), "run a newer arrears")
}
