package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
)

// What a key may do.
const (
	ScopeUsageWrite  = "usage:write"
	ScopeSpendRead   = "spend:read"
	ScopeLimitsRead  = "limits:read"
	ScopeLimitsWrite = "limits:write"
	ScopeAdmin       = "admin" // everything
)

// Scopes lists what keys may be made for.
func Scopes() []string {
	return []string{ScopeUsageWrite, ScopeSpendRead, ScopeLimitsRead, ScopeLimitsWrite, ScopeAdmin}
}

// Roles lists as whom a key may change limits.
func Roles() []string { return []string{"owner", "primary_owner", "billing_manager"} }

// Key is who sends a request, and what they may do.
type Key struct {
	ID           string
	Organization string // "" = every organisation
	Member       string // whose usage alone it reports; "" = anybody's
	Scopes       []string
	Role         string // one of Roles, or ""
}

// Keys knows the keys that open the gateway.
type Keys interface {
	// UseKey returns the key with a hash. It is asked on every request, so that a
	// revoked key opens nothing more. billing.ErrNotFound is an unknown or revoked one.
	UseKey(ctx context.Context, hash [32]byte) (Key, error)
}

// keyMark begins every key, so that secret scanners and people know one.
const keyMark = "arr_"

// NewKey makes a key: what its holder presents, which is shown once and never
// stored; its id; and its first characters, by which people know it again. The
// secret part has 130 random bits of its own.
func NewKey() (secret, id, prefix string) {
	name := strings.ToLower(rand.Text()[:10])
	prefix = keyMark + name
	return prefix + "_" + strings.ToLower(rand.Text()), "key_" + name, prefix
}

// HashKey is what is stored of a key. A key is random, not chosen: a plain hash
// of it cannot be guessed back.
func HashKey(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// may reports whether a key was made for a scope.
func (k *Key) may(scope string) bool {
	return slices.Contains(k.Scopes, scope) || slices.Contains(k.Scopes, ScopeAdmin)
}

// opens reports whether an organisation exists for the holder of a key.
func (k *Key) opens(organization string) bool {
	return k.Organization == "" || k.Organization == organization
}

type keyOfRequest struct{}

// keyOf is who sent a request that the guard let in.
func keyOf(ctx context.Context) *Key {
	key, _ := ctx.Value(keyOfRequest{}).(*Key)
	return key
}
