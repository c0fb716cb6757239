package fakestripe

import (
	"net/http"
	"strings"
)

// decline is a bank's refusal.
type decline struct{ code, declineCode, message string }

func (d decline) asError() *apiError {
	return &apiError{
		Status: http.StatusPaymentRequired, Type: "card_error",
		Code: d.code, DeclineCode: d.declineCode, Message: d.message,
	}
}

// testMethod is one of Stripe's documented payment methods for tests and what
// the bank does with it.
type testMethod struct {
	id, kind, brand, last4 string

	atAttach     *decline // refused when it is attached
	atCharge     *decline // attaches, then every charge is declined
	authenticate bool     // every charge wants the customer's 3-D Secure
	debit        bool     // settles days later, or fails then by atCharge
	forever      bool     // a debit that never settles
	refunds      string   // how a refund goes on: "" succeeds at once, pending, or fails
	disputed     *disputed
}

// disputed is what the customer's bank does after a charge has succeeded.
type disputed struct{ reason, status string }

// disputedMethods are Stripe's test methods whose charges are taken back, or asked
// about. A bank debit that is disputed is lost: nothing can be said against it.
var disputedMethods = map[string]disputed{
	"pm_card_createDispute":                   {"fraudulent", "needs_response"},
	"pm_card_createDisputeProductNotReceived": {"product_not_received", "needs_response"},
	"pm_card_createDisputeInquiry":            {"fraudulent", "warning_needs_response"},
	"pm_usBankAccount_dispute":                {"debit_not_authorized", "lost"},
}

func declined(declineCode string) *decline {
	message := "Your card was declined."
	switch declineCode {
	case "insufficient_funds":
		message = "Your card has insufficient funds."
	case "expired_card":
		return &decline{code: declineCode, declineCode: declineCode, message: "Your card has expired."}
	case "incorrect_cvc":
		return &decline{code: declineCode, declineCode: declineCode, message: "Your card's security code is incorrect."}
	case "processing_error":
		return &decline{
			code: declineCode, declineCode: declineCode,
			message: "An error occurred while processing your card. Try again in a little bit.",
		}
	}
	return &decline{code: "card_declined", declineCode: declineCode, message: message}
}

// authenticationWanted is how a bank declines a charge for want of 3-D Secure
// when the customer is not there.
func authenticationWanted() *decline {
	return &decline{
		code: "authentication_required", declineCode: "authentication_required",
		message: "Your card was declined. This transaction requires authentication.",
	}
}

var goodCards = map[string][2]string{
	"pm_card_visa": {"visa", "4242"}, "pm_card_visa_debit": {"visa", "5556"},
	"pm_card_mastercard": {"mastercard", "4444"}, "pm_card_mastercard_debit": {"mastercard", "8210"},
	"pm_card_mastercard_prepaid": {"mastercard", "5100"}, "pm_card_amex": {"amex", "8431"},
	"pm_card_discover": {"discover", "9424"}, "pm_card_diners": {"diners", "0004"},
	"pm_card_jcb": {"jcb", "0505"}, "pm_card_unionpay": {"unionpay", "0005"},
	"pm_card_createDispute": {"visa", "0259"}, "pm_card_createDisputeProductNotReceived": {"visa", "2685"},
	"pm_card_createDisputeInquiry": {"visa", "1976"}, "pm_card_pendingRefund": {"visa", "7726"},
	"pm_card_refundFail": {"visa", "5126"}, "pm_card_threeDSecureOptional": {"visa", "3055"},
}

// refusedAtAttach are Stripe's declining cards by the end of their id; they are
// declined already when they are attached.
var refusedAtAttach = map[string]string{
	"chargeDeclined": "generic_decline", "chargeDeclinedInsufficientFunds": "insufficient_funds",
	"chargeDeclinedLostCard": "lost_card", "chargeDeclinedStolenCard": "stolen_card",
	"chargeDeclinedExpiredCard": "expired_card", "chargeDeclinedIncorrectCvc": "incorrect_cvc",
	"chargeDeclinedProcessingError":       "processing_error",
	"chargeDeclinedVelocityLimitExceeded": "card_velocity_exceeded",
}

// bankDebits end with this code days later; "" succeeds.
var bankDebits = map[string][2]string{
	"pm_usBankAccount_success": {"6789", ""}, "pm_usBankAccount_processing": {"0009", ""},
	"pm_usBankAccount_insufficientFunds":  {"2227", "insufficient_funds"},
	"pm_usBankAccount_accountClosed":      {"1113", "account_closed"},
	"pm_usBankAccount_noAccount":          {"1116", "no_account"},
	"pm_usBankAccount_debitNotAuthorized": {"3335", "debit_not_authorized"},
	"pm_usBankAccount_dispute":            {"5559", ""},
}

// localCard is the prefix of our own test methods: they attach, and then every
// charge is declined with the code that follows.
const localCard = "pm_local_card_"

func testMethodFor(id string) (testMethod, bool) {
	m := testMethod{id: id, kind: "card", brand: "visa", refunds: laterRefunds[id]}
	if d, ok := disputedMethods[id]; ok {
		m.disputed = &d
	}
	if good, ok := goodCards[id]; ok {
		m.brand, m.last4 = good[0], good[1]
		return m, true
	}
	if debit, ok := bankDebits[id]; ok {
		m.kind, m.brand, m.last4, m.debit, m.refunds = "us_bank_account", "", debit[0], true, refundPending
		m.forever = id == "pm_usBankAccount_processing"
		if debit[1] != "" {
			m.atCharge = &decline{code: debit[1], message: "The bank returned the debit: " + debit[1] + "."}
		}
		return m, true
	}
	if code, ok := strings.CutPrefix(id, localCard); ok && code != "" {
		m.last4, m.atCharge = "0341", declined(code)
		return m, true
	}
	switch id {
	case "pm_card_chargeCustomerFail":
		m.last4, m.atCharge = "0341", declined("generic_decline")
		return m, true
	case "pm_card_radarBlock":
		m.last4, m.atCharge = "0019", declined("fraudulent")
		return m, true
	case "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds":
		m.last4, m.authenticate, m.atCharge = "3178", true, declined("insufficient_funds")
		return m, true
	case "pm_card_authenticationRequired", "pm_card_threeDSecure2Required":
		m.last4, m.authenticate = "3184", true
		return m, true
	}
	short := strings.TrimPrefix(strings.TrimPrefix(id, "pm_card_"), "visa_")
	if code, ok := refusedAtAttach[short]; ok && short != id {
		m.last4, m.atAttach = "0002", declined(code)
		return m, true
	}
	return testMethod{}, false
}
