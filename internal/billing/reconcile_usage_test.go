package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// reconciledBook prices two models and searches; large costs more from 15 April.
func reconciledBook() *billing.PriceBook {
	row := func(model, speed, from string, above int64, p ...string) billing.ModelPrice {
		return billing.ModelPrice{
			Model: model, Speed: speed, EffectiveFrom: date(from), PromptTokensAbove: above,
			PerMillion: prices(p...), Batch: nullDec("0.5"), USOnly: nullDec("1.1"),
		}
	}
	return &billing.PriceBook{
		Name: "book", Currency: "USD",
		Models: []billing.ModelPrice{
			row("small", "standard", "2026-01-01", 0, "1", "5", "1.25", "2", "0.1"),
			row("small", "standard", "2026-01-01", 200_000, "2", "10", "2.5", "4", "0.2"),
			row("small", "fast", "2026-01-01", 0, "6", "30", "7.5", "12", "0.6"),
			row("large", "standard", "2026-01-01", 0, "3", "15", "3.75", "6", "0.3"),
			row("large", "standard", "2026-04-15", 0, "4", "20", "5", "8", "0.4"),
		},
		Tools: []billing.ToolPrice{{Tool: "web_search", Per: 1000, Amount: dec("10")}, {Tool: "code_execution", Per: 3600, Amount: dec("0.05")}},
	}
}

// reconciledWorld is stored usage of some April days and a report of it.
type reconciledWorld struct {
	rater  *billing.Rater
	stored []billing.StoredUsage
	report billing.UsageReport
	billing.ReconcileOptions
}

// use stores input and output of a member on a day, of the price then in force.
func (w *reconciledWorld) use(day, user, model string, input, output int64) *billing.StoredUsage {
	s := billing.StoredUsage{Day: date(day), User: user, Product: "chat", Model: model, Events: 1}
	s.Counts[billing.Input], s.Counts[billing.Output] = decimal.NewFromInt(input), decimal.NewFromInt(output)
	s.Rate, s.Reason = w.rater.Rate(&billing.Event{Model: model, OccurredAt: s.Day, ServiceTier: "standard", Speed: "standard", InferenceGeo: "global"})
	w.stored = append(w.stored, s)
	return &w.stored[len(w.stored)-1]
}

// quantities are the values of a usage report's row.
func quantities(counts billing.Totals) (values []billing.ReportedValue) {
	for _, class := range billing.Classes() {
		if class != billing.CodeExecution {
			values = append(values, billing.ReportedValue{Class: class.String(), Value: counts[class]})
		}
	}
	return values
}

// newReconciledWorld is a world whose report has each stored row.
func newReconciledWorld() *reconciledWorld {
	book := reconciledBook()
	w := &reconciledWorld{rater: billing.NewRater(book, book.Rates())}
	w.By = billing.AllUsageDimensions()
	w.use("2026-04-01", "ana", "small", 1_000_000, 100_000)
	w.use("2026-04-01", "ben", "small", 2_000_000, 200_000)
	w.use("2026-04-02", "ana", "large", 300_000, 10_000)
	w.use("2026-04-02", "", "small", 50_000, 0)
	w.report = billing.UsageReport{
		Measure: billing.MeasureQuantity, ByDay: true,
		Classes: [billing.NumClasses]string{"input", "output", "cache_write_5m", "cache_write_1h", "cache_read", "web_search", ""},
		Spans:   []billing.Period{{Start: date("2026-04-01"), End: date("2026-04-03")}},
	}
	for _, s := range w.stored {
		w.report.Rows = append(w.report.Rows, reportedRow(&s))
	}
	return w
}

func reportedRow(s *billing.StoredUsage) billing.ReportedUsage {
	row := billing.ReportedUsage{Day: s.Day, Product: s.Product, Model: s.Model, Values: quantities(s.Counts)}
	if s.User != "" {
		row.Members = []string{s.User + "@example.com", s.User}
	}
	return row
}

func (w *reconciledWorld) reconcile() billing.ReconciledUsage {
	r := billing.NewUsageReconciliation(&w.report, w.rater, w.ReconcileOptions)
	for i := range w.stored {
		r.AddStored(&w.stored[i])
	}
	return r.Result()
}

// differences lists what differs: where, what is stored, reported and more, its
// cost and the reason.
func differences(r billing.ReconciledUsage) []string {
	var list []string
	for _, d := range r.Cells {
		if d.Agrees {
			continue
		}
		day, cost := "", "unknown"
		if !d.Day.IsZero() {
			day = d.Day.Format(time.DateOnly) + " "
		}
		if d.Cost.Valid {
			cost = d.Cost.Decimal.String()
		}
		text := fmt.Sprintf("%s%s/%s/%s %s: %s-%s=%s costs %s", day, d.Member, d.Product, d.Model, d.Class, d.Stored, d.Reported, d.Difference, cost)
		if d.Reason != "" {
			text += "; " + d.Reason
		}
		list = append(list, text)
	}
	return list
}

