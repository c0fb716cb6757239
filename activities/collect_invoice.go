package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

const (
	// keyLife is how long an attempt may be repeated under its key. The provider
	// forgets keys after 24 hours; from then on a repeated call is a second charge.
	keyLife = 23 * time.Hour
	// spentKeyWait is how long a failure that the provider stored is waited out
	// before what its invoice says is believed.
	spentKeyWait = time.Hour

	notAttempted = billing.FailureNotAttempted // the failure code of a charge that was never made
	declined     = "declined"                  // of one that the provider gives no code for
)

// CollectInvoice takes the next step of collecting an invoice.
func (a *Activities) CollectInvoice(ctx context.Context, invoice string) (billing.Collection, error) {
	step, err := a.store.BeginCollection(ctx, invoice)
	if err != nil {
		return billing.Collection{}, final(err)
	}
	collection, err := a.take(ctx, step)
	return collection, held(err, step.State.Seen)
}

func (a *Activities) take(ctx context.Context, step billing.ChargeStep) (billing.Collection, error) {
	switch step.Do {
	case billing.StepNone:
		return step.State, nil
	case billing.StepCharge:
		if refused, err := a.cardRefused(ctx, step); err != nil || refused {
			return a.refuse(ctx, step, err)
		}
		return a.charge(ctx, step)
	case billing.StepResolve:
		return a.resolve(ctx, step)
	case billing.StepRefresh:
		state, err := a.retrieve(ctx, step)
		if err != nil {
			return billing.Collection{}, err
		}
		return a.store.RecordProviderState(ctx, step.Invoice, state)
	case billing.StepCorrect:
		return a.correct(ctx, step)
	case billing.StepReturns:
		returns, err := a.provider.Reversals(ctx, step.Intents)
		if err != nil {
			return billing.Collection{}, fmt.Errorf("look at the refunds and disputes of %s: %w", step.Invoice, err)
		}
		return a.store.RecordReversals(ctx, step.Invoice, returns)
	}
	return billing.Collection{}, fmt.Errorf("collect %s: unknown step %q", step.Invoice, step.Do)
}

// cardRefused reports whether the total is too high for what would be charged. The
// customer's method may have changed since the invoice was published.
func (a *Activities) cardRefused(ctx context.Context, step billing.ChargeStep) (bool, error) {
	if !step.CardRefused {
		return false, nil
	}
	kind, err := a.provider.MethodKind(ctx, step.Customer)
	if err != nil {
		return false, fmt.Errorf("look at the payment method for %s: %w", step.Invoice, err)
	}
	return kind == kindCard, nil
}

// errCardRefused keeps an attempt without an answer from being repeated.
var errCardRefused = errors.New("the total is too high for a card")

// repeat makes an attempt that got no answer once more, under its key.
func (a *Activities) repeat(ctx context.Context, step billing.ChargeStep) (billing.Collection, error) {
	refused, err := a.cardRefused(ctx, step)
	switch {
	case err != nil:
		return billing.Collection{}, err
	case refused:
		return billing.Collection{}, fmt.Errorf("charge %s, attempt %d: %w", step.Invoice, step.Attempt, errCardRefused)
	}
	return a.charge(ctx, step)
}

// refuse ends an attempt that is not made: the card, or asking what it is, failed.
func (a *Activities) refuse(ctx context.Context, step billing.ChargeStep, err error) (billing.Collection, error) {
	if err != nil {
		return billing.Collection{}, err
	}
	result := billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: billing.FailureCardCeiling, AttemptCount: step.AttemptsBefore}
	return a.store.RecordCharge(ctx, step.Invoice, step.Attempt, result)
}

