package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// retract returns an event that cancels another one.
func retract(id, event string, at time.Time) billing.UsageItem {
	return billing.UsageItem{Event: billing.Event{ID: id, Organization: "acme", OccurredAt: at, Retracts: event}}
}

// ask stores one item and returns what was said to it.
func (f *fixture) ask(item billing.UsageItem) billing.UsageAnswer {
	f.t.Helper()
	answers, err := f.StoreUsage(f.ctx, "acme", []billing.UsageItem{item})
	require.NoError(f.t, err)
	return answers[0]
}

func TestARetractionCancelsExactlyItsEventWhileItsPeriodIsOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.use(use("a", "u1", october, 100), use("b", "u1", october, 1000))
	f.use(retract("r", "a", october))
	for _, counter := range []struct {
		scope   billing.Scope
		subject string
	}{{billing.ScopeOrganization, ""}, {billing.ScopeUser, "u1"}, {billing.ScopeSeatTier, "chat"}} {
		require.Equal(t, "0.005", f.spent(counter.scope, counter.subject), counter)
	}
	require.Equal(t, 3, f.count("usage_events"), "the original is kept")
	summary, err := f.UsageSummary(f.ctx, "acme", "", nil)
	require.NoError(t, err)
	require.Equal(t, int64(1), summary.Rows[0].Events)
	f.use(retract("r2", "b", october))
	summary, err = f.UsageSummary(f.ctx, "acme", "", nil)
	require.NoError(t, err)
	require.Empty(t, summary.Rows, "nothing is left")
	f.clean()
}

func TestAnEventIsRetractedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("a", "u1", october, 100), retract("r", "a", october))
	require.Equal(t, duplicate, f.ask(retract("r", "a", october)).Status)
	require.Equal(t, conflict, f.ask(retract("r", "b", october)).Status, "another content under its id")
	require.Equal(t, conflict, f.ask(use("r", "u1", october, 5)).Status, "an id is one event's, of whatever kind")
	require.Equal(t, duplicate, f.ask(use("a", "u1", october, 100)).Status, "the event does not come back")
	for _, c := range []struct {
		item   billing.UsageItem
		status billing.UsageStatus
		field  string
		reason string
	}{
		{retract("r2", "a", october), conflict, "retracts", `retracted already, by "r"`},
		{retract("r3", "r", october), rejected, "retracts", "names a retraction"},
		{retract("r4", "nothing", october), rejected, "retracts", "no event with this id is stored"},
		{retract("r5", "a", october.Add(time.Hour)), rejected, "occurred_at", "in the future"},
		{retract("a", "a2", october), conflict, "id", "other content"},
	} {
		answer := f.ask(c.item)
		require.Equal(t, c.status, answer.Status, c.item.Event.ID)
		require.Equal(t, c.field, answer.Field, c.item.Event.ID)
		require.Contains(t, answer.Reason, c.reason)
	}
	require.Equal(t, 2, f.count("usage_events"))
	require.Equal(t, "0", f.spent(billing.ScopeOrganization, ""))
}

func TestInOneBatchARetractionFollowsItsEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Equal(t, []billing.UsageStatus{rejected, accepted, accepted, duplicate, conflict, rejected, accepted}, f.store(
		retract("early", "a", october), use("a", "u1", october, 100), retract("r", "a", october), retract("r", "a", october),
		retract("r2", "a", october), retract("r3", "r", october), use("b", "u1", october, 200)))
	require.Equal(t, "0.001", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestABilledEventIsCancelledByALineOfTheOpenPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("a", "u1", october, 200_000), use("b", "u2", october, 400_000))
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, "3.00 USD", issued.Total.String())
	f.clock(october.AddDate(0, 1, 20))
	f.use(use("late", "u3", october.AddDate(0, 0, 25), 20_000), retract("r", "a", october.AddDate(0, 1, 19)), retract("undo late", "late", october.AddDate(0, 1, 20)))
	require.Equal(t, "2", f.spent(billing.ScopeOrganization, ""), "counters move by the time of use")

	november, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Len(t, november.Lines, 1)
	line := november.Lines[0]
	require.Equal(t, "2026-10-01", line.PeriodOfOrigin)
	require.Equal(t, []string{"-200000", "-1.00 USD", "-1.00 USD"}, []string{line.Quantity.String(), line.Amount.String(), november.Total.String()})
	require.Equal(t, duplicate, f.ask(retract("r", "a", october.AddDate(0, 1, 19))).Status)
	first, err := f.Invoice(f.ctx, octoberInvoice, false)
	require.NoError(t, err)
	require.Equal(t, "3.00 USD", first.Total.String(), "what was issued stays")
	f.clean()

	f.clock(october.AddDate(0, 2, 0))
	_, err = f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	f.clock(october.AddDate(0, 2, 1))
	credit, err := f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(t, err)
	require.Equal(t, "-1.00 USD", credit.Total.String())
	f.use(retract("long after", "b", october.AddDate(0, 2, 1)))
	december, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "2026-10-01", december.Lines[0].PeriodOfOrigin, "however old: a correction has no late window")
	f.clean()
}

func TestARetractedParkedEventWaitsForNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown := func(id string) billing.UsageItem {
		return with(use(id, "u1", october, 200_000), func(e *billing.Event) { e.Model = "claude-next" })
	}
	require.Equal(t, []billing.UsageStatus{parked, parked, accepted}, f.store(unknown("a"), unknown("b"), retract("r", "a", october)))
	waiting, err := f.ParkedUsage(f.ctx, "acme", false)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Equal(t, int64(1), waiting[0].Events)
	_, err = f.LoadPriceBook(f.ctx, f.bookWith("claude-next"), tester)
	require.NoError(t, err)
	released, err := f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.Equal(t, postgres.ReleaseResult{Released: 1}, released)
	require.Equal(t, "1", f.spent(billing.ScopeOrganization, ""))
	f.use(retract("r2", "b", october))
	require.Equal(t, "0", f.spent(billing.ScopeOrganization, ""), "a released event like any other")
	require.Equal(t, conflict, f.ask(retract("r3", "a", october)).Status)
	require.Equal(t, duplicate, f.ask(unknown("a")).Status)
	f.clean()
}

func TestManyAtOnceRetractAnEventOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.use(use("a", "u1", october, 100_000), use("b", "u1", october, 100_000))
	const writers = 8
	answers := make([][]billing.UsageStatus, writers)
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			answers[w] = f.store(retract(fmt.Sprintf("r%d", w), "a", october), retract("same", "b", october))
		})
	}
	wait.Wait()
	count := map[billing.UsageStatus]int{}
	for _, statuses := range answers {
		count[statuses[0]]++
		count["same "+statuses[1]]++
	}
	require.Equal(t, map[billing.UsageStatus]int{accepted: 1, conflict: writers - 1, "same accepted": 1, "same duplicate": writers - 1}, count)
	require.Equal(t, "0", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

// TestEventsAndTheirRetractionsAreNothing: of every kind of price, under
// every kind of counter.
func TestEventsAndTheirRetractionsAreNothing(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	_, err := f.LoadPriceBook(f.ctx, contractBook(), tester)
	require.NoError(t, err)
	f.create(billing.Organization{ID: "acme", StartsAt: october, TestClock: true, Now: october})
	f.seat("u1", "chat", false)
	f.seat("u2", "chat_claude_code", false)
	f.clock(october.AddDate(0, 0, 20))
	usage := append(f.octoberUsage(october.AddDate(0, 0, 13), "old prices"), f.octoberUsage(october.AddDate(0, 0, 14), "new prices")...)
	f.use(usage...)
	f.seat("u1", "chat_claude_code", false) // the counters of the tier then held fall
	var undo []billing.UsageItem
	for _, item := range usage {
		undo = append(undo, retract("undo "+item.Event.ID, item.Event.ID, october.AddDate(0, 0, 20)))
	}
	f.use(undo[:7]...)
	f.clean()
	f.use(undo[7:]...)
	f.clean()
	var left int
	require.NoError(t, f.pool.QueryRow(f.ctx, `
SELECT (SELECT count(*) FROM usage_totals WHERE (events, input, output, cache_write_5m, cache_write_1h, cache_read, web_search) <> (0, 0, 0, 0, 0, 0, 0))
     + (SELECT count(*) FROM spend_counters WHERE spend <> 0)`).Scan(&left))
	require.Zero(t, left)
	draft, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	for _, line := range draft.Lines {
		require.NotEqual(t, billing.KindUsage, line.Kind)
	}
}

func TestHoveringAtAThresholdNoticesOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	f.use(use("base", "u1", october, 1_400_000)) // 7 USD
	for i := range 100 {
		f.use(use(fmt.Sprint(i), "u1", october, 200_000))
		f.use(retract(fmt.Sprint("undo ", i), fmt.Sprint(i), october))
	}
	require.Equal(t, []string{"organization  75% v1 pending"}, f.notices(), "and what was said is not unsaid")
	require.Equal(t, "7", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

// A correction of prices gives a retraction the rate of its event, whatever the
// sign of its prompt; one of a billed event keeps the rate that was billed.
func TestRepriceTakesARetractionAlongWithItsEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1000")
	f.clock(october.AddDate(0, 0, 30))
	big := use("big", "u1", october, 1_000_000)
	big.Event.Model = "claude-sonnet-4-5"
	big.Event.Quantities[billing.Input] = 300_000 // above the band
	f.store(big, use("kept", "u1", october, 1_000_000), use("billed", "u2", october.AddDate(0, 0, 30), 1_000_000))
	f.store(retract("r1", "big", october))
	f.reprice(times(pricebook.Default(), "2", func(billing.ModelPrice) bool { return true }))
	require.Equal(t, "20", f.spent(billing.ScopeOrganization, ""), "two of Haiku, at twice the price")
	f.endOctober()
	require.Equal(t, "20.00 USD", f.issueOctober().Total.String())

	f.store(retract("r2", "billed", f.now()))
	f.reprice(times(pricebook.Default(), "3", func(billing.ModelPrice) bool { return true }))
	preview, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, "-10.00 USD", preview.Subtotal.String(), "what was billed is given back")
	differences, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Empty(t, differences)
}
