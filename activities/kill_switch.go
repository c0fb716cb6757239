package activities

import (
	"context"

	"github.com/arrears-dev/arrears/internal/billing"
)

// killSwitch is a provider to which nothing is written while all billing is
// stopped: each write asks right before it would be made.
type killSwitch struct {
	Provider
	store Store
}

// EnsureCustomer implements Provider.
func (s killSwitch) EnsureCustomer(ctx context.Context, installation string, org billing.Organization) (customer, clock string, err error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return "", "", err
	}
	return s.Provider.EnsureCustomer(ctx, installation, org)
}

// CreateInvoice implements Provider.
func (s killSwitch) CreateInvoice(ctx context.Context, invoice billing.ProviderInvoice) (stripeID string, err error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return "", err
	}
	return s.Provider.CreateInvoice(ctx, invoice)
}

// AddItem implements Provider.
func (s killSwitch) AddItem(ctx context.Context, item billing.ProviderItem) (stripeID string, err error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return "", err
	}
	return s.Provider.AddItem(ctx, item)
}

// FinalizeInvoice implements Provider.
func (s killSwitch) FinalizeInvoice(ctx context.Context, invoice billing.ProviderInvoice) (billing.ProviderInvoiceState, error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return billing.ProviderInvoiceState{}, err
	}
	return s.Provider.FinalizeInvoice(ctx, invoice)
}

// Pay implements Provider. An attempt that is refused here stays unknown, and is
// made once billing goes on.
func (s killSwitch) Pay(ctx context.Context, step billing.ChargeStep) (billing.ChargeResult, error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return billing.ChargeResult{}, err
	}
	return s.Provider.Pay(ctx, step)
}

// Correct implements Provider.
func (s killSwitch) Correct(ctx context.Context, step billing.ChargeStep) (creditNote string, err error) {
	if err := s.store.CheckBillingEnabled(ctx); err != nil {
		return "", err
	}
	return s.Provider.Correct(ctx, step)
}
