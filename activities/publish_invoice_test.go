package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

var errNoAnswer = errors.New("no answer")

func TestCreateProviderInvoice(t *testing.T) {
	t.Parallel()
	tried := wall.Add(-time.Minute)
	for name, c := range map[string]struct {
		draft     billing.ProviderInvoice
		found     string
		fails     map[string][]error
		want      []string
		wantErr   string
		wantFinal bool
	}{
		"the first call creates": {
			draft: billing.ProviderInvoice{Customer: "cus_1"},
			want:  []string{"BeginProviderInvoice", "CreateInvoice", "RecordProviderInvoice in_made"},
		},
		"a recorded one is not made again": {
			draft: billing.ProviderInvoice{Customer: "cus_1", StripeID: "in_1", TriedAt: tried},
			want:  []string{"BeginProviderInvoice"},
		},
		"after a doubt the provider's is adopted": {
			draft: billing.ProviderInvoice{Customer: "cus_1", TriedAt: tried}, found: "in_found",
			want: []string{"BeginProviderInvoice", "FindInvoice", "AdoptProviderInvoice in_found"},
		},
		"after a doubt one that is not there is made": {
			draft: billing.ProviderInvoice{Customer: "cus_1", TriedAt: tried},
			want:  []string{"BeginProviderInvoice", "FindInvoice", "CreateInvoice", "RecordProviderInvoice in_made"},
		},
		"nothing is made while looking fails": {
			draft: billing.ProviderInvoice{Customer: "cus_1", TriedAt: tried}, fails: map[string][]error{"FindInvoice": {errNoAnswer}},
			want: []string{"BeginProviderInvoice", "FindInvoice"}, wantErr: "no answer",
		},
		"a call without an answer records nothing": {
			draft: billing.ProviderInvoice{Customer: "cus_1"}, fails: map[string][]error{"CreateInvoice": {errNoAnswer}},
			want: []string{"BeginProviderInvoice", "CreateInvoice"}, wantErr: "no answer",
		},
		"a key used for something else is final": {
			draft: billing.ProviderInvoice{Customer: "cus_1"},
			fails: map[string][]error{"CreateInvoice": {billing.Conflict("key reused")}},
			want:  []string{"BeginProviderInvoice", "CreateInvoice"}, wantErr: "key reused", wantFinal: true,
		},
		"a customer that is missing is made first": {
			want: []string{
				"BeginProviderInvoice", "Organization", "EnsureCustomer", "RecordCustomer cus_new clock_new",
				"CreateInvoice", "RecordProviderInvoice in_made",
			},
		},
		"a card that is refused does not hold up the invoice": {
			fails: map[string][]error{"EnsureCustomer": {billing.Invalid("declined")}},
			want: []string{
				"BeginProviderInvoice", "Organization", "EnsureCustomer", "RecordCustomer cus_new clock_new",
				"CreateInvoice", "RecordProviderInvoice in_made",
			},
		},
		"a customer without an answer is asked for again": {
			fails: map[string][]error{"EnsureCustomer": {errNoAnswer}},
			want:  []string{"BeginProviderInvoice", "Organization", "EnsureCustomer"}, wantErr: "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.store.invoice, r.store.org = c.draft, billing.Organization{ID: organization}
			r.provider.customer, r.provider.clock = "cus_new", "clock_new"
			r.provider.created, r.provider.found = "in_made", c.found
			if c.fails != nil {
				r.provider.fails = c.fails
			}
			requireErr(t, r.CreateProviderInvoice(context.Background(), invoice), c.wantErr, c.wantFinal)
			r.requireDid(t, c.want...)
		})
	}
}

func requireErr(t *testing.T, err error, text string, final bool) {
	t.Helper()
	if text == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, text)
	var app *temporal.ApplicationError
	require.Equal(t, final, errors.As(err, &app) && app.NonRetryable(), "final: %v", err)
}

