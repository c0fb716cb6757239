// Package vendorreport reads what the vendor of the models reports of their use
// and cost, as JSON from its API or as CSV from its pages. It knows nothing of
// storage.
//
// # JSON
//
// A page as the API gives it ({"data":[…],"has_more":…,"next_page":…}), several
// one behind the other, or an array of them, of one of:
//
//   - GET /v1/organizations/analytics/usage and …/analytics/cost: rows with their
//     group and their usage or cost (BetaAnalyticsUsageItem, BetaAnalyticsCostItem);
//   - GET …/analytics/usage_report and …/analytics/cost_report: time buckets with
//     results (BetaAnalyticsUsageReportTimeBucket, BetaAnalyticsCostReportTimeBucket);
//   - GET …/analytics/user_usage_report and …/analytics/user_cost_report: rows by
//     user (BetaAnalyticsUsageUsersItem, BetaAnalyticsCostUsersItem);
//   - GET /v1/organizations/usage_report/messages and /v1/organizations/cost_report:
//     the Console's time buckets (platform.claude.com/docs/en/api/admin).
//
// The types in parentheses are those of github.com/anthropics/anthropic-sdk-go/v2
// at v2.15.0. GET /v1/organizations/usage_report/claude_code is refused: its costs
// are estimates.
//
// # CSV
//
// The vendor documents no header. These are of exports that are public:
//
//   - claude_api_tokens_*.csv, the Console's usage (github.com/petroslamb/eth-llm-poc,
//     examples/workflow_runs/21570420032): usage_date_utc, model_version, api_key,
//     workspace, usage_type, context_window, usage_input_tokens_no_cache,
//     usage_input_tokens_cache_write_5m, usage_input_tokens_cache_write_1h,
//     usage_input_tokens_cache_read, usage_output_tokens, web_search_count and,
//     later, inference_geo, speed;
//   - claude_api_cost_*.csv, the Console's cost (the same place): usage_date_utc,
//     model, workspace, api_key, usage_type, context_window, token_type, cost_usd,
//     cost_type and, later, list_price_usd, inference_geo, speed. It names models as
//     people do, and rounds each amount to the cent;
//   - spend-report-*.csv, the spend report of an Enterprise plan, which
//     support.claude.com/en/articles/12883420 describes: user_email, account_uuid,
//     product, model, total_requests, total_prompt_tokens, total_completion_tokens,
//     total_net_spend_usd, total_gross_spend_usd and, later, user_id,
//     total_uncached_input_tokens, total_cache_read_tokens,
//     total_cache_write_5m_tokens, total_cache_write_1h_tokens,
//     total_web_search_count. It has no days: each row covers all of its span.
package vendorreport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Parse reads a report. What is wrong with it is a billing.ErrInvalid that names
// the place and what is accepted.
func Parse(r io.Reader) (*billing.UsageReport, error) {
	input := bufio.NewReader(r)
	if mark, err := input.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = input.Discard(3) // it was peeked at
	}
	for {
		c, _, err := input.ReadRune()
		switch {
		case errors.Is(err, io.EOF):
			return nil, billing.Invalid("the report is empty; accepted: JSON or CSV of the vendor's usage or cost")
		case err != nil:
			return nil, fmt.Errorf("read the report: %w", err)
		case unicode.IsSpace(c):
			continue
		}
		if err := input.UnreadRune(); err != nil {
			return nil, fmt.Errorf("read the report: %w", err)
		}
		if c == '{' || c == '[' {
			return readJSON(input)
		}
		return readCSV(input)
	}
}

// report is a report while it is read.
type report struct {
	billing.UsageReport
	started bool // its measure is known
	longer  bool // a row covers more than a day
	spans   []billing.Period
	classes map[string]bool
	names   map[string]string // each once in memory
}

func newReport() *report {
	return &report{classes: map[string]bool{}, names: map[string]string{}}
}

// once returns an equal name that is in memory already, if there is one.
func (r *report) once(name string) string {
	if known, is := r.names[name]; is {
		return known
	}
	r.names[name] = name
	return name
}

// token and tool classes by their names in the report's shapes.
const (
	total   = "total"         // of everything
	tokens  = "tokens"        // of all token classes
	prompts = "prompt_tokens" // of all that is not output
)

