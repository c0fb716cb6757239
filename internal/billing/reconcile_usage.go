package billing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// StoredUsage is what is stored of a day, member, product, model and rate.
type StoredUsage struct {
	Day     time.Time // midnight UTC
	User    string    // "" = no member
	Product string
	Model   string
	Events  int64 // less those that were retracted
	Counts  Totals
	Rate    *Rate  // nil = parked: it has no price
	Reason  string // for which it is parked
}

// UsageDimensions are what usage is compared by, beside its class.
type UsageDimensions struct{ Day, Member, Product, Model bool }

// AllUsageDimensions compares by everything that a report tells apart.
func AllUsageDimensions() UsageDimensions { return UsageDimensions{true, true, true, true} }

// Names lists the dimensions in order, the class last.
func (d UsageDimensions) Names() []string {
	var names []string
	for _, dimension := range []struct {
		name string
		has  bool
	}{{"day", d.Day}, {"member", d.Member}, {"product", d.Product}, {"model", d.Model}} {
		if dimension.has {
			names = append(names, dimension.name)
		}
	}
	return append(names, "class")
}

func (d UsageDimensions) and(other UsageDimensions) UsageDimensions {
	return UsageDimensions{d.Day && other.Day, d.Member && other.Member, d.Product && other.Product, d.Model && other.Model}
}

// UsageDifference is what is stored and what is reported of a day, member,
// product, model and class. What was not compared is zero or "".
type UsageDifference struct {
	Day     time.Time
	Member  string
	Product string
	Model   string
	Class   string

	// Quantities, or amounts where the report is one of costs.
	Stored     decimal.Decimal
	Reported   decimal.Decimal
	Difference decimal.Decimal // stored less reported

	Parked decimal.Decimal // what is stored without a price, in addition; a quantity

	// Cost is what is stored costs at list price less what is reported does: above
	// zero where more is stored than the vendor reports. What is reported costs the
	// average price of what is stored; where nothing is stored, the price in force.
	Cost   decimal.NullDecimal // absent = no price is known
	Reason string              // why Cost is absent, or what explains the difference
	Agrees bool                // there is no difference beyond the report's rounding
}

// ReconciledUsage is a comparison of stored with reported usage. Costs are list
// prices; DifferenceCost is StoredCost less ReportedCost.
type ReconciledUsage struct {
	By             UsageDimensions
	Cells          []UsageDifference // the costliest difference first, those of unknown cost last
	Compared       int
	Differing      int
	Unpriced       int // those that differ by an unknown cost; they are in no cost
	StoredCost     decimal.Decimal
	ReportedCost   decimal.Decimal
	DifferenceCost decimal.Decimal
	ParkedEvents   int64
	Warnings       []string
}

// ReconcileOptions say what is compared, and how the vendor's members and ours
// belong together. Its models are found by the price book's names.
type ReconcileOptions struct {
	Members map[string]string // the vendor's name of a member to our user, "" = no member
	By      UsageDimensions   // as far as the report has them
	All     bool              // also list what agrees
}

// UsageReconciliation compares stored usage with a report: by what the report
// tells apart of what was asked for. All stored usage of the report's spans is
// added before the result is asked for.
type UsageReconciliation struct {
	report  *UsageReport
	rater   *Rater
	options ReconcileOptions
	by      map[string]UsageDimensions // by class
	cells   map[usageKey]*[]usageCell  // of each class that is there

	result         ReconciledUsage
	users          map[string]bool
	products       map[string]bool
	noMember       int64 // events of no member that the report leaves out
	uncompared     [NumClasses]bool
	unknownMembers map[string]bool // members of the report that are not known here
	onlyProduct    map[string]bool // products of the report that are not known here
}

type usageKey struct {
	day                    int64 // Unix
	member, product, model string
}

type usageCell struct {
	class                              string
	stored, reported, rounding, parked decimal.Decimal
	storedCost, reportedCost           decimal.Decimal
	unpriced, parkedReason             string
}

// model is the priced model that a name means, or else the name itself.
func (r *UsageReconciliation) model(name string) string {
	if model := r.rater.Model(name); model != "" {
		return model
	}
	return name
}

// NewUsageReconciliation begins a comparison. What is reported and not stored is
// priced by the rater.
func NewUsageReconciliation(report *UsageReport, rater *Rater, options ReconcileOptions) *UsageReconciliation {
	r := &UsageReconciliation{
		report: report, rater: rater, options: options, by: map[string]UsageDimensions{}, cells: map[usageKey]*[]usageCell{},
		users: map[string]bool{}, products: map[string]bool{}, unknownMembers: map[string]bool{}, onlyProduct: map[string]bool{},
	}
	has := UsageDimensions{Day: report.ByDay}
	classHas := map[string]UsageDimensions{}
	for _, row := range report.Rows {
		has.Member = has.Member || len(row.Members) > 0
		has.Product = has.Product || row.Product != ""
		has.Model = has.Model || row.Model != ""
		for _, value := range row.Values {
			of := classHas[value.Class]
			of.Product, of.Model = of.Product || row.Product != "", of.Model || row.Model != ""
			classHas[value.Class] = of
		}
	}
	if len(report.Rows) == 0 { // nothing was used, of anything by anybody
		has.Member, has.Product, has.Model = true, true, true
	}
	r.result.By = has.and(options.By)
	for class, of := range classHas { // code execution has no model in reports that have models
		r.by[class] = r.result.By.and(UsageDimensions{true, true, of.Product, of.Model})
	}
	return r
}

