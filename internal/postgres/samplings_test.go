package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// sampled returns an event of three runs: 0.25 USD of Opus 4.5 as it was asked for, 0.50 of
// Haiku 4.5 under the name by which it was sent, and 0.75 of Opus again.
func sampled(id, user string, at time.Time) billing.UsageItem {
	return with(use(id, user, at, 40_000), func(e *billing.Event) {
		run := func(model string, output int64) billing.Sampling {
			return billing.Sampling{Model: model, Quantities: billing.Quantities{billing.Output: output}}
		}
		e.Model = "claude-opus-4-5"
		e.Samplings = []billing.Sampling{run("claude-opus-4-5", 10_000), run("claude-haiku-4-5-20251001", 100_000), run("claude-opus-4-5", 30_000)}
	})
}

// unknownSampling is an event of two runs, of which the second has no price. It counts
// 25 USD a million tokens against limits: 0.25 and 0.50.
func unknownSampling(id, user string, at time.Time) billing.UsageItem {
	return with(sampled(id, user, at), func(e *billing.Event) {
		e.Samplings = slices.Clone(e.Samplings[:2])
		e.Samplings[1].Model, e.Samplings[1].Quantities = "claude-never", billing.Quantities{billing.Output: 20_000}
	})
}

// summed is the running period's usage, by model.
func (f *fixture) summed() (rows []string) {
	f.t.Helper()
	summary, err := f.UsageSummary(f.ctx, "acme", "", []string{"model"})
	require.NoError(f.t, err)
	for _, row := range summary.Rows {
		rows = append(rows, strings.TrimSpace(fmt.Sprint(row.Model, ": ", row.Events, " events, ", row.Spend, " ", strings.Join(summary.Spellings[row.Model], " "))))
	}
	return rows
}

func TestAnEventOfSeveralModelsIsBilledByEachAndCountsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.use(sampled("a", "u1", october))
	require.Equal(t, 3, f.count("usage_events"), "a row for each run")
	for scope, subject := range map[billing.Scope]string{billing.ScopeOrganization: "", billing.ScopeUser: "u1", billing.ScopeSeatTier: "chat"} {
		require.Equal(t, "1.5", f.spent(scope, subject), scope)
	}
	require.Equal(t, []string{"claude-haiku-4-5: 0 events, 0.50 USD claude-haiku-4-5-20251001", "claude-opus-4-5: 1 events, 1.00 USD"}, f.summed())
	summary, err := f.UsageSummary(f.ctx, "acme", "", nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, summary.Rows[0].Events, "all in all")
	rows, total := f.export(billing.SpendSpan{})
	require.Equal(t, "1.50", total)
	require.Len(t, rows, 2)
	rows, total = f.export(billing.SpendSpan{From: "2026-10-01", To: "2026-10-02"})
	require.Equal(t, "1.50", total, "by days, too")
	require.Len(t, rows, 2)
	require.Equal(t, "21.50 USD", f.preview().Total.String(), "and 20.00 of the seat")
	f.clean()

	f.endOctober()
	require.Equal(t, "21.50 USD", f.issueOctober().Total.String())
	rebuilt, err := f.RebuildInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Empty(t, rebuilt.Differences)
	f.clean()
}

