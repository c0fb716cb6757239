package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func (f *fixture) close() bool {
	f.t.Helper()
	changed, err := f.CloseOrganization(f.ctx, "acme", tester)
	require.NoError(f.t, err)
	return changed
}

func TestAContractThatEndsInMidPeriodIsBilledUntilThenAndNoFurther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	f.seat("u1", "chat", false)
	f.store(use("a", "u1", october, 1_000_000))
	end := time.Date(2026, 10, 11, 12, 0, 0, 0, time.UTC)
	f.clock(end)
	require.True(t, f.close())
	require.False(t, f.close(), "once more changes nothing")
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, end, org.ClosedAt)

	require.Equal(t, []billing.UsageStatus{billing.UsageAccepted}, f.store(use("late", "u1", end.Add(-time.Hour), 1_000_000)))
	require.Equal(t, []billing.UsageStatus{billing.UsageRejected}, f.store(use("after", "u1", end, 1_000_000)))
	a, err := f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.NotNil(t, a.Ended)
	require.Empty(t, a.Ended.Next, "no further period")
	f.clock(end.AddDate(0, 3, 0))
	_, err = f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.Equal(t, 1, f.count("periods"))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, "17.10 USD", issued.Total.String(), "11 of 31 days of a seat of 20, and usage of 10")
	expected, err := f.ExpectedWorkflows(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "invoice/acme/2026-10-01", expected[0].ID, "the cycle has ended, the last invoice goes its way")
	require.Len(t, expected, 1)
	f.clean()
}

func TestAContractOfASecondIsOneShortPeriodWithoutNegativeDays(t *testing.T) {
	t.Parallel()
	last := time.Date(2026, 10, 31, 23, 59, 59, 0, time.UTC)
	f := newFixture(t, func(o *billing.Organization) { o.StartsAt, o.Now = last, last })
	_, err := f.CloseOrganization(f.ctx, "acme", tester)
	require.ErrorIs(t, err, billing.ErrConflict, "not in the instant in which it starts")
	f.seat("u1", "chat", false)
	f.clock(last.Add(500 * time.Millisecond))
	require.True(t, f.close())
	a, err := f.Accrue(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Empty(t, a.Ended.Next)
	f.clock(last.AddDate(0, 0, 2))
	issued, err := f.IssueInvoice(f.ctx, "acme", a.Period, 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusSettled, issued.Status, "no day begins within it")
	require.Equal(t, 1, f.count("periods"))
	f.clean()
}

func TestAContractThatEndsInTheFirstSecondOfAMonthBillsItsDay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.endOctober()
	f.clock(october.AddDate(0, 1, 0).Add(time.Second))
	require.True(t, f.close())
	f.endPeriod("2026-11-01", october.AddDate(0, 1, 1))
	f.clock(october.AddDate(0, 1, 3))
	for period, want := range map[string]string{"2026-10-01": "20.00 USD", "2026-11-01": "0.67 USD"} {
		issued, err := f.IssueInvoice(f.ctx, "acme", period, 1)
		require.NoError(t, err)
		require.Equal(t, want, issued.Total.String(), period)
	}
	f.clean()
}

func TestUsageThatRanAheadOfTheClockIsStillBilledWhenTheContractEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := october.AddDate(0, 1, 0).Add(-time.Minute)
	f.clock(now)
	ahead := now.Add(4 * time.Minute) // in November, whose period is made for it
	f.store(use("a", "u1", ahead, 1_000_000))
	require.True(t, f.close())
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, ahead.Add(time.Microsecond), org.ClosedAt)
	f.endPeriod("2026-10-01", october.AddDate(0, 1, 0))
	f.endPeriod("2026-11-01", october.AddDate(0, 1, 1))
	f.clock(october.AddDate(0, 1, 3))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(t, err)
	require.Equal(t, "5.00 USD", issued.Total.String())
	require.Equal(t, 2, f.count("periods"))
}

func TestAnIdIsNotUsedAgainForAnotherContract(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock(october.AddDate(0, 0, 3))
	require.True(t, f.close())
	again := billing.Organization{ID: "acme", StartsAt: october.AddDate(0, 1, 0), TestClock: true, Now: october.AddDate(0, 1, 0)}
	_, err := f.CreateOrganizations(f.ctx, []billing.Organization{again}, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "an id is never used again")
}

func TestClosingManyTimesAtOnceEndsTheContractOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock(october.AddDate(0, 0, 3))
	won := make(chan bool, 6)
	for range cap(won) {
		go func() {
			changed, err := f.CloseOrganization(f.ctx, "acme", tester)
			won <- changed && err == nil
		}()
	}
	winners := 0
	for range cap(won) {
		if <-won {
			winners++
		}
	}
	require.Equal(t, 1, winners)
	require.Equal(t, 1, f.count("periods"))
}
