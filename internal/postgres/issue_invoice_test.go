package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestFortyHIPAASeatsAreSurchargedByAMonth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 40 {
		f.seat(fmt.Sprintf("u%02d", n), "chat", true)
	}
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "1000.00 USD", issued.Total.String(), "40 seats of 20 and 40 surcharges of 5")
	require.Equal(t, 2, issued.Items)
	require.Equal(t, 2, f.count("invoice_lines"))
	require.Equal(t, 80, f.count("invoice_line_members"))
}

func TestIssuingTwiceOrAtOnceWritesOneInvoice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.endOctober()
	f.clock(october.AddDate(0, 1, 1))
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
			require.NoError(t, err)
			require.Equal(t, "acme/2026-10-01", issued.Invoice)
			require.Equal(t, "20.00 USD", issued.Total.String())
		})
	}
	wait.Wait()
	require.Equal(t, 1, f.count("invoices"))
	var number string
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT number FROM invoices`).Scan(&number))
	require.Equal(t, "INV-000001", number)
}

func TestAFinalizedInvoiceCannotChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.endOctober()
	f.issueOctober()
	for _, statement := range []string{
		`UPDATE invoices SET total = 1`, `UPDATE invoice_lines SET amount = 1`, `DELETE FROM invoice_line_members`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.ErrorContains(t, err, "cannot change", statement)
	}
}

func TestTheDraftWindowHoldsTheInvoiceBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	held, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusDraft, held.Status)
	require.Equal(t, october.AddDate(0, 1, 0), held.HeldUntil)
	a := f.endOctober()
	require.Equal(t, "2026-11-01", a.Ended.Next)
	require.Equal(t, october.AddDate(0, 1, 1), a.Ended.DraftUntil)
	held, err = f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, a.Ended.DraftUntil, held.HeldUntil)
	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, billing.StatusDraft, drafts[0].Status)
	require.Zero(t, f.count("invoices"))

	require.NoError(t, f.FinalizeInvoice(f.ctx, "acme/2026-10-01", tester))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.NoError(t, f.FinalizeInvoice(f.ctx, "acme/2026-10-01", tester), "again changes nothing")
}

func TestAnAmountTooSmallToChargeIsCarriedForward(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 60_000)) // 0.30 USD
	f.endOctober()
	require.Equal(t, billing.StatusCarried, f.issueOctober().Status)
	f.store(use("b", "u1", october.AddDate(0, 1, 0), 60_000))
	f.clock(october.AddDate(0, 2, 1))
	_, err := f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	f.clock(october.AddDate(0, 2, 2))
	issued, err := f.IssueInvoice(f.ctx, "acme", "2026-11-01", 1)
	require.NoError(t, err)
	require.Equal(t, billing.StatusOpen, issued.Status)
	require.Equal(t, "0.60 USD", issued.Total.String())
	var into string
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT carried_into FROM invoices WHERE id = 'acme/2026-10-01'`).Scan(&into))
	require.Equal(t, "acme/2026-11-01", into)
}

func TestAMonthWithNothingToPayIsSettledHere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusSettled, issued.Status)
	require.Zero(t, issued.Items)
}

func TestAnAmountTooLargeToChargeIsParked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 200_000_000_000), use("b", "u1", october, 1_000_000))
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusParked, issued.Status)
	require.Contains(t, issued.Reason, "1000005.00 USD is above the largest charge of 999999.99 USD")
	drafts, err := f.DraftInvoices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, billing.StatusParked, drafts[0].Status)
}

func TestAPausedCycleEndsNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	require.NoError(t, f.PauseCycle(f.ctx, "acme", 0))
	f.clock(october.AddDate(0, 1, 1))
	held, err := f.IssueInvoice(f.ctx, "acme", "2026-10-01", 1)
	require.NoError(t, err)
	require.Equal(t, "the cycle is paused", held.Reason)
	f.clock(october.AddDate(0, 2, 0))
	a, err := f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	require.True(t, a.Paused)
	require.Nil(t, a.Ended)
	require.NoError(t, f.ResumeCycle(f.ctx, "acme", 0))
	a, err = f.Accrue(f.ctx, "acme", "2026-11-01")
	require.NoError(t, err)
	require.NotNil(t, a.Ended)
}

