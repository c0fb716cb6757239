package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// contractBook has whatever can change a price: versions in mid-month, a band by
// prompt size, modifiers, a tool, and a seat price that rises.
func contractBook() *billing.PriceBook {
	book := pricebook.Default()
	book.Name = "contract"
	for i := range book.Tools {
		if book.Tools[i].Tool == billing.CodeExecution.String() {
			book.Tools[i].FreePerMonth = 3001 // less than what each month uses
		}
	}
	price := func(from time.Time, above int64, input, output string) billing.ModelPrice {
		p := billing.ModelPrice{
			Model: "claude-test", Speed: billing.Standard, EffectiveFrom: from, PromptTokensAbove: above,
			Batch:  decimal.NewNullDecimal(decimal.RequireFromString("0.5")),
			USOnly: decimal.NewNullDecimal(decimal.RequireFromString("1.1")),
		}
		for class, amount := range map[billing.Class]string{
			billing.Input: input, billing.Output: output, billing.CacheWrite5m: "3.75", billing.CacheWrite1h: "6", billing.CacheRead: "0.013",
		} {
			p.PerMillion[class] = decimal.RequireFromString(amount)
		}
		return p
	}
	book.Models = append(book.Models,
		price(october.AddDate(-1, 0, 0), 0, "3", "15"), price(october.AddDate(-1, 0, 0), 1000, "6", "22.50"),
		price(october.AddDate(0, 0, 14), 0, "2", "10"), price(october.AddDate(0, 0, 14), 1000, "4", "15.01"))
	book.Seats = append(book.Seats, billing.SeatPrice{
		Tier: "chat", EffectiveFrom: october.AddDate(0, 0, 15), Amount: decimal.RequireFromString("24.80"), Products: []string{"chat"},
	})
	return book
}

// with returns an event with its quantities and modifiers changed.
func with(item billing.UsageItem, change func(*billing.Event)) billing.UsageItem {
	change(&item.Event)
	return item
}

// newYear is a fixture in which everything has happened that bills: seats that
// change, all kinds of prices, late usage, crossed limits, discounts, a
// small invoice carried forward, a month billed in two pieces, declined, paid, and sent
// invoices, in two organisations of two calendars.
func newYear(t *testing.T) *fixture {
	t.Helper()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	_, err := f.LoadPriceBook(f.ctx, contractBook(), tester)
	require.NoError(t, err)
	f.create(billing.Organization{
		ID: "acme", StartsAt: october, TestClock: true, Now: october, PaymentMethod: "pm_first", Discount: decimal.RequireFromString("12.5"),
	})
	f.liveOctober()
	f.endOctober()
	require.Equal(t, billing.StatusOpen, f.issueOctober().Status)
	f.publish(octoberInvoice, "in_1")
	f.charge(insufficient)
	f.clock(issuedAt.Add(day))
	f.charge(succeeded)
	f.discount("10")
	f.liveNovember()
	f.liveBeta()
	return f
}

func (f *fixture) discount(percent string) postgres.DiscountChange {
	f.t.Helper()
	change, err := f.SetDiscount(f.ctx, "acme", decimal.RequireFromString(percent), tester)
	require.NoError(f.t, err)
	return change
}

func (f *fixture) liveOctober() {
	f.t.Helper()
	f.seat("u1", "chat", true)
	f.seat("u2", "chat_claude_code", false)
	f.seat("u3", "chat", false)
	f.seat("u4", "chat", true)
	f.limit(billing.ScopeOrganization, "", "30")
	f.limit(billing.ScopeSeatTier, "chat", "6")
	f.limit(billing.ScopeUser, "u2", "10")
	_, err := f.SetLimit(f.ctx, "acme", billing.LimitChange{
		Scope: billing.ScopeSeatTier, Subject: "chat_claude_code", Mode: billing.Pooled,
		Amount: decimal.NewNullDecimal(decimal.NewFromInt(12)),
	}, tester)
	require.NoError(f.t, err)
	f.clock(october.Add(9 * time.Hour))
	f.use(f.octoberUsage(f.now(), "first")...)
	f.clock(october.AddDate(0, 0, 10).Add(9 * time.Hour))
	f.seat("u3", "chat_claude_code", false)
	require.NoError(f.t, f.RemoveSeat(f.ctx, "acme", "u4", time.Time{}, tester))
	f.clock(october.AddDate(0, 0, 20))
	f.use(f.octoberUsage(october.AddDate(0, 0, 14).Add(-time.Microsecond), "old prices")...)
	f.use(f.octoberUsage(october.AddDate(0, 0, 14), "new prices")...)
	f.limit(billing.ScopeUser, "u2", "40")
	f.use(use("undone", "u1", f.now(), 900_001), retract("undo", "undone", f.now()))
	f.store(use("nothing", "u1", october, 0), with(use("parked", "u1", f.now(), 5), func(e *billing.Event) { e.Model = "claude-unknown" }))
	_, err = f.LoadPriceBook(f.ctx, func() *billing.PriceBook {
		book := contractBook()
		for _, p := range book.Models {
			if p.Model == "claude-test" {
				p.Model = "claude-unknown"
				book.Models = append(book.Models, p)
			}
		}
		return book
	}(), tester)
	require.NoError(f.t, err)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(f.t, err)
}

// use stores usage that must be accepted.
func (f *fixture) use(items ...billing.UsageItem) {
	f.t.Helper()
	for i, status := range f.store(items...) {
		require.Equal(f.t, billing.UsageAccepted, status, items[i].Event.ID)
	}
}

