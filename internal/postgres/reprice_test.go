package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// times returns a book with the token prices of some of its rows multiplied.
func times(book *billing.PriceBook, factor string, which func(billing.ModelPrice) bool) *billing.PriceBook {
	for i, p := range book.Models {
		if which(p) {
			for c := range p.PerMillion {
				book.Models[i].PerMillion[c] = p.PerMillion[c].Mul(decimal.RequireFromString(factor))
			}
		}
	}
	return book
}

func isModel(name string) func(billing.ModelPrice) bool {
	return func(p billing.ModelPrice) bool { return p.Model == name }
}

func doubleHaiku() *billing.PriceBook {
	return times(pricebook.Default(), "2", isModel("claude-haiku-4-5"))
}

func (f *fixture) reprice(book *billing.PriceBook) postgres.Repricing {
	f.t.Helper()
	done, err := f.Reprice(f.ctx, book, tester, false)
	require.NoError(f.t, err)
	return done
}

// bill is everything of an invoice that a customer can see, but its number.
func bill(invoice billing.Invoice) []string {
	lines := []string{invoice.Subtotal.String(), invoice.Total.String()}
	for _, l := range invoice.Lines {
		lines = append(lines, fmt.Sprint(l.Key, l.Quantity, l.UnitPrice, l.Exact, l.Amount, l.PeriodOfOrigin))
		for _, m := range l.Members {
			lines = append(lines, fmt.Sprint(m.User, m.Quantity, m.Exact, m.Amount))
		}
	}
	return lines
}

func (f *fixture) list(query string) []string {
	f.t.Helper()
	rows, err := f.pool.Query(f.ctx, query)
	require.NoError(f.t, err)
	defer rows.Close()
	list := []string{}
	for rows.Next() {
		var one string
		require.NoError(f.t, rows.Scan(&one))
		list = append(list, one)
	}
	require.NoError(f.t, rows.Err())
	return list
}

const (
	allCounters = `SELECT concat_ws(' ', window_start, scope, subject, trim_scale(spend)) FROM spend_counters ORDER BY 1`
	allTotals   = `
SELECT concat_ws(' ', t.period_id, t.origin_id, t.user_id, t.product, t.model, t.events, t.input, t.output, t.cache_write_5m,
                 t.cache_write_1h, t.cache_read, t.web_search, r.speed, r.effective_from, r.prompt_tokens_above, r.service_tier, r.us_only, r.tools_from)
  FROM usage_totals t JOIN rates r ON r.id = t.rate_id ORDER BY 1`
	closedRates = `SELECT concat_ws(' ', event_id, rate_id) FROM usage_events WHERE period_id = '2026-10-01' ORDER BY 1`
)

func TestAWrongPriceIsCorrectedOverOpenPeriodsOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	last := october.AddDate(0, 1, 0).Add(-time.Microsecond)
	f.store(use("billed", "u1", october, 200_000))
	f.endOctober()
	f.issueOctober()
	billed, before := f.list(closedRates), f.issued(octoberInvoice)
	f.store(use("late", "u1", last, 400_000), use("november", "u2", f.now(), 100_000))

	done := f.reprice(doubleHaiku())
	require.Len(t, done.Changes, 1)
	require.Equal(t, "5", done.Changes[0].Before.Terms["output"])
	require.Equal(t, "10", done.Changes[0].After.Terms["output"])
	require.Len(t, done.Organizations, 1)
	require.EqualValues(t, 2, done.Organizations[0].Events)
	require.Equal(t, "2.50 USD", done.Organizations[0].Difference.String())

	require.Equal(t, billed, f.list(closedRates), "the events of a closed period keep their rates")
	require.Equal(t, before, f.issued(octoberInvoice))
	require.Equal(t, "5.00 USD", f.preview().Total.String(), "4.00 late, 1.00 of november")
	require.Equal(t, "5", f.spent(billing.ScopeOrganization, ""), "1 as it was billed, 4 as corrected")
	require.Equal(t, []string{"5 10"}, f.list(`SELECT concat_ws(' ', changes #>> '{0,before,terms,output}', changes #>> '{0,after,terms,output}') FROM price_changes`))
	require.Equal(t, []string{"2 2.5"}, f.list(`SELECT concat_ws(' ', events, trim_scale(difference)) FROM price_change_organizations`))
	require.Len(t, f.list(`SELECT action FROM audit_log WHERE action = 'prices.reprice'`), 2, "of the book and of the organisation")
	f.clean()

	again := f.reprice(doubleHaiku())
	require.Empty(t, again.Changes)
	require.Empty(t, again.Organizations)
	require.Equal(t, done.Revision, again.Revision)
	f.clean()
	f.store(use("next", "u1", f.now(), 100_000))
	require.Equal(t, "6.00 USD", f.preview().Total.String())
	f.reprice(pricebook.Default())
	require.Equal(t, "3.00 USD", f.preview().Total.String(), "and back")
	f.clean()
}

