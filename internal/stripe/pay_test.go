package stripe_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/stripe"
)

func clearFaults(t *testing.T, l *local) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, l.url+"/_local/faults", nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
}

func TestPay_ADeclineIsAResult(t *testing.T) {
	t.Parallel()
	for method, c := range map[string]struct {
		want      billing.PaymentStatus
		wantCode  string
		wantTried int64
		wantLater billing.PaymentStatus // what the invoice says afterwards
	}{
		"pm_card_chargeCustomerFail":         {billing.PaymentFailed, "generic_decline", 1, billing.PaymentFailed},
		"pm_local_card_insufficient_funds":   {billing.PaymentFailed, "insufficient_funds", 1, billing.PaymentFailed},
		"pm_local_card_lost_card":            {billing.PaymentFailed, "lost_card", 1, billing.PaymentFailed},
		"pm_local_card_expired_card":         {billing.PaymentFailed, "expired_card", 1, billing.PaymentFailed},
		"pm_card_authenticationRequired":     {billing.PaymentRequiresAction, "authentication_required", 1, billing.PaymentRequiresAction},
		"pm_usBankAccount_success":           {billing.PaymentProcessing, "", 1, billing.PaymentProcessing},
		"pm_usBankAccount_insufficientFunds": {billing.PaymentProcessing, "", 1, billing.PaymentProcessing},
		"":                                   {billing.PaymentFailed, "no_payment_method", 0, ""},
	} {
		t.Run("with "+method, func(t *testing.T) {
			t.Parallel()
			l, ctx := start(t), context.Background()
			customer := l.customer(t, method)
			inv := l.open(t, customer)
			result, err := l.Pay(ctx, attempt(inv, 1, 0))
			require.NoError(t, err)
			require.Equal(t, c.want, result.Status)
			require.Equal(t, c.wantCode, result.FailureCode)
			require.Equal(t, c.wantTried, result.AttemptCount)
			require.Len(t, l.charges(t, customer), int(c.wantTried))
			state, err := l.Invoice(ctx, inv.StripeID)
			require.NoError(t, err)
			require.Equal(t, "open", state.Status)
			require.Equal(t, c.wantLater, state.PaymentStatus)
			require.Equal(t, c.wantTried, state.AttemptCount)
			require.Zero(t, state.Charges)
			if c.wantTried > 0 && result.FailureCode != "" {
				require.Equal(t, result.FailureCode, state.FailureCode)
				require.NotEmpty(t, result.ChargeID)
			}

			again, err := l.Pay(ctx, attempt(inv, 1, 0))
			require.NoError(t, err)
			if method != "" { // what was refused before anything was done is not stored
				require.Equal(t, result, again, "the same key gets the same answer")
			}
			require.Len(t, l.charges(t, customer), int(c.wantTried))
		})
	}
}

func TestPay_ANewMethodPaysUnderTheNextKey(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "pm_local_card_insufficient_funds")
	inv := l.open(t, customer)
	result, err := l.Pay(ctx, attempt(inv, 1, 0))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentFailed, result.Status)
	_, err = l.SetPaymentMethod(ctx, customer, "pm_card_visa", "method/1")
	require.NoError(t, err)
	result, err = l.Pay(ctx, attempt(inv, 2, result.AttemptCount))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentSucceeded, result.Status)
	state, err := l.Invoice(ctx, inv.StripeID)
	require.NoError(t, err)
	require.EqualValues(t, 2, state.AttemptCount)
	require.Equal(t, 1, state.Charges)
}

// Stripe's own attempt_count stays at 1 for attempts made by hand, the charges tell.
func TestPay_TheInvoiceTellsHowOftenItWasCharged(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	inv := l.open(t, l.customer(t, "pm_card_chargeCustomerFail"))
	for n := range 3 {
		result, err := l.Pay(ctx, attempt(inv, n+1, int64(n)))
		require.NoError(t, err)
		require.EqualValues(t, n+1, result.AttemptCount)
		state, err := l.Invoice(ctx, inv.StripeID)
		require.NoError(t, err)
		require.Equal(t, result.AttemptCount, state.AttemptCount)
	}
}

func TestADebitThatComesBackIsAFailure(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	inv := l.open(t, l.customer(t, "pm_usBankAccount_accountClosed"))
	first, err := l.Pay(ctx, attempt(inv, 1, 0))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentProcessing, first.Status)
	second, err := l.Pay(ctx, attempt(inv, 2, 1))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentProcessing, second.Status, "what is under way is not started again")
	l.pass(5 * 24 * time.Hour)
	state, err := l.Invoice(ctx, inv.StripeID)
	require.NoError(t, err)
	require.Equal(t, billing.PaymentFailed, state.PaymentStatus)
	require.Equal(t, "account_closed", state.FailureCode)
}