func TestReconciliationNamesExactlyWhatDiffers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*reconciledWorld)
		want   []string
	}{
		"nothing": {func(*reconciledWorld) {}, nil},
		"a day is missing here": {func(w *reconciledWorld) { w.stored = w.stored[2:] }, []string{ // at the price in force
			"2026-04-01 ben@example.com/chat/small input: 0-2000000=-2000000 costs -2", // who is not known here
			"2026-04-01 ana/chat/small input: 0-1000000=-1000000 costs -1",
			"2026-04-01 ben@example.com/chat/small output: 0-200000=-200000 costs -1",
			"2026-04-01 ana/chat/small output: 0-100000=-100000 costs -0.5",
		}},
		"a day is missing in the report": {func(w *reconciledWorld) { w.report.Rows = w.report.Rows[:2] }, []string{
			"2026-04-02 ana/chat/large input: 300000-0=300000 costs 0.9",
			"2026-04-02 ana/chat/large output: 10000-0=10000 costs 0.15",
			"2026-04-02 /chat/small input: 50000-0=50000 costs 0.05",
		}},
		"a member is reported twice": {func(w *reconciledWorld) { w.report.Rows = append(w.report.Rows, w.report.Rows[0]) }, []string{
			"2026-04-01 ana/chat/small input: 1000000-2000000=-1000000 costs -1",
			"2026-04-01 ana/chat/small output: 100000-200000=-100000 costs -0.5",
		}},
		"two classes are swapped": {func(w *reconciledWorld) {
			values := w.report.Rows[0].Values
			values[0].Value, values[1].Value = values[1].Value, values[0].Value
		}, []string{
			"2026-04-01 ana/chat/small output: 100000-1000000=-900000 costs -4.5",
			"2026-04-01 ana/chat/small input: 1000000-100000=900000 costs 0.9",
		}},
		"a model that has no price": {func(w *reconciledWorld) { w.report.Rows[0].Model = "huge" }, []string{
			"2026-04-01 ana/chat/small input: 1000000-0=1000000 costs 1",
			"2026-04-01 ana/chat/small output: 100000-0=100000 costs 0.5",
			"2026-04-01 ana/chat/huge input: 0-1000000=-1000000 costs unknown; model huge is not in price book book",
			"2026-04-01 ana/chat/huge output: 0-100000=-100000 costs unknown; model huge is not in price book book",
		}},
		"a model under a dated name": {func(w *reconciledWorld) {
			w.report.Rows[0].Model = "small-20260101"
		}, nil},
		"usage that is parked here": {func(w *reconciledWorld) { w.stored[0].Rate, w.stored[0].Reason = nil, "model small had no price yet" }, []string{
			"2026-04-01 ana/chat/small input: 0-1000000=-1000000 costs -1; 1000000 parked here: model small had no price yet",
			"2026-04-01 ana/chat/small output: 0-100000=-100000 costs -0.5; 100000 parked here: model small had no price yet",
		}},
		"an event that was retracted here": {func(w *reconciledWorld) {
			taken := w.use("2026-04-01", "ana", "small", -400_000, 0)
			taken.Events = -1
		}, []string{"2026-04-01 ana/chat/small input: 600000-1000000=-400000 costs -0.4"}},
		"two prices on one day, weighted": {func(w *reconciledWorld) {
			w.use("2026-04-01", "ana", "small", 3_000_000, 0).Rate = w.stored[2].Rate // 3 USD instead of 1
		}, []string{"2026-04-01 ana/chat/small input: 4000000-1000000=3000000 costs 7.5"}}, // 10 USD for 4 million
		"a price that never ends": {func(w *reconciledWorld) {
			w.use("2026-04-01", "ana", "small", 2, 0).Rate = w.stored[2].Rate
			w.report.Rows[0].Values[0].Value = dec("1000001") // one of 1.000006 USD / 1000002
		}, []string{"2026-04-01 ana/chat/small input: 1000002-1000001=1 costs 0.000001000003999992"}},
		"batch, fast, US-only and long prompts": {func(w *reconciledWorld) {
			w.stored = w.stored[1:]
			row := &w.report.Rows[0]
			row.ServiceTier, row.InferenceGeo, row.PromptTokensAbove = "batch", "us", 200_000
		}, []string{
			"2026-04-01 ana/chat/small input: 0-1000000=-1000000 costs -1.1",
			"2026-04-01 ana/chat/small output: 0-100000=-100000 costs -0.55",
		}},
		"a tier without a price": {func(w *reconciledWorld) {
			w.stored = w.stored[1:]
			w.report.Rows[0].ServiceTier = "flex"
		}, []string{
			"2026-04-01 ana/chat/small input: 0-1000000=-1000000 costs unknown; service tier flex has no price",
			"2026-04-01 ana/chat/small output: 0-100000=-100000 costs unknown; service tier flex has no price",
		}},
		"a member under a name that is mapped": {func(w *reconciledWorld) {
			w.report.Rows[0].Members = []string{"a.n@example.com"}
			w.Members = map[string]string{"a.n@example.com": "ana"}
		}, nil},
		"an API key that is nobody's": {func(w *reconciledWorld) {
			w.report.Rows[3].Members = []string{"apikey_1"}
			w.Members = map[string]string{"apikey_1": ""}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newReconciledWorld()
			c.change(w)
			result := w.reconcile()
			require.Equal(t, c.want, differences(result))
			require.Len(t, result.Cells, result.Differing)
			w.All = true
			result = w.reconcile()
			require.Len(t, result.Cells, result.Compared)
			require.Len(t, c.want, result.Differing)
			require.Equal(t, result.StoredCost.Sub(result.ReportedCost).String(), result.DifferenceCost.String())
			added := decimal.Zero
			for _, d := range result.Cells {
				added = added.Add(d.Cost.Decimal)
			}
			require.Equal(t, added.String(), result.DifferenceCost.String(), "the cells add up to the summary")
		})
	}
}
