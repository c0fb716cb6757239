package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// run returns an event whose code ran for so many seconds.
func run(id, user string, at time.Time, seconds int64) billing.UsageItem {
	return with(use(id, user, at, 0), func(e *billing.Event) { e.Quantities[billing.CodeExecution] = seconds })
}

// newFreeHours is acme under a book that leaves ten hours a month free, at 0.36
// an hour, a cent for a hundred seconds.
func newFreeHours(t *testing.T) *fixture {
	t.Helper()
	return newContract(t, freeHours("0.36"))
}

func freeHours(amount string) *billing.PriceBook {
	book := pricebook.Default()
	book.Name = "contract"
	for i := range book.Tools {
		if book.Tools[i].Tool == billing.CodeExecution.String() {
			book.Tools[i].FreePerMonth, book.Tools[i].Amount = 36_000, decimal.RequireFromString(amount)
		}
	}
	return book
}

// free lists what an invoice charges for code and what it leaves free, in seconds.
func (f *fixture) free(invoice string) string {
	f.t.Helper()
	found, err := f.Invoice(f.ctx, invoice, true)
	require.NoError(f.t, err)
	var words []string
	for _, line := range found.Lines {
		if line.TokenClass != billing.CodeExecution.String() {
			continue
		}
		var parts []string
		for _, part := range line.Members {
			parts = append(parts, fmt.Sprint(part.User, " ", part.Quantity))
		}
		words = append(words, fmt.Sprintf("%s from %s: %s (%s)", line.Quantity, line.PeriodOfOrigin, line.Amount, strings.Join(parts, ", ")))
	}
	return strings.Join(words, "; ")
}

func (f *fixture) issueNow(period string) billing.Issued {
	f.t.Helper()
	issued, err := f.IssueInvoice(f.ctx, "acme", period, 1)
	require.NoError(f.t, err)
	return issued
}

func TestCodeIsMeteredCountedAgainstLimitsAndPartlyFreeOnTheInvoice(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	f.limit(billing.ScopeOrganization, "", "4.00")
	at := october.Add(time.Hour)
	f.clock(at)
	f.use(run("short", "u1", at, 1), run("long", "u1", at, 29_700), run("other", "u2", at, 10_000))
	require.Equal(t, []billing.UsageStatus{billing.UsageDuplicate, billing.UsageConflict},
		f.store(run("short", "u1", at, 1), run("short", "u1", at, 300)), "what was sent decides, not what is billed")
	require.Equal(t, "4", f.spent(billing.ScopeOrganization, ""), "300 + 29,700 + 10,000 seconds, before anything is free")
	check, err := f.CheckLimit(f.ctx, "acme", "u1")
	require.NoError(t, err)
	require.False(t, check.Allowed(), "it blocks at list price")

	require.Equal(t, "0.40 USD", f.preview().Total.String(), "4,000 seconds are above the free hours")
	rows, total := f.export(billing.SpendSpan{})
	require.Equal(t, "0.40", total)
	require.Equal(t, "30000", rows[0].Counts[billing.CodeExecution].String(), "an export counts what was used")
	_, byCenter := f.export(billing.SpendSpan{CostCenters: true})
	require.Equal(t, "0.40", byCenter)
	f.endOctober()
	f.issueOctober()
	require.Equal(t, "40000 from 2026-10-01: 4.00 USD (u1 30000, u2 10000); -36000 from 2026-10-01: -3.60 USD (u1 -27000, u2 -9000)", f.free(octoberInvoice))
	_, total = f.export(billing.SpendSpan{Period: "2026-10-01"})
	require.Equal(t, "0.40", total)
	f.clean()
}

