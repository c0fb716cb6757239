package postgres_test

import (
	"fmt"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

var (
	ann = billing.Actor{Name: "ann", Reason: "looked at it"}
	ben = billing.Actor{Name: "ben", Reason: "looked, too"}
)

// afterOctober is a fixture whose October was billed over 20 USD and whose
// November is over, with usage over so many USD.
func afterOctober(t *testing.T, usage int64, change ...func(*billing.Organization)) *fixture {
	t.Helper()
	f := newFixture(t, change...)
	f.store(use("october", "u1", october, 4_000_000))
	f.endOctober()
	f.issueOctober()
	f.store(use("november", "u1", october.AddDate(0, 1, 1), usage*200_000))
	f.endPeriod("2026-11-01", october.AddDate(0, 2, 0))
	f.clock(october.AddDate(0, 2, 1))
	return f
}

func (f *fixture) tryNovember() billing.Issued {
	f.t.Helper()
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(f.t, err)
	return issued
}

// release does what a person's release does: the request, and the workflow's
// activity, which may run more than once.
func (f *fixture) release(invoice string, bankTransfer bool, by billing.Actor) {
	f.t.Helper()
	way := billing.ReleaseAsIs
	if bankTransfer {
		way = billing.ReleaseByBankTransfer
	}
	f.releaseBy(invoice, way, by)
}

func (f *fixture) releaseBy(invoice string, way billing.ReleaseWay, by billing.Actor) {
	f.t.Helper()
	entry, err := f.RequestRelease(f.ctx, invoice, way, by)
	require.NoError(f.t, err)
	org, period, revision, err := billing.ParseInvoiceID(invoice)
	require.NoError(f.t, err)
	for range 2 {
		require.NoError(f.t, f.ReleaseInvoice(f.ctx, org, period, revision, entry))
	}
}

const novemberInvoice = "acme/2026-11-01"

func TestAPriceTypedTooHighParksTheInvoiceUntilSomebodyReleasesIt(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	issued := f.tryNovember()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Equal(t, "charges of 1001.00 USD are more than 10 times the 20.00 USD to be expected after the period before: "+
		"look at it, then starter invoices release acme/2026-11-01", issued.Reason)
	drafts, err := f.DraftInvoices(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Equal(t, billing.StatusParked, drafts[0].Status)
	require.Equal(t, issued.Reason, drafts[0].ParkedReason)
	require.Equal(t, 1, f.count("invoices"), "nothing is stored")

	f.release(novemberInvoice, false, ann)
	require.Equal(t, 1, f.count("invoice_releases"), "a request counts once")
	require.Equal(t, 1, f.nudges("invoice/"+novemberInvoice))
	issued = f.tryNovember()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "1001.00 USD", issued.Total.String())
	_, err = f.RequestRelease(f.ctx, novemberInvoice, billing.ReleaseAsIs, ann)
	require.ErrorContains(t, err, "is issued: there is nothing to release")
	f.clean()
}

func TestAnotherOrganizationsInvoiceGoesOnWhileOneIsParked(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	f.create(billing.Organization{ID: "globex", StartsAt: october, TestClock: true, Now: october.AddDate(0, 2, 0)})
	_, err := f.Accrue(f.ctx, "globex", "")
	require.NoError(t, err)
	require.NoError(t, f.SetClock(f.ctx, "globex", october.AddDate(0, 2, 1)))
	require.Equal(t, billing.StatusParked, f.tryNovember().Status)
	issued, err := f.IssueInvoice(f.ctx, "globex", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusSettled, issued.Status)
}

func TestAReleasedInvoiceThatGrewBeyondItsReleaseIsParkedAgain(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	f.tryNovember()
	f.release(novemberInvoice, false, ann)
	f.store(use("late", "u1", october.AddDate(0, 1, 2), 5_000_000)) // 25 USD, 2.5 %
	issued := f.tryNovember()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "charges of 1026.00 USD")
	f.release(novemberInvoice, false, ann)
	f.store(use("later", "u1", october.AddDate(0, 1, 2), 1_000_000)) // 5 USD, within 1 %
	require.Equal(t, "1031.00 USD", f.tryNovember().Total.String())
}

func TestAboveASetTotalTwoPeopleMustRelease(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	f.SetBounds(billing.Bounds{FourEyes: decimal.NewNullDecimal(decimal.NewFromInt(1000))})
	require.Contains(t, f.tryNovember().Reason, "two people look at it")
	f.release(novemberInvoice, false, ann)
	written := f.count("audit_log")
	again, err := f.RequestRelease(f.ctx, novemberInvoice, billing.ReleaseAsIs, ann)
	require.NoError(t, err)
	require.Zero(t, again, "the same person's second one is none")
	require.Equal(t, written, f.count("audit_log"))
	issued := f.tryNovember()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "released by 1 of 2 people")
	require.NotContains(t, issued.Reason, "ann", "histories name nobody")
	f.release(novemberInvoice, false, ben)
	require.Equal(t, billing.StatusOpen, f.tryNovember().Status)
}

