package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// sound holds an issued invoice against everything that is made of the same facts.
func (f *fixture) sound(id string) billing.Invoice {
	f.t.Helper()
	invoice, err := f.Invoice(f.ctx, id, true)
	require.NoError(f.t, err)
	rebuilt, err := f.RebuildInvoice(f.ctx, id)
	require.NoError(f.t, err)
	require.Empty(f.t, rebuilt.Differences, id)
	require.Zero(f.t, rebuilt.Unrated)
	usage := billing.Add(invoice.Lines, billing.KindUsage)
	for _, byCenter := range []bool{false, true} {
		rows, err := f.ExportSpend(f.ctx, "acme", billing.SpendSpan{Period: invoice.PeriodID, CostCenters: byCenter})
		require.NoError(f.t, err)
		sum := decimal.Zero
		for _, row := range rows {
			sum = sum.Add(row.Amount.Amount)
		}
		require.Equal(f.t, usage.String(), sum.String(), "%s, by cost centre: %t", id, byCenter)
	}
	for _, line := range invoice.Lines {
		if line.Kind != billing.KindUsage {
			continue
		}
		amount, quantity := decimal.Zero, decimal.Zero
		for _, m := range line.Members {
			amount, quantity = amount.Add(m.Amount.Amount), quantity.Add(m.Quantity)
		}
		require.True(f.t, amount.Equal(line.Amount.Amount) && quantity.Equal(line.Quantity), line.Key)
	}
	f.clean()
	return invoice
}

// TestFreeHoursHoldThroughAMonthsWholeLife takes a discounted month in two pieces
// through late usage, retractions, a void and its next revision.
func TestFreeHoursHoldThroughAMonthsWholeLife(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	_, err := f.SetDiscount(f.ctx, "acme", decimal.NewFromInt(10), tester)
	require.NoError(t, err)
	center := func(item billing.UsageItem, name string) billing.UsageItem {
		return with(item, func(e *billing.Event) { e.Labels = map[string]string{"cost_center": name} })
	}
	f.clock(october.AddDate(0, 0, 9))
	f.use(run("a", "u1", october, 20_001), center(run("b", "u2", october.Add(time.Hour), 33_337), "x"), run("c", "u1", october.Add(2*time.Hour), 30_000),
		use("t", "u1", october.Add(time.Hour), 123_457), center(run("d", "u2", october.Add(3*time.Hour), 7), "y"))
	require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 0))
	f.clock(october.AddDate(0, 0, 19))
	f.use(run("e", "u3", f.now(), 40_000), run("f", "", f.now(), 40_003))
	f.endPeriod("2026-10-01", october.AddDate(0, 0, 19))
	f.clock(october.AddDate(0, 0, 20))
	first := f.issueNow("2026-10-01")
	f.sound(first.Invoice)
	require.Equal(t, []billing.UsageStatus{billing.UsageAccepted, billing.UsageAccepted},
		f.store(run("late", "u2", october.Add(5*time.Hour), 999), retract("undo", "a", f.now())))
	f.endPeriod("2026-10-01.2", october.AddDate(0, 1, 0))
	f.clock(october.AddDate(0, 1, 1))
	second := f.issueNow("2026-10-01.2")
	f.sound(first.Invoice)
	f.sound(second.Invoice)

	_, err = f.SetDiscount(f.ctx, "acme", decimal.NewFromInt(25), tester)
	require.NoError(t, err)
	_, err = f.CorrectInvoice(f.ctx, first.Invoice, voided(), tester)
	require.NoError(t, err)
	f.clean()
	f.sound(second.Invoice)
	require.Equal(t, []billing.UsageStatus{billing.UsageAccepted, billing.UsageAccepted},
		f.store(run("later", "u2", october.Add(6*time.Hour), 1001), retract("undo b", "b", f.now())))
	f.clock(october.AddDate(0, 1, 3))
	again, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 2)
	require.NoError(t, err)
	require.NotEqual(t, billing.StatusDraft, again.Status)
	one := f.sound(again.Invoice)
	two := f.sound(second.Invoice)
	diff, err := billing.CompareInvoices(&one, &two)
	require.NoError(t, err)
	sum := decimal.Zero
	for _, effect := range diff.Effects {
		sum = sum.Add(effect.Amount.Amount)
	}
	require.Equal(t, diff.Difference.Amount.String(), sum.String())
	sum = diff.NoMember.Amount
	for _, m := range diff.Members {
		sum = sum.Add(m.Difference.Amount)
	}
	require.Equal(t, diff.Difference.Amount.String(), sum.String())
}

// TestACurrencyOfThreePlacesHoldsThroughCreditsAndTransfers takes an invoice
// of Kuwait through rounding, a discount, a transfer in part and a credit.
func TestACurrencyOfThreePlacesHoldsThroughCreditsAndTransfers(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	book := freeHours("0.36")
	book.Currency = "KWD"
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	f.create(billing.Organization{ID: "acme", Currency: "KWD", Email: "billing@acme.example", StartsAt: october, TestClock: true, Now: october})
	_, err = f.SetDiscount(f.ctx, "acme", decimal.RequireFromString("3.3"), tester)
	require.NoError(t, err)
	f.use(use("t", "u1", october, 12_345_678), run("a", "u2", october, 77_777))
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.True(t, issued.Total.Amount.Equal(issued.Total.Amount.Round(2)), issued.Total)
	f.sound(octoberInvoice)
	f.publish(octoberInvoice, "in_1")
	f.correct(transferred("1.01", "one"))
	f.carryOut()
	f.clean()
	f.correct(credited("0.33"))
	f.carryOut()
	f.clean()
	f.correct(transferred("", "rest"))
	require.Equal(t, billing.StatusPaid, f.carryOut().Status)
	f.sound(octoberInvoice)
	f.correct(credited("5.55"))
	f.use(use("n", "u1", f.now(), 1_234_567))
	november := f.issueNovember()
	f.sound(november.Invoice)
	f.clean()
}