func TestPaidMeanwhileByAChargeIsASuccess(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "pm_card_visa")
	inv := l.open(t, customer)
	paid, err := l.api.Invoices.Pay(inv.StripeID, nil)
	require.NoError(t, err)
	result, err := l.Pay(ctx, attempt(inv, 1, 0))
	require.NoError(t, err)
	require.Equal(t, billing.PaymentSucceeded, result.Status)
	require.Equal(t, paid.PaymentIntent.ID, result.PaymentIntentID)
	require.Len(t, l.charges(t, customer), 1)
}

func TestSettledOtherwiseIsAConflict(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(l *local, id string) error{
		"paid by hand": func(l *local, id string) error {
			_, err := l.api.Invoices.Pay(id, &sdk.InvoicePayParams{PaidOutOfBand: sdk.Bool(true)})
			return err
		},
		"void": func(l *local, id string) error {
			_, err := l.api.Invoices.VoidInvoice(id, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			customer := l.customer(t, "pm_card_visa")
			inv := l.open(t, customer)
			require.NoError(t, settle(l, inv.StripeID))
			_, err := l.Pay(context.Background(), attempt(inv, 1, 0))
			requireFinal(t, billing.ErrConflict, err)
			require.Empty(t, l.charges(t, customer))
		})
	}
}

func TestNothingToChargeIsAFailureOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(l *local, customer string) error{
		"the customer was deleted": func(l *local, customer string) error {
			_, err := l.api.Customers.Del(customer, nil)
			return err
		},
		"the method was detached": func(l *local, customer string) error {
			have, err := l.api.Customers.Get(customer, nil)
			if err == nil {
				_, err = l.api.PaymentMethods.Detach(have.InvoiceSettings.DefaultPaymentMethod.ID, nil)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			customer := l.customer(t, "pm_card_visa")
			inv := l.open(t, customer)
			require.NoError(t, lose(l, customer))
			result, err := l.Pay(context.Background(), attempt(inv, 1, 0))
			require.NoError(t, err)
			require.Equal(t, billing.PaymentFailed, result.Status)
			require.Equal(t, "no_payment_method", result.FailureCode)
		})
	}
}

func TestAnAnswerThatComesTooLateIsAskedForAgain(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	hasty, err := stripe.New(stripe.Options{Key: testKey, APIBase: l.url, Timeout: 300 * time.Millisecond, Log: quiet()})
	require.NoError(t, err)
	customer := l.customer(t, "pm_card_visa")
	inv := l.open(t, customer)
	l.server.Inject(fakestripe.Fault{Method: "POST", Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultDelay, MS: 1500})
	_, err = hasty.Pay(ctx, attempt(inv, 1, 0))
	require.ErrorContains(t, err, "no answer from Stripe")
	requireFinal(t, nil, err)

	_, err = l.Pay(ctx, attempt(inv, 1, 0))
	require.ErrorContains(t, err, "idempotency_key_in_use", "the first call is still going on")
	requireFinal(t, nil, err)
	require.Eventually(t, func() bool {
		result, err := l.Pay(ctx, attempt(inv, 1, 0))
		return err == nil && result.Status == billing.PaymentSucceeded
	}, 5*time.Second, 100*time.Millisecond)
	require.Len(t, l.charges(t, customer), 1)
}

func TestAStoredFailureIsToldFromAFreshOne(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), context.Background()
	customer := l.customer(t, "pm_card_visa")
	inv := l.open(t, customer)
	l.server.Inject(fakestripe.Fault{Method: "POST", Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultError500})
	spent := func() bool {
		_, err := l.Pay(ctx, attempt(inv, 1, 0))
		var e interface{ KeySpent() bool }
		require.ErrorAs(t, err, &e)
		requireFinal(t, nil, err)
		return e.KeySpent()
	}
	require.False(t, spent())
	require.True(t, spent())
	state, err := l.Invoice(ctx, inv.StripeID)
	require.NoError(t, err)
	require.Equal(t, "paid", state.Status, "the failed call had done its work")
	require.Len(t, l.charges(t, customer), 1)
}

func TestRefusedBeforeAnyWorkIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 409, 429, 500, 502, 503} {
		l, ctx := start(t, func(o *stripe.Options) { o.KeyPause = time.Nanosecond }), context.Background()
		customer := l.customer(t, "pm_card_visa")
		inv := l.open(t, customer)
		l.server.Inject(fakestripe.Fault{Method: "POST", Path: "/v1/invoices/*/pay", Kind: fakestripe.FaultRefuse, Status: status})
		_, err := l.Pay(ctx, attempt(inv, 1, 0))
		require.Error(t, err, status)
		requireFinal(t, nil, err)
		require.Empty(t, l.charges(t, customer))
		result, err := l.Pay(ctx, attempt(inv, 1, 0))
		require.NoError(t, err)
		require.Equal(t, billing.PaymentSucceeded, result.Status)
	}
}

