package vendorreport

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// table is one of the vendor's exports.
type table struct {
	name    string
	columns []string // those by which it is recognised
	row     func(*csvReport) error
}

func tables() []table {
	return []table{
		{"the Console's usage", []string{"usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"}, (*csvReport).consoleUsage},
		{"the Console's cost", []string{"usage_date_utc", "model", "token_type", "cost_usd"}, (*csvReport).consoleCost},
		{"the spend report", []string{"user_email", "product", "model", "total_prompt_tokens", "total_completion_tokens"}, (*csvReport).spendUsage},
		{"the spend report without tokens", []string{"user_email", "product", "model", "total_net_spend_usd"}, (*csvReport).spendCost},
	}
}

// csvReport is a report of CSV while it is read.
type csvReport struct {
	*report
	columns map[string]int
	record  []string
}

// usd is the currency of all amounts in CSV, whose columns name it.
const usd = "USD"

// dollarPlaces is to how many places of a dollar, at least, an amount in CSV is
// taken to be exact.
const dollarPlaces = 2

func readCSV(input io.Reader) (*billing.UsageReport, error) {
	reader := csv.NewReader(input)
	header, err := reader.Read()
	if err != nil {
		return nil, csvProblem(err)
	}
	r := &csvReport{report: newReport(), columns: map[string]int{}}
	for i, name := range header {
		r.columns[strings.TrimSpace(name)] = i
	}
	kind, err := r.recognise(header)
	if err != nil {
		return nil, err
	}
	for {
		r.record, err = reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, csvProblem(err)
		}
		if err := kind.row(r); err != nil {
			line, _ := reader.FieldPos(0)
			return nil, billing.Invalid("line %d: %v", line, err)
		}
	}
	if len(r.spans) > 0 { // the days between the first and the last were asked for, too
		spans := billing.MergeSpans(r.spans)
		r.spans = []billing.Period{{Start: spans[0].Start, End: spans[len(spans)-1].End}}
	}
	return r.finish()
}

func (r *csvReport) recognise(header []string) (table, error) {
	var known []string
	for _, t := range tables() {
		if !slices.ContainsFunc(t.columns, func(name string) bool { return !r.has(name) }) {
			return t, nil
		}
		known = append(known, t.name+" ("+strings.Join(t.columns, ",")+",…)")
	}
	return table{}, billing.Invalid("line 1: %.200q are the columns of no report; accepted: JSON of the vendor's API, or CSV of %s",
		strings.Join(header, ","), strings.Join(known, "; "))
}

func csvProblem(err error) error {
	var syntax *csv.ParseError
	if !errors.As(err, &syntax) {
		return fmt.Errorf("read the report: %w", err)
	}
	if errors.Is(syntax.Err, csv.ErrFieldCount) {
		return billing.Invalid("line %d: has another number of fields than the first line; accepted: the same", syntax.Line)
	}
	return billing.Invalid("line %d: column %d: %v", syntax.Line, syntax.Column, syntax.Err)
}

func (r *csvReport) has(column string) bool {
	_, has := r.columns[column]
	return has
}

// text is a field, "" where the report has no such column.
func (r *csvReport) text(column string) string {
	if at, has := r.columns[column]; has {
		return strings.TrimSpace(r.record[at])
	}
	return ""
}

// count adds a column's number to a row, under a class.
func (r *csvReport) count(row *billing.ReportedUsage, class, column string) error {
	text := r.text(column)
	if !plainCount.MatchString(text) {
		return fmt.Errorf("%s: %q; accepted: a whole number from 0 on", column, text)
	}
	value, err := decimal.NewFromString(text)
	row.Values = append(row.Values, billing.ReportedValue{Class: class, Value: value})
	return err
}

// spend reads an amount of dollars from the first of some columns that is filled.
func (r *csvReport) spend(columns ...string) (value, rounding decimal.Decimal, err error) {
	for _, column := range columns {
		if text := r.text(column); text != "" || column == columns[len(columns)-1] {
			if value, rounding, err = amount(text, 0, dollarPlaces); err != nil {
				err = fmt.Errorf("%s: %w", column, err)
			}
			return value, rounding, err
		}
	}
	return value, rounding, err
}

// dayLayouts are how the Console writes days, and hours where it was asked for
// hours; all UTC.
func dayLayouts() []string {
	return []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339}
}

// dated adds a row of a day.
func (r *csvReport) dated(row billing.ReportedUsage) error {
	const column = "usage_date_utc"
	for _, layout := range dayLayouts() {
		if at, err := time.Parse(layout, r.text(column)); err == nil {
			day := midnight(at.UTC())
			next := day.AddDate(0, 0, 1)
			r.spans = append(r.spans, billing.Period{Start: day, End: next})
			r.add(row, day, next)
			return nil
		}
	}
	return fmt.Errorf("%s: %q; accepted: a day like 2026-10-01", column, r.text(column))
}

