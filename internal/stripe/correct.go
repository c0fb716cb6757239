package stripe

import (
	"context"
	"strconv"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Correct carries out a correction of an invoice. A payment that was made
// elsewhere in full marks it paid out of band; one in part is a credit note, the
// only way in which Stripe lowers what remains to be paid. It returns the credit
// note's id, or "".
func (g *Gateway) Correct(ctx context.Context, step billing.ChargeStep) (string, error) {
	if step.StripeInvoice == "" {
		return "", billing.NotFound("the invoice is not at Stripe yet")
	}
	correction := step.Correction
	if correction.ByCreditNote() {
		return g.makeCreditNote(ctx, step)
	}
	_, err := write(ctx, correction.IdempotencyKey, func(params sdk.Params) (*sdk.Invoice, error) {
		switch correction.Kind {
		case billing.CorrectionVoid:
			return g.void(params, step.StripeInvoice)
		case billing.CorrectionWriteOff:
			return g.api.Invoices.MarkUncollectible(step.StripeInvoice, &sdk.InvoiceMarkUncollectibleParams{Params: params})
		case billing.CorrectionSettlement:
			return g.api.Invoices.Pay(step.StripeInvoice, &sdk.InvoicePayParams{Params: params, PaidOutOfBand: sdk.Bool(true)})
		case billing.CorrectionCreditNote: // made above
		}
		return nil, billing.Invalid("correction: %q", correction.Kind)
	})
	return "", failure(err, "%s of %s, invoice %s", correction.Kind, step.StripeInvoice, step.Invoice)
}

// void withdraws a final invoice, and deletes a draft.
func (g *Gateway) void(params sdk.Params, stripeID string) (*sdk.Invoice, error) {
	have, err := g.retrieve(params.Context, stripeID)
	if err != nil {
		return nil, err
	}
	if have.Status == sdk.InvoiceStatusDraft { // deleting takes no key: it can be done once
		return g.api.Invoices.Del(stripeID, &sdk.InvoiceParams{Params: sdk.Params{Context: params.Context}})
	}
	return g.api.Invoices.VoidInvoice(stripeID, &sdk.InvoiceVoidInvoiceParams{Params: params})
}

func (g *Gateway) makeCreditNote(ctx context.Context, step billing.ChargeStep) (string, error) {
	amount, err := step.Correction.Amount.Minor()
	if err != nil {
		return "", billing.Invalid("correction %d of %s: %v", step.Correction.ID, step.Invoice, err)
	}
	made, err := write(ctx, step.Correction.IdempotencyKey, func(params sdk.Params) (*sdk.CreditNote, error) {
		return g.api.CreditNotes.New(&sdk.CreditNoteParams{
			Params:   params,
			Invoice:  sdk.String(step.StripeInvoice),
			Amount:   sdk.Int64(amount),
			Memo:     sdk.String(memo(step.Correction)),
			Metadata: creditNoteMetadata(step),
		})
	})
	if err != nil {
		return "", failure(err, "credit %s, invoice %s", step.StripeInvoice, step.Invoice)
	}
	return made.ID, nil
}

// memo is what the customer reads on the credit note.
func memo(correction billing.InvoiceCorrection) string {
	if correction.Kind == billing.CorrectionSettlement {
		return "Payment received"
	}
	return "Credit"
}

func creditNoteMetadata(step billing.ChargeStep) map[string]string {
	return map[string]string{
		metaInstallation: step.Correction.Installation, metaInvoice: step.Invoice,
		metaCorrection: strconv.FormatInt(step.Correction.ID, 10),
	}
}

// FindCreditNote looks through the invoice's credit notes for that of the
// correction. One over another amount is that of a correction which had the same
// id before the database went back.
func (g *Gateway) FindCreditNote(ctx context.Context, step billing.ChargeStep) (string, bool, error) {
	amount, err := step.Correction.Amount.Minor()
	if err != nil {
		return "", false, billing.Invalid("correction %d of %s: %v", step.Correction.ID, step.Invoice, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	notes := g.api.CreditNotes.List(&sdk.CreditNoteListParams{ListParams: listParams(ctx), Invoice: sdk.String(step.StripeInvoice)})
	for notes.Next() {
		if have := notes.CreditNote(); have.Amount == amount && carries(have.Metadata, creditNoteMetadata(step)) {
			return have.ID, true, nil
		}
	}
	return "", false, failure(notes.Err(), "list the credit notes of %s", step.StripeInvoice)
}
