package api

import (
	"context"
	"encoding/csv"
	"net/http"
	"strings"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/document"
)

// exportTimeout bounds an export, which may read every event of a quarter.
const exportTimeout = 45 * time.Second

// Exports breaks spend down for spreadsheets.
type Exports interface {
	ExportSpend(ctx context.Context, organization string, span billing.SpendSpan) ([]billing.SpendRow, error)
}

// spendCSV writes spend by member, product and model.
func (s *server) spendCSV(w http.ResponseWriter, r *http.Request) {
	organization := r.PathValue("org")
	if !billing.ValidSlug(organization) {
		s.refuse(w, r, noOrganization(organization))
		return
	}
	span, err := readSpan(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), exportTimeout)
	defer cancel()
	rows, err := s.Exports.ExportSpend(ctx, organization, span)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="spend.csv"`)
	out := csv.NewWriter(w)
	_ = out.Write(spendHeader(span.CostCenters)) // the reader is gone, and so is nobody else
	for i := range rows {
		_ = out.Write(spendRecord(&rows[i], span.CostCenters))
	}
	out.Flush()
}

func readSpan(r *http.Request) (span billing.SpendSpan, err error) {
	query := r.URL.Query()
	if by := query.Get("by"); by != "" && by != "cost_center" {
		return span, billing.Invalid("by: %q; accepted: cost_center", by)
	}
	return billing.SpendSpan{Period: query.Get("period"), From: query.Get("from"), To: query.Get("to"), CostCenters: query.Get("by") != ""}, nil
}

func spendHeader(costCenters bool) []string {
	header := []string{"user", "product", "model"}
	if costCenters {
		header = append(header, "cost_center")
	}
	for _, class := range billing.Classes() {
		header = append(header, class.String())
	}
	return append(header, "exact_amount", "amount", "currency", "sent_as")
}

func spendRecord(row *billing.SpendRow, costCenters bool) []string {
	record := []string{document.Harmless(row.User), document.Harmless(row.Product), document.Harmless(row.Model)}
	if costCenters {
		record = append(record, document.Harmless(row.CostCenter))
	}
	for _, class := range billing.Classes() {
		record = append(record, row.Counts[class].String())
	}
	currency := row.Amount.Currency
	return append(record, row.Exact.Amount.String(), row.Amount.Amount.StringFixed(currency.Digits()), string(currency),
		document.Harmless(strings.Join(row.SentAs, "; ")))
}
