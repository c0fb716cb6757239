package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

func TestTheCurrencyOfAContractDoesNotChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	euros := pricebook.Default()
	euros.Name, euros.Currency = "in-euros", "EUR"
	_, err := f.LoadPriceBook(f.ctx, euros, tester)
	require.NoError(t, err)
	acme, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	for _, change := range []func(*billing.Organization){
		func(o *billing.Organization) { o.Currency, o.PriceBook = "EUR", "in-euros" },
		func(o *billing.Organization) { o.Currency = "EUR" },
	} {
		org := acme
		change(&org)
		created, err := f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
		require.Error(t, err)
		require.ErrorContains(t, err, "currency")
		require.Zero(t, created)
	}
	again, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, acme, again)
}

func TestAPeriodThatIsNotOverOrDoesNotRunIsNotClosed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(billing.Organization{ID: "later", StartsAt: october.AddDate(0, 1, 0), TestClock: true, Now: october})
	f.store(use("a", "u1", october, 1_000_000))
	f.clock(october.AddDate(0, 1, 0).Add(-time.Microsecond))

	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusDraft, issued.Status, "the one that runs is not over")
	require.Equal(t, october.AddDate(0, 1, 0), issued.HeldUntil)
	require.ErrorIs(t, f.FinalizeInvoice(f.ctx, octoberInvoice, tester), billing.ErrConflict)
	_, err = f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.ErrorIs(t, err, billing.ErrNotFound, "the next one is none yet")
	require.ErrorIs(t, f.FinalizeInvoice(f.ctx, novemberInvoice, tester), billing.ErrNotFound)
	require.ErrorIs(t, f.EndPeriodNow(f.ctx, "later", 1), billing.ErrConflict, "a contract that has not begun has none that runs")
	issued, err = f.IssueInvoice(f.ctx, "later", "2026-11-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusDraft, issued.Status)

	f.endOctober()
	require.ErrorIs(t, f.EndPeriodNow(f.ctx, "acme", 2), billing.ErrConflict, "November has lasted for no time")
	require.Zero(t, f.count("invoices"))
	require.Zero(t, f.count("periods WHERE closed_at IS NOT NULL OR ended_by IS NOT NULL"))
}

// There is no command that releases them all: people go through them, and each is
// computed again when it is issued.
func TestEachOfManyReleasedInvoicesIsCheckedAgainAndWhatIsStillWrongStaysParked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	orgs := []string{"right", "fine", "grew", "unpriced"}
	store := func(org, id, model string, output int64) {
		item := useOf(org, id)
		item.Event.Model, item.Event.Quantities[billing.Output] = model, output
		_, err := f.StoreUsage(f.ctx, org, []billing.UsageItem{item})
		require.NoError(t, err)
	}
	for _, org := range orgs {
		f.create(billing.Organization{
			ID: org, StartsAt: october, TestClock: true, Now: october,
			Bounds: billing.Bounds{Total: decimal.NewNullDecimal(decimal.NewFromInt(15))},
		})
		store(org, "a", "claude-haiku-4-5", 4_000_000)
		require.NoError(t, f.SetClock(f.ctx, org, october.AddDate(0, 1, 1)))
		_, err := f.Accrue(f.ctx, org, "2026-10-01")
		require.NoError(t, err)
		require.NoError(t, f.SetClock(f.ctx, org, october.AddDate(0, 1, 3)))
	}
	store("unpriced", "b", "claude-of-tomorrow", 1)
	issue := func() map[string]billing.InvoiceStatus {
		stands := map[string]billing.InvoiceStatus{}
		for _, org := range orgs {
			issued, err := f.IssueInvoice(f.ctx, org, "2026-10-01", 1)
			require.NoError(t, err)
			stands[org] = issued.Status
		}
		return stands
	}
	parked, open := billing.StatusParked, billing.StatusOpen
	require.Equal(t, map[string]billing.InvoiceStatus{"right": parked, "fine": parked, "grew": parked, "unpriced": parked}, issue())
	for _, org := range orgs {
		if org == "unpriced" {
			_, err := f.RequestRelease(f.ctx, org+"/2026-10-01", billing.ReleaseAsIs, ann)
			require.ErrorIs(t, err, billing.ErrConflict)
			continue
		}
		f.release(org+"/2026-10-01", false, ann)
	}
	store("grew", "late", "claude-haiku-4-5", 1_000_000)
	require.Equal(t, map[string]billing.InvoiceStatus{"right": open, "fine": open, "grew": parked, "unpriced": parked}, issue())
	require.Equal(t, 2, f.count("invoices"))
}
