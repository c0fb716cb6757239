package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/api"
	"github.com/arrears-dev/arrears/internal/billing"
)

func newKeysCmd(a *app) *cobra.Command {
	return newGroup("keys", "Keys of the HTTP gateway", `
Keys of the HTTP gateway. A key is shown once, when it is made; only its hash is
kept. It is made for scopes, and opens one organisation or all of them.`,
		newKeysCreateCmd(a), newKeysListCmd(a), newKeysRevokeCmd(a))
}

// keyView is a key as it is printed, without the key itself.
type keyView struct {
	ID           string     `json:"id"`
	Prefix       string     `json:"prefix"`
	Organization *string    `json:"organization"` // null = every organisation
	Member       *string    `json:"member"`       // whose usage alone it reports; null = anybody's
	Scopes       []string   `json:"scopes"`
	Role         *string    `json:"role"`
	CreatedBy    string     `json:"created_by"`
	CreatedAt    time.Time  `json:"created_at"`
	LastUsedAt   *time.Time `json:"last_used_at"` // to the minute
	RevokedAt    *time.Time `json:"revoked_at"`
}

func viewKey(k billing.APIKey) keyView {
	word := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return keyView{
		k.ID, k.Prefix, word(k.Organization), word(k.Member), k.Scopes, word(k.Role), k.CreatedBy, k.CreatedAt, optional(k.LastUsedAt), optional(k.RevokedAt),
	}
}

func (v keyView) opens() string {
	if v.Organization == nil {
		return "(all)"
	}
	return *v.Organization
}

type keysCreateOptions struct {
	*app
	scopes []string
	org    string
	all    bool
	member string
	role   string
}

func newKeysCreateCmd(a *app) *cobra.Command {
	o := &keysCreateOptions{app: a}
	cmd := &cobra.Command{
		Use:   "create --scopes S,S (--org ORG|--all)",
		Short: "Make a key; it is shown this once",
		Long: `Make a key for scopes (usage:write, spend:read, limits:read, limits:write, or admin
for everything), which opens one organisation or all of them. Whoever changes
limits with it does so in a role: owner, primary_owner or billing_manager.

A key of one member (--member) reports that member's usage only, and asks about that
member's limits only: it may lie on the member's own machine.`,
		Example: `  starter keys create --scopes usage:write,limits:read --org acme
  starter keys create --scopes limits:write --org acme --role billing_manager
  starter keys create --scopes usage:write --org acme --member alice`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := exactlyOne(cmd, "org", "all"); err != nil {
				return err
			}
			return runKeysCreate(cmd.Context(), o)
		},
	}
	cmd.Flags().StringSliceVar(&o.scopes, "scopes", nil, "what it may do: "+strings.Join(api.Scopes(), ", "))
	cmd.Flags().StringVar(&o.org, "org", "", "the one organization that it opens")
	cmd.Flags().BoolVar(&o.all, "all", false, "it opens every organization")
	cmd.Flags().Var(identifier{&o.member}, "member", "the one member whose usage it reports, with --org")
	cmd.Flags().StringVar(&o.role, "role", "", "as whom it may change limits: "+strings.Join(api.Roles(), ", "))
	return required(cmd, "scopes")
}

func (o *keysCreateOptions) check() error {
	slices.Sort(o.scopes)
	o.scopes = slices.Compact(o.scopes)
	for _, scope := range o.scopes {
		if !slices.Contains(api.Scopes(), scope) {
			return wrongUsage("--scopes %q; accepted: %s", scope, strings.Join(api.Scopes(), ", "))
		}
	}
	switch {
	case len(o.scopes) == 0:
		return wrongUsage("--scopes is empty; accepted: %s", strings.Join(api.Scopes(), ", "))
	case o.role != "" && !slices.Contains(api.Roles(), o.role):
		return wrongUsage("--role %q; accepted: %s", o.role, strings.Join(api.Roles(), ", "))
	case o.org == "" && !o.all:
		return wrongUsage("--org is empty; accepted: the id of an organization, or --all")
	}
	return o.checkMember()
}

