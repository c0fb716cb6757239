package billing

import "time"

// APIKey is a key of the HTTP gateway, without the key itself: that is known to
// its holder alone, and here by its hash.
type APIKey struct {
	ID           string
	Prefix       string // of the key, so that people know it again
	Organization string // "" = every organisation
	Member       string // whose usage alone it reports; "" = anybody's
	Scopes       []string
	Role         string // as which it may change limits; "" = none
	CreatedBy    string
	CreatedAt    time.Time
	LastUsedAt   time.Time // to the minute or so; zero = never
	RevokedAt    time.Time // zero = it opens
}
