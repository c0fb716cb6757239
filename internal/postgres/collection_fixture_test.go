package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// octoberInvoice is the invoice that collecting fixtures begin with: one seat, 20 USD.
const octoberInvoice = "acme/2026-10-01"

// issuedAt is when the fixtures' invoice of October is issued.
var issuedAt = october.AddDate(0, 1, 1)

// newIssued is a fixture with the open invoice of October, not at the provider yet.
func newIssued(t *testing.T, change ...func(*billing.Organization)) *fixture {
	t.Helper()
	card := func(o *billing.Organization) { o.PaymentMethod, o.Email = "pm_first", "billing@acme.example" }
	f := newFixture(t, append([]func(*billing.Organization){card}, change...)...)
	f.seat("u1", "chat", false)
	f.endOctober()
	require.Equal(t, billing.StatusOpen, f.issueOctober().Status)
	return f
}

// newPublished is a fixture with the open invoice of October at the provider.
func newPublished(t *testing.T, change ...func(*billing.Organization)) *fixture {
	t.Helper()
	f := newIssued(t, change...)
	f.publish(octoberInvoice, "in_1")
	return f
}

// issueNovember ends November and issues its invoice.
func (f *fixture) issueNovember() billing.Issued {
	f.t.Helper()
	f.clock(october.AddDate(0, 2, 1))
	_, err := f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(f.t, err)
	f.clock(october.AddDate(0, 2, 2))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(f.t, err)
	return issued
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func bySend(days int) func(*billing.Organization) {
	return func(o *billing.Organization) { o.Collection, o.NetDays = billing.SendInvoice, days }
}

// publish does what the activities do to make an invoice known to the provider.
func (f *fixture) publish(invoice, stripeID string) {
	f.t.Helper()
	require.NoError(f.t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	draft, err := f.BeginProviderInvoice(f.ctx, invoice)
	require.NoError(f.t, err)
	require.NoError(f.t, f.RecordProviderInvoice(f.ctx, invoice, stripeID))
	var items int
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM provider_items WHERE invoice_id = $1`, invoice).Scan(&items))
	for n := 1; n <= items; n++ {
		_, err := f.BeginProviderItem(f.ctx, invoice, n)
		require.NoError(f.t, err)
		require.NoError(f.t, f.RecordProviderItem(f.ctx, invoice, n, fmt.Sprintf("ii_%s_%d", stripeID, n)))
	}
	_, err = f.BeginProviderFinalize(f.ctx, invoice)
	require.NoError(f.t, err)
	state := billing.ProviderInvoiceState{StripeID: stripeID, Status: "open", Total: draft.Total, AmountDue: draft.Total}
	require.NoError(f.t, f.RecordProviderFinalized(f.ctx, invoice, state))
}

func (f *fixture) begin() billing.ChargeStep {
	f.t.Helper()
	step, err := f.BeginCollection(f.ctx, octoberInvoice)
	require.NoError(f.t, err)
	return step
}

// charge begins a step, which must be a charge, and answers it.
func (f *fixture) charge(result billing.ChargeResult) billing.Collection {
	f.t.Helper()
	step := f.begin()
	require.Equal(f.t, billing.StepCharge, step.Do)
	return f.answer(step.Attempt, result)
}

func (f *fixture) answer(attempt int, result billing.ChargeResult) billing.Collection {
	f.t.Helper()
	state, err := f.RecordCharge(f.ctx, octoberInvoice, attempt, result)
	require.NoError(f.t, err)
	return state
}

// provider records what the provider says of October's invoice.
func (f *fixture) provider(state billing.ProviderInvoiceState) billing.Collection {
	f.t.Helper()
	state.StripeID = "in_1"
	stands, err := f.RecordProviderState(f.ctx, octoberInvoice, state)
	require.NoError(f.t, err)
	return stands
}

// event has the provider tell of October's invoice.
func (f *fixture) event(id, eventType string) {
	f.t.Helper()
	isNew, err := f.RecordStripeEvent(f.ctx, postgres.StripeEvent{
		ID: id, Type: eventType, ObjectID: "in_1", CustomerID: "cus_1", StripeInvoiceID: "in_1", Created: october,
	})
	require.NoError(f.t, err)
	require.True(f.t, isNew)
}

func (f *fixture) invoice() billing.Invoice {
	f.t.Helper()
	invoice, err := f.Invoice(f.ctx, octoberInvoice, false)
	require.NoError(f.t, err)
	return invoice
}

// payments lists attempt, status and failure code of every payment.
func (f *fixture) payments() []string {
	f.t.Helper()
	rows, err := f.Payments(f.ctx, "acme")
	require.NoError(f.t, err)
	list := []string{}
	for _, p := range rows {
		text := fmt.Sprintf("%d %s", p.Attempt, p.Status)
		if p.FailureCode != "" {
			text += " " + p.FailureCode
		}
		list = append(list, text)
	}
	return list
}

// paymentNotices lists attempt and kind of every payment notice, and how many
// days after the invoice was issued the next attempt is.
func (f *fixture) paymentNotices() []string {
	f.t.Helper()
	rows, err := f.PaymentNotices(f.ctx, "acme")
	require.NoError(f.t, err)
	list := []string{}
	for _, n := range rows {
		text := fmt.Sprintf("%d %s", n.Attempt, n.Kind)
		if n.NextAt != nil {
			text += fmt.Sprintf(" next day %s", days(*n.NextAt))
		}
		list = append(list, text)
	}
	return list
}

// days is how many days after October's invoice was issued an instant lies.
func days(at time.Time) string {
	return decimal.NewFromInt(int64(at.Sub(issuedAt))).Div(decimal.NewFromInt(int64(24 * time.Hour))).Round(2).String()
}

func (f *fixture) nudges(workflow string) (n int) {
	f.t.Helper()
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM outbox WHERE workflow_id = $1`, workflow).Scan(&n))
	return n
}

func (f *fixture) clean() {
	f.t.Helper()
	found, err := f.Verify(f.ctx, "", "")
	require.NoError(f.t, err)
	require.Empty(f.t, found)
}

var (
	insufficient = billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "insufficient_funds", PaymentIntentID: "pi_1", AttemptCount: 1}
	stolen       = billing.ChargeResult{Status: billing.PaymentFailed, FailureCode: "stolen_card", PaymentIntentID: "pi_1", AttemptCount: 1}
	succeeded    = billing.ChargeResult{Status: billing.PaymentSucceeded, PaymentIntentID: "pi_1", ChargeID: "ch_1", AttemptCount: 1}
	processing   = billing.ChargeResult{Status: billing.PaymentProcessing, PaymentIntentID: "pi_1"}
	wantsAction  = billing.ChargeResult{Status: billing.PaymentRequiresAction, FailureCode: "authentication_required", PaymentIntentID: "pi_1"}
)
