package fakestripe_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
)

func TestAnInvoiceIsDraftedFinalizedAndPaid(t *testing.T) {
	t.Parallel()
	l := start(t)
	c, err := l.Customers.New(&stripe.CustomerParams{
		Name: str("Acme"), Email: str("billing@acme.test"), Metadata: map[string]string{"org": "acme"},
	})
	require.NoError(t, err)
	pm, err := l.PaymentMethods.Attach("pm_card_visa", &stripe.PaymentMethodAttachParams{Customer: &c.ID})
	require.NoError(t, err)
	require.NotEqual(t, "pm_card_visa", pm.ID)
	require.Equal(t, "4242", pm.Card.Last4)
	_, err = l.Customers.Update(c.ID, &stripe.CustomerParams{
		InvoiceSettings: &stripe.CustomerInvoiceSettingsParams{DefaultPaymentMethod: &pm.ID},
	})
	require.NoError(t, err)

	inv, err := l.Invoices.New(&stripe.InvoiceParams{
		Customer: &c.ID, Currency: str("usd"), AutoAdvance: stripe.Bool(false), Description: str("September"),
		CollectionMethod: str("charge_automatically"), PendingInvoiceItemsBehavior: str("exclude"),
		Metadata: map[string]string{"run_id": "r1"},
	})
	require.NoError(t, err)
	require.Equal(t, stripe.InvoiceStatusDraft, inv.Status)
	item, err := l.InvoiceItems.New(&stripe.InvoiceItemParams{
		Customer: &c.ID, Invoice: &inv.ID, Amount: stripe.Int64(1234), Currency: str("usd"), Description: str("Usage"),
		Metadata: map[string]string{"line": "usage/1"}, Period: &stripe.InvoiceItemPeriodParams{
			Start: stripe.Int64(1_700_000_000), End: stripe.Int64(1_702_000_000),
		},
	})
	require.NoError(t, err)
	_, err = l.InvoiceItems.New(&stripe.InvoiceItemParams{
		Customer: &c.ID, Invoice: &inv.ID, UnitAmount: stripe.Int64(100), Quantity: stripe.Int64(3), Currency: str("usd"),
	})
	require.NoError(t, err)

	inv, err = l.Invoices.FinalizeInvoice(inv.ID, &stripe.InvoiceFinalizeInvoiceParams{AutoAdvance: stripe.Bool(false)})
	require.NoError(t, err)
	require.Equal(t, stripe.InvoiceStatusOpen, inv.Status)
	require.Equal(t, c.InvoicePrefix+"-0001", inv.Number)
	require.EqualValues(t, 1534, inv.AmountDue)
	require.NotZero(t, inv.StatusTransitions.FinalizedAt)
	require.NotEmpty(t, inv.HostedInvoiceURL)
	require.Len(t, inv.Lines.Data, 2)
	require.Equal(t, item.ID, inv.Lines.Data[0].InvoiceItem.ID)
	require.Equal(t, "usage/1", inv.Lines.Data[0].Metadata["line"])
	require.EqualValues(t, 1_702_000_000, inv.Lines.Data[0].Period.End)

	p := &stripe.InvoicePayParams{OffSession: stripe.Bool(true)}
	p.AddExpand("payment_intent.latest_charge")
	paid, err := l.Invoices.Pay(inv.ID, p)
	require.NoError(t, err)
	require.Equal(t, stripe.InvoiceStatusPaid, paid.Status)
	require.True(t, paid.Paid)
	require.EqualValues(t, 1534, paid.AmountPaid)
	require.Zero(t, paid.AmountRemaining)
	require.EqualValues(t, 1, paid.AttemptCount)
	require.Equal(t, "r1", paid.Metadata["run_id"])
	require.Equal(t, stripe.PaymentIntentStatusSucceeded, paid.PaymentIntent.Status)
	require.EqualValues(t, 1534, paid.PaymentIntent.LatestCharge.AmountCaptured)
	require.False(t, paid.Livemode)

	require.Equal(t, []string{
		"invoice.created", "payment_intent.created", "invoice.updated", "invoice.finalized", "charge.succeeded",
		"payment_intent.succeeded", "invoice.updated", "invoice.paid", "invoice.payment_succeeded",
	}, l.events(t, "invoice.*", "payment_intent.*", "charge.*"))
}

