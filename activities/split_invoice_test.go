package activities_test

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
	"github.com/arrears-dev/arrears/internal/stripe"
	"github.com/arrears-dev/arrears/workflows"
)

var (
	october = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	tester  = billing.Actor{Name: "tester", Reason: "test"}
)

const octoberInvoice = "acme/2026-10-01"

// billed is the activities on a real database and the local Stripe, with the
// invoice of October issued.
type billed struct {
	*activities.Activities
	*postgres.Store
	t       *testing.T
	ctx     context.Context
	gateway *stripe.Gateway
	server  *fakestripe.Server
	api     *client.API
}

// bill bills so many million output tokens, at 5 USD each, released as told.
func bill(t *testing.T, millions int64, way billing.ReleaseWay, change ...func(*billing.Organization)) *billed {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	server, err := fakestripe.New(fakestripe.Options{Log: log})
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		server.Release()
		listener.Close()
		require.NoError(t, server.Close())
	})
	b := &billed{Store: postgres.New(pgtest.New(t)), t: t, ctx: t.Context(), server: server}
	b.gateway, err = stripe.New(stripe.Options{Key: "sk_test_local", APIBase: listener.URL, Log: log})
	require.NoError(t, err)
	backend := sdk.GetBackendWithConfig(sdk.APIBackend, &sdk.BackendConfig{URL: &listener.URL, LeveledLogger: &sdk.LeveledLogger{Level: sdk.LevelNull}})
	b.api = client.New("sk_test_local", &sdk.Backends{API: backend, Connect: backend, Uploads: backend})
	b.Activities = activities.New(b.Store, b.gateway, nil, log)

	_, err = b.LoadPriceBook(b.ctx, pricebook.Default(), tester)
	require.NoError(t, err)
	org := billing.Organization{
		ID: "acme", StartsAt: october, TestClock: true, Now: october, PaymentMethod: "pm_card_visa", Email: "billing@acme.example",
		DraftWindow: billing.DefaultDraftWindow, LateWindow: billing.DefaultLateWindow,
	}
	for _, c := range change {
		c(&org)
	}
	_, err = b.CreateOrganizations(b.ctx, []billing.Organization{org}, tester)
	require.NoError(t, err)
	event := billing.Event{
		ID: "e1", Organization: "acme", User: "u1", OccurredAt: october, Product: "chat", Model: "claude-haiku-4-5",
		ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
	}
	event.Quantities[billing.Output] = millions * 1_000_000
	_, err = b.StoreUsage(b.ctx, "acme", []billing.UsageItem{{Event: event, Raw: []byte(`{"id":"e1"}`)}})
	require.NoError(t, err)
	b.clock(october.AddDate(0, 1, 0))
	_, err = b.Activities.Accrue(b.ctx, workflows.CycleInput{Organization: "acme", Period: "2026-10-01"})
	require.NoError(t, err)
	b.clock(october.AddDate(0, 1, 1))
	issued := b.issue()
	if way != billing.ReleaseAsIs {
		require.Equal(t, billing.StatusParked, issued.Status)
		entry, err := b.RequestRelease(b.ctx, octoberInvoice, way, tester)
		require.NoError(t, err)
		require.NoError(t, b.Store.ReleaseInvoice(b.ctx, "acme", "2026-10-01", 1, entry))
		issued = b.issue()
	}
	require.Equal(t, billing.StatusOpen, issued.Status)
	return b
}

func (b *billed) clock(to time.Time) {
	b.t.Helper()
	require.NoError(b.t, b.SetClock(b.ctx, "acme", to))
}

func (b *billed) issue() billing.Issued {
	b.t.Helper()
	issued, err := b.Store.IssueInvoice(b.ctx, "acme", "2026-10-01", 1)
	require.NoError(b.t, err)
	return issued
}

// publish does what the invoicing of the period does, as often as it takes.
func (b *billed) publish() {
	b.t.Helper()
	for range 20 {
		if b.tryPublish() == nil {
			return
		}
	}
	require.NoError(b.t, b.tryPublish())
}

func (b *billed) tryPublish() error {
	issued := b.issue()
	if err := b.CreateProviderInvoice(b.ctx, issued.Invoice); err != nil {
		return err
	}
	for n := range issued.Items {
		if err := b.AddProviderItem(b.ctx, workflows.ItemRef{Invoice: issued.Invoice, Number: issued.ItemsBefore + n + 1}); err != nil {
			return err
		}
	}
	mismatch, err := b.FinalizeProviderInvoice(b.ctx, issued.Invoice)
	require.Empty(b.t, mismatch)
	return err
}

