package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/document"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// documentFormat is what an invoice is made into for others than this terminal;
// "" = the command prints it as it prints everything.
type documentFormat string

const (
	documentCSV  documentFormat = "csv"
	documentHTML documentFormat = "html"
)

// String implements pflag.Value.
func (f *documentFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *documentFormat) Type() string { return "csv|html" }

// Set implements pflag.Value.
func (f *documentFormat) Set(s string) error {
	switch documentFormat(s) {
	case documentCSV, documentHTML:
		*f = documentFormat(s)
		return nil
	}
	return errors.New("accepted: csv or html; for others see --output")
}

// documentOptions are how an invoice is to be shown.
type documentOptions struct {
	format  documentFormat
	members bool
}

func (o *documentOptions) addTo(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&o.members, "members", false, "show which member accounts for how much")
	cmd.Flags().Var(&o.format, "format", "write a csv or an html page to stdout instead")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if o.format != "" && cmd.Flags().Changed("output") {
			return wrongUsage("accepted: --format or --output, not both\nSee %s --help", cmd.CommandPath())
		}
		return nil
	}
	return cmd
}

// documents makes documents of invoices.
type documents struct {
	store  *postgres.Store
	seller document.Seller
}

func sellerOf(cfg config.Config) document.Seller {
	return document.Seller{Name: cfg.SellerName, Address: cfg.SellerAddress, TaxID: cfg.SellerTaxID, Email: cfg.SellerEmail}
}

func (a *app) documents(ctx context.Context, format documentFormat) (d documents, err error) {
	if d.store, err = a.Store(ctx); err != nil {
		return d, err
	}
	cfg, err := a.config()
	if err != nil {
		return d, err
	}
	d.seller = sellerOf(cfg)
	if format == documentHTML && d.seller.Name == "" {
		a.note("Note: ARREARS_SELLER_NAME is not set, so the page does not say who it is from.")
	}
	return d, nil
}

// find returns an invoice or draft for a document. The members' parts of an issued
// one are read later where they can be written line by line.
func (d documents) find(ctx context.Context, id string, as documentOptions) (billing.Invoice, error) {
	invoice, missing := d.store.Invoice(ctx, id, as.members && as.format != documentCSV)
	if errors.Is(missing, billing.ErrNotFound) {
		return findDraft(ctx, d.store, id, as.members, missing)
	}
	return invoice, missing
}

// write writes the document of an invoice.
func (d documents) write(ctx context.Context, w io.Writer, invoice billing.Invoice, as documentOptions) error {
	if as.format == documentCSV {
		return d.writeCSV(ctx, w, invoice, as.members)
	}
	org, err := d.store.Organization(ctx, invoice.Organization)
	if err != nil {
		return err
	}
	calendar, err := org.Calendar()
	if err != nil {
		return err
	}
	page := document.Page{Invoice: invoice, Seller: d.seller, Email: org.Email, Calendar: calendar, Members: as.members}
	return page.WriteHTML(w)
}

func (d documents) writeCSV(ctx context.Context, w io.Writer, invoice billing.Invoice, members bool) error {
	out, err := document.NewCSV(w, invoice.ID, members)
	if err != nil {
		return err
	}
	for line, err := range d.lines(ctx, invoice, members) {
		if err != nil {
			return err
		}
		if err := out.Line(&line); err != nil {
			return err
		}
	}
	return out.Close()
}

// lines are those of an invoice: of an issued one with members read one by one.
func (d documents) lines(ctx context.Context, invoice billing.Invoice, members bool) iter.Seq2[billing.Line, error] {
	if members && invoice.FinalizedAt != nil {
		return d.store.InvoiceLines(ctx, invoice.ID, true)
	}
	return func(yield func(billing.Line, error) bool) {
		for _, line := range invoice.Lines {
			if !yield(line, nil) {
				return
			}
		}
	}
}

// Document implements api.Documents.
func (d documents) Document(ctx context.Context, organization, ref, format string, members bool) (func(io.Writer) error, error) {
	as := documentOptions{documentFormat(format), members}
	var invoice billing.Invoice
	var err error
	if ref == "preview" {
		invoice, err = d.store.PreviewInvoice(ctx, organization, members)
	} else {
		invoice, err = d.find(ctx, organization+"/"+ref, as)
	}
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		if format == "json" {
			return json.NewEncoder(w).Encode(invoice)
		}
		if err := d.write(ctx, w, invoice, as); err != nil {
			return fmt.Errorf("write invoice %s: %w", invoice.ID, err)
		}
		return nil
	}, nil
}
