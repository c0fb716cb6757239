package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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

// spendView is what an organisation has spent in the billing month of a period, and
// its members' usage of that period.
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
func (g gatewayReads) Spend(ctx context.Context, organization string, asked api.SpendQuery, page api.Page) (any, string, error) {
	if asked.User != "" {
		view, err := explain(ctx, g.store, organization, asked.User)
		return view, "", err
	}
	var after *string
	if page.After != "" {
		user := strings.TrimPrefix(page.After, memberMark)
		after = &user
	}
	summary, err := g.store.MembersAfter(ctx, organization, asked.Period, after, page.Limit+1)
	if err != nil {
		return nil, "", err
	}
	month, err := g.store.MonthSpend(ctx, organization, summary.Period)
	if err != nil {
		return nil, "", err
	}
	view := spendView{
		Organization: organization, Period: summary.Period, AsOf: summary.AsOf.UTC(), Spend: month.Spend, Members: []usageRowView{},
	}
	if month.Standing != nil {
		standing := viewStanding(*month.Standing, month.Spend.Currency)
		view.Limit, view.SpentBefore = standing.Amount, &standing.SpentBefore
	}
	rows, last := api.Cut(summary.Rows, page, func(r postgres.UsageRow) string { return memberMark + r.User })
	for _, row := range rows {
		view.Members = append(view.Members, viewUsageRow(summary, row, []string{"user"}))
	}
	return view, last, nil
}

// memberMark begins a member's position: service usage, which is first, has no id.
const memberMark = "user "

// Limits implements api.Reads: the widest first.
func (g gatewayReads) Limits(ctx context.Context, organization string, page api.Page) (any, string, error) {
	limits, err := listLimits(ctx, g.store, organization)
	width := map[billing.Scope]int{billing.ScopeOrganization: 0, billing.ScopeSeatTier: 1, billing.ScopeUser: 2}
	part, last := api.Rows(limits, page, false, func(l listedLimit) string { return fmt.Sprintf("%d %s", width[l.Scope], l.Subject) })
	return part, last, err
}

// Notices implements api.Reads: the oldest first.
func (g gatewayReads) Notices(ctx context.Context, organization string, all bool, page api.Page) (any, string, error) {
	after, err := readPosition(page.After)
	if err != nil {
		return nil, "", err
	}
	rows, err := g.store.NoticesAfter(ctx, organization, all, after, page.Limit+1)
	if err != nil {
		return nil, "", err
	}
	rows, last := api.Cut(rows, page, writePosition)
	views := make([]noticeView, len(rows))
	for i, n := range rows {
		views[i] = viewNotice(n)
	}
	return views, last, nil
}

// writePosition and readPosition write and read a notice's place in the list.
func writePosition(n postgres.NoticeRow) string {
	return n.At.UTC().Format(time.RFC3339Nano) + " " + strconv.FormatInt(n.ID, 10)
}

func readPosition(text string) (position postgres.NoticePosition, err error) {
	if text == "" {
		return position, nil
	}
	at, id, _ := strings.Cut(text, " ")
	if position.At, err = time.Parse(time.RFC3339Nano, at); err == nil {
		position.ID, err = strconv.ParseInt(id, 10, 64)
	}
	if err != nil {
		return position, billing.Invalid("cursor: it is not one of this list; accepted: the one of its answer before")
	}
	return position, nil
}

// gatewayLimits changes limits as the commands do.
type gatewayLimits struct{ store *postgres.Store }

// SetLimit implements api.Limits.
func (g gatewayLimits) SetLimit(ctx context.Context, organization string, c api.LimitChange) (any, error) {
	org, err := g.store.Organization(ctx, organization)
	if err != nil {
		return nil, err
	}
	result, err := g.store.SetLimit(ctx, organization, c.LimitChange, c.By)
	return setLimitView{organization, viewLimit(result.Limit, org.Currency), result.Changed}, err
}

// RemoveLimit implements api.Limits.
func (g gatewayLimits) RemoveLimit(ctx context.Context, organization string, c api.LimitChange) (any, error) {
	removed, err := g.store.RemoveLimit(ctx, organization, c.Scope, c.Subject, c.By)
	return removedLimit{organization, c.Scope, c.Subject, removed}, err
}