// collect takes the next step, as often as it takes.
func (b *billed) collect() billing.Collection {
	b.t.Helper()
	var err error
	for range 20 {
		var stands billing.Collection
		if stands, err = b.CollectInvoice(b.ctx, octoberInvoice); err == nil {
			return stands
		}
	}
	require.NoError(b.t, err)
	return billing.Collection{}
}

func (b *billed) show() billing.Invoice {
	b.t.Helper()
	invoice, err := b.Invoice(b.ctx, octoberInvoice, false)
	require.NoError(b.t, err)
	return invoice
}

// clean holds everything against everything, Stripe included.
func (b *billed) clean() {
	b.t.Helper()
	require.Empty(b.t, b.differences())
}

func (b *billed) differences() []postgres.Difference {
	b.t.Helper()
	found, err := b.Verify(b.ctx, "", "")
	require.NoError(b.t, err)
	there, err := b.VerifyProvider(b.ctx, "", b.gateway.Invoice)
	require.NoError(b.t, err)
	return append(found, there...)
}

// charged lists the charges at Stripe that succeeded, the newest first.
func (b *billed) charged() (amounts []int64) {
	b.t.Helper()
	charges := b.api.Charges.List(&sdk.ChargeListParams{})
	for charges.Next() {
		if c := charges.Charge(); c.Status == sdk.ChargeStatusSucceeded {
			amounts = append(amounts, c.Amount)
		}
	}
	require.NoError(b.t, charges.Err())
	return amounts
}

// 500,001 million tokens are 2,500,005 USD: three parts.
const threeParts = 500_001

func parts(invoice billing.Invoice) string {
	var all []string
	for _, p := range invoice.Parts {
		all = append(all, p.Amount.String()+" "+p.Status)
	}
	return strings.Join(all, ", ")
}

func TestAnInvoiceAboveTheLargestChargeIsCollectedInParts(t *testing.T) {
	t.Parallel()
	b := bill(t, threeParts, billing.ReleaseSplit)
	require.Equal(t, "833335.00 USD collected, 833335.00 USD waits, 833335.00 USD waits", parts(b.show()))
	for part := range 3 {
		issued := b.issue()
		require.Equal(t, part, issued.ItemsBefore)
		require.Equal(t, part < 2, issued.MoreParts)
		b.publish()
		b.publish() // another run of it changes nothing
		b.clean()
		b.collect()
		b.collect()
		require.Len(t, b.charged(), part+1)
		b.clean()
	}
	require.Equal(t, []int64{83_333_500, 83_333_500, 83_333_500}, b.charged())
	invoice := b.show()
	require.Equal(t, billing.StatusPaid, invoice.Status)
	require.Equal(t, "2500005.00 USD", invoice.AmountPaid.String())
	require.Equal(t, "833335.00 USD paid, 833335.00 USD paid, 833335.00 USD paid", parts(invoice))
	require.Equal(t, "released to be charged in 3 parts", invoice.CollectionReason)

	theirs, err := b.gateway.Invoice(b.ctx, invoice.Parts[0].StripeInvoiceID)
	require.NoError(t, err)
	require.Equal(t, "833335.00 USD", theirs.Total.String())
}

// Each fault strikes the same call of every part.
func TestNoFaultChargesAPartTwice(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"the invoice": "/v1/invoices", "the item": "/v1/invoiceitems", "its finalisation": "/v1/invoices/*/finalize", "the charge": "/v1/invoices/*/pay",
	} {
		for _, kind := range []fakestripe.FaultKind{fakestripe.FaultDrop, fakestripe.FaultError500, fakestripe.FaultRefuse} {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				b := bill(t, threeParts, billing.ReleaseSplit)
				for range 3 {
					b.server.Inject(fakestripe.Fault{Method: "POST", Path: path, Kind: kind, Times: 4})
					b.publish()
					b.collect()
				}
				require.Equal(t, billing.StatusPaid, b.show().Status)
				require.Len(t, b.charged(), 3)
				invoices := b.api.Invoices.List(&sdk.InvoiceListParams{})
				made := 0
				for invoices.Next() {
					made++
				}
				require.NoError(t, invoices.Err())
				require.Equal(t, 3, made)
				b.clean()
			})
		}
	}
}