func TestOnlyTheDocumentedEdgesOfAnInvoiceExist(t *testing.T) {
	t.Parallel()
	l := start(t)
	steps := map[string]func(id string) error{
		"finalize": func(id string) error { _, err := l.Invoices.FinalizeInvoice(id, nil); return err },
		"pay":      func(id string) error { _, err := l.Invoices.Pay(id, nil); return err },
		"void":     func(id string) error { _, err := l.Invoices.VoidInvoice(id, nil); return err },
		"uncollectible": func(id string) error {
			_, err := l.Invoices.MarkUncollectible(id, nil)
			return err
		},
		"delete": func(id string) error { _, err := l.Invoices.Del(id, nil); return err },
		"edit": func(id string) error {
			_, err := l.Invoices.Update(id, &stripe.InvoiceParams{Description: str("new")})
			return err
		},
	}
	allowed := map[string][]string{
		"draft":         {"finalize", "pay", "delete", "edit"},
		"open":          {"pay", "void", "uncollectible"},
		"paid":          {},
		"void":          {},
		"uncollectible": {"pay", "void"},
	}
	reach := map[string][]string{
		"draft": {}, "open": {"finalize"}, "paid": {"finalize", "pay"}, "void": {"finalize", "void"},
		"uncollectible": {"finalize", "uncollectible"},
	}
	c := l.customer(t, "pm_card_visa")
	for from, way := range reach {
		for step, take := range steps {
			inv := l.draft(t, c.ID, 1000)
			for _, s := range way {
				require.NoError(t, steps[s](inv.ID))
			}
			require.EqualValues(t, from, l.invoice(t, inv.ID).Status)
			err := take(inv.ID)
			if contains(allowed[from], step) {
				require.NoError(t, err, "%s → %s", from, step)
				continue
			}
			require.Equal(t, http.StatusBadRequest, status(err), "%s → %s", from, step)
			require.EqualValues(t, from, l.invoice(t, inv.ID).Status)
		}
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func TestMetadataOfAFinalizedInvoiceCanChange(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.finalized(t, l.customer(t, "").ID, 1000)
	inv, err := l.Invoices.Update(inv.ID, &stripe.InvoiceParams{Metadata: map[string]string{"a": "1", "b": "2"}})
	require.NoError(t, err)
	inv, err = l.Invoices.Update(inv.ID, &stripe.InvoiceParams{Metadata: map[string]string{"a": ""}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"b": "2"}, inv.Metadata)
}

func TestAnInvoiceOfNothingIsPaidAtOnce(t *testing.T) {
	t.Parallel()
	l := start(t)
	inv := l.finalized(t, l.customer(t, "").ID, 500, -500)
	require.Equal(t, stripe.InvoiceStatusPaid, inv.Status)
	require.Nil(t, inv.PaymentIntent)
	require.Nil(t, inv.Charge)
	require.Zero(t, inv.AttemptCount)
}

func TestAnAmountTooSmallMovesToTheBalanceOfTheNextInvoice(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	small := l.finalized(t, c.ID, 49)
	require.Equal(t, stripe.InvoiceStatusPaid, small.Status)
	require.EqualValues(t, 49, small.Total)
	require.Zero(t, small.AmountDue)
	require.EqualValues(t, 49, small.EndingBalance)
	require.Nil(t, small.Charge)

	next := l.finalized(t, c.ID, 1000)
	require.EqualValues(t, 49, next.StartingBalance)
	require.EqualValues(t, 1049, next.AmountDue)
	require.Zero(t, next.EndingBalance)
	_, err := l.Invoices.Pay(next.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1049, l.charges(t, c.ID)[0].Amount)
}

func TestACreditBalanceIsUsedAndGivenBackByAVoid(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	credit := l.finalized(t, c.ID, -300)
	require.Equal(t, stripe.InvoiceStatusPaid, credit.Status)
	inv := l.finalized(t, c.ID, 1000)
	require.EqualValues(t, -300, inv.StartingBalance)
	require.EqualValues(t, 700, inv.AmountDue)
	_, err := l.Invoices.VoidInvoice(inv.ID, nil)
	require.NoError(t, err)
	got, err := l.Customers.Get(c.ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, -300, got.Balance)
	require.Equal(t, stripe.PaymentIntentStatusCanceled, l.intent(t, inv).Status)
}

func TestAnAmountTooLargeIsNeverCharged(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.finalized(t, c.ID, 99_999_999, 1)
	_, err := l.Invoices.Pay(inv.ID, nil)
	require.Equal(t, stripe.ErrorCodeAmountTooLarge, code(err))
	require.Empty(t, l.charges(t, c.ID))
	require.Zero(t, l.invoice(t, inv.ID).AttemptCount)
	paid, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{PaidOutOfBand: stripe.Bool(true)})
	require.NoError(t, err)
	require.True(t, paid.PaidOutOfBand)
	require.False(t, paid.Attempted)
	require.Equal(t, stripe.InvoiceStatusPaid, paid.Status)

	most := l.finalized(t, c.ID, 99_999_999)
	_, err = l.Invoices.Pay(most.ID, nil)
	require.NoError(t, err)
}

func TestAnInvoiceTakes250Items(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	inv := l.draft(t, c.ID)
	for i := range 251 {
		_, err := l.InvoiceItems.New(&stripe.InvoiceItemParams{
			Customer: &c.ID, Invoice: &inv.ID, Amount: stripe.Int64(int64(i)), Currency: str("usd"),
		})
		require.Equal(t, i < 250, err == nil, "item %d: %v", i, err)
	}
	got := l.invoice(t, inv.ID)
	require.Len(t, got.Lines.Data, 10)
	require.True(t, got.Lines.HasMore)
	require.EqualValues(t, 249*250/2, got.Total)
	next := int64(0)
	for it := l.Invoices.ListLines(&stripe.InvoiceListLinesParams{Invoice: &inv.ID}); it.Next(); next++ {
		require.Equal(t, next, it.InvoiceLineItem().Amount)
	}
	require.EqualValues(t, 250, next)
}

func TestPendingItemsAreIncludedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	_, err := l.InvoiceItems.New(&stripe.InvoiceItemParams{Customer: &c.ID, Amount: stripe.Int64(700), Currency: str("usd")})
	require.NoError(t, err)
	without, err := l.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID})
	require.NoError(t, err)
	require.Zero(t, without.Total)
	with, err := l.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, PendingInvoiceItemsBehavior: str("include")})
	require.NoError(t, err)
	require.EqualValues(t, 700, with.Total)
}

