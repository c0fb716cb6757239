package postgres_test

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func (f *fixture) export(span billing.SpendSpan) (rows []billing.SpendRow, total string) {
	f.t.Helper()
	rows, err := f.ExportSpend(f.ctx, "acme", span)
	require.NoError(f.t, err)
	sum := decimal.Zero
	for _, row := range rows {
		sum = sum.Add(row.Amount.Amount)
	}
	return rows, sum.StringFixed(2)
}

func TestAnExportAddsUpToTheInvoiceOfItsPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var items []billing.UsageItem
	for i := range 40 { // each a fraction of a cent, so that rounding shows
		item := use(fmt.Sprint("e", i), fmt.Sprint("u", i%7), october.AddDate(0, 0, i%20), int64(1_000_333+i*17))
		if i%3 == 0 {
			item.Event.Labels = map[string]string{"cost_center": fmt.Sprint("cc", i%2)}
		}
		if i%5 == 0 {
			item.Event.User = ""
		}
		items = append(items, item)
	}
	f.clock(october.AddDate(0, 0, 25))
	f.store(items...)
	_, running := f.export(billing.SpendSpan{})
	f.endOctober()
	f.issueOctober()
	invoice, err := f.Invoice(f.ctx, "acme/2026-10-01", true)
	require.NoError(t, err)
	usage := billing.Add(invoice.Lines, billing.KindUsage).StringFixed(2)
	require.Equal(t, usage, running)
	for name, span := range map[string]billing.SpendSpan{
		"by period":      {Period: "2026-10-01"},
		"by cost centre": {Period: "2026-10-01", CostCenters: true},
		"by its dates":   {From: "2026-10-01", To: "2026-11-01T00:00:00Z"},
	} {
		_, total := f.export(span)
		require.Equal(t, usage, total, name)
	}
	rows, _ := f.export(billing.SpendSpan{Period: "2026-10-01", CostCenters: true})
	centers := map[string]bool{}
	for _, row := range rows {
		centers[row.CostCenter] = true
	}
	require.Equal(t, map[string]bool{"": true, "cc0": true, "cc1": true}, centers)

	rows, _ = f.export(billing.SpendSpan{From: "2026-10-01", To: "2026-10-02"}) // e0 and e20
	require.Len(t, rows, 1)
	require.Equal(t, "2001006", rows[0].Counts[billing.Output].String())
}

func TestSpansThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, span := range []billing.SpendSpan{
		{From: "2026-10-01"},
		{Period: "2026-10-01", From: "2026-10-01", To: "2026-10-02"},
		{From: "2026-10-02", To: "2026-10-02"},
		{From: "2026-10-01", To: "2026-12-31"},
		{From: "yesterday", To: "2026-10-02"},
	} {
		_, err := f.ExportSpend(f.ctx, "acme", span)
		require.ErrorIs(t, err, billing.ErrInvalid, span)
	}
	_, err := f.ExportSpend(f.ctx, "acme", billing.SpendSpan{From: "2026-10-01", To: "2026-12-30"})
	require.NoError(t, err, "90 days")
	_, err = f.ExportSpend(f.ctx, "acme", billing.SpendSpan{Period: "2020-01-01"})
	require.ErrorIs(t, err, billing.ErrNotFound)
}
