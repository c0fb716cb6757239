package stripe_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// corrections is as much of a store as one correction needs: the intent is
// written down before it is carried out, and it is begun until something came of it.
type corrections struct {
	activities.Store
	invoice   billing.ProviderInvoice
	asked     billing.InvoiceCorrection
	came      *billing.CorrectionResult
	unknownID bool // the making of the invoice got no answer
}

// CheckBillingEnabled: billing is not stopped.
func (c *corrections) CheckBillingEnabled(context.Context) error { return nil }

func (c *corrections) BeginCollection(context.Context, string) (billing.ChargeStep, error) {
	if c.came != nil {
		return billing.ChargeStep{Do: billing.StepNone}, nil
	}
	step := billing.ChargeStep{
		Do: billing.StepCorrect, Invoice: c.invoice.Invoice, StripeInvoice: c.invoice.StripeID, Total: c.invoice.Total, Correction: c.asked,
	}
	if c.unknownID {
		step.StripeInvoice = ""
	}
	c.asked.Tried = true
	return step, nil
}

func (c *corrections) BeginProviderInvoice(context.Context, string) (billing.ProviderInvoice, error) {
	draft := c.invoice
	draft.StripeID = ""
	return draft, nil
}

func (c *corrections) RecordCorrection(_ context.Context, _ string, _ int64, r billing.CorrectionResult) (billing.Collection, error) {
	c.came = &r
	return billing.Collection{}, nil
}

func asked(kind billing.CorrectionKind, amount string, full bool) billing.InvoiceCorrection {
	correction := billing.InvoiceCorrection{ID: 7, Kind: kind, Full: full, Installation: installation, IdempotencyKey: "correct/" + installation + "/7"}
	if amount != "" {
		correction.Amount = usd(amount)
	}
	return correction
}

func (l *local) begin(t *testing.T, method string, correction billing.InvoiceCorrection) (*corrections, *activities.Activities) {
	t.Helper()
	store := &corrections{invoice: l.open(t, l.customer(t, method)), asked: correction}
	return store, activities.New(store, l.Gateway, nil, quiet())
}

// TestNoFaultCorrectsTwice lets each kind of fault strike each correction, and
// tries until something came of it.
func TestNoFaultCorrectsTwice(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		correction billing.InvoiceCorrection
		path       string
		status     string
		remaining  string
		notes      int
	}{
		"void":             {asked(billing.CorrectionVoid, "", false), "/v1/invoices/*/void", "void", "100.00 USD", 0},
		"write-off":        {asked(billing.CorrectionWriteOff, "", false), "/v1/invoices/*/mark_uncollectible", "uncollectible", "100.00 USD", 0},
		"paid elsewhere":   {asked(billing.CorrectionSettlement, "100", true), "/v1/invoices/*/pay", "paid", "0.00 USD", 0},
		"paid in part":     {asked(billing.CorrectionSettlement, "30", false), "/v1/credit_notes", "open", "70.00 USD", 1},
		"credited in part": {asked(billing.CorrectionCreditNote, "30", false), "/v1/credit_notes", "open", "70.00 USD", 1},
		"credited in full": {asked(billing.CorrectionCreditNote, "100", true), "/v1/credit_notes", "paid", "0.00 USD", 1},
	} {
		for fault, f := range map[string]fakestripe.Fault{
			"no fault": {}, "answer lost": {Kind: fakestripe.FaultDrop, Times: 4},
			"stored failure": {Kind: fakestripe.FaultError500}, "unavailable": {Kind: fakestripe.FaultRefuse, Times: 3},
		} {
			t.Run(what+", "+fault, func(t *testing.T) {
				t.Parallel()
				l, ctx := start(t), context.Background()
				store, a := l.begin(t, "pm_card_visa", c.correction)
				if f.Kind != "" {
					f.Method, f.Path = "POST", c.path
					l.server.Inject(f)
				}
				for try := 0; try < 8 && store.came == nil; try++ {
					_, err := a.CollectInvoice(ctx, store.invoice.Invoice)
					t.Log(try+1, err)
				}
				require.NotNil(t, store.came)
				require.True(t, store.came.Done, "%+v", store.came)
				state, err := l.Invoice(ctx, store.invoice.StripeID)
				require.NoError(t, err)
				require.Equal(t, c.status, state.Status)
				requireMoney(t, c.remaining, state.AmountRemaining)
				requireMoney(t, "100.00 USD", state.Total)
				require.Zero(t, state.Charges)
				notes := l.api.CreditNotes.List(nil)
				count := 0
				for notes.Next() {
					count++
					require.Equal(t, store.came.StripeID, notes.CreditNote().ID)
				}
				require.Equal(t, c.notes, count)
			})
		}
	}
}

