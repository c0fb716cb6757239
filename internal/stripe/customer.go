package stripe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// EnsureCustomer makes the organisation's customer, on a test clock of Stripe's
// where the organisation lives on one of ours, with its payment method as the
// default. A payment method that is refused comes as billing.ErrInvalid together
// with the ids of what was made.
func (g *Gateway) EnsureCustomer(
	ctx context.Context, installation string, org billing.Organization,
) (customer, clock string, err error) {
	if org.StripeCustomerID != "" {
		return org.StripeCustomerID, org.StripeClockID, nil
	}
	if org.TestClock && g.live {
		return "", "", billing.Invalid("organization %s is on a test clock, and the Stripe key is a live one: "+
			"test clocks need a key of test mode", org.ID)
	}
	customer, clock, err = g.foundOrCreated(ctx, installation, org)
	if err != nil {
		return "", clock, err
	}
	method := ""
	if org.PaymentMethod != "" {
		key := "pm/" + installation + "/" + org.ID + "/" + org.PaymentMethod
		attached, attachErr := g.attach(ctx, customer, org.PaymentMethod, key)
		var elsewhere *attachedElsewhere
		if errors.As(attachErr, &elsewhere) && carries(elsewhere.metadata, customerMetadata(installation, org.ID)) {
			// The customer was made so long ago that its key was forgotten, and its
			// id was never recorded.
			customer, attached, attachErr = elsewhere.customer, org.PaymentMethod, nil
		}
		if attachErr != nil && !errors.Is(attachErr, billing.ErrInvalid) {
			return "", clock, attachErr
		}
		method, err = attached, attachErr
	}
	if updateErr := g.describe(ctx, installation, org, customer, method); updateErr != nil {
		return "", clock, updateErr
	}
	return customer, clock, err
}

// foundOrCreated returns the customer that Stripe is known to have of the
// organisation, or makes one.
func (g *Gateway) foundOrCreated(ctx context.Context, installation string, org billing.Organization) (customer, clock string, err error) {
	if org.FoundCustomerID != "" {
		return org.FoundCustomerID, org.FoundClockID, nil
	}
	if clock = org.StripeClockID; org.TestClock && clock == "" {
		if clock, err = g.ensureClock(ctx, installation, org); err != nil {
			return "", "", err
		}
	}
	customer, err = g.createCustomer(ctx, installation, org, clock)
	return customer, clock, err
}

func customerMetadata(installation, organization string) map[string]string {
	return map[string]string{metaInstallation: installation, metaOrganization: organization}
}

// createCustomer sends only what never changes, so that the call can be repeated
// under its key.
func (g *Gateway) createCustomer(ctx context.Context, installation string, org billing.Organization, clock string) (string, error) {
	customer, err := write(ctx, "cus/"+installation+"/"+org.ID, func(params sdk.Params) (*sdk.Customer, error) {
		p := &sdk.CustomerParams{Params: params, Name: sdk.String(org.ID), Metadata: customerMetadata(installation, org.ID)}
		if clock != "" {
			p.TestClock = sdk.String(clock)
		}
		return g.api.Customers.New(p)
	})
	if err != nil {
		return "", failure(err, "create the customer of %s", org.ID)
	}
	return customer.ID, nil
}

// describe sets what may change: the billing contact and the default payment method.
func (g *Gateway) describe(ctx context.Context, installation string, org billing.Organization, customer, method string) error {
	if org.Email == "" && method == "" {
		return nil
	}
	content := sha256.Sum256([]byte(org.Email + "\n" + method))
	key := "cus/" + installation + "/" + org.ID + "/set/" + hex.EncodeToString(content[:8])
	_, err := write(ctx, key, func(params sdk.Params) (*sdk.Customer, error) {
		p := &sdk.CustomerParams{Params: params}
		if org.Email != "" {
			p.Email = sdk.String(org.Email)
		}
		if method != "" {
			p.InvoiceSettings = defaultMethod(method)
		}
		return g.api.Customers.Update(customer, p)
	})
	return failure(err, "describe the customer of %s", org.ID)
}

func defaultMethod(method string) *sdk.CustomerInvoiceSettingsParams {
	return &sdk.CustomerInvoiceSettingsParams{DefaultPaymentMethod: sdk.String(method)}
}

// SetPaymentMethod gives a customer a payment method by which its invoices are
// charged from now on, and returns its id, which differs from the one given where
// that names one of Stripe's test methods. The key must be a new one for each
// wish of a person, or a method that was set, replaced and wished again would
// only be answered and not set.
func (g *Gateway) SetPaymentMethod(ctx context.Context, customer, method, idempotencyKey string) (string, error) {
	attached, err := g.attach(ctx, customer, method, idempotencyKey)
	if err != nil {
		return "", err
	}
	_, err = write(ctx, idempotencyKey+"/default", func(params sdk.Params) (*sdk.Customer, error) {
		return g.api.Customers.Update(customer, &sdk.CustomerParams{Params: params, InvoiceSettings: defaultMethod(attached)})
	})
	if err != nil {
		return "", failure(err, "make %s the default of %s", attached, customer)
	}
	return attached, nil
}

// SetEmail changes where Stripe sends a customer's invoices. Each wish of a
// person has its own key.
func (g *Gateway) SetEmail(ctx context.Context, customer, email, idempotencyKey string) error {
	_, err := write(ctx, idempotencyKey, func(params sdk.Params) (*sdk.Customer, error) {
		return g.api.Customers.Update(customer, &sdk.CustomerParams{Params: params, Email: sdk.String(email)})
	})
	return failure(err, "set the address of %s", customer)
}

// attachedElsewhere is a payment method that belongs to another customer.
type attachedElsewhere struct {
	method, customer string
	metadata         map[string]string
}

func (e *attachedElsewhere) Error() string {
	return "payment method " + e.method + " belongs to another customer"
}
func (e *attachedElsewhere) Unwrap() error { return billing.ErrInvalid }

func (g *Gateway) attach(ctx context.Context, customer, method, key string) (string, error) {
	attached, err := write(ctx, key, func(params sdk.Params) (*sdk.PaymentMethod, error) {
		return g.api.PaymentMethods.Attach(method, &sdk.PaymentMethodAttachParams{Params: params, Customer: sdk.String(customer)})
	})
	if err == nil {
		return attached.ID, nil
	}
	var answer *sdk.Error
	switch {
	case !errors.As(err, &answer):
	case answer.HTTPStatusCode == http.StatusPaymentRequired:
		return "", billing.Invalid("payment method %s was declined: %s (%s)", method, redact(answer.Msg), declineCode(answer))
	case answer.Code == sdk.ErrorCodeResourceMissing && answer.Param != "customer":
		return "", billing.Invalid("payment method %s is not known to Stripe", method)
	case errors.Is(kind(answer), billing.ErrInvalid):
		return g.attachedAlready(ctx, customer, method, err)
	}
	return "", failure(err, "attach %s to %s", method, customer)
}

// attachedAlready reports whether a payment method could not be attached because it
// is where it should be, or where else it is.
func (g *Gateway) attachedAlready(ctx context.Context, customer, method string, refused error) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p := &sdk.PaymentMethodParams{Params: sdk.Params{Context: ctx}}
	p.AddExpand("customer")
	have, err := g.api.PaymentMethods.Get(method, p)
	switch {
	case err != nil:
		return "", failure(err, "look at payment method %s", method)
	case have.Customer == nil:
		return "", failure(refused, "attach %s to %s", method, customer)
	case have.Customer.ID != customer:
		return "", &attachedElsewhere{method, have.Customer.ID, have.Customer.Metadata}
	}
	return have.ID, nil
}
