package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

const keyColumns = ` id, prefix, coalesce(org_id, ''), coalesce(member, ''), scopes, role, created_by, created_at, last_used_at, revoked_at`

func scanAPIKey(row pgx.CollectableRow) (k billing.APIKey, err error) { return scanAPIKeyBehind(row) }

// scanAPIKeyBehind scans a key that stands behind other columns.
func scanAPIKeyBehind(row pgx.CollectableRow, others ...any) (k billing.APIKey, err error) {
	var used, revoked *time.Time
	err = row.Scan(append(others, &k.ID, &k.Prefix, &k.Organization, &k.Member, &k.Scopes, &k.Role, &k.CreatedBy, &k.CreatedAt, &used, &revoked)...)
	k.CreatedAt, k.LastUsedAt, k.RevokedAt = k.CreatedAt.UTC(), instant(used), instant(revoked)
	return k, err
}

// CreateAPIKey stores a new key by its hash. The audit trail has it under its
// organisation; one that opens every organisation, under none.
func (s *Store) CreateAPIKey(ctx context.Context, key billing.APIKey, hash [32]byte, by billing.Actor) (created billing.APIKey, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if key.Organization != "" {
			if _, err := readOrganization(ctx, tx, key.Organization); err != nil {
				return err
			}
		}
		const insert = `
INSERT INTO api_keys (id, prefix, hash, org_id, member, scopes, role, created_by)
VALUES (@id, @prefix, @hash, nullif(@org, ''), nullif(@member, ''), @scopes, @role, @by)
RETURNING` + keyColumns
		rows, err := tx.Query(ctx, insert, pgx.NamedArgs{
			"id": key.ID, "prefix": key.Prefix, "hash": hash[:], "org": key.Organization, "member": key.Member, "scopes": key.Scopes, "role": key.Role, "by": by.Name,
		})
		if err != nil {
			return wrap("create a key", err)
		}
		if created, err = pgx.CollectExactlyOneRow(rows, scanAPIKey); err != nil {
			return wrap("create a key", err)
		}
		_, err = audit(ctx, tx, key.Organization, by, "keys.create", key.ID, nil, map[string]any{"scopes": key.Scopes, "role": key.Role, "member": key.Member})
		return err
	})
	return created, err
}

// APIKeys lists the keys that open an organisation ("" = all keys), oldest first.
func (s *Store) APIKeys(ctx context.Context, org string) ([]billing.APIKey, error) {
	const statement = `
SELECT` + keyColumns + `
  FROM api_keys
 WHERE @org = '' OR org_id = @org OR org_id IS NULL
 ORDER BY created_at, id`
	rows, err := s.pool.Query(ctx, statement, pgx.NamedArgs{"org": org})
	if err != nil {
		return nil, wrap("list the keys", err)
	}
	keys, err := pgx.CollectRows(rows, scanAPIKey)
	return keys, wrap("list the keys", err)
}

// RevokeAPIKey shuts a key out from the next request on. Doing it again changes
// nothing.
func (s *Store) RevokeAPIKey(ctx context.Context, id string, by billing.Actor) (revoked bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		revoked = false
		const read = `SELECT coalesce(org_id, ''), revoked_at IS NOT NULL FROM api_keys WHERE id = $1 FOR NO KEY UPDATE`
		var org string
		var already bool
		err := tx.QueryRow(ctx, read, id).Scan(&org, &already)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return billing.NotFound("key %q does not exist", id)
		case err != nil || already:
			return wrap("revoke key "+id, err)
		}
		const statement = `UPDATE api_keys SET revoked_at = now() WHERE id = $1`
		if _, err := tx.Exec(ctx, statement, id); err != nil {
			return wrap("revoke key "+id, err)
		}
		revoked = true
		_, err = audit(ctx, tx, org, by, "keys.revoke", id, nil, nil)
		return err
	})
	return revoked, err
}

// usedEvery is how coarsely the last use of a key is recorded, so that reading a
// key stays a read.
const usedEvery = time.Minute

// UseAPIKey returns the key with a hash, and records that it was used.
// billing.ErrNotFound is one that does not exist or was revoked. It is asked on
// every request, by a unique index, so that a revoked key opens nothing more;
// requests that come at once share a statement.
func (s *Store) UseAPIKey(ctx context.Context, hash [32]byte) (billing.APIKey, error) {
	key, err := s.keys.get(ctx, hash)
	switch {
	case err != nil:
		return billing.APIKey{}, wrap("read a key", err)
	case key == nil:
		return billing.APIKey{}, billing.NotFound("the key does not exist")
	case time.Since(key.LastUsedAt) < usedEvery:
		return *key, nil
	}
	const used = `
UPDATE api_keys
   SET last_used_at = now()
 WHERE id = @id AND (last_used_at IS NULL OR last_used_at < now() - @every::interval)`
	_, err = s.pool.Exec(ctx, used, pgx.NamedArgs{"id": key.ID, "every": usedEvery})
	return *key, wrap("record the use of key "+key.ID, err)
}

// readKeys looks up several hashes at once; nil is a key that opens nothing. It is
// planned once, as checkLimits is.
func (s *Store) readKeys(ctx context.Context, hashes [][32]byte) ([]*billing.APIKey, error) {
	const statement = `
SELECT asked.n, k.*
  FROM unnest((SELECT $1::bytea[])) WITH ORDINALITY AS asked (hash, n)
 CROSS JOIN LATERAL (SELECT` + keyColumns + ` FROM api_keys WHERE hash = asked.hash AND revoked_at IS NULL OFFSET 0) k`
	rows, err := s.pool.Query(ctx, statement, column(hashes, func(hash [32]byte) []byte { return hash[:] }))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make([]*billing.APIKey, len(hashes))
	for rows.Next() {
		var n int
		key, err := scanAPIKeyBehind(rows, &n)
		if err != nil {
			return nil, err
		}
		found[n-1] = &key
	}
	return found, rows.Err()
}