// octoberUsage is some of everything, at one instant.
func (f *fixture) octoberUsage(at time.Time, name string) []billing.UsageItem {
	test := func(id, user string, input, output int64, change func(*billing.Event)) billing.UsageItem {
		return with(use(name+" "+id, user, at, output), func(e *billing.Event) {
			e.Model, e.Quantities[billing.Input] = "claude-test", input
			if change != nil {
				change(e)
			}
		})
	}
	return []billing.UsageItem{
		use(name+" haiku", "u1", at, 123_457), use(name+" service", "", at, 31), use(name+" no seat", "u9", at, 1_000),
		test("band below", "u1", 1000, 100_003, nil),
		test("band above", "u2", 1001, 100_003, nil),
		test("batch", "u2", 900, 300_001, func(e *billing.Event) { e.ServiceTier = billing.Batch }),
		test("us", "u3", 900, 300_001, func(e *billing.Event) { e.InferenceGeo = billing.GeoUS }),
		test("batch us", "u4", 900, 1, func(e *billing.Event) {
			e.ServiceTier, e.InferenceGeo = billing.Batch, billing.GeoUS
			e.Quantities[billing.CacheRead], e.Quantities[billing.CacheWrite1h] = 77, 13
		}),
		test("search", "u1", 1, 1, func(e *billing.Event) { e.Quantities[billing.WebSearch] = 7 }),
		test("runs", "u1", 1, 1, func(e *billing.Event) { e.Quantities[billing.CodeExecution] = 1901 }),
		test("runs briefly", "u2", 1, 1, func(e *billing.Event) { e.Quantities[billing.CodeExecution] = 7 }),
		test("code", "u2", 10, 10, func(e *billing.Event) { e.Product = "claude_code" }),
		sampled(name+" sampled", "u2", at),
	}
}

// liveNovember has late usage and is billed in two pieces; December runs.
func (f *fixture) liveNovember() {
	f.t.Helper()
	f.clock(october.AddDate(0, 1, 9))
	f.use(f.octoberUsage(october.AddDate(0, 0, 29), "late")...)
	f.use(f.octoberUsage(f.now(), "november")...)
	f.use(retract("undo october", "first no seat", f.now()))
	f.store(with(use("void", "u1", f.now(), 5), func(e *billing.Event) { e.Model = "claude-never" }), retract("undo void", "void", f.now()))
	require.NoError(f.t, f.EndPeriodNow(f.ctx, "acme", 0))
	f.clock(october.AddDate(0, 2, 0))
	for _, period := range []string{"2026-11-01", "2026-11-01.2"} {
		_, err := f.Accrue(f.ctx, "acme", period)
		require.NoError(f.t, err)
	}
	f.clock(october.AddDate(0, 2, 1))
	for i, period := range []string{"2026-11-01", "2026-11-01.2"} {
		issued, err := f.IssueInvoice(f.ctx, "acme", period, 1)
		require.NoError(f.t, err)
		require.Equal(f.t, billing.StatusOpen, issued.Status)
		f.publish(issued.Invoice, []string{"in_2", "in_3"}[i])
	}
	step, err := f.BeginCollection(f.ctx, "acme/2026-11-01")
	require.NoError(f.t, err)
	require.Equal(f.t, billing.StepCharge, step.Do, "an attempt is under way")
	_, err = f.RecordProviderState(f.ctx, "acme/2026-11-01.2", billing.ProviderInvoiceState{StripeID: "in_3", Status: "paid"})
	require.NoError(f.t, err)
	f.use(f.octoberUsage(f.now(), "december")...)
	f.use(sampled("sampled twice", "u1", f.now()), retract("undo sampled", "sampled twice", f.now()))
	f.store(unknownSampling("waits", "u1", f.now()))
}

// liveBeta is an organisation in another zone and on another day of the month,
// whose first invoice is too small to be charged.
func (f *fixture) liveBeta() {
	f.t.Helper()
	start := time.Date(2026, 10, 5, 3, 0, 0, 0, time.UTC)
	f.create(billing.Organization{
		ID: "beta", StartsAt: start, TestClock: true, Now: start, Timezone: "America/New_York", AnchorDay: 31,
	})
	store := func(id string, at time.Time, output int64) {
		item := use(id, "u1", at, output)
		item.Event.Organization = "beta"
		_, err := f.StoreUsage(f.ctx, "beta", []billing.UsageItem{item})
		require.NoError(f.t, err)
	}
	store("a", start, 60_000)
	ends := []time.Time{
		time.Date(2026, 10, 31, 4, 0, 0, 0, time.UTC), // midnight in New York, before and after its clocks change
		time.Date(2026, 11, 30, 5, 0, 0, 0, time.UTC),
	}
	for i, period := range []string{"2026-10-04", "2026-10-31"} {
		require.NoError(f.t, f.SetClock(f.ctx, "beta", ends[i]))
		a, err := f.Accrue(f.ctx, "beta", period)
		require.NoError(f.t, err)
		require.NotNil(f.t, a.Ended)
		store("b"+period, ends[i], 60_000)
		require.NoError(f.t, f.SetClock(f.ctx, "beta", a.Ended.DraftUntil))
		_, err = f.IssueInvoice(f.ctx, "beta", period, 1)
		require.NoError(f.t, err)
	}
}