func TestAnEventOfSeveralModelsIsKnownByAllOfThem(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	changed := func(n int, change func(*billing.Sampling)) billing.UsageItem {
		return with(sampled("a", "u1", october), func(e *billing.Event) { change(&e.Samplings[n]) })
	}
	require.Equal(t, []billing.UsageStatus{accepted, duplicate, conflict}, f.store(
		sampled("a", "u1", october), sampled("a", "u1", october), changed(1, func(s *billing.Sampling) { s.Quantities[billing.Output]++ })))
	for n := range 3 {
		require.Equal(t, []billing.UsageStatus{conflict}, f.store(changed(n, func(s *billing.Sampling) { s.Quantities[billing.Output]++ })), n)
		require.Equal(t, []billing.UsageStatus{conflict}, f.store(changed(n, func(s *billing.Sampling) { s.Model = "claude-sonnet-4-5" })), n)
	}
	require.Equal(t, []billing.UsageStatus{conflict}, f.store(use("a", "u1", october, 40_000)))
	require.Equal(t, 3, f.count("usage_events"))
	require.Equal(t, "1.5", f.spent(billing.ScopeOrganization, ""))

	f.use(use("plain", "u1", october, 100_000))
	require.Equal(t, []billing.UsageStatus{conflict}, f.store(sampled("plain", "u1", october)), "nor does a plain one become one of several")
	require.Equal(t, "2", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestAnEventOfSeveralModelsIsRetractedWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(sampled("a", "u1", october), sampled("b", "u1", october), sampled("c", "u2", october))
	f.use(retract("undo a", "a", october))
	require.Equal(t, []billing.UsageStatus{accepted, accepted, duplicate}, f.store(
		sampled("d", "u1", october), retract("undo d", "d", october), retract("undo a", "a", october)), "in one batch, too")
	require.Equal(t, conflict, f.ask(retract("again", "a", october)).Status)
	require.Equal(t, "3", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, "1.5", f.spent(billing.ScopeUser, "u1"))
	require.Equal(t, []string{"claude-haiku-4-5: 0 events, 1.00 USD claude-haiku-4-5-20251001", "claude-opus-4-5: 2 events, 2.00 USD"}, f.summed())
	f.clean()

	f.endOctober()
	f.issueOctober()
	f.use(retract("undo b", "b", f.now()), sampled("late", "u2", october.AddDate(0, 0, 29)))
	f.clean()
	require.Equal(t, "3", f.spent(billing.ScopeOrganization, ""), "one is taken back, and one came late")
	require.Equal(t, "0.00 USD", f.preview().Total.String(), "what is taken back and what came late, in November")
}

func TestAnEventIsParkedWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	require.Equal(t, []billing.UsageStatus{parked, duplicate}, f.store(unknownSampling("a", "u1", october), unknownSampling("a", "u1", october)))
	f.store(unknownSampling("b", "u1", october), unknownSampling("c", "u1", october))
	require.Equal(t, "0", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, []string{"3 2.25"}, f.waiting())
	f.clean()

	require.EqualValues(t, 1, f.discard(postgres.DiscardChoice{Event: "b"}))
	f.use(retract("undo c", "c", october))
	require.Equal(t, []string{"1 0.75"}, f.waiting())
	f.clean()

	load, err := f.LoadPriceBook(f.ctx, f.bookWith("claude-never"), tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, load.Releasable)
	released, err := f.ReleaseUsage(f.ctx, "acme", "claude-never", tester)
	require.NoError(t, err)
	require.Equal(t, postgres.ReleaseResult{Released: 1}, released)
	require.Empty(t, f.waiting())
	require.Equal(t, "0.35", f.spent(billing.ScopeOrganization, ""), "0.25 of Opus, 0.10 of the new one")
	require.Equal(t, "0", f.provisional(billing.ScopeUser, "u1"))
	require.Equal(t, []billing.UsageStatus{duplicate}, f.store(unknownSampling("a", "u1", october)))
	f.clean()
}

func TestAnEventOfSeveralModelsIsRepricedWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(sampled("a", "u1", october), sampled("undone", "u1", october), retract("undo", "undone", october))
	done := f.reprice(doubleHaiku())
	require.EqualValues(t, 1, done.Organizations[0].Events)
	require.Equal(t, "0.50 USD", done.Organizations[0].Difference.String(), "of 0.50 for Haiku; Opus stays")
	require.Equal(t, "2", f.spent(billing.ScopeUser, "u1"))
	f.clean()
}

// waiting lists how many events wait for a price, and what they count against limits.
func (f *fixture) waiting() []string {
	f.t.Helper()
	rows, err := f.ParkedUsage(f.ctx, "acme", false)
	require.NoError(f.t, err)
	list := []string{}
	for _, row := range rows {
		list = append(list, fmt.Sprint(row.Events, " ", row.Provisional.Amount))
	}
	return list
}

// provisional returns what a counter of October holds of usage without a price.
func (f *fixture) provisional(scope billing.Scope, subject string) string {
	f.t.Helper()
	var amount decimal.Decimal
	err := f.pool.QueryRow(f.ctx, `
SELECT coalesce(sum(provisional), 0) FROM spend_counters
 WHERE org_id = 'acme' AND window_start = $1 AND scope = $2 AND subject = $3`, october, scope, subject).Scan(&amount)
	require.NoError(f.t, err)
	return amount.String()
}

