package stripe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// CreateInvoice makes a draft that Stripe neither fills, finalises nor collects
// by itself.
func (g *Gateway) CreateInvoice(ctx context.Context, inv billing.ProviderInvoice) (string, error) {
	made, err := write(ctx, inv.IdempotencyKey, func(params sdk.Params) (*sdk.Invoice, error) {
		p := &sdk.InvoiceParams{
			Params:                      params,
			Customer:                    sdk.String(inv.Customer),
			Currency:                    currency(inv.Total),
			Description:                 sdk.String(describe(inv)),
			AutoAdvance:                 sdk.Bool(false),
			CollectionMethod:            sdk.String(inv.Collection),
			PendingInvoiceItemsBehavior: sdk.String("exclude"),
			Metadata:                    invoiceMetadata(inv),
		}
		if inv.Collection == billing.SendInvoice {
			p.DaysUntilDue = sdk.Int64(int64(inv.NetDays))
		}
		return g.api.Invoices.New(p)
	})
	if err != nil {
		return "", failure(err, "create invoice %s", inv.Invoice)
	}
	return made.ID, nil
}

func currency(m billing.Money) *string { return sdk.String(strings.ToLower(string(m.Currency))) }

func describe(inv billing.ProviderInvoice) string {
	if inv.Parts > 1 {
		return fmt.Sprintf("Invoice %s, part %d of %d", inv.Number, inv.Part, inv.Parts)
	}
	return "Invoice " + inv.Number
}

// invoiceMetadata is the mark by which an invoice of ours is found again, each
// part of one that is split by itself.
func invoiceMetadata(inv billing.ProviderInvoice) map[string]string {
	metadata := map[string]string{
		metaInstallation: inv.Installation, metaOrganization: inv.Organization, metaInvoice: inv.Invoice,
	}
	if inv.Parts > 1 {
		metadata[metaPart] = strconv.Itoa(inv.Part)
	}
	return metadata
}

// FindInvoice looks through the customer's invoices for ours. It lists and never
// searches: Stripe's search lags behind its writes.
func (g *Gateway) FindInvoice(ctx context.Context, inv billing.ProviderInvoice) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	invoices := g.api.Invoices.List(&sdk.InvoiceListParams{ListParams: listParams(ctx), Customer: sdk.String(inv.Customer)})
	for invoices.Next() {
		have := invoices.Invoice()
		if inv.MayBeThere && have.Status == sdk.InvoiceStatusVoid {
			continue // somebody has withdrawn it to have it made anew
		}
		if carries(have.Metadata, invoiceMetadata(inv)) {
			return have.ID, true, nil
		}
	}
	return "", false, failure(invoices.Err(), "list the invoices of %s", inv.Customer)
}

// AddItem adds an item to a draft.
func (g *Gateway) AddItem(ctx context.Context, item billing.ProviderItem) (string, error) {
	amount, err := item.Amount.Minor()
	if err != nil {
		return "", billing.Invalid("item %d of %s: %v", item.Number, item.Invoice, err)
	}
	if item.StripeInvoice == "" { // it would wait for whichever invoice comes next
		return "", billing.Invalid("item %d of %s: its invoice is not at Stripe yet", item.Number, item.Invoice)
	}
	made, err := write(ctx, item.IdempotencyKey, func(params sdk.Params) (*sdk.InvoiceItem, error) {
		return g.api.InvoiceItems.New(&sdk.InvoiceItemParams{
			Params:      params,
			Customer:    sdk.String(item.Customer),
			Invoice:     sdk.String(item.StripeInvoice),
			Amount:      sdk.Int64(amount),
			Currency:    currency(item.Amount),
			Description: sdk.String(item.Description),
			Period: &sdk.InvoiceItemPeriodParams{
				Start: sdk.Int64(item.PeriodStart.Unix()), End: sdk.Int64(item.PeriodEnd.Unix()),
			},
			Metadata: itemMetadata(item),
		})
	})
	if err != nil {
		return "", failure(err, "add item %d of %s", item.Number, item.Invoice)
	}
	return made.ID, nil
}

func itemMetadata(item billing.ProviderItem) map[string]string {
	organization, _, _ := strings.Cut(item.Invoice, "/")
	return map[string]string{
		metaInstallation: item.Installation, metaOrganization: organization,
		metaInvoice: item.Invoice, metaLine: item.Key,
	}
}