func (f *fixture) issued(id string) billing.Invoice {
	f.t.Helper()
	invoice, err := f.Invoice(f.ctx, id, true)
	require.NoError(f.t, err)
	return invoice
}

func TestRepriceRehearsedChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "1")
	f.store(use("a", "u1", october, 100_000))
	facts := func() [][]string {
		return [][]string{f.list(allTotals), f.list(allCounters), f.notices(), f.list(`SELECT revision::text FROM price_books`)}
	}
	before := facts()
	rehearsed, err := f.Reprice(f.ctx, doubleHaiku(), tester, true)
	require.NoError(t, err)
	require.True(t, rehearsed.DryRun)
	require.Equal(t, before, facts())
	require.Zero(t, f.count("price_changes"))
	done := f.reprice(doubleHaiku())
	require.Equal(t, rehearsed.Changes, done.Changes)
	require.Equal(t, rehearsed.Organizations, done.Organizations)
	require.Equal(t, rehearsed.Revision, done.Revision)
}

// TestRepriceGivesTheBillOfTheRightPriceFromTheBeginning makes wrong books out
// of the right one at random, bills by them, corrects them, and holds everything
// against a database that had the right one all along.
func TestRepriceGivesTheBillOfTheRightPriceFromTheBeginning(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			right, wrong := newContract(t, contractBook()), newContract(t, wrongBook(random))
			var usage []billing.UsageItem
			for i := range 12 {
				at := october.Add(time.Duration(random.Int64N(int64(30 * day))))
				usage = append(usage, right.octoberUsage(at, fmt.Sprint(i))...)
			}
			for _, f := range []*fixture{right, wrong} {
				f.seat("u1", "chat", true)
				f.seat("u2", "chat_claude_code", false)
				f.clock(october.AddDate(0, 1, 0).Add(-time.Second))
				for items := range slices.Chunk(usage, 17) {
					f.use(items...)
				}
			}
			require.NotEqual(t, bill(right.preview()), bill(wrong.preview()))
			wrong.reprice(contractBook())
			require.Equal(t, bill(right.preview()), bill(wrong.preview()))
			require.Equal(t, right.list(allTotals), wrong.list(allTotals))
			require.Equal(t, right.list(allCounters), wrong.list(allCounters))
			wrong.clean()
			for _, f := range []*fixture{right, wrong} {
				f.endOctober()
				require.Equal(t, billing.StatusOpen, f.issueOctober().Status)
			}
			require.Equal(t, bill(right.issued(octoberInvoice)), bill(wrong.issued(octoberInvoice)))
			wrong.clean()
		})
	}
}

func newContract(t *testing.T, book *billing.PriceBook) *fixture {
	t.Helper()
	pool := pgtest.New(t)
	f := &fixture{postgres.New(pool), t, t.Context(), pool}
	_, err := f.LoadPriceBook(f.ctx, book, tester)
	require.NoError(t, err)
	f.create(billing.Organization{ID: "acme", StartsAt: october, TestClock: true, Now: october})
	return f
}

