package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/postgres"
)

func newAuditCmd(a *app) *cobra.Command {
	limit := 50
	cmd := &cobra.Command{
		Use:   "audit [ORG]",
		Short: "Show who changed what, and why, newest first",
		Long: `Show who changed what, and why, newest first: what concerns an organisation, keys
that open every organisation included; without ORG, what concerns no single one,
which is such keys and price books.`,
		Example: `  starter audit acme --limit 20
  starter audit`,
		Args: arguments("[ORG]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAudit(cmd.Context(), a, strings.Join(args, ""), limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many entries to show")
	return cmd
}

func runAudit(ctx context.Context, a *app, org string, limit int) error {
	if limit < 1 {
		return wrongUsage("--limit %d; accepted: 1 or more", limit)
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	if org != "" {
		if _, err := store.Organization(ctx, org); err != nil {
			return err
		}
	}
	entries, err := store.AuditTrail(ctx, org, limit)
	if err != nil {
		return err
	}
	for i := range entries {
		entries[i].At = entries[i].At.UTC()
	}
	return printList(a, entries, "Nothing was changed yet.",
		right("ENTRY", func(e postgres.AuditEntry) string { return fmt.Sprint(e.ID) }),
		left("AT", func(e postgres.AuditEntry) string { return showTime(e.At) }),
		left("WHO", func(e postgres.AuditEntry) string { return e.Actor }),
		left("ACTION", func(e postgres.AuditEntry) string { return e.Action }),
		left("SUBJECT", func(e postgres.AuditEntry) string { return e.Subject }),
		left("AFTER", func(e postgres.AuditEntry) string {
			if string(e.After) == "null" {
				return ""
			}
			return string(e.After)
		}),
		left("WHY", func(e postgres.AuditEntry) string { return e.Reason }))
}
