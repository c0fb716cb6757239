package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Failure codes of our own: the customer has nothing that could be charged, and
// the charge was never made.
const (
	noPaymentMethod = billing.FailureNoMethod
	notAttempted    = billing.FailureNotAttempted
)

// Pay charges an invoice by its customer's default payment method, once under the
// attempt's key. The method is not named in the call: one that is replaced while
// the outcome is unknown must not change what the key stands for.
//
// A decline is a result, and so is an invoice that turns out to be paid by a
// charge. One that is settled otherwise, or void, is billing.ErrConflict. After
// any other error the attempt's outcome is unknown.
func (g *Gateway) Pay(ctx context.Context, step billing.ChargeStep) (billing.ChargeResult, error) {
	if step.IdempotencyKey == "" {
		return billing.ChargeResult{}, billing.Invalid("pay invoice %s: no idempotency key", step.Invoice)
	}
	p := &sdk.InvoicePayParams{Params: keyed(ctx, step.IdempotencyKey), OffSession: sdk.Bool(true)}
	p.AddExpand("payment_intent")
	paid, err := g.api.Invoices.Pay(step.StripeInvoice, p)
	if err == nil {
		return charged(step, paid)
	}
	if result, ok := declined(step, err); ok {
		return result, nil
	}
	if answer, refused := refusal(err); refused {
		return g.refused(ctx, step, answer)
	}
	return billing.ChargeResult{}, failure(err, "pay %s, invoice %s", step.StripeInvoice, step.Invoice)
}

// charged reads the invoice that a payment was answered with.
func charged(step billing.ChargeStep, have *sdk.Invoice) (billing.ChargeResult, error) {
	intent := have.PaymentIntent
	if intent == nil && have.Status == sdk.InvoiceStatusPaid {
		return billing.ChargeResult{}, billing.Conflict("invoice %s is paid at Stripe, and not by a charge", step.Invoice)
	}
	if intent == nil {
		return billing.ChargeResult{}, fmt.Errorf("pay %s, invoice %s: Stripe's answer says neither paid nor how it stands",
			step.StripeInvoice, step.Invoice)
	}
	status, code := paymentOf(intent)
	if status == "" {
		return billing.ChargeResult{}, fmt.Errorf("pay %s, invoice %s: Stripe's answer leaves the payment %s",
			step.StripeInvoice, step.Invoice, intent.Status)
	}
	return resultOf(step, status, code, intent), nil
}

// paymentOf tells how an invoice's payment stands; status is "" while nothing was
// attempted.
func paymentOf(intent *sdk.PaymentIntent) (status billing.PaymentStatus, code string) {
	failed := intent.LastPaymentError
	if failed != nil {
		code = declineCode(failed)
	}
	switch intent.Status {
	case sdk.PaymentIntentStatusSucceeded:
		return billing.PaymentSucceeded, ""
	case sdk.PaymentIntentStatusProcessing:
		return billing.PaymentProcessing, ""
	case sdk.PaymentIntentStatusRequiresAction:
		return billing.PaymentRequiresAction, code
	default: // waits for the next attempt
		switch {
		case failed == nil:
			return "", ""
		case wantsCustomer(failed):
			return billing.PaymentRequiresAction, code
		}
		return billing.PaymentFailed, code
	}
}

func resultOf(step billing.ChargeStep, status billing.PaymentStatus, code string, intent *sdk.PaymentIntent) billing.ChargeResult {
	result := billing.ChargeResult{Status: status, FailureCode: code, AttemptCount: step.AttemptsBefore}
	if intent != nil {
		result.PaymentIntentID = intent.ID
	}
	if status != billing.PaymentSucceeded && status != billing.PaymentProcessing {
		return result // what was charged last may have been an earlier attempt
	}
	result.AttemptCount++
	if intent != nil && intent.LatestCharge != nil {
		result.ChargeID = intent.LatestCharge.ID
	}
	return result
}

// declined reads the answer of a bank that would not pay, or not without the
// customer.
func declined(step billing.ChargeStep, err error) (billing.ChargeResult, bool) {
	var answer *sdk.Error
	if !errors.As(err, &answer) || (answer.HTTPStatusCode != http.StatusPaymentRequired && !wantsCustomer(answer)) {
		return billing.ChargeResult{}, false
	}
	status := billing.PaymentFailed
	if wantsCustomer(answer) {
		status = billing.PaymentRequiresAction
	}
	result := resultOf(step, status, declineCode(answer), answer.PaymentIntent)
	if answer.ChargeID != "" {
		result.ChargeID = answer.ChargeID
		result.AttemptCount++
	}
	return result, true
}

func declineCode(answer *sdk.Error) string {
	if answer.DeclineCode != "" {
		return string(answer.DeclineCode)
	}
	return string(answer.Code)
}

func wantsCustomer(answer *sdk.Error) bool {
	return answer.Code == sdk.ErrorCodeAuthenticationRequired ||
		answer.Code == sdk.ErrorCodeInvoicePaymentIntentRequiresAction ||
		answer.DeclineCode == sdk.DeclineCode(sdk.ErrorCodeAuthenticationRequired)
}

// refused looks at an invoice that Stripe would not charge: it tells why better
// than Stripe's messages, which have no code.
func (g *Gateway) refused(ctx context.Context, step billing.ChargeStep, answer *sdk.Error) (billing.ChargeResult, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	have, err := g.retrieve(ctx, step.StripeInvoice, "payment_intent", "customer")
	if err != nil {
		return billing.ChargeResult{}, err
	}
	var status billing.PaymentStatus
	if have.PaymentIntent != nil {
		status, _ = paymentOf(have.PaymentIntent)
	}
	switch {
	case status == billing.PaymentSucceeded || status == billing.PaymentProcessing:
		return resultOf(step, status, "", have.PaymentIntent), nil
	case have.Status != sdk.InvoiceStatusOpen:
		return billing.ChargeResult{}, billing.Conflict("invoice %s is %s at Stripe: %s", step.Invoice, have.Status, redact(answer.Msg))
	case nothingToCharge(have, answer):
		return resultOf(step, billing.PaymentFailed, noPaymentMethod, have.PaymentIntent), nil
	case repeated(answer): // the reason is gone, and the key with it
		return resultOf(step, billing.PaymentFailed, notAttempted, have.PaymentIntent), nil
	}
	return billing.ChargeResult{}, failure(answer, "pay %s, invoice %s", step.StripeInvoice, step.Invoice)
}

// nothingToCharge reports whether there is no payment method, or none that still
// belongs to the customer.
func nothingToCharge(have *sdk.Invoice, answer *sdk.Error) bool {
	if answer.Code == sdk.ErrorCodeResourceMissing && (answer.Param == "payment_method" || answer.Param == "source") {
		return true
	}
	if have.Customer == nil || have.Customer.Deleted {
		return true
	}
	settings := have.Customer.InvoiceSettings
	return (settings == nil || settings.DefaultPaymentMethod == nil) && have.Customer.DefaultSource == nil &&
		have.DefaultPaymentMethod == nil && have.DefaultSource == nil
}
