package acceptance

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The year runs over a leap day and every kind of month.
var (
	yearStart  = time.Date(2027, 5, 20, 0, 0, 0, 0, time.UTC)
	yearMiddle = time.Date(2027, 12, 20, 0, 0, 0, 0, time.UTC)
	yearEnd    = time.Date(2028, 6, 5, 0, 0, 0, 0, time.UTC)
)

// Zones on both edges of the date, with odd offsets, and one whose clocks
// change at midnight.
var zones = []string{
	"UTC", "America/New_York", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Honolulu",
}

// customer is one organisation of the year, and what happens to it.
type customer struct {
	id       string
	zone     string
	anchor   int
	declines bool // its first card is declined until the middle of the year
	upgrades bool // a member changes tier in the middle of the year
}

// TestAYearOfManyOrganisationsIsBilledToTheCent lets a year pass on test clocks
// through the real stack. Usage lines are compared with a count of the same
// events by other code; verify recounts and reconciles the rest.
func TestAYearOfManyOrganisationsIsBilledToTheCent(t *testing.T) {
	t.Parallel()
	count := 6
	if text := os.Getenv("ARREARS_YEAR_ORGS"); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		require.NoError(t, err, "ARREARS_YEAR_ORGS is a number of organisations")
	}
	const seed = 20270520
	t.Logf("%d organisations, seed %d", count, seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	customers := make([]customer, count)
	for i := range customers {
		customers[i] = customer{
			id:       fmt.Sprintf("org-%03d", i),
			zone:     zones[i%len(zones)],
			anchor:   []int{1, 31, 15, 29, 30}[i%5],
			declines: i%6 == 4,
			upgrades: i%3 == 0,
		}
	}
	events := yearOfUsage(dice, customers)

	s := startStack(t)
	s.patience = time.Hour
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "import", writeLines(t, "orgs.ndjson", contracts(customers)))
	for _, c := range customers {
		s.must("seats", "assign", c.id, "ada", "--tier", "chat")
		s.must("seats", "assign", c.id, "bob", "--tier", "chat_claude_code")
		s.must("limits", "set", c.id, "--org", "--amount", "30.00")
	}
	s.must("cycle", "start", "--all")

	before, after := split(events, yearMiddle)
	s.must("clock", "advance", "--all", "--to", yearMiddle.Format(time.RFC3339), "--usage", writeLines(t, "first.ndjson", before))
	for _, c := range customers {
		if c.declines {
			s.must("payments", "set-method", c.id, "pm_card_visa")
		}
		if c.upgrades {
			s.must("seats", "assign", c.id, "ada", "--tier", "chat_claude_code", "--at", yearMiddle.AddDate(0, 0, 10).Format(time.RFC3339))
		}
	}
	s.must("clock", "advance", "--all", "--to", yearEnd.Format(time.RFC3339), "--usage", writeLines(t, "second.ndjson", after))

	for _, c := range customers {
		c.check(s, events)
	}
	s.must("verify")
}

// check compares an organisation's invoices with its events.
func (c customer) check(s *stack, events []yearEvent) {
	s.t.Helper()
	var bills []invoice
	s.read(&bills, "invoices", "list", c.id)
	bills = slices.DeleteFunc(bills, func(b invoice) bool { return b.Status == "draft" })
	slices.SortFunc(bills, func(a, z invoice) int { return a.PeriodStart.Compare(z.PeriodStart) })
	require.Len(s.t, bills, c.months(), "%s, anchor %d in %s", c.id, c.anchor, c.zone)
	for i, head := range bills {
		require.Equal(s.t, "paid", head.Status, head.ID)
		if i > 0 {
			require.Equal(s.t, bills[i-1].PeriodEnd, head.PeriodStart, "no gap and no overlap before %s", head.ID)
		}
		var bill invoice
		s.read(&bill, "invoices", "show", head.ID)
		want, got := c.count(events, bill.PeriodStart, bill.PeriodEnd), map[string]string{}
		for _, l := range bill.Lines {
			if l.Kind == "usage" {
				got[l.Product+" "+l.Model+" "+l.TokenClass] = l.Quantity.String() + " tokens, " + l.Amount.Amount
			}
		}
		require.Equal(s.t, want, got, bill.ID)
	}
}

