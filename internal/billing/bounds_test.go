package billing_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

func aprilInvoice(charges, total string) *billing.Invoice {
	return &billing.Invoice{
		ID: "acme/2026-04-01", Currency: "USD", PeriodStart: april.Start, PeriodEnd: april.End, Subtotal: usd(charges), Total: usd(total),
	}
}

func marchCharged(amount string) *billing.Charged {
	return &billing.Charged{Period: billing.Period{Start: date("2026-03-01"), End: april.Start}, Amount: dec(amount)}
}

func TestAPriceTypedAThousandTimesTooHighExceedsTheBounds(t *testing.T) {
	t.Parallel()
	usual := billing.DefaultBounds("USD")
	for name, c := range map[string]struct {
		bounds  billing.Bounds
		invoice *billing.Invoice
		before  *billing.Charged
		want    []string
	}{
		"a month as ever":                  {usual, aprilInvoice("180", "180"), marchCharged("170"), nil},
		"ten times is the bound":           {usual, aprilInvoice("1700", "1700"), marchCharged("170"), nil},
		"more than ten times":              {usual, aprilInvoice("1700.01", "1700.01"), marchCharged("170"), []string{"charges of 1700.01 USD are more than 10 times the 170.00 USD to be expected after the period before"}},
		"small amounts may grow anyhow":    {usual, aprilInvoice("1000", "1000"), marchCharged("1"), nil},
		"after a month without charges":    {usual, aprilInvoice("1000.01", "1000.01"), marchCharged("0"), []string{"charges of 1000.01 USD are more than 10 times the 0.00 USD to be expected after the period before"}},
		"nothing to compare with":          {usual, aprilInvoice("900000", "900000"), nil, nil},
		"what was carried is no growth":    {usual, aprilInvoice("170", "9000"), marchCharged("170"), nil},
		"a total bound":                    {billing.Bounds{Total: nullDec("500")}, aprilInvoice("500.01", "500.01"), nil, []string{"total 500.01 USD is above the bound of 500.00 USD"}},
		"a total at its bound":             {billing.Bounds{Total: nullDec("500")}, aprilInvoice("500", "500"), nil, nil},
		"a credit within":                  {billing.Bounds{Credit: nullDec("50")}, aprilInvoice("-50", "-50"), nil, nil},
		"a credit beyond":                  {billing.Bounds{Credit: nullDec("50")}, aprilInvoice("-50.01", "-50.01"), nil, []string{"charges of -50.01 USD lie further below zero than the bound of 50.00 USD"}},
		"a carried credit explains itself": {billing.Bounds{Credit: nullDec("50")}, aprilInvoice("20", "-5000"), nil, nil},
		"no bounds":                        {billing.Bounds{Growth: nullDec("0"), Total: nullDec("0"), Credit: nullDec("0")}, aprilInvoice("90000", "90000"), marchCharged("1"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, c.bounds.Exceeded(c.invoice, c.before))
		})
	}
}

func TestAMonthAfterAShortFirstPeriodIsGrantedMore(t *testing.T) {
	t.Parallel()
	short := &billing.Charged{Period: billing.Period{Start: april.Start.Add(-24 * time.Hour), End: april.Start}, Amount: dec("100")}
	bounds := billing.DefaultBounds("USD")
	require.Empty(t, bounds.Exceeded(aprilInvoice("30000", "30000"), short), "thirty days of 100, ten times")
	require.NotEmpty(t, bounds.Exceeded(aprilInvoice("30000.01", "30000.01"), short))
	long := aprilInvoice("1700", "1700")
	long.PeriodEnd = long.PeriodStart.Add(time.Hour)
	require.Empty(t, bounds.Exceeded(long, marchCharged("170")), "a short piece is not granted less")
}

func TestBoundsOfTheOrganizationComeBeforeThoseOfTheInstallation(t *testing.T) {
	t.Parallel()
	own := billing.Bounds{Growth: nullDec("3"), Total: nullDec("0")}
	installation := billing.Bounds{Growth: nullDec("5"), Total: nullDec("100"), Credit: nullDec("7")}
	got := own.Or(installation).Or(billing.DefaultBounds("JPY"))
	require.Equal(t, []string{"3", "0", "7", "100000"},
		[]string{got.Growth.Decimal.String(), got.Total.Decimal.String(), got.Credit.Decimal.String(), got.Floor.Decimal.String()})
	require.False(t, got.FourEyes.Valid)
	require.ErrorIs(t, billing.Bounds{Floor: nullDec("-1")}.Check(), billing.ErrInvalid)
}

