package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/vendorreport"
)

type reconcileOptions struct {
	*app
	path    string
	org     string
	members string
	by      []string
	from    utcDay
	to      utcDay
	all     bool
	strict  bool
}

func newUsageReconcileCmd(a *app) *cobra.Command {
	o := &reconcileOptions{app: a}
	cmd := &cobra.Command{
		Use:   "reconcile FILE|- --org ORG",
		Short: "Hold stored usage against the vendor's usage or cost report",
		Long: `Hold the usage that is stored against a report of the vendor of the models, by
day, member, product, model and class, as far as the report tells them apart, and
list what differs with its cost at list price. It changes nothing. - is stdin.

The report is JSON of the vendor's API (usage or cost, of the analytics API or of
the Console's; all pages, one behind the other or in an array), or CSV as it is
exported: the Console's usage or cost, or the spend report of an Enterprise plan.
The report of Claude Code's productivity is refused: its costs are estimates.

Compared are the days from the report's first to its last, in UTC, as the vendor
counts them. Say --from and --to where usage may be missing at either end, or
where the report has no days, as the spend report.

Cost is what is stored less what is reported: above zero where more is stored than
the vendor reports. What is reported costs the average price of what is stored
beside it; where nothing is stored, the price in force. The vendor's members are
found by their e-mail address or id; where ours are others, --members names a CSV
file with the columns vendor and user (empty = no member), for API keys, too.`,
		Example: `  curl -s "https://api.anthropic.com/v1/organizations/analytics/usage?starting_at=2026-10-01T00:00:00Z\
&ending_at=2026-11-01T00:00:00Z&time_bucket_width=1d&limit=1000\
&group_by[]=actor&group_by[]=model" -H "x-api-key: $ADMIN_KEY" -H "anthropic-version: 2023-06-01" \
    -H "anthropic-beta: analytics-usage-cost-2026-08-24" > usage.json   # and each next_page behind it
  starter usage reconcile usage.json --org acme
  printf 'vendor,user\njane@example.com,user_00100\n' > members.csv
  starter usage reconcile spend-report.csv --org acme --members members.csv --from 2026-10-01 --to 2026-11-01`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.path = args[0]
			return runUsageReconcile(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.org, "org", "", "the organization")
	flags.StringVar(&o.members, "members", "", "a CSV file with the columns vendor and user")
	flags.StringSliceVar(&o.by, "by", nil, "compare by day, member, product, model only (default all that the report has)")
	flags.Var(&o.from, "from", "the first day to compare, in UTC (default the report's)")
	flags.Var(&o.to, "to", "the day after the last to compare, in UTC (default the report's)")
	flags.BoolVar(&o.all, "all", false, "list what agrees, too")
	flags.BoolVar(&o.strict, "strict", false, "fail if anything differs")
	return required(cmd, "org")
}

// utcDay is a day of the vendor's.
type utcDay struct{ time.Time }

// Type implements pflag.Value.
func (d *utcDay) Type() string { return "day" }

// String implements pflag.Value.
func (d *utcDay) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.DateOnly)
}

// Set implements pflag.Value.
func (d *utcDay) Set(s string) (err error) {
	if d.Time, err = time.Parse(time.DateOnly, s); err != nil {
		return errors.New("accepted: a day like 2026-10-01, in UTC")
	}
	return nil
}

func runUsageReconcile(ctx context.Context, o *reconcileOptions) error {
	by, err := usageDimensions(o.by)
	if err != nil {
		return err
	}
	report, members, err := o.read()
	if err != nil {
		return err
	}
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	org, err := store.Organization(ctx, o.org)
	if err != nil {
		return err
	}
	if report.Measure == billing.MeasureCost && report.Currency != "" && report.Currency != org.Currency {
		return billing.Invalid("%s: the report is in %s and organization %s in %s; accepted: one currency", o.path, report.Currency, org.ID, org.Currency)
	}
	book, err := store.PriceBook(ctx, org.PriceBook)
	if err != nil {
		return err
	}
	comparison := billing.NewUsageReconciliation(report, billing.NewRater(book, book.Rates()),
		billing.ReconcileOptions{Members: members, By: by, All: o.all})
	if err := store.UsageByDay(ctx, o.org, report.Spans, comparison.AddStored); err != nil {
		return err
	}
	result := comparison.Result()
	if warning := notFinal(report, org.Now); warning != "" {
		result.Warnings = append(result.Warnings, warning)
	}
	if err := o.show(viewReconciled(report, &result, org)); err != nil {
		return err
	}
	if o.strict && result.Differing > 0 {
		o.note("%s", plural(result.Differing, "difference"))
		return errReported
	}
	return nil
}