// charge makes the attempt, or has the provider repeat what it answered to it. An
// error leaves the attempt unknown: refused for our own sake (key, rate, outage),
// or without an answer, it uses up no step of the dunning table.
func (a *Activities) charge(ctx context.Context, step billing.ChargeStep) (billing.Collection, error) {
	result, err := a.provider.Pay(ctx, step)
	if err == nil {
		return a.store.RecordCharge(ctx, step.Invoice, step.Attempt, result)
	}
	err = fmt.Errorf("charge %s, attempt %d: %w", step.Invoice, step.Attempt, err)
	if !errors.Is(err, billing.ErrConflict) {
		return billing.Collection{}, err
	}
	// Somebody else settled the invoice, or withdrew it: that is news, no error.
	state, lookErr := a.retrieve(ctx, step)
	switch {
	case lookErr != nil:
		return billing.Collection{}, lookErr
	case state.Status == providerDraft || state.Status == providerOpen:
		return billing.Collection{}, err
	}
	return a.store.RecordProviderState(ctx, step.Invoice, state)
}

// resolve finds out what became of an attempt that got no answer, or whose money
// was still on its way.
func (a *Activities) resolve(ctx context.Context, step billing.ChargeStep) (billing.Collection, error) {
	state, err := a.retrieve(ctx, step)
	if err != nil {
		return billing.Collection{}, err
	}
	if settledOtherwise(state) {
		return a.store.RecordProviderState(ctx, step.Invoice, state)
	}
	age := a.now().Sub(step.StartedAt)
	if !answered(step, state) && age < keyLife {
		collection, err := a.repeat(ctx, step)
		if !keySpent(err) && !errors.Is(err, errCardRefused) {
			return collection, err
		}
		var lookErr error
		if state, lookErr = a.retrieve(ctx, step); lookErr != nil {
			return billing.Collection{}, lookErr
		}
		if age < spentKeyWait && verdict(step, state).FailureCode == notAttempted {
			return billing.Collection{}, err
		}
	}
	result := verdict(step, state)
	if result.FailureCode == notAttempted {
		a.log.Warn("charge was never made", "invoice", step.Invoice, "attempt", step.Attempt, "age", age)
	}
	return a.store.RecordCharge(ctx, step.Invoice, step.Attempt, result)
}

func (a *Activities) retrieve(ctx context.Context, step billing.ChargeStep) (billing.ProviderInvoiceState, error) {
	state, err := a.provider.Invoice(ctx, step.StripeInvoice)
	if err != nil {
		return state, fmt.Errorf("look at the provider's invoice of %s: %w", step.Invoice, err)
	}
	return state, nil
}

// settledOtherwise tells that the invoice is closed, and not by a charge.
func settledOtherwise(state billing.ProviderInvoiceState) bool {
	switch state.Status {
	case providerVoid, providerUncollectible:
		return true
	case providerPaid:
		return state.PaymentStatus != billing.PaymentSucceeded
	}
	return false
}

// answered reports whether the provider's invoice alone says what became of the
// attempt. While it is open it does not: that an earlier attempt failed, or wants
// the customer's action, says nothing about one that got no answer.
func answered(step billing.ChargeStep, state billing.ProviderInvoiceState) bool {
	return state.PaymentStatus == billing.PaymentSucceeded || state.PaymentStatus == billing.PaymentProcessing ||
		wasAnswered(step)
}

func wasAnswered(step billing.ChargeStep) bool {
	return step.State.Payment == billing.PaymentProcessing || step.State.Payment == billing.PaymentRequiresAction
}

// verdict is what the provider's invoice says of an attempt, as far as it will
// ever say: one that left no trace was never made.
func verdict(step billing.ChargeStep, state billing.ProviderInvoiceState) billing.ChargeResult {
	result := billing.ChargeResult{
		Status: state.PaymentStatus, PaymentIntentID: state.PaymentIntentID, AttemptCount: state.AttemptCount,
	}
	switch state.PaymentStatus {
	case billing.PaymentSucceeded, billing.PaymentProcessing:
		return result
	case billing.PaymentRequiresAction:
		result.FailureCode = state.FailureCode
		return result
	default:
		result.Status, result.FailureCode = billing.PaymentFailed, failureCode(step, state)
		return result
	}
}

// failureCode says why an attempt brought no money.
func failureCode(step billing.ChargeStep, state billing.ProviderInvoiceState) string {
	switch {
	case !wasAnswered(step) && state.AttemptCount <= step.AttemptsBefore:
		return notAttempted
	case state.FailureCode == "":
		return declined
	}
	return state.FailureCode
}