func TestAReleaseHoldsForTheTotalThatWasSeen(t *testing.T) {
	t.Parallel()
	growth := billing.Holds{Reasons: []string{"charges grew"}}
	oversize := billing.Holds{Oversize: "total is above the largest charge"}
	by := func(actor, total string, transfer bool) billing.Release {
		return billing.Release{Actor: actor, Total: dec(total), BankTransfer: transfer}
	}
	none := decimal.NullDecimal{}
	for name, c := range map[string]struct {
		holds    billing.Holds
		total    string
		releases []billing.Release
		fourEyes decimal.NullDecimal
		want     billing.Released
	}{
		"nobody yet": {
			growth, "5000", nil, none,
			billing.Released{Why: "charges grew: look at it, then starter invoices release acme/2026-04-01"},
		},
		"released":             {growth, "5000", []billing.Release{by("ann", "5000", false)}, none, billing.Released{Done: true}},
		"grown by one percent": {growth, "5050", []billing.Release{by("ann", "5000", false)}, none, billing.Released{Done: true}},
		"grown by more": {
			growth, "5050.01",
			[]billing.Release{by("ann", "5000", false)},
			none,
			billing.Released{Why: "charges grew: look at it, then starter invoices release acme/2026-04-01"},
		},
		"shrunk": {growth, "4000", []billing.Release{by("ann", "5000", false)}, none, billing.Released{Done: true}},
		"a credit is not released by a charge": {
			growth, "-10",
			[]billing.Release{by("ann", "5000", false)},
			none,
			billing.Released{Why: "charges grew: look at it, then starter invoices release acme/2026-04-01"},
		},
		"one of two": {
			growth, "5000",
			[]billing.Release{by("ann", "5000", false), by("ann", "5000", false)},
			nullDec("4999"),
			billing.Released{Why: "charges grew: released by 1 of 2 people; another one: starter invoices release acme/2026-04-01"},
		},
		"none of two": {
			growth, "5000", nil, nullDec("4999"),
			billing.Released{Why: "charges grew: two people look at it, then each: starter invoices release acme/2026-04-01"},
		},
		"two of two":             {growth, "5000", []billing.Release{by("ann", "5000", false), by("ben", "5000", false)}, nullDec("4999"), billing.Released{Done: true}},
		"one is enough up to it": {growth, "5000", []billing.Release{by("ann", "5000", false)}, nullDec("5000"), billing.Released{Done: true}},
		"too large to charge": {
			oversize, "5000",
			[]billing.Release{by("ann", "5000", false)},
			none,
			billing.Released{Why: "total is above the largest charge: look at it, then starter invoices release acme/2026-04-01 --bank-transfer, or --split to charge it in parts"},
		},
		"by bank transfer": {oversize, "5000", []billing.Release{by("ann", "5000", true)}, none, billing.Released{Done: true, BankTransfer: true}},
		"a fault": {
			billing.Holds{Faults: []string{"no price"}, Reasons: []string{"charges grew"}},
			"5000",
			[]billing.Release{by("ann", "5000", true)},
			none,
			billing.Released{Why: "no price; charges grew"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, c.holds.Release(aprilInvoice(c.total, c.total), c.releases, c.fourEyes))
		})
	}
}

// TestLinesDealtOutAfterwardsAreTheSame computes lines from totals across all
// members, deals them out, and compares with lines that were computed with their
// members from the start: byte for byte.
func TestLinesDealtOutAfterwardsAreTheSame(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		totals := addUp(totalsOf(t, rater, drawEvents(t, rater, "events")))
		for i := range totals { // a retraction of another period's usage
			if rapid.IntRange(0, 4).Draw(t, "retracted") == 0 {
				for c := range totals[i].Counts {
					totals[i].Counts[c] = totals[i].Counts[c].Neg()
				}
			}
		}
		want := asJSON(t, linesOf(t, statement, totals))

		parts := map[string]map[string]decimal.Decimal{}
		var across []billing.UsageTotal
		for _, total := range totals {
			for _, class := range billing.Classes() {
				if quantity := total.Counts[class]; !quantity.IsZero() {
					key := total.LineKey(class)
					if parts[key] == nil {
						parts[key] = map[string]decimal.Decimal{}
					}
					parts[key][total.User] = parts[key][total.User].Add(quantity)
				}
			}
			total.User = ""
			across = append(across, total)
		}
		lines := linesOf(t, statement, across)
		for i := range lines {
			var dealt []billing.Allocation
			for _, user := range []string{"", "ana", "ben", "eva"} {
				if quantity, used := parts[lines[i].Key][user]; used {
					dealt = append(dealt, billing.Allocation{User: user, Quantity: quantity})
				}
			}
			require.NoError(t, lines[i].Allocate(dealt))
		}
		require.Equal(t, want, asJSON(t, lines))
	})
}

func TestPartsThatDoNotAddUpToTheirLineAreRefused(t *testing.T) {
	t.Parallel()
	lines := billUsage(t, event("ana", "chat", "m", date("2026-04-09"), billing.Quantities{billing.Input: 12}))
	require.ErrorContains(t, lines[0].Allocate([]billing.Allocation{{User: "ana", Quantity: dec("11")}}), "add up to 11, not to 12")
}
