package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestAnyMemberMayUseTheWholePool(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	f.limit(billing.ScopeOrganization, "", "10")
	f.use(use("a", "u1", october, 1_980_000)) // 9.90 USD of one member, nothing of the other
	require.Equal(t, "allowed by organization : 0.1 left", f.check("u2"), "what is left is everybody's")
	f.use(use("b", "u2", october, 20_000))
	for _, user := range []string{"u1", "u2", ""} {
		require.Equal(t, "blocked by organization : 0 left", f.check(user), user)
	}
}

func TestADepartedMemberKeepsTheirNameAndCostOnTheBill(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.use(use("a", "u1", october, 1_000_000))
	f.clock(october.AddDate(0, 0, 5))
	require.NoError(t, f.RemoveSeat(f.ctx, "acme", "u1", time.Time{}, tester))
	rows, _ := f.export(billing.SpendSpan{})
	require.Equal(t, []string{"u1", "5.00 USD"}, []string{rows[0].User, rows[0].Amount.String()})
	f.endOctober()
	f.issueOctober()
	invoice, err := f.Invoice(f.ctx, octoberInvoice, true)
	require.NoError(t, err)
	usage := invoice.Lines[slices.IndexFunc(invoice.Lines, func(l billing.Line) bool { return l.Kind == billing.KindUsage })]
	require.Equal(t, "u1", usage.Members[0].User)
	f.clean()
}

func TestEveryMemberHasASpendAndAStandingAsOfATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.seat("u2", "chat", false)
	f.limit(billing.ScopeSeatTier, "chat", "8")
	f.clock(october.Add(time.Hour))
	f.use(use("a", "u1", october, 1_000_000), use("b", "", october, 200_000))
	summary, err := f.UsageSummary(f.ctx, "acme", "", []string{"user"})
	require.NoError(t, err)
	require.Equal(t, october.Add(time.Hour), summary.AsOf)
	var words []string
	for _, row := range summary.Rows {
		left := "unlimited"
		if row.Binding != nil {
			remaining, _ := row.Binding.Limit.Remaining(row.Binding.Spent)
			left = remaining.String() + " left of " + string(row.Binding.Limit.Scope)
		}
		words = append(words, fmt.Sprintf("%q %s, %s", row.User, row.MonthToDate, left))
	}
	require.Equal(t, []string{`"" 0.00 USD, unlimited`, `"u1" 5.00 USD, 3 left of seat_tier`, `"u2" 0.00 USD, 8 left of seat_tier`}, words,
		"who used nothing is listed, too")
}

// The same events give the same bill, forwards, backwards, interleaved, one by one
// or all at once.
func TestTheOrderInWhichUsageArrivesChangesNoInvoice(t *testing.T) {
	t.Parallel()
	var events []billing.UsageItem
	var want []string
	for name, arrange := range map[string]func(f *fixture, items []billing.UsageItem){
		"in order":    func(f *fixture, items []billing.UsageItem) { f.use(items...) },
		"reversed":    func(f *fixture, items []billing.UsageItem) { slices.Reverse(items); f.use(items...) },
		"one by one":  func(f *fixture, items []billing.UsageItem) { eachAlone(f, items) },
		"interleaved": func(f *fixture, items []billing.UsageItem) { interleaved(f, items) },
	} {
		f := newContract(t, contractBook())
		f.clock(october.AddDate(0, 0, 20))
		events = append(f.octoberUsage(october.AddDate(0, 0, 14).Add(-time.Microsecond), "old prices"), f.octoberUsage(october.AddDate(0, 0, 14), "new prices")...)
		arrange(f, events)
		f.endOctober()
		f.issueOctober()
		got := bill(f.issued(octoberInvoice))
		if want == nil {
			want = got
		}
		require.Equal(t, want, got, name)
		f.clean()
	}
}

func eachAlone(f *fixture, items []billing.UsageItem) {
	for _, item := range items {
		f.use(item)
	}
}

