package main

import (
	"context"
	"fmt"
	"time"

	"github.com/arrears-dev/arrears/internal/api"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// gatewayReads answers questions with what the commands print.
type gatewayReads struct{ store *postgres.Store }

// Invoices implements api.Reads: drafts first, then those issued, the newest
// period first.
func (g gatewayReads) Invoices(ctx context.Context, organization string, page api.Page) (any, string, error) {
	invoices, err := listInvoices(ctx, g.store, organization)
	if err != nil {
		return nil, "", err
	}
	part, last := api.Rows(invoices, page, true, func(i billing.Invoice) string {
		kind := "1 issued"
		if i.FinalizedAt == nil {
			kind = "2 draft"
		}
		return fmt.Sprintf("%s %s %06d", kind, i.PeriodStart.UTC().Format(time.RFC3339), i.Revision)
	})
	return part, last, addLines(ctx, g.store, part)
}

// spendView is what an organisation has spent in its running billing month.
type spendView struct {
	Organization string         `json:"organization"`
	Period       string         `json:"period"`
	AsOf         time.Time      `json:"as_of"`
	Spend        billing.Money  `json:"spend"`
	SpentBefore  *billing.Money `json:"spent_before"` // of it, before the organisation's limit got its amount; null = no limit
	Limit        *billing.Money `json:"limit"`
	Members      []usageRowView `json:"members"`
}

// Spend implements api.Reads: the members page by page, in the order of their ids.
func (g gatewayReads) Spend(ctx context.Context, organization, user string, page api.Page) (any, string, error) {
	if user != "" {
		view, err := explain(ctx, g.store, organization, user)
		return view, "", err
	}
	cycle, err := g.store.Cycle(ctx, organization)
	if err != nil {
		return nil, "", err
	}
	by := []string{"user"}
	summary, err := g.store.UsageSummary(ctx, organization, "", by)
	if err != nil {
		return nil, "", err
	}
	view := spendView{
		Organization: organization, Period: summary.Period, AsOf: summary.AsOf.UTC(),
		Spend: cycle.Spend, Limit: cycle.Limit, Members: []usageRowView{},
	}
	service, err := explain(ctx, g.store, organization, "") // under the organisation's limit alone
	if err != nil {
		return nil, "", err
	}
	for _, standing := range service.Limits {
		view.SpentBefore = &standing.SpentBefore
	}
	rows, last := api.Rows(summary.Rows, page, false, func(r postgres.UsageRow) string { return "user " + r.User })
	for _, row := range rows {
		view.Members = append(view.Members, viewUsageRow(summary, row, by))
	}
	return view, last, nil
}

// Limits implements api.Reads: the widest first.
func (g gatewayReads) Limits(ctx context.Context, organization string, page api.Page) (any, string, error) {
	limits, err := listLimits(ctx, g.store, organization)
	width := map[billing.Scope]int{billing.ScopeOrganization: 0, billing.ScopeSeatTier: 1, billing.ScopeUser: 2}
	part, last := api.Rows(limits, page, false, func(l listedLimit) string { return fmt.Sprintf("%d %s", width[l.Scope], l.Subject) })
	return part, last, err
}

// Notices implements api.Reads: the oldest first.
func (g gatewayReads) Notices(ctx context.Context, organization string, all bool, page api.Page) (any, string, error) {
	notices, err := listNotices(ctx, g.store, organization, all)
	part, last := api.Rows(notices, page, false, func(n noticeView) string {
		return fmt.Sprintf("%s %020d", n.At.Format("2006-01-02T15:04:05.000000"), n.ID)
	})
	return part, last, err
}

// gatewayLimits changes limits as the commands do.
type gatewayLimits struct{ store *postgres.Store }

// SetLimit implements api.Limits.
func (g gatewayLimits) SetLimit(ctx context.Context, organization string, c api.LimitChange) (any, error) {
	org, err := g.store.Organization(ctx, organization)
	if err != nil {
		return nil, err
	}
	result, err := g.store.SetLimit(ctx, organization, postgres.LimitChange{
		Scope: c.Scope, Subject: c.Subject, Amount: c.Amount, Mode: c.Mode, Thresholds: c.Thresholds,
	}, postgres.By{Actor: c.Actor, Reason: c.Reason})
	return setLimitView{organization, viewLimit(result.Limit, org.Currency), result.Changed}, err
}

// RemoveLimit implements api.Limits.
func (g gatewayLimits) RemoveLimit(ctx context.Context, organization string, c api.LimitChange) (any, error) {
	removed, err := g.store.RemoveLimit(ctx, organization, c.Scope, c.Subject, postgres.By{Actor: c.Actor, Reason: c.Reason})
	return removedLimit{organization, c.Scope, c.Subject, removed}, err
}

// gatewayExports breaks spend down for spreadsheets.
type gatewayExports struct{ store *postgres.Store }

// ExportSpend implements api.Exports.
func (g gatewayExports) ExportSpend(ctx context.Context, organization string, span api.SpendSpan) ([]api.SpendRow, error) {
	rows, err := g.store.ExportSpend(ctx, organization, postgres.SpendSpan(span))
	exported := make([]api.SpendRow, len(rows))
	for i, row := range rows {
		exported[i] = api.SpendRow(row)
	}
	return exported, err
}
