package fakestripe

// evidenceDays is how long a dispute waits for evidence.
const evidenceDays = 7

type dispute struct {
	ID                  string            `json:"id"`
	Object              string            `json:"object"`
	Amount              int64             `json:"amount"`
	BalanceTransactions []string          `json:"balance_transactions"`
	Charge              string            `json:"charge"`
	Created             instant           `json:"created"`
	Currency            string            `json:"currency"`
	Evidence            evidence          `json:"evidence"`
	EvidenceDetails     evidenceDetails   `json:"evidence_details"`
	IsChargeRefundable  bool              `json:"is_charge_refundable"`
	Livemode            bool              `json:"livemode"`
	Metadata            map[string]string `json:"metadata"`
	PaymentIntent       string            `json:"payment_intent"`
	Reason              string            `json:"reason"`
	Status              string            `json:"status"`

	private struct {
		Withdrawn bool // the money is with the bank
	}
}

type evidence struct {
	UncategorizedText text `json:"uncategorized_text"`
}

type evidenceDetails struct {
	DueBy           instant `json:"due_by"`
	HasEvidence     bool    `json:"has_evidence"`
	PastDue         bool    `json:"past_due"`
	SubmissionCount int64   `json:"submission_count"`
}

func (d *dispute) kind() string  { return "dispute" }
func (d *dispute) key() string   { return d.ID }
func (d *dispute) owner() string { return "" }
func (d *dispute) hidden() any   { return &d.private }

func disputeRoutes() []route {
	filter := fields{"charge": anyText(), "payment_intent": anyText()}.with(rangeFields("created")).with(pageFields())
	update := fields{"evidence[uncategorized_text]": clearable(anyText()), "submit": flag()}.with(metadataFields())
	return []route{
		get("/v1/disputes", listDisputes, filter),
		get("/v1/disputes/{id}", retrieveDispute, fields{}),
		post("/v1/disputes/{id}", updateDispute, update),
		post("/v1/disputes/{id}/close", closeDispute, fields{}),
	}
}

// open reports whether the bank has not decided yet.
func (d *dispute) open() bool {
	switch d.Status {
	case "needs_response", "under_review", "warning_needs_response", "warning_under_review":
		return true
	}
	return false
}

func (d *dispute) inquiry() bool {
	return d.Status == "warning_needs_response" || d.Status == "warning_under_review"
}

// dispute is the customer's bank taking a charge back, or asking about it.
func (t *tx) dispute(c *charge, reason, status string, now instant) {
	d := &dispute{
		ID: newID("du"), Object: "dispute", Amount: c.Amount, BalanceTransactions: []string{}, Charge: c.ID,
		Created: now, Currency: c.Currency, Metadata: map[string]string{}, PaymentIntent: c.PaymentIntent,
		Reason: reason, Status: status, EvidenceDetails: evidenceDetails{DueBy: now + evidenceDays*day},
	}
	d.IsChargeRefundable = d.inquiry()
	c.Disputed = true
	t.put(c)
	t.put(d)
	t.emit("charge.dispute.created", d)
	if !d.inquiry() {
		t.withdraw(d)
	}
	if !d.open() {
		t.emit("charge.dispute.closed", d)
	}
}

func (t *tx) withdraw(d *dispute) {
	d.private.Withdrawn, d.IsChargeRefundable = true, false
	t.put(d)
	t.emit("charge.dispute.funds_withdrawn", d)
}

// end is the bank's decision.
func (t *tx) end(d *dispute, status string) {
	d.Status, d.IsChargeRefundable = status, false
	reinstated := d.private.Withdrawn && status == "won"
	if reinstated {
		d.private.Withdrawn = false
	}
	t.put(d)
	t.emit("charge.dispute.closed", d)
	if reinstated {
		t.emit("charge.dispute.funds_reinstated", d)
	}
}

func (t *tx) disputeOf(r *request) (*dispute, *apiError) {
	if d, ok := t.disputes.get(r.id()); ok {
		return d, nil
	}
	return nil, missing("dispute", r.id(), "dispute")
}

func retrieveDispute(t *tx, r *request) (any, *apiError) { return t.disputeOf(r) }

func listDisputes(t *tx, r *request) (any, *apiError) {
	return where(t, r, t.disputes, "", func(d *dispute) bool {
		return (!r.has("charge") || d.Charge == r.text("charge")) && r.inRange("created", d.Created) &&
			(!r.has("payment_intent") || d.PaymentIntent == r.text("payment_intent"))
	})
}

// updateDispute takes evidence, which is submitted unless submit is false. As at
// Stripe in test mode, its text decides.
func updateDispute(t *tx, r *request) (any, *apiError) {
	d, err := t.disputeOf(r)
	if err != nil {
		return nil, err
	}
	if !d.open() {
		return nil, refused("", "This dispute is already closed")
	}
	if d.Metadata, err = mergeMetadata(d.Metadata, r.params); err != nil {
		return nil, err
	}
	const given = "evidence[uncategorized_text]"
	if r.has(given) {
		d.Evidence.UncategorizedText = text(r.text(given))
		d.EvidenceDetails.HasEvidence = r.text(given) != ""
	}
	if d.EvidenceDetails.HasEvidence && r.flagOr("submit", true) {
		d.EvidenceDetails.SubmissionCount++
		t.submitted(d)
	}
	t.put(d)
	t.emit("charge.dispute.updated", d)
	return d, nil
}

func (t *tx) submitted(d *dispute) {
	switch inquiry := d.inquiry(); {
	case d.Evidence.UncategorizedText == "escalate_inquiry_evidence" && inquiry:
		d.Status = "needs_response"
		t.withdraw(d)
	case d.Evidence.UncategorizedText == "winning_evidence" && inquiry:
		t.end(d, "warning_closed")
	case d.Evidence.UncategorizedText == "winning_evidence":
		t.end(d, "won")
	case d.Evidence.UncategorizedText == "losing_evidence":
		t.end(d, "lost")
	case inquiry:
		d.Status = "warning_under_review"
	default:
		d.Status = "under_review"
	}
}

// closeDispute accepts the loss.
func closeDispute(t *tx, r *request) (any, *apiError) {
	d, err := t.disputeOf(r)
	if err != nil {
		return nil, err
	}
	if !d.open() {
		return nil, refused("", "This dispute is already closed")
	}
	t.end(d, "lost")
	return d, nil
}
