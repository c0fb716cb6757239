package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

type migrateOptions struct {
	*app
	schemaOnly bool
	appRole    string
}

func newMigrateCmd(a *app) *cobra.Command {
	o := &migrateOptions{app: a}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema and what Temporal is to know up to date",
		Long: `Bring the database's schema up to date and register the search attributes
(Organization, Period, Stage) and the hourly sweep of the payment provider with
Temporal. Running it again changes nothing.

With --app-role the database's role of that name gets what worker, gateway and
commands need, and no more: it owns nothing, and can only add to the ledger, the
lines of invoices and the audit trail. Migrate as the owner; let everything else
connect as that role.`,
		Example: `  DATABASE_URL=postgres://… TEMPORAL_ADDRESS=temporal:7233 starter migrate
  starter migrate --schema-only --app-role arrears_app`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runMigrate(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.schemaOnly, "schema-only", false, "leave Temporal alone, as where its search attributes are registered by other means")
	cmd.Flags().StringVar(&o.appRole, "app-role", "", "a role of the database that worker, gateway and commands connect as")
	return cmd
}

type migratedView struct {
	Schema           string   `json:"schema"`
	AppRole          string   `json:"app_role"`          // that was given access; "" = none
	SearchAttributes []string `json:"search_attributes"` // those that were added
	Schedules        []string `json:"schedules"`         // those that are up to date
}

func runMigrate(ctx context.Context, o *migrateOptions) error {
	needs := []config.Need{config.Database, config.Temporal}
	if o.schemaOnly {
		needs = needs[:1]
	}
	cfg, err := o.config(needs...)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, string(cfg.DatabaseURL)); err != nil {
		return withHint(err, "DATABASE_URL says where the database is; its user must be allowed to create tables.")
	}
	if o.appRole != "" {
		if err := postgres.GrantAccess(ctx, string(cfg.DatabaseURL), o.appRole); err != nil {
			return err
		}
	}
	view := migratedView{"up to date", o.appRole, []string{}, []string{}}
	if !o.schemaOnly {
		temporal, err := o.Temporal(ctx)
		if err != nil {
			return err
		}
		if view.SearchAttributes, err = addSearchAttributes(ctx, temporal, cfg.TemporalNamespace); err != nil {
			return withHint(err, "Where the namespace does not take them from here, register them by its own means and use --schema-only.")
		}
		if err := workflows.EnsureSweepSchedule(ctx, temporal.ScheduleClient()); err != nil {
			return fmt.Errorf("schedule the sweep of the payment provider: %w", err)
		}
		view.Schedules = append(view.Schedules, workflows.SweepProviderID)
	}
	return o.print(view, func(w io.Writer) {
		fmt.Fprintln(w, "The schema is up to date.")
		if o.appRole != "" {
			fmt.Fprintf(w, "Role %s has the access that it needs.\n", o.appRole)
		}
		if !o.schemaOnly {
			fmt.Fprintf(w, "Search attributes added: %s.\n", joinStrings(view.SearchAttributes, "none, all were there"))
			fmt.Fprintf(w, "Schedules up to date: %s.\n", strings.Join(view.Schedules, ", "))
		}
	})
}

// addSearchAttributes registers what the namespace does not have yet.
func addSearchAttributes(ctx context.Context, temporal client.Client, namespace string) ([]string, error) {
	operator := temporal.OperatorService()
	have, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("list the search attributes of namespace %s: %w", namespace, err)
	}
	wanted := workflows.SearchAttributes()
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range wanted {
		switch registered, ok := have.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = kind
		case registered != kind:
			return nil, fmt.Errorf("search attribute %s of namespace %s is a %s; accepted: %s", name, namespace, registered, kind)
		}
	}
	if len(missing) == 0 {
		return []string{}, nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return nil, fmt.Errorf("add search attributes to namespace %s: %w", namespace, err)
	}
	return slices.Sorted(maps.Keys(missing)), nil
}
