package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestWhatTheProviderIsToldIsRecordedBeforeTheCall(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	installation, err := f.Installation(f.ctx)
	require.NoError(t, err)
	require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", "clock_1"))

	first, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.True(t, first.TriedAt.IsZero(), "never tried before this call")
	require.Equal(t, "inv/"+installation+"/acme/2026-10-01/1", first.IdempotencyKey)
	require.Equal(t, "20.00 USD", first.Total.String())
	require.Equal(t, "cus_1", first.Customer)
	require.Equal(t, october, first.PeriodStart)
	second, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), second.TriedAt, time.Minute, "by the wall clock: the provider forgets keys by it")
	third, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.Equal(t, second, third, "the first try counts")

	_, err = f.BeginProviderItem(f.ctx, octoberInvoice, 1)
	require.ErrorIs(t, err, billing.ErrConflict, "there is no invoice to add it to")
	_, err = f.BeginProviderFinalize(f.ctx, octoberInvoice)
	require.ErrorIs(t, err, billing.ErrConflict)

	require.NoError(t, f.RecordProviderInvoice(f.ctx, octoberInvoice, "in_1"))
	item, err := f.BeginProviderItem(f.ctx, octoberInvoice, 1)
	require.NoError(t, err)
	require.False(t, item.Tried)
	require.Equal(t, "item/"+installation+"/acme/2026-10-01/1/1", item.IdempotencyKey)
	require.Equal(t, "in_1", item.StripeInvoice)
	require.Equal(t, "20.00 USD", item.Amount.String())
	item, err = f.BeginProviderItem(f.ctx, octoberInvoice, 1)
	require.NoError(t, err)
	require.True(t, item.Tried)
	require.NoError(t, f.RecordProviderItem(f.ctx, octoberInvoice, 1, "ii_1"))
	item, err = f.BeginProviderItem(f.ctx, octoberInvoice, 1)
	require.NoError(t, err)
	require.Equal(t, "ii_1", item.StripeID)

	final, err := f.BeginProviderFinalize(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.False(t, final.FinalizeTried)
	require.Equal(t, first.IdempotencyKey, final.IdempotencyKey)
	final, err = f.BeginProviderFinalize(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.True(t, final.FinalizeTried)
	require.False(t, final.Finalized)
	require.NoError(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "open"}))
	final, err = f.BeginProviderFinalize(f.ctx, octoberInvoice)
	require.NoError(t, err)
	require.True(t, final.Finalized)
	f.clean()
}

func TestOneThingHasOneIDAtTheProvider(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	for range 2 { // recording the same again is no change
		require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
		require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", "clock_1"))
		require.NoError(t, f.RecordProviderInvoice(f.ctx, octoberInvoice, "in_1"))
		require.NoError(t, f.RecordProviderItem(f.ctx, octoberInvoice, 1, "ii_1"))
	}
	require.ErrorIs(t, f.RecordCustomer(f.ctx, "acme", "cus_2", ""), billing.ErrConflict)
	require.ErrorIs(t, f.RecordCustomer(f.ctx, "acme", "cus_1", "clock_2"), billing.ErrConflict)
	require.ErrorIs(t, f.RecordProviderInvoice(f.ctx, octoberInvoice, "in_2"), billing.ErrConflict)
	require.ErrorIs(t, f.RecordProviderItem(f.ctx, octoberInvoice, 1, "ii_2"), billing.ErrConflict)
	require.ErrorIs(t, f.RecordProviderFinalized(f.ctx, octoberInvoice,
		billing.ProviderInvoiceState{StripeID: "in_2", Status: "open"}), billing.ErrConflict)

	f.create(billing.Organization{ID: "other", StartsAt: october})
	require.ErrorIs(t, f.RecordCustomer(f.ctx, "other", "cus_1", ""), billing.ErrConflict, "of another organisation")

	require.ErrorIs(t, f.RecordCustomer(f.ctx, "nobody", "cus_9", ""), billing.ErrNotFound)
	require.ErrorIs(t, f.RecordProviderInvoice(f.ctx, "acme/2020-01-01", "in_9"), billing.ErrNotFound)
	require.ErrorIs(t, f.RecordProviderItem(f.ctx, octoberInvoice, 9, "ii_9"), billing.ErrNotFound)
	_, err := f.BeginProviderInvoice(f.ctx, "acme/2020-01-01")
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.BeginProviderItem(f.ctx, octoberInvoice, 9)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestOnlyWhatIsToBeCollectedGoesToTheProvider(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 60_000)) // 0.30 USD
	f.endOctober()
	require.Equal(t, billing.StatusCarried, f.issueOctober().Status)
	_, err := f.BeginProviderInvoice(f.ctx, octoberInvoice)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "is carried")
}

func TestFinalisingRecordsWhatTheProviderSays(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T, change ...func(*billing.Organization)) *fixture {
		t.Helper()
		f := newIssued(t, change...)
		require.NoError(t, f.RecordProviderInvoice(f.ctx, octoberInvoice, "in_1"))
		return f
	}
	due := issuedAt.AddDate(0, 0, 15) // the end of the due date

	t.Run("a sent invoice is due after its net days", func(t *testing.T) {
		t.Parallel()
		f := begin(t, bySend(14))
		state := billing.ProviderInvoiceState{StripeID: "in_1", Status: "open", HostedURL: "https://pay.example/1"}
		require.NoError(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, state))
		require.NoError(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, state), "again changes nothing")
		require.Equal(t, due, *f.invoice().DueAt)
		require.Equal(t, []string{"0 invoice_sent next day 15"}, f.paymentNotices())
	})
	t.Run("one that could be sent only days later leaves as long to pay it", func(t *testing.T) {
		t.Parallel()
		f := begin(t, bySend(14))
		require.Equal(t, due, *f.invoice().DueAt)
		f.clock(issuedAt.AddDate(0, 0, 20).Add(time.Hour))
		require.NoError(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "open"}))
		require.Equal(t, due.AddDate(0, 0, 20), *f.invoice().DueAt)
		require.Equal(t, "2026-12-06", *f.invoice().DueDate)
	})
	t.Run("one that is paid already is paid", func(t *testing.T) {
		t.Parallel()
		f := begin(t)
		require.NoError(t, f.RecordProviderFinalized(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "paid"}))
		require.Equal(t, billing.StatusPaid, f.invoice().Status)
		require.Equal(t, billing.StepNone, f.begin().Do)
		require.True(t, f.begin().State.Over())
		f.clean()
	})
	t.Run("a draft is not final", func(t *testing.T) {
		t.Parallel()
		f := begin(t)
		err := f.RecordProviderFinalized(f.ctx, octoberInvoice, billing.ProviderInvoiceState{StripeID: "in_1", Status: "draft"})
		require.ErrorContains(t, err, "still a draft")
		require.Equal(t, billing.StepNone, f.begin().Do)
		require.False(t, f.begin().State.Over())
	})
}
