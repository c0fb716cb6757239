package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestAKeyIsStoredByItsHashAndRevokedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hash := sha256.Sum256([]byte("a secret"))
	made := billing.APIKey{ID: "key_1", Prefix: "arr_1", Organization: "acme", Scopes: []string{"limits:write"}, Role: "owner"}
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
	_, err := f.CreateAPIKey(f.ctx, billing.APIKey{ID: "key_1", Prefix: "p", Organization: "nobody", Scopes: []string{"admin"}}, [32]byte{1}, tester)
	require.ErrorIs(t, err, billing.ErrNotFound)
	for _, scopes := range [][]string{{}, {"everything"}} {
		_, err = f.CreateAPIKey(f.ctx, billing.APIKey{ID: "key_1", Prefix: "p", Scopes: scopes}, [32]byte{1}, tester)
		require.Error(t, err)
	}
	require.Zero(t, f.count("api_keys"))
}

// TestKeysUsedAtOnceAreTheirOwnAndRevokedAtOnce uses keys from many sides, so that
// statements are shared and under way all the time.
func TestKeysUsedAtOnceAreTheirOwnAndRevokedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const keys = 5
	for n := range keys {
		key := billing.APIKey{ID: fmt.Sprint("key_", n), Prefix: fmt.Sprint("arr_", n), Scopes: []string{"limits:read"}}
		_, err := f.CreateAPIKey(f.ctx, key, sha256.Sum256([]byte(key.ID)), tester)
		require.NoError(t, err)
	}
	using, stop := context.WithCancel(f.ctx)
	var users sync.WaitGroup
	for user := range 16 {
		users.Go(func() {
			for n := user; using.Err() == nil; n++ {
				id := fmt.Sprint("key_", 1+n%keys) // the last one is nobody's
				key, err := f.UseAPIKey(f.ctx, sha256.Sum256([]byte(id)))
				if missing := n%keys == keys-1; errors.Is(err, billing.ErrNotFound) != missing || (!missing && key.ID != id) {
					t.Errorf("%s: %s %v", id, key.ID, err)
				}
				_, _ = f.UseAPIKey(f.ctx, sha256.Sum256([]byte("key_0")))
			}
		})
	}
	first := sha256.Sum256([]byte("key_0"))
	_, err := f.UseAPIKey(f.ctx, first)
	require.NoError(t, err)
	_, err = f.RevokeAPIKey(f.ctx, "key_0", tester)
	require.NoError(t, err)
	_, err = f.UseAPIKey(f.ctx, first)
	require.ErrorIs(t, err, billing.ErrNotFound)
	stop()
	users.Wait()
}