func TestLateUseAndRetractionsDrawOnTheMonthTheyHappenedIn(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	f.clock(october.Add(time.Hour))
	f.use(run("a", "u1", october, 30_000))
	f.endOctober()
	f.issueOctober()
	require.Contains(t, f.free(octoberInvoice), "-30000 from 2026-10-01: -3.00 USD")
	f.clock(october.AddDate(0, 1, 3))
	f.use(run("late", "u2", october.AddDate(0, 0, 9), 10_000), run("november", "u1", f.now(), 1000))
	require.Equal(t, "0.40 USD", f.preview().Total.String(), "6,000 of October's free seconds are left; all of November is free")
	f.endPeriod("2026-11-01", october.AddDate(0, 2, 0))
	f.clock(october.AddDate(0, 2, 1))
	f.issueNow("2026-11-01")
	require.Equal(t, "10000 from 2026-10-01: 1.00 USD (u2 10000); -6000 from 2026-10-01: -0.60 USD (u2 -6000); "+
		"1000 from 2026-11-01: 0.10 USD (u1 1000); -1000 from 2026-11-01: -0.10 USD (u1 -1000)", f.free("acme/2026-11-01"))
	f.clean()

	f.use(retract("undo", "a", f.now())) // October has 10,000 seconds now, all of them free
	require.Equal(t, "-0.40 USD", f.preview().Subtotal.String(), "only what was paid for comes back")
	f.endPeriod("2026-12-01", october.AddDate(0, 3, 0))
	f.clock(october.AddDate(0, 3, 1))
	f.issueNow("2026-12-01")
	require.Equal(t, "-30000 from 2026-10-01: -3.00 USD (u1 -30000); 26000 from 2026-10-01: 2.60 USD (u1 26000)", f.free("acme/2026-12-01"))
	_, total := f.export(billing.SpendSpan{Period: "2026-10-01"})
	require.Equal(t, "0.00", total, "a closed period stays as it was billed")
	f.clean()
}

func TestThePiecesOfAMonthShareItsFreeHoursWhicheverIsIssuedFirst(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"the first piece first": {"2026-10-01", "2026-10-01.2"},
		"the last piece first":  {"2026-10-01.2", "2026-10-01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFreeHours(t)
			f.clock(october.AddDate(0, 0, 9))
			f.use(run("a", "u1", october, 30_000))
			require.NoError(t, f.EndPeriodNow(f.ctx, "acme", 0))
			f.clock(october.AddDate(0, 0, 19))
			f.use(run("b", "u1", f.now(), 30_000))
			f.clock(october.AddDate(0, 1, 0))
			for range order {
				_, err := f.Accrue(f.ctx, "acme", "")
				require.NoError(t, err)
			}
			f.clock(october.AddDate(0, 1, 1))
			sum := decimal.Zero
			for i, period := range order {
				total := f.issueNow(period).Total
				require.Equal(t, []string{"0.00 USD", "2.40 USD"}[i], total.String())
				sum = sum.Add(total.Amount)
			}
			require.Equal(t, "2.4", sum.String(), "60,000 seconds less 36,000")
			f.clean()
		})
	}
}

func TestParkedCodeIsMeteredOnceItHasAPrice(t *testing.T) {
	t.Parallel()
	book := freeHours("0.36")
	book.Tools = book.Tools[:1]
	f := newContract(t, book)
	at := october.Add(time.Hour)
	f.clock(at)
	f.use(with(use("search", "u1", at, 0), func(e *billing.Event) { e.Quantities[billing.WebSearch] = 100 }))
	require.Equal(t, []billing.UsageStatus{billing.UsageParked}, f.store(run("a", "u1", at, 7)))
	require.Equal(t, "1", f.spent(billing.ScopeOrganization, ""))
	_, err := f.LoadPriceBook(f.ctx, freeHours("0.36"), tester) // beside the search's price, which rates have already
	require.NoError(t, err)
	result, err := f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, result.Released)
	require.Equal(t, "1.03", f.spent(billing.ScopeOrganization, ""), "300 seconds")
	f.clean()
}