func TestUsageWithoutAPriceCountsAgainstLimitsByTheFallback(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeOrganization, "", "2")
	unpriced := func(id string, output int64) billing.UsageItem {
		return with(use(id, "u1", october, output), func(e *billing.Event) { e.Model = "claude-never" })
	}
	f.use(use("a", "u1", october, 100_000)) // 0.50 USD
	f.store(unpriced("b", 40_000))          // 1.00 USD at the fallback
	require.Equal(t, "0.5", f.spent(billing.ScopeOrganization, ""))
	require.Equal(t, "1", f.provisional(billing.ScopeOrganization, ""))
	require.Equal(t, []string{"organization  75% v1 pending"}, f.notices(), "of 1.50 of 2.00")
	c, err := f.CheckLimit(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.True(t, c.Allowed())
	require.Equal(t, []string{"0.5", "1"}, []string{c.Binding.Spent.String(), c.Binding.Provisional.String()}, "shown apart")
	f.clean()

	f.store(unpriced("c", 30_000)) // 0.75 USD, to 2.25
	c, err = f.CheckLimit(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.False(t, c.Allowed())
	require.Equal(t, "20.50 USD", f.preview().Total.String(), "a seat and what has a price: nothing is billed by it")

	f.discard(postgres.DiscardChoice{Event: "c"})
	require.Equal(t, "1", f.provisional(billing.ScopeUser, "u1"))
	f.use(retract("undo b", "b", october))
	require.Equal(t, "0", f.provisional(billing.ScopeSeatTier, "chat"))
	f.clean()
	f.store(unpriced("d", 30_000))
	_, err = f.LoadPriceBook(f.ctx, f.bookWith("claude-never"), tester)
	require.NoError(t, err)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, "0", f.provisional(billing.ScopeOrganization, ""))
	require.Equal(t, "0.65", f.spent(billing.ScopeOrganization, ""), "0.15 at its own price")
	f.clean()
}

func TestAnEventThatCostsNothingAtAnyPriceHoldsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	synthetic := func() billing.UsageItem {
		return with(use("a", "u1", october, 0), func(e *billing.Event) { e.Model = "<synthetic>" })
	}
	require.Equal(t, []billing.UsageStatus{accepted, duplicate}, f.store(synthetic(), synthetic()))
	require.Equal(t, []billing.UsageStatus{duplicate}, f.store(synthetic()))
	require.Equal(t, []billing.UsageStatus{conflict}, f.store(with(synthetic(), func(e *billing.Event) { e.Quantities[billing.Output] = 1 })))
	require.Empty(t, f.waiting())
	f.use(use("b", "u1", october, 1_000_000))
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, []any{billing.StatusOpen, "5.00 USD"}, []any{issued.Status, issued.Total.String()})
	f.clean()
}

func TestUsageIsBilledByWhatItsModelIsCalled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	as := func(id, model string) billing.UsageItem {
		return with(use(id, "u1", october, 100_000), func(e *billing.Event) { e.Model = model })
	}
	f.use(as("a", "claude-haiku-4-5"), as("b", "us.anthropic.claude-haiku-4-5-20251001-v1:0"), as("c", "anthropic/claude-haiku-4.5"))
	require.Equal(t, []string{"claude-haiku-4-5: 3 events, 1.50 USD anthropic/claude-haiku-4.5 us.anthropic.claude-haiku-4-5-20251001-v1:0"}, f.summed())
	require.Equal(t, []billing.UsageStatus{conflict}, f.store(as("b", "claude-haiku-4-5")), "another name is another content")

	require.Equal(t, []billing.UsageStatus{parked}, f.store(as("d", "our-haiku")))
	book := pricebook.Default()
	book.Aliases = append(book.Aliases, billing.ModelAlias{Alias: "our-haiku", Model: "claude-haiku-4-5"})
	load, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, load.Releasable)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, "2", f.spent(billing.ScopeUser, "u1"))
	require.Contains(t, f.summed()[0], "our-haiku")
	rows, _ := f.export(billing.SpendSpan{})
	require.Equal(t, []string{"anthropic/claude-haiku-4.5", "our-haiku", "us.anthropic.claude-haiku-4-5-20251001-v1:0"}, rows[0].SentAs)
	f.clean()
	f.endOctober()
	f.issueOctober()
	rebuilt, err := f.RebuildInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Empty(t, rebuilt.Differences, "from the names as they were sent")
}

func TestAServiceTierIsPricedByItsMultiplier(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	priority := func(id string) billing.UsageItem {
		return with(use(id, "u1", october, 100_000), func(e *billing.Event) { e.ServiceTier = "priority" })
	}
	require.Equal(t, []billing.UsageStatus{parked}, f.store(priority("a")))
	tiers := func(multiplier string) *billing.PriceBook {
		book := pricebook.Default()
		book.ServiceTiers = []billing.ServiceTierPrice{{Tier: "priority", Multiplier: decimal.RequireFromString(multiplier)}}
		return book
	}
	load, err := f.LoadPriceBook(f.ctx, tiers("1.5"), tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, load.Releasable)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, "0.75", f.spent(billing.ScopeOrganization, ""))
	f.clean()
	f.use(priority("b"))
	done := f.reprice(tiers("2"))
	require.EqualValues(t, 2, done.Organizations[0].Events)
	require.Equal(t, "2", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}