func TestAnItemOfADraftCanChangeAndGo(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	inv := l.draft(t, c.ID, 100, 200)
	var items []*stripe.InvoiceItem
	for it := l.InvoiceItems.List(&stripe.InvoiceItemListParams{Invoice: &inv.ID}); it.Next(); {
		items = append(items, it.InvoiceItem())
	}
	require.Len(t, items, 2)
	_, err := l.InvoiceItems.Update(items[0].ID, &stripe.InvoiceItemParams{Amount: stripe.Int64(250)})
	require.NoError(t, err)
	_, err = l.InvoiceItems.Del(items[1].ID, nil)
	require.NoError(t, err)
	require.EqualValues(t, 250, l.invoice(t, inv.ID).Total)
	_, err = l.Invoices.FinalizeInvoice(inv.ID, nil)
	require.NoError(t, err)
	_, err = l.InvoiceItems.Del(items[0].ID, nil)
	require.Equal(t, stripe.ErrorCodeInvoiceNotEditable, code(err))
	_, err = l.InvoiceItems.New(&stripe.InvoiceItemParams{
		Customer: &c.ID, Invoice: &inv.ID, Amount: stripe.Int64(1), Currency: str("usd"),
	})
	require.Equal(t, stripe.ErrorCodeInvoiceNotEditable, code(err))
}

func TestASentInvoiceHasADueDate(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	_, err := l.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, CollectionMethod: str("send_invoice")})
	require.Equal(t, http.StatusBadRequest, status(err))
	_, err = l.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, DaysUntilDue: stripe.Int64(30)})
	require.Equal(t, http.StatusBadRequest, status(err))
	_, err = l.Invoices.New(&stripe.InvoiceParams{
		Customer: &c.ID, CollectionMethod: str("send_invoice"), DueDate: stripe.Int64(l.wall.now().Add(-day).Unix()),
	})
	require.Equal(t, http.StatusBadRequest, status(err))
	inv, err := l.Invoices.New(&stripe.InvoiceParams{
		Customer: &c.ID, CollectionMethod: str("send_invoice"), DaysUntilDue: stripe.Int64(30),
	})
	require.NoError(t, err)
	require.Equal(t, inv.Created+int64(30*day/time.Second), inv.DueDate)
}

func TestInvoicesAreFoundByMetadata(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "")
	for i := range 3 {
		_, err := l.Invoices.New(&stripe.InvoiceParams{
			Customer: &c.ID, Metadata: map[string]string{"period": fmt.Sprint(i % 2)},
		})
		require.NoError(t, err)
	}
	l.wall.pass(time.Minute)
	count := 0
	it := l.Invoices.Search(&stripe.InvoiceSearchParams{SearchParams: stripe.SearchParams{
		Query: fmt.Sprintf("metadata['period']:'0' AND customer:'%s' AND status:'draft'", c.ID), Limit: stripe.Int64(1),
	}})
	for it.Next() {
		require.Equal(t, "0", it.Invoice().Metadata["period"])
		count++
	}
	require.NoError(t, it.Err())
	require.Equal(t, 2, count)
}

func TestADraftThatAdvancesByItselfIsFinalizedAndChargedAfterAnHour(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	inv := l.draft(t, c.ID, 1000)
	inv, err := l.Invoices.Update(inv.ID, &stripe.InvoiceParams{AutoAdvance: stripe.Bool(true)})
	require.NoError(t, err)
	require.Equal(t, inv.Created+3600, inv.NextPaymentAttempt)
	l.wall.pass(59 * time.Minute)
	require.Equal(t, stripe.InvoiceStatusDraft, l.invoice(t, inv.ID).Status)
	l.wall.pass(time.Minute)
	l.customer(t, "") // any request lets the time pass
	require.Equal(t, stripe.InvoiceStatusPaid, l.invoice(t, inv.ID).Status)
}
