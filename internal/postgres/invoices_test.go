package postgres_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestAnInvoiceIsReadAsItWasIssued(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", true)
	f.seat("u2", "chat_claude_code", false)
	f.store(use("a", "u1", october, 123_457), use("b", "", october, 7), use("c", "u2", october, 1_000_001))
	f.endOctober()
	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	f.issueOctober()

	invoice, err := f.Invoice(f.ctx, octoberInvoice, true)
	require.NoError(t, err)
	want, err := json.Marshal(drafts[0].Lines)
	require.NoError(t, err)
	have, err := json.Marshal(invoice.Lines)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(have))
	require.Equal(t, "INV-000001", invoice.Number)
	require.Equal(t, billing.StatusOpen, invoice.Status)
	require.Equal(t, issuedAt, *invoice.FinalizedAt)
	require.Equal(t, invoice.Total, invoice.AmountDue)
	require.Equal(t, october, invoice.PeriodStart)

	short, err := f.Invoice(f.ctx, octoberInvoice, false)
	require.NoError(t, err)
	require.Len(t, short.Lines, len(invoice.Lines))
	for _, line := range short.Lines {
		require.Empty(t, line.Members)
	}
	for line, err := range f.InvoiceLines(f.ctx, octoberInvoice, true) {
		require.NoError(t, err)
		require.Equal(t, invoice.Lines[0].Key, line.Key)
		break // a reader may stop anywhere
	}
	_, err = f.Invoice(f.ctx, "acme/2020-01-01", true)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestInvoicesAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.clock(october.AddDate(0, 2, 1))
	_, err := f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	f.clock(october.AddDate(0, 2, 2))
	_, err = f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(t, err)
	invoices, err := f.Invoices(f.ctx, "acme")
	require.NoError(t, err)
	require.Len(t, invoices, 2)
	require.Equal(t, []string{"acme/2026-11-01", octoberInvoice}, []string{invoices[0].ID, invoices[1].ID})
	require.Empty(t, invoices[0].Lines)
	require.Equal(t, "in_1", invoices[1].StripeInvoiceID)
	_, err = f.Invoices(f.ctx, "nobody")
	require.ErrorIs(t, err, billing.ErrNotFound)
}