func (r *csvReport) consoleUsage() error {
	if err := r.measures(billing.MeasureQuantity); err != nil {
		return err
	}
	r.Classes = quantityClasses()
	row := billing.ReportedUsage{
		Key: r.text("api_key"), Model: modelName(r.text("model_version")), ServiceTier: r.text("usage_type"),
		Speed: r.text("speed"), InferenceGeo: geography(r.text("inference_geo")), PromptTokensAbove: promptsAbove(r.text("context_window")),
	}
	for _, c := range []struct {
		class  billing.Class
		column string
	}{
		{billing.Input, "usage_input_tokens_no_cache"},
		{billing.Output, "usage_output_tokens"},
		{billing.CacheWrite5m, "usage_input_tokens_cache_write_5m"},
		{billing.CacheWrite1h, "usage_input_tokens_cache_write_1h"},
		{billing.CacheRead, "usage_input_tokens_cache_read"},
		{billing.WebSearch, "web_search_count"},
	} {
		if err := r.count(&row, c.class.String(), c.column); err != nil {
			return err
		}
	}
	return r.dated(row)
}

// consoleTypes are the classes of the token_type in the Console's cost.
var consoleTypes = map[string]billing.Class{
	"input_no_cache":       billing.Input,
	"output":               billing.Output,
	"input_cache_write_5m": billing.CacheWrite5m,
	"input_cache_write_1h": billing.CacheWrite1h,
	"input_cache_read":     billing.CacheRead,
}

func (r *csvReport) consoleCost() error {
	if err := r.inCurrency(usd); err != nil {
		return err
	}
	if !r.has("list_price_usd") {
		r.warn("The report has no list_price_usd: its amounts are after the vendor's discounts, and are compared with list prices.")
	}
	value, rounding, err := r.spend("list_price_usd", "cost_usd")
	if err != nil {
		return err
	}
	class := r.text("token_type")
	if known, isToken := consoleTypes[class]; isToken {
		class = known.String()
	}
	if class == "" { // not tokens, but a tool
		class = r.text("cost_type")
	}
	if class == "" {
		return errors.New("token_type and cost_type are empty; accepted: one of them")
	}
	return r.dated(billing.ReportedUsage{
		Key: r.text("api_key"), Model: modelName(r.text("model")),
		Values: []billing.ReportedValue{{Class: class, Value: value, Rounding: rounding}},
	})
}

// spender is a row of the spend report: a member's use of a model in a product.
func (r *csvReport) spender() billing.ReportedUsage {
	return billing.ReportedUsage{
		Members: named(r.text("user_email"), r.text("user_id"), r.text("account_uuid")),
		Product: productName(r.text("product")), Model: modelName(r.text("model")),
	}
}

// spentOn are the columns of what a member spent, at list price first.
func spentOn() []string { return []string{"total_gross_spend_usd", "total_net_spend_usd"} }

func (r *csvReport) spendUsage() error {
	if err := r.measures(billing.MeasureQuantity); err != nil {
		return err
	}
	row := r.spender()
	split := r.has("total_uncached_input_tokens") && r.has("total_cache_read_tokens") &&
		r.has("total_cache_write_5m_tokens") && r.has("total_cache_write_1h_tokens")
	columns := []struct{ class, column string }{{billing.Output.String(), "total_completion_tokens"}}
	if r.Classes = quantityClasses(); split {
		columns = append(columns, []struct{ class, column string }{
			{billing.Input.String(), "total_uncached_input_tokens"},
			{billing.CacheRead.String(), "total_cache_read_tokens"},
			{billing.CacheWrite5m.String(), "total_cache_write_5m_tokens"},
			{billing.CacheWrite1h.String(), "total_cache_write_1h_tokens"},
		}...)
	} else {
		columns = append(columns, struct{ class, column string }{prompts, "total_prompt_tokens"})
		for _, class := range []billing.Class{billing.Input, billing.CacheRead, billing.CacheWrite5m, billing.CacheWrite1h} {
			r.Classes[class] = prompts
		}
	}
	if r.has("total_web_search_count") {
		columns = append(columns, struct{ class, column string }{billing.WebSearch.String(), "total_web_search_count"})
	} else {
		r.Classes[billing.WebSearch] = ""
	}
	for _, c := range columns {
		if err := r.count(&row, c.class, c.column); err != nil {
			return err
		}
	}
	if r.has("total_gross_spend_usd") {
		spent, _, err := r.spend("total_gross_spend_usd")
		if err != nil {
			return err
		}
		r.Currency = usd
		r.StatedCost = decimal.NewNullDecimal(r.StatedCost.Decimal.Add(spent))
	}
	r.add(row, time.Time{}, time.Time{})
	return nil
}

func (r *csvReport) spendCost() error {
	if err := r.inCurrency(usd); err != nil {
		return err
	}
	if !r.has("total_gross_spend_usd") {
		r.warn("The report has no total_gross_spend_usd: its amounts are after the vendor's discounts, and are compared with list prices.")
	}
	value, rounding, err := r.spend(spentOn()...)
	if err != nil {
		return err
	}
	row := r.spender()
	row.Values = []billing.ReportedValue{{Class: total, Value: value, Rounding: rounding}}
	r.add(row, time.Time{}, time.Time{})
	return nil
}
