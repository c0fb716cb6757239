package billing

import (
	"cmp"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// UsageMeasure is what a vendor's report counts.
type UsageMeasure string

// The measures.
const (
	MeasureQuantity UsageMeasure = "quantity" // tokens and requests
	MeasureCost     UsageMeasure = "cost"     // amounts of money
)

// UsageReport is what a vendor says was used of its models. Its days are UTC.
type UsageReport struct {
	Measure  UsageMeasure
	Currency Currency // of its amounts

	// Classes is what the report calls each class; classes of one name are added
	// up in it, and one of the name "" is not in it.
	Classes [NumClasses]string

	ByDay       bool // else each row covers all of Spans
	MembersOnly bool // usage of no member is not in it

	// Spans are what the report covers, in order and apart from each other; none =
	// the report does not say it.
	Spans []Period
	Rows  []ReportedUsage

	// StatedCost is what a report of quantities says that they cost, at list price.
	StatedCost decimal.NullDecimal

	Warnings []string // what may be missing from it or is not final
}

// ReportedUsage is one row of a report. What the report does not tell apart, or
// cannot attribute, is "".
type ReportedUsage struct {
	Day     time.Time // midnight UTC; zero = the report is not by day
	Members []string  // names that the vendor has for the member; the first is shown
	Key     string    // the API key that was used
	Product string
	Model   string

	// How it was served decides its price.
	ServiceTier       string
	Speed             string
	InferenceGeo      string
	PromptTokensAbove int64 // all prompts were larger

	Values []ReportedValue
}

// ReportedValue is what a row says of a class: a quantity, or an amount in the
// report's currency.
type ReportedValue struct {
	Class    string
	Value    decimal.Decimal
	Rounding decimal.Decimal // how far rounding may have moved Value
}

// MembersByKey takes API keys for members, where the report has no members: for
// who gives each person a key.
func (r *UsageReport) MembersByKey() {
	for i := range r.Rows {
		if len(r.Rows[i].Members) > 0 {
			return
		}
	}
	for i := range r.Rows {
		if row := &r.Rows[i]; row.Key != "" {
			row.Members = []string{row.Key}
		}
	}
}

// Between makes the report one of the days from one midnight UTC to before
// another; zero = as it says itself. A report that is not by day can be said to
// cover them where it does not say it itself.
func (r *UsageReport) Between(from, to time.Time) error {
	if len(r.Spans) == 0 && (from.IsZero() || to.IsZero()) {
		return Invalid("the report does not say which days it covers; accepted: from and to, as it was asked for")
	}
	if len(r.Spans) > 0 {
		first, last := r.Spans[0].Start, r.Spans[len(r.Spans)-1].End
		if !r.ByDay && (!from.IsZero() && !from.Equal(first) || !to.IsZero() && !to.Equal(last)) {
			return Invalid("the report covers %s to %s as a whole, without its days; accepted: no from and to",
				first.Format(time.RFC3339), last.Format(time.RFC3339))
		}
		if from.IsZero() && to.IsZero() {
			return nil
		}
		if from.IsZero() {
			from = first
		}
		if to.IsZero() {
			to = last
		}
	}
	if !from.Before(to) {
		return Invalid("to: %s; accepted: after from, %s", to.Format(time.RFC3339), from.Format(time.RFC3339))
	}
	r.Spans = []Period{{Start: from, End: to}}
	r.Rows = slices.DeleteFunc(r.Rows, func(row ReportedUsage) bool {
		return r.ByDay && (row.Day.Before(from) || !row.Day.Before(to))
	})
	return nil
}

// MergeSpans orders spans and joins those that touch or overlap.
func MergeSpans(spans []Period) []Period {
	spans = slices.SortedFunc(slices.Values(spans), func(a, z Period) int {
		return cmp.Or(a.Start.Compare(z.Start), a.End.Compare(z.End))
	})
	var merged []Period
	for _, span := range spans {
		last := len(merged) - 1
		if last < 0 || span.Start.After(merged[last].End) {
			merged = append(merged, span)
		} else if span.End.After(merged[last].End) {
			merged[last].End = span.End
		}
	}
	return merged
}