func TestAnEarlyCloseBillsTheMonthInPiecesThatAddUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.store(use("a", "u1", october, 1_000_000))
	f.clock(time.Date(2026, 10, 15, 12, 0, 0, 0, time.UTC))
	require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 1))
	require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 1), "a request that is carried out again has been carried out")
	require.ErrorIs(t, f.EndPeriodNow(f.ctx, "acme", 2), billing.ErrConflict)
	f.store(use("b", "u1", f.now(), 1_000_000))
	a, err := f.Accrue(f.ctx, "acme", "2026-10-01")
	require.NoError(t, err)
	require.Equal(t, "2026-10-01.2", a.Ended.Next)
	f.clock(october.AddDate(0, 1, 0))
	_, err = f.Accrue(f.ctx, "acme", "2026-10-01.2")
	require.NoError(t, err)
	f.clock(october.AddDate(0, 1, 1))
	total := billing.Money{}
	for _, id := range []string{"2026-10-01", "2026-10-01.2"} {
		issued, err := f.IssueInvoice(f.ctx, "acme", id, 1)
		require.NoError(t, err)
		total.Amount = total.Amount.Add(issued.Total.Amount)
	}
	require.Equal(t, "30.00", total.Amount.StringFixed(2), "a month's seat of 20 and usage of 10")
	require.Equal(t, "10", f.spent(billing.ScopeOrganization, ""), "the limit's window is untouched")
}

func (f *fixture) now() time.Time {
	org, err := f.Organization(f.ctx, "acme")
	require.NoError(f.t, err)
	return org.Now
}

func TestAnOrganizationStartedInThePastCatchesUpPeriodByPeriod(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) { o.Now = october.AddDate(0, 3, 0) })
	for _, id := range []string{"2026-10-01", "2026-11-01", "2026-12-01"} {
		a, err := f.Accrue(f.ctx, "acme", "")
		require.NoError(t, err)
		require.Equal(t, id, a.Period)
		require.NotNil(t, a.Ended)
	}
	a, err := f.Accrue(f.ctx, "acme", "")
	require.NoError(t, err)
	require.Equal(t, "2027-01-01", a.Period)
	require.Nil(t, a.Ended)
}

func TestSeatsChangeByDayAndTheirHistoryIsKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.clock(time.Date(2026, 10, 11, 9, 0, 0, 0, time.UTC))
	f.seat("u1", "chat_claude_code", false)
	f.clock(time.Date(2026, 10, 21, 9, 0, 0, 0, time.UTC))
	require.NoError(t, f.RemoveSeat(f.ctx, "acme", "u1", time.Time{}, tester))
	require.NoError(t, f.RemoveSeat(f.ctx, "acme", "u1", time.Time{}, tester), "again changes nothing")
	preview, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	days := map[string]string{}
	for _, l := range preview.Lines {
		days[l.Key] = l.Quantity.String()
	}
	require.Equal(t, map[string]string{"seat/chat/20": "11", "seat/chat_claude_code/40": "10"}, days)
}

func TestSeatsAreAssignedAllOrNone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for want, changes := range map[string][]postgres.SeatChange{
		`user u2: tier: "gold" has no price`: {{User: "u1", Tier: "chat"}, {User: "u2", Tier: "gold"}},
		"user u1: from: 2026-09-30":          {{User: "u1", Tier: "chat", From: october.Add(-time.Hour)}},
		"user u1: hipaa: price book":         {{User: "u1", Tier: "chat_claude_code", HIPAA: true}},
	} {
		_, err := f.AssignSeats(f.ctx, "acme", changes, tester)
		require.ErrorIs(t, err, billing.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, f.count("seat_assignments"))
}

func TestAPriceBookIsLoadedOnceAndItsPastIsImmutable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	book := f.bookWith("claude-next")
	load, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	require.Equal(t, 1, load.Added)
	load, err = f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	require.False(t, load.Changed)

	changed := f.bookWith("claude-next")
	changed.Models[0].PerMillion[billing.Input] = changed.Models[0].PerMillion[billing.Input].Add(changed.Models[0].PerMillion[billing.Output])
	_, err = f.LoadPriceBook(f.ctx, changed, tester)
	require.ErrorIs(t, err, billing.ErrConflict)

	backdated := f.bookWith("claude-next")
	row := backdated.Models[len(backdated.Models)-1]
	row.EffectiveFrom = october.Add(-time.Hour)
	backdated.Models = append(backdated.Models, row)
	_, err = f.LoadPriceBook(f.ctx, backdated, tester)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "reprice")
}

func TestAPriceThatStartsInMidMonthMakesTwoLines(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	change := time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Hour)
	book := f.bookWith("claude-next")
	row := book.Models[len(book.Models)-1]
	row.EffectiveFrom = change
	row.PerMillion[billing.Output] = row.PerMillion[billing.Output].Add(row.PerMillion[billing.Input])
	book.Models = append(book.Models, row)
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	f.clock(change.Add(time.Hour))
	before, after := use("a", "u1", change.Add(-time.Microsecond), 1_000_000), use("b", "u1", change, 1_000_000)
	before.Event.Model, after.Event.Model = "claude-next", "claude-next"
	f.store(before, after)
	preview, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	if change.Day() != 1 {
		require.Len(t, preview.Lines, 2)
		require.Equal(t, "5.00 USD", preview.Lines[0].Amount.String())
		require.Equal(t, "6.00 USD", preview.Lines[1].Amount.String())
	}
}