// read reads the report and who is who in it.
func (o *reconcileOptions) read() (report *billing.UsageReport, members map[string]string, err error) {
	if o.members != "" {
		if o.members == "-" && o.path == "-" {
			return nil, nil, wrongUsage("FILE and --members are both stdin; accepted: one of them")
		}
		data, err := o.readAll(o.members)
		if err != nil {
			return nil, nil, err
		}
		if members, err = readVendorMembers(data); err != nil {
			return nil, nil, fmt.Errorf("%s:\n%w", o.members, err)
		}
	}
	file, _, err := o.open(o.path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	if report, err = vendorreport.Parse(file); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.path, err)
	}
	if members != nil {
		report.MembersByKey()
	}
	if err := report.Between(o.from.Time, o.to.Time); err != nil {
		return nil, nil, withHint(fmt.Errorf("%s: %w", o.path, err), "The days are said by --from and --to, like --from 2026-10-01 --to 2026-11-01")
	}
	return report, members, nil
}

func usageDimensions(names []string) (by billing.UsageDimensions, err error) {
	if len(names) == 0 {
		return billing.AllUsageDimensions(), nil
	}
	for _, name := range names {
		switch name {
		case "day":
			by.Day = true
		case "member":
			by.Member = true
		case "product":
			by.Product = true
		case "model":
			by.Model = true
		default:
			return by, wrongUsage("--by %q; accepted: day, member, product, model, with commas between", name)
		}
	}
	return by, nil
}

// revisable is for how long the vendor still revises a day.
const revisable = 30 // days

func notFinal(report *billing.UsageReport, now time.Time) string {
	from := now.UTC().AddDate(0, 0, -revisable)
	if end := report.Spans[len(report.Spans)-1].End; !end.After(from) {
		return ""
	}
	return fmt.Sprintf("Days after %s are younger than %d days: the vendor may still revise them.", from.Format(time.DateOnly), revisable)
}

// readVendorMembers reads the CSV of the vendor's names of members and ours.
func readVendorMembers(data []byte) (map[string]string, error) {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	reader.TrimLeadingSpace = true
	header, err := reader.Read()
	vendor, user := slices.Index(header, "vendor"), slices.Index(header, "user")
	if err != nil || len(header) != 2 || vendor < 0 || user < 0 {
		return nil, errors.New("line 1: accepted: a first line with the columns vendor and user")
	}
	members := map[string]string{}
	var wrong problems
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return members, wrong.err()
		}
		if err != nil {
			return nil, errors.Join(wrong.err(), csvProblem(err, len(header)))
		}
		line, _ := reader.FieldPos(0)
		name, ours := strings.TrimSpace(record[vendor]), record[user]
		known, twice := members[name]
		switch {
		case name == "":
			wrong.add(line, errors.New("vendor: is empty; accepted: an e-mail address, an id or an API key"))
		case twice && known != ours:
			wrong.add(line, fmt.Errorf("vendor: %q is user %q on an earlier line; accepted: one user", name, known))
		case ours != "":
			if ours, err = cellID(ours); err != nil {
				wrong.add(line, fmt.Errorf("user: %w", err))
			}
		}
		members[name] = ours
	}
}

// reconciledView is the result of a reconciliation.
type reconciledView struct {
	Summary     reconciledSummary    `json:"summary"`
	Differences []reconciledCellView `json:"differences"`
}

type reconciledSummary struct {
	Organization   string               `json:"organization"`
	Compares       billing.UsageMeasure `json:"compares"` // quantity or cost
	By             []string             `json:"by"`
	ComparedFrom   time.Time            `json:"compared_from"`
	ComparedTo     time.Time            `json:"compared_to"`
	Cells          int                  `json:"cells"`
	Differing      int                  `json:"differing"`
	Unpriced       int                  `json:"unpriced"`        // those that differ by an unknown cost
	DifferenceCost billing.Money        `json:"difference_cost"` // stored_cost less reported_cost
	StoredCost     billing.Money        `json:"stored_cost"`
	ReportedCost   billing.Money        `json:"reported_cost"`
	StatedCost     *billing.Money       `json:"stated_cost"` // what a report of quantities says that they cost
	ParkedEvents   int64                `json:"parked_events"`
	Warnings       []string             `json:"warnings"`
}

// reconciledCellView is one comparison. What was not compared by is null, as is
// the member of service usage.
type reconciledCellView struct {
	Day        *string        `json:"day"`
	Member     *string        `json:"member"`
	Product    *string        `json:"product"`
	Model      *string        `json:"model"`
	Class      string         `json:"class"`
	Stored     json.Number    `json:"stored"`
	Reported   json.Number    `json:"reported"`
	Difference json.Number    `json:"difference"`
	Parked     json.Number    `json:"parked"` // stored without a price, in addition
	Cost       *billing.Money `json:"cost"`
	Reason     *string        `json:"reason"`
}

