package billing_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// storedOf is what storage would hand over of some events.
func storedOf(rater *billing.Rater, events []billing.Event) []billing.StoredUsage {
	stored := make([]billing.StoredUsage, len(events))
	for i := range events {
		e := &events[i]
		rate, _ := rater.Rate(e)
		metered := rate.Metered(e)
		stored[i] = billing.StoredUsage{
			Day: e.OccurredAt.Truncate(24 * time.Hour), User: e.User, Product: e.Product, Model: e.Model,
			Events: 1, Counts: metered.Quantities.Totals(), Rate: rate,
		}
	}
	return stored
}

// drawReport makes a report of what is stored, by drawn dimensions and measure.
func drawReport(t *rapid.T, stored []billing.StoredUsage) billing.UsageReport {
	has := billing.UsageDimensions{
		Day: rapid.Bool().Draw(t, "by day"), Member: rapid.Bool().Draw(t, "by member"),
		Product: rapid.Bool().Draw(t, "by product"), Model: rapid.Bool().Draw(t, "by model"),
	}
	report := billing.UsageReport{
		Measure:  rapid.SampledFrom([]billing.UsageMeasure{billing.MeasureQuantity, billing.MeasureCost}).Draw(t, "measure"),
		Currency: "USD", ByDay: has.Day, Spans: []billing.Period{{Start: date("2026-03-01"), End: april.End}},
	}
	for _, class := range billing.Classes() {
		report.Classes[class] = class.String()
		if class.IsToken() && rapid.Bool().Draw(t, "adds up "+class.String()) {
			report.Classes[class] = "tokens"
		}
	}
	for _, s := range stored {
		var row billing.ReportedUsage
		if has.Day {
			row.Day = s.Day
		}
		if has.Member && s.User != "" {
			row.Members = []string{s.User}
		}
		if has.Product {
			row.Product = s.Product
		}
		if has.Model {
			row.Model = s.Model
		}
		for _, class := range billing.Classes() {
			value := s.Counts[class]
			if report.Measure == billing.MeasureCost && !value.IsZero() {
				unit := s.Rate.Unit[class]
				value = unit.Amount.Mul(value).DivRound(decimal.NewFromInt(unit.Per), 18)
			}
			row.Values = append(row.Values, billing.ReportedValue{Class: report.Classes[class], Value: value})
		}
		report.Rows = append(report.Rows, row)
	}
	return report
}

func TestAReportOfWhatIsStoredHasNoDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		book := drawBook(t)
		rater := billing.NewRater(book, book.Rates())
		stored := storedOf(rater, drawEvents(t, rater, "events"))
		report := drawReport(t, stored)
		reconcile := func() billing.ReconciledUsage {
			r := billing.NewUsageReconciliation(&report, rater, billing.ReconcileOptions{By: billing.AllUsageDimensions()})
			for i := range stored {
				r.AddStored(&stored[i])
			}
			return r.Result()
		}
		result := reconcile()
		require.Empty(t, differences(result))
		require.True(t, result.DifferenceCost.IsZero())

		// One more unit of anything is one difference, of that unit.
		if len(stored) == 0 {
			return
		}
		row := rapid.IntRange(0, len(report.Rows)-1).Draw(t, "row")
		value := &report.Rows[row].Values[rapid.IntRange(0, billing.NumClasses-1).Draw(t, "class")]
		value.Value = value.Value.Add(decimal.NewFromInt(1))
		result = reconcile()
		require.Equal(t, 1, result.Differing)
		for _, d := range result.Cells {
			if !d.Agrees {
				require.Equal(t, "-1", d.Difference.String())
				require.Equal(t, value.Class, d.Class)
			}
		}
	})
}

