package billing_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// describedBook prices one model in every way, and a tool twice.
func describedBook() *billing.PriceBook {
	row := func(speed, from string, above int64, output string) billing.ModelPrice {
		p := billing.ModelPrice{
			Model: "m", Speed: speed, EffectiveFrom: instant(from), PromptTokensAbove: above,
			PerMillion: prices("1", output, "1", "1", "0"), USOnly: nullDec("1.1"),
		}
		if speed == billing.Standard {
			p.Batch = nullDec("0.5")
		}
		return p
	}
	return &billing.PriceBook{
		Name: "described", Currency: "USD",
		Models: []billing.ModelPrice{
			row(billing.Standard, "2026-01-01T00:00:00Z", 0, "10"), row(billing.Standard, "2026-01-01T00:00:00Z", 200_000, "20"),
			row(billing.Fast, "2026-01-01T00:00:00Z", 0, "60"),
			row(billing.Standard, "2026-04-10T12:00:00Z", 0, "8"), row(billing.Standard, "2026-04-20T00:00:00Z", 0, "5"),
		},
		Tools: []billing.ToolPrice{
			{Tool: "web_search", Per: 1000, Amount: dec("10")},
			{Tool: "web_search", Per: 1000, Amount: dec("9"), EffectiveFrom: date("2026-04-10")},
			{Tool: "code_execution", Per: 3600, Amount: dec("0.05")},
		},
	}
}

// Two lines of one product, model and class differ by their price: each says in
// words why, and no more than that.
func TestALineSaysWhyItHasAnotherPrice(t *testing.T) {
	t.Parallel()
	early, noon, late := date("2026-04-01"), instant("2026-04-10T12:00:00Z"), date("2026-04-20")
	output := func(at time.Time, change func(*billing.Event)) billing.Event {
		e := event("ana", "chat", "m", at, billing.Quantities{billing.Output: 1000})
		e.Speed, e.ServiceTier, e.InferenceGeo = billing.Standard, billing.Standard, billing.GeoGlobal
		if change != nil {
			change(&e)
		}
		return e
	}
	batch := func(e *billing.Event) { e.ServiceTier = billing.Batch }
	us := func(e *billing.Event) { e.InferenceGeo = billing.GeoUS }
	fast := func(e *billing.Event) { e.Speed = billing.Fast }
	long := func(e *billing.Event) { e.Quantities[billing.CacheRead] = 200_001 }
	search := func(e *billing.Event) { e.Quantities = billing.Quantities{billing.WebSearch: 1} }
	runs := func(e *billing.Event) { e.Quantities = billing.Quantities{billing.CodeExecution: 360} }
	for name, c := range map[string]struct {
		events []billing.Event
		want   []string
	}{
		"one price":    {[]billing.Event{output(early, nil)}, []string{"10: chat m output"}},
		"batch":        {[]billing.Event{output(early, nil), output(early, batch)}, []string{"5: chat m output, batch", "10: chat m output"}},
		"batch alone":  {[]billing.Event{output(early, batch)}, []string{"5: chat m output, batch"}},
		"fast":         {[]billing.Event{output(early, nil), output(early, fast)}, []string{"10: chat m output", "60: chat m output, fast mode"}},
		"US-only":      {[]billing.Event{output(early, us)}, []string{"11: chat m output, US-only inference"}},
		"fast US-only": {[]billing.Event{output(early, func(e *billing.Event) { fast(e); us(e) })}, []string{"66: chat m output, fast mode, US-only inference"}},
		"a long prompt": {
			[]billing.Event{output(early, nil), output(early, long)},
			[]string{"10: chat m output", "20: chat m output, prompts over 200,000 tokens", "0: chat m cache read, prompts over 200,000 tokens"},
		},
		"a price change": {
			[]billing.Event{output(early, nil), output(noon, nil), output(late, nil)},
			[]string{"5: chat m output, price from 2026-04-20", "8: chat m output, price from 2026-04-10T12:00:00Z", "10: chat m output, price from 2026-01-01"},
		},
		"a price change and another kind": {
			[]billing.Event{output(early, nil), output(early, us), output(noon, nil)},
			[]string{"8: chat m output, price from 2026-04-10T12:00:00Z", "10: chat m output, price from 2026-01-01", "11: chat m output, US-only inference"},
		},
		"two kinds at one price": {
			[]billing.Event{output(early, batch), output(late, nil), output(noon, nil)},
			[]string{"5: chat m output, standard or batch", "8: chat m output"},
		},
		"a tool, however it was used": {
			[]billing.Event{output(early, func(e *billing.Event) { search(e); batch(e) }), output(early, func(e *billing.Event) { search(e); us(e) })},
			[]string{"10: chat m web search"},
		},
		"a tool's price change": {
			[]billing.Event{output(early, search), output(late, search)},
			[]string{"9: chat m web search, price from 2026-04-10", "10: chat m web search"},
		},
		"seconds of code": {[]billing.Event{output(early, runs)}, []string{"0.05: chat m code execution seconds"}},
		"late and batch": {
			[]billing.Event{output(date("2026-03-30"), batch), output(early, batch)},
			[]string{"5: chat m output, batch, used in the period from 2026-03-01", "5: chat m output, batch"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statement := aprilStatement(t, describedBook())
			rater := billing.NewRater(statement.Book, statement.Book.Rates())
			usage := totalsOf(t, rater, c.events)
			require.Equal(t, c.want, describe(linesOf(t, statement, usage)))
			slices.Reverse(usage)
			require.Equal(t, c.want, describe(linesOf(t, statement, usage)), "in any order")
		})
	}
}

func describe(lines []billing.Line) (words []string) {
	for _, line := range lines {
		words = append(words, line.UnitPrice.Amount.String()+": "+line.Description)
	}
	return words
}