// months counts the billing months that have ended, and whose draft windows
// have, by the end of the year: from the short first one on.
func (c customer) months() (count int) {
	zone, err := time.LoadLocation(c.zone)
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		first := time.Date(2027, time.Month(5+n), 1, 0, 0, 0, 0, zone)
		last := first.AddDate(0, 1, -1).Day()
		boundary := first.AddDate(0, 0, min(c.anchor, last)-1)
		if boundary.Add(24 * time.Hour).After(yearEnd) {
			return count
		}
		if boundary.After(yearStart) {
			count++
		}
	}
}

// yearEvent is a usage event, as a file has it.
type yearEvent struct {
	ID           string         `json:"id"`
	Organization string         `json:"organization"`
	User         string         `json:"user"`
	OccurredAt   time.Time      `json:"occurred_at"`
	Product      string         `json:"product"`
	Model        string         `json:"model"`
	Usage        map[string]int `json:"usage"`
}

// yearOfUsage deals each member a few requests a month.
func yearOfUsage(dice *rand.Rand, customers []customer) (events []yearEvent) {
	models := []string{"claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"}
	hours := int(yearEnd.Sub(yearStart).Hours())
	for _, c := range customers {
		for _, user := range []string{"ada", "bob"} {
			for range 30 {
				events = append(events, yearEvent{
					ID:           fmt.Sprintf("evt-%06d", len(events)),
					Organization: c.id,
					User:         user,
					OccurredAt:   yearStart.Add(time.Duration(dice.IntN(hours)) * time.Hour),
					Product:      "chat",
					Model:        models[dice.IntN(len(models))],
					Usage:        map[string]int{"input_tokens": dice.IntN(150_000), "output_tokens": 1 + dice.IntN(60_000)},
				})
			}
		}
	}
	slices.SortStableFunc(events, func(a, z yearEvent) int { return a.OccurredAt.Compare(z.OccurredAt) })
	return events
}

func split(events []yearEvent, at time.Time) (before, after []yearEvent) {
	i := slices.IndexFunc(events, func(e yearEvent) bool { return e.OccurredAt.After(at) })
	return events[:i], events[i:]
}

// count adds up an organisation's tokens between two instants and prices them,
// with big rationals and the prices typed from the published table.
func (c customer) count(events []yearEvent, start, end time.Time) map[string]string {
	tokens := map[[3]string]int64{}
	for _, e := range events {
		if e.Organization != c.id || e.OccurredAt.Before(start) || !e.OccurredAt.Before(end) {
			continue
		}
		for class, field := range map[string]string{"input": "input_tokens", "output": "output_tokens"} {
			if n := e.Usage[field]; n > 0 {
				tokens[[3]string{e.Product, e.Model, class}] += int64(n)
			}
		}
	}
	lines := map[string]string{}
	for key, n := range tokens {
		price, ok := new(big.Rat).SetString(listPrices[key[1]][key[2]])
		if !ok {
			panic("no price of " + key[1])
		}
		amount := price.Mul(price, big.NewRat(n, 1_000_000))
		lines[strings.Join(key[:], " ")] = fmt.Sprintf("%d tokens, %s", n, amount.FloatString(2))
	}
	return lines
}

// contracts are the lines of org import.
func contracts(customers []customer) (lines []map[string]any) {
	for _, c := range customers {
		card := "pm_card_visa"
		if c.declines {
			card = "pm_card_chargeCustomerFail"
		}
		lines = append(lines, map[string]any{
			"id": c.id, "timezone": c.zone, "anchor_day": c.anchor, "payment_method": card,
			"start": yearStart, "test_clock": yearStart,
		})
	}
	return lines
}

// writeLines writes one JSON object a line into a file of the test's own.
func writeLines[T any](t *testing.T, name string, values []T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	for encoder := json.NewEncoder(file); len(values) > 0; values = values[1:] {
		require.NoError(t, encoder.Encode(values[0]))
	}
	return path
}
