package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// The provider's invoice states that are told apart here.
const (
	providerDraft         = "draft"
	providerOpen          = "open"
	providerPaid          = "paid"
	providerVoid          = "void"
	providerUncollectible = "uncollectible"
)

// CreateProviderInvoice makes the provider's draft of an issued invoice.
func (a *Activities) CreateProviderInvoice(ctx context.Context, invoice string) error {
	return final(a.createInvoice(ctx, invoice))
}

func (a *Activities) createInvoice(ctx context.Context, invoice string) error {
	draft, err := a.store.BeginProviderInvoice(ctx, invoice)
	if err != nil || draft.StripeID != "" {
		return err
	}
	if draft.Customer == "" {
		if draft.Customer, err = a.ensureCustomer(ctx, draft); err != nil {
			return err
		}
	}
	id, found := "", false
	if !draft.TriedAt.IsZero() || draft.MayBeThere {
		if id, found, err = a.provider.FindInvoice(ctx, draft); err != nil {
			return fmt.Errorf("look for the provider's invoice of %s: %w", invoice, err)
		}
	}
	if found {
		return a.store.AdoptProviderInvoice(ctx, invoice, id)
	}
	if draft, err = a.refuseCard(ctx, draft); err != nil {
		return err
	}
	if id, err = a.provider.CreateInvoice(ctx, draft); err != nil {
		return fmt.Errorf("create the provider's invoice of %s: %w", invoice, err)
	}
	return a.store.RecordProviderInvoice(ctx, invoice, id)
}

// kindCard is what the provider calls a card.
const kindCard = "card"

// refuseCard has an invoice whose total is too high for a card sent to be paid
// by bank transfer, unless there is something else to be charged.
func (a *Activities) refuseCard(ctx context.Context, draft billing.ProviderInvoice) (billing.ProviderInvoice, error) {
	if !draft.CardRefused {
		return draft, nil
	}
	kind, err := a.provider.MethodKind(ctx, draft.Customer)
	if err != nil {
		return draft, fmt.Errorf("look at the payment method of %s: %w", draft.Organization, err)
	}
	if kind != kindCard {
		return draft, nil
	}
	draft.Collection = billing.SendInvoice
	return draft, a.store.SwitchToSentInvoice(ctx, draft.Invoice, fmt.Sprintf("a total of %s is not charged to a card", draft.Total))
}

// ensureCustomer repairs an organisation whose customer was not made, or not
// recorded, when it was created.
func (a *Activities) ensureCustomer(ctx context.Context, draft billing.ProviderInvoice) (string, error) {
	org, err := a.store.Organization(ctx, draft.Organization)
	if err != nil {
		return "", err
	}
	customer, clock, err := a.provider.EnsureCustomer(ctx, draft.Installation, org)
	switch {
	case customer != "" && errors.Is(err, billing.ErrInvalid):
		// The invoice does not wait for a better card; its collection will.
		a.log.Warn("payment method refused", "organization", org.ID, "error", err)
	case err != nil:
		return "", fmt.Errorf("ensure the customer of %s: %w", org.ID, err)
	}
	return customer, a.store.RecordCustomer(ctx, org.ID, customer, clock)
}

// AddProviderItem adds one item to the provider's draft.
func (a *Activities) AddProviderItem(ctx context.Context, ref workflows.ItemRef) error {
	return final(a.addItem(ctx, ref))
}

func (a *Activities) addItem(ctx context.Context, ref workflows.ItemRef) error {
	item, err := a.store.BeginProviderItem(ctx, ref.Invoice, ref.Number)
	if err != nil || item.StripeID != "" {
		return err
	}
	id, found := "", false
	if item.Tried {
		if id, found, err = a.provider.FindItem(ctx, item); err != nil {
			return fmt.Errorf("look for item %d of %s: %w", ref.Number, ref.Invoice, err)
		}
	}
	if !found {
		if id, err = a.provider.AddItem(ctx, item); err != nil {
			return fmt.Errorf("add item %d of %s: %w", ref.Number, ref.Invoice, err)
		}
	}
	return a.store.RecordProviderItem(ctx, ref.Invoice, ref.Number, id)
}

// FinalizeProviderInvoice finalises the provider's draft, if it says what our
// invoice says. It always looks first: an earlier call may have got through, and
// people can edit a draft.
func (a *Activities) FinalizeProviderInvoice(ctx context.Context, invoice string) (string, error) {
	mismatch, err := a.finalize(ctx, invoice)
	return mismatch, final(err)
}

func (a *Activities) finalize(ctx context.Context, invoice string) (string, error) {
	ours, err := a.store.BeginProviderFinalize(ctx, invoice)
	if err != nil || ours.Finalized {
		return "", err
	}
	theirs, err := a.provider.Invoice(ctx, ours.StripeID)
	if err != nil {
		return "", fmt.Errorf("look at the provider's invoice of %s: %w", invoice, err)
	}
	if mismatch := compare(ours, theirs); mismatch != "" {
		return mismatch, nil
	}
	if theirs.Status == providerDraft {
		if theirs, err = a.provider.FinalizeInvoice(ctx, ours); err != nil {
			return "", fmt.Errorf("finalize the provider's invoice of %s: %w", invoice, err)
		}
		if mismatch := compare(ours, theirs); mismatch != "" {
			return mismatch, nil
		}
	}
	return "", a.store.RecordProviderFinalized(ctx, invoice, theirs)
}

// compare returns "" or why the provider's invoice must not be collected.
func compare(ours billing.ProviderInvoice, theirs billing.ProviderInvoiceState) string {
	switch {
	case theirs.Status == providerVoid || theirs.Status == providerUncollectible:
		return "the provider's invoice is " + theirs.Status
	case !same(theirs.Total, ours.Total):
		return fmt.Sprintf("the provider's total is %s, ours is %s", theirs.Total, ours.Total)
	case !same(theirs.AmountDue, ours.Total):
		return fmt.Sprintf("the provider wants %s, our total is %s; the customer may have a balance there",
			theirs.AmountDue, ours.Total)
	}
	return ""
}

func same(a, b billing.Money) bool { return a.Currency == b.Currency && a.Amount.Equal(b.Amount) }
