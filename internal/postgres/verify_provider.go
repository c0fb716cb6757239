package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// publishedInvoice is an invoice as the provider ought to know it.
type publishedInvoice struct {
	ID        string
	Part      string // " part 2" of one that is split; "" = the invoice
	InHand    bool   // of a split one: the part that is being collected; the others are paid
	Org       string
	StripeID  string
	Status    billing.InvoiceStatus
	Finalized bool
	Total     billing.Money
	Payments  int             // that succeeded
	Cash      decimal.Decimal // that the ledger has of it
	Remaining decimal.Decimal // that the ledger still has to come in
	// Payments of what was paid already. They are of a payment of their own at the
	// provider, but where the invoice was paid otherwise before.
	SurplusIntents []string
	Surplus        []decimal.Decimal
	InFlight       bool // an attempt is under way: what it comes to is open
}

// VerifyProvider holds every invoice that the provider was told of against what
// the provider says of it, for one organisation ("" = all). fetch asks the
// provider; an error that is billing.ErrNotFound is a difference, any other ends
// the check.
func (s *Store) VerifyProvider(ctx context.Context, org string, fetch func(ctx context.Context, stripeInvoice string) (billing.ProviderInvoiceState, error)) ([]Difference, error) {
	invoices, err := s.publishedInvoices(ctx, org, "")
	if err != nil {
		return nil, err
	}
	differences := []Difference{}
	for _, invoice := range invoices {
		found, err := compareWithProvider(ctx, invoice, fetch)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 { // it may have moved between the two readings
			if found, err = s.compareAgain(ctx, invoice, fetch); err != nil {
				return nil, err
			}
		}
		differences = append(differences, found...)
	}
	return differences, nil
}

func (s *Store) compareAgain(ctx context.Context, invoice publishedInvoice, fetch func(context.Context, string) (billing.ProviderInvoiceState, error)) ([]Difference, error) {
	again, err := s.publishedInvoices(ctx, "", invoice.ID)
	if err != nil {
		return nil, err
	}
	for _, now := range again {
		if now.Part == invoice.Part {
			return compareWithProvider(ctx, now, fetch)
		}
	}
	return nil, nil
}

// publishedInvoices lists the invoices that the provider was told of, all or one,
// and those that it should have been told of and that went on without it.
func (s *Store) publishedInvoices(ctx context.Context, org, invoice string) ([]publishedInvoice, error) {
	const statement = `
SELECT i.id, CASE WHEN i.parts > 1 THEN ' part ' || coalesce(v.part, i.part) ELSE '' END, coalesce(v.in_hand, true), i.org_id, coalesce(v.stripe_invoice_id, ''),
       i.status, i.stripe_finalized_at IS NOT NULL, CASE WHEN i.parts > 1 THEN t.amount ELSE i.total END, i.currency,
       (SELECT count(*) FROM payments p WHERE p.invoice_id = i.id AND p.part = v.part AND p.status = 'succeeded' AND NOT p.surplus),
       CASE WHEN i.parts > 1
            THEN (SELECT coalesce(sum(p.amount), 0) FROM payments p WHERE p.invoice_id = i.id AND p.part = v.part AND p.status = 'succeeded' AND NOT p.surplus)
            ELSE (SELECT coalesce(sum(e.amount), 0)
                    FROM ledger_entries e
                    JOIN ledger_transactions x ON x.id = e.transaction_id
                   WHERE e.invoice_id = i.id
                     AND (e.account IN ('cash', 'refunds', 'disputes') OR e.account = 'unapplied' AND x.kind IN ('refund', 'dispute')))
                 - (SELECT coalesce(sum(p.amount), 0) FROM payments p WHERE p.invoice_id = i.id AND p.status = 'succeeded' AND p.surplus) END,
       ARRAY(SELECT p.stripe_payment_intent_id FROM payments p WHERE p.invoice_id = i.id AND p.part = v.part AND p.status = 'succeeded' AND p.surplus ORDER BY p.attempt),
       ARRAY(SELECT p.amount FROM payments p WHERE p.invoice_id = i.id AND p.part = v.part AND p.status = 'succeeded' AND p.surplus ORDER BY p.attempt),
       (SELECT coalesce(sum(e.amount), 0) FROM ledger_entries e WHERE e.invoice_id = i.id AND e.account = 'receivable')
       - CASE WHEN i.parts > 1 THEN (SELECT coalesce(sum(p.amount), 0) FROM provider_items p WHERE p.invoice_id = i.id AND p.n > i.part) ELSE 0 END,
       coalesce(v.in_hand, true) AND EXISTS (SELECT FROM payments p WHERE p.invoice_id = i.id AND p.status IN ('unknown', 'processing'))
  FROM invoices i
  LEFT JOIN provider_invoices v ON v.invoice_id = i.id
  LEFT JOIN provider_items t ON t.invoice_id = i.id AND t.n = v.part AND i.parts > 1
 WHERE (@org = '' OR i.org_id = @org)
   AND (@invoice = '' OR i.id = @invoice)
   AND (v.stripe_invoice_id IS NOT NULL OR EXISTS (SELECT FROM payments p WHERE p.invoice_id = i.id))
 ORDER BY i.id, v.part`
	rows, err := s.pool.Query(ctx, statement, pgx.NamedArgs{"org": org, "invoice": invoice})
	if err != nil {
		return nil, wrap("list the published invoices", err)
	}
	invoices, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i publishedInvoice, err error) {
		err = row.Scan(&i.ID, &i.Part, &i.InHand, &i.Org, &i.StripeID, &i.Status, &i.Finalized, &i.Total.Amount, &i.Total.Currency, &i.Payments, &i.Cash, &i.SurplusIntents, &i.Surplus, &i.Remaining, &i.InFlight)
		return i, err
	})
	return invoices, wrap("list the published invoices", err)
}