func TestAnOrganizationsOwnBoundsComeFirst(t *testing.T) {
	t.Parallel()
	none, low := decimal.NewNullDecimal(decimal.Zero), decimal.NewNullDecimal(decimal.NewFromInt(15))
	f := afterOctober(t, 1001, func(o *billing.Organization) { o.Bounds.Growth = none })
	require.Equal(t, billing.StatusOpen, f.tryNovember().Status)

	f = newFixture(t, func(o *billing.Organization) { o.Bounds.Total = low })
	f.seat("u1", "chat", false)
	f.endOctober()
	require.Contains(t, f.issueOctober().Reason, "total 20.00 USD is above the bound of 15.00 USD", "the first month has a bound, too")
}

func TestAnInvoiceThatIsToBeApprovedWaitsForIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Approval = true })
	f.seat("u1", "chat", false)
	f.endOctober()
	_, err := f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseAsIs, ann)
	require.ErrorContains(t, err, "is not parked", "not before its draft window is over")
	issued := f.issueOctober()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "it awaits approval")
	f.release(octoberInvoice, false, ann)
	require.Equal(t, billing.StatusOpen, f.issueOctober().Status)
	trail, err := f.AuditTrail(f.ctx, "acme", 1)
	require.NoError(t, err)
	require.Equal(t, "invoices.release ann looked at it", fmt.Sprintf("%s %s %s", trail[0].Action, trail[0].Actor, trail[0].Reason))
	require.JSONEq(t, `{"total":"20","bank_transfer":false}`, string(trail[0].After))
}

func TestAnAmountTooLargeToChargeIsReleasedAsABankTransferAndNeverCharged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Email, o.PaymentMethod = "billing@acme.example", "pm_first" })
	f.store(use("a", "u1", october, 200_000_000_000), use("b", "u1", october, 1_000_000))
	f.endOctober()
	require.Contains(t, f.issueOctober().Reason, "starter invoices release acme/2026-10-01 --bank-transfer")
	_, err := f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseAsIs, ann)
	require.ErrorContains(t, err, "accepted: --bank-transfer")
	f.release(octoberInvoice, true, ann)
	issued := f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "1000005.00 USD", issued.Total.String())
	draft, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Equal(t, billing.SendInvoice, draft.Collection)
	f.publish(octoberInvoice, "in_1")
	require.Equal(t, billing.StepRefresh, f.begin().Do, "the provider is asked, and nothing is charged")
	require.Empty(t, f.payments())
	f.clean()
	f.exec(`UPDATE invoices SET collection = 'charge_automatically'`)
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, "largest_charge", found[0].Check)
}

func TestABankTransferNeedsAnAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 200_000_000_000), use("b", "u1", october, 1_000_000))
	f.endOctober()
	f.issueOctober()
	_, err := f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseByBankTransfer, ann)
	require.ErrorContains(t, err, "has no email")
}

func TestWhatHasNoPriceCannotBeReleased(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unpriced := use("a", "u1", october, 1_000_000)
	unpriced.Event.Model = "claude-next"
	f.store(unpriced)
	f.endOctober()
	f.issueOctober()
	_, err := f.RequestRelease(f.ctx, octoberInvoice, billing.ReleaseAsIs, ann)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "cannot be released: 1 events of the period have no price")
}

func TestAReleaseThatWasNotAskedForIsRefused(t *testing.T) {
	t.Parallel()
	f := afterOctober(t, 1001)
	f.tryNovember()
	other, err := f.RecordRequest(f.ctx, "acme", ann, "cycle.pause")
	require.NoError(t, err)
	require.ErrorIs(t, f.ReleaseInvoice(f.ctx, "acme", "2026-11-01", 1, other), billing.ErrNotFound)
	require.Error(t, func() error { _, err := f.pool.Exec(f.ctx, `TRUNCATE invoice_releases`); return err }())
	require.Zero(t, f.count("invoice_releases"))
}

func TestACreditBeyondItsBoundIsParked(t *testing.T) {
	t.Parallel()
	bound := decimal.NewNullDecimal(decimal.NewFromInt(10))
	f := newFixture(t, func(o *billing.Organization) { o.Bounds.Credit = bound })
	f.store(use("a", "u1", october, 4_000_000))
	f.endOctober()
	f.issueOctober()
	retraction := billing.UsageItem{Event: billing.Event{ID: "r", Organization: "acme", OccurredAt: october.AddDate(0, 1, 1), Retracts: "a"}}
	require.Equal(t, []billing.UsageStatus{billing.UsageAccepted}, f.store(retraction))
	f.endPeriod("2026-11-01", october.AddDate(0, 2, 0))
	f.clock(october.AddDate(0, 2, 1))
	require.Contains(t, f.tryNovember().Reason, "charges of -20.00 USD lie further below zero than the bound of 10.00 USD")
	f.release(novemberInvoice, false, ann)
	require.Equal(t, billing.StatusCarried, f.tryNovember().Status)
	f.clean()
}