// TestPay_OtherAnswers is about those that the local Stripe does not give.
func TestPay_OtherAnswers(t *testing.T) {
	t.Parallel()
	const refusal = `{"error":{"type":"invalid_request_error","message":"Nope"}}`
	for name, c := range map[string]struct {
		pay, look string // answers
		status    int    // of pay
		replayed  bool   // pay repeats what it answered before
		want      billing.PaymentStatus
		wantCode  string
		wantErr   string
		wantKind  error
	}{
		"3-D Secure is wanted": {
			status: 402, pay: `{"error":{"type":"card_error","code":"invoice_payment_intent_requires_action","message":"x"}}`,
			want: billing.PaymentRequiresAction, wantCode: "invoice_payment_intent_requires_action",
		},
		"3-D Secure is wanted, as a wrong request": {
			status: 400, pay: `{"error":{"type":"invalid_request_error","code":"invoice_payment_intent_requires_action"}}`,
			want: billing.PaymentRequiresAction, wantCode: "invoice_payment_intent_requires_action",
		},
		"open with the customer's turn": {
			status: 200, pay: `{"id":"in_1","status":"open","payment_intent":{"id":"pi_1","status":"requires_action"}}`,
			want: billing.PaymentRequiresAction,
		},
		"paid without a charge":      {status: 200, pay: `{"id":"in_1","status":"paid"}`, wantErr: "not by a charge", wantKind: billing.ErrConflict},
		"neither paid nor under way": {status: 200, pay: `{"id":"in_1","status":"open"}`, wantErr: "says neither"},
		"an intent nobody has used": {
			status: 200, pay: `{"id":"in_1","status":"open","payment_intent":{"id":"pi_1","status":"requires_confirmation"}}`,
			wantErr: "leaves the payment requires_confirmation",
		},
		"a refusal that cannot be looked into": {status: 400, pay: refusal, look: `<html>`, wantErr: "no answer from Stripe"},
		"a refusal of an open invoice with a method": {
			status: 400, pay: refusal, wantErr: "Nope", wantKind: billing.ErrInvalid,
			look: `{"id":"in_1","status":"open","customer":{"id":"cus_1","invoice_settings":{"default_payment_method":"pm_1"}}}`,
		},
		"a refusal repeated under the key, its reason gone": {
			status: 400, pay: refusal, replayed: true, want: billing.PaymentFailed, wantCode: "not_attempted",
			look: `{"id":"in_1","status":"open","customer":{"id":"cus_1","invoice_settings":{"default_payment_method":"pm_1"}}}`,
		},
		"a refusal of a draft": {
			status: 400, pay: refusal, look: `{"id":"in_1","status":"draft"}`, wantErr: "is draft at Stripe", wantKind: billing.ErrConflict,
		},
		"a method of another customer": {
			status: 400, pay: `{"error":{"type":"invalid_request_error","code":"resource_missing","param":"payment_method"}}`,
			look: `{"id":"in_1","status":"open","customer":{"id":"cus_1","invoice_settings":{"default_payment_method":"pm_1"}}}`,
			want: billing.PaymentFailed, wantCode: "no_payment_method",
		},
		"no such invoice": {
			status: 404, pay: `{"error":{"type":"invalid_request_error","code":"resource_missing"}}`, wantErr: "resource_missing", wantKind: billing.ErrNotFound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := scripted(t, func(w http.ResponseWriter, r *http.Request, n int) {
				if strings.HasSuffix(r.URL.Path, "/pay") {
					if c.replayed {
						w.Header().Set("Idempotent-Replayed", "true")
					}
					reply(c.status, c.pay)(w, r, n)
					return
				}
				reply(200, c.look)(w, r, n)
			})
			result, err := s.Pay(context.Background(), billing.ChargeStep{
				Invoice: "acme/2026-10-01", StripeInvoice: "in_1", IdempotencyKey: "pay/1", AttemptsBefore: 3,
			})
			if c.wantErr != "" {
				require.ErrorContains(t, err, c.wantErr)
				requireFinal(t, c.wantKind, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, result.Status)
			require.Equal(t, c.wantCode, result.FailureCode)
			require.EqualValues(t, 3, result.AttemptCount, "nothing was charged")
		})
	}
}
