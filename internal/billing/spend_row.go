package billing

// SpendSpan is what an export covers: a period as it is billed, late usage
// included, or the usage that occurred in any span of up to 90 local days.
type SpendSpan struct {
	Period      string // "" = From and To; both "" = the running one
	From, To    string // an instant, or a date for its first instant in the organisation's zone
	CostCenters bool   // break it down by the label cost_center, too
}

// SpendRow is what one member used of a model in a product.
type SpendRow struct {
	User       string // "" = no member
	CostCenter string // "" = none, or not asked for
	Product    string
	Model      string
	Counts     Totals
	SentAs     []string // the other names under which the model's usage arrived
	Exact      Money    // at list price
	Amount     Money    // cents, which add up to the invoice's
}