func (r *report) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// measures says what a row counts; all count the same.
func (r *report) measures(m billing.UsageMeasure) error {
	if r.started && r.Measure != m {
		return billing.Invalid("is a row of %s in a report of %s; accepted: one report", m, r.Measure)
	}
	r.started, r.Measure = true, m
	return nil
}

// inCurrency says in which currency a row's amounts are.
func (r *report) inCurrency(currency string) error {
	if err := r.measures(billing.MeasureCost); err != nil {
		return err
	}
	c, err := billing.ParseCurrency(currency)
	if err == nil && r.Currency != "" && c != r.Currency {
		err = billing.Invalid("currency: %s in a report in %s; accepted: one currency", c, r.Currency)
	}
	r.Currency = c
	return err
}

// add adds a row of what is between two instants; both zero = the whole report.
func (r *report) add(row billing.ReportedUsage, start, end time.Time) {
	if day := midnight(start); !start.IsZero() && !end.After(day.AddDate(0, 0, 1)) {
		row.Day = day
	} else {
		r.longer = true
	}
	for _, value := range row.Values {
		r.classes[value.Class] = true
	}
	row.Values = slices.DeleteFunc(row.Values, func(v billing.ReportedValue) bool { return v.Value.IsZero() && v.Rounding.IsZero() })
	for _, name := range []*string{&row.Product, &row.Model, &row.Key, &row.ServiceTier, &row.Speed, &row.InferenceGeo} {
		*name = r.once(*name)
	}
	for i, name := range row.Members {
		row.Members[i] = r.once(name)
	}
	r.Rows = append(r.Rows, row)
}

func midnight(at time.Time) time.Time {
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
}

// finish decides what the report as a whole tells apart.
func (r *report) finish() (*billing.UsageReport, error) {
	r.ByDay = !r.longer
	if r.longer {
		for i := range r.Rows {
			r.Rows[i].Day = time.Time{}
		}
	}
	r.Spans = billing.MergeSpans(r.spans)
	if r.Measure == "" {
		r.Measure = billing.MeasureQuantity // nothing was used, whatever it would be
		r.Classes = quantityClasses()
	}
	if r.Measure == billing.MeasureCost {
		if err := r.costClasses(); err != nil {
			return nil, err
		}
	}
	return &r.UsageReport, nil
}

// quantityClasses are those of a report of quantities: it has no time that code ran.
func quantityClasses() (classes [billing.NumClasses]string) {
	for _, class := range billing.Classes() {
		classes[class] = class.String()
	}
	classes[billing.CodeExecution] = ""
	return classes
}

// costClasses are those that the rows of a cost report name: token classes, or
// all tokens, or the total.
func (r *report) costClasses() error {
	var split bool // tokens are told apart
	for _, class := range billing.Classes() {
		split = split || class.IsToken() && r.classes[class.String()]
	}
	if r.classes[total] && len(r.classes) > 1 || split && r.classes[tokens] {
		return billing.Invalid("some rows are broken down by cost_type or token_type and others are not; accepted: one report")
	}
	for _, class := range billing.Classes() {
		name := class.String()
		switch {
		case r.classes[total]:
			r.Classes[class] = total
		case class.IsToken() && split:
			r.Classes[class] = name
		case class.IsToken():
			r.Classes[class] = tokens
		case !split || r.classes[billing.WebSearch.String()] || r.classes[billing.CodeExecution.String()]:
			r.Classes[class] = name
		} // else it is by token_type alone, which leaves tools out
	}
	return nil
}

// amount reads an amount whose last place is rounded, in units of 10 to the
// -scale, and finer than what least places of them say at most.
func amount(text string, scale, least int32) (value, rounding decimal.Decimal, err error) {
	if !plainDecimal.MatchString(text) {
		return value, rounding, billing.Invalid("%q; accepted: a number like 1234.56", text)
	}
	value, err = decimal.NewFromString(text)
	if err != nil {
		return value, rounding, billing.Invalid("%q; accepted: a number like 1234.56", text)
	}
	places := max(least, -value.Exponent())
	return value.Shift(-scale), decimal.New(5, -places-1).Shift(-scale), nil
}