func TestAddProviderItem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		item    billing.ProviderItem
		found   string
		fails   map[string][]error
		want    []string
		wantErr string
	}{
		"the first call adds":               {want: []string{"BeginProviderItem", "AddItem", "RecordProviderItem ii_made"}},
		"a recorded one is not added again": {item: billing.ProviderItem{StripeID: "ii_1", Tried: true}, want: []string{"BeginProviderItem"}},
		"after a doubt the provider's is adopted": {
			item: billing.ProviderItem{Tried: true}, found: "ii_found",
			want: []string{"BeginProviderItem", "FindItem", "RecordProviderItem ii_found"},
		},
		"after a doubt one that is not there is added": {
			item: billing.ProviderItem{Tried: true},
			want: []string{"BeginProviderItem", "FindItem", "AddItem", "RecordProviderItem ii_made"},
		},
		"nothing is added while looking fails": {
			item: billing.ProviderItem{Tried: true}, fails: map[string][]error{"FindItem": {errNoAnswer}},
			want: []string{"BeginProviderItem", "FindItem"}, wantErr: "no answer",
		},
		"a call without an answer records nothing": {
			fails: map[string][]error{"AddItem": {errNoAnswer}},
			want:  []string{"BeginProviderItem", "AddItem"}, wantErr: "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.store.item, r.provider.created, r.provider.found = c.item, "ii_made", c.found
			if c.fails != nil {
				r.provider.fails = c.fails
			}
			err := r.AddProviderItem(context.Background(), workflows.ItemRef{Invoice: invoice, Number: 1})
			requireErr(t, err, c.wantErr, false)
			r.requireDid(t, c.want...)
		})
	}
}

func TestFinalizeProviderInvoice(t *testing.T) {
	t.Parallel()
	state := func(status, total, due string) billing.ProviderInvoiceState {
		return billing.ProviderInvoiceState{Status: status, Total: usd(total), AmountDue: usd(due)}
	}
	euros := state("draft", "100", "100")
	euros.Total.Currency, euros.AmountDue.Currency = "EUR", "EUR"
	finalizes := []string{"BeginProviderFinalize", "Invoice", "FinalizeInvoice", "RecordProviderFinalized open"}
	looks := []string{"BeginProviderFinalize", "Invoice"}
	for name, c := range map[string]struct {
		done         bool
		before       billing.ProviderInvoiceState
		after        billing.ProviderInvoiceState
		fails        map[string][]error
		want         []string
		wantMismatch string
		wantErr      string
	}{
		"a draft that agrees is finalised": {before: state("draft", "100.00", "100"), after: state("open", "100", "100"), want: finalizes},
		"one recorded as final is left":    {done: true, want: []string{"BeginProviderFinalize"}},
		"one finalised before is adopted": {
			before: state("open", "100", "100"), want: []string{"BeginProviderFinalize", "Invoice", "RecordProviderFinalized open"},
		},
		"one paid meanwhile is adopted": {
			before: state("paid", "100", "100"), want: []string{"BeginProviderFinalize", "Invoice", "RecordProviderFinalized paid"},
		},
		"a draft with another total is not finalised": {
			before: state("draft", "99.99", "99.99"), want: looks, wantMismatch: "the provider's total is 99.99 USD, ours is 100.00 USD",
		},
		"a draft in another currency is not finalised": {before: euros, want: looks, wantMismatch: "100.00 EUR"},
		"a customer's balance is not used up": {
			before: state("draft", "100", "90"), want: looks, wantMismatch: "the provider wants 90.00 USD",
		},
		"a void one is not collected": {
			before: state("void", "100", "100"), want: looks, wantMismatch: "the provider's invoice is void",
		},
		"an uncollectible one is not collected": {
			before: state("uncollectible", "100", "100"), want: looks, wantMismatch: "is uncollectible",
		},
		"what finalising changed is not collected": {
			before: state("draft", "100", "100"), after: state("open", "119", "119"),
			want: []string{"BeginProviderFinalize", "Invoice", "FinalizeInvoice"}, wantMismatch: "119.00 USD",
		},
		"nothing is finalised while looking fails": {
			fails: map[string][]error{"Invoice": {errNoAnswer}}, want: looks, wantErr: "no answer",
		},
		"a call without an answer records nothing": {
			before: state("draft", "100", "100"), fails: map[string][]error{"FinalizeInvoice": {errNoAnswer}},
			want: []string{"BeginProviderFinalize", "Invoice", "FinalizeInvoice"}, wantErr: "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.store.finalize = billing.ProviderInvoice{Total: usd("100.00"), StripeID: "in_1", Finalized: c.done}
			r.provider.states, r.provider.finalized = []billing.ProviderInvoiceState{c.before}, c.after
			if c.fails != nil {
				r.provider.fails = c.fails
			}
			mismatch, err := r.FinalizeProviderInvoice(context.Background(), invoice)
			requireErr(t, err, c.wantErr, false)
			if c.wantMismatch == "" {
				require.Empty(t, mismatch)
			}
			require.Contains(t, mismatch, c.wantMismatch)
			r.requireDid(t, c.want...)
		})
	}
}