// wrongBook is the contract's book with wrong amounts and modifiers, some of its
// versions and bands missing, another price for searches and for seats.
func wrongBook(random *rand.Rand) *billing.PriceBook {
	book := contractBook()
	middle := october.AddDate(0, 0, 14)
	drop := random.IntN(3)
	book.Models = slices.DeleteFunc(book.Models, func(p billing.ModelPrice) bool {
		return p.Model == "claude-test" && (drop == 1 && p.EffectiveFrom.Equal(middle) || drop == 2 && p.PromptTokensAbove > 0)
	})
	for i := range book.Models {
		p := &book.Models[i]
		if p.Model != "claude-test" && p.Model != "claude-haiku-4-5" || random.IntN(3) == 0 {
			continue
		}
		p.PerMillion[billing.Output] = decimal.New(random.Int64N(9999), -2)
		if p.Model == "claude-test" && random.IntN(2) == 0 {
			p.Batch = decimal.NewNullDecimal(decimal.RequireFromString("0.9"))
			p.USOnly = decimal.NullDecimal{}
		}
	}
	book.Tools[0].Amount = decimal.NewFromInt(77)
	book.Seats[0].Amount = decimal.NewFromInt(random.Int64N(100))
	return book
}

func TestRepriceAcrossPeriodsThatAreBilledAlready(t *testing.T) {
	t.Parallel()
	f := newYear(t) // October and November are closed; December runs; beta too
	lines := f.list(`SELECT concat_ws(' ', invoice_id, n, amount) FROM invoice_lines ORDER BY 1`)
	closed := f.list(`SELECT concat_ws(' ', event_id, rate_id) FROM usage_events WHERE period_id < '2026-12-01' AND org_id = 'acme' ORDER BY 1`)
	book := times(contractBook(), "3", func(p billing.ModelPrice) bool { return p.Model == "claude-test" || p.Model == "claude-haiku-4-5" })
	book.Tools[0].Amount = decimal.NewFromInt(20)
	for i := range book.Seats {
		book.Seats[i].Amount = book.Seats[i].Amount.Add(decimal.NewFromInt(7))
	}
	early := book.Tools[0] // a change of prices in the past that nobody had entered
	early.EffectiveFrom, early.Amount = october.AddDate(0, 0, 3), decimal.NewFromInt(30)
	book.Tools = append(book.Tools, early)
	done := f.reprice(book)
	require.Len(t, done.Organizations, 2)
	require.Equal(t, lines, f.list(`SELECT concat_ws(' ', invoice_id, n, amount) FROM invoice_lines ORDER BY 1`))
	require.Equal(t, closed, f.list(`SELECT concat_ws(' ', event_id, rate_id) FROM usage_events WHERE period_id < '2026-12-01' AND org_id = 'acme' ORDER BY 1`))
	f.clean()
	f.reprice(contractBook()) // lower again: spend falls below what was noticed
	f.clean()
}

func TestRepriceSaysWhatIsNewlyReachedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.limit(billing.ScopeOrganization, "", "10")
	f.limit(billing.ScopeSeatTier, "chat", "8")
	f.store(use("a", "u1", october, 1_000_000)) // 5.00
	require.Empty(t, f.notices())
	f.reprice(doubleHaiku())
	all := []string{
		"organization  75% v1 recorded", "organization  90% v1 recorded", "organization  100% v1 pending",
		"seat_tier u1 75% v1 recorded", "seat_tier u1 95% v1 recorded", "seat_tier u1 100% v1 pending",
	}
	require.ElementsMatch(t, all, f.notices())
	require.Positive(t, f.nudges("billing-cycle/acme"))
	f.clean()

	f.reprice(pricebook.Default()) // 5.00 again
	require.ElementsMatch(t, all, f.notices(), "what was said stays said")
	require.Equal(t, "5", f.spent(billing.ScopeOrganization, ""))
	f.clean()
	f.store(use("b", "u1", october, 1_000_000))
	require.ElementsMatch(t, all, f.notices(), "and is never said twice")
	f.clean()
}

func TestRepriceDoesNotReleaseParkedUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown := with(use("a", "u1", october, 1), func(e *billing.Event) { e.Model = "claude-next" })
	f.store(unknown, use("b", "u1", october, 200_000))
	done := f.reprice(times(f.bookWith("claude-next"), "2", isModel("claude-haiku-4-5")))
	require.EqualValues(t, 1, done.Releasable)
	require.Len(t, f.list(`SELECT event_id FROM usage_events WHERE rate_id IS NULL`), 1)
	require.Equal(t, "2", f.spent(billing.ScopeOrganization, ""))
	f.clean()
}

func TestRepriceRefusesWhatWouldLeaveUsageWithoutAPrice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(with(use("a", "u1", october, 1), func(e *billing.Event) { e.ServiceTier = billing.Batch }))
	book := pricebook.Default()
	for i, p := range book.Models {
		if p.Model == "claude-haiku-4-5" {
			book.Models[i].Batch = decimal.NullDecimal{}
		}
	}
	_, err := f.Reprice(f.ctx, book, tester, false)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "has no batch price")
	book = pricebook.Default()
	book.Seats[0].Products = []string{"cowork"}
	_, err = f.Reprice(f.ctx, book, tester, false)
	require.ErrorContains(t, err, "which products a seat covered cannot be corrected backwards")
	f.clean()
}

func TestRepriceWhileUsageIsStoredAndPeriodsCloseLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.endOctober()
	f.clock(october.AddDate(0, 1, 1))
	const writers, batches, each = 4, 12, 5
	var wait sync.WaitGroup
	for w := range writers {
		other := &fixture{postgres.New(f.pool), t, f.ctx, f.pool} // a gateway with a cache of its own
		wait.Go(func() {
			for b := range batches {
				var items []billing.UsageItem
				for i := range each {
					items = append(items, use(fmt.Sprintf("%d-%d-%d", w, b, i), fmt.Sprint("u", i), october.AddDate(0, 0, 25), 20_000))
				}
				other.use(items...)
			}
		})
	}
	wait.Go(func() {
		for i := range 3 {
			f.reprice(times(pricebook.Default(), fmt.Sprint(i+2), isModel("claude-haiku-4-5")))
		}
	})
	wait.Go(func() {
		time.Sleep(50 * time.Millisecond)
		for f.issueOctober().Status == billing.StatusDraft { // while a correction is under way
			time.Sleep(5 * time.Millisecond)
		}
	})
	wait.Wait()
	require.Equal(t, writers*batches*each, f.count("usage_events"))
	f.clean()
}

func TestRepriceThatWasInterruptedIsFinished(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 200_000))
	f.reprice(doubleHaiku())
	// As it stands between the change of prices and the organisation's turn.
	for _, statement := range []string{
		`UPDATE price_change_organizations SET done_at = NULL, events = 0, difference = 0`, `DELETE FROM price_change_spend`,
		`UPDATE usage_events SET rate_id = (SELECT r.id FROM rates r JOIN rates n USING (book, model, speed, effective_from, prompt_tokens_above, service_tier, tier_from, us_only, tools_from) WHERE n.id = rate_id AND r.superseded_at IS NOT NULL)`,
		`UPDATE usage_totals t SET rate_id = e.rate_id FROM usage_events e`, `UPDATE spend_counters SET spend = 1`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.NoError(t, err)
	}
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	require.NotEmpty(t, found)
	require.Equal(t, "1.00 USD", f.preview().Total.String(), "usage at the old price can be shown")
	f.endOctober()
	issued := f.issueOctober()
	require.Equal(t, billing.StatusDraft, issued.Status)
	require.Contains(t, issued.Reason, "a correction of prices is under way")

	nudges := f.nudges("invoice/" + octoberInvoice)
	done := f.reprice(doubleHaiku())
	require.Len(t, done.Organizations, 1)
	require.Greater(t, f.nudges("invoice/"+octoberInvoice), nudges, "the draft looks again")
	require.Equal(t, "2.00 USD", f.issueOctober().Total.String())
	f.clean()
}