// memberScopes are what a key of one member may be made for.
var memberScopes = []string{api.ScopeUsageWrite, api.ScopeLimitsRead}

func (o *keysCreateOptions) checkMember() error {
	if o.member == "" {
		return nil
	}
	if o.org == "" {
		return wrongUsage("--member needs --org: members are those of one organization")
	}
	for _, scope := range o.scopes {
		if !slices.Contains(memberScopes, scope) {
			return wrongUsage("--scopes %q; accepted with --member: %s", scope, strings.Join(memberScopes, ", "))
		}
	}
	return nil
}

// createdKey is a key when it is made: the only time that it is shown.
type createdKey struct {
	keyView
	Key string `json:"key"`
}

func runKeysCreate(ctx context.Context, o *keysCreateOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	secret, id, prefix := api.NewKey()
	created, err := store.CreateAPIKey(ctx, billing.APIKey{
		ID: id, Prefix: prefix, Organization: o.org, Member: o.member, Scopes: o.scopes, Role: o.role,
	}, api.HashKey(secret), o.by())
	if err != nil {
		return err
	}
	if slices.Contains(o.scopes, api.ScopeLimitsWrite) && o.role == "" {
		o.note("This key has no --role: it may not change limits.")
	}
	view := createdKey{viewKey(created), secret}
	return o.print(view, func(w io.Writer) {
		writeFacts(w, fact{"key", secret}, fact{"id", view.ID}, fact{"opens", view.opens()}, fact{"member", deref(view.Member)},
			fact{"scopes", strings.Join(view.Scopes, ", ")}, fact{"role", deref(view.Role)})
		fmt.Fprintln(w, "\nKeep it now: it is not shown again.")
	})
}

func newKeysListCmd(a *app) *cobra.Command {
	var org string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys, those revoked included",
		Example: "  starter keys list --org acme",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runKeysList(cmd.Context(), a, org) },
	}
	cmd.Flags().StringVar(&org, "org", "", "those that open this organization (default all)")
	return cmd
}

func runKeysList(ctx context.Context, a *app, org string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if org != "" {
		if _, err := store.Organization(ctx, org); err != nil {
			return err
		}
	}
	keys, err := store.APIKeys(ctx, org)
	if err != nil {
		return err
	}
	views := make([]keyView, len(keys))
	for i, k := range keys {
		views[i] = viewKey(k)
	}
	return printList(a, views, "There are no keys; make one with starter keys create.",
		left("ID", func(v keyView) string { return v.ID }),
		left("KEY", func(v keyView) string { return v.Prefix + "_…" }),
		left("OPENS", keyView.opens),
		left("MEMBER", func(v keyView) string { return deref(v.Member) }),
		left("SCOPES", func(v keyView) string { return strings.Join(v.Scopes, " ") }),
		left("ROLE", func(v keyView) string { return deref(v.Role) }),
		left("MADE BY", func(v keyView) string { return v.CreatedBy }),
		left("MADE", func(v keyView) string { return showTime(v.CreatedAt) }),
		left("LAST USED", func(v keyView) string { return showOptional(v.LastUsedAt) }),
		left("REVOKED", func(v keyView) string { return showOptional(v.RevokedAt) }))
}

func newKeysRevokeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "Shut a key out, from the next request on",
		Example: "  starter keys revoke key_abcdefghij --reason leaked",
		Args:    arguments("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runKeysRevoke(cmd.Context(), a, args[0]) },
	}
}

type revokedKey struct {
	ID      string `json:"id"`
	Revoked bool   `json:"revoked"` // false = it was already
}

func runKeysRevoke(ctx context.Context, a *app, id string) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	revoked, err := store.RevokeAPIKey(ctx, id, a.by())
	if err != nil {
		return withHint(err, "The keys are listed by: starter keys list")
	}
	return a.print(revokedKey{id, revoked}, func(w io.Writer) {
		if revoked {
			fmt.Fprintf(w, "The key %s opens nothing more.\n", id)
			return
		}
		fmt.Fprintf(w, "The key %s was revoked already; nothing changed.\n", id)
	})
}