// compareWithProvider says where an invoice differs from the provider's.
func compareWithProvider(ctx context.Context, ours publishedInvoice, fetch func(context.Context, string) (billing.ProviderInvoiceState, error)) ([]Difference, error) {
	differ := func(name, expected, actual string) Difference {
		return Difference{Check: name, Organization: ours.Org, Subject: ours.ID + ours.Part, Expected: expected, Actual: actual}
	}
	if ours.StripeID == "" {
		return []Difference{differ("provider_invoice", "an invoice at the provider", "none, and payments")}, nil
	}
	theirs, err := fetch(ctx, ours.StripeID)
	if errors.Is(err, billing.ErrNotFound) && ours.Status == billing.StatusVoid && !ours.Finalized {
		return nil, nil // a draft that was withdrawn is deleted
	}
	if errors.Is(err, billing.ErrNotFound) {
		return []Difference{differ("provider_invoice", ours.StripeID, "does not exist at the provider")}, nil
	}
	if err != nil {
		return nil, wrap("look at "+ours.StripeID+" of "+ours.ID, err)
	}
	for n, intent := range ours.SurplusIntents {
		if intent == theirs.PaymentIntentID {
			ours.Payments, ours.Cash = ours.Payments+1, ours.Cash.Add(ours.Surplus[n])
		}
	}
	var found []Difference
	if theirs.Total.Currency != ours.Total.Currency || !theirs.Total.Amount.Equal(ours.Total.Amount) {
		if ours.Finalized || theirs.Status != providerDraft { // a draft may still lack items
			found = append(found, differ("provider_total", ours.Total.String(), theirs.Total.String()))
		}
	}
	if ours.InFlight {
		return found, nil
	}
	if want := providerStatuses(ours); !slices.Contains(want, theirs.Status) {
		found = append(found, differ("provider_status", want[0], theirs.Status))
	}
	if theirs.Charges != ours.Payments {
		found = append(found, differ("provider_charges", fmt.Sprintf("%d succeeded", ours.Payments), fmt.Sprintf("%d succeeded", theirs.Charges)))
	}
	if !theirs.Charged.Amount.Equal(ours.Cash) {
		found = append(found, differ("provider_cash", ours.Cash.String()+" in the ledger", theirs.Charged.Amount.String()+" charged"))
	}
	if theirs.Status == providerOpen && !theirs.AmountRemaining.Amount.Equal(ours.Remaining) {
		found = append(found, differ("provider_remaining", ours.Remaining.String()+" in the ledger", theirs.AmountRemaining.Amount.String()+" to be paid"))
	}
	return found, nil
}

// providerStatuses lists how an invoice may stand at the provider, the usual way
// first.
func providerStatuses(ours publishedInvoice) []string {
	switch {
	case !ours.InHand: // the parts before the one in hand
		return []string{providerPaid}
	case ours.Status == billing.StatusPaid, ours.Status == billing.StatusSettled:
		return []string{providerPaid}
	case ours.Status == billing.StatusVoid:
		return []string{providerVoid}
	case ours.Status == billing.StatusWrittenOff:
		return []string{providerUncollectible}
	case !ours.Finalized:
		return []string{providerDraft, providerOpen}
	}
	return []string{providerOpen}
}
