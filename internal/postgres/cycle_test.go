package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestAClockIsAtRestOnlyOnceEveryWorkflowHasReadItsNews(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	status := func() postgres.ClockStatus {
		s, err := f.ClockStatus(f.ctx, "acme")
		require.NoError(t, err)
		return s
	}
	require.True(t, status().AtRest(), "nothing is expected to run")
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	require.Equal(t, []string{"billing-cycle/acme has not come to a rest yet"}, status().Busy)

	a, err := f.Accrue(f.ctx, "acme", "")
	require.NoError(t, err)
	wait := billing.Wait{Organization: "acme", WorkflowID: "billing-cycle/acme", What: "the period ends", Until: a.End, Seen: a.Seen}
	now, err := f.RegisterWait(f.ctx, wait)
	require.NoError(t, err)
	require.Equal(t, october, now)
	require.True(t, status().AtRest())
	require.Equal(t, a.End, status().NextWake)

	f.limit(billing.ScopeOrganization, "", "1")
	f.store(use("a", "u1", october, 1_000_000))
	require.Equal(t, []string{"billing-cycle/acme has news to read", "news waits to be delivered"}, status().Busy)
	taken, err := f.RelayNudges(f.ctx, 10, func(_ context.Context, id string) error {
		require.Equal(t, "billing-cycle/acme", id)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, taken)
	require.Equal(t, []string{"billing-cycle/acme has news to read"}, status().Busy)
	_, err = f.RegisterWait(f.ctx, wait)
	require.NoError(t, err)
	require.False(t, status().AtRest(), "a wait that was decided before the news does not count")
	a, err = f.Accrue(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, 1, a.Notices)
	wait.Seen = a.Seen
	_, err = f.RegisterWait(f.ctx, wait)
	require.NoError(t, err)
	require.True(t, status().AtRest())

	f.clock(a.End)
	require.False(t, status().AtRest())
	require.ErrorIs(t, f.SetClock(f.ctx, "acme", october), billing.ErrInvalid)
}

func TestRepairExpectsWhatTheFactsDemand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	ids := func() []string {
		expected, err := f.ExpectedWorkflows(f.ctx, "acme")
		require.NoError(t, err)
		list := []string{}
		for _, w := range expected {
			list = append(list, w.ID)
		}
		return list
	}
	require.Empty(t, ids())
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	require.NoError(t, f.StartCycle(f.ctx, "acme", tester))
	require.Equal(t, []string{"billing-cycle/acme"}, ids())
	f.endOctober()
	require.Equal(t, []string{"billing-cycle/acme", "invoice/acme/2026-10-01"}, ids())
	f.issueOctober()
	require.Equal(t, []string{"billing-cycle/acme", "invoice/acme/2026-10-01"}, ids(), "until it is published")
}

func TestANudgeThatCannotBeDeliveredIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, f.PauseCycle(f.ctx, "acme", 0))
	require.NoError(t, f.ResumeCycle(f.ctx, "acme", 0))
	calls := 0
	taken, err := f.RelayNudges(f.ctx, 10, func(context.Context, string) error {
		calls++
		return errors.New("unreachable")
	})
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, []int{taken, calls}, "one signal for all of a workflow's nudges")
	taken, err = f.RelayNudges(f.ctx, 10, nil)
	require.NoError(t, err)
	require.Zero(t, taken, "not at once")
	require.Equal(t, 2, f.count("outbox"))
}

func TestANoticeThatCannotBeDeliveredWaitsAndAtLastFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1")
	f.store(use("a", "u1", october, 1_000_000))
	pending, err := f.PendingNotices(f.ctx, "acme", 10)
	require.NoError(t, err)
	require.Len(t, pending, 1)
	require.Equal(t, 100, pending[0].Threshold)
	require.NoError(t, f.NoticeFailed(f.ctx, pending[0].ID, "mail server down"))
	n, retryAt, err := f.PendingNoticeCount(f.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, october.Add(time.Minute), retryAt)
	later, err := f.PendingNotices(f.ctx, "acme", 10)
	require.NoError(t, err)
	require.Empty(t, later)
	f.clock(october.Add(73 * time.Hour))
	for range 3 {
		require.NoError(t, f.NoticeFailed(f.ctx, pending[0].ID, "mail server down"))
		require.Contains(t, f.notices(), "organization  100% v1 pending", "days in which nobody could try are no tries")
	}
	require.NoError(t, f.NoticeFailed(f.ctx, pending[0].ID, "mail server down"))
	require.Contains(t, f.notices(), "organization  100% v1 failed")
}

func TestOrganizationsAreCreatedAllOrNoneAndTwiceIsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	again := billing.Organization{
		ID: "acme", StartsAt: october, TestClock: true, Now: october,
		DraftWindow: billing.DefaultDraftWindow, LateWindow: billing.DefaultLateWindow,
	}
	created, err := f.CreateOrganizations(f.ctx, []billing.Organization{again}, tester)
	require.NoError(t, err)
	require.Zero(t, created)
	again.Timezone = "Asia/Tokyo"
	_, err = f.CreateOrganizations(f.ctx, []billing.Organization{{ID: "globex"}, again}, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "timezone")
	require.Equal(t, 1, f.count("organizations"))
	for want, org := range map[string]billing.Organization{
		"plan: \"team\"":               {ID: "x", Plan: "team"},
		"anchor_day: 32":               {ID: "x", AnchorDay: 32},
		"timezone: \"Mars/Base\"":      {ID: "x", Timezone: "Mars/Base"},
		"id: \"Acme Inc\"":             {ID: "Acme Inc"},
		"there is no price book \"p\"": {ID: "x", PriceBook: "p"},
		"price book anthropic-2026-01": {ID: "x", Currency: "EUR"},
		"collection: \"cash\"":         {ID: "x", Collection: "cash"},
	} {
		_, err := f.CreateOrganizations(f.ctx, []billing.Organization{org}, tester)
		require.ErrorIs(t, err, billing.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
}
