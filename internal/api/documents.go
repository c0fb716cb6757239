package api

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Documents show one invoice: as JSON, as a table for spreadsheets, as a page to
// print.
type Documents interface {
	// Document finds an organisation's invoice by its period, PERIOD or
	// PERIOD/REVISION, drafts included; "preview" is the running period's. What it
	// returns writes it in a format, json, csv or html.
	Document(ctx context.Context, organization, invoice, format string, members bool) (write func(io.Writer) error, err error)
}

// contentTypes are the formats of documents, by the ending of their path.
var contentTypes = map[string]string{
	"json": "application/json", "csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8",
}

// document writes one invoice, in the format that the path ends with.
func (s *server) document(w http.ResponseWriter, r *http.Request) {
	organization := r.PathValue("org")
	if !billing.ValidSlug(organization) {
		s.refuse(w, r, noOrganization(organization))
		return
	}
	invoice, format := r.PathValue("period"), "json"
	if revision := r.PathValue("revision"); revision != "" {
		invoice += "/" + revision
	}
	for ending := range contentTypes {
		if name, found := strings.CutSuffix(invoice, "."+ending); found {
			invoice, format = name, ending
			break
		}
	}
	if !isShort(invoice) {
		s.refuse(w, r, billing.NotFound("invoice %q does not exist", organization+"/"+invoice))
		return
	}
	members, err := flag(r, "members")
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), exportTimeout)
	defer cancel()
	write, err := s.Documents.Document(ctx, organization, invoice, format, members)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentTypes[format])
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "private, no-store")
	if format == "csv" {
		w.Header().Set("Content-Disposition", `attachment; filename="invoice.csv"`)
	}
	if format == "html" { // a page shows, and does nothing
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	}
	if err := write(w); err != nil {
		s.Log.Error("document broke off", "request_id", requestID(r), "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // half an invoice must not look like a whole one
	}
}
