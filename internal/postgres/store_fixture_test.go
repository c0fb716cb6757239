package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// benchFixture is a fixture for benchmarks.
type benchFixture struct {
	*postgres.Store
	ctx  context.Context
	pool *pgxpool.Pool
}

func newBenchFixture(b *testing.B) *benchFixture {
	b.Helper()
	pool := pgtest.New(b)
	f := &benchFixture{postgres.New(pool), b.Context(), pool}
	_, err := f.LoadPriceBook(f.ctx, pricebook.Default(), tester)
	require.NoError(b, err)
	org := billing.Organization{ID: "acme", StartsAt: october, TestClock: true, Now: october}
	_, err = f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
	require.NoError(b, err)
	return f
}

// october is when the fixtures' organisation acme begins, on a test clock.
var october = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

var tester = billing.Actor{Name: "tester", Reason: "test"}

// fixture is a database with the default price book and organisation acme.
type fixture struct {
	*postgres.Store
	t    *testing.T
	ctx  context.Context
	pool *pgxpool.Pool
}

func newFixture(t *testing.T, change ...func(*billing.Organization)) *fixture {
	t.Helper()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(asApp(t, pool)), t, t.Context(), pool}
	_, err := f.LoadPriceBook(f.ctx, pricebook.Default(), tester)
	require.NoError(t, err)
	org := billing.Organization{ID: "acme", StartsAt: october, TestClock: true, Now: october}
	for _, c := range change {
		c(&org)
	}
	f.create(org)
	return f
}

func (f *fixture) create(org billing.Organization) {
	f.t.Helper()
	org.DraftWindow, org.LateWindow = billing.DefaultDraftWindow, billing.DefaultLateWindow
	_, err := f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
	require.NoError(f.t, err)
}

func (f *fixture) seat(user, tier string, hipaa bool) {
	f.t.Helper()
	_, err := f.AssignSeats(f.ctx, "acme", []postgres.SeatChange{{User: user, Tier: tier, HIPAA: hipaa}}, tester)
	require.NoError(f.t, err)
}

func (f *fixture) clock(to time.Time) {
	f.t.Helper()
	require.NoError(f.t, f.SetClock(f.ctx, "acme", to))
}

func (f *fixture) limit(scope billing.Scope, subject, amount string) billing.Limit {
	f.t.Helper()
	result, err := f.SetLimit(f.ctx, "acme", limitChange(scope, subject, amount), tester)
	require.NoError(f.t, err)
	return result.Limit
}

func limitChange(scope billing.Scope, subject, amount string) billing.LimitChange {
	change := billing.LimitChange{Scope: scope, Subject: subject}
	if amount != "none" {
		change.Amount = decimal.NewNullDecimal(decimal.RequireFromString(amount))
	}
	return change
}

// use returns an event of so many output tokens of Haiku 4.5, at 5 USD a million.
func use(id, user string, at time.Time, output int64) billing.UsageItem {
	event := billing.Event{
		ID: id, Organization: "acme", User: user, OccurredAt: at, Product: "chat", Model: "claude-haiku-4-5",
		ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
	}
	event.Quantities[billing.Output] = output
	return billing.UsageItem{Event: event, Raw: []byte(fmt.Sprintf(`{"id":%q}`, id))}
}

func (f *fixture) store(items ...billing.UsageItem) []billing.UsageStatus {
	f.t.Helper()
	answers, err := f.StoreUsage(f.ctx, "acme", items)
	require.NoError(f.t, err)
	statuses := make([]billing.UsageStatus, len(answers))
	for i, a := range answers {
		statuses[i] = a.Status
	}
	return statuses
}

// spent returns what a counter of October stands at.
func (f *fixture) spent(scope billing.Scope, subject string) string {
	f.t.Helper()
	var spend decimal.Decimal
	err := f.pool.QueryRow(f.ctx, `
SELECT coalesce(sum(spend), 0) FROM spend_counters
 WHERE org_id = 'acme' AND window_start = $1 AND scope = $2 AND subject = $3`, october, scope, subject).Scan(&spend)
	require.NoError(f.t, err)
	return spend.String()
}

// notices lists scope, subject, threshold, version and status of every notice.
func (f *fixture) notices() []string {
	f.t.Helper()
	rows, err := f.Notices(f.ctx, "acme", true)
	require.NoError(f.t, err)
	list := []string{}
	for _, n := range rows {
		list = append(list, fmt.Sprintf("%s %s %d%% v%d %s", n.Scope, n.Subject, n.Threshold, n.LimitVersion, n.Status))
	}
	return list
}

func (f *fixture) count(table string) (n int) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM `+table).Scan(&n))
	return n
}

func (f *fixture) endOctober() billing.Accrual {
	f.t.Helper()
	f.clock(october.AddDate(0, 1, 0))
	a, err := f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(f.t, err)
	require.NotNil(f.t, a.Ended)
	return a
}

func (f *fixture) issueOctober() billing.Issued {
	f.t.Helper()
	f.clock(october.AddDate(0, 1, 1))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(f.t, err)
	return issued
}

// bookWith returns the default price book with one more model, priced as Haiku 4.5.
func (f *fixture) bookWith(model string) *billing.PriceBook {
	f.t.Helper()
	book := pricebook.Default()
	for _, p := range book.Models {
		if p.Model == "claude-haiku-4-5" {
			p.Model = model
			book.Models = append(book.Models, p)
		}
	}
	return book
}