// Two tools change their prices at different times: each change leaves the other
// tool's prices of later times as they are.
func TestAToolsPriceChangesBesideAnothers(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	change := func(tool billing.Class, from time.Time, amount string) *billing.PriceBook {
		book := freeHours("0.36")
		for _, p := range book.Tools {
			if p.Tool == tool.String() {
				p.EffectiveFrom, p.Amount = from, decimal.RequireFromString(amount)
				book.Tools = append(book.Tools, p)
				break
			}
		}
		return book
	}
	searches, code := october.AddDate(10, 0, 20), october.AddDate(10, 0, 10) // they lie ahead for everybody
	for _, book := range []*billing.PriceBook{freeHours("0.36"), change(billing.WebSearch, searches, "20"), change(billing.CodeExecution, code, "0.72")} {
		_, err := f.LoadPriceBook(f.ctx, book, tester)
		require.NoError(t, err)
	}
	start := october.AddDate(10, 0, 0)
	f.create(billing.Organization{ID: "acme", StartsAt: start, TestClock: true, Now: start})
	spend := func(id string, at time.Time) string {
		f.clock(at)
		before := decimal.RequireFromString(f.total())
		f.use(run(id, "u1", at, 1000), with(use(id+" search", "u1", at, 0), func(e *billing.Event) { e.Quantities[billing.WebSearch] = 100 }))
		return decimal.RequireFromString(f.total()).Sub(before).String()
	}
	require.Equal(t, "1.1", spend("before", start), "0.10 of code and 1.00 of searches")
	require.Equal(t, "1.2", spend("between", code))
	require.Equal(t, "2.2", spend("after", searches))
	f.clean()
	_, err := f.WithdrawPrices(f.ctx, "contract", billing.PriceSelection{Tool: "code_execution", From: code}, tester)
	require.ErrorIs(t, err, billing.ErrConflict, "it is in force")
	f.reprice(change(billing.CodeExecution, code, "1.08"))
	require.Equal(t, "4.7", f.total(), "two times a thousand seconds at 0.36 more an hour")
	f.clean()
}

func TestAToolsPriceIsWithdrawnBesideAnothers(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	later := october.AddDate(20, 0, 0)
	book := freeHours("0.36")
	for _, p := range book.Tools {
		p.EffectiveFrom, p.Amount = later, p.Amount.Mul(decimal.NewFromInt(2))
		book.Tools = append(book.Tools, p)
	}
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	_, err = f.WithdrawPrices(f.ctx, "contract", billing.PriceSelection{Tool: "web_search", From: later}, tester)
	require.NoError(t, err)
	require.Equal(t, []string{"10 0.72"}, f.list(`SELECT DISTINCT concat_ws(' ', trim_scale(web_search), trim_scale(code_execution)) FROM rates WHERE tools_from > '2040-01-01'`))
}

func TestTermsOfMeteringCannotBeCorrectedBackwards(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	for name, c := range map[string]func(*billing.ToolPrice){
		"the minimum":   func(p *billing.ToolPrice) { p.Minimum = 1 },
		"the allowance": func(p *billing.ToolPrice) { p.FreePerMonth = 1 },
		"a change of it in the past": func(p *billing.ToolPrice) {
			p.FreePerMonth, p.EffectiveFrom = 1, october
		},
	} {
		book := freeHours("0.36")
		c(&book.Tools[1])
		_, err := f.Reprice(f.ctx, book, tester, false)
		require.ErrorIs(t, err, billing.ErrConflict, name)
		require.ErrorContains(t, err, "minimum and free_per_month cannot be corrected backwards", name)
	}
}

// total is what acme has spent in all its months.
func (f *fixture) total() string {
	f.t.Helper()
	var spend decimal.Decimal
	require.NoError(f.t, f.pool.QueryRow(f.ctx, `SELECT coalesce(sum(spend), 0) FROM spend_counters WHERE org_id = 'acme' AND scope = 'organization'`).Scan(&spend))
	return spend.String()
}

func TestAMemberOfWhomOnlyCodeIsLeftIsListed(t *testing.T) {
	t.Parallel()
	f := newFreeHours(t)
	f.use(run("a", "u1", october, 1000))
	f.endOctober()
	f.issueOctober()
	f.use(run("late", "u1", october.AddDate(0, 0, 20), 700), retract("undo", "a", f.now())) // as many events came as went
	summary, err := f.MembersAfter(f.ctx, "acme", "", nil, 10)
	require.NoError(t, err)
	require.Len(t, summary.Rows, 1)
	require.Equal(t, "u1", summary.Rows[0].User)
}
