package usage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

// shape is a usage object as somebody published it, in testdata/field. Nothing of the
// object is edited; whose it was is left out. What it costs was worked out by another
// program than this one.
type shape struct {
	name string

	Source   string   `json:"source"` // repository, path, commit and line
	Kind     string   `json:"kind"`
	Note     string   `json:"note"`
	Model    *string  `json:"model"`     // null = the source does not say
	PricedAs string   `json:"priced_as"` // the model that stands in for it then
	Expected expected `json:"expected"`

	Usage json.RawMessage `json:"usage"`
}

// expected is what a shape costs by the book anthropic-2026-10, or why it has no price.
type expected struct {
	Cost    string            `json:"cost"`
	ByModel map[string]string `json:"by_model"` // where it is of several
	Parked  string            `json:"parked"`
}

// shapes reads every shape.
func shapes(tb testing.TB) []shape {
	tb.Helper()
	files, err := filepath.Glob("testdata/field/*.json")
	require.NoError(tb, err)
	all := make([]shape, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		require.NoError(tb, json.Unmarshal(text, &all[i]), file)
		all[i].name = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	return all
}

// line is a usage event with the shape's object, on one line.
func (s *shape) line(tb testing.TB) []byte {
	tb.Helper()
	var usage bytes.Buffer
	require.NoError(tb, json.Compact(&usage, s.Usage))
	return s.event(usage.Bytes())
}

// event is a usage event with a usage object.
func (s *shape) event(usage []byte) []byte {
	model := s.PricedAs
	if s.Model != nil {
		model = *s.Model
	}
	const event = `{"id":"evt_%s","organization":"acme","user":"alice","occurred_at":"2026-11-15T12:00:00Z","product":"chat","model":%q,"usage":%s}`
	return fmt.Appendf(nil, event, s.name, model, usage)
}

func TestEveryShapeOfTheFieldIsRatedOrParkedForAReason(t *testing.T) {
	t.Parallel()
	rater := raterOf(t, "anthropic-2026-10")
	for _, s := range shapes(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			require.NotEqual(t, s.Expected.Cost == "", s.Expected.Parked == "", "one of the two is expected")
			event, rejection := Decode(s.line(t))
			require.Nil(t, rejection)
			cost, byModel, parked := priceOf(rater, &event)
			require.Equal(t, s.Expected.Parked, parked)
			if parked != "" {
				return
			}
			require.Equal(t, s.Expected.Cost, cost.String())
			for model, want := range s.Expected.ByModel {
				require.Equal(t, want, byModel[model].String(), model)
			}
			require.True(t, len(s.Expected.ByModel) == len(byModel) || s.Expected.ByModel == nil && len(byModel) == 1, byModel)
		})
	}
}

func TestAShapeIsTheSameContentHoweverItIsSpelt(t *testing.T) {
	t.Parallel()
	for _, s := range shapes(t) {
		first, rejection := Decode(s.line(t))
		require.Nil(t, rejection, s.name)
		var members map[string]any
		require.NoError(t, json.Unmarshal(s.Usage, &members))
		members["said_nothing"] = nil
		sorted, err := json.Marshal(members)
		require.NoError(t, err)
		for _, spelt := range [][]byte{s.Usage, sorted} {
			second, rejection := Decode(s.event(spelt))
			require.Nil(t, rejection, s.name)
			require.Equal(t, first.Fingerprint(), second.Fingerprint(), s.name)
		}
		members["input_tokens"] = 987_654
		other, err := json.Marshal(members)
		require.NoError(t, err)
		changed, _ := Decode(s.event(other))
		require.NotEqual(t, first.Fingerprint(), changed.Fingerprint(), s.name)
	}
}

func TestTheShapesAreOfManySources(t *testing.T) {
	t.Parallel()
	kinds := map[string]int{}
	for _, s := range shapes(t) {
		require.NotEmpty(t, s.Source, s.name)
		require.NotEmpty(t, s.Note, s.name)
		kinds[s.Kind]++
	}
	for _, kind := range []string{"api", "streaming", "batch", "bedrock", "vertex", "claude_code", "opentelemetry", "litellm"} {
		require.GreaterOrEqual(t, kinds[kind], 2, kind)
	}
}

// raterOf rates by a price book that ships.
func raterOf(tb testing.TB, name string) *billing.Rater {
	tb.Helper()
	for _, file := range pricebook.Shipped() {
		if file.Name == name {
			book, err := pricebook.Parse(file.YAML)
			require.NoError(tb, err)
			return billing.NewRater(book, book.Rates())
		}
	}
	require.FailNow(tb, "no such book", name)
	return nil
}

// priceOf is what an event costs, in all and by model, or why it has no price.
func priceOf(rater *billing.Rater, event *billing.Event) (cost decimal.Decimal, byModel map[string]decimal.Decimal, parked string) {
	byModel = map[string]decimal.Decimal{}
	for _, part := range event.Parts() {
		rate, why := rater.Rate(&part)
		if rate == nil {
			return decimal.Zero, nil, why
		}
		totals := rate.Metered(&part).Quantities.Totals()
		of := rate.Cost(&totals)
		cost, byModel[rate.Key.Model] = cost.Add(of), byModel[rate.Key.Model].Add(of)
	}
	return cost, byModel, ""
}
