package vendorreport

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// page is a page of any report (pagination.ReportPageCursor of the SDK).
type page struct {
	Data            []json.RawMessage `json:"data"`
	HasMore         bool              `json:"has_more"`
	NextPage        *string           `json:"next_page"`
	DataRefreshedAt *time.Time        `json:"data_refreshed_at"`
}

// item is an entry of a page's data, of any report: a time bucket with results, a
// row with its group, or a row that is all in one.
type item struct {
	StartingAt *time.Time         `json:"starting_at"`
	EndingAt   *time.Time         `json:"ending_at"`
	Results    *[]json.RawMessage `json:"results"`
	Group      *dimensions        `json:"group"`
	Usage      *counts            `json:"usage"`
	Cost       *amounts           `json:"cost"`
	row

	// Of the report of Claude Code's use.
	CoreMetrics    json.RawMessage `json:"core_metrics"`
	ModelBreakdown json.RawMessage `json:"model_breakdown"`
}

// row is what a row without groups of its own has.
type row struct {
	dimensions
	counts
	amounts
}

// largestGroups is how many groups of a bucket the Enterprise reports show at
// most (BetaOrganizationAnalyticsUsageReportListParams.GroupBy).
const largestGroups = 100

// jsonReport is a report of JSON while it is read.
type jsonReport struct {
	*report
	pages     int
	last      bool // a page that no other follows was read
	cursors   map[string]bool
	buckets   map[time.Time]bool
	rows      map[[sha256.Size]byte]bool // by their JSON
	refreshed *time.Time
}

func readJSON(input io.Reader) (*billing.UsageReport, error) {
	r := &jsonReport{report: newReport(), cursors: map[string]bool{}, buckets: map[time.Time]bool{}, rows: map[[sha256.Size]byte]bool{}}
	decoder := json.NewDecoder(input)
	for {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntaxProblem(err, r.pages+1)
		}
		pages := []json.RawMessage{value}
		if value[0] == '[' {
			if err := json.Unmarshal(value, &pages); err != nil {
				return nil, syntaxProblem(err, r.pages+1)
			}
		}
		for _, p := range pages {
			r.pages++
			if err := r.page(p); err != nil {
				return nil, billing.Invalid("page %d: %v", r.pages, err)
			}
		}
	}
	r.complete()
	return r.finish()
}

func syntaxProblem(err error, page int) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return billing.Invalid("page %d: byte %d: %v; accepted: JSON", page, syntax.Offset, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return billing.Invalid("page %d: ends in the middle; accepted: a whole page", page)
	}
	return fmt.Errorf("read the report: %w", err)
}

const acceptedPages = `accepted: pages of a usage or cost report of the vendor's API, like {"data":[…],"has_more":false}`

func (r *jsonReport) page(value json.RawMessage) error {
	var p page
	if err := decode(value, &p); err != nil {
		return err
	}
	if p.Data == nil {
		return fmt.Errorf("has no data; %s", acceptedPages)
	}
	if p.NextPage != nil && *p.NextPage != "" {
		if r.cursors[*p.NextPage] {
			return fmt.Errorf("next_page: %q stands on an earlier page, too; accepted: each page once", *p.NextPage)
		}
		r.cursors[*p.NextPage] = true
	}
	r.last = r.last || !p.HasMore
	if at := p.DataRefreshedAt; at != nil && (r.refreshed == nil || at.Before(*r.refreshed)) {
		r.refreshed = at
	}
	for i, entry := range p.Data {
		if err := r.item(entry); err != nil {
			return fmt.Errorf("data[%d]: %w", i, err)
		}
	}
	return nil
}

// complete warns of what the pages do not have.
func (r *jsonReport) complete() {
	if !r.last {
		r.warn("The file is not the whole report: has_more is true on each of its pages, so more follow.")
	}
	for _, span := range r.spans {
		if r.refreshed != nil && span.End.After(*r.refreshed) {
			r.warn("The report is not final after %s (data_refreshed_at).", r.refreshed.UTC().Format(time.RFC3339))
		}
	}
	spans := billing.MergeSpans(r.spans)
	if len(r.buckets) == 0 && len(spans) > 0 { // rows are where something was used; the days between were asked for, too
		r.spans = []billing.Period{{Start: spans[0].Start, End: spans[len(spans)-1].End}}
		return
	}
	for i := 1; i < len(spans); i++ {
		r.warn("The report has no bucket from %s to %s; that time was not compared.",
			spans[i-1].End.Format(time.RFC3339), spans[i].Start.Format(time.RFC3339))
	}
}

func (r *jsonReport) item(value json.RawMessage) error {
	var it item
	if err := decode(value, &it); err != nil {
		return err
	}
	if it.CoreMetrics != nil || it.ModelBreakdown != nil {
		return errors.New("is a row of the report of Claude Code's productivity, whose costs are estimates and not what is billed; " + acceptedPages)
	}
	start, end, err := it.span()
	if err != nil {
		return err
	}
	switch {
	case it.Results != nil:
		return r.bucket(&it, start, end)
	case it.Group != nil:
		it.dimensions = *it.Group
		if it.Usage != nil {
			it.counts = *it.Usage
		}
		if it.Cost != nil {
			it.amounts = *it.Cost
		}
	case it.Actor != nil:
		r.MembersOnly = true
	}
	if it.Actor != nil {
		sum := sha256.Sum256(value)
		if r.rows[sum] {
			return errors.New("stands in the file already; accepted: each page once")
		}
		r.rows[sum] = true
	}
	if !start.IsZero() {
		r.spans = append(r.spans, billing.Period{Start: start, End: end})
	}
	return r.row(&it.row, start, end)
}

// span is when an item's use was; zero = it does not say.
func (it *item) span() (start, end time.Time, err error) {
	switch {
	case it.StartingAt == nil && it.EndingAt == nil && it.Results == nil:
		return start, end, nil
	case it.StartingAt == nil:
		return start, end, errors.New("starting_at is missing; accepted: a time like 2026-10-01T00:00:00Z")
	case it.EndingAt == nil || !it.EndingAt.After(*it.StartingAt):
		return start, end, errors.New("ending_at: accepted: a time after starting_at")
	}
	return it.StartingAt.UTC(), it.EndingAt.UTC(), nil
}

func (r *jsonReport) bucket(it *item, start, end time.Time) error {
	if r.buckets[start] {
		return fmt.Errorf("the bucket from %s stands in the file already; accepted: each page once", start.Format(time.RFC3339))
	}
	r.buckets[start] = true
	r.spans = append(r.spans, billing.Period{Start: start, End: end})
	if end.After(midnight(start).AddDate(0, 0, 1)) {
		r.longer = true
	}
	if len(*it.Results) >= largestGroups {
		r.warn("A bucket has %d rows. The vendor's Enterprise reports show the %d largest groups of a bucket at most, so some usage may be missing; group by less, or ask for /v1/organizations/analytics/usage.",
			len(*it.Results), largestGroups)
	}
	for i, value := range *it.Results {
		var result row
		err := decode(value, &result)
		if err == nil {
			err = r.row(&result, start, end)
		}
		if err != nil {
			return fmt.Errorf("results[%d]: %w", i, err)
		}
	}
	return nil
}

func decode(value json.RawMessage, into any) error {
	err := json.Unmarshal(value, into)
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		if kind.Field == "" {
			return fmt.Errorf("is JSON of the kind %s; %s", kind.Value, acceptedPages)
		}
		return fmt.Errorf("%s: is JSON of the kind %s; accepted: %s", kind.Field, kind.Value, kind.Type)
	}
	return err
}