func viewReconciled(report *billing.UsageReport, r *billing.ReconciledUsage, org billing.Organization) reconciledView {
	money := func(amount decimal.Decimal) billing.Money {
		return billing.Money{Amount: amount, Currency: org.Currency}
	}
	view := reconciledView{
		Summary: reconciledSummary{
			Organization: org.ID, Compares: report.Measure, By: r.By.Names(),
			ComparedFrom: report.Spans[0].Start, ComparedTo: report.Spans[len(report.Spans)-1].End,
			Cells: r.Compared, Differing: r.Differing, Unpriced: r.Unpriced,
			DifferenceCost: money(r.DifferenceCost), StoredCost: money(r.StoredCost), ReportedCost: money(r.ReportedCost),
			ParkedEvents: r.ParkedEvents, Warnings: append([]string{}, r.Warnings...),
		},
		Differences: []reconciledCellView{},
	}
	if report.StatedCost.Valid {
		view.Summary.StatedCost = &billing.Money{Amount: report.StatedCost.Decimal, Currency: report.Currency}
	}
	named := func(name string) *string {
		if name == "" {
			return nil
		}
		return &name
	}
	number := func(d decimal.Decimal) json.Number { return json.Number(d.String()) }
	for _, cell := range r.Cells {
		row := reconciledCellView{
			Member: named(cell.Member), Product: named(cell.Product), Model: named(cell.Model), Class: cell.Class,
			Stored: number(cell.Stored), Reported: number(cell.Reported), Difference: number(cell.Difference),
			Parked: number(cell.Parked), Reason: named(cell.Reason),
		}
		if r.By.Day {
			row.Day = named(cell.Day.Format(time.DateOnly))
		}
		if cell.Cost.Valid {
			cost := money(cell.Cost.Decimal)
			row.Cost = &cost
		}
		view.Differences = append(view.Differences, row)
	}
	return view
}

func (o *reconcileOptions) show(v reconciledView) error {
	return o.print(v, func(w io.Writer) {
		s := v.Summary
		fmt.Fprintf(w, "Usage of %s from %s to before %s, by %s: %s of %s differ.\n", s.Organization, showDay(s.ComparedFrom), showDay(s.ComparedTo),
			strings.Join(s.By, ", "), showCount(s.Differing), showCount(s.Cells))
		fmt.Fprintf(w, "Stored %s, reported %s: a difference of %s at list price", showCents(s.StoredCost), showCents(s.ReportedCost), showCents(s.DifferenceCost))
		if s.Unpriced > 0 {
			fmt.Fprintf(w, ", and %s of unknown cost", showCount(s.Unpriced))
		}
		fmt.Fprintln(w, ".")
		if s.StatedCost != nil {
			fmt.Fprintf(w, "The report states a cost of %s.\n", showCents(*s.StatedCost))
		}
		for _, warning := range s.Warnings {
			fmt.Fprintf(w, "Note: %s\n", warning)
		}
		if len(v.Differences) > 0 {
			fmt.Fprintln(w)
			writeTable(w, v.Differences, reconciledColumns(s)...)
		}
		if s.Differing > 0 {
			fmt.Fprintln(w)
			o.writeCauses(w, s)
		}
	})
}

// showDay is a day, or an instant that is not at midnight.
func showDay(at time.Time) string {
	if at.Equal(at.Truncate(24 * time.Hour)) {
		return at.Format(time.DateOnly)
	}
	return at.Format(time.RFC3339)
}

func reconciledColumns(s reconciledSummary) []column[reconciledCellView] {
	quantity := func(n json.Number) string { return groupThousands(n.String()) }
	return []column[reconciledCellView]{
		left("DAY", func(c reconciledCellView) string { return deref(c.Day) }),
		left("MEMBER", func(c reconciledCellView) string {
			if c.Member == nil && slices.Contains(s.By, "member") {
				return "(service)"
			}
			return deref(c.Member)
		}),
		left("PRODUCT", func(c reconciledCellView) string { return deref(c.Product) }),
		left("MODEL", func(c reconciledCellView) string { return deref(c.Model) }),
		left("CLASS", func(c reconciledCellView) string { return c.Class }),
		right("STORED", func(c reconciledCellView) string { return quantity(c.Stored) }),
		right("REPORTED", func(c reconciledCellView) string { return quantity(c.Reported) }),
		right("DIFFERENCE", func(c reconciledCellView) string { return quantity(c.Difference) }),
		right("COST", func(c reconciledCellView) string {
			if c.Cost == nil {
				return "unknown"
			}
			return showCents(*c.Cost)
		}),
		left("REASON", func(c reconciledCellView) string { return deref(c.Reason) }),
	}
}

// writeCauses says where differences usually come from.
func (o *reconcileOptions) writeCauses(w io.Writer, s reconciledSummary) {
	fmt.Fprintln(w, "Usual causes:")
	if s.ParkedEvents > 0 {
		fmt.Fprintf(w, "  usage without a price: %s parked in these days (starter usage parked %s)\n", plural(s.ParkedEvents, "event"), s.Organization)
	}
	fmt.Fprintf(w, "  late usage: the vendor revises its days for up to %d days, and what was sent here late counts on its own day\n", revisable)
	fmt.Fprintln(w, "  another day: the report's days are UTC, and an event's is that of its occurred_at")
	if slices.Contains(s.By, "member") {
		fmt.Fprintln(w, "  another name: members are compared by e-mail address or id (--members FILE maps them)")
	}
	if slices.Contains(s.By, "product") {
		fmt.Fprintln(w, "  another product: --by day,member,model compares without it")
	}
	if s.Compares == billing.MeasureCost {
		fmt.Fprintln(w, "  free hours of code execution and the vendor's discounts: what is stored is compared at list price")
	}
}