func TestCostsAreComparedAtListPriceAndWithinTheirRounding(t *testing.T) {
	t.Parallel()
	w := newReconciledWorld()
	searched := w.use("2026-04-02", "ana", "large", 0, 0)
	searched.Counts[billing.WebSearch], searched.Counts[billing.CodeExecution] = decimal.NewFromInt(30), decimal.NewFromInt(3600)
	cost := func(day, member, model, class, amount string) billing.ReportedUsage {
		return billing.ReportedUsage{
			Day: date(day), Members: []string{member}, Model: model,
			Values: []billing.ReportedValue{{Class: class, Value: dec(amount), Rounding: dec("0.005")}},
		}
	}
	w.stored = w.stored[2:] // those of 2 April
	w.report.Measure, w.report.Currency = billing.MeasureCost, "USD"
	w.report.Classes = [billing.NumClasses]string{"tokens", "tokens", "tokens", "tokens", "tokens", "web_search", "code_execution"}
	w.report.Rows = []billing.ReportedUsage{
		cost("2026-04-02", "ana", "large", "tokens", "0.52"),
		cost("2026-04-02", "ana", "large", "tokens", "0.522"), // 1.05 is stored, less both: 0.008 of 0.010
		cost("2026-04-02", "ana", "", "web_search", "0.30"),   // tools are of no model here
		cost("2026-04-02", "ana", "", "code_execution", "0.04"),
		cost("2026-04-02", "ana", "", "session_usage", "7"),
	}
	result := w.reconcile()
	require.Equal(t, []string{
		"2026-04-02 ana// session_usage: 0-7=-7 costs -7",
		"2026-04-02 //small tokens: 0.05-0=0.05 costs 0.05", // nobody's
		"2026-04-02 ana// code_execution: 0.05-0.04=0.01 costs 0.01",
	}, differences(result))
	require.Equal(t, "1.45", result.StoredCost.String())
	require.Equal(t, "8.382", result.ReportedCost.String())
	require.Equal(t, "-6.932", result.DifferenceCost.String())

	w.report.Rows = append(w.report.Rows, cost("2026-04-02", "ana", "small", "tokens", "0.00"))
	small := w.use("2026-04-02", "ana", "small", 4_000, 0)
	require.Len(t, differences(w.reconcile()), 3, "0.004 is rounded to 0.00")
	small.Counts[billing.Input] = dec("6000")
	require.Contains(t, differences(w.reconcile()), "2026-04-02 ana//small tokens: 0.006-0=0.006 costs 0.006")

	w.report.Rows[1].Values[0].Value = dec("0.5199")
	require.Contains(t, differences(w.reconcile()), "2026-04-02 ana//large tokens: 1.05-1.0399=0.0101 costs 0.0101", "more than two roundings")
}

func TestAReportIsComparedByWhatItTellsApart(t *testing.T) {
	t.Parallel()
	w := newReconciledWorld()
	w.report.ByDay = false
	for i := range w.report.Rows {
		w.report.Rows[i].Day, w.report.Rows[i].Product = time.Time{}, ""
	}
	w.report.Rows[2].Values[0].Value = dec("0") // 300,000 of large
	result := w.reconcile()
	require.Equal(t, []string{"member", "model", "class"}, result.By.Names())
	require.Equal(t, []string{"ana//large input: 300000-0=300000 costs 0.9"}, differences(result))

	w.By = billing.UsageDimensions{Model: true, Day: true}
	result = w.reconcile()
	require.Equal(t, []string{"model", "class"}, result.By.Names(), "what was asked for, as far as the report has it")
	require.Equal(t, []string{"//large input: 300000-0=300000 costs 0.9"}, differences(result))

	// Without days, what is not stored has a price only if it has one throughout.
	w = newReconciledWorld()
	w.report.ByDay, w.stored, w.report.Rows = false, nil, w.report.Rows[1:3]
	w.report.Spans[0].End = date("2026-04-16")
	w.By = billing.UsageDimensions{Model: true}
	require.Equal(t, []string{
		"//small input: 0-2000000=-2000000 costs -2",
		"//small output: 0-200000=-200000 costs -1",
		"//large input: 0-300000=-300000 costs unknown; the price of model large changed between 2026-04-01T00:00:00Z and 2026-04-16T00:00:00Z",
		"//large output: 0-10000=-10000 costs unknown; the price of model large changed between 2026-04-01T00:00:00Z and 2026-04-16T00:00:00Z",
	}, differences(w.reconcile()))

	// An empty report is one of no usage.
	w = newReconciledWorld()
	w.report.Rows = nil
	require.Len(t, differences(w.reconcile()), 7)

	// Prompts that are not split, or of no model, have no price of their own.
	w = newReconciledWorld()
	w.stored, w.report.Rows = nil, w.report.Rows[:2]
	w.report.Classes[billing.Input], w.report.Classes[billing.CacheRead] = "prompt_tokens", "prompt_tokens"
	w.report.Rows[0].Values = []billing.ReportedValue{{Class: "prompt_tokens", Value: dec("5")}}
	w.report.Rows[1].Values, w.report.Rows[1].Model = []billing.ReportedValue{{Class: "output", Value: dec("5")}}, ""
	require.Equal(t, []string{
		"2026-04-01 ana@example.com/chat/small prompt_tokens: 0-5=-5 costs unknown; the report does not split prompt_tokens by classes of one price",
		"2026-04-01 ben@example.com/chat/ output: 0-5=-5 costs unknown; the report does not say which model was used",
	}, differences(w.reconcile()))
	require.Equal(t, 2, w.reconcile().Unpriced)
}

func TestAReconciliationSaysWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	w := newReconciledWorld()
	w.report.Warnings = []string{"The report is not final."}
	w.report.MembersOnly = true
	w.report.Rows = w.report.Rows[:3] // without what nobody used
	w.use("2026-04-02", "ana", "large", 0, 0).Counts[billing.CodeExecution] = decimal.NewFromInt(60)
	parked := w.use("2026-04-02", "ana", "huge", 0, 0)
	parked.Counts[billing.Output], parked.Events = decimal.NewFromInt(60), 3
	for _, name := range []string{"f", "e", "d", "c", "b", "a"} {
		w.report.Rows = append(w.report.Rows, billing.ReportedUsage{
			Day: date("2026-04-01"), Members: []string{name}, Product: "cowork", Model: "small",
			Values: []billing.ReportedValue{{Class: "output", Value: dec("1")}},
		})
	}
	result := w.reconcile()
	require.Equal(t, int64(3), result.ParkedEvents)
	require.Equal(t, []string{
		"The report is not final.",
		"Stored, but not in the report, so not compared: code_execution.",
		"The report has members' usage only; stored events of no member that were not compared: 1.",
		"Members of the report with no stored usage under any of their names: a, b, c, d, e and 1 more.",
		"Products of the report with no stored usage: cowork.",
	}, result.Warnings)
	require.Equal(t, 6, result.Differing, "what nobody used is no difference")
}

func TestTheDaysOfAReport(t *testing.T) {
	t.Parallel()
	days := func(from, to string) (time.Time, time.Time) {
		var first, last time.Time
		if from != "" {
			first = date(from)
		}
		if to != "" {
			last = date(to)
		}
		return first, last
	}
	row := func(day string) billing.ReportedUsage { return billing.ReportedUsage{Day: date(day)} }
	for name, c := range map[string]struct {
		byDay    bool
		spans    string // its days, or ""
		from, to string
		want     string // the days compared, and how many rows are left
		says     string
	}{
		"its own":                       {true, "2026-04-01 2026-04-05", "", "", "2026-04-01 2026-04-05", ""},
		"some of its own":               {true, "2026-04-01 2026-04-05", "2026-04-02", "2026-04-04", "2026-04-02 2026-04-04", ""},
		"from one of its own":           {true, "2026-04-01 2026-04-05", "2026-04-02", "", "2026-04-02 2026-04-05", ""},
		"more than it has":              {true, "2026-04-01 2026-04-05", "", "2026-05-01", "2026-04-01 2026-05-01", ""},
		"an end before the start":       {true, "2026-04-01 2026-04-05", "2026-04-06", "", "", "to: 2026-04-05T00:00:00Z; accepted: after from"},
		"without days, as a whole":      {false, "2026-04-01 2026-04-05", "", "", "2026-04-01 2026-04-05", ""},
		"without days, as a whole said": {false, "2026-04-01 2026-04-05", "2026-04-01", "2026-04-05", "2026-04-01 2026-04-05", ""},
		"without days, in part":         {false, "2026-04-01 2026-04-05", "2026-04-02", "", "", "covers 2026-04-01T00:00:00Z to 2026-04-05T00:00:00Z as a whole"},
		"of no days that it says":       {false, "", "2026-04-01", "2026-05-01", "2026-04-01 2026-05-01", ""},
		"of no days at all":             {false, "", "2026-04-01", "", "", "does not say which days it covers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			span := func(text string) []billing.Period {
				if text == "" {
					return nil
				}
				return []billing.Period{{Start: date(text[:10]), End: date(text[11:])}}
			}
			r := billing.UsageReport{ByDay: c.byDay, Spans: span(c.spans), Rows: []billing.ReportedUsage{row("2026-04-01"), row("2026-04-03"), row("2026-04-04")}}
			err := r.Between(days(c.from, c.to))
			if c.says != "" {
				require.ErrorIs(t, err, billing.ErrInvalid)
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, span(c.want), r.Spans)
			for _, row := range r.Rows {
				require.False(t, c.byDay && (row.Day.Before(r.Spans[0].Start) || !row.Day.Before(r.Spans[0].End)), row.Day)
			}
			if !c.byDay {
				require.Len(t, r.Rows, 3)
			}
			if name == "some of its own" {
				require.Equal(t, []billing.ReportedUsage{row("2026-04-03")}, r.Rows)
			}
		})
	}
	merged := billing.MergeSpans([]billing.Period{
		{Start: date("2026-04-05"), End: date("2026-04-06")},
		{Start: date("2026-04-01"), End: date("2026-04-03")},
		{Start: date("2026-04-02"), End: date("2026-04-02")},
		{Start: date("2026-04-03"), End: date("2026-04-04")},
	})
	require.Equal(t, []billing.Period{{Start: date("2026-04-01"), End: date("2026-04-04")}, {Start: date("2026-04-05"), End: date("2026-04-06")}}, merged)
}

func TestAPIKeysStandForMembersWhereThereAreNone(t *testing.T) {
	t.Parallel()
	r := billing.UsageReport{Rows: []billing.ReportedUsage{{Key: "key_1"}, {}}}
	r.MembersByKey()
	require.Equal(t, []billing.ReportedUsage{{Key: "key_1", Members: []string{"key_1"}}, {}}, r.Rows)
	r = billing.UsageReport{Rows: []billing.ReportedUsage{{Key: "key_1"}, {Members: []string{"ana"}}}}
	r.MembersByKey()
	require.Nil(t, r.Rows[0].Members, "the report has members of its own")
}