// TestEverySeededCorruptionOfARepriceIsCaught spoils a database whose prices
// were corrected up and down in one way at a time.
func TestEverySeededCorruptionOfARepriceIsCaught(t *testing.T) {
	t.Parallel()
	f := newYear(t)
	f.limit(billing.ScopeOrganization, "", "30")
	book := times(contractBook(), "3", func(p billing.ModelPrice) bool { return p.Model == "claude-test" || p.Model == "claude-haiku-4-5" })
	for i := range book.Seats {
		book.Seats[i].Amount = book.Seats[i].Amount.Add(decimal.NewFromInt(7))
	}
	f.reprice(book)
	f.reprice(contractBook())
	f.reprice(times(contractBook(), "2", isModel("claude-haiku-4-5")))
	f.clean()
	f.backUp()
	for name, c := range map[string]struct{ check, corrupt string }{
		"a closed period's event has the corrected price": {"event_rate", `UPDATE usage_events SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'december haiku') WHERE event_id = 'november haiku'`},
		"an open period's event has the old price":        {"event_rate", `UPDATE usage_events SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'november haiku') WHERE event_id = 'december haiku'`},
		"what a price was is lost":                        {"event_rate", `DELETE FROM model_prices WHERE superseded_revision IS NOT NULL`},
		"what a price was is changed":                     {"event_rate", `UPDATE model_prices SET output = output + 1 WHERE superseded_revision IS NOT NULL`},
		"a period was billed by other prices":             {"event_rate", `UPDATE periods SET price_revision = price_revision + 1 WHERE id = '2026-11-01'`},
		"a seat's price then is lost":                     {"seat_lines", `DELETE FROM seat_prices WHERE added_revision = 0`},
		"a fall of spend that nobody recorded":            {"notice_unsound", `DELETE FROM price_change_spend WHERE difference < 0`},
		"a notice after a fall that explains it not":      {"notice_unsound", `UPDATE price_change_organizations SET last_notice = 0`},
		"a correction that is not finished":               {"reprice", `UPDATE price_change_organizations SET done_at = NULL WHERE org_id = 'beta'`},
		"a difference that is not":                        {"reprice", `UPDATE price_change_organizations SET difference = difference + 1 WHERE org_id = 'beta'`},
		"a counter that did not follow":                   {"spend_recount", `UPDATE spend_counters c SET spend = c.spend - s.difference FROM price_change_spend s WHERE s.org_id = c.org_id AND s.scope = c.scope AND s.subject = c.subject AND s.window_start = c.window_start`},
		"a total that did not follow":                     {"totals_recount", `UPDATE usage_totals SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'november haiku') WHERE period_id = '2026-12-01' AND model = 'claude-haiku-4-5'`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{f.Store, t, t.Context(), f.pool}
			defer f.restore(c.corrupt)
			f.spoil(c.corrupt)
			found, err := f.Verify(f.ctx, "", "")
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(found, func(d postgres.Difference) bool { return d.Check == c.check }), "%s is not among %v", c.check, found)
		})
	}
	f.clean()
}

func TestRepriceOfAToolAndOfAModelWithoutUSPrice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("plain", "u1", october, 200_000),
		with(use("search", "u1", october, 0), func(e *billing.Event) { e.Quantities[billing.WebSearch] = 100 }),
		with(use("us", "u2", october, 200_000), func(e *billing.Event) { e.InferenceGeo = billing.GeoUS }))
	require.Equal(t, "3.00 USD", f.preview().Total.String())
	book := pricebook.Default()
	book.Tools[0].Amount = book.Tools[0].Amount.Mul(decimal.NewFromInt(4))
	done := f.reprice(book)
	require.EqualValues(t, 1, done.Organizations[0].Events, "only searches cost another price")
	require.Equal(t, "6.00 USD", f.preview().Total.String())
	f.clean()
	done = f.reprice(doubleHaiku()) // and the tool as it was
	require.Equal(t, "-1.00 USD", done.Organizations[0].Difference.String())
	require.Equal(t, "5.00 USD", f.preview().Total.String())
	f.clean()
}
