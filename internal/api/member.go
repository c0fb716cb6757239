package api

import (
	"fmt"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/usage"
)

// A key of one member reports that member's usage and asks about that member's
// limits, whatever its holder sends: members have it on their own machines.

// speaksFor returns for whom the holder of a key speaks who named a user, or ""
// for none; or the reason why not for that one.
func (k *Key) speaksFor(user string) (member, reason string) {
	switch {
	case k.Member == "" || k.Member == user:
		return user, ""
	case user == "":
		return k.Member, ""
	}
	return "", fmt.Sprintf("is not the member of the key; accepted: %q, or none", k.Member)
}

// claim makes an event the member's own, or refuses it. A retraction names no
// user, so it could take back anybody's usage: members' keys may send none.
func (k *Key) claim(event *billing.Event) *usage.Rejection {
	if k.Member == "" {
		return nil
	}
	if event.Retracts != "" {
		return &usage.Rejection{Field: "retracts", Reason: "is not taken from the key of one member; accepted: a key without a member"}
	}
	user, reason := k.speaksFor(event.User)
	if reason != "" {
		return &usage.Rejection{Field: "user", Reason: reason}
	}
	event.User = user
	return nil
}
