package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/arrears-dev/arrears/internal/billing"
)

// correct carries out a correction that a person asked for. It looks first: an
// earlier call may have got through, and the customer may have paid meanwhile.
func (a *Activities) correct(ctx context.Context, step billing.ChargeStep) (billing.Collection, error) {
	result, err := a.carryOut(ctx, step)
	if err != nil {
		return billing.Collection{}, err
	}
	return a.store.RecordCorrection(ctx, step.Invoice, step.Correction.ID, result)
}

func (a *Activities) carryOut(ctx context.Context, step billing.ChargeStep) (result billing.CorrectionResult, err error) {
	if step.StripeInvoice == "" {
		found, err := a.unanswered(ctx, step)
		if err != nil || found == "" {
			return billing.CorrectionResult{Done: err == nil}, err
		}
		step.StripeInvoice = found
	}
	if result, err = a.corrected(ctx, step); err != nil || result.Done || !correctable(step.Correction, result.State) {
		return result, err
	}
	note, err := a.provider.Correct(ctx, step)
	if err == nil {
		return billing.CorrectionResult{Done: true, StripeID: note}, nil
	}
	err = fmt.Errorf("correct %s: %w", step.Invoice, err)
	if !errors.Is(err, billing.ErrConflict) && !errors.Is(err, billing.ErrInvalid) && !errors.Is(err, billing.ErrNotFound) {
		return result, err
	}
	// It may have been paid or withdrawn between the look and the call.
	after, lookErr := a.corrected(ctx, step)
	if lookErr == nil && !after.Done && correctable(step.Correction, after.State) {
		after.Refused = reason(err)
	}
	return after, lookErr
}

// unanswered looks for an invoice whose making got no answer; "" = there is none.
func (a *Activities) unanswered(ctx context.Context, step billing.ChargeStep) (string, error) {
	draft, err := a.store.BeginProviderInvoice(ctx, step.Invoice)
	if err != nil || draft.StripeID != "" || draft.Customer == "" {
		return draft.StripeID, err
	}
	id, _, err := a.provider.FindInvoice(ctx, draft)
	return id, err
}

// corrected looks whether the correction was carried out before. What the
// provider's invoice became without a call of ours is somebody else's doing, but
// for one that was withdrawn or given up: that is what was wanted.
func (a *Activities) corrected(ctx context.Context, step billing.ChargeStep) (result billing.CorrectionResult, err error) {
	correction := step.Correction
	if correction.ByCreditNote() { // also one that was never tried: the database may have gone back since
		note, found, err := a.provider.FindCreditNote(ctx, step)
		if err != nil || found {
			return billing.CorrectionResult{Done: found, StripeID: note}, err
		}
	}
	result.State, err = a.retrieve(ctx, step)
	if correction.Kind == billing.CorrectionVoid && correction.Tried && errors.Is(err, billing.ErrNotFound) {
		return billing.CorrectionResult{Done: true}, nil // the draft is deleted
	}
	if err != nil {
		return result, err
	}
	switch correction.Kind {
	case billing.CorrectionVoid:
		result.Done = result.State.Status == providerVoid
	case billing.CorrectionWriteOff:
		result.Done = result.State.Status == providerUncollectible
	case billing.CorrectionSettlement:
		paidElsewhere := result.State.Status == providerPaid && result.State.Charges == 0 && result.State.PaymentStatus != billing.PaymentSucceeded
		result.Done = correction.Full && correction.Tried && paidElsewhere
	case billing.CorrectionCreditNote: // is told by itself, above
	}
	return result, nil
}

// correctable reports whether the provider would take the correction of an invoice
// that stands so.
func correctable(correction billing.InvoiceCorrection, state billing.ProviderInvoiceState) bool {
	switch {
	case state.Status == providerOpen:
		return true
	case correction.Kind == billing.CorrectionVoid:
		return state.Status == providerDraft || state.Status == providerUncollectible
	case correction.Kind == billing.CorrectionSettlement && correction.Full:
		return state.Status == providerUncollectible
	}
	return false
}