// FindItem looks through the items of the draft for ours.
func (g *Gateway) FindItem(ctx context.Context, item billing.ProviderItem) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	items := g.api.InvoiceItems.List(&sdk.InvoiceItemListParams{
		ListParams: listParams(ctx), Invoice: sdk.String(item.StripeInvoice),
	})
	for items.Next() {
		if have := items.InvoiceItem(); carries(have.Metadata, itemMetadata(item)) {
			return have.ID, true, nil
		}
	}
	return "", false, failure(items.Err(), "list the items of %s", item.Invoice)
}

// FinalizeInvoice makes the draft final; one that is final already is returned as
// it is. Stripe is told once more not to collect it by itself.
func (g *Gateway) FinalizeInvoice(ctx context.Context, inv billing.ProviderInvoice) (billing.ProviderInvoiceState, error) {
	made, err := write(ctx, inv.IdempotencyKey+"/finalize", func(params sdk.Params) (*sdk.Invoice, error) {
		p := &sdk.InvoiceFinalizeInvoiceParams{Params: params, AutoAdvance: sdk.Bool(false)}
		p.AddExpand("payment_intent")
		return g.api.Invoices.FinalizeInvoice(inv.StripeID, p)
	})
	if err == nil {
		return stateOf(made), nil
	}
	if _, refused := refusal(err); refused {
		state, lookErr := g.Invoice(ctx, inv.StripeID)
		if lookErr != nil || state.Status != string(sdk.InvoiceStatusDraft) {
			return state, lookErr
		}
	}
	return billing.ProviderInvoiceState{}, failure(err, "finalize %s, invoice %s", inv.StripeID, inv.Invoice)
}

// Invoice returns what Stripe says of an invoice now.
func (g *Gateway) Invoice(ctx context.Context, stripeID string) (billing.ProviderInvoiceState, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	have, err := g.retrieve(ctx, stripeID, "payment_intent")
	if err != nil {
		return billing.ProviderInvoiceState{}, err
	}
	state := stateOf(have)
	if intent := have.PaymentIntent; intent != nil && intent.LatestCharge != nil {
		err = g.charges(ctx, intent.ID, &state)
	}
	return state, err
}

func (g *Gateway) retrieve(ctx context.Context, stripeID string, expand ...string) (*sdk.Invoice, error) {
	if stripeID == "" { // Stripe would answer with a list
		return nil, billing.NotFound("the invoice is not at Stripe yet")
	}
	p := &sdk.InvoiceParams{Params: sdk.Params{Context: ctx}}
	for _, field := range expand {
		p.AddExpand(field)
	}
	have, err := g.api.Invoices.Get(stripeID, p)
	return have, failure(err, "retrieve %s", stripeID)
}

// charges counts how often an invoice was charged, how often that succeeded, and
// what it came to. Stripe's own attempt_count leaves out attempts that are made by
// hand, as all of ours are, but for the first.
func (g *Gateway) charges(ctx context.Context, intent string, state *billing.ProviderInvoiceState) error {
	var succeeded int64
	state.AttemptCount, state.Charges = 0, 0
	charges := g.api.Charges.List(&sdk.ChargeListParams{ListParams: listParams(ctx), PaymentIntent: sdk.String(intent)})
	for charges.Next() {
		state.AttemptCount++
		if charges.Charge().Status == sdk.ChargeStatusSucceeded {
			state.Charges++
			succeeded += charges.Charge().Amount
		}
	}
	state.Charged = billing.FromMinor(succeeded, state.Total.Currency)
	return failure(charges.Err(), "list the charges of %s", intent)
}

func stateOf(have *sdk.Invoice) billing.ProviderInvoiceState {
	c := billing.Currency(strings.ToUpper(string(have.Currency)))
	state := billing.ProviderInvoiceState{
		StripeID:        have.ID,
		Number:          have.Number,
		Status:          string(have.Status),
		Total:           billing.FromMinor(have.Total, c),
		AmountDue:       billing.FromMinor(have.AmountDue, c),
		AmountPaid:      billing.FromMinor(have.AmountPaid, c),
		AmountRemaining: billing.FromMinor(have.AmountRemaining, c),
		Charged:         billing.FromMinor(0, c),
		HostedURL:       have.HostedInvoiceURL,
	}
	if have.StatusTransitions != nil {
		state.PaidAt = instant(have.StatusTransitions.PaidAt)
	}
	if have.PaymentIntent != nil {
		state.PaymentIntentID = have.PaymentIntent.ID
		state.PaymentStatus, state.FailureCode = paymentOf(have.PaymentIntent)
	}
	return state
}

func instant(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}