// interleaved has two writers take turns as they come.
func interleaved(f *fixture, items []billing.UsageItem) {
	var wait sync.WaitGroup
	for part := range 2 {
		wait.Go(func() {
			for i := part; i < len(items); i += 2 {
				if _, err := f.StoreUsage(f.ctx, "acme", items[i:i+1]); err != nil {
					f.t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestSpendBelongsToTheTierHeldWhenItHappened(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	moved := october.AddDate(0, 0, 10)
	f.clock(moved)
	f.seat("u1", "chat_claude_code", false)
	f.clock(october.AddDate(0, 0, 20))
	f.use(use("after", "u1", moved, 400_000), use("before", "u1", moved.Add(-time.Microsecond), 200_000), use("nobody", "u9", moved, 600_000))
	require.Equal(t, "1", f.spent(billing.ScopeSeatTier, "chat"))
	require.Equal(t, "2", f.spent(billing.ScopeSeatTier, "chat_claude_code"))
	require.Equal(t, "3", f.spent(billing.ScopeUser, "u9"), "an unknown member is billed like any other")
	require.Equal(t, "6", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

// A period of one day after the other closes while four writers
// store usage of it. Each event is billed once, by the closing period or by the
// running one.
func TestManyPeriodsCloseWhileUsageArrives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`UPDATE organizations SET draft_window = interval '0'`)
	const rounds, writers, each = 25, 4, 3
	for round := range rounds {
		at := october.AddDate(0, 0, round)
		period := "2026-10-01"
		if round > 0 {
			period = fmt.Sprintf("2026-10-01.%d", round+1)
		}
		f.clock(at.Add(time.Hour))
		require.NoError(t, f.EndPeriodNow(f.ctx, "acme", int64(round+1)))
		_, err := f.Accrue(f.ctx, "acme", period)
		require.NoError(t, err)
		var wait sync.WaitGroup
		for w := range writers {
			wait.Go(func() {
				for i := range each {
					answers, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{use(fmt.Sprint(round, " ", w, " ", i), "u1", at, 20_000)})
					if err != nil || answers[0].Status != billing.UsageAccepted {
						t.Error(err, answers)
					}
				}
			})
		}
		_, err = f.IssueInvoice(f.ctx, "acme", period, 1)
		require.NoError(t, err)
		wait.Wait()
	}
	f.clean()
	var billed decimal.Decimal
	require.NoError(t, f.pool.QueryRow(f.ctx, `
SELECT sum(l.quantity) FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id WHERE l.kind = 'usage'`).Scan(&billed))
	for _, line := range f.preview().Lines {
		if line.Kind == billing.KindUsage {
			billed = billed.Add(line.Quantity)
		}
	}
	require.Equal(t, fmt.Sprint(rounds*writers*each*20_000), billed.String())
	late := f.list(`SELECT count(*)::text FROM usage_events WHERE origin_id IS NOT NULL`)
	require.NotEqual(t, []string{"0"}, late, "some came after the close: else nothing was raced")
}

// 2^63 nano-dollars are 9.2 billion: totals, spend and bill stay exact beyond, and
// what no payment can carry is parked.
func TestATotalBeyond64BitsIsExactAndParked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1000000000.00")
	f.use(use("one", "u1", october, 1))
	const events = 2100
	for batch := range 3 {
		var items []billing.UsageItem
		for i := range events / 3 {
			items = append(items, use(fmt.Sprint("big ", batch, " ", i), "u1", october, billing.MaxCount)) // 5,000,000 USD each
		}
		f.use(items...)
	}
	require.Equal(t, "10500000000.000005", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, "blocked by organization : -9500000000.000005 left", f.check("u1"))
	_, total := f.export(billing.SpendSpan{})
	require.Equal(t, "10500000000.00", total)
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "above the largest charge")
	draft, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "10500000000.000005", draft[0].Lines[0].Exact.Amount.String())
	require.Equal(t, "2100000000000001", strings.TrimSuffix(draft[0].Lines[0].Quantity.String(), ".0"))
	f.clean()
}
