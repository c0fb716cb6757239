package stripe

import (
	"context"
	"regexp"
	"strconv"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/billing"
)

// sweptTypes are the events that are worth finding again where no webhook told
// of them. Stripe keeps events for 30 days, and takes up to 20 types.
var sweptTypes = []string{
	"invoice.paid", "invoice.payment_succeeded", "invoice.payment_failed", "invoice.payment_action_required",
	"invoice.voided", "invoice.marked_uncollectible",
	"payment_intent.processing", "payment_intent.partially_funded",
	"charge.refunded", "charge.refund.updated",
	"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
	"charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated",
}

// Events lists one page of what happened, the newest first, and how far the list
// is read then. An event is as much of a hint as one that is delivered.
func (g *Gateway) Events(ctx context.Context, page billing.SweepPage) ([]billing.ProviderEvent, billing.SweepPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	events := g.api.Events.List(&sdk.EventListParams{
		ListParams: pageParams(ctx, page), CreatedRange: span(page), Types: sdk.StringSlice(sweptTypes),
	})
	var found []billing.ProviderEvent
	for events.Next() {
		page.After = events.Event().ID
		page.Read++
		event, err := hint(*events.Event())
		if err != nil || event.Livemode != g.live {
			continue
		}
		found = append(found, event.hint())
	}
	page.Done = !events.Meta().HasMore
	return found, page, failure(events.Err(), "list the events")
}

// hint is what of an event counts.
func (e Event) hint() billing.ProviderEvent {
	return billing.ProviderEvent{
		ID: e.ID, Type: e.Type, ObjectID: e.ObjectID, CustomerID: e.CustomerID,
		StripeInvoiceID: e.InvoiceID, PaymentIntentID: e.IntentID, Created: e.Created,
	}
}

// Marked lists those of one page of invoices that carry an installation's mark,
// and how far the list is read then.
func (g *Gateway) Marked(ctx context.Context, installation string, page billing.SweepPage) ([]billing.ProviderMark, billing.SweepPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	invoices := g.api.Invoices.List(&sdk.InvoiceListParams{ListParams: pageParams(ctx, page), CreatedRange: span(page)})
	found, page, err := markedOf(invoices.Iter, installation, page, func(have *sdk.Invoice) (string, map[string]string, billing.ProviderMark) {
		return have.ID, have.Metadata, billing.ProviderMark{
			StripeID: have.ID, Installation: installation, Organization: have.Metadata[metaOrganization],
			Invoice: have.Metadata[metaInvoice], Part: markedPart(have), Number: markedNumber(have),
			Status: string(have.Status), Total: minor(have.Total, have.Currency), Created: instant(have.Created),
		}
	})
	return found, page, failure(err, "list the invoices")
}

// markedOf lists those of one page of objects that carry an installation's mark,
// and how far the list is read then. read tells an object's id, its metadata, and
// what is listed of it.
func markedOf[Object, Mark any](list *sdk.Iter, installation string, page billing.SweepPage,
	read func(Object) (id string, metadata map[string]string, mark Mark),
) (found []Mark, _ billing.SweepPage, _ error) {
	for list.Next() {
		id, metadata, mark := read(list.Current().(Object))
		page.After = id
		page.Read++
		if installation != "" && metadata[metaInstallation] == installation {
			found = append(found, mark)
		}
	}
	page.Done = !list.Meta().HasMore
	return found, page, list.Err()
}

// markedPart is which part of a split invoice this one is; 0 = it is a whole one.
func markedPart(have *sdk.Invoice) int {
	part, err := strconv.Atoi(have.Metadata[metaPart])
	if err != nil || part < 1 {
		return 0
	}
	return part
}

// markedNumber is our number of an invoice, which its description says; "" where
// somebody has written another one.
func markedNumber(have *sdk.Invoice) string {
	return ourNumber.FindString(have.Description)
}

var ourNumber = regexp.MustCompile(`\bINV-[0-9]{6,18}\b`)

// MarkedCustomers lists those of one page of customers that carry an
// installation's mark, and how far the list is read then. Stripe leaves out those
// on test clocks.
func (g *Gateway) MarkedCustomers(ctx context.Context, installation string, page billing.SweepPage) ([]billing.CustomerMark, billing.SweepPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	customers := g.api.Customers.List(&sdk.CustomerListParams{ListParams: pageParams(ctx, page), CreatedRange: span(page)})
	found, page, err := markedOf(customers.Iter, installation, page, func(have *sdk.Customer) (string, map[string]string, billing.CustomerMark) {
		mark := billing.CustomerMark{StripeID: have.ID, Organization: have.Metadata[metaOrganization], Created: instant(have.Created)}
		if have.TestClock != nil {
			mark.ClockID = have.TestClock.ID
		}
		return have.ID, have.Metadata, mark
	})
	return found, page, failure(err, "list the customers")
}

// pageParams ask for one page only: each is an activity of its own.
func pageParams(ctx context.Context, page billing.SweepPage) sdk.ListParams {
	params := listParams(ctx)
	params.Single = true
	if page.After != "" {
		params.StartingAfter = sdk.String(page.After)
	}
	return params
}

func span(page billing.SweepPage) *sdk.RangeQueryParams {
	return &sdk.RangeQueryParams{GreaterThanOrEqual: page.Since.Unix(), LesserThan: page.Until.Add(time.Second).Unix()}
}

// MethodKind tells what an organisation's invoices are charged to: card,
// us_bank_account, sepa_debit and so on; "" = nothing.
func (g *Gateway) MethodKind(ctx context.Context, customer string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p := &sdk.CustomerParams{Params: sdk.Params{Context: ctx}}
	p.AddExpand("invoice_settings.default_payment_method")
	have, err := g.api.Customers.Get(customer, p)
	switch {
	case err != nil:
		return "", failure(err, "retrieve %s", customer)
	case have.InvoiceSettings == nil || have.InvoiceSettings.DefaultPaymentMethod == nil:
		return "", nil
	}
	return string(have.InvoiceSettings.DefaultPaymentMethod.Type), nil
}