// AddStored adds what is stored.
func (r *UsageReconciliation) AddStored(s *StoredUsage) {
	r.users[s.User], r.products[s.Product] = true, true
	if r.report.MembersOnly && s.User == "" {
		r.noMember += s.Events
		return
	}
	if s.Rate == nil {
		r.result.ParkedEvents += s.Events
	}
	for _, class := range Classes() {
		quantity := s.Counts[class]
		if quantity.IsZero() {
			continue
		}
		name := r.report.Classes[class]
		if name == "" {
			r.uncompared[class] = true
			continue
		}
		cell := r.cell(s.Day, s.User, s.Product, r.model(s.Model), name)
		if s.Rate == nil {
			cell.parked, cell.parkedReason = cell.parked.Add(quantity), s.Reason
			continue
		}
		cost := s.Rate.Unit[class].charge(quantity, exactPlaces)
		cell.storedCost = cell.storedCost.Add(cost)
		if r.report.Measure == MeasureCost {
			quantity = cost
		}
		cell.stored = cell.stored.Add(quantity)
	}
}

func (r *UsageReconciliation) cell(day time.Time, member, product, model, class string) *usageCell {
	by, reported := r.by[class]
	if !reported {
		by = r.result.By
	}
	key := usageKey{}
	if by.Day {
		key.day = day.Unix()
	}
	if by.Member {
		key.member = member
	}
	if by.Product {
		key.product = product
	}
	if by.Model {
		key.model = model
	}
	cells := r.cells[key]
	if cells == nil {
		cells = &[]usageCell{}
		r.cells[key] = cells
	}
	at := slices.IndexFunc(*cells, func(c usageCell) bool { return c.class == class })
	if at < 0 {
		at = len(*cells)
		*cells = append(*cells, usageCell{class: class})
	}
	return &(*cells)[at]
}

// Result compares.
func (r *UsageReconciliation) Result() ReconciledUsage {
	for i := range r.report.Rows {
		r.addReported(&r.report.Rows[i])
	}
	for key, cells := range r.cells {
		for i := range *cells {
			if cell := &(*cells)[i]; !cell.stored.IsZero() || !cell.reported.IsZero() {
				r.add(r.compare(key, cell), cell)
			}
		}
	}
	r.result.DifferenceCost = r.result.StoredCost.Sub(r.result.ReportedCost)
	slices.SortFunc(r.result.Cells, compareDifferences)
	r.result.Warnings = r.warnings()
	return r.result
}

func (r *UsageReconciliation) add(d UsageDifference, cell *usageCell) {
	r.result.Compared++
	if !d.Agrees {
		r.result.Differing++
	}
	if d.Cost.Valid {
		r.result.StoredCost = r.result.StoredCost.Add(cell.storedCost)
		r.result.ReportedCost = r.result.ReportedCost.Add(cell.storedCost.Sub(d.Cost.Decimal))
	} else {
		r.result.Unpriced++
	}
	if !d.Agrees || r.options.All {
		r.result.Cells = append(r.result.Cells, d)
	}
}

