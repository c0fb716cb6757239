package postgres_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestAKeyIsStoredByItsHashAndRevokedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hash := sha256.Sum256([]byte("a secret"))
	made := postgres.APIKey{ID: "key_1", Prefix: "arr_1", Organization: "acme", Scopes: []string{"limits:write"}, Role: "owner"}
	created, err := f.CreateAPIKey(f.ctx, made, hash, tester)
	require.NoError(t, err)
	require.Equal(t, "tester", created.CreatedBy)
	require.Zero(t, created.LastUsedAt)

	_, err = f.UseAPIKey(f.ctx, hash)
	require.NoError(t, err)
	used, err := f.UseAPIKey(f.ctx, hash)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), used.LastUsedAt, time.Minute)
	again, err := f.UseAPIKey(f.ctx, hash)
	require.NoError(t, err)
	require.Equal(t, used, again, "the last use is recorded coarsely")
	_, err = f.UseAPIKey(f.ctx, sha256.Sum256([]byte("another")))
	require.ErrorIs(t, err, billing.ErrNotFound)

	for _, want := range []bool{true, false} {
		revoked, err := f.RevokeAPIKey(f.ctx, "key_1", tester)
		require.NoError(t, err)
		require.Equal(t, want, revoked)
	}
	_, err = f.UseAPIKey(f.ctx, hash)
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.RevokeAPIKey(f.ctx, "key_2", tester)
	require.ErrorIs(t, err, billing.ErrNotFound)

	trail, err := f.AuditTrail(f.ctx, "acme", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"keys.revoke", "keys.create"}, []string{trail[0].Action, trail[1].Action})
	require.NotContains(t, string(trail[1].After), "secret")
}

func TestAKeyOfNoOrganizationOrForNothingIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.CreateAPIKey(f.ctx, postgres.APIKey{ID: "key_1", Prefix: "p", Organization: "nobody", Scopes: []string{"admin"}}, [32]byte{1}, tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	for _, scopes := range [][]string{{}, {"everything"}} {
		_, err = f.CreateAPIKey(f.ctx, postgres.APIKey{ID: "key_1", Prefix: "p", Scopes: scopes}, [32]byte{1}, tester)
		require.Error(t, err)
	}
	require.Zero(t, f.count("api_keys"))
}
