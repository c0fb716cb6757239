package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// listPrices are the default book's prices per million tokens, typed from the
// published table and not read from the product.
var listPrices = map[string]map[string]string{
	"claude-sonnet-4-5": {"input": "3", "output": "15"},
	"claude-haiku-4-5":  {"input": "1", "output": "5"},
	"claude-opus-4-1":   {"input": "15", "output": "75"},
}

// TestTheTracesOctoberIsBilledToTheCent bills October 2026 from production traces
// of LLM requests, and compares each charge line with totals that are counted
// here from the same events by other code: big rationals instead of decimals,
// encoding/json instead of the product's decoder, prices typed in.
func TestTheTracesOctoberIsBilledToTheCent(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("ARREARS_TRACES")
	if folder == "" {
		t.Skip("ARREARS_TRACES names no folder of traces")
	}
	usage, members := dealTraces(t, folder)
	want := countTraces(t, usage)

	s := startStack(t)
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", "2026-10-01T00:00:00Z", "--test-clock", "2026-10-01T00:00:00Z", "--payment-method", "pm_card_visa")
	s.must("seats", "import", "acme", members)
	s.must("cycle", "start", "acme")
	s.must("clock", "advance", "acme", "--to", "2026-11-03T00:00:00Z", "--usage", usage)

	var bill invoice
	s.read(&bill, "invoices", "show", "acme/2026-10-01", "--members")
	require.Equal(t, "paid", bill.Status)
	total := new(big.Rat)
	got := map[string]string{}
	for _, l := range bill.Lines {
		addTo(t, total, l.Amount.Amount)
		parts := new(big.Rat)
		for _, m := range l.Members {
			addTo(t, parts, m.Amount.Amount)
		}
		require.Zero(t, parts.Cmp(rat(t, l.Amount.Amount)), "the members' parts of %s add up", l.Key)
		if l.Kind == "usage" {
			got[l.Product+" "+l.Model+" "+l.TokenClass] = l.Quantity.String() + " tokens, " + l.Amount.Amount
		}
	}
	require.Equal(t, want, got)
	require.Zero(t, total.Cmp(rat(t, bill.Total.Amount)), "the lines add up")
	require.Equal(t, "31 31", seatDays(bill), "whole months of twenty members each, by tier")
	s.must("verify")
}

// dealTraces has the traces dealt to forty members.
func dealTraces(t *testing.T, folder string) (usage, members string) {
	t.Helper()
	dir := t.TempDir()
	usage, members = filepath.Join(dir, "usage.ndjson"), filepath.Join(dir, "members.csv")
	out, err := os.Create(usage)
	require.NoError(t, err)
	defer out.Close()
	var problems bytes.Buffer
	deal := exec.Command("python3", filepath.Join(folder, "trace2usage.py"),
		"--org", "acme", "--month", "2026-10", "--members", "40", "--members-out", members)
	deal.Stdout, deal.Stderr = out, &problems
	require.NoError(t, deal.Run(), problems.String())
	return usage, members
}

func countTraces(t *testing.T, usage string) map[string]string {
	t.Helper()
	file, err := os.Open(usage)
	require.NoError(t, err)
	defer file.Close()
	counts := map[[3]string]int64{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var event struct {
			Product, Model string
			Usage          map[string]int64
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		counts[[3]string{event.Product, event.Model, "input"}] += event.Usage["input_tokens"]
		counts[[3]string{event.Product, event.Model, "output"}] += event.Usage["output_tokens"]
	}
	want := map[string]string{}
	for key, tokens := range counts {
		amount := rat(t, listPrices[key[1]][key[2]])
		amount.Mul(amount, big.NewRat(tokens, 1_000_000))
		// FloatString rounds the exact rational half away from zero.
		want[key[0]+" "+key[1]+" "+key[2]] = fmt.Sprintf("%d tokens, %s", tokens, amount.FloatString(2))
	}
	require.Len(t, want, 12)
	return want
}

func seatDays(bill invoice) string {
	days := ""
	for _, l := range bill.Lines {
		if l.Kind == "seat" {
			each := big.NewRat(1, 20)
			quantity, _ := new(big.Rat).SetString(l.Quantity.String())
			if days != "" {
				days += " "
			}
			days += each.Mul(each, quantity).RatString()
		}
	}
	return days
}

func rat(t *testing.T, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	require.True(t, ok, "%q is a number", text)
	return r
}

func addTo(t *testing.T, sum *big.Rat, text string) {
	t.Helper()
	sum.Add(sum, rat(t, text))
}