// compareDifferences orders by cost, then by day and names.
func compareDifferences(a, z UsageDifference) int {
	known := func(d UsageDifference) int {
		if d.Cost.Valid {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(known(a), known(z)), z.Cost.Decimal.Abs().Cmp(a.Cost.Decimal.Abs()), a.Day.Compare(z.Day),
		strings.Compare(a.Member, z.Member), strings.Compare(a.Product, z.Product),
		strings.Compare(a.Model, z.Model), strings.Compare(a.Class, z.Class))
}

// addReported adds a row of the report.
func (r *UsageReconciliation) addReported(row *ReportedUsage) {
	member := r.member(row.Members)
	model := row.Model
	if model != "" {
		model = r.model(model)
	}
	used := false
	for _, value := range row.Values {
		if value.Value.IsZero() && value.Rounding.IsZero() {
			continue
		}
		used = used || !value.Value.IsZero()
		cell := r.cell(row.Day, member, row.Product, model, value.Class)
		cell.reported, cell.rounding = cell.reported.Add(value.Value), cell.rounding.Add(value.Rounding)
		if r.report.Measure == MeasureCost || !cell.stored.IsZero() {
			continue // its cost is known
		}
		cost, reason := r.price(row, model, value)
		if cell.reportedCost = cell.reportedCost.Add(cost); reason != "" {
			cell.unpriced = reason
		}
	}
	if used && len(row.Members) > 0 && !r.users[member] {
		r.unknownMembers[member] = true
	}
	if used && row.Product != "" && !r.products[row.Product] {
		r.onlyProduct[row.Product] = true
	}
}

// member is our name of a member: the one that it was mapped to, else the
// vendor's name that is known here, else the vendor's first.
func (r *UsageReconciliation) member(names []string) string {
	for _, name := range names {
		if user, mapped := r.options.Members[name]; mapped {
			return user
		}
	}
	for _, name := range names {
		if r.users[name] {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// price is what a reported quantity costs by the price book, as it was served, or
// why that is not known.
func (r *UsageReconciliation) price(row *ReportedUsage, model string, value ReportedValue) (decimal.Decimal, string) {
	var classes []Class
	for _, class := range Classes() {
		if r.report.Classes[class] == value.Class {
			classes = append(classes, class)
		}
	}
	switch {
	case len(classes) != 1:
		return decimal.Zero, fmt.Sprintf("the report does not split %s by classes of one price", value.Class)
	case model == "":
		return decimal.Zero, "the report does not say which model was used"
	}
	first, last := row.Day, row.Day.AddDate(0, 0, 1)
	if !r.report.ByDay {
		first, last = r.report.Spans[0].Start, r.report.Spans[len(r.report.Spans)-1].End
	}
	unit, reason := r.unit(row, model, classes[0], first)
	after, _ := r.unit(row, model, classes[0], last.Add(-time.Microsecond))
	if reason == "" && (unit.Per != after.Per || !unit.Amount.Equal(after.Amount)) {
		reason = fmt.Sprintf("the price of model %s changed between %s and %s", model, first.Format(time.RFC3339), last.Format(time.RFC3339))
	}
	if reason != "" {
		return decimal.Zero, reason
	}
	return unit.charge(value.Value, exactPlaces), ""
}

func (r *UsageReconciliation) unit(row *ReportedUsage, model string, class Class, at time.Time) (UnitPrice, string) {
	event := Event{
		Model: model, OccurredAt: at, ServiceTier: cmp.Or(row.ServiceTier, Standard),
		Speed: cmp.Or(row.Speed, Standard), InferenceGeo: cmp.Or(row.InferenceGeo, GeoGlobal),
	}
	event.Quantities[class] = 1
	if row.PromptTokensAbove > 0 {
		event.Quantities[Input] = row.PromptTokensAbove + 1
	}
	rate, reason := r.rater.Rate(&event)
	if reason != "" {
		return UnitPrice{}, reason
	}
	return rate.Unit[class], ""
}

// compare decides what a cell differs by.
func (r *UsageReconciliation) compare(key usageKey, cell *usageCell) UsageDifference {
	d := UsageDifference{
		Member: key.member, Product: key.product, Model: key.model, Class: cell.class,
		Stored: cell.stored, Reported: cell.reported, Difference: cell.stored.Sub(cell.reported), Parked: cell.parked,
	}
	if r.result.By.Day {
		d.Day = time.Unix(key.day, 0).UTC()
	}
	d.Agrees = d.Difference.Abs().LessThanOrEqual(cell.rounding)
	switch {
	case r.report.Measure == MeasureCost:
		d.Cost = decimal.NewNullDecimal(d.Difference)
	case !cell.stored.IsZero(): // the price of what is stored, weighted by quantity
		d.Cost = decimal.NewNullDecimal(cell.storedCost.Mul(d.Difference).DivRound(cell.stored, exactPlaces))
	case cell.unpriced == "":
		d.Cost = decimal.NewNullDecimal(cell.storedCost.Sub(cell.reportedCost))
	default:
		d.Reason = cell.unpriced
	}
	if cell.parked.IsPositive() && !d.Agrees {
		d.Reason = fmt.Sprintf("%s parked here: %s", cell.parked, cell.parkedReason)
	}
	return d
}

// warnings are the report's own and what could not be compared.
func (r *UsageReconciliation) warnings() []string {
	warnings := slices.Clone(r.report.Warnings)
	var classes []string
	for _, class := range Classes() {
		if r.uncompared[class] {
			classes = append(classes, class.String())
		}
	}
	if len(classes) > 0 {
		warnings = append(warnings, "Stored, but not in the report, so not compared: "+strings.Join(classes, ", ")+".")
	}
	if r.noMember > 0 {
		warnings = append(warnings, fmt.Sprintf("The report has members' usage only; stored events of no member that were not compared: %d.", r.noMember))
	}
	if r.result.By.Member && len(r.unknownMembers) > 0 {
		warnings = append(warnings, "Members of the report with no stored usage under any of their names: "+some(r.unknownMembers)+".")
	}
	if r.result.By.Product && len(r.onlyProduct) > 0 {
		warnings = append(warnings, "Products of the report with no stored usage: "+some(r.onlyProduct)+".")
	}
	return warnings
}

// someShown is how many names a warning lists.
const someShown = 5

// some lists names, the first of many.
func some(set map[string]bool) string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) <= someShown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:someShown], ", "), len(names)-someShown)
}
