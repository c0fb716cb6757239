package billing_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// bill is an invoice of April 2026.
func bill(currency billing.Currency, lines []billing.Line) *billing.Invoice {
	invoice := &billing.Invoice{ID: "acme/2026-04-01", PeriodID: "2026-04-01", PeriodStart: april.Start, PeriodEnd: april.End, Currency: currency, Lines: lines}
	invoice.AddUp()
	return invoice
}

func mustCompare(t require.TestingT, before, after *billing.Invoice) billing.Comparison {
	c, err := billing.CompareInvoices(before, after)
	require.NoError(t, err)
	return c
}

// effects are those that are not zero.
func effects(c billing.Comparison) map[billing.EffectName]string {
	told := map[billing.EffectName]string{}
	for _, e := range c.Effects {
		if !e.Amount.Amount.IsZero() {
			told[e.Effect] = e.Amount.String()
		}
	}
	return told
}

func TestThePartsOfADifferenceAddUpToIt(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		draw := func(label string) *billing.Invoice {
			statement.Discount = decimal.New(rapid.Int64Range(0, 9999).Draw(t, label+" discount"), -2)
			statement.Carried = nil
			if rapid.Bool().Draw(t, label+" carried") {
				statement.Carried = []billing.Carried{{InvoiceID: "acme/" + label, Amount: decimal.New(rapid.Int64Range(-500, 49).Draw(t, label+" amount"), -statement.Book.Currency.ChargeDigits())}}
			}
			return bill(statement.Book.Currency, linesOf(t, statement, totalsOf(t, rater, drawEvents(t, rater, label))))
		}
		before, after := draw("before"), draw("after")
		c := mustCompare(t, before, after)
		want := after.Total.Amount.Sub(before.Total.Amount).String()
		require.Equal(t, want, c.Difference.Amount.String())

		effects, lines, members, usage := decimal.Zero, decimal.Zero, c.NoMember.Amount, decimal.Zero
		for _, e := range c.Effects {
			effects = effects.Add(e.Amount.Amount)
		}
		for _, l := range c.Lines {
			lines = lines.Add(l.Difference.Amount)
			require.True(t, l.Difference.Amount.Equal(l.After.Amount.Sub(l.Before.Amount)))
		}
		for _, m := range c.Members {
			members = members.Add(m.Difference.Amount)
		}
		for _, u := range c.Usage {
			require.True(t, u.Difference.Amount.Equal(u.Volume.Amount.Add(u.Price.Amount)))
			usage = usage.Add(u.Difference.Amount)
		}
		require.Equal(t, want, effects.String(), "effects")
		require.Equal(t, want, lines.String(), "lines")
		require.Equal(t, want, members.String(), "members")
		require.Equal(t, usage.String(), c.Effects[2].Amount.Amount.Add(c.Effects[3].Amount.Amount).String(), "usage is volume and price")

		back := mustCompare(t, after, before)
		require.Equal(t, c.Difference.Amount.Neg().String(), back.Difference.Amount.String())
		for _, e := range mustCompare(t, after, after).Effects {
			require.True(t, e.Amount.Amount.IsZero(), "a bill does not differ from itself")
		}
	})
}

func TestADifferenceIsPartedInVolumeAndPrice(t *testing.T) {
	t.Parallel()
	use := func(user, day string, output int64) billing.Event {
		return event(user, "chat", "m", date(day), billing.Quantities{billing.Output: output})
	}
	of := func(events ...billing.Event) *billing.Invoice { return bill("USD", billUsage(t, events...)) }
	old := of(use("ana", "2026-04-01", 100_000_000)) // at 5 until the 10th, then at 4
	for name, c := range map[string]struct {
		after *billing.Invoice
		want  map[billing.EffectName]string
	}{
		"twice as much":           {of(use("ana", "2026-04-01", 200_000_000)), map[billing.EffectName]string{billing.EffectUsageVolume: "500.00 USD"}},
		"as much, cheaper":        {of(use("ana", "2026-04-20", 100_000_000)), map[billing.EffectName]string{billing.EffectUsagePrice: "-100.00 USD"}},
		"half of it cheaper":      {of(use("ana", "2026-04-01", 50_000_000), use("ana", "2026-04-20", 50_000_000)), map[billing.EffectName]string{billing.EffectUsagePrice: "-50.00 USD"}},
		"twice as much, cheaper":  {of(use("ana", "2026-04-20", 200_000_000)), map[billing.EffectName]string{billing.EffectUsageVolume: "500.00 USD", billing.EffectUsagePrice: "-200.00 USD"}},
		"nothing any more":        {of(), map[billing.EffectName]string{billing.EffectUsageVolume: "-500.00 USD"}},
		"as much, and some late":  {of(use("ana", "2026-04-01", 100_000_000), use("ben", "2026-03-20", 1_000_000)), map[billing.EffectName]string{billing.EffectLateUsage: "5.00 USD"}},
		"as much of another user": {of(use("ben", "2026-04-01", 100_000_000)), map[billing.EffectName]string{}},
	} {
		require.Equal(t, c.want, effects(mustCompare(t, old, c.after)), name)
	}
	moved := mustCompare(t, old, of(use("ben", "2026-04-01", 100_000_000)))
	require.Equal(t, "-500.00 USD", moved.Members[0].Difference.String())
	require.Equal(t, "ana", *moved.Members[0].User)
	require.Equal(t, "ben", *moved.Members[1].User)
	require.Equal(t, "same", moved.Lines[0].Change)

	euros := bill("EUR", nil)
	_, err := billing.CompareInvoices(old, euros)
	require.ErrorIs(t, err, billing.ErrInvalid)
}
