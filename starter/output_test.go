package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestTables(t *testing.T) {
	t.Parallel()
	type row struct{ who, amount, note string }
	var out bytes.Buffer
	writeTable(&out, []row{{"alice", "1.00", ""}, {"Ödön", "1,234.50", ""}},
		left("WHO", func(r row) string { return r.who }),
		right("AMOUNT", func(r row) string { return r.amount }),
		left("NOTE", func(r row) string { return r.note }))
	require.Equal(t, "WHO      AMOUNT\nalice      1.00\nÖdön   1,234.50\n", out.String(), "numbers at the right, and no empty column")
}

func TestListsAreNeverNull(t *testing.T) {
	t.Parallel()
	a, out, _ := newShell(t).app()
	a.format = formatJSON
	require.NoError(t, printList[int](a, nil, "nothing"))
	require.JSONEq(t, "[]", out.String())
	a.format = formatTable
	out.Reset()
	require.NoError(t, printList[int](a, nil, "nothing"))
	require.Equal(t, "nothing\n", out.String())
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	require.Equal(t, "1,234,567", showCount(1234567))
	require.Equal(t, "-1,234", showCount(-1234))
	require.Equal(t, "999", showCount(999))
	require.Equal(t, "12,345.678", showQuantity(decimal.RequireFromString("12345.678")))
	require.Equal(t, "24h", showDuration(24*time.Hour))
	require.Equal(t, "1h30m", showDuration(90*time.Minute))
	require.Equal(t, "0s", showDuration(0))
	require.Equal(t, "10m", showDuration(10*time.Minute))
	require.Equal(t, "3.00 USD", showCents(billing.Money{Amount: decimal.RequireFromString("3.0049"), Currency: "USD"}))
	require.Equal(t, "1 entry", plural(1, "entry"))
	require.Equal(t, "2 entries", plural(2, "entry"))
	require.Equal(t, "2 days", plural(2, "day"))
}

func TestMomentsAreInstantsOrDatesOfTheirOrganization(t *testing.T) {
	t.Parallel()
	org := billing.Organization{Timezone: "Asia/Tokyo", AnchorDay: 15}
	for given, want := range map[string]string{
		"2026-10-01":                          "2026-09-30T15:00:00Z",
		"2026-10-01T02:00:00+02:00":           "2026-10-01T00:00:00Z",
		"2026-10-01T00:00:00.123456789Z":      "2026-10-01T00:00:00.123456Z",
		"2026-10-01T00:00:00.000000000-00:00": "2026-10-01T00:00:00Z",
	} {
		var m moment
		require.NoError(t, m.Set(given))
		at, err := m.in(&org)
		require.NoError(t, err)
		require.Equal(t, want, at.Format(time.RFC3339Nano))
	}
	var m moment
	require.NoError(t, m.Set("2026-10-01"))
	require.Equal(t, "2026-10-01T00:00:00Z", m.inUTC().Format(time.RFC3339), "of a price, which is no organization's")
	for _, given := range []string{"", "now", "2026-13-01", "2026-10-01 00:00:00", "01.10.2026"} {
		require.ErrorContains(t, (&moment{}).Set(given), "accepted: a time like", given)
	}
}

func TestLimitAmounts(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"500.00": "500", "0": "0", "none": "none", "0.000001": "0.000001"} {
		var l limitAmount
		require.NoError(t, l.Set(given))
		require.Equal(t, want, l.String())
	}
	for _, given := range []string{"", "-1", "1e9", "NaN", "0.0000001", "10000000000001", "5 USD", "None"} {
		require.ErrorContains(t, (&limitAmount{}).Set(given), "accepted: an amount like 500.00", given)
	}
}

func TestSecondsOfCodeArePricedByTheHourForPeople(t *testing.T) {
	t.Parallel()
	price := billing.Money{Amount: decimal.RequireFromString("0.05"), Currency: "USD"}
	line := billing.Line{Kind: billing.KindUsage, Description: "code", Quantity: decimal.NewFromInt(-36_000), UnitPrice: price, Per: 3600, Amount: billing.Money{Amount: decimal.RequireFromString("-0.5"), Currency: "USD"}}
	require.Equal(t, invoiceRow{what: "code", quantity: "-36,000", price: "0.05 USD per hour", amount: "-0.50 USD"}, rowOf(line))
}