func TestACorrectionIsDecidedByHowTheInvoiceStands(t *testing.T) {
	t.Parallel()
	pay := func(t *testing.T, l *local, inv billing.ProviderInvoice) {
		result, err := l.Pay(context.Background(), attempt(inv, 1, 0))
		require.NoError(t, err)
		require.NotEqual(t, billing.PaymentFailed, result.Status)
	}
	for name, c := range map[string]struct {
		method     string
		correction billing.InvoiceCorrection
		before     func(t *testing.T, l *local, inv billing.ProviderInvoice)
		done       bool
		refused    string
		state      string
	}{
		"a void of what was paid meanwhile":        {"pm_card_visa", asked(billing.CorrectionVoid, "", false), pay, false, "", "paid"},
		"a credit note on what was paid meanwhile": {"pm_card_visa", asked(billing.CorrectionCreditNote, "5", false), pay, false, "", "paid"},
		"a settlement of what was paid meanwhile":  {"pm_card_visa", asked(billing.CorrectionSettlement, "100", true), pay, false, "", "paid"},
		"a void of what is being paid by a debit":  {"pm_usBankAccount_success", asked(billing.CorrectionVoid, "", false), pay, false, "payment_intent_unexpected_state", "open"},
		"a credit note of more than remains there": {"pm_card_visa", asked(billing.CorrectionCreditNote, "100.01", false), nil, false, "greater than what is left", "open"},
		"a void of what somebody voided there":     {"pm_card_visa", asked(billing.CorrectionVoid, "", false), voidThere, true, "", ""},
		"a settlement of what was given up":        {"pm_card_visa", asked(billing.CorrectionSettlement, "100", true), giveUpThere, true, "", ""},
		"a part of what was given up":              {"pm_card_visa", asked(billing.CorrectionSettlement, "10", false), giveUpThere, false, "", "uncollectible"},
		"a write-off of what was voided there":     {"pm_card_visa", asked(billing.CorrectionWriteOff, "", false), voidThere, false, "", "void"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			store, a := l.begin(t, c.method, c.correction)
			if c.before != nil {
				c.before(t, l, store.invoice)
			}
			_, err := a.CollectInvoice(context.Background(), store.invoice.Invoice)
			require.NoError(t, err)
			require.Equal(t, c.done, store.came.Done)
			require.Contains(t, store.came.Refused, c.refused)
			require.Equal(t, c.refused == "", store.came.Refused == "")
			if c.state != "" {
				require.Equal(t, c.state, store.came.State.Status)
			}
		})
	}
}

func voidThere(t *testing.T, l *local, inv billing.ProviderInvoice) {
	_, err := l.api.Invoices.VoidInvoice(inv.StripeID, nil)
	require.NoError(t, err)
}

func giveUpThere(t *testing.T, l *local, inv billing.ProviderInvoice) {
	_, err := l.api.Invoices.MarkUncollectible(inv.StripeID, nil)
	require.NoError(t, err)
}

func TestADraftIsDeletedAndNotVoided(t *testing.T) {
	t.Parallel()
	for name, unknown := range map[string]bool{"known": false, "found, since its making got no answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, ctx := start(t), context.Background()
			customer := l.customer(t, "pm_card_visa")
			draft := draftOf(customer, "acme/2026-10-01")
			id, err := l.CreateInvoice(ctx, draft)
			require.NoError(t, err)
			draft.StripeID = id
			store := &corrections{invoice: draft, asked: asked(billing.CorrectionVoid, "", false), unknownID: unknown}
			l.server.Inject(fakestripe.Fault{Method: "DELETE", Path: "/v1/invoices/*", Kind: fakestripe.FaultDrop, Times: 1})
			a := activities.New(store, l.Gateway, nil, quiet())
			_, err = a.CollectInvoice(ctx, draft.Invoice)
			require.Error(t, err, "the answer was lost")
			_, err = a.CollectInvoice(ctx, draft.Invoice)
			require.NoError(t, err)
			require.True(t, store.came.Done)
			require.Empty(t, l.invoices(t, customer))
		})
	}
}
